"""The kill table: what a suite says to damaged and to harmless variants of its model.

A suite that gates releases is itself tested this way. Each damaged variant must break a case,
no harmless one may, and a head that was swapped with another must be reported as moved.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from attnprobe.attention import Reader
from attnprobe.cases import Case
from attnprobe.errors import AttnprobeError, ModelError
from attnprobe.matching import match_heads
from attnprobe.mutations import EXPECTED, Mutation
from attnprobe.names import BATCH_TOKENS
from attnprobe.records import Encoding, Head, Need, Readout, Rows, Sample, Site
from attnprobe.run import Finding, Runner

if TYPE_CHECKING:
    from attnprobe.models import Model

__all__ = ["CaseOutcome", "Trial", "judge_all", "pinned_heads", "plan", "trials"]

CaseOutcome = Literal["passed", "failed", "error", "xfailed", "xpassed"]
BROKEN: tuple[CaseOutcome, ...] = ("failed", "error", "xpassed")
Wanted = Literal["red", "green", "moved", "unseen"]

# Texts on which heads are matched.
TEXTS = 24
# So few tokens that a text or two fill a forward pass.
SMALL_BATCH = 24

UNSEEN = "the output of the last layer reaches no attention, and no case asks for predictions"
ROTARY = "rotary positions: only their differences count, so a shift by one changes nothing"
WORDED: Mapping[str, str] = {
    "unchanged": "the model as it is",
    "batch": f"unchanged, at most {SMALL_BATCH} tokens in a batch",
    "left-padding": "unchanged, short texts padded on the left",
    "bfloat16-arithmetic": "unchanged, computed in bfloat16",
}


@dataclass(frozen=True)
class Trial:
    """What became of one variant.

    Attributes:
        variant: what was done: `shuffle-queries L3H1`.
        wanted: `red` where a blocking case must break, `green` where none may, `moved` where
            matching must find the head at its new place, `unseen` where the damage cannot show.
        found: the same in fact: `red` or `green`; for `moved` what matching says.
        blocking, advisory: broken cases of either severity, an xfail that passed among them.
        suites: the suites that the broken cases are of, and how many cases of each.
        note: why nothing is to be seen, or what matching found, or why there are no verdicts.
    """

    model: str
    variant: str
    wanted: Wanted
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
    """What pytest would say of each case that is not skipped; its xfails are strict."""
    judged = [case for case in cases if case.skip is None]
    runner = Runner(reader, judged, batch_tokens=batch_tokens)
    return {case: _outcome(case, runner.judge(case)) for case in judged}


def _outcome(case: Case, findings: Sequence[Finding]) -> CaseOutcome:
    if any(finding.verdict is None for finding in findings):
        return "error"
    failed = any(one.verdict is not None and one.verdict.outcome == "failed" for one in findings)
    if case.xfail is not None:
        return "xfailed" if failed else "xpassed"
    return "failed" if failed else "passed"


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
    """All changes that are tried on a model, damaging ones first.

    Args:
        rotary: whether positions are rotations, which cannot be shifted.
    """
    heads = pinned_heads(cases, site)
    for head in heads:
        yield Mutation("shuffle-queries", head)
    for head in heads:
        yield Mutation("shuffle-output", head)
    for layer in site.layers:
        yield Mutation("reinit-layer", layer=layer)
    yield Mutation("reinit-all")
    yield Mutation("permute-embeddings")
    yield Mutation("halve-positions" if rotary else "shift-positions")
    for head in heads:
        yield Mutation("swap-heads", head)
    yield Mutation("resave")
    yield Mutation("bfloat16")
