"""From the values of a case file to its cases and relations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from attnprobe.cases import yamltext
from attnprobe.cases.case_parser import CaseParser
from attnprobe.cases.complaints import Complaints, KeyPath
from attnprobe.cases.entries import Case, Contents, Relation
from attnprobe.cases.relation_parser import RelationParser
from attnprobe.cases.shells import CaseShell, Defaults, FileShell, RelationShell
from attnprobe.cases.yamltext import Document
from attnprobe.core.errors import CaseError, CaseErrors, Mark
from attnprobe.words.heads import HeadSet


def load(
    path: Path, name: str, *, head_sets: Mapping[str, HeadSet] | None = None
) -> tuple[Case, ...]:
    """The cases of one file, in its order; as `load_contents`."""
    return load_contents(path, name, head_sets=head_sets).cases


def load_contents(
    path: Path,
    name: str,
    *,
    head_sets: Mapping[str, HeadSet] | None = None,
    root: Path | None = None,
) -> Contents:
    """All that one file holds.

    Args:
        name: how the file is called in messages and results.
        head_sets: named head sets of the lock file.
        root: the folder that no corpus may lie outside of; the file's own folder unless given, or
            where the file itself lies outside of it.

    Raises:
        CaseError, CaseErrors: the file cannot be meant as it stands.
    """
    document = yamltext.load(path, name)
    return parse_contents(document, head_sets=head_sets, folder=path.parent, root=root)


def parse(
    document: Document, *, head_sets: Mapping[str, HeadSet] | None = None
) -> tuple[Case, ...]:
    """The cases of a document; all of its errors at once."""
    return parse_contents(document, head_sets=head_sets).cases


def parse_contents(
    document: Document,
    *,
    head_sets: Mapping[str, HeadSet] | None = None,
    folder: Path | None = None,
    root: Path | None = None,
) -> Contents:
    """The cases and relations of a document; all of its errors at once.

    Args:
        folder: where the paths of corpora start; the working directory unless given.
    """
    return _Parser(document, head_sets or {}, folder or Path(), root).contents()


class _Parser:
    """Walks one document."""

    def __init__(
        self,
        document: Document,
        head_sets: Mapping[str, HeadSet],
        folder: Path,
        root: Path | None,
    ) -> None:
        self.document = document
        self.complaints = Complaints(document)
        self.head_sets = head_sets
        self.folder = folder.resolve()
        self.root = self.folder if root is None else root.resolve()
        if not self.folder.is_relative_to(self.root):
            self.root = self.folder

    def contents(self) -> Contents:
        value = self.document.value
        if not isinstance(value, dict):
            raise CaseError(
                "a case file is a mapping that starts with version: 1", self.document.mark(())
            )
        for path in _empty(value, ()):
            self.complaints.nothing_written(path)
        self.complaints.raise_all()
        # Cases are not looked at below a broken head: most of their errors would be its own.
        shell = self.complaints.validated(FileShell, value, ())
        defaults = (
            self.complaints.validated(Defaults, shell.defaults, ("defaults",)) if shell else None
        )
        if shell is None or defaults is None:
            raise CaseErrors(list(self.complaints.errors.values()))
        if shell.cases is None and shell.relations is None:
            self.complaints.error("cases: is missing; a file holds cases:, relations: or both", ())
        ids: dict[str, Mark] = {}
        cases = self._cases(shell, defaults, ids)
        relations = self._relations(
            shell, defaults, ids, cases=None if self.complaints.errors else cases
        )
        self.complaints.raise_all()
        return Contents(_related(cases), tuple(relations))

    def _cases(self, shell: FileShell, defaults: Defaults, ids: dict[str, Mark]) -> list[Case]:
        parser = CaseParser(self.complaints, self.head_sets)
        found: list[Case] = []
        for index, written in enumerate(shell.cases or []):
            path: KeyPath = ("cases", index)
            spec = self.complaints.validated(CaseShell, written, path)
            if spec is not None:
                self._check_id("case", spec.id, ids, path)
                found += parser.cases(shell, defaults, spec, path)
        return found

    def _relations(
        self,
        shell: FileShell,
        defaults: Defaults,
        ids: dict[str, Mark],
        *,
        cases: Sequence[Case] | None,
    ) -> list[Relation]:
        parser = RelationParser(
            self.complaints, self.head_sets, folder=self.folder, root=self.root, cases=cases
        )
        found: list[Relation] = []
        for index, written in enumerate(shell.relations or []):
            path: KeyPath = ("relations", index)
            spec = self.complaints.validated(RelationShell, written, path)
            if spec is not None:
                self._check_id("relation", spec.id, ids, path)
                found += parser.relation(shell, defaults, spec, path)
        return found

    def _check_id(self, noun: str, name: str, ids: dict[str, Mark], path: KeyPath) -> None:
        mark = self.document.mark((*path, "id"))
        first = ids.setdefault(name, mark)
        if first != mark:
            message = f"duplicate {noun} id {name!r}, first used in line {first.line}"
            self.complaints.error(message, (*path, "id"))


def _related(found: Sequence[Case]) -> tuple[Case, ...]:
    """The cases, each with what the others for its model say."""
    related = {
        model: tuple(
            (case.sample, expectation.rule)
            for case in found
            if case.model == model
            for expectation in case.expectations
        )
        for model in {case.model for case in found}
    }
    texts = {
        model: tuple(dict.fromkeys(sample for sample, _ in pairs))
        for model, pairs in related.items()
    }
    return tuple(
        replace(case, reference=texts[case.model], related=related[case.model]) for case in found
    )


def _empty(value: object, path: KeyPath) -> Iterator[KeyPath]:
    """Where a value is left out: `xfail:` without a reason must not read as no xfail."""
    match value:
        case None:
            yield path
        case dict():
            for key, item in value.items():
                yield from _empty(item, (*path, key))
        case list():
            for index, item in enumerate(value):
                yield from _empty(item, (*path, index))
