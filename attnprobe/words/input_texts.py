"""The one or two input texts in which a selector can count."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from attnprobe.core.texts import PAIR_BREAK

# The keys of a selector that name one of two texts: `{pair: word}`.
WhichText = Literal["text", "pair"]
TEXT_KEYS: tuple[WhichText, ...] = get_args(WhichText)


class InputText(NamedTuple):
    """One input text, and its first character in `Sample.joined`."""

    which: WhichText
    start: int
    text: str

    @property
    def name(self) -> str:
        """The text's name in messages."""
        return "the text" if self.which == "text" else "text_pair"


def input_texts(joined: str, pair_start: int | None) -> tuple[InputText, ...]:
    """The one or two texts of `Sample.joined`."""
    if pair_start is None:
        return (InputText("text", 0, joined),)
    first = joined[: pair_start - len(PAIR_BREAK)]
    return InputText("text", 0, first), InputText("pair", pair_start, joined[pair_start:])
