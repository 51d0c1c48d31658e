"""Baselines: compares a run with its baseline, and saves a whole run as a new one.

A run that did not finish or could not measure a case is neither compared nor saved. A run never
replaces a baseline with checks that it did not measure itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

from attnprobe.compare.changes import (
    Change,
    Comparison,
    check_baseline,
    compare_results,
    pair_models,
)
from attnprobe.compare.limits import exceeded, parse_limit
from attnprobe.core.errors import ResultsError
from attnprobe.core.names import Key
from attnprobe.core.printing import harmless
from attnprobe.core.wording import plural, shorten
from attnprobe.plugin.keys import selection_of, unreadable_key
from attnprobe.plugin.options import Settings
from attnprobe.results.files import write_json
from attnprobe.results.records import CaseResult, Results, read_results

# The most entries that a message names.
_MOST_NAMES = 3


@dataclass(frozen=True)
class Coverage:
    """What a run looked for; it explains why an entry of the baseline is missing from the run.

    For example, `pytest cases/coref` says nothing about a baseline's case in `cases/agreement`.

    Attributes:
        root: the root of the run.
        roots: the folders and files that were collected.
        ignored: whether --ignore or --ignore-glob excludes a path.
        left_out: files that --lf left out unread.
        deselected: the keys of probes that -k, -m, --lf or similar options left out.
        models: the names of the models of the run.
    """

    root: Path
    roots: tuple[Path, ...]
    ignored: Callable[[Path], bool]
    left_out: frozenset[Path]
    deselected: frozenset[Key]
    models: frozenset[str]

    @classmethod
    def of(cls, config: pytest.Config, chosen: Settings) -> Coverage:
        """The coverage of the run of this configuration."""
        start = config.invocation_params.dir
        selection = selection_of(config)
        return cls(
            root=config.rootpath,
            roots=tuple((start / part).resolve() for part in config.args if "::" not in part),
            ignored=_ignored(config),
            left_out=frozenset(map(Path, selection.left_out)),
            deselected=frozenset(selection.deselected),
            models=frozenset(chosen.models),
        )

    def missed(self, case: CaseResult, model: str) -> str | None:
        """Why the run did not look for a case; None if it would have found the case.

        Args:
            case: the entry of the baseline.
            model: the name of its model in this run.

        Returns:
            `its model is not given`, `not selected` or None.
        """
        if model not in self.models:
            return "its model is not given"
        path = (self.root / case.file).resolve()
        if (
            case.key._replace(model=model) in self.deselected
            or path in self.left_out
            or self.ignored(self.root / case.file)
            or not any(path.is_relative_to(root) for root in self.roots)
        ):
            return "not selected"
        return None


def _ignored(config: pytest.Config) -> Callable[[Path], bool]:
    """A test whether --ignore or --ignore-glob excludes a path, as pytest applies them."""
    start = config.invocation_params.dir
    paths = {(start / part).resolve() for part in config.getoption("ignore") or ()}
    globs = [str(start / part) for part in config.getoption("ignore_glob") or ()]

    def ignored(file: Path) -> bool:
        return any(
            part.resolve() in paths or any(fnmatch(str(part), glob) for glob in globs)
            for part in (file, *file.parents)
        )

    return ignored


@dataclass(frozen=True)
class Compared:
    """A comparison with a baseline, and the entries of the baseline that the run lacks.

    Attributes:
        comparison: the comparison, without the entries that the run did not look for.
        stale: entries whose case no longer exists.
        unselected: entries that the run did not look for.
        complaints: why the comparison fails the run, one line each.
    """

    comparison: Comparison
    stale: tuple[Change, ...]
    unselected: tuple[Change, ...]
    complaints: tuple[str, ...]


class Baseline:
    """The two baseline files of a run: the one to compare with and the one to save.

    Attributes:
        compares: whether to compare the run; False for the first run, which makes the baseline.

    Raises:
        pytest.UsageError: there is nothing to compare with, or a limit is unknown.
    """

    def __init__(self, config: pytest.Config, chosen: Settings) -> None:
        self._chosen = chosen
        self._config = config
        if "compare-fail" in chosen.given and chosen.compare is None:
            raise pytest.UsageError("--attn-compare-fail needs --attn-compare NAME")
        # A baseline that only the ini file names may be missing: runs of other tests need none,
        # and one run has to make it.
        is_given = "compare" in chosen.given
        self._may_be_missing = chosen.compare is not None and not (
            is_given or chosen.compare.exists()
        )
        self.compares = chosen.compare is not None and not (
            self._may_be_missing and chosen.save == chosen.compare
        )
        self._old: Results | None = None
        try:
            self._limits = [parse_limit(text) for text in chosen.compare_fail]
        except ResultsError as error:
            raise pytest.UsageError(harmless(str(error))) from None

    def read(self) -> None:
        """Reads both files before anything runs.

        Raises:
            pytest.UsageError: the first cannot be compared with, or the second would replace a
                file that is no baseline. The run then exits with 2, not 4.
        """
        chosen = self._chosen
        try:
            if chosen.compare is not None and not self._may_be_missing:
                if not chosen.compare.exists():
                    raise ResultsError(f"{chosen.compare} is not there; save it with --attn-save")
                self._old = _read_baseline(chosen.compare)
            if chosen.save is not None and chosen.save.exists():
                _read_baseline(chosen.save)
        except ResultsError as error:
            self._config.stash[unreadable_key] = True
            raise pytest.UsageError(harmless(str(error))) from None

    def compare(self, found: Results) -> Compared:
        """Compares the run with its baseline.

        Raises:
            ResultsError: there is no baseline, or the run did not finish or has a case twice.
        """
        if self._old is None:
            raise ResultsError(
                f"{self._chosen.compare} is not there; save it with --attn-save, or compare with "
                "nothing by -o attn_compare="
            )
        models = pair_models(self._old, found)
        comparison = compare_results(self._old, found, models=models)
        coverage = Coverage.of(self._config, self._chosen)
        lost = [change for change in comparison.of("gone") if change.new is None]
        missed = {
            change.key: change.old and coverage.missed(change.old, change.key.model)
            for change in lost
        }
        stale = tuple(change for change in lost if missed[change.key] is None)
        unselected = tuple(change for change in lost if missed[change.key] == "not selected")
        absent = len(lost) - len(stale) - len(unselected)
        # An entry that the run did not look for is not gone.
        excluded = {change.key for change in unselected}
        changes = tuple(change for change in comparison.changes if change.key not in excluded)
        comparison = Comparison(changes, comparison.suites, comparison.warnings)
        return Compared(
            comparison,
            stale,
            unselected,
            tuple(self._complaints(comparison, stale, absent)),
        )

    def _complaints(
        self, comparison: Comparison, stale: tuple[Change, ...], absent: int
    ) -> list[str]:
        """Why the comparison fails the run, one line each."""
        complaints = []
        fresh = len(comparison.of("new"))
        if fresh:
            complaints.append(
                f"{plural(fresh, 'case is', 'cases are')} not in the baseline "
                f"{self._chosen.compare}: save a new one"
            )
        if self._chosen.strict:
            for count, why in (
                (len(stale), "without a case"),
                (absent, "for a model that is not given"),
            ):
                if count:
                    complaints.append(
                        f"{_entries(count)} of the baseline {why}, which a strict run does not "
                        "let pass"
                    )
        for limit in self._limits:
            try:
                beyond = exceeded(limit, comparison)
            except ResultsError as error:
                beyond = str(error)
            complaints += [beyond] if beyond else []
        return complaints

    def save(self, found: Results, *, unfinished: str | None) -> str | None:
        """Saves the run as a baseline if the options say so.

        Args:
            found: the results of the run.
            unfinished: why the run is not whole; None if it is.

        Returns:
            Why it was not saved; None if it was, or if nothing was to be saved.
        """
        path = self._chosen.save
        if path is None:
            return None
        try:
            if unfinished:
                raise ResultsError(unfinished)
            if not found.summary()["executed"]:
                raise ResultsError("no probe was judged")
            check_baseline(found)  # a later run must be able to read it
            write_json(path, found.to_json(), check=self._replaceable(found))
        except ResultsError as error:
            return f"no baseline was saved: {error}"
        return None

    def _replaceable(self, found: Results) -> Callable[[Path], None]:
        """A check that raises ResultsError if a file has measured checks that the run lacks."""
        coverage = Coverage.of(self._config, self._chosen)

        def check(path: Path) -> None:
            if not path.exists():
                return
            gone = compare_results(_read_baseline(path), found).of("gone")
            lost = [change for change in gone if change.old and change.old.outcome != "skipped"]
            missed = [
                change
                for change in lost
                if change.new is None
                and change.old is not None
                and coverage.missed(change.old, change.key.model)
            ]
            if missed:
                raise ResultsError(
                    f"{path} has {_entries(len(missed))} that this run did not execute: run all "
                    "cases, or save under another name"
                )
            for why, entries in (
                ("is skipped now", [change for change in lost if _is_skipped(change)]),
                ("has no case any more", [change for change in lost if change.new is None]),
            ):
                if entries:
                    places = shorten([change.key.place for change in entries], _MOST_NAMES)
                    raise ResultsError(
                        f"{path} has {_entries(len(entries))} measured before that {why}: "
                        f"{'; '.join(places)}; to drop their results, delete {path} first"
                    )

        return check


def _read_baseline(path: Path) -> Results:
    """Reads a baseline that a run can be compared with.

    Raises:
        ResultsError: the file is missing, corrupt or of another schema, or its run did not finish,
            could not measure a case or had no model.
    """
    found = read_results(path)
    try:
        check_baseline(found)
    except ResultsError as error:
        raise ResultsError(f"{path}: {error}; delete the file and save a whole run") from None
    return found


def _is_skipped(change: Change) -> bool:
    return change.new is not None and change.new.outcome == "skipped"


def _entries(count: int) -> str:
    return plural(count, "entry", "entries")
