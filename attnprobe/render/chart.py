"""A bar chart of characters, for the terminal and for failure messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attnprobe.core.printing import as_label, display_width
from attnprobe.core.verdicts import Attended
from attnprobe.core.wording import format_short

_EIGHTHS = " ▏▎▍▌▋▊▉"


def bars(
    attended: Sequence[Attended], *, width: int = 24, mark: Mapping[str, str] | None = None
) -> list[str]:
    """One line for each word: its weight, the word, a bar, and a note if the word has one.

    Lines begin with the number, so that no word can act as a workflow command (`::error`).

    Args:
        attended: words and their weights, 0 to 1.
        width: columns of the longest bar, that of the largest weight.
        mark: notes for some words: `{"animal": "expected", "street": "contrast"}`.
    """
    notes = {as_label(word): note for word, note in (mark or {}).items()}
    words = [as_label(entry.word) for entry in attended]
    column = max(map(display_width, words), default=0)
    largest = max((entry.weight for entry in attended), default=0.0) or 1.0
    lines = []
    for word, (_, weight) in zip(words, attended, strict=True):
        full, eighths = divmod(round(8 * width * weight / largest), 8)
        bar = ("█" * full + _EIGHTHS[eighths]).rstrip()
        note = f"{' ' * (width - len(bar))} ← {notes[word]}" if word in notes else ""
        lines.append(
            f"{format_short(weight)}  {word}{' ' * (column - display_width(word))}  {bar}{note}"
        )
    return lines
