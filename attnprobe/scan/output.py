"""Writes the files of a finished scan: results, head sets, case files and the page."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnprobe.core.errors import MeasureError
from attnprobe.core.names import LOCK
from attnprobe.results.files import write_bytes, write_json
from attnprobe.results.lock import check_heads, update_heads
from attnprobe.scan import files
from attnprobe.scan.facts import ScanFacts
from attnprobe.scan.findings import Findings
from attnprobe.scan.sources import Sources
from attnprobe.scan.state import STATE


@dataclass(frozen=True)
class Output:
    """Where a scan writes.

    Attributes:
        folder: for results; None writes nothing.
        root: the root of runs of the suites, into which corpora that lie elsewhere are copied; None
            names every corpus where it lies.
        lock: the lock file, to which the scan adds head sets.
        overwrite: whether to replace an unfinished scan, and head sets of other models.
    """

    folder: Path | None = None
    root: Path | None = None
    lock: Path = Path(LOCK)
    overwrite: bool = False

    @property
    def state(self) -> Path | None:
        """The file of an unfinished scan."""
        return None if self.folder is None else self.folder / STATE

    def check_heads(self, findings: Findings) -> None:
        """Raises ResultsError where a head set of another model would be replaced."""
        if not self.overwrite:
            names = [name for base in findings.names.values() for name in (base, f"{base}-set")]
            weights = findings.facts.model["weights_sha256"]
            check_heads(self.lock, names, weights_sha256=weights)

    def write(
        self, findings: Findings, sources: Sources, *, start: float, engine: Mapping[str, Any]
    ) -> list[Path]:
        """Writes all files of a complete scan and deletes the file of the unfinished one.

        Args:
            start: the time of its start, as of `time.monotonic`.
            engine: as in `Findings.results`.

        Returns:
            The paths of the written files.

        Raises:
            MeasureError: the model cannot read a single sentence, more than half of the tokens of a
                corpus are unknown to it, or no arc has a relation.
            ResultsError: a file cannot be written, or a head set of another model would be
                overwritten.
        """
        if findings.refusal is not None:
            # The scan would fail here again after --resume.
            if self.state is not None:
                self.state.unlink(missing_ok=True)
            raise MeasureError(findings.refusal)
        if self.folder is None or self.state is None:
            return []
        self.check_heads(findings)
        facts = findings.facts
        sets = files.lock_entries(
            findings.found,
            facts.heads,
            {relation.group: findings.names[relation.group] for relation in findings.found},
            _origin(facts),
        )
        if sets:
            update_heads(self.lock, sets, overwrite=self.overwrite)
        written = [self.folder / files.RESULTS, *([self.lock] if sets else [])]
        written += sources.copy(facts.corpora)
        for path, text in self._suites(findings, sources):
            write_bytes(path, text.encode())
            written.append(path)
        page = self.folder / files.PAGE
        write_bytes(page, findings.page().encode("utf-8", "backslashreplace"))
        written.append(page)
        duration = time.monotonic() - start
        results = findings.results(duration_s=duration, engine=engine)
        write_json(self.folder / files.RESULTS, results)
        self.state.unlink(missing_ok=True)
        return written

    def _suites(self, findings: Findings, sources: Sources) -> Iterator[tuple[Path, str]]:
        """The path and the text of each case file."""
        assert self.folder is not None
        facts = findings.facts
        untrained = {
            findings.names[relation.group]
            for relation in findings.found
            if findings.as_good_untrained(relation)
        }
        suites = files.suite_names(facts.model["name"], sources.paths)
        for at, source in enumerate(sources.names):
            if source is None:
                continue
            found, few = findings.in_corpus(at)
            text = files.suite_text(
                found,
                findings.names,
                suite=suites[at],
                few=few,
                untrained=untrained,
                source=source,
                model=facts.model["name"],
                site=facts.site,
                languages=facts.languages,
                among=facts.among,
                seed=facts.seed,
            )
            if text:
                name = files.SUITE if len(facts.corpora) == 1 else f"{at + 1}-{files.SUITE}"
                yield self.folder / name, text


def _origin(facts: ScanFacts) -> dict[str, Any]:
    """The model, corpora and options, which every head set names."""
    return {
        "model": facts.model["name"],
        "revision": facts.model["revision"],
        "weights_sha256": facts.model["weights_sha256"],
        "corpora_sha256": [corpus.sha256 for corpus in facts.corpora],
        "site": facts.site,
        "among": facts.among,
        "seed": facts.seed,
        "attnprobe": facts.attnprobe,
    }
