"""A whole scan: counts a model and perhaps its untrained twin on corpora, writes the results."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from attnprobe._version import __version__
from attnprobe.core.errors import MeasureError, ResultsError
from attnprobe.core.names import BATCH_TOKENS, LOCK
from attnprobe.core.sites import Head, SiteName
from attnprobe.core.wording import format_percent, plural
from attnprobe.relations.corpus import Corpus
from attnprobe.results.environment import environment
from attnprobe.results.files import write_bytes, write_json
from attnprobe.results.lock import check_heads, update_heads
from attnprobe.rules.frame import Doubles
from attnprobe.scan import files
from attnprobe.scan.measures import MEASURES
from attnprobe.scan.report import (
    RelationFigures,
    as_json,
    figures,
    figures_in_corpus,
    measure_rows,
    number,
)
from attnprobe.scan.sources import Sources
from attnprobe.scan.streaming import SET_ARCS, Surveyor, make_plan, scan_chunks
from attnprobe.scan.tables import Tables
from attnprobe.scan.tally import ArcGroup, Tally
from attnprobe.words.looks import LEFT_OUT, MOST_UNKNOWN, Among

SCAN_SCHEMA = "attnprobe/scan-1"
# An unfinished scan is saved every so many seconds, unless that takes more than a twentieth of the
# time.
SAVE_EVERY_S = 10.0
SAVE_SHARE = 20


class ScannedModel(Surveyor, Protocol):
    """A model that can be scanned, with the facts for the results file."""

    ref: str
    revision: str | None
    tokenizer_ref: str | None
    tokenizer_sha256: str
    architecture: str
    ignored_code: tuple[str, ...]
    quantised: str | None

    @property
    def weights_sha256(self) -> str: ...

    @property
    def device(self) -> str: ...

    @property
    def dtype(self) -> str: ...

    @property
    def source_language(self) -> str | None: ...

    @property
    def target_language(self) -> str | None: ...


@dataclass(frozen=True)
class Options:
    """The options of a scan.

    Attributes:
        relations: names of relations, which include their subtypes; if empty, all relations.
        among: whether special tokens and, at a causal site, the first token compete with words.
        seed: seed of the halves and the samples.
        min_arcs: the fewest arcs of a half that give figures.
        set_arcs: the number of sampled arcs of each group and half, for greedy sets.
        output: the folder for results; None writes nothing.
        root: the root of runs of the suites, into which corpora that lie elsewhere are copied; None
            names every corpus where it lies.
        lock: the lock file, to which the scan adds head sets.
        prefix: the start of the names of head sets.
        overwrite: whether to replace an unfinished scan, and head sets of other models.
        save_every_s: the seconds between two savings of an unfinished scan.
    """

    site: SiteName | None = None
    relations: tuple[str, ...] = ()
    among: Among = "words"
    seed: int = 0
    min_arcs: int = 30
    set_arcs: int = SET_ARCS
    batch_tokens: int = BATCH_TOKENS
    output: Path | None = None
    root: Path | None = None
    lock: Path = Path(LOCK)
    prefix: str = ""
    overwrite: bool = False
    save_every_s: float = SAVE_EVERY_S


class Scan:
    """One scan: `begin`, then `go_on` to its end and `finish`, or `stop` after an interruption.

    Attributes:
        done: number of sentences that are counted.
        total: number of all sentences.
        found: the figures of each group, after `finish`.
        too_few: the groups with too few arcs in a half, and their numbers of arcs.
    """

    def __init__(
        self,
        model: ScannedModel,
        twin: Surveyor | None,
        corpora: Sequence[Corpus],
        paths: Sequence[Path],
        options: Options,
    ) -> None:
        self.model = model
        self.twin = twin
        self.corpora = corpora
        self.paths = paths
        self.options = options
        self.plan = make_plan(
            model,
            corpora,
            site=options.site,
            relations=options.relations,
            among=options.among,
            seed=options.seed,
            set_arcs=options.set_arcs,
            batch_tokens=options.batch_tokens,
        )
        self.heads: tuple[Head, ...] = model.sites[self.plan.site].all_heads()
        self.names = files.set_names(self.plan.groups, options.prefix)
        self.total = len(self.plan.sentences)
        self.found: list[RelationFigures] = []
        self.too_few: dict[str, tuple[int, int]] = {}
        self._controls: dict[ArcGroup, RelationFigures] = {}
        empty = Tally.empty(self.plan.counted, len(self.heads), len(corpora))
        # The sentences done and their tallies change in one step, so that an interruption finds a
        # chunk counted completely or not at all.
        self._counted = 0, [empty] * (1 if twin is None else 2)
        self._sources = Sources.of(paths, options.output, options.root)
        self._start = time.monotonic()

    @property
    def done(self) -> int:
        """The number of sentences that are counted."""
        return self._counted[0]

    @property
    def _tallies(self) -> list[Tally]:
        return self._counted[1]

    @property
    def _folder(self) -> Path | None:
        return self.options.output

    def begin(self, *, resume: bool) -> int:
        """Prepares the folder, and reads an unfinished scan if there is one and `resume`.

        Returns:
            The number of sentences that are done already.

        Raises:
            ResultsError: the unfinished scan is another one or cannot be read; or it, head sets of
                another model, or a file in the place of a corpus would be overwritten.
        """
        if self._folder is None:
            return 0
        if not self.options.overwrite:
            names = [name for base in self.names.values() for name in (base, f"{base}-set")]
            check_heads(self.options.lock, names, weights_sha256=self.model.weights_sha256)
        self._sources.check(self.corpora)
        state = self._folder / files.STATE
        if resume and state.exists():
            self._counted = files.read_state(state, self._fingerprint(), like=self._tallies)
        elif state.exists() and not self.options.overwrite:
            raise ResultsError(
                f"{state}: an unfinished scan lies there; go on with --resume, or scan anew with "
                "--overwrite"
            )
        else:
            self._save()
        return self.done

    def go_on(self) -> Generator[int]:
        """Scans the remaining sentences; yields the number of sentences done after each chunk."""
        models: list[Surveyor] = [self.model, *([self.twin] if self.twin else [])]
        streams = [
            scan_chunks(model, self.plan, tally, start=self.done)
            for model, tally in zip(models, self._tallies, strict=True)
        ]
        saved, cost = time.monotonic(), 0.0
        for chunk in zip(*streams, strict=True):
            self._counted = chunk[0][0], [tally for _, tally in chunk]
            start = time.monotonic()
            if start - saved >= max(self.options.save_every_s, SAVE_SHARE * cost):
                self._save()
                saved = time.monotonic()
                cost = saved - start
            yield self.done

    def stop(self) -> None:
        """Saves the unfinished scan, for `begin(resume=True)`."""
        self._save()

    def finish(self) -> list[Path]:
        """Writes all files and deletes the saved state.

        Returns:
            The paths of the written files.

        Raises:
            MeasureError: the model cannot read a single sentence, or more than half of the tokens
                of a corpus are unknown to it.
            ResultsError: a file cannot be written, or a head set of another model would be
                overwritten.
        """
        refusal = self._refusal()
        if refusal is not None:
            # The scan would fail here again after --resume.
            if self._folder is not None:
                (self._folder / files.STATE).unlink(missing_ok=True)
            raise MeasureError(refusal)
        folder = self._folder
        if folder is None:
            self._compute_figures(sets=True)
            return []
        # If a file cannot be written below, --resume need not count again.
        self._save()
        self._compute_figures(sets=True)
        names = {relation.group: self.names[relation.group] for relation in self.found}
        lock = self.options.lock
        origin = {
            "model": self.model.name,
            "revision": self.model.revision,
            "weights_sha256": self.model.weights_sha256,
            "corpora_sha256": [corpus.sha256 for corpus in self.corpora],
            "site": self.plan.site,
            "among": self.plan.among,
            "seed": self.options.seed,
            "attnprobe": __version__,
        }
        entries = files.lock_entries(self.found, self.heads, names, origin)
        if entries:
            update_heads(lock, entries, overwrite=self.options.overwrite)
        suites = files.suite_names(self.model.name, self.paths)
        written = [folder / files.RESULTS, *([lock] if entries else [])]
        untrained = {
            names[relation.group] for relation in self.found if self._as_good_untrained(relation)
        }
        sources = self._sources.copy(self.corpora)
        written += sources
        for at, (corpus, source) in enumerate(zip(self.corpora, self._sources.names, strict=True)):
            in_corpus, few = self._figures_in_corpus(at)
            text = files.suite_text(
                in_corpus,
                names,
                corpus,
                suite=suites[at],
                few=few,
                untrained=untrained,
                source=source,
                model=self.model.name,
                site=self.plan.site,
                languages=self._languages,
                among=self.plan.among,
                seed=self.options.seed,
            )
            if text:
                name = files.SUITE if len(self.corpora) == 1 else f"{at + 1}-{files.SUITE}"
                write_bytes(folder / name, text.encode())
                written.append(folder / name)
        write_bytes(folder / files.PAGE, self._page().encode("utf-8", "backslashreplace"))
        written.append(folder / files.PAGE)
        write_json(folder / files.RESULTS, self._results(complete=True))
        (folder / files.STATE).unlink(missing_ok=True)
        return written

    def _refusal(self) -> str | None:
        """The reason why the counts give no figures; None if they do."""
        if self._tallies[0].unread == self.total:
            return f"nothing was measured: {LEFT_OUT[0]} of any sentence"
        for place, corpus in enumerate(self.corpora):
            share = self._tallies[0].unknown_share(place)
            if share > MOST_UNKNOWN:
                return (
                    f"{corpus.name}: {format_percent(share)} of its tokens are unknown to "
                    f"{self.model.name}, more than half; scan a corpus in a language that its "
                    "tokenizer knows"
                )
        return None

    def _figures_in_corpus(self, corpus: int) -> tuple[list[RelationFigures], list[str]]:
        """The figures in one corpus, and the names of relations with too few arcs there."""
        found: list[RelationFigures] = []
        few: list[str] = []
        for relation in self.found:
            group = self.plan.within(self.plan.groups.index(relation.group), corpus)
            in_corpus = figures_in_corpus(
                self._tallies[0], group, relation, self.heads, min_arcs=self.options.min_arcs
            )
            if in_corpus is not None:
                found.append(in_corpus)
            elif self._tallies[0].n[group].any():
                few.append(self.names[relation.group])
        return found, few

    def control_of(self, group: ArcGroup) -> RelationFigures | None:
        """The figures of the untrained twin; None if it has too few arcs, or there is none."""
        return self._controls.get(group)

    def _as_good_untrained(self, relation: RelationFigures) -> bool:
        """Whether the twin is at least as accurate on the judged half."""
        twin = self.control_of(relation.group)
        return twin is not None and twin.best.accuracy >= relation.best.accuracy

    @property
    def tables(self) -> Tables:
        """The tables and grids of the figures."""
        model, *twin = map(measure_rows, self._tallies)
        return Tables(
            self.heads,
            tuple(self.found),
            model,
            controls=self._controls if twin else None,
            control_measures=twin[0] if twin else None,
        )

    def _page(self) -> str:
        """The page with all tables and grids."""
        corpora = ", ".join(corpus.name for corpus in self.corpora)
        return self.tables.page(
            f"What the heads of {self.model.name} do",
            subtitle=f"{plural(self.total, 'sentence')} of {corpora} · {self.plan.site} · "
            f"seed {self.options.seed} · attnprobe {__version__}",
            remarks=tuple(self.remarks()),
        )

    def remarks(self) -> Iterator[str]:
        """Sentences about what was not judged."""
        tally = self._tallies[0]
        if not self.found:
            has_arcs = any(any(counts) for counts in self.too_few.values())
            advice = ": lower --min-arcs, or add sentences" if has_arcs else ""
            yield f"no relation was judged{advice}"
        yield from self._remarks_on_few()
        for place, corpus in enumerate(self.corpora):
            if tally.tokens[place, 0]:
                yield f"{corpus.name}: unknown tokens: {format_percent(tally.unknown_share(place))}"
        if tally.unread:
            yield f"{tally.unread} of {self.total} sentences left out: {LEFT_OUT[0]}"
        left_out = tally.left_out[: len(self.plan.groups)].T.tolist()
        for reason, count in zip(LEFT_OUT[1:], left_out[1:], strict=True):
            worst = max(range(len(count)), key=count.__getitem__)
            if count[worst]:
                yield f"arcs left out: {reason} ({self.plan.groups[worst]}: {count[worst]})"

    def _remarks_on_few(self) -> Iterator[str]:
        """Sentences about relations with too few arcs in a half; those nearest to enough first."""
        least = self.options.min_arcs
        # Both directions of a relation mostly have the same numbers, and share an entry.
        directions: dict[tuple[str, tuple[int, int]], list[str]] = {}
        for name, counts in self.too_few.items():
            if any(counts):
                relation, _, direction = name.rpartition(", ")
                directions.setdefault((relation, counts), []).append(direction)
        entries = {
            f"{relation}{'' if len(of) == 2 or self.plan.directions == 1 else f', {of[0]}'} "
            f"{chosen}+{judged}": min(chosen, judged)
            for (relation, (chosen, judged)), of in directions.items()
        }
        near = {entry: arcs for entry, arcs in entries.items() if 2 * arcs >= least}
        if near:
            ordered = sorted(near, key=lambda entry: -near[entry])
            yield (
                f"nearly judged, with at least half of the {least} arcs in each half of the "
                f"sentences: {'; '.join(ordered)}; --min-arcs {min(near.values())} judges "
                f"{'it' if len(near) == 1 else 'them'} as well, with wider intervals"
            )
        others = [entry for entry in entries if entry not in near]
        if others:
            yield f"fewer than {least} arcs in a half of the sentences: {'; '.join(others)}"
        without = sum(not any(counts) for counts in self.too_few.values())
        if without:
            yield f"relations and directions of which no arc can be judged: {without}"

    def _compute_figures(self, *, sets: bool) -> None:
        self.found, self.too_few, self._controls = [], {}, {}
        for index, group in enumerate(self.plan.groups):
            found, *control = (
                figures(
                    tally,
                    index,
                    group,
                    self.heads,
                    min_arcs=self.options.min_arcs,
                    sets=sets and place == 0,
                )
                for place, tally in enumerate(self._tallies)
            )
            if found is None:
                chosen, judged = self._tallies[0].n[index].tolist()
                self.too_few[str(group)] = chosen, judged
                continue
            self.found.append(found)
            if control and control[0] is not None:
                self._controls[group] = control[0]

    def _save(self) -> None:
        if self._folder is None:
            return
        files.write_state(self._folder / files.STATE, self._fingerprint(), self.done, self._tallies)
        # The samples of greedy sets are not complete yet.
        self._compute_figures(sets=False)
        write_json(self._folder / files.RESULTS, self._results(complete=False))

    @property
    def _languages(self) -> dict[str, str]:
        """The languages of the texts, by their key in a case file."""
        model = self.model
        target = any(
            sentence.sample.target for corpus in self.corpora for sentence in corpus.sentences
        )
        languages = {
            "source_language": model.source_language,
            "target_language": model.target_language if target else None,
        }
        return {key: code for key, code in languages.items() if code is not None}

    def _fingerprint(self) -> str:
        """Everything that a resumed scan must have in common with the saved one, as JSON."""
        options = self.options
        return json.dumps(
            {
                "attnprobe": __version__,
                "weights": self.model.weights_sha256,
                "tokenizer": self.model.tokenizer_sha256,
                **self._languages,
                "dtype": self.model.dtype,
                "device": self.model.device,
                "corpora": [corpus.sha256 for corpus in self.corpora],
                "site": self.plan.site,
                "relations": [str(group) for group in self.plan.groups],
                "among": self.plan.among,
                "seed": options.seed,
                "set_arcs": options.set_arcs,
                "batch_tokens": options.batch_tokens,
                "control": self.twin is not None,
            }
        )

    def _results(self, *, complete: bool) -> dict[str, Any]:
        """The content of the results file; only `duration_s` differs between two equal scans."""
        model = self.model
        return {
            "schema": SCAN_SCHEMA,
            "attnprobe": __version__,
            "complete": complete,
            "sentences": self.total,
            "sentences_done": self.done,
            "sentences_unread": self._tallies[0].unread,
            "duration_s": round(time.monotonic() - self._start, 3),
            "environment": environment(device=model.device, dtype=model.dtype),
            "model": {
                "name": model.name,
                "ref": model.ref,
                "revision": model.revision,
                "weights_sha256": model.weights_sha256,
                "tokenizer": model.tokenizer_ref,
                "tokenizer_sha256": model.tokenizer_sha256,
                "architecture": model.architecture,
                "ignored_code": list(model.ignored_code),
                "quantised": model.quantised,
            },
            "corpora": [
                {
                    "name": corpus.name,
                    "sha256": corpus.sha256,
                    "sentences": len(corpus.sentences),
                    "unknown_share": self._tallies[0].unknown_share(place),
                    "notes": list(corpus.notes),
                }
                for place, corpus in enumerate(self.corpora)
            ],
            "site": self.plan.site,
            "among": self.plan.among,
            "seed": self.options.seed,
            "min_arcs": self.options.min_arcs,
            "batch_tokens": self.options.batch_tokens,
            "heads": [str(head) for head in self.heads],
            "relations": [as_json(relation, self.heads) for relation in self.found],
            "too_few": {name: list(counts) for name, counts in self.too_few.items()},
            "measures": self._measures(measure_rows(self._tallies[0])),
            "control": None
            if self.twin is None
            else {
                "how": "random-init",
                "relations": [
                    as_json(relation, self.heads) for relation in self._controls.values()
                ],
                "measures": self._measures(measure_rows(self._tallies[1])),
            },
        }

    def _measures(self, rows: Mapping[str, Doubles]) -> dict[str, Any]:
        return {
            measure.name: {
                "unit": measure.unit,
                "heads": {
                    str(head): number(value)
                    for head, value in zip(self.heads, rows[measure.name], strict=True)
                },
            }
            for measure in MEASURES
        }
