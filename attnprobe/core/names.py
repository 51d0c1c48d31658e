"""Names of files, checks and models, and defaults, that several rooms must agree on."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

from attnprobe.core.errors import AttnprobeError

# The suffix of case files, which no other YAML plugin collects.
SUFFIX = ".attn.yaml"
# The file with the named head sets, in the root of the project.
LOCK = "attnprobe.lock.json"
# The prefix of a reference to a file or a folder in an installed package.
PACKAGE = "pkg://"
# Environment variables that the gate sets for its run. The first forbids pickled weights, whatever
# options and ini keys say. The second names the policy's baseline, which the run may not write.
NO_PICKLE = "ATTNPROBE_NO_PICKLE"
PROTECTED = "ATTNPROBE_PROTECTED"
# An environment variable: the results file of a run that another process started and reads. It is
# gone afterwards, so the run does not print its path.
FOR_PARENT = "ATTNPROBE_RESULTS_FOR_PARENT"
# A rule that passes for a larger share of other word pairs says little about its own pair.
CHANCE_MAX = 0.05
# The most MB of details in the HTML report.
REPORT_BUDGET = 20
# The ini key that raises the bounds on what a case file may hold and unfold to.
MAX_UNFOLDED = "attn_max_unfolded"
# The default number of tokens in one forward pass, padding included.
BATCH_TOKENS = 8192


class Key(NamedTuple):
    """The identity of one check on one model, the same in every run.

    A node id cannot be the identity, because pytest-xdist and the selection of models change it.

    Attributes:
        file: path from the root of the run, with forward slashes.
        row: the label of a template row; None for a case without a template.
        model: the model's name in the run.
    """

    file: str
    id: str
    row: str | None
    model: str

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Key:
        """The key of a record in the form of a plain dict."""
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
        """The sort key: a row can be None, which Python does not compare with text."""
        return self.file, self.id, self.row or "", self.model


def check_name(id: str, row: str | None) -> str:
    """The id of a check, with the row of a template: `it-animal[dog]`."""
    return id if row is None else f"{id}[{row}]"


def short_name(ref: str) -> str:
    """A readable name for a model reference, made of letters, digits, `_`, `.` and `-`.

    The name of `pkg://my_model/model` is my_model. The name of any other reference is its last part
    besides `model`: best for `runs/best/model`. That of `base+adapter` is made of both.
    """
    if (halves := split_adapter(ref)) is not None:
        return "_".join(map(short_name, halves))
    if ref.startswith(PACKAGE):
        parts: tuple[str, ...] = (ref.removeprefix(PACKAGE).partition("/")[0],)
    else:
        parts = PurePosixPath(ref.replace("\\", "/")).parts
    distinctive = [part for part in parts if part not in ("", "/", ".", "..", "model")]
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", distinctive[-1]) if distinctive else "model"


def split_adapter(ref: str) -> tuple[str, str] | None:
    """The two references of `base+adapter`; None where there is no `+`, or such a path.

    Of several `+` it is the first that has a path behind it.
    """
    if "+" not in ref or _exists(ref):
        return None
    places = [place for place, sign in enumerate(ref) if sign == "+"]
    place = next((place for place in places if _exists(ref[place + 1 :])), places[0])
    base, adapter = ref[:place], ref[place + 1 :]
    return (base, adapter) if base and adapter else None


def _exists(ref: str) -> bool:
    """Whether a path is there, in a package as well."""
    try:
        if not ref.startswith(PACKAGE):
            return Path(ref).expanduser().exists()
    except (OSError, RuntimeError):  # too long, or the home of nobody
        return False
    package, _, inside = ref.removeprefix(PACKAGE).partition("/")
    folders = package_folders(package) if package.isidentifier() else ()
    return any((folder / inside).exists() for folder in folders)


def package_folders(package: str) -> list[Path]:
    """The folders of an installed package, found without importing it."""
    spec = importlib.util.find_spec(package)
    return [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]


def file_in_package(ref: str, error: type[AttnprobeError]) -> Path:
    """A path inside an installed package, `pkg://package/path`, found without importing it.

    Raises:
        error: there is no such package, or nothing at that path in it.
    """
    package, _, inside = ref.removeprefix(PACKAGE).partition("/")
    if not package.isidentifier() or ".." in Path(inside).parts or Path(inside).is_absolute():
        raise error(f"{ref} is no path inside a package; write {PACKAGE}package/path")
    folders = package_folders(package)
    if not folders:
        raise error(f"package {package} is not installed; {ref} lies in it")
    for folder in folders:
        if (folder / inside).exists():
            return folder / inside
    raise error(f"package {package} has no {inside}; it lies in {folders[0]}")


# What the pattern of a head can be called, and the orders of a table of heads.
HEAD_NAMES = (
    *("diagonal", "previous", "next", "duplicate", "induction", "vertical", "local"),
    *("sparse", "uniform", "mixed", "sink"),
)
SortKey = Literal["head", "pattern", "score", "entropy", "distance"]
