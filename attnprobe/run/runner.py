"""Judges cases on one model: plans them, measures their texts, reaches verdicts.

Texts are measured in blocks, in the order of the cases. A block has all cases on its texts, so that
one forward pass over a text serves all of them. The blocks depend only on the suite, not on the
case that is judged first; so a worker of pytest-xdist gets the same numbers as a run in one
process. If two workers judge cases of one block, both measure it.

The runner keeps rows until their case is judged. When it measures a block, it discards the rows of
all cases before that block, which other workers judge; if such a case is judged after all, its
block is measured again.

The chance rate of a rule on two words is taken over all texts of its file, whatever cases are
selected. Their rows are captured in the same passes; for a large file, a hash draws some of its
texts, which take passes of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Literal, NamedTuple

import numpy as np

from attnprobe.cases import Case, Expectation
from attnprobe.core.arrays import Floats
from attnprobe.core.charts import WHOLE_PICTURE, HeadGrid, LayerPanel, Picture, mean_rows
from attnprobe.core.errors import AttnprobeError, MeasureError
from attnprobe.core.names import BATCH_TOKENS
from attnprobe.core.needs import Need, Readout, Rows
from attnprobe.core.reader import Reader, answers
from attnprobe.core.stats import Spread, spread
from attnprobe.core.texts import Encoding, Sample
from attnprobe.core.verdicts import NAMES_OTHERS, BoundKind, Chance, Verdict
from attnprobe.rules.base import Rule
from attnprobe.rules.chance import PairOutcomes, WordPair, WordPairChance, WordPairs
from attnprobe.run.blocks import BLOCK, Blocks, Suite
from attnprobe.words.heads import HeadSet

# Rules on two words of one row, whose other heads the report shows; other rules have charts.
WORD_PAIRS = ("attends", "ignores")


# The outcome of a case by its expectations alone, whatever its marks.
CaseFound = Literal["passed", "failed", "error"]


@dataclass(frozen=True)
class Finding:
    """The verdict on one expectation of a case, or the error instead.

    Attributes:
        encoding: None if the model cannot take the text.
        matrix: the weights `[target, source]` of the verdict's picture; rows that were not captured
            are NaN. None without pictures.
        panel: all heads of the deciding layer, for a picture beside the first.
        pair: the weight of the verdict's word pair in every head that was captured.
        chosen_elsewhere: head sets of the lock file that were chosen on other weights.
    """

    expectation: Expectation
    encoding: Encoding | None
    verdict: Verdict | None
    error: AttnprobeError | None
    matrix: Floats | None = None
    panel: LayerPanel | None = None
    pair: HeadGrid | None = None
    chosen_elsewhere: tuple[HeadSet, ...] = ()


@dataclass
class _Plan:
    """The requests of one expectation, and later the answers or an error.

    Attributes:
        pictured: requests for the rows of the verdict's picture.
        found: the answer to each request.
        everywhere: of a word pair that failed, the rows in all layers; None if not measured.
    """

    encoding: Encoding | None = None
    needs: tuple[Need | Readout, ...] = ()
    pictured: tuple[Need, ...] = ()
    found: Mapping[Need | Readout, Rows | float] = field(default_factory=dict)
    error: AttnprobeError | None = None
    everywhere: Rows | None = None

    @property
    def requests(self) -> tuple[Need | Readout, ...]:
        return self.needs + self.pictured


@dataclass
class _ChanceTrial:
    """A rule on two words, and the other word pairs of one text that it is tried on."""

    chance: WordPairChance
    encoding: Encoding
    pairs: WordPairs
    plan: _Plan

    def judged_words(self, outcomes: PairOutcomes) -> set[tuple[str, str]]:
        """The spellings of both words of each pair that could be judged."""
        site = self.chance.pair.site
        queries, keys = self.encoding.queries(site), self.encoding.keys(site)
        judged = np.flatnonzero(outcomes.judged).tolist()
        return {self.pairs.spelled(index, queries, keys) for index in judged}


class _ChanceFound(NamedTuple):
    """The chance rate of a rule, and its numbers for the other word pairs, by bound."""

    rate: Chance
    numbers: Mapping[BoundKind, Spread]


class Runner:
    """Measures and judges cases; cases that are judged in their order are measured once.

    Args:
        batch_tokens: tokens in one forward pass, padding included.
        pictures: whether to capture the rows of the verdicts' pictures in the same pass.
        block: the number of texts that are measured together.
        chance_max: a verdict is vacuous if its rule passes for a larger share of the suite's other
            word pairs; None measures no chance rates.
        nearest: whether to measure word pairs that fail in all layers, for the best other head. It
            takes another pass over their texts, of a block together.
    """

    def __init__(
        self,
        model: Reader,
        cases: Sequence[Case],
        *,
        batch_tokens: int = BATCH_TOKENS,
        pictures: bool = False,
        block: int = BLOCK,
        chance_max: float | None = None,
        nearest: bool = False,
    ) -> None:
        self.model = model
        self._batch_tokens = batch_tokens
        self._pictures = pictures
        self._chance_max = chance_max
        self._nearest = nearest
        self._pairs: dict[Expectation, WordPair] = {}
        blocks = Blocks(cases, size=block, controls=chance_max is not None)
        self._suites, self._block_of, self._blocks = blocks.suites, blocks.of, blocks.cases
        # The chance of each `WordPair.rate_key` of a suite, or the fault of its rule.
        self._chances: dict[Suite, dict[Hashable, _ChanceFound | str]] = {}
        self._broken: set[int] = set()
        self._order = {case: place for place, case in enumerate(cases)}
        self._plans: dict[Case, list[_Plan]] = {}

    def judge(self, case: Case) -> tuple[Finding, ...]:
        """The finding of each expectation of the case, in file order.

        An error of an expectation becomes part of its finding.
        """
        if case not in self._suites:
            self._suites[case] = Suite.of(case)
            self._suites[case].cases.append(case)
        suite = self._suites[case]
        if self._chance_max is not None and suite not in self._chances:
            if suite.drawn:
                self._measure_together([], [suite])
            else:
                self._measure(suite.block, case)
        if case not in self._plans:
            self._measure(self._block_of.get(case), case)
        plans = self._plans.pop(case)
        return tuple(
            self._finding(expectation, plan, suite)
            for expectation, plan in zip(case.expectations, plans, strict=True)
        )

    def pictured(self, finding: Finding) -> Finding:
        """The finding with the weights of its picture, which takes another pass.

        That pass captures the rows of the word pair in all layers as well.
        """
        if finding.verdict is None or finding.verdict.picture is None or finding.encoding is None:
            return finding
        picture = finding.verdict.picture
        layers = tuple(sorted({head.layer for head in picture.heads}))
        need = Need(finding.encoding.sample, picture.site, layers, picture.rows)
        every = replace(need, layers=finding.encoding.site(picture.site).layers)
        rows, in_all = self.model.collect(
            [_whole(need, finding.encoding), every], batch_tokens=self._batch_tokens
        )
        shown = replace(finding, matrix=_matrix(rows, picture))
        if finding.verdict.outcome in NAMES_OTHERS:
            best = finding.expectation.rule.best_other(in_all)
            shown = replace(shown, verdict=replace(finding.verdict, best_other=best))
        return _with_other_heads(shown, rows, in_all)

    def _discard_plans(self, *, before: Case) -> None:
        place = self._order.get(before, -1)
        self._plans = {
            case: plans for case, plans in self._plans.items() if self._order.get(case, -1) > place
        }

    def _measure(self, number: int | None, case: Case) -> None:
        """Measures a block with all of its cases and controls.

        A block that raises a fault, such as that of one case's rule, is measured in pieces: the
        controls of a suite together, each case alone. So a fault falls on the case that has it,
        whichever case is judged first, and numbers do not depend on that either.

        Args:
            number: the block; None measures only the case, with the controls of its suite.
            case: the case to judge.
        """
        self._discard_plans(before=case)
        suite = self._suites[case]
        if number is None:
            self._measure_together([case], [suite])
            return
        if number not in self._broken:
            found = [known for known in self._suites.values() if known.block == number]
            try:
                self._measure_together(self._blocks[number], list(dict.fromkeys(found)))
                return
            except Exception:  # noqa: BLE001  a rule of another package can raise anything
                self._broken.add(number)
        self._measure_together([], [suite])
        if self._block_of.get(case) == number:
            self._measure_together([case], [])

    def _measure_together(self, cases: Sequence[Case], suites: Sequence[Suite]) -> None:
        """Measures cases, and the controls of suites that have no chance rates yet."""
        measures_chance = self._chance_max is not None
        suites = [suite for suite in suites if measures_chance and suite not in self._chances]
        if not (cases or suites):
            return
        plans = {
            planned: [self._plan(planned, expectation) for expectation in planned.expectations]
            for planned in cases
        }
        controls = {suite: list(self._controls(suite)) for suite in suites}
        all_plans = list(chain.from_iterable(plans.values()))
        all_plans += [control.plan for control in chain.from_iterable(controls.values())]
        self._collect([plan for plan in all_plans if plan.error is None])
        if self._nearest:
            self._look_everywhere(plans)
        for suite in suites:
            self._chances[suite] = _chances(controls[suite])
        self._plans |= plans

    def _controls(self, suite: Suite) -> Iterator[_ChanceTrial]:
        """The controls of each kind of rule in the suite's cases, on each text."""
        kinds: dict[Hashable, WordPairChance] = {}
        for case in suite.cases:
            for expectation in case.expectations:
                chance = self._chance(case.sample, expectation.rule)
                if chance is not None:
                    self._pairs[expectation] = chance.pair
                    kinds.setdefault(chance.pair.rate_key, chance)
        if not kinds:
            return
        stated: dict[Sample, list[WordPair]] = {text: [] for text in suite.controls}
        for sample, rule in suite.related:
            chance = self._chance(sample, rule) if sample in stated else None
            if chance is not None:
                stated[sample].append(chance.pair)
        drawn: dict[Hashable, WordPairs] = {}
        for text, pairs in stated.items():
            for chance in kinds.values():
                key = text, chance.pair.controls_key
                try:
                    encoding = self.model.encode(text)
                    if key not in drawn:
                        drawn[key] = chance.controls(encoding, pairs)
                    controls = drawn[key]
                    needs = chance.needs(encoding, controls) if controls else ()
                except AttnprobeError:
                    continue  # if a case of the run has this text, its finding has the error
                if controls:
                    yield _ChanceTrial(chance, encoding, controls, _Plan(encoding, needs))

    def _chance(self, sample: Sample, rule: Rule) -> WordPairChance | None:
        try:
            return rule.chance(self.model.encode(sample))
        except AttnprobeError:
            return None  # `needs` raises the same error, which the finding reports

    def _plan(self, case: Case, expectation: Expectation) -> _Plan:
        encoding = None
        try:
            encoding = self.model.encode(case.sample)
            needs = expectation.rule.needs(encoding)
        except AttnprobeError as error:
            return _Plan(encoding, error=error)
        needs = tuple(_with_reference(need, case.reference) for need in needs)
        rows = [need for need in needs if self._pictures and isinstance(need, Need)]
        return _Plan(encoding, needs, tuple(_whole(need, encoding) for need in rows))

    def _collect(self, plans: Sequence[_Plan]) -> None:
        """Answers the requests of all plans together, equal requests once."""
        requests = [need for plan in plans for need in plan.requests]
        try:
            found = answers(self.model, requests, batch_tokens=self._batch_tokens)
        except AttnprobeError as error:
            if len(plans) == 1:
                plans[0].error = error
                return
            # Halving finds the plan with the error, so that the others are measured.
            middle = len(plans) // 2
            self._collect(plans[:middle])
            self._collect(plans[middle:])
            return
        for plan in plans:
            plan.found = {need: found[need] for need in plan.requests}

    def _look_everywhere(self, plans: Mapping[Case, Sequence[_Plan]]) -> None:
        """Measures the word pairs of these cases that fail in all layers, in one more pass."""
        wide: list[tuple[_Plan, _Plan]] = []
        for case, planned in plans.items():
            for expectation, plan in zip(case.expectations, planned, strict=True):
                need = _everywhere(expectation.rule, plan)
                if need is not None:
                    wide.append((plan, _Plan(plan.encoding, (need,))))
        self._collect([plan for _, plan in wide])
        for plan, in_all in wide:
            for rows in in_all.found.values():
                assert isinstance(rows, Rows)
                plan.everywhere = rows

    def _finding(self, expectation: Expectation, plan: _Plan, suite: Suite) -> Finding:
        if plan.error is not None:
            return Finding(expectation, plan.encoding, None, plan.error)
        try:
            verdict = _judge(expectation.rule, plan)
            verdict = self._with_chance(verdict, self._pairs.get(expectation), suite)
        except AttnprobeError as error:
            return Finding(expectation, plan.encoding, None, error)
        if not self._pictures or verdict.picture is None:
            return Finding(expectation, plan.encoding, verdict, None)
        rows = _at_site([plan.found[need] for need in plan.pictured], verdict.picture)
        matrix = _matrix(rows, verdict.picture)
        shown = Finding(expectation, plan.encoding, verdict, None, matrix)
        return _with_other_heads(shown, rows, rows)

    def _with_chance(self, verdict: Verdict, pair: WordPair | None, suite: Suite) -> Verdict:
        """The verdict with its chance rate; it becomes vacuous if it holds for too many pairs."""
        if pair is None or self._chance_max is None or suite not in self._chances:
            return verdict
        found = self._chances[suite].get(pair.rate_key, _ChanceFound(Chance(0, 0, 0), {}))
        if isinstance(found, str):
            raise MeasureError(f"how often this passes by chance cannot be measured: {found}")
        chance = found.rate
        idle = chance.rate is not None and chance.rate > self._chance_max
        holds = verdict.outcome in ("passed", "borderline")
        return replace(
            verdict,
            chance=chance,
            by_chance=found.numbers.get(verdict.deciding.kind) if chance.interval else None,
            outcome="vacuous" if idle and holds else verdict.outcome,
        )


def _judge(rule: Rule, plan: _Plan) -> Verdict:
    verdict = rule.judge([plan.found[need] for need in plan.needs])
    if plan.everywhere is None:
        return verdict
    return replace(verdict, best_other=rule.best_other(plan.everywhere))


def _everywhere(rule: Rule, plan: _Plan) -> Need | None:
    """The request for the word pair of a rule in all layers; None if it holds, or has no pair."""
    if plan.error is not None or plan.encoding is None:
        return None
    need = rule.everywhere(plan.encoding)
    try:
        failed = need is not None and _judge(rule, plan).outcome in NAMES_OTHERS
    except AttnprobeError:
        return None  # which the finding reports
    return need if failed else None


def sum_up(verdicts: Sequence[Verdict | None]) -> CaseFound:
    """The outcome of a case or a relation; an error, which is None here, outweighs a failure."""
    outcomes = {verdict.outcome if verdict else "error" for verdict in verdicts}
    return "error" if "error" in outcomes else "failed" if "failed" in outcomes else "passed"


def _chances(controls: Iterable[_ChanceTrial]) -> dict[Hashable, _ChanceFound | str]:
    """The chance of each `WordPair.rate_key` over all texts, or the fault of its rule."""
    passed: Counter[Hashable] = Counter()
    pairs: Counter[Hashable] = Counter()
    words: dict[Hashable, set[tuple[str, str]]] = {}
    numbers: dict[Hashable, dict[BoundKind, list[float]]] = {}
    faults: dict[Hashable, str] = {}
    for control in controls:
        if control.plan.error is not None:
            continue  # if a case of the run has this text, its finding has the error
        rows = [control.plan.found[need] for need in control.plan.needs]
        kind = control.chance.pair.rate_key
        try:
            outcomes = control.chance.judge(rows, control.pairs)
        except Exception as error:  # noqa: BLE001  a rule of another package can raise anything
            faults[kind] = f"{type(error).__name__}: {error}"
            continue
        passed[kind] += int(outcomes.passed[outcomes.judged].sum())
        pairs[kind] += int(outcomes.judged.sum())
        words.setdefault(kind, set()).update(control.judged_words(outcomes))
        for bound, found in outcomes.numbers.items():
            of_bound = numbers.setdefault(kind, {}).setdefault(bound, [])
            of_bound.extend(found[outcomes.judged].tolist())
    rates = {
        kind: _ChanceFound(
            Chance(passed[kind], pairs[kind], len(words[kind])),
            {bound: spread(found) for bound, found in numbers.get(kind, {}).items() if found},
        )
        for kind in words
    }
    return {**rates, **faults}


def _whole(need: Need, encoding: Encoding) -> Need:
    """The request widened to all rows, if the picture will show them all."""
    length = len(encoding.queries(need.site))
    if length > WHOLE_PICTURE:
        return need
    return Need(need.sample, need.site, need.layers, tuple(range(length)))


def _with_reference(need: Need | Readout, reference: tuple[Sample, ...]) -> Need | Readout:
    """The request with these texts as reference, if it is a readout with a mean ablation."""
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


def _with_other_heads(finding: Finding, rows: Rows, of_pair: Rows) -> Finding:
    """The finding on a word pair with the weights of other heads than the deciding one.

    Args:
        rows: the rows of the text in the deciding layers.
        of_pair: the rows of the word pair in all layers that were captured.
    """
    picture = finding.verdict.picture if finding.verdict else None
    if picture is None or finding.expectation.rule.kind not in WORD_PAIRS:
        return finding
    return replace(finding, panel=_panel(rows, picture), pair=_pair(of_pair, picture))


def _panel(rows: Rows, picture: Picture) -> LayerPanel | None:
    """All heads of the deciding layer, to see which others attend to the same words.

    None if heads of several layers decided, or if the text is too long.
    """
    layers = {head.layer for head in picture.heads}
    whole = len(rows.positions) == len(rows.queries)
    if len(layers) > 1 or not whole or len(rows.keys) > WHOLE_PICTURE:
        return None
    (layer,) = layers
    return LayerPanel(rows.site, layer, rows.weights[layer], picture.heads)


def _pair(rows: Rows, picture: Picture) -> HeadGrid:
    """The weight of a picture's word pair in every head of the captured layers.

    It is the sum over the tokens of the word attended to, the mean over those of the word that
    attends (Clark et al. 2019, section 4.1).
    """
    layers = tuple(sorted(rows.weights))
    scores = np.full((len(layers), max(len(rows.weights[at]) for at in layers)), np.nan, np.float32)
    for place, layer in enumerate(layers):
        weights = rows.at(layer, picture.rows)[:, :, list(picture.expected)]
        scores[place, : len(weights)] = weights.sum(axis=2).mean(axis=1)
    return HeadGrid("weight of the pair", layers, scores, picture.heads)
