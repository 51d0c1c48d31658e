"""Whether the places of the words alone do as well as the heads of a suite.

A minimal pair in which the subject always comes first is won by any head that takes the first
noun, and a relation that mostly spans two words by any head that looks two words back. Such a suite
says little about what a head attends to; cases in the other order, or at another distance, mend it.

The heads are compared with each rule of position on the same pairs of words, once a run is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from attnprobe.cases import Case
from attnprobe.core.errors import SelectorError
from attnprobe.core.names import Key
from attnprobe.core.stats import paired_p
from attnprobe.core.texts import Sample, Span
from attnprobe.core.wording import format_p, plural
from attnprobe.relations.arcs import best_offset_index
from attnprobe.rules import Rule
from attnprobe.words.looks import OFFSETS
from attnprobe.words.segmentation import words
from attnprobe.words.selectors import Predicts, Selector

# Fewer pairs than this always lie somehow.
LEAST = 4
# From so many pairs on the heads must be better than a rule of position beyond chance.
TESTED = 10
SIGNIFICANT = 0.05
# Bounds that want one word to find the other; a `max` alone does not.
_BOUNDS = ("min", "top", "over")

# Of each check, what became of its expectations.
Outcomes = Mapping[Key, Sequence[str]]


@dataclass(frozen=True)
class Habit:
    """A rule of position that does about as well as the heads of a suite.

    Attributes:
        file: of the suite's cases; of several files all names, with commas.
        model: that was judged.
        pairs: how many word pairs the rule was compared on.
        habit: what the rule is, in words.
        offset, right: the fixed distance in words that finds most of all pairs, and how many.
        found, passed: how many of `pairs` the rule finds, and in how many the heads pass.
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
    """Two words that a case relates, by the numbers of the words in their text; plain data.

    Attributes:
        file, id, row: of the case; `expectation` the number of its rule there.
        named: the model that the case names, if it names one.
        over: None without a contrast that is a word of the text.
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
        """What equal pairs share."""
        return self.text, self.from_, self.to, self.over


def stated_pairs(cases: Iterable[Case]) -> tuple[StatedPair, ...]:
    """The word pairs of cases that are expected to pass, of rules that want one to find the other.

    A rule whose words lie in two texts states none.
    """
    return tuple(
        pair for case in cases if case.xfail is None and case.skip is None for pair in _pairs(case)
    )


def habits(
    stated: Iterable[StatedPair], outcomes: Outcomes, models: Sequence[str]
) -> tuple[Habit, ...]:
    """The rules of position that do as well as the heads, at most one a suite and model.

    A pair counts once, however many cases of its text state it; the heads pass it if they pass
    each of them. Pairs that could not be measured are left out. A suite of which a part did not
    run is not judged.

    Args:
        outcomes: of the expectations of each record, in their order.
        models: those that a case runs on if it names none.
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
        found = outcomes.get(pair.key(model))
        if found is None:
            return None
        # A record without expectations was not measured.
        outcome = found[pair.expectation] if pair.expectation < len(found) else "error"
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
    for words_, hits in rules:
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
            best = Habit(files, suite, model, count, words_, offset, right, finds, passes, p)
    return best


def best_offset(steps: Sequence[int]) -> tuple[int, int]:
    """The fixed distance in words, of OFFSETS, that most pairs have, and how many have it.

    Args:
        steps: how many words to the right of `from` each `to` stands.
    """
    counts = [steps.count(offset) for offset in OFFSETS]
    place = best_offset_index(counts)
    return OFFSETS[place], counts[place]


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
        places: dict[str, int] = {}
        # A special token stands nowhere in the text.
        for name, selector in selectors.items():
            with suppress(SelectorError):
                places[name] = _word(rule, selector, case.sample)
        if {"from", "to"} <= places.keys() and places["from"] != places["to"]:
            yield StatedPair(
                case.suite,
                case.mark.file,
                case.id,
                case.row,
                number,
                case.model,
                text,
                places["from"],
                places["to"],
                places.get("over"),
            )


def _one_text(rule: Rule, sample: Sample) -> str | None:
    """The text that both ends of a rule lie in; None where they lie in two, or in none."""
    text = rule.text_of(sample, "query")
    apart = rule.site == "cross" or text != rule.text_of(sample, "key")
    return None if apart or sample.ids is not None else text


def _word(rule: Rule, selector: Selector, sample: Sample) -> int:
    """The number of the first word that a selector means; of a row that predicts, the one before.

    Words of two texts are numbered through, as the model reads them.

    Raises:
        SelectorError: it means no word.
    """
    spans = rule.locate(selector, sample, "query")
    if not spans:
        raise SelectorError("no word")
    (first, *_) = spans
    text = rule.text_of(sample, "query")
    number = next(index for index, word in enumerate(words(text)) if _touch(word, first))
    return number - any(isinstance(part, Predicts) for part in selector.parts)


def _touch(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end
