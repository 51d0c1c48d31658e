"""Whether the places of the words alone give a suite away.

A minimal pair in which the subject always comes first is won by any head that takes the first
noun, and a relation that always spans two words by any head that looks two words back. Such a suite
says little about what a head attends to; cases in the other order, or at another distance, mend it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from attnprobe.align import Predicts, Selector, locate, words
from attnprobe.cases import Case
from attnprobe.errors import SelectorError
from attnprobe.records import Sample, Span
from attnprobe.relations import OFFSETS, best_place
from attnprobe.rules import Rule
from attnprobe.wording import plural

__all__ = ["LEAST", "Habit", "best_offset", "habits"]

# Fewer pairs than this always lie somehow.
LEAST = 4


@dataclass(frozen=True)
class Habit:
    """A habit of position that would pass a suite.

    Attributes:
        pairs: how many word pairs the suite relates.
        habit: what the head would have to do, in words.
        offset, right: the fixed distance in words that finds most of the pairs, and how many.
    """

    file: str
    suite: str
    model: str | None
    pairs: int
    habit: str
    offset: int
    right: int

    def __str__(self) -> str:
        return (
            f"{self.file}: a habit of position would pass suite {self.suite}: {self.habit} (the "
            f"best fixed offset of up to {max(OFFSETS)} words, {distance(self.offset)}, finds "
            f"{self.right} of {self.pairs}); add cases in another order"
        )


@dataclass(frozen=True)
class _Places:
    """A pair in its text, by the numbers of its words; `over` is None without a contrast."""

    text: str
    from_: int
    to: int
    over: int | None


def habits(cases: Iterable[Case]) -> tuple[Habit, ...]:
    """The habits that would pass the suites of a file, at most one a suite and model.

    Only cases that are expected to pass count, and of their rules those that want one word to find
    another in the same text. A pair counts once, however many cases of its text state it.
    """
    found: dict[tuple[str, str | None], dict[_Places, None]] = {}
    files: dict[str, str] = {}
    for case in cases:
        if case.xfail is None and case.skip is None:
            files[case.suite] = case.mark.file
            found.setdefault((case.suite, case.model), {}).update(dict.fromkeys(_pairs(case)))
    told = []
    for (suite, model), places in found.items():
        pairs = list(places)
        habit = _habit(pairs)
        if habit is not None:
            offset, right = best_offset([pair.to - pair.from_ for pair in pairs])
            told.append(Habit(files[suite], suite, model, len(pairs), habit, offset, right))
    return tuple(told)


def best_offset(steps: Sequence[int]) -> tuple[int, int]:
    """The fixed distance in words, of OFFSETS, that most pairs have, and how many have it.

    Args:
        steps: how many words to the right of `from` each `to` stands.
    """
    counts = [steps.count(offset) for offset in OFFSETS]
    place = best_place(counts)
    return OFFSETS[place], counts[place]


def distance(step: int) -> str:
    """A step in words: `2 words back`."""
    return f"{plural(abs(step), 'word')} {'back' if step < 0 else 'ahead'}"


def _habit(pairs: Sequence[_Places]) -> str | None:
    steps = {pair.to - pair.from_ for pair in pairs}
    if len(pairs) >= LEAST and len(steps) == 1:
        (step,) = steps
        return f'in all {len(pairs)} pairs, "to" stands {distance(step)} from "from"'
    sides = [pair.to < pair.over for pair in pairs if pair.over is not None]
    if len(sides) >= LEAST and len(set(sides)) == 1:
        side = "before" if sides[0] else "behind"
        return f'in all {len(sides)} pairs with a contrast, "to" stands {side} "over"'
    return None


def _pairs(case: Case) -> Iterator[_Places]:
    for expectation in case.expectations:
        rule = expectation.rule
        selectors = {place.field: place.selector for place in rule.places()}
        if not getattr(rule, "wanted", False) or not {"from", "to"} <= selectors.keys():
            continue
        text = _one_text(rule, case.sample)
        if text is None:
            continue
        try:
            places = {name: _word(selector, text) for name, selector in selectors.items()}
        except SelectorError:
            continue  # a special token stands nowhere in the text
        if places["from"] != places["to"]:
            yield _Places(text, places["from"], places["to"], places.get("over"))


def _one_text(rule: Rule, sample: Sample) -> str | None:
    """The text that both ends of a rule lie in; None where they lie in two, or in none."""
    text = rule.text_of(sample, "query")
    apart = rule.site == "cross" or text != rule.text_of(sample, "key")
    return None if apart or sample.ids is not None else text


def _word(selector: Selector, text: str) -> int:
    """The number of the first word that a selector means; of a row that predicts, the one before.

    Raises:
        SelectorError: it means no word.
    """
    spans = locate(selector, text)
    if not spans:
        raise SelectorError("no word")
    (first, *_) = spans
    number = next(index for index, word in enumerate(words(text)) if _touch(word, first))
    return number - any(isinstance(part, Predicts) for part in selector.parts)


def _touch(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end
