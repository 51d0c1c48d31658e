"""Parses a whole case file: its defaults, cases and relations."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

from attnprobe.cases import yamltext
from attnprobe.cases.bounds import Unfolded
from attnprobe.cases.case_parser import CaseParser
from attnprobe.cases.entries import Case, Contents, Relation
from attnprobe.cases.error_collector import ErrorCollector
from attnprobe.cases.project_files import ProjectFiles
from attnprobe.cases.relation_parser import RelationParser
from attnprobe.cases.shapes import CaseShape, Defaults, FileShape, RelationShape
from attnprobe.cases.yamltext import Document, YamlPath
from attnprobe.core.errors import CaseError, Mark
from attnprobe.core.names import SUFFIX
from attnprobe.core.texts import Sample
from attnprobe.rules import Rule
from attnprobe.words.heads import HeadSet

# Folders that pytest does not enter, by its default of `norecursedirs`: a notebook keeps copies of
# files in .ipynb_checkpoints.
_NOT_ENTERED = (".*", "*.egg", "_darcs", "build", "CVS", "dist", "node_modules", "venv", "{arch}")


def case_files(paths: Iterable[Path]) -> list[Path]:
    """Files as they are given, and of each folder the case files below it, in pytest's order."""
    return [file for path in paths for file in (_below(path) if path.is_dir() else [path])]


def _below(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.rglob(f"*{SUFFIX}")
        if not any(
            fnmatch(name, pattern)
            for name in file.relative_to(folder).parts[:-1]
            for pattern in _NOT_ENTERED
        )
    )


def load(
    path: Path, name: str, *, head_sets: Mapping[str, HeadSet] | None = None
) -> tuple[Case, ...]:
    """The cases of a file, in file order; see `load_contents`."""
    return load_contents(path, name, head_sets=head_sets).cases


def load_contents(
    path: Path,
    name: str,
    *,
    head_sets: Mapping[str, HeadSet] | None = None,
    root: Path | None = None,
    max_unfolded: int = 1,
) -> Contents:
    """The cases and relations of a file.

    Args:
        name: the file's name in messages and results.
        head_sets: the head sets of the lock file, by name.
        root: the folder that must contain every corpus; by default, or if the case file lies
            outside of it, the folder of the case file.
        max_unfolded: how many times the usual bounds the file may unfold to; see `bounds`.

    Raises:
        CaseError: the file cannot be read, or is not valid YAML.
        CaseErrors: everything else that is wrong with the file.
    """
    with _without_collector():
        document = yamltext.load(path, name, times=max_unfolded)
        return parse_contents(
            document,
            head_sets=head_sets,
            folder=path.parent,
            root=root,
            max_unfolded=max_unfolded,
        )


@contextmanager
def _without_collector() -> Iterator[None]:
    """Runs a block without the cyclic garbage collector.

    It would look again and again through the values of a large file, none of which is garbage.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def parse(
    document: Document, *, head_sets: Mapping[str, HeadSet] | None = None
) -> tuple[Case, ...]:
    """The cases of a document, in file order; see `parse_contents`."""
    return parse_contents(document, head_sets=head_sets).cases


def parse_contents(
    document: Document,
    *,
    head_sets: Mapping[str, HeadSet] | None = None,
    folder: Path | None = None,
    root: Path | None = None,
    max_unfolded: int = 1,
) -> Contents:
    """The cases and relations of a document.

    Args:
        folder: where the paths of corpora start; the working directory unless given.
    """
    unfolded = Unfolded(document, max_unfolded)
    return _Parser(document, head_sets or {}, folder or Path(), root, unfolded).contents()


class _Parser:
    """Parses one document."""

    def __init__(
        self,
        document: Document,
        head_sets: Mapping[str, HeadSet],
        folder: Path,
        root: Path | None,
        unfolded: Unfolded,
    ) -> None:
        self.document = document
        self.unfolded = unfolded
        self.errors = ErrorCollector(document)
        self.head_sets = head_sets
        folder = folder.resolve()
        root = folder if root is None else root.resolve()
        self.files = ProjectFiles(folder, root if folder.is_relative_to(root) else folder)

    def contents(self) -> Contents:
        value = self.document.value
        if not isinstance(value, dict):
            raise CaseError(
                "a case file is a mapping that starts with version: 1", self.document.mark(())
            )
        for path in _paths_of_empty_values(value, ()):
            self.errors.add_empty_value(path)
        self.errors.raise_all()
        file = self.errors.validate(FileShape, value, ())
        defaults = self.errors.validate(Defaults, file.defaults, ("defaults",)) if file else None
        # Errors above the cases would come back in most of the cases.
        self.errors.raise_all()
        assert file is not None  # the error would have been raised
        assert defaults is not None
        if file.cases is None and file.relations is None:
            self.errors.add("cases: is missing; a file holds cases:, relations: or both", ())
        ids: dict[str, Mark] = {}
        cases = self._cases(file, defaults, ids)
        relations = self._relations(file, defaults, ids, cases=None if self.errors else cases)
        self.errors.raise_all()
        return Contents(_with_related(cases), tuple(relations), self.files.texts)

    def _cases(self, file: FileShape, defaults: Defaults, ids: dict[str, Mark]) -> list[Case]:
        parser = CaseParser(self.errors, self.head_sets, self.unfolded, self.files)
        cases: list[Case] = []
        for index, written in enumerate(file.cases or []):
            path: YamlPath = ("cases", index)
            shape = self.errors.validate(CaseShape, written, path)
            if shape is not None:
                self._check_id("case", shape.id, ids, path)
                cases += parser.cases(file, defaults, shape, path)
        return cases

    def _relations(
        self,
        file: FileShape,
        defaults: Defaults,
        ids: dict[str, Mark],
        *,
        cases: Sequence[Case] | None,
    ) -> list[Relation]:
        parser = RelationParser(self.errors, self.head_sets, self.unfolded, self.files, cases=cases)
        relations: list[Relation] = []
        for index, written in enumerate(file.relations or []):
            path: YamlPath = ("relations", index)
            shape = self.errors.validate(RelationShape, written, path)
            if shape is not None:
                self._check_id("relation", shape.id, ids, path)
                relations += parser.relation(file, defaults, shape, path)
        return relations

    def _check_id(self, noun: str, name: str, ids: dict[str, Mark], path: YamlPath) -> None:
        mark = self.document.mark((*path, "id"))
        first = ids.setdefault(name, mark)
        if first != mark:
            message = f"duplicate {noun} id {name!r}, first used in line {first.line}"
            self.errors.add(message, (*path, "id"))


def _with_related(cases: Sequence[Case]) -> tuple[Case, ...]:
    """The cases, each with the texts and rules of all cases for the same model."""
    of_model: dict[str | None, list[tuple[Sample, Rule]]] = {case.model: [] for case in cases}
    for case in cases:
        of_model[case.model] += [(case.sample, entry.rule) for entry in case.expectations]
    related = {model: tuple(rules) for model, rules in of_model.items()}
    texts = {
        model: tuple(dict.fromkeys(sample for sample, _ in rules))
        for model, rules in related.items()
    }
    return tuple(
        replace(case, reference=texts[case.model], related=related[case.model]) for case in cases
    )


def _paths_of_empty_values(value: object, path: YamlPath) -> Iterator[YamlPath]:
    """The paths of keys without a value: `xfail:` without a reason must not mean no xfail."""
    match value:
        case None:
            yield path
        case dict():
            for key, item in value.items():
                yield from _paths_of_empty_values(item, (*path, key))
        case list():
            for index, item in enumerate(value):
                yield from _paths_of_empty_values(item, (*path, index))
