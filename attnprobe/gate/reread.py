"""The models and case files of a run, read again: its checks can be judged outside of pytest."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from attnprobe import cases
from attnprobe.cases import Case, Relation
from attnprobe.core.errors import ModelError, ResultsError
from attnprobe.core.names import SUFFIX, Key
from attnprobe.results.lock import heads_here
from attnprobe.results.records import CaseResult, ModelResult, Results, text_sha256
from attnprobe.words.heads import HeadSet

if TYPE_CHECKING:
    from attnprobe.models import Model


def load_again(model: ModelResult, results: Results) -> Model:
    """A model of the run, as it was judged.

    Raises:
        ModelError: it cannot be loaded, or its weights or its tokenizer are others by now.
    """
    from attnprobe.models import LoadOptions, load_model

    dtype = model.dtype or results.environment.get("dtype") or "float32"
    options = LoadOptions(
        tokenizer=model.tokenizer,
        revision=model.revision,
        dtype=dtype,
        ignore_remote_code=bool(model.ignored_code),
        source_language=model.source_language,
        target_language=model.target_language,
    )
    loaded = load_model(model.ref, options)
    if loaded.weights_sha256 != model.weights_sha256:
        raise ModelError(f"the weights of {model.ref} are not those that were judged")
    if model.tokenizer_sha256 not in (None, loaded.tokenizer_sha256):
        ref = model.tokenizer or model.ref
        raise ModelError(f"the tokenizer of {ref} is not the one that the run used")
    return loaded


def sets_of_run(results: Results) -> dict[str, HeadSet]:
    """The head sets that checks of the run name, as they were; others from the lock file.

    Raises:
        ResultsError: the lock file is corrupt, or the results contradict themselves.
    """
    return {**heads_here(), **recorded_sets(results)}


def recorded_sets(results: Results) -> dict[str, HeadSet]:
    """The head sets that checks of a run name, as they were then: the lock file may be another now.

    Raises:
        ResultsError: two records of a set name other heads.
    """
    found: dict[str, HeadSet] = {}
    for item in results.items:
        for own in (own for entry in item.expectations for own in entry.head_sets):
            if found.setdefault(own.name, own) != own:
                raise ResultsError(f"the results contradict themselves on head set {own.name!r}")
    return found


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
    for file in sorted({key.file for key in keys}):
        if not file.endswith(SUFFIX):
            continue
        if not (root / file).is_file():
            raise ResultsError(f"no {file} here; run the gate in the root of the project")
        found = cases.load_contents(root / file, file, head_sets=head_sets, root=root)
        own = {(key.id, key.row): key for key in keys if key.file == file}
        model = next(iter(own.values())).model
        mine = tuple(case for case in found.cases if case.model in (None, model))
        related = (one for one in found.relations if one.model in (None, model))
        entries: tuple[Case | Relation, ...] = (*mine, *related)
        named = {(entry.id, entry.row): entry for entry in entries}
        yield Reread(mine, {own[name]: entry for name, entry in named.items() if name in own})


def check_stated(item: CaseResult, stated: Case | Relation | None) -> None:
    """Raises ResultsError where a file no longer states what a record is of.

    An older record does not tell its text.
    """
    text = text_sha256(stated.sample) if isinstance(stated, Case) else None
    is_same = stated is not None and _arguments(stated) == _recorded(item)
    if not is_same or item.text_sha256 not in (None, text):
        raise ResultsError(f"{item.file}: {item.name} is not what the results are of; run again")


def _arguments(entry: Case | Relation) -> list[tuple[str, Mapping[str, object]]]:
    """What a check states, as results hold it."""
    if isinstance(entry, Relation):
        return [("relation", {bound.name: bound.demanded}) for bound in entry.bounds]
    return [(one.rule.kind, dict(one.arguments)) for one in entry.expectations]


def _recorded(item: CaseResult) -> list[tuple[str, Mapping[str, object]]]:
    return [(entry.rule, dict(entry.arguments)) for entry in item.expectations]
