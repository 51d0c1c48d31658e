"""Where the suites of a scan find its corpora."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from attnprobe.core.errors import CorpusError, ResultsError
from attnprobe.run.folders import run_root
from attnprobe.scan import sources as sources_module
from attnprobe.scan.facts import CorpusFacts
from attnprobe.scan.sources import Sources


def corpus(path: Path) -> CorpusFacts:
    return CorpusFacts(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), 1)


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_corpus_in_the_project_is_named_where_it_lies(project: Path) -> None:
    path = write(project / "data" / "a.tsv")
    sources = Sources.of([Path("data/a.tsv")], Path("deep/scan"), project)
    assert sources.names == ["../../data/a.tsv"]
    assert sources.copy([corpus(path)]) == []
    assert not Path("deep").exists()


def test_corpora_from_elsewhere_are_copied_beside_the_suites(project: Path) -> None:
    paths = [write(project.parent / name / "a.tsv", name) for name in ("one", "two")]
    sources = Sources.of(paths, Path("scan"), project)
    corpora = list(map(corpus, paths))
    sources.check(corpora)
    assert sources.names == ["a.tsv", "2-a.tsv"]
    assert sources.copy(corpora) == [Path("scan/a.tsv"), Path("scan/2-a.tsv")]
    assert [Path("scan", name).read_text() for name in sources.names] == ["one", "two"]
    sources.check(corpora)  # equal files may be written again


def test_a_link_into_the_project_leads_out_of_it(project: Path) -> None:
    path = write(project.parent / "a.tsv")
    Path("a.tsv").symlink_to(path)
    assert Sources.of([Path("a.tsv")], Path("scan"), project).names == ["a.tsv"]
    assert Sources.of([Path("a.tsv")], Path("scan"), project).places == (Path("scan/a.tsv"),)


def test_what_a_case_file_cannot_name_gets_no_suite(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "folder.jsonl").mkdir()
    large = write(project.parent / "large.conllu.gz", "xx")
    paths = [Path("folder.jsonl"), Path("a.parquet"), Path("b.tsv.gz"), large]
    assert Sources.of(paths, Path("scan"), project).names[:2] == [None, None]
    assert Sources.of(paths, Path("scan"), project).names[2:] == ["../b.tsv.gz", large.name]
    monkeypatch.setattr(sources_module, "LARGEST_COPY", 1)
    found = Sources.of(paths, Path("scan"), project)
    assert found.names[3] is None
    assert found.copy([corpus(large)] * 4) == []
    told = [line.partition(": ")[0] for line in found.remarks()]
    assert told == ["no suite for folder.jsonl", "no suite for a.parquet", f"no suite for {large}"]


def test_another_file_in_the_place_of_a_copy_is_kept(project: Path) -> None:
    path = write(project.parent / "a.tsv")
    mine = write(project / "scan" / "a.tsv", "mine")
    with pytest.raises(ResultsError, match=r"another file than .*; name another folder"):
        Sources.of([path], Path("scan"), project).check([corpus(path)])
    assert mine.read_text() == "mine"


def test_a_corpus_that_changes_during_the_scan_is_not_copied(project: Path) -> None:
    path = write(project.parent / "a.tsv")
    before = corpus(path)
    write(path, "changed")
    with pytest.raises(CorpusError, match="has changed while it was scanned"):
        Sources.of([path], Path("scan"), project).copy([before])


@pytest.mark.parametrize(
    ("files", "root"),
    [
        ({}, "a/b"),  # where the command runs
        ({"a/pytest.ini": ""}, "a"),
        ({"pyproject.toml": "[tool.pytest.ini_options]", "a/pyproject.toml": ""}, "."),
        ({"pyproject.toml": "", "a/setup.py": ""}, "."),
        ({"a/setup.py": "", "a/tox.ini": "[tox]"}, "a"),
        ({"a/setup.cfg": "[tool:pytest]", "a/b/pytest.toml": ""}, "a/b"),
    ],
)
def test_the_root_is_the_one_that_pytest_finds(
    files: dict[str, str], root: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = pytester.path / "top"
    for name, text in files.items():
        write(top / name, text)
    here = top / "a" / "b"
    write(here / "scan" / "test_x.py", "def test_x(): pass")
    monkeypatch.chdir(here)
    found = pytester.parseconfig("scan").rootpath
    assert run_root(Path("scan")) == found == Path(os.path.normpath(top / root))


def test_a_folder_elsewhere_is_its_own_root(project: Path) -> None:
    assert run_root(project.parent / "scan") == project.parent / "scan"
