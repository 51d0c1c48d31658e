"""Runs a suite on damaged and harmless variants of its model, one trial each.

This tests a suite that gates releases. Each damaged variant must break a case, no harmless variant
may break one, and matching must report a head that was swapped with another as moved.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from attnprobe.core.reader import Reader
from attnprobe.cases import Case
from attnprobe.compare.matching import match_heads
from attnprobe.core.errors import ModelError
from attnprobe.core.names import BATCH_TOKENS
from attnprobe.core.needs import Need, Readout, Rows
from attnprobe.core.scratch import scratch
from attnprobe.core.sites import Head, Site
from attnprobe.core.texts import Encoding, Sample
from attnprobe.core.wording import format_decimals
from attnprobe.mutants.kinds import EXPECTED, Kind, Mutation
from attnprobe.results.records import CaseOutcome
from attnprobe.run.runner import Finding, Runner, sum_up

if TYPE_CHECKING:
    from attnprobe.models import Model


Signal = Literal["red", "green", "moved", "unseen"]

# The outcomes that count as a broken case.
BROKEN: tuple[CaseOutcome, ...] = ("failed", "error", "xpassed")
# Heads are matched on so many texts.
TEXTS = 24
READINGS = 3
# A batch of so many tokens has one or two texts.
SMALL_BATCH = 24
# No case can notice a scrambled output that changes all later attention weights by less than this.
SEEN_FROM = 0.05


@dataclass(frozen=True)
class Trial:
    """The result of the cases on one variant of a model.

    Attributes:
        variant: the change: `shuffle-queries L3H1`.
        wanted: `red` if a blocking case must break, `green` if none may, `moved` if matching must
            find the head at its new place, `unseen` if a scrambled output changes no attention
            weight on any text of the cases by `SEEN_FROM` or more.
        found: `red` or `green`; for a swapped head `moved` or `mistaken`.
        blocking, advisory: number of broken cases of each severity; an xfail that passes is broken.
        suites: number of broken cases by suite.
        note: a remark for the table.
    """

    model: str
    variant: str
    wanted: Signal
    found: str
    blocking: int
    advisory: int
    suites: Mapping[str, int]
    note: str = ""

    @property
    def as_wanted(self) -> bool:
        """Whether the suite did with the variant what it must."""
        return self.found == ("green" if self.wanted == "unseen" else self.wanted)


def judge_all(
    reader: Reader, cases: Sequence[Case], *, batch_tokens: int = BATCH_TOKENS
) -> dict[Case, CaseOutcome]:
    """The outcome of each case that is not skipped, as pytest reports it; xfails are strict."""
    judged = [case for case in cases if case.skip is None]
    runner = Runner(reader, judged, batch_tokens=batch_tokens)
    return {case: _outcome(case, runner.judge(case)) for case in judged}


def _outcome(case: Case, findings: Sequence[Finding]) -> CaseOutcome:
    found = sum_up([finding.verdict for finding in findings])
    if case.xfail is None or found == "error":
        return found
    return "xfailed" if found == "failed" else "xpassed"


def pinned_heads(cases: Sequence[Case], site: Site) -> tuple[Head, ...]:
    """The heads that blocking cases name singly, in order; xfail and skip do not count."""
    pinned = {
        head
        for case in cases
        if case.xfail is None and case.skip is None and case.severity == "blocking"
        for expectation in case.expectations
        for head in expectation.rule.heads.members
        if isinstance(head, Head)
    }
    return tuple(sorted(pinned & set(site.all_heads())))


def plan(cases: Sequence[Case], site: Site, *, rotary: bool) -> Iterator[Mutation]:
    """All mutations to try on a model, the damaging ones first.

    Args:
        rotary: whether the model's positions are rotations, which cannot be shifted.
    """
    heads = pinned_heads(cases, site)
    of_heads: tuple[Kind, ...] = ("shuffle-queries", "shuffle-output")
    yield from (Mutation(kind, head) for kind in of_heads for head in heads)
    yield from (Mutation("reinit-layer", layer=layer) for layer in site.layers)
    yield Mutation("reinit-all")
    yield Mutation("permute-embeddings")
    yield Mutation("halve-positions" if rotary else "shift-positions")
    yield from (Mutation("swap-heads", head) for head in heads)
    yield Mutation("resave")
    yield Mutation("bfloat16")


def trials(model: Model, cases: Sequence[Case]) -> Iterator[Trial]:
    """Judges all variants of a model by the cases that are for it, one at a time.

    The first trial is of the unchanged model: a suite that fails on it proves nothing by failing.

    Raises:
        ModelError: the model's anatomy is unknown, or it has several sites.
    """
    if len(model.sites) != 1:
        raise ModelError(f"{model.name} has several sites; mutants are made of models with one")
    site = next(iter(model.sites.values()))
    yield _judge("unchanged", "green", model, cases)
    for mutation in plan(cases, site, rotary=_is_rotary(model)):
        yield try_mutation(model, mutation, cases)
    yield from read_otherwise(model, cases)


def count_trials(model: Model, cases: Sequence[Case]) -> int:
    """How many trials `trials` makes."""
    sites = model.sites.values()
    mutations = [at for site in sites for at in plan(cases, site, rotary=_is_rotary(model))]
    return 1 + len(mutations) + READINGS


def try_mutation(model: Model, mutation: Mutation, cases: Sequence[Case]) -> Trial:
    """Makes one variant of a model and judges it.

    Raises:
        ModelError: the model does not allow the mutation.
    """
    wanted: Signal = "red" if EXPECTED[mutation.kind] == "damaging" else "green"
    if mutation.kind == "swap-heads":
        wanted = "moved"
    with _variant(model, mutation) as changed:
        trial = _judge(str(mutation), wanted, changed, cases)
        if wanted == "moved":
            found, note = _match_swapped(model, changed, mutation, cases)
            return replace(trial, found=found, note=note)
        if mutation.kind == "shuffle-output" and not trial.as_wanted:
            seen = largest_change(model, changed, cases, after=mutation.the_head().layer)
            if seen < SEEN_FROM:
                return replace(trial, wanted="unseen", note=_excuse(seen))
        return trial


def read_otherwise(model: Model, cases: Sequence[Case]) -> Iterator[Trial]:
    """Judges the unchanged model in READINGS other ways: batches, padding and arithmetic."""
    from attnprobe.mutants.damage import in_bfloat16

    yield _judge(
        f"batches of {SMALL_BATCH} tokens", "green", model, cases, batch_tokens=SMALL_BATCH
    )
    yield _judge("padding on the left", "green", _LeftPadded(model), cases)
    yield _judge("arithmetic in bfloat16", "green", in_bfloat16(model), cases)


@contextmanager
def _variant(model: Model, mutation: Mutation) -> Iterator[Model]:
    """The variant in memory; kinds that change only files are written to a folder and loaded."""
    from attnprobe.models import LoadOptions, load_model
    from attnprobe.mutants.damage import mutant, write_mutant

    if mutation.kind not in ("resave", "bfloat16"):
        yield mutant(model, mutation)
        return
    with scratch(Path(tempfile.gettempdir()) / "attnprobe-variant") as folder:
        ignore = bool(model.ignored_code)
        write_mutant(
            model.ref,
            mutation,
            folder,
            tokenizer=model.tokenizer_ref,
            ignore_remote_code=ignore,
        )
        options = LoadOptions(
            batch_tokens=model.batch_tokens,
            ignore_remote_code=ignore,
            source_language=model.source_language,
            target_language=model.target_language,
        )
        yield load_model(str(folder), options, name=model.name)


def _judge(
    variant: str,
    wanted: Signal,
    reader: Reader,
    cases: Sequence[Case],
    *,
    batch_tokens: int = BATCH_TOKENS,
) -> Trial:
    outcomes = judge_all(reader, cases, batch_tokens=batch_tokens)
    broken = [case for case, outcome in outcomes.items() if outcome in BROKEN]
    blocking = sum(case.severity == "blocking" for case in broken)
    return Trial(
        model=reader.name,
        variant=variant,
        wanted=wanted,
        found="red" if blocking else "green",
        blocking=blocking,
        advisory=len(broken) - blocking,
        suites=dict(sorted(Counter(case.suite for case in broken).items())),
    )


def _match_swapped(
    model: Model, changed: Model, mutation: Mutation, cases: Sequence[Case]
) -> tuple[str, str]:
    """`moved` if matching finds a swapped head at its new place, else `mistaken`; and its words."""
    from attnprobe.mutants.damage import swap_partner

    head = mutation.the_head()
    partner = mutation.other or swap_partner(model, head)
    texts = list(dict.fromkeys(case.sample for case in cases if case.sample.ids is None))
    step = max(1, len(texts) // TEXTS)
    matches = match_heads(model, changed, texts[::step][:TEXTS])
    swapped = next(match for match in matches if match.old == head)
    wrong = [
        match for match in matches if match.old not in (head, partner) and match.fate != "stayed"
    ]
    right = swapped.fate == "moved" and swapped.new == partner and not wrong
    description = "; ".join(str(match) for match in (swapped, *wrong))
    return "moved" if right else "mistaken", description


def largest_change(model: Reader, changed: Reader, cases: Sequence[Case], *, after: int) -> float:
    """The largest difference of an attention weight in the layers after `after`, over all texts."""
    largest = 0.0
    for sample in dict.fromkeys(case.sample for case in cases):
        encoding = model.encode(sample)
        for site in encoding.sites.values():
            layers = tuple(layer for layer in site.layers if layer > after)
            if not layers:
                continue
            need = Need(encoding.sample, site.name, layers, tuple(range(len(encoding.queries(site.name)))))
            (was,), (now,) = model.collect([need]), changed.collect([need])
            changes = (abs(was.weights[layer] - now.weights[layer]).max() for layer in layers)
            largest = max(largest, *map(float, changes))
    return largest


def _excuse(seen: float) -> str:
    if not seen:
        return "no layer comes after it, so its output reaches no attention"
    return f"no later attention weight changes by more than {format_decimals(seen)}, on any text"


def _is_rotary(model: Model) -> bool:
    return getattr(model.network.config, "rope_parameters", None) is not None


@dataclass(frozen=True)
class _LeftPadded:
    """A model whose batches are padded on the left."""

    model: Model

    @property
    def name(self) -> str:
        return self.model.name

    def encode(self, sample: Sample) -> Encoding:
        return self.model.encode(sample)

    def collect(self, needs: Sequence[Need], *, batch_tokens: int = BATCH_TOKENS) -> list[Rows]:
        return self.model.collect(needs, batch_tokens=batch_tokens, padding="left")

    def read_out(
        self, readouts: Sequence[Readout], *, batch_tokens: int = BATCH_TOKENS
    ) -> list[float]:
        return self.model.read_out(readouts, batch_tokens=batch_tokens)
