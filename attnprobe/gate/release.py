"""Makes the decision on a release: runs pytest or reads results, judges them, writes the files."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from attnprobe.core.errors import AttnprobeError, ResultsError
from attnprobe.core.names import NO_PICKLE, PROTECTED
from attnprobe.gate.decision import Decision, cannot_judge
from attnprobe.gate.first_policy import append_policy, first_policy, undemanded
from attnprobe.gate.judge import judge
from attnprobe.gate.lookup import find_policy, missing_policy, read_policy
from attnprobe.gate.moved import moved_in_run
from attnprobe.gate.policy import PYPROJECT, Policy
from attnprobe.gate.twin import judge_twins
from attnprobe.results.environment import environment
from attnprobe.results.files import check_output, is_same, write_json
from attnprobe.results.records import Results, read_results
from attnprobe.run.pytest_run import TESTS_FAILED, run_pytest


@dataclass(frozen=True)
class Request:
    """The options of `attnprobe gate`.

    Attributes:
        arguments: arguments for pytest.
        results: a results file to judge instead of running pytest; None to run it.
        policy: the policy file; None for the pyproject.toml of the project.
        keep: the file to write the results of the run to; None to keep nothing.
        json: the file to write the decision to; None to write none.
        init: whether to write a first policy to pyproject.toml, made from the run.
    """

    arguments: Sequence[str] = ()
    results: Path | None = None
    policy: Path | None = None
    keep: Path | None = None
    json: Path | None = None
    init: bool = False


class Judgement(NamedTuple):
    """A decision and the results that it is about; None if there are no results."""

    decision: Decision
    results: Results | None


class _BadOutput(AttnprobeError):
    """The decision or the results may not be written where the request says."""


def decide(request: Request) -> Judgement:
    """Decides on a release and writes the files that the request names.

    It raises nothing: any error, and an interruption too, makes the decision `cannot judge`.
    """
    try:
        decision, results = _first(request) if request.init else _by_policy(request)
    except _BadOutput as error:
        return Judgement(_unjudged(error), None)
    except AttnprobeError as error:
        decision, results = _unjudged(error), None
    except KeyboardInterrupt:
        decision, results = cannot_judge("interrupted", "the gate was interrupted"), None
    except Exception as error:  # noqa: BLE001  a fault of the gate must not look like a verdict
        decision, results = cannot_judge("fault", f"{type(error).__name__}: {error}"), None
    if request.json is not None:
        try:
            write_json(request.json, decision.as_dict())
        except ResultsError as error:
            lines = [line for reason in decision.reasons for line in reason.lines()]
            notes = (*lines, *decision.notes, decision.sentence)
            decision = replace(cannot_judge("error", str(error)), notes=notes)
    return Judgement(decision, results)


def _by_policy(request: Request) -> Judgement:
    """The decision by the policy of the project."""
    _check_json(
        request.json,
        (request.results, "the file of --results"),
        (request.keep, "the file of --keep"),
        (request.keep and _refused(request.keep), "where --keep leaves what is refused"),
    )
    file = request.policy
    if file is None:
        policy, file, hidden = find_policy(Path())
        if policy is None:
            raise missing_policy(hidden)
    else:
        policy = read_policy(file)
    _check_json(request.json, (file, "the policy"), (policy.baseline, "the policy's baseline"))
    _check_outputs(request)
    try:
        decision, results = _judge_by(policy, request)
    except AttnprobeError as error:
        decision, results = _unjudged(error), None
    return Judgement(replace(decision, notes=(*decision.notes, f"policy: {file}")), results)


def _judge_by(policy: Policy, request: Request) -> Judgement:
    # Reading the baseline first shows an unreadable one before a long run.
    baseline = None if policy.baseline is None else read_results(policy.baseline)
    judged = functools.partial(_judged, policy=policy, baseline=baseline)
    if request.results is None:
        _check_arguments(request.arguments, policy)
        _check_candidate(request.arguments, policy)
        return _run(request, judged, policy.baseline)
    if request.arguments or request.keep:
        extra = " ".join([*request.arguments, *(["--keep"] if request.keep else [])])
        raise AttnprobeError(f"--results judges a file and runs nothing, so it takes no {extra}")
    results = read_results(request.results)
    return Judgement(judged(results, commit=environment()["git_commit"]), results)


def _first(request: Request) -> Judgement:
    """The decision by a first policy made from the run; writes that policy if it can be judged."""
    for given, option in ((request.results, "--results"), (request.policy, "--policy")):
        if given is not None:
            raise AttnprobeError(
                f"--init runs the suite and writes {PYPROJECT}, so it takes no {option}"
            )
    target = Path(PYPROJECT)
    # The decision finds whether code was ignored that the model needs.
    _check_arguments(request.arguments, Policy(remote_code="ignore"))
    by_hand = 'write the policy by hand, with candidate = "ini"'
    _check_candidate(request.arguments, Policy(), by_hand)
    _check_json(request.json, (request.keep, "the file of --keep"), (target, "the policy"))
    _check_outputs(request, policy=target)
    existing = find_policy(Path()).file
    if existing is not None:
        raise AttnprobeError(f"--init writes a first policy, and {existing} has one already")

    def judged(results: Results) -> Decision:
        policy = first_policy(results)
        decision = _judged(results, policy)
        if decision.verdict == "cannot judge" or not policy.demands:
            note = f"no policy was written to {target}: this run could not be judged"
            return replace(decision, notes=(*decision.notes, note))
        append_policy(target, policy)
        notes = [f"the policy was written to {target}; the last line judges this run by it"]
        notes += [
            f"the policy does not demand suite {suite}: no check that could block was judged"
            for suite in undemanded(results)
        ]
        return replace(decision, notes=(*decision.notes, *notes))

    return _run(request, judged, None)


def _check_json(json: Path | None, *files: tuple[Path | None, str]) -> None:
    """Raises _BadOutput if the decision would overwrite another file of the run."""
    for file, what in files:
        if json is not None and file is not None and is_same(json, file):
            raise _BadOutput(f"--json {json} is {what}; write the decision to a file of its own")


def _check_outputs(request: Request, *, policy: Path | None = None) -> None:
    """Raises _BadOutput for an output, or a policy to write, that cannot be written."""
    for path in (request.json, request.keep, policy):
        try:
            if path is not None:
                check_output(path, as_json=path is not policy)
        except ResultsError as error:
            raise _BadOutput(str(error)) from None


def _unjudged(error: AttnprobeError) -> Decision:
    first, *more = str(error).splitlines()
    return cannot_judge("error", first.rstrip("."), *more)


def _check_arguments(arguments: Sequence[str], policy: Policy) -> None:
    """Refuses options that the gate itself decides on, in PYTEST_ADDOPTS too.

    Raises:
        AttnprobeError: the first such option, and what to do instead.
    """
    for argument in (*arguments, *os.environ.get("PYTEST_ADDOPTS", "").split()):
        if argument.partition("=")[0] == "--attn-json":
            raise AttnprobeError("the gate has a results file of its own; write --keep FILE")
        if re.search("attn[-_]allow[-_]pickle", argument):
            raise AttnprobeError(
                "the gate opens no pickled weights, which can run code, so it takes no "
                f"{argument}; convert them to safetensors"
            )
        if (
            re.search("attn[-_]ignore[-_]remote[-_]code", argument)
            and policy.remote_code == "refuse"
        ):
            raise AttnprobeError(
                "the gate judges a model without the code that came with it only where its policy "
                f'says remote_code = "ignore"; leave out {argument}'
            )


def _check_candidate(
    arguments: Sequence[str],
    policy: Policy,
    otherwise: str = 'set candidate = "ini" in the policy',
) -> None:
    """Refuses to start a run on the models of the ini file.

    `completeness` refuses the results of such a run as well.

    Args:
        otherwise: what else can be done.

    Raises:
        AttnprobeError: the policy wants a candidate on the command line, and there is none.
    """
    is_given = any(argument.partition("=")[0] == "--attn-model" for argument in arguments)
    if not is_given and policy.candidate == "command-line":
        raise AttnprobeError(
            "no candidate was given, so the run would judge the models of the ini file\n"
            f"give --attn-model=NAME=REF, or {otherwise}"
        )


def _run(
    request: Request, judge_results: Callable[[Results], Decision], baseline: Path | None
) -> Judgement:
    """Runs pytest, judges its results and keeps them if the request says so.

    Args:
        request: the options of the command.
        judge_results: makes the decision.
        baseline: a file that the run must not overwrite; None for none.
    """
    # The child process obeys these variables whatever its options and ini file say.
    variables = {NO_PICKLE: "1"}
    if baseline is not None:
        variables[PROTECTED] = str(baseline.resolve())
    run = run_pytest(request.arguments, variables=variables)
    results = run.results
    if results is None:
        return Judgement(cannot_judge("pytest", run.problem), None)
    decision = judge_results(results)
    # A plugin can fail the run without a trace in the results file.
    blamed = any(item.outcome in ("failed", "error") for item in results.items)
    if run.status == TESTS_FAILED and not blamed and decision.verdict != "cannot judge":
        lost = cannot_judge(
            "pytest", "pytest failed, but for no attention check; its output above says why"
        )
        decision = replace(decision, reasons=lost.reasons + decision.reasons)
    if request.keep is not None:
        decision = _keep(results, decision, request.keep, baseline)
    return Judgement(decision, results)


def _keep(results: Results, decision: Decision, keep: Path, baseline: Path | None) -> Decision:
    """Writes the results; those of a refused release never replace the baseline."""
    if decision.exit_code == 0 or baseline is None or not is_same(keep, baseline):
        write_json(keep, results.to_json())
        return decision
    beside = _refused(keep)
    write_json(beside, results.to_json())
    note = f"the baseline {keep} stays as it was; the results are in {beside}"
    return replace(decision, notes=(*decision.notes, note))


def _refused(keep: Path) -> Path:
    """The file beside the baseline for the results of a refused release."""
    return keep.with_name(f"{keep.stem}.refused{keep.suffix}")


def _judged(
    results: Results,
    policy: Policy,
    baseline: Results | None = None,
    commit: str | None = None,
) -> Decision:
    if any(item.outcome == "error" and not item.model for item in results.items):
        # Without a model nothing was judged, so further reasons would only distract.
        return cannot_judge(
            "no model",
            "no model to probe was given",
            "give one with --attn-model=NAME=REF, or by attn_model in the ini file",
        )
    today = datetime.now(UTC).date()
    moved, remarks = moved_in_run(results, policy, baseline)
    return judge(
        results,
        policy,
        today=today,
        baseline=baseline,
        commit=commit,
        moved=moved,
        twins=judge_twins(results, policy),
        remarks=remarks,
    )
