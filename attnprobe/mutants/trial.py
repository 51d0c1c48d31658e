"""The kill table: what a suite says to damaged and to harmless variants of its model.

A suite that gates releases is itself tested this way. Each damaged variant must break a case,
no harmless one may, and a head that was swapped with another must be reported as moved.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from attnprobe.attention import Reader
from attnprobe.cases import Case
from attnprobe.compare.matching import match_heads
from attnprobe.core.errors import ModelError
from attnprobe.core.names import BATCH_TOKENS
from attnprobe.core.needs import Need, Readout, Rows
from attnprobe.core.sites import Head, Site
from attnprobe.core.texts import Encoding, Sample
from attnprobe.core.wording import format_decimals
from attnprobe.mutants.kinds import EXPECTED, Kind, Mutation
from attnprobe.results.records import CaseOutcome
from attnprobe.run.runner import Finding, Runner, sum_up

if TYPE_CHECKING:
    from attnprobe.models import Model


Signal = Literal["red", "green", "moved", "unseen"]

BROKEN: tuple[CaseOutcome, ...] = ("failed", "error", "xpassed")
# Texts on which heads are matched.
TEXTS = 24
# Tokens in a batch so small that it holds a text or two.
SMALL_BATCH = 24
# A scrambled output that changes no later attention weight by as much is excused.
SEEN_FROM = 0.05


@dataclass(frozen=True)
class Trial:
    """What became of one variant of a model.

    Attributes:
        variant: what was done: `shuffle-queries L3H1`.
        wanted: `red` where a blocking case must break, `green` where none may, `moved` where
            matching must find the head at its new place, `unseen` where a scrambled output changes
            no attention weight on any text of the cases by `SEEN_FROM` or more.
        found: what came of it: `red` or `green`; for `moved` what matching says of the head.
        blocking, advisory: broken cases of either severity; an xfail that passed is broken.
        suites: the suites that the broken cases are of, and how many of each.
        note: what else there is to say.
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
        return self.found == ("green" if self.wanted == "unseen" else self.wanted)


def judge_all(
    reader: Reader, cases: Sequence[Case], *, batch_tokens: int = BATCH_TOKENS
) -> dict[Case, CaseOutcome]:
    """What pytest would say of each case that is not skipped; xfails are strict."""
    judged = [case for case in cases if case.skip is None]
    runner = Runner(reader, judged, batch_tokens=batch_tokens)
    return {case: _outcome(case, runner.judge(case)) for case in judged}


def _outcome(case: Case, findings: Sequence[Finding]) -> CaseOutcome:
    found = sum_up([finding.verdict for finding in findings])
    if case.xfail is None or found == "error":
        return found
    return "xfailed" if found == "failed" else "xpassed"


def pinned_heads(cases: Sequence[Case], site: Site) -> tuple[Head, ...]:
    """The heads that blocking cases name one by one, in order; known gaps pin nothing."""
    found = {
        head
        for case in cases
        if case.xfail is None and case.skip is None and case.severity == "blocking"
        for expectation in case.expectations
        for head in expectation.rule.heads.members
        if isinstance(head, Head)
    }
    return tuple(sorted(found & set(site.all_heads())))


def plan(cases: Sequence[Case], site: Site, *, rotary: bool) -> Iterator[Mutation]:
    """All changes that are tried on a model, the damaging ones first.

    Args:
        rotary: whether positions are rotations, which cannot be shifted.
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
    """All variants of a model, one at a time, judged by the cases that are for it.

    First the model as it is, for a suite that does not hold proves nothing by failing.

    Args:
        model: as `attnprobe.load` gives it, of an anatomy that can be mutated.

    Raises:
        ModelError: it is of another, or it has several kinds of attention.
    """
    if len(model.sites) != 1:
        raise ModelError(f"{model.name} has several sites; mutants are made of models with one")
    site = next(iter(model.sites.values()))
    yield _judged("unchanged", "green", model, cases)
    for mutation in plan(cases, site, rotary=_is_rotary(model)):
        yield try_mutation(model, mutation, cases)
    yield from read_otherwise(model, cases)


def try_mutation(model: Model, mutation: Mutation, cases: Sequence[Case]) -> Trial:
    """One variant of a model, judged.

    Raises:
        ModelError: the model cannot be changed so.
    """
    wanted: Signal = "red" if EXPECTED[mutation.kind] == "damaging" else "green"
    if mutation.kind == "swap-heads":
        wanted = "moved"
    with _variant(model, mutation) as changed:
        trial = _judged(str(mutation), wanted, changed, cases)
        if wanted == "moved":
            found, note = _matched(model, changed, mutation, cases)
            return replace(trial, found=found, note=note)
        if mutation.kind == "shuffle-output" and not trial.as_wanted:
            seen = largest_change(model, changed, cases, after=mutation.the_head().layer)
            if seen < SEEN_FROM:
                return replace(trial, wanted="unseen", note=_excuse(seen))
        return trial


def read_otherwise(model: Model, cases: Sequence[Case]) -> Iterator[Trial]:
    """The same model read in other ways, which may break no case."""
    from attnprobe.mutants.damage import in_bfloat16

    yield _judged(
        f"batches of {SMALL_BATCH} tokens", "green", model, cases, batch_tokens=SMALL_BATCH
    )
    yield _judged("padding on the left", "green", _LeftPadded(model), cases)
    yield _judged("arithmetic in bfloat16", "green", in_bfloat16(model), cases)


@contextmanager
def _variant(model: Model, mutation: Mutation) -> Iterator[Model]:
    """The variant, in memory; of what is about files, from a folder that is written for it."""
    from attnprobe.models import LoadOptions, load_model
    from attnprobe.mutants.damage import mutant, write_mutant

    if mutation.kind not in ("resave", "bfloat16"):
        yield mutant(model, mutation)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
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


def _judged(
    variant: str,
    wanted: Signal,
    reader: Reader,
    cases: Sequence[Case],
    *,
    batch_tokens: int = BATCH_TOKENS,
) -> Trial:
    found = judge_all(reader, cases, batch_tokens=batch_tokens)
    broken = [case for case, outcome in found.items() if outcome in BROKEN]
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


def _matched(
    model: Model, changed: Model, mutation: Mutation, cases: Sequence[Case]
) -> tuple[str, str]:
    """`moved`, if matching finds a swapped head where it is now, and what it says in words."""
    from attnprobe.mutants.damage import swap_partner

    head = mutation.the_head()
    partner = mutation.other or swap_partner(model, head)
    texts = list(dict.fromkeys(case.sample for case in cases if case.sample.ids is None))
    every = max(1, len(texts) // TEXTS)
    matches = match_heads(model, changed, texts[::every][:TEXTS])
    own = next(match for match in matches if match.old == head)
    others = [one for one in matches if one.old not in (head, partner) and one.fate != "stayed"]
    right = own.fate == "moved" and own.new == partner and not others
    told = "; ".join(str(one) for one in (own, *others))
    return "moved" if right else "mistaken", told


def largest_change(model: Reader, changed: Reader, cases: Sequence[Case], *, after: int) -> float:
    """By how much any attention weight of the layers after one differs, over all texts."""
    largest = 0.0
    for sample in dict.fromkeys(case.sample for case in cases):
        encoding = model.encode(sample)
        for site in encoding.sites.values():
            layers = tuple(layer for layer in site.layers if layer > after)
            if not layers:
                continue
            need = Need(sample, site.name, layers, tuple(range(len(encoding.queries(site.name)))))
            (was,), (now,) = model.collect([need]), changed.collect([need])
            apart = (abs(was.weights[layer] - now.weights[layer]).max() for layer in layers)
            largest = max(largest, *map(float, apart))
    return largest


def _excuse(seen: float) -> str:
    if not seen:
        return "no layer comes after it, so its output reaches no attention"
    return f"no later attention weight changes by more than {format_decimals(seen)}, on any text"


def _is_rotary(model: Model) -> bool:
    return getattr(model.network.config, "rope_parameters", None) is not None


@dataclass(frozen=True)
class _LeftPadded:
    """A model whose batches are filled on the left."""

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
