"""A bar chart in characters, for the terminal and for failure texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attnprobe.core.printing import display_width, shortened
from attnprobe.core.verdicts import Attended
from attnprobe.core.wording import format_short

_EIGHTHS = " ▏▎▍▌▋▊▉"


def bars(
    attended: Sequence[Attended], *, width: int = 24, mark: Mapping[str, str] | None = None
) -> list[str]:
    """One line a word: its weight, the word, a bar, and the note on the word if it has one.

    Lines begin with the number, so no word can pose as a command to the program that reads the
    log (`::error`).

    Args:
        attended: words and their weights, 0 to 1.
        width: columns of the longest bar; the largest weight has it.
        mark: a note for some words: `{"animal": "expected", "street": "contrast"}`.
    """
    notes = {shortened(word): note for word, note in (mark or {}).items()}
    words = [shortened(one.word) for one in attended]
    column = max(map(display_width, words), default=0)
    largest = max((one.weight for one in attended), default=0.0) or 1.0
    lines = []
    for word, one in zip(words, attended, strict=True):
        full, eighths = divmod(round(8 * width * one.weight / largest), 8)
        bar = ("█" * full + _EIGHTHS[eighths]).rstrip()
        note = f"{' ' * (width - len(bar))} ← {notes[word]}" if word in notes else ""
        lines.append(
            f"{format_short(one.weight)}  {word}{' ' * (column - display_width(word))}  {bar}{note}"
        )
    return lines
