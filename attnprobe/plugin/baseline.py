"""Baselines: a run is compared with one, and saved as one if it was whole.

A run that did not finish is neither, nor is one that could not measure a case. No run replaces a
baseline that has measured what the run has not.
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
from attnprobe.core.wording import plural, shorten
from attnprobe.plugin.keys import selection_of, unreadable_key
from attnprobe.plugin.options import Settings
from attnprobe.results.files import write_json
from attnprobe.results.records import CaseResult, Results, read_results
from attnprobe.run.explain import harmless

_NAMED = 3  # entries that a message names


@dataclass(frozen=True)
class Coverage:
    """What a run looked at, as far as it can be told of a case that it has not.

    Attributes:
        roots: the folders and files that were collected.
        ignored: whether --ignore or --ignore-glob leaves a path out.
        left_out: files that --lf left out unread.
        deselected: the keys of probes that -k, -m, --lf or the like left out.
        models: the models that were given.
    """

    root: Path
    roots: tuple[Path, ...]
    ignored: Callable[[Path], bool]
    left_out: frozenset[Path]
    deselected: frozenset[Key]
    models: frozenset[str]

    @classmethod
    def of(cls, config: pytest.Config, chosen: Settings) -> Coverage:
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
        """Why the run did not look for a case; None if it would have found it.

        Args:
            model: what the case's model is called in this run.
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
    """Whether the command line or the ini file ignores a path, as pytest takes its options."""
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
    """A comparison, and what of the baseline has no case in the run.

    Attributes:
        stale: entries that no case is left for.
        unselected: entries that the run did not look at.
    """

    comparison: Comparison
    stale: tuple[Change, ...]
    unselected: tuple[Change, ...]
    complaints: tuple[str, ...]


class Baseline:
    """The two files of a run: the one that it is compared with and the one that it becomes.

    Attributes:
        compares: whether the run is to be compared; not the one that makes its own baseline.

    Raises:
        pytest.UsageError: there is nothing to compare with, or a limit says nothing that is known.
    """

    def __init__(self, config: pytest.Config, chosen: Settings) -> None:
        self._chosen = chosen
        self._config = config
        if "compare-fail" in chosen.given and chosen.compare is None:
            raise pytest.UsageError("--attn-compare-fail needs --attn-compare NAME")
        # With the baseline in the ini file, runs of other tests need none, and one run makes it.
        asked = "compare" in chosen.given
        self._awaited = chosen.compare is not None and not (asked or chosen.compare.exists())
        self.compares = chosen.compare is not None and not (
            self._awaited and chosen.save == chosen.compare
        )
        self._old: Results | None = None
        try:
            self._limits = [parse_limit(text) for text in chosen.compare_fail]
        except ResultsError as error:
            raise pytest.UsageError(harmless(str(error))) from None

    def read(self) -> None:
        """Reads both files, before anything runs.

        Raises:
            pytest.UsageError: the first cannot be compared with, or the second would replace
                something that is no baseline. Of all these errors it alone is exit code 2.
        """
        chosen = self._chosen
        try:
            if chosen.compare is not None and not self._awaited:
                if not chosen.compare.exists():
                    raise ResultsError(f"{chosen.compare} is not there; save it with --attn-save")
                self._old = _checked(chosen.compare)
            if chosen.save is not None and chosen.save.exists():
                _checked(chosen.save)
        except ResultsError as error:
            self._config.stash[unreadable_key] = True
            raise pytest.UsageError(harmless(str(error))) from None

    def compare(self, found: Results) -> Compared:
        """The run beside its baseline.

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
        # What was not asked for is not gone.
        asked = {change.key for change in unselected}
        kept = tuple(change for change in comparison.changes if change.key not in asked)
        comparison = Comparison(kept, comparison.suites, comparison.warnings)
        return Compared(
            comparison,
            stale,
            unselected,
            tuple(self._complaints(comparison, stale, absent)),
        )

    def _complaints(
        self, comparison: Comparison, stale: tuple[Change, ...], absent: int
    ) -> list[str]:
        """What fails the run."""
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
        """Saves the run as a baseline; why not, if it was not to be.

        Args:
            unfinished: why the run is not whole.
        """
        path = self._chosen.save
        if path is None:
            return None
        try:
            if unfinished:
                raise ResultsError(unfinished)
            if not found.summary()["executed"]:
                raise ResultsError("no probe was judged")
            check_baseline(found)  # refuses what could not be read as a baseline
            write_json(path, found.to_json(), check=self._replaceable(found))
        except ResultsError as error:
            return f"no baseline was saved: {error}"
        return None

    def _replaceable(self, found: Results) -> Callable[[Path], None]:
        """Refuses to replace a file by a run that did not measure all that it holds."""
        coverage = Coverage.of(self._config, self._chosen)

        def check(path: Path) -> None:
            if not path.exists():
                return
            gone = compare_results(_checked(path), found).of("gone")
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
            for why, those in (
                ("is skipped now", [change for change in lost if _skipped(change)]),
                ("has no case any more", [change for change in lost if change.new is None]),
            ):
                if those:
                    places = shorten([change.key.place for change in those], _NAMED)
                    raise ResultsError(
                        f"{path} has {_entries(len(those))} measured before that {why}: "
                        f"{'; '.join(places)}; to let go of what they showed, delete {path} first"
                    )

        return check


def _checked(path: Path) -> Results:
    """A baseline that can be compared with.

    Raises:
        ResultsError: it is missing, corrupt, of another schema, of a run that did not finish, could
            not measure a case or had no model.
    """
    found = read_results(path)
    try:
        check_baseline(found)
    except ResultsError as error:
        raise ResultsError(f"{path}: {error}; delete the file and save a whole run") from None
    return found


def _skipped(change: Change) -> bool:
    return change.new is not None and change.new.outcome == "skipped"


def _entries(count: int) -> str:
    return plural(count, "entry", "entries")
