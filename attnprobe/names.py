"""Names that the floors above agree on: of files, and of models that were given none."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

__all__ = [
    "BATCH_TOKENS",
    "CHANCE_MAX",
    "LOCK",
    "NO_PICKLE",
    "PACKAGE",
    "PROTECTED",
    "SUFFIX",
    "short_name",
]

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
