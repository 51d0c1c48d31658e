"""Long texts with a sentence in them: how much of the long text is read, and where it is parted.

After Kamradt (2023), "Needle In A Haystack".
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace

import regex

from attnprobe.core.errors import SelectorError
from attnprobe.core.texts import Haystack, Sample
from attnprobe.words.segmentation import words

_SENTENCE_END = regex.compile(r"\p{STerm}++[\p{Pe}\p{Pf}\"']*(?=\s|$|\p{Lo})|\n\s*\n")


def written_out(sample: Sample) -> str:
    """The string that the model reads, as long as `sample.joined`.

    The needle stands in its paragraph, the text of the sample in one of its own.
    """
    around = " ".join(part.text for part in sample.parts if part.which != "text")
    return f"{around}\n{sample.text}" if sample.text else around


def fill(sample: Sample, haystack: Haystack, count: Callable[[Sample], int]) -> Sample:
    """The sample with as much of the long text around its needle as fits.

    The long text is cut behind a word. The needle stands between two sentences of it, at the place
    nearest to its depth.

    Args:
        count: the tokens of a sample, special ones included.

    Raises:
        SelectorError: the needle and the text alone are too long, or the long text is too short.
    """
    ends = [0, *(word.end for word in words(haystack.text))]

    def filled(number: int) -> Sample:
        return replace(sample, filled=_parted(haystack.text[: ends[number]], haystack.depth))

    def length(number: int) -> int:
        return count(filled(number))

    numbers = range(len(ends))
    fitting = bisect_right(numbers, haystack.tokens, key=length) - 1
    if fitting < 1:
        raise SelectorError(
            f"tokens: {haystack.tokens} leave no room for a haystack: the needle and the text have "
            f"{length(0)}"
        )
    if fitting == numbers[-1]:
        raise SelectorError(
            f"the haystack is too short: with all of it the text has {length(fitting)} tokens, and "
            f"tokens: asks for {haystack.tokens}; nothing is repeated, since a model finds again "
            "what it has read once"
        )
    return filled(fitting)


def _parted(text: str, depth: float) -> tuple[str, str]:
    """A text in two, between sentences, as near to a share of its characters as that goes."""
    places = [0, *(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]
    at = min(places, key=lambda place: abs(place - depth * len(text)))
    return text[:at].strip(), text[at:].strip()
