"""The order control: whether word order alone does as well as the heads of a suite.

If the subject always comes first in a suite's minimal pairs, any head that takes the first noun
passes them. If its relations mostly span two words, any head that looks two words back passes. Such
a suite says little about what a head attends to; cases in another order or at another distance
help.

After a run, each rule of position is compared with the heads on the same pairs of words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from attnprobe.cases import Case
from attnprobe.core.errors import SelectorError
from attnprobe.core.names import Key
from attnprobe.core.stats import paired_p
from attnprobe.core.texts import Sample
from attnprobe.core.wording import format_p, plural
from attnprobe.relations.arcs import best_offset_index
from attnprobe.rules import Rule
from attnprobe.words.looks import OFFSETS
from attnprobe.words.segmentation import words
from attnprobe.words.selectors import Predicts, Selector

# The fewest pairs to judge: a position fits fewer pairs by accident.
LEAST = 4
# From this many pairs on, the heads must be significantly better than a rule of position.
TESTED = 10
SIGNIFICANT = 0.05
# Bounds that require one word to find the other; a `max` alone does not.
_BOUNDS = ("min", "top", "over")

# The outcomes of each check's expectations, in file order.
Outcomes = Mapping[Key, Sequence[str]]


@dataclass(frozen=True)
class Habit:
    """A rule of position that does about as well as the heads of a suite.

    For example, "to" stands 1 word back from "from" in 9 of 10 pairs, and the heads pass in 9.

    Attributes:
        file: the file of the suite's cases, or several files with commas.
        pairs: the number of word pairs that the rule is compared on.
        habit: the rule in words: `"to" stands before "over"`.
        offset, right: the fixed distance in words that most pairs of the suite have, and the
            number of pairs that have it.
        found, passed: the number of `pairs` that the rule finds, and that the heads pass.
        p: exact one-sided McNemar test of the heads against the rule; None for few pairs.
    """

    file: str
    suite: str
    model: str
    pairs: int
    habit: str
    offset: int
    right: int
    found: int
    passed: int
    p: float | None

    def __str__(self) -> str:
        tested = "" if self.p is None else f", p {format_p(self.p)}"
        return (
            f"{self.file}: position alone does as well as the heads in suite {self.suite}: "
            f"{self.habit} in {self.found} of {self.pairs} pairs, and the heads pass in "
            f"{self.passed}{tested}; add cases in another order"
        )


@dataclass(frozen=True)
class StatedPair:
    """Two words that a case relates; plain data, which workers of pytest-xdist can send.

    Attributes:
        file, id, row: file, id and row of the case.
        expectation: index of the expectation in the case.
        named: the model that the case names, if any.
        from_, to: index of each word in the text.
        over: index of the contrast word; None if no contrast is a word of the text.
    """

    suite: str
    file: str
    id: str
    row: str | None
    expectation: int
    named: str | None
    text: str
    from_: int
    to: int
    over: int | None

    def key(self, model: str) -> Key:
        """The key of the case on a model."""
        return Key(self.file, self.id, self.row, model)

    @property
    def place(self) -> tuple[str, int, int, int | None]:
        """The text and the words; equal for pairs that count once."""
        return self.text, self.from_, self.to, self.over


def stated_pairs(cases: Iterable[Case]) -> tuple[StatedPair, ...]:
    """The word pairs of the rules that require one word of a text to find another.

    Cases with `xfail` or `skip`, and rules whose words lie in two texts, have none.
    """
    return tuple(
        pair for case in cases if case.xfail is None and case.skip is None for pair in _pairs(case)
    )


def habits(
    stated: Iterable[StatedPair], outcomes: Outcomes, models: Sequence[str]
) -> tuple[Habit, ...]:
    """The rules of position that do as well as the heads, at most one for a suite and model.

    A pair counts once, even if several cases state it; the heads pass it if they pass all of these
    cases. Pairs that could not be measured are left out. A suite that did not run completely is not
    judged.

    Args:
        models: the models of a case that names none.
    """
    suites: dict[tuple[str, str], list[StatedPair]] = {}
    for pair in stated:
        for model in models if pair.named is None else (pair.named,):
            suites.setdefault((pair.suite, model), []).append(pair)
    found = (_habit(suite, model, pairs, outcomes) for (suite, model), pairs in suites.items())
    return tuple(habit for habit in found if habit is not None)


def _habit(suite: str, model: str, pairs: Sequence[StatedPair], outcomes: Outcomes) -> Habit | None:
    passed: dict[tuple[str, int, int, int | None], bool] = {}
    for pair in pairs:
        judged = outcomes.get(pair.key(model))
        if judged is None:
            return None
        # A check without outcomes was not measured.
        outcome = judged[pair.expectation] if pair.expectation < len(judged) else "error"
        if outcome != "error":
            passed[pair.place] = passed.get(pair.place, True) and outcome != "failed"
    steps = {place: place[2] - place[1] for place in passed}
    offset, right = best_offset(list(steps.values()))
    rules = [
        (f'"to" stands {distance(offset)} from "from"', {p: steps[p] == offset for p in passed}),
        *(
            (
                f'"to" stands {side} "over"',
                {p: (p[2] < p[3]) == (side == "before") for p in passed if p[3] is not None},
            )
            for side in ("before", "behind")
        ),
    ]
    best: Habit | None = None
    files = ", ".join(sorted({pair.file for pair in pairs}))
    for habit, hits in rules:
        heads = {place: passed[place] for place in hits}
        count, finds, passes = len(hits), sum(hits.values()), sum(heads.values())
        p = None
        if count >= TESTED:
            better = sum(heads[place] and not hit for place, hit in hits.items())
            worse = sum(hit and not heads[place] for place, hit in hits.items())
            p = paired_p(better, worse, one_sided=True)
        as_well = finds >= passes or (p is not None and p > SIGNIFICANT)
        if count < LEAST or not as_well:
            continue
        if best is None or finds - passes > best.found - best.passed:
            best = Habit(files, suite, model, count, habit, offset, right, finds, passes, p)
    return best


def best_offset(steps: Sequence[int]) -> tuple[int, int]:
    """The distance in OFFSETS that most pairs have, and the number of pairs that have it.

    Args:
        steps: for each pair, how many words `to` stands to the right of `from`.
    """
    counts = [steps.count(offset) for offset in OFFSETS]
    index = best_offset_index(counts)
    return OFFSETS[index], counts[index]


def distance(step: int) -> str:
    """A step in words: `2 words back`."""
    return f"{plural(abs(step), 'word')} {'back' if step < 0 else 'ahead'}"


def _pairs(case: Case) -> Iterator[StatedPair]:
    for number, expectation in enumerate(case.expectations):
        rule = expectation.rule
        selectors = {place.field: place.selector for place in rule.places()}
        relates = any(getattr(rule, bound, None) is not None for bound in _BOUNDS)
        if not (getattr(rule, "wanted", False) and relates and {"from", "to"} <= selectors.keys()):
            continue
        text = _one_text(rule, case.sample)
        if text is None:
            continue
        indices: dict[str, int] = {}
        for field, selector in selectors.items():
            with suppress(SelectorError):  # a special token is no word of the text
                indices[field] = _word_index(rule, selector, case.sample)
        if {"from", "to"} <= indices.keys() and indices["from"] != indices["to"]:
            yield StatedPair(
                case.suite,
                case.mark.file,
                case.id,
                case.row,
                number,
                case.model,
                text,
                indices["from"],
                indices["to"],
                indices.get("over"),
            )


def _one_text(rule: Rule, sample: Sample) -> str | None:
    """The text of both ends of a rule; None if they lie in two texts, or token ids replace it."""
    text = rule.text_of(sample, "query")
    apart = rule.site == "cross" or text != rule.text_of(sample, "key")
    return None if apart or sample.ids is not None else text


def _word_index(rule: Rule, selector: Selector, sample: Sample) -> int:
    """The index of a selector's first word; for a row that predicts it, the index before.

    Indices of the second of two texts continue those of the first.

    Raises:
        SelectorError: the selector has no word.
    """
    spans = rule.locate(selector, sample, "query")
    if not spans:
        raise SelectorError("no word")
    (first, *_) = spans
    text = rule.text_of(sample, "query")
    overlapping = (
        index
        for index, word in enumerate(words(text))
        if word.start < first.end and first.start < word.end
    )
    return next(overlapping) - any(isinstance(part, Predicts) for part in selector.parts)
