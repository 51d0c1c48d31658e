"""The case files of a run, read again, so that its checks can be judged outside of pytest."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from attnprobe import cases
from attnprobe.cases import Case, Relation
from attnprobe.compare import Key
from attnprobe.errors import ResultsError
from attnprobe.heads import HeadSet
from attnprobe.names import SUFFIX

__all__ = ["Reread", "reread"]


@dataclass(frozen=True)
class Reread:
    """What one file holds for one model.

    Attributes:
        cases: all of its cases for that model, in order.
        stated: the checks in question that the file still has, in the order of the file.
    """

    cases: tuple[Case, ...]
    stated: Mapping[Key, Case | Relation]


def reread(
    keys: Collection[Key], *, root: Path, head_sets: Mapping[str, HeadSet]
) -> Iterator[Reread]:
    """Each case file of these checks; probes in Python are in none and left out.

    Args:
        keys: checks of one model.
        root: the folder that the files of the keys lie in.

    Raises:
        AttnprobeError: a case file is missing or cannot be read.
    """
    for file in sorted({key[0] for key in keys}):
        if not file.endswith(SUFFIX):
            continue
        if not (root / file).is_file():
            raise ResultsError(f"no {file} here; run the gate in the root of the project")
        found = cases.load_contents(root / file, file, head_sets=head_sets, root=root)
        own = {(key[1], key[2]): key for key in keys if key[0] == file}
        model = next(iter(own.values()))[3]
        mine = tuple(case for case in found.cases if case.model in (None, model))
        related = (one for one in found.relations if one.model in (None, model))
        entries: tuple[Case | Relation, ...] = (*mine, *related)
        named = {(entry.id, entry.row): entry for entry in entries}
        yield Reread(mine, {own[name]: entry for name, entry in named.items() if name in own})
