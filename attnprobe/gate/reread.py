"""Loads the models and case files of a run again, to judge its checks outside of pytest."""

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
    """Loads a model of the run with the options that the run had.

    Raises:
        ModelError: it cannot be loaded, or its weights or its tokenizer changed since the run.
    """
    from attnprobe.models import LoadOptions, load_model

    dtype = model.dtype or results.environment.get("dtype") or "float32"
    options = LoadOptions(
        tokenizer=model.tokenizer,
        revision=model.revision,
        dtype=dtype,
        device_map=model.device_map,
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
    """Head sets by name: those that the run recorded, and the others of the lock file.

    Raises:
        ResultsError: the lock file is corrupt, or the results contradict themselves.
    """
    return {**heads_here(), **recorded_sets(results)}


def recorded_sets(results: Results) -> dict[str, HeadSet]:
    """The head sets that a run recorded, by name; the lock file may have changed since.

    Raises:
        ResultsError: two records of one set differ.
    """
    found: dict[str, HeadSet] = {}
    for item in results.items:
        for heads in (heads for entry in item.expectations for heads in entry.head_sets):
            if found.setdefault(heads.name, heads) != heads:
                raise ResultsError(f"the results contradict themselves on head set {heads.name!r}")
    return found


# The run has read the files within its own bounds.
_READ_BEFORE = 10**9


@dataclass(frozen=True)
class Reread:
    """The entries of one case file for one model.

    Attributes:
        cases: all cases of the file for that model, in file order.
        stated: the requested checks that the file still has, in file order.
    """

    cases: tuple[Case, ...]
    stated: Mapping[Key, Case | Relation]


def reread(
    keys: Collection[Key], *, root: Path, head_sets: Mapping[str, HeadSet]
) -> Iterator[Reread]:
    """Reads each case file of these checks again, sorted by path; skips Python probes.

    Args:
        keys: the keys of checks of one model.
        root: the folder that the files of the keys are relative to.
        head_sets: the head sets that cases may name, by name.

    Raises:
        AttnprobeError: a case file is missing or cannot be read.
    """
    for file in sorted({key.file for key in keys}):
        if not file.endswith(SUFFIX):
            continue
        if not (root / file).is_file():
            raise ResultsError(f"no {file} here; run the gate in the root of the project")
        found = cases.load_contents(
            root / file, file, head_sets=head_sets, root=root, max_unfolded=_READ_BEFORE
        )
        wanted = {(key.id, key.row): key for key in keys if key.file == file}
        model = next(iter(wanted.values())).model
        of_model = tuple(case for case in found.cases if case.model in (None, model))
        relations = (relation for relation in found.relations if relation.model in (None, model))
        entries: tuple[Case | Relation, ...] = (*of_model, *relations)
        by_name = {(entry.id, entry.row): entry for entry in entries}
        yield Reread(
            of_model, {wanted[name]: entry for name, entry in by_name.items() if name in wanted}
        )


def check_stated(item: CaseResult, stated: Case | Relation | None) -> None:
    """Checks that a file still states what a record was measured for.

    Args:
        item: the record; one of an older version has no hash of its text, so that may differ.
        stated: the entry of the file; None if it is gone.

    Raises:
        ResultsError: the entry is gone, or its text or its expectations changed.
    """
    text = text_sha256(stated.sample) if isinstance(stated, Case) else None
    is_same = stated is not None and _arguments(stated) == _recorded(item)
    if not is_same or item.text_sha256 not in (None, text):
        raise ResultsError(f"{item.file}: {item.name} is not what the results are of; run again")


def _arguments(entry: Case | Relation) -> list[tuple[str, Mapping[str, object]]]:
    """The rule and the arguments of each expectation of a check, as results record them."""
    if isinstance(entry, Relation):
        return [("relation", {bound.name: bound.demanded}) for bound in entry.bounds]
    return [
        (expectation.rule.kind, dict(expectation.arguments)) for expectation in entry.expectations
    ]


def _recorded(item: CaseResult) -> list[tuple[str, Mapping[str, object]]]:
    return [(entry.rule, dict(entry.arguments)) for entry in item.expectations]
