"""A whole scan: a model, perhaps its untrained twin, corpora, and a folder."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from attnprobe._version import __version__
from attnprobe.core.errors import MeasureError, ResultsError
from attnprobe.core.names import BATCH_TOKENS, LOCK
from attnprobe.core.sites import Head, SiteName
from attnprobe.core.wording import format_percent, format_short
from attnprobe.relations.corpus import Corpus
from attnprobe.results.environment import environment
from attnprobe.results.files import write_bytes, write_json
from attnprobe.results.lock import check_heads, update_heads
from attnprobe.rules.frame import Doubles
from attnprobe.scan import files
from attnprobe.scan.measures import MEASURES
from attnprobe.scan.report import RelationFigures, as_json, figures, measure_rows, number, within
from attnprobe.scan.run import SET_ARCS, Surveyor, make_plan, scan_chunks
from attnprobe.scan.tally import Group, Tally
from attnprobe.words.looks import LEFT_OUT, MOST_UNKNOWN, Among

SCAN_SCHEMA = "attnprobe/scan-1"
# An unfinished scan is saved so often, and no more than a twentieth of the time goes into it.
SAVE_EVERY_S = 10.0
SAVE_SHARE = 20


class ScannedModel(Surveyor, Protocol):
    """A model, and what results say of it."""

    ref: str
    revision: str | None
    weights_sha256: str
    tokenizer_ref: str | None
    tokenizer_sha256: str
    architecture: str
    ignored_code: tuple[str, ...]
    device: str
    dtype: str

    @property
    def source_language(self) -> str | None: ...

    @property
    def target_language(self) -> str | None: ...


@dataclass(frozen=True)
class Options:
    """How to scan.

    Attributes:
        relations: only these, with their subtypes; all where empty.
        among: whether special tokens and, at a causal site, the first token compete with words.
        min_arcs: fewest arcs in each half.
        set_arcs: arcs of each relation, direction and half that head sets are made on.
        output: folder; nothing is written without one.
        lock: file that the head sets are added to.
        prefix: starts the names of head sets.
        overwrite: whether an unfinished scan, and head sets of other models, may be replaced.
        save_every_s: how often an unfinished scan is saved.
    """

    site: SiteName | None = None
    relations: tuple[str, ...] = ()
    among: Among = "words"
    seed: int = 0
    min_arcs: int = 30
    set_arcs: int = SET_ARCS
    batch_tokens: int = BATCH_TOKENS
    output: Path | None = None
    lock: Path = Path(LOCK)
    prefix: str = ""
    overwrite: bool = False
    save_every_s: float = SAVE_EVERY_S


class Scan:
    """One scan, from `begin` over `go_on` to `finish`, or to `stop` where it is interrupted.

    Attributes:
        found: the figures of each relation, once it is finished.
        too_few: relations with fewer arcs in a half than wanted, and their numbers.
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
        self._controls: dict[Group, RelationFigures] = {}
        empty = Tally.empty(self.plan.counted, len(self.heads), len(corpora))
        # Sentences done and their tallies, exchanged in one step: an interruption finds all of a
        # chunk or nothing of it.
        self._counted = 0, [empty] * (1 if twin is None else 2)
        self._start = time.monotonic()

    @property
    def done(self) -> int:
        """Sentences that are counted."""
        return self._counted[0]

    @property
    def _tallies(self) -> list[Tally]:
        return self._counted[1]

    @property
    def _folder(self) -> Path | None:
        return self.options.output

    def begin(self, *, resume: bool) -> int:
        """How many sentences are done already: none, unless an unfinished scan goes on.

        Raises:
            ResultsError: nothing to resume, an unfinished scan that may not be dropped, or head
                sets of another model that may not be replaced.
        """
        if self._folder is None:
            return 0
        if not self.options.overwrite:
            names = [name for one in self.names.values() for name in (one, f"{one}-set")]
            check_heads(self.options.lock, names, weights_sha256=self.model.weights_sha256)
        state = self._folder / files.STATE
        if resume:
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
        """Scans the sentences that are left; after each chunk, how many are done."""
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
        """Saves what is done, for `begin(resume=True)`."""
        self._save()

    def finish(self) -> list[Path]:
        """Writes all files, and forgets the unfinished scan.

        Raises:
            MeasureError: the model cannot take a single sentence, or more than half of the tokens
                of a corpus are unknown to it.
            ResultsError: a file cannot be written, or a head set of another model is in the way.
        """
        refusal = self._refusal()
        if refusal is not None:
            # Going on with it would end here again.
            if self._folder is not None:
                (self._folder / files.STATE).unlink(missing_ok=True)
            raise MeasureError(refusal)
        folder = self._folder
        if folder is None:
            self._figure(sets=True)
            return []
        # Whatever cannot be written below, the counting need not be done again.
        self._save()
        self._figure(sets=True)
        names = {one.group: self.names[one.group] for one in self.found}
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
        untrained = {names[one.group] for one in self.found if self._as_good_untrained(one)}
        for at, (corpus, path) in enumerate(zip(self.corpora, self.paths, strict=True)):
            own, few = self._within(at)
            text = files.suite_text(
                own,
                names,
                corpus,
                suite=suites[at],
                few=few,
                untrained=untrained,
                corpus_path=path,
                folder=folder,
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
        files.write_grids(
            folder / files.GRIDS,
            self.found,
            names,
            measure_rows(self._tallies[0]),
            self.heads,
            model=self.model.name,
        )
        written.append(folder / files.GRIDS)
        write_json(folder / files.RESULTS, self._results(complete=True))
        (folder / files.STATE).unlink(missing_ok=True)
        return written

    def _refusal(self) -> str | None:
        """Why the counts say nothing of the model."""
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

    def _within(self, corpus: int) -> tuple[list[RelationFigures], list[str]]:
        """The figures in one corpus, and the names of what has some arcs there but too few."""
        own: list[RelationFigures] = []
        few: list[str] = []
        for one in self.found:
            place = self.plan.within(self.plan.groups.index(one.group), corpus)
            there = within(self._tallies[0], place, one, self.heads, min_arcs=self.options.min_arcs)
            if there is not None:
                own.append(there)
            elif self._tallies[0].n[place].any():
                few.append(self.names[one.group])
        return own, few

    def control_of(self, group: Group) -> RelationFigures | None:
        """The figures of the untrained twin."""
        return self._controls.get(group)

    def _as_good_untrained(self, one: RelationFigures) -> bool:
        """Whether the twin does at least as well on the half that both are judged on."""
        twin = self.control_of(one.group)
        return twin is not None and twin.best.accuracy >= one.best.accuracy

    def measure_table(self, strongest: int) -> Iterator[list[str]]:
        """Name, unit, heads that have most, median, and what the twin has at most, of a measure."""
        control = measure_rows(self._tallies[1]) if self.twin else None
        rows = measure_rows(self._tallies[0])
        for measure in MEASURES:
            values = rows[measure.name]
            if not np.isfinite(values).any():
                continue
            most = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")[:strongest]
            line = [
                measure.name,
                measure.unit,
                ", ".join(f"{self.heads[head]} {format_short(values[head])}" for head in most),
                format_short(np.nanmedian(values)),
            ]
            if control is not None:
                line.append(format_short(np.nanmax(control[measure.name])))
            yield line

    def remarks(self) -> Iterator[str]:
        """What was not judged, in words."""
        tally = self._tallies[0]
        if not self.found:
            short_of = any(any(counts) for counts in self.too_few.values())
            way = ": lower --min-arcs, or add sentences" if short_of else ""
            yield f"no relation was judged{way}"
        if self.too_few:
            some = {name: counts for name, counts in self.too_few.items() if any(counts)}
            # Both directions of a relation mostly have the same arcs.
            short: dict[tuple[str, tuple[int, int]], list[str]] = {}
            for name, counts in some.items():
                relation, _, direction = name.rpartition(", ")
                short.setdefault((relation, counts), []).append(direction)
            listed = [
                f"{relation}{'' if len(way) == 2 or self.plan.directions == 1 else f', {way[0]}'} "
                f"{chosen}+{judged}"
                for (relation, (chosen, judged)), way in short.items()
            ]
            least = self.options.min_arcs
            if listed:
                yield f"fewer than {least} arcs in a half of the sentences: {'; '.join(listed)}"
            if len(some) < len(self.too_few):
                count = len(self.too_few) - len(some)
                yield f"relations and directions of which no arc can be judged: {count}"
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

    def _figure(self, *, sets: bool) -> None:
        self.found, self.too_few, self._controls = [], {}, {}
        for index, group in enumerate(self.plan.groups):
            one, *control = (
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
            if one is None:
                chosen, judged = self._tallies[0].n[index].tolist()
                self.too_few[str(group)] = chosen, judged
                continue
            self.found.append(one)
            if control and control[0] is not None:
                self._controls[group] = control[0]

    def _save(self) -> None:
        if self._folder is None:
            return
        files.write_state(self._folder / files.STATE, self._fingerprint(), self.done, self._tallies)
        # Sets are made of samples that are not complete yet.
        self._figure(sets=False)
        write_json(self._folder / files.RESULTS, self._results(complete=False))

    @property
    def _languages(self) -> dict[str, str]:
        """The languages that texts are read in, by their key in a case file."""
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
        """What must be the same for an unfinished scan to go on."""
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
        """The results file; the same for the same scan but for `duration_s`."""
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
            "relations": [as_json(one, self.heads) for one in self.found],
            "too_few": {name: list(counts) for name, counts in self.too_few.items()},
            "measures": self._measures(measure_rows(self._tallies[0])),
            "control": None
            if self.twin is None
            else {
                "how": "random-init",
                "relations": [as_json(one, self.heads) for one in self._controls.values()],
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
