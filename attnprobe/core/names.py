"""Names that the floors above agree on: of files, checks, and models that were given none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

# The suffix of case files; other YAML plugins leave it alone.
SUFFIX = ".attn.yaml"
# The file of named head sets, in the root of the project.
LOCK = "attnprobe.lock.json"
# How a reference to weights inside an installed package starts.
PACKAGE = "pkg://"
# Environment variables that the gate sets for its run: with the first, no option and no ini key
# opens pickled weights; the second names the baseline of the policy, which the run may not write.
NO_PICKLE = "ATTNPROBE_NO_PICKLE"
PROTECTED = "ATTNPROBE_PROTECTED"
# A rule that passes for more of the other word pairs than this share says little.
CHANCE_MAX = 0.05
# Tokens in one forward pass, padding included, unless told otherwise.
BATCH_TOKENS = 8192


class Key(NamedTuple):
    """What one check on one model is known by, from run to run.

    A node id would not do: pytest-xdist and other selections of models rewrite it.

    Attributes:
        file: relative to the root of the run, with forward slashes.
        row: the label of a template row, None for a plain case.
        model: the model's name in the run.
    """

    file: str
    id: str
    row: str | None
    model: str

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Key:
        """The key of a record that travels as a plain dict."""
        return cls(record["file"], record["id"], record["row"], record["model"])

    @property
    def name(self) -> str:
        """The id, with the row of a template: `it-animal[dog]`."""
        return check_name(self.id, self.row)

    @property
    def place(self) -> str:
        """For messages: `cases/x.attn.yaml: it-animal[dog] on minilm`."""
        return f"{self.file}: {self.name} on {self.model}"

    @property
    def order(self) -> tuple[str, str, str, str]:
        """What keys are sorted by; a row can be None, which compares with no text."""
        return self.file, self.id, self.row or "", self.model


def check_name(id: str, row: str | None) -> str:
    """The id of a check, with the row of a template: `it-animal[dog]`."""
    return id if row is None else f"{id}[{row}]"


def short_name(ref: str) -> str:
    """A readable name for the model of a reference, of letters, digits, `_`, `.` and `-`.

    `pkg://my_model/model` is called my_model, anything else by its last part that says something:
    `runs/best/model` is best.
    """
    if ref.startswith(PACKAGE):
        parts: tuple[str, ...] = (ref.removeprefix(PACKAGE).partition("/")[0],)
    else:
        parts = PurePosixPath(ref.replace("\\", "/")).parts
    telling = [part for part in parts if part not in ("", "/", ".", "..", "model")]
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", telling[-1]) if telling else "model"
