"""Whether the places of the words alone give a suite away.

A minimal pair in which the subject always comes first is won by any head that takes the first
noun, and a relation that always spans two words by any head that looks two words back. Such a suite
says little about what a head attends to; cases in the other order, or at another distance, mend it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from attnprobe.align import Predicts, Selector, words
from attnprobe.cases import Case
from attnprobe.errors import SelectorError
from attnprobe.looks import OFFSETS
from attnprobe.records import Sample, Span
from attnprobe.relations import best_place
from attnprobe.rules import Rule
from attnprobe.wording import plural

__all__ = ["LEAST", "Habit", "best_offset", "habits"]

# Fewer pairs than this always lie somehow.
LEAST = 4


@dataclass(frozen=True)
class Habit:
    """A habit of position that would pass a suite.

    Attributes:
        file: of the suite's cases; of several files all names, with commas.
        model: that the suite's cases name, if one does.
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


def habits(cases: Iterable[Case], models: Sequence[str] = ()) -> tuple[Habit, ...]:
    """The habits that would pass the suites of a run, at most one a suite and model.

    Only cases that are expected to pass count, and of their rules those that want one word to find
    another in the same text. A pair counts once, however many cases of its text state it.

    Args:
        models: those that a case runs on if it names none.
    """
    suites: dict[str, dict[str | None, list[Case]]] = {}
    for case in cases:
        if case.xfail is None and case.skip is None:
            suites.setdefault(case.suite, {}).setdefault(case.model, []).append(case)
    told = []
    for suite, own in suites.items():
        for model, part in _by_model(own, models).items():
            pairs = list(dict.fromkeys(pair for case in part for pair in _pairs(case)))
            habit = _habit(pairs)
            if habit is not None:
                files = ", ".join(sorted({case.mark.file for case in part}))
                offset, right = best_offset([pair.to - pair.from_ for pair in pairs])
                told.append(Habit(files, suite, model, len(pairs), habit, offset, right))
    return tuple(told)


def _by_model(
    suite: Mapping[str | None, Sequence[Case]], models: Sequence[str]
) -> dict[str | None, list[Case]]:
    """The cases of a suite that run on one model; under None those that name none.

    A model that a case names has all of its cases. Where each model of the run is one of these,
    the cases that name none make no suite of their own.
    """
    free = suite.get(None, ())
    found: dict[str | None, list[Case]] = {
        model: [*own, *(free if model in models else ())]
        for model, own in suite.items()
        if model is not None
    }
    if free and not (models and set(models) <= found.keys()):
        return {None: list(free), **found}
    return found


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
            places = {
                name: _word(rule, selector, case.sample) for name, selector in selectors.items()
            }
        except SelectorError:
            continue  # a special token stands nowhere in the text
        if places["from"] != places["to"]:
            yield _Places(text, places["from"], places["to"], places.get("over"))


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
