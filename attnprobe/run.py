"""Judges cases against one model: plan, one pass over the texts, verdicts.

Cases are measured in chunks, in their order. A chunk takes along every later case on the same
texts, so that one forward pass serves all that is asked of a text. Rows are kept until their case
is judged, then let go: memory is bounded by the chunk, not by the suite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from attnprobe.attention import BATCH_TOKENS, Reader, mean_rows
from attnprobe.cases import Case, Expectation
from attnprobe.errors import AttnprobeError, MeasureError
from attnprobe.records import Encoding, Floats, Need, Picture, Rows, Sample, Verdict

__all__ = ["CHUNK", "WHOLE_PICTURE", "Finding", "Runner"]

CHUNK = 256
# Texts above this many tokens are drawn as single rows, so whole matrices are not captured.
WHOLE_PICTURE = 40


@dataclass(frozen=True)
class Finding:
    """What became of one expectation: a verdict, or why there is none.

    Attributes:
        matrix: `[target, source]` for the verdict's picture, where pictures were asked for; rows
            that were not captured are NaN.
    """

    expectation: Expectation
    encoding: Encoding | None
    verdict: Verdict | None
    error: AttnprobeError | None
    matrix: Floats | None = None


@dataclass
class _Plan:
    """One expectation on its way: its needs, then their rows, or the error that ended it."""

    encoding: Encoding | None = None
    needs: tuple[Need, ...] = ()
    rows: tuple[Rows, ...] = ()
    error: AttnprobeError | None = None


class Runner:
    """Measures and judges cases, each once.

    Args:
        batch_tokens: tokens in one forward pass, padding included.
        pictures: also capture what the pictures of all verdicts need, in the same pass.
        chunk: how many cases are measured at a time.
    """

    def __init__(
        self,
        model: Reader,
        cases: Sequence[Case],
        *,
        batch_tokens: int = BATCH_TOKENS,
        pictures: bool = False,
        chunk: int = CHUNK,
    ) -> None:
        self.model = model
        self._batch_tokens = batch_tokens
        self._pictures = pictures
        self._chunk = chunk
        self._waiting = dict.fromkeys(cases)
        self._by_sample: dict[Sample, list[Case]] = {}
        for case in cases:
            self._by_sample.setdefault(case.sample, []).append(case)
        self._plans: dict[Case, list[_Plan]] = {}

    def judge(self, case: Case) -> tuple[Finding, ...]:
        """What became of each expectation of the case, in their order."""
        if case not in self._plans:
            self._measure(self._next_chunk(case))
        plans = self._plans.pop(case)
        return tuple(
            self._finding(expectation, plan)
            for expectation, plan in zip(case.expectations, plans, strict=True)
        )

    def pictured(self, finding: Finding) -> Finding:
        """The finding with the weights that its picture shows, by a pass of their own."""
        if finding.verdict is None or finding.verdict.picture is None or finding.encoding is None:
            return finding
        picture = finding.verdict.picture
        layers = tuple(sorted({head.layer for head in picture.heads}))
        need = Need(finding.encoding.sample, picture.site, layers, picture.rows)
        need = _whole(need, finding.encoding)
        (rows,) = self.model.collect([need], batch_tokens=self._batch_tokens)
        return replace(finding, matrix=_matrix(rows, picture))

    def _next_chunk(self, first: Case) -> list[Case]:
        self._waiting.setdefault(first)
        order = list(self._waiting)
        chunk: dict[Case, None] = {}
        for case in order[order.index(first) :]:
            if len(chunk) >= self._chunk:
                break
            same_text = self._by_sample.get(case.sample, [case])
            chunk |= dict.fromkeys(other for other in same_text if other in self._waiting)
        for case in chunk:
            del self._waiting[case]
        return list(chunk)

    def _measure(self, cases: Sequence[Case]) -> None:
        plans = {case: [self._plan(case, entry) for entry in case.expectations] for case in cases}
        self._collect([plan for own in plans.values() for plan in own if plan.error is None])
        self._plans |= plans

    def _plan(self, case: Case, expectation: Expectation) -> _Plan:
        try:
            encoding = self.model.encode(case.sample)
            needs = expectation.rule.needs(encoding)
        except AttnprobeError as error:
            return _Plan(error=error)
        if self._pictures:
            needs += tuple(_whole(need, encoding) for need in needs)
        return _Plan(encoding, needs)

    def _collect(self, plans: Sequence[_Plan]) -> None:
        """Gets the rows of all plans in one go, each need once."""
        needs = dict.fromkeys(need for plan in plans for need in plan.needs)
        try:
            rows = self.model.collect(list(needs), batch_tokens=self._batch_tokens)
        except AttnprobeError as error:
            if len(plans) == 1:
                plans[0].error = error
                return
            # One bad text must not take the others along: halves find out whose error it is.
            middle = len(plans) // 2
            self._collect(plans[:middle])
            self._collect(plans[middle:])
            return
        found = dict(zip(needs, rows, strict=True))
        for plan in plans:
            plan.rows = tuple(found[need] for need in plan.needs)

    def _finding(self, expectation: Expectation, plan: _Plan) -> Finding:
        if plan.error is not None:
            return Finding(expectation, plan.encoding, None, plan.error)
        asked = len(plan.rows) // 2 if self._pictures else len(plan.rows)
        try:
            verdict = expectation.rule.judge(plan.rows[:asked])
        except AttnprobeError as error:
            return Finding(expectation, plan.encoding, None, error)
        matrix = None
        if self._pictures and verdict.picture:
            matrix = _matrix(_at_site(plan.rows[asked:], verdict.picture), verdict.picture)
        return Finding(expectation, plan.encoding, verdict, None, matrix)


def _whole(need: Need, encoding: Encoding) -> Need:
    """The need widened to all rows, if the picture will show them all."""
    length = len(encoding.queries(need.site))
    if length > WHOLE_PICTURE:
        return need
    return Need(need.sample, need.site, need.layers, tuple(range(length)))


def _at_site(rows: Sequence[Rows], picture: Picture) -> Rows:
    for found in rows:
        if found.site == picture.site:
            return found
    raise MeasureError(f"no rows were captured at {picture.site} for the picture")


def _matrix(rows: Rows, picture: Picture) -> Floats:
    mean = mean_rows(rows.weights, picture.heads)
    matrix = np.full((len(rows.queries), len(rows.keys)), np.nan, np.float32)
    matrix[list(rows.positions)] = mean
    return matrix
