"""Error types. Each says what is wrong, where, and what to do instead.

Nothing here is ever a pass: whatever could not be measured is raised as one of these.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Mark:
    """A place in a file; line and column count from 1, as editors do."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class AttnprobeError(Exception):
    """Base of all errors that attnprobe raises on purpose."""


class FileError(AttnprobeError):
    """A file of the user's says something that cannot be meant.

    Args:
        message: what is wrong and what to write instead.
        mark: where in the file; printed in front of the message.
    """

    def __init__(self, message: str, mark: Mark | None = None) -> None:
        super().__init__(message, mark)
        self.message = message
        self.mark = mark

    def __str__(self) -> str:
        return f"{self.mark}: {self.message}" if self.mark else self.message


class CaseError(FileError):
    """A case file says something that cannot be meant."""


class CaseErrors(AttnprobeError):
    """All that is wrong with one case file, in the order of its lines."""

    def __init__(self, errors: list[CaseError]) -> None:
        self.errors = sorted(errors, key=lambda error: error.mark or Mark("", 0, 0))
        super().__init__(self.errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


class CorpusError(FileError):
    """A file of sentences and relations says something that cannot be meant."""


class SelectorError(AttnprobeError):
    """A word selector matches no word, or several, or no whole tokens."""


class ModelError(AttnprobeError):
    """A model cannot be loaded, or its attention cannot be read exactly."""


class MeasureError(AttnprobeError):
    """An attention row is not a distribution over the keys that it may see."""


class ResultsError(AttnprobeError):
    """A results, baseline or lock file is missing, corrupt or of another schema."""


class PolicyError(AttnprobeError):
    """The policy of the gate is missing, cannot be read, or says what cannot be meant."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message; its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
