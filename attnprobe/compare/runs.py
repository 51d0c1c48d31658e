"""Compares two results files, or runs the same cases on two models and compares the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnprobe import cases
from attnprobe.cases import Case
from attnprobe.compare.changes import Comparison, compare_results, pair_models
from attnprobe.compare.describe import change_rows, sentence, suite_rows
from attnprobe.compare.limits import Limit, exceeded, parse_limit
from attnprobe.compare.side_by_side import (
    changed_sentence,
    draw_change,
    explore_changes,
    fates_sentence,
    head_fates,
    head_row,
    shown_fates,
)
from attnprobe.core.errors import AttnprobeError, ResultsError
from attnprobe.core.names import SUFFIX, short_name
from attnprobe.core.printing import harmless
from attnprobe.models.options import LoadOptions, load_options_by_model
from attnprobe.render.web.compare_page import ChangePictures, HeadRow, compare_page
from attnprobe.render.web.explorer import Explorer
from attnprobe.results.lock import heads_here
from attnprobe.results.records import Results, read_results
from attnprobe.run.pytest_run import run_pytest

COMPARISON_SCHEMA = "attnprobe/comparison-1"
_MOST_PICTURES = 30
_BASELINES = Path(".attnprobe")
_TAIL = 15  # lines of pytest's output that an error quotes

# Takes a message; the context manager shows it until the step is done.
Status = Callable[[str], AbstractContextManager[object]]


@dataclass
class RunComparison:
    """The comparison of two runs, with heads and pictures if two models ran.

    Attributes:
        old, new: what the user gave: results file, baseline or model.
        beyond: one text for each exceeded limit.
        heads: rows of the heads that cases name, lost and moved ones first, and of others that
            changed.
        fates: a sentence about lost and moved heads; empty if there are none.
        explorer: all maps of both models on the texts of changed cases.
        notes: what could not be compared or drawn, and why.
    """

    old: str
    new: str
    comparison: Comparison
    beyond: list[str] = field(default_factory=list)
    heads: Sequence[HeadRow] = ()
    fates: str = ""
    pictures: Sequence[ChangePictures] = ()
    explorer: Explorer | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        """A summary for a release."""
        return f"{sentence(self.comparison)} {self.fates}".rstrip()

    @property
    def beyond_lines(self) -> list[str]:
        """One line for each exceeded limit."""
        return [f"beyond the limit {text}" for text in self.beyond]

    @property
    def fails(self) -> bool:
        """Whether a check broke or a limit was exceeded."""
        return bool(self.comparison.of("broken") or self.beyond)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "schema": COMPARISON_SCHEMA,
            "old": self.old,
            "new": self.new,
            **self.comparison.as_dict(),
            "heads": [vars(head) for head in self.heads],
            "notes": self.notes,
            "beyond": self.beyond,
        }

    def page(self) -> str:
        """The comparison as an HTML page with pictures."""
        return compare_page(
            f"{self.old} → {self.new}",
            subtitle=self.sentence,
            counts={str(kind): count for kind, count in self.comparison.counts().items()},
            rows=change_rows(self.comparison),
            suites=suite_rows(self.comparison),
            heads=self.heads,
            pictures=self.pictures,
            notes=(*self.beyond_lines, *self.comparison.warnings, *self.notes),
            explorer=self.explorer,
        )


# All cases with their files, and the models that cases and relations name.
_Suite = tuple[list[tuple[Path, Case]], set[str | None]]


def compare_runs(
    old: str,
    new: str,
    *,
    limits: Sequence[str],
    allow_gone: bool,
    options: LoadOptions,
    given: Mapping[str, Sequence[str] | None],
    paths: Sequence[Path],
    model: str | None,
    max_unfolded: int,
    draws: bool,
    status: Status,
) -> RunComparison:
    """Compares two results files, or runs pytest on two models and compares the results.

    Args:
        old, new: a results file, the name of a baseline, or the reference of a model.
        limits: limits as `parse_limit` reads them; `gone:0` is the default.
        allow_gone: whether to omit the limit `gone:0`.
        options: options for loading both models.
        given: for each option of a single model, such as `tokenizer`, its `A=VALUE` and `B=VALUE`.
        paths: for two models, case files or folders with case files.
        model: for two models, the model name that the cases use.
        max_unfolded: how many times the usual bounds a case file may unfold to.
        draws: for two models, whether to draw changed cases.

    Raises:
        AttnprobeError: a limit, a results file or a case file cannot be read, only one of the two
            is a results file, pytest did not finish, or the runs have no case in common.
    """
    parsed: list[Limit] = [parse_limit(text) for text in limits]
    files = [_results_file(given) for given in (old, new)]
    for option, entries in given.items():
        if any(files) and entries:
            raise AttnprobeError(f"--{option} is for two models; results say which one they had")
    if all(files):
        before, after = (read_results(file) for file in files if file)
        comparison = compare_results(before, after, models=pair_models(before, after))
        found = RunComparison(old, new, comparison)
    elif any(files):
        file, no_file = (old, new) if files[0] else (new, old)
        if not Path(no_file).exists() and "/" not in no_file:
            raise AttnprobeError(
                f"no file or baseline is named {no_file}; {file} is a results file, so give a "
                "second one, or two models"
            )
        raise AttnprobeError(
            f"{file} is a results file and {no_file} is none; give two results, or two models"
        )
    else:
        load_of = load_options_by_model(options, ("A", "B"), given)
        pair = ((old, load_of["A"]), (new, load_of["B"]))
        suite = _cases(paths, max_unfolded)
        found = _compare_models(pair, paths, suite, model, draws=draws, status=status)
    if not found.comparison.suites:
        raise ResultsError(f"{old} and {new} have no case in common that both executed")
    if not allow_gone and not any(limit.kind == "gone" for limit in parsed):
        parsed.append(parse_limit("gone:0"))
    found.beyond = [text for limit in parsed if (text := exceeded(limit, found.comparison))]
    return found


def _results_file(given: str) -> Path | None:
    """The path of a results file or baseline; None for a model."""
    baseline = _BASELINES / f"{given}.json"
    if baseline.is_file() and not Path(given).exists():
        return baseline
    return Path(given) if given.endswith(".json") else None


def _compare_models(
    models: tuple[tuple[str, LoadOptions], tuple[str, LoadOptions]],
    paths: Sequence[Path],
    suite: _Suite,
    name: str | None,
    *,
    draws: bool,
    status: Status,
) -> RunComparison:
    from attnprobe.models import load_model

    all_cases, model_names = suite
    name = name or _only_name(model_names)
    (old_ref, _), (new_ref, _) = models
    names = [name or short_name(ref) for ref, _ in models]
    runs: list[Results] = []
    for (ref, options), run_name in zip(models, names, strict=True):
        with status(f"running the cases on {ref}"):
            runs.append(_run(ref, options, run_name, paths))
    comparison = compare_results(*runs, models={names[0]: names[1]})
    found = RunComparison(old_ref, new_ref, comparison)
    ran = {(_resolved(item.file), item.name) for item in runs[1].items}
    compared = {
        (path, case.name): case
        for path, case in all_cases
        if (path, case.name) in ran and case.skip is None
    }
    try:
        with status("matching heads"):
            labels = names if names[0] != names[1] else [f"{names[0]} {which}" for which in "AB"]
            old, new = (
                load_model(ref, options, name=label)
                for (ref, options), label in zip(models, labels, strict=True)
            )
            fates = head_fates(old, new, compared.values())
        found.heads = [head_row(fate) for fate in shown_fates(fates)]
        found.fates = fates_sentence(fates)
        found.notes.append(changed_sentence(fates))
    except AttnprobeError as error:
        found.notes.append(f"heads could not be matched: {error}")
        return found
    if not draws:
        return found
    changed = [
        (change, compared[place])
        for kind in ("broken", "weaker", "fixed", "stronger")
        for change in comparison.of(kind)
        if (place := (_resolved(change.key.file), change.name)) in compared
    ]
    with status("drawing"):
        found.pictures = [
            draw_change(change, case, old, new) for change, case in changed[:_MOST_PICTURES]
        ]
        found.explorer = explore_changes([case for _, case in changed], old, new)
    if len(changed) > _MOST_PICTURES:
        found.notes.append(f"{len(changed) - _MOST_PICTURES} more changed cases are not drawn")
    return found


def _cases(paths: Sequence[Path], max_unfolded: int) -> _Suite:
    """All cases with their files, and the models that cases and relations name."""
    head_sets = heads_here()
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise AttnprobeError(f"no such file or folder: {', '.join(missing)}; give --cases PATH")
    files = [file for file in cases.case_files(paths) if file.name.endswith(SUFFIX)]
    suite: list[tuple[Path, Case]] = []
    names: set[str | None] = set()
    for file in files:
        contents = cases.load_contents(
            file, str(file), head_sets=head_sets, root=Path.cwd(), max_unfolded=max_unfolded
        )
        suite += [(file.resolve(), case) for case in contents.cases]
        names |= {case.model for case in contents.cases}
        names |= {relation.model for relation in contents.relations}
    return suite, names


def _only_name(names: set[str | None]) -> str | None:
    """The model that all cases name; None if a case names none."""
    if None in names or not names:
        return None
    if len(names) > 1:
        known = ", ".join(sorted(name for name in names if name))
        raise AttnprobeError(f"the cases are for several models; name one with --model: {known}")
    return next(iter(names))


def _resolved(file: str) -> Path:
    return Path(file).resolve()


def _run(ref: str, options: LoadOptions, name: str, paths: Sequence[Path]) -> Results:
    """Runs pytest over the cases on one model.

    Raises:
        ResultsError: pytest did not finish, or measured no case.
    """
    by_model = {
        "tokenizer": options.tokenizer,
        "source-language": options.source_language,
        "target-language": options.target_language,
    }
    arguments = [
        *map(str, paths),
        f"--attn-model={name}={ref}",
        *(f"--attn-{option}={name}={value}" for option, value in by_model.items() if value),
        f"--attn-device={options.device}",
        f"--attn-dtype={options.dtype}",
        "--attn-figures=none",
        *(["--attn-ignore-remote-code"] if options.ignore_remote_code else []),
        "--rootdir=.",
        *("-q", "-p", "no:cacheprovider"),
        # Settings of the ini file on baselines and single models are for the project's own runs.
        *("-o", "attn_save=", "-o", "attn_compare=", "-o", "attn_compare_fail="),
        *("-o", "attn_tokenizer="),
        *("-o", "attn_source_language=", "-o", "attn_target_language="),
    ]
    run = run_pytest(arguments, captures=True)
    tail = harmless("\n".join(run.output.splitlines()[-_TAIL:]))
    if run.results is None:
        raise ResultsError(f"{ref}: pytest ended with exit code {run.status}:\n{tail}")
    if all(item.state in ("error", "skipped") for item in run.results.items):
        raise ResultsError(f"{ref}: no case could be measured:\n{tail}")
    return run.results
