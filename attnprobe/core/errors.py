"""Error types. A message says what is wrong, where, and what to do instead.

Whatever cannot be measured raises one of these errors, so that it never counts as a pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

# A message may quote a file, so its length is limited, in bytes of UTF-8.
MOST_BYTES = 2000


@dataclass(frozen=True, order=True, slots=True)
class Mark:
    """A place in a file. Lines and columns count from 1, as in editors."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class AttnprobeError(Exception):
    """Base of all errors that attnprobe raises on purpose. No message is longer than MOST_BYTES."""

    def __str__(self) -> str:
        return limit(super().__str__())


class FileError(AttnprobeError):
    """A file of the user has an error.

    Args:
        message: what is wrong and what to write instead.
        mark: the place in the file, which precedes the printed message.
    """

    def __init__(self, message: str, mark: Mark | None = None) -> None:
        super().__init__(message, mark)
        self.message = limit(message)
        self.mark = mark

    def __str__(self) -> str:
        return limit(f"{self.mark}: {self.message}" if self.mark else self.message)


class CaseError(FileError):
    """One error in a case file."""


class CaseErrors(AttnprobeError):
    """The errors in one case file, in the order of its lines.

    Args:
        stopped: whether the file was read no further because of so many errors.
    """

    def __init__(self, errors: list[CaseError], *, stopped: bool = False) -> None:
        self.errors = sorted(errors, key=lambda error: error.mark or Mark("", 0, 0))
        self.stopped = stopped
        super().__init__(self.errors)

    def __str__(self) -> str:
        lines = [str(error) for error in self.errors]
        sizes = accumulate(len(line.encode("utf-8", "replace")) + 1 for line in lines)
        room = MOST_BYTES - 100
        shown = max(1, sum(size <= room for size in sizes))
        if len(lines) > shown or self.stopped:
            least = "at least " if self.stopped else ""
            lines[shown:] = [f"and {least}{len(lines) - shown + self.stopped} more"]
        return "\n".join(lines)


class CorpusError(FileError):
    """One error in a file of sentences and relations."""


class SelectorError(AttnprobeError):
    """A selector matches no word, several words, or only parts of tokens; or no head or layer."""


class ModelError(AttnprobeError):
    """A model cannot be loaded, or its attention cannot be read exactly."""


class MeasureError(AttnprobeError):
    """An attention row is not a distribution over the keys that it may see."""


class ResultsError(AttnprobeError):
    """A results, baseline or lock file is missing, corrupt or of another schema."""


class PolicyError(AttnprobeError):
    """The policy of the gate is missing, unreadable, or has an error."""


class MissingGlyphWarning(UserWarning):
    """No installed font has some characters of a picture."""


def limit(message: str) -> str:
    """A message of at most MOST_BYTES; … marks where the rest was cut off."""
    # No character takes more than four bytes, so most messages need not be encoded.
    if len(message) <= MOST_BYTES // 4 or len(message.encode("utf-8", "replace")) <= MOST_BYTES:
        return message
    start = message[:MOST_BYTES].encode("utf-8", "replace")[: MOST_BYTES - 3]
    return start.decode("utf-8", "ignore") + "…"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
