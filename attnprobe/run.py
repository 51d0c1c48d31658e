"""Judges cases against one model: plan, one pass over the texts, verdicts.

Texts are measured in blocks, in the order in which cases name them, each block with all cases on
its texts: one forward pass serves all that is asked of a text. The blocks depend on the suite
alone, not on which case is judged first, so a worker of pytest-xdist gets the same numbers as a
run in one process. Each worker measures the blocks of its items, so a block whose cases two workers
judge is measured in both.

Rows are kept until their case is judged. With the next block those of all cases that come before it
are let go, which other workers judge; such a block is measured anew if it is wanted after all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from attnprobe.attention import Reader, answers, mean_rows
from attnprobe.cases import Case, Expectation
from attnprobe.errors import AttnprobeError, MeasureError
from attnprobe.names import BATCH_TOKENS
from attnprobe.records import (
    WHOLE_PICTURE,
    Encoding,
    Floats,
    LayerPanel,
    Need,
    Picture,
    Readout,
    Rows,
    Sample,
    Verdict,
)

__all__ = ["Finding", "Runner"]

# Texts that are measured together.
BLOCK = 64
# Rules on two words of one row. Where one does not hold, the other heads of its layer are of
# interest; other rules have charts of their own.
WORD_PAIRS = ("attends", "ignores")


@dataclass(frozen=True)
class Finding:
    """What became of one expectation: a verdict, or why there is none.

    Attributes:
        matrix: `[target, source]` for the verdict's picture, where pictures were asked for; rows
            that were not captured are NaN.
        panel: all heads of the layer that decided, beside that picture.
    """

    expectation: Expectation
    encoding: Encoding | None
    verdict: Verdict | None
    error: AttnprobeError | None
    matrix: Floats | None = None
    panel: LayerPanel | None = None


@dataclass
class _Plan:
    """One expectation on its way: its needs, then what they gave, or the error that ended it.

    Attributes:
        pictured: the rows that a picture of the verdict may show.
    """

    encoding: Encoding | None = None
    needs: tuple[Need | Readout, ...] = ()
    pictured: tuple[Need, ...] = ()
    found: Mapping[Need | Readout, Rows | float] = field(default_factory=dict)
    error: AttnprobeError | None = None

    @property
    def asked(self) -> tuple[Need | Readout, ...]:
        return self.needs + self.pictured


class Runner:
    """Measures and judges cases, each once if they are judged in their order.

    Args:
        batch_tokens: tokens in one forward pass, padding included.
        pictures: also capture what the pictures of all verdicts need, in the same pass.
        block: how many texts are measured at a time.
    """

    def __init__(
        self,
        model: Reader,
        cases: Sequence[Case],
        *,
        batch_tokens: int = BATCH_TOKENS,
        pictures: bool = False,
        block: int = BLOCK,
    ) -> None:
        self.model = model
        self._batch_tokens = batch_tokens
        self._pictures = pictures
        numbers: dict[Sample, int] = {}
        blocks: dict[int, list[Case]] = {}
        self._blocks: dict[Case, list[Case]] = {}
        for case in cases:
            number = numbers.setdefault(case.sample, len(numbers) // block)
            self._blocks[case] = blocks.setdefault(number, [])
            self._blocks[case].append(case)
        self._order = {case: place for place, case in enumerate(cases)}
        self._plans: dict[Case, list[_Plan]] = {}

    def judge(self, case: Case) -> tuple[Finding, ...]:
        """What became of each expectation of the case, in their order."""
        if case not in self._plans:
            self._let_go(before=case)
            self._measure(self._blocks.get(case, [case]))
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
        panel = _panel(rows, expectation=finding.expectation, verdict=finding.verdict)
        return replace(finding, matrix=_matrix(rows, picture), panel=panel)

    def _let_go(self, *, before: Case) -> None:
        place = self._order.get(before, -1)
        self._plans = {
            case: plans for case, plans in self._plans.items() if self._order.get(case, -1) > place
        }

    def _measure(self, cases: Sequence[Case]) -> None:
        try:
            plans = {
                case: [self._plan(case, entry) for entry in case.expectations] for case in cases
            }
            self._collect([plan for own in plans.values() for plan in own if plan.error is None])
        except Exception:
            # A fault, as of one case's rule: from now on each case of the block is on its own.
            for case in cases:
                self._blocks.pop(case, None)
            raise
        self._plans |= plans

    def _plan(self, case: Case, expectation: Expectation) -> _Plan:
        try:
            encoding = self.model.encode(case.sample)
            needs = expectation.rule.needs(encoding)
        except AttnprobeError as error:
            return _Plan(error=error)
        needs = tuple(_over(need, case.reference) for need in needs)
        rows = [need for need in needs if self._pictures and isinstance(need, Need)]
        return _Plan(encoding, needs, tuple(_whole(need, encoding) for need in rows))

    def _collect(self, plans: Sequence[_Plan]) -> None:
        """Gets what all plans need in one go, each need once."""
        asked = [need for plan in plans for need in plan.asked]
        try:
            found = answers(self.model, asked, batch_tokens=self._batch_tokens)
        except AttnprobeError as error:
            if len(plans) == 1:
                plans[0].error = error
                return
            # One bad text must not take the others along: halves find out whose error it is.
            middle = len(plans) // 2
            self._collect(plans[:middle])
            self._collect(plans[middle:])
            return
        for plan in plans:
            plan.found = {need: found[need] for need in plan.asked}

    def _finding(self, expectation: Expectation, plan: _Plan) -> Finding:
        if plan.error is not None:
            return Finding(expectation, plan.encoding, None, plan.error)
        try:
            verdict = expectation.rule.judge([plan.found[need] for need in plan.needs])
        except AttnprobeError as error:
            return Finding(expectation, plan.encoding, None, error)
        if not self._pictures or verdict.picture is None:
            return Finding(expectation, plan.encoding, verdict, None)
        rows = _at_site([plan.found[need] for need in plan.pictured], verdict.picture)
        matrix = _matrix(rows, verdict.picture)
        panel = _panel(rows, expectation=expectation, verdict=verdict)
        return Finding(expectation, plan.encoding, verdict, None, matrix, panel)


def _whole(need: Need, encoding: Encoding) -> Need:
    """The need widened to all rows, if the picture will show them all."""
    length = len(encoding.queries(need.site))
    if length > WHOLE_PICTURE:
        return need
    return Need(need.sample, need.site, need.layers, tuple(range(length)))


def _over(need: Need | Readout, reference: tuple[Sample, ...]) -> Need | Readout:
    """A readout whose mean ablation is over these texts; anything else as it is."""
    if isinstance(need, Readout) and need.ablation and need.ablation.how == "mean":
        return replace(need, ablation=replace(need.ablation, reference=reference))
    return need


def _at_site(rows: Sequence[Rows | float], picture: Picture) -> Rows:
    for found in rows:
        if isinstance(found, Rows) and found.site == picture.site:
            return found
    raise MeasureError(f"no rows were captured at {picture.site} for the picture")


def _matrix(rows: Rows, picture: Picture) -> Floats:
    mean = mean_rows(rows.weights, picture.heads)
    matrix = np.full((len(rows.queries), len(rows.keys)), np.nan, np.float32)
    matrix[list(rows.positions)] = mean
    return matrix


def _panel(rows: Rows, *, expectation: Expectation, verdict: Verdict) -> LayerPanel | None:
    """All heads of the layer that decided, where a word pair did not pass: which head does better?

    None where heads of several layers decided together, and for a text that is not drawn whole.
    """
    picture = verdict.picture
    if picture is None or verdict.outcome == "passed" or expectation.rule.kind not in WORD_PAIRS:
        return None
    layers = {head.layer for head in picture.heads}
    whole = len(rows.positions) == len(rows.queries)
    if len(layers) > 1 or not whole or len(rows.keys) > WHOLE_PICTURE:
        return None
    (layer,) = layers
    return LayerPanel(rows.site, layer, rows.weights[layer], picture.heads)
