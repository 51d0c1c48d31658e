"""Puts the parts of a scan together: `attnprobe scan merge`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from attnprobe.core.parts import WHOLE
from attnprobe.relations.corpus import locate_corpus
from attnprobe.scan.findings import Findings
from attnprobe.scan.output import Output
from attnprobe.scan.sources import Sources
from attnprobe.scan.state import STATE, State, merged


class Merged(NamedTuple):
    """A scan that was put together.

    Attributes:
        written: the files.
        remarks: sentences about corpora that get no suite.
    """

    findings: Findings
    written: list[Path]
    remarks: tuple[str, ...]


def merge(folders: Sequence[Path], output: Output) -> Merged:
    """Writes the files of the whole scan, as one process would have written them.

    Args:
        folders: of the parts, in any order, each with its file of counted blocks.

    Raises:
        ResultsError: a part cannot be read, is of another scan, is there twice, is unfinished, or
            is missing; or a file would be overwritten.
        CorpusError: a corpus that must be copied is no longer the one that was scanned.
        MeasureError: as for `Output.write`.
    """
    start = time.monotonic()
    states = sorted(
        (State.read(folder / STATE) for folder in folders), key=lambda state: state.facts.part
    )
    facts, counted = merged(states)
    environments = [state.facts.environment for state in states]
    facts = replace(
        facts,
        part=WHOLE,
        environment={
            key: _together([environment.get(key) for environment in environments])
            for key in facts.environment
        },
    )
    findings = Findings(facts, counted)
    paths = [locate_corpus(corpus.name) for corpus in facts.corpora]
    sources = Sources.of(paths, output.folder, output.root)
    sources.check(facts.corpora)
    engine = {"name": "merged", "parts": len(states)}
    written = output.write(findings, sources, start=start, engine=engine)
    return Merged(findings, written, tuple(sources.remarks()))


def _together(values: Sequence[str | None]) -> str | None:
    """One value where all parts have the same, else each of them once."""
    found = list(dict.fromkeys(values))
    return found[0] if len(found) == 1 else ", ".join(map(str, found))
