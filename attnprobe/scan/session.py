"""A whole scan: counts a model and perhaps its untrained twin on corpora, writes the results."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from attnprobe.core.errors import ResultsError, SelectorError
from attnprobe.core.names import BATCH_TOKENS
from attnprobe.core.sites import Site, SiteName
from attnprobe.results.environment import cpu_name, environment
from attnprobe.results.files import write_json
from attnprobe.scan import files
from attnprobe.scan.corpora import Corpora
from attnprobe.scan.counting import BlockCounter, Plan, Surveyor
from attnprobe.scan.facts import ScanFacts, corpus_facts
from attnprobe.scan.findings import Findings
from attnprobe.scan.output import Output
from attnprobe.scan.sources import Sources
from attnprobe.scan.state import Counted, State
from attnprobe.scan.tally import Tally
from attnprobe.words.looks import Among

# Sets of heads are chosen and judged on so many arcs of each group and half.
SET_ARCS = 128
# An unfinished scan is saved every so many seconds, unless that takes more than a twentieth of the
# time.
SAVE_EVERY_S = 10.0
SAVE_SHARE = 20

# Counts blocks: yields the number of a wanted block and its tallies, in any order.
Engine = Callable[[Plan, Corpora, Callable[[int], bool]], Iterable[tuple[int, Sequence[Tally]]]]


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
    """What is scanned, and how it is judged.

    Attributes:
        relations: names of relations, which include their subtypes; if empty, all relations.
        among: whether special tokens and, at a causal site, the first token compete with words.
        seed: seed of the halves and the samples.
        min_arcs: the fewest arcs of a half that give figures.
        set_arcs: the number of sampled arcs of each group and half, for greedy sets.
        threads: of the process that runs the forwards.
        prefix: the start of the names of head sets.
        save_every_s: the seconds between two savings of an unfinished scan.
    """

    site: SiteName | None = None
    relations: tuple[str, ...] = ()
    among: Among = "words"
    seed: int = 0
    min_arcs: int = 30
    set_arcs: int = SET_ARCS
    batch_tokens: int = BATCH_TOKENS
    threads: int = 1
    prefix: str = ""
    save_every_s: float = SAVE_EVERY_S
    output: Output = field(default_factory=Output)


class Scan:
    """One scan: `begin`, then `go_on` to its end and `finish`, or `stop` after an interruption.

    Attributes:
        facts: what is scanned.
        counted: the blocks so far.
    """

    def __init__(
        self,
        model: ScannedModel,
        corpora: Corpora,
        options: Options,
        engine: Engine,
        *,
        control: bool = False,
        engine_facts: Mapping[str, Any] | None = None,
        device: str | None = None,
    ) -> None:
        """Checks that the model can be scanned on the corpora.

        Args:
            engine: what counts the blocks; `in_process` makes one.
            control: whether the engine counts an untrained twin as well.
            engine_facts: what the results file says of the engine.
            device: on which the engine counts; by default, that of the model.

        Raises:
            CorpusError: no arc has a relation, or a sentence does not fit the site.
            SelectorError: the model has no such site, or has several and none is named.
        """
        site = _site(model, options.site)
        corpora.check_fit(site.name)
        if corpora.part.whole:
            corpora.check_relations(options.relations)
        self.facts = _facts(
            model, site, corpora, options, control=control, device=device or model.device
        )
        self.plan = Plan(
            site.name,
            options.relations,
            options.among,
            options.seed,
            options.set_arcs,
            options.batch_tokens,
            len(corpora.refs),
        )
        # The blocks done and their tallies change in one step, so that an interruption finds a
        # block counted completely or not at all.
        self.counted = Counted.nothing(self.facts)
        self._findings: Findings | None = None
        self._corpora = corpora
        self._output = options.output
        self._every_s = options.save_every_s
        self._engine = engine
        self._engine_facts = dict(engine_facts or {"name": "process"})
        self._sources = Sources.of(
            [ref.path for ref in corpora.refs], options.output.folder, options.output.root
        )
        self._start = time.monotonic()

    @property
    def done(self) -> int:
        """The number of sentences that are counted."""
        return self.facts.sentences_of(self.counted.done)

    @property
    def total(self) -> int:
        """The number of sentences to count."""
        facts = self.facts
        mine = np.array([facts.part.holds(number) for number in range(facts.blocks)], np.bool_)
        return facts.sentences_of(mine)

    @property
    def findings(self) -> Findings:
        """The figures of what is counted."""
        if self._findings is None or self._findings.counted is not self.counted:
            self._findings = Findings(self.facts, self.counted)
        return self._findings

    def begin(self, *, resume: bool) -> int:
        """Prepares the folder, and reads an unfinished scan if there is one and `resume`.

        Returns:
            The number of sentences that are done already.

        Raises:
            ResultsError: the unfinished scan is another one or cannot be read; or it, head sets of
                another model, or a file in the place of a corpus would be overwritten.
        """
        state = self._output.state
        if state is None:
            return 0
        if self.facts.part.whole:
            self._output.check_heads(self._so_far())
            self._sources.check(self.facts.corpora)
        if resume and state.exists():
            self.counted = self._unfinished(State.read(state))
        elif state.exists() and not self._output.overwrite:
            raise ResultsError(
                f"{state}: an unfinished scan lies there; go on with --resume, or scan anew with "
                "--overwrite"
            )
        else:
            self._save()
        return self.done

    def _unfinished(self, state: State) -> Counted:
        difference = self.facts.difference(state.facts)
        if difference is None and state.facts.part != self.facts.part:
            difference = f"part was {state.facts.part} and is {self.facts.part}"
        if difference is not None:
            raise ResultsError(
                f"{state.path}: the unfinished scan there is another one: {difference}; give the "
                "same options, or scan anew with --overwrite"
            )
        return state.counted

    def go_on(self) -> Generator[int]:
        """Counts the remaining blocks; yields the number of sentences done after each."""
        saved, cost = time.monotonic(), 0.0
        done = self.counted.done
        for number, tallies in self._engine(self.plan, self._corpora, lambda at: not done[at]):
            self.counted = self.counted.with_block(number, tallies)
            start = time.monotonic()
            if start - saved >= max(self._every_s, SAVE_SHARE * cost):
                self._save()
                saved = time.monotonic()
                cost = saved - start
            yield self.done

    def stop(self) -> None:
        """Saves the unfinished scan, for `begin(resume=True)`."""
        self._save()

    def finish(self) -> list[Path]:
        """Writes all files and deletes the saved state; a part of a scan keeps its state alone.

        Returns:
            The paths of the written files.

        Raises:
            CorpusError: a corpus has changed while it was scanned.
            MeasureError, ResultsError: as for `Output.write`.
        """
        self._corpora.check_unchanged()
        # If a file cannot be written below, --resume need not count again.
        self._save()
        if not self.facts.part.whole:
            state = self._output.state
            return [] if state is None else [state]
        return self._output.write(
            self.findings, self._sources, start=self._start, engine=self._engine_facts
        )

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences about corpora that get no suite."""
        return () if self._output.folder is None else tuple(self._sources.remarks())

    def _so_far(self) -> Findings:
        """The figures of what is counted; the samples for sets of heads are not complete yet."""
        return Findings(self.facts, self.counted, sets=False, expected=self._corpora.labels)

    def _save(self) -> None:
        state, folder = self._output.state, self._output.folder
        if state is None or folder is None:
            return
        State(state, self.facts, self.counted).write()
        duration = time.monotonic() - self._start
        results = self._so_far().results(duration_s=duration, engine=self._engine_facts)
        write_json(folder / files.RESULTS, {**results, "complete": False})


def in_process(model: Surveyor, twin: Surveyor | None = None) -> Engine:
    """The engine that counts one block after the other with these models."""

    def count(
        plan: Plan, corpora: Corpora, wanted: Callable[[int], bool]
    ) -> Iterator[tuple[int, list[Tally]]]:
        counters = block_counters(plan, model, twin)
        for part in corpora.due(wanted):
            for block in part.read():
                yield block.number, [counter.count(block) for counter in counters]

    return count


def block_counters(plan: Plan, model: Surveyor, twin: Surveyor | None) -> list[BlockCounter]:
    """A counter for the model and, if there is one, for its twin, which gets no sets of heads."""
    counters = [BlockCounter(model, plan)]
    return counters if twin is None else [*counters, BlockCounter(twin, plan, sampled=False)]


def _site(model: Surveyor, name: SiteName | None) -> Site:
    offered = ", ".join(model.sites)
    if name is None and len(model.sites) == 1:
        return next(iter(model.sites.values()))
    if name is None:
        raise SelectorError(f"{model.name} has several sites, name one with --site: {offered}")
    if name not in model.sites:
        raise SelectorError(f"{model.name} has no {name} attention; it has: {offered}")
    return model.sites[name]


def _facts(
    model: ScannedModel,
    site: Site,
    corpora: Corpora,
    options: Options,
    *,
    control: bool,
    device: str,
) -> ScanFacts:
    languages = {
        "source_language": model.source_language,
        "target_language": model.target_language if corpora.with_target else None,
    }
    return ScanFacts(
        model={
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
        languages={key: code for key, code in languages.items() if code is not None},
        environment={
            **environment(device=device, dtype=model.dtype),
            "cpu": cpu_name(),
        },
        control=control,
        heads=site.all_heads(),
        corpora=corpus_facts(corpora),
        files=corpora.files,
        site=site.name,
        relations=tuple(dict.fromkeys(options.relations)),
        among=options.among,
        seed=options.seed,
        set_arcs=options.set_arcs,
        batch_tokens=options.batch_tokens,
        threads=options.threads,
        min_arcs=options.min_arcs,
        prefix=options.prefix,
        block=corpora.block,
        part=corpora.part,
    )
