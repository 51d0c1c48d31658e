"""`attnprobe gate`: may this model be released? Exit 0 yes, 1 no, 2 that could not be judged."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnprobe.cli.base import app, out
from attnprobe.cli.summary import folder
from attnprobe.errors import AttnprobeError, ModelError, ResultsError
from attnprobe.names import LOCK, NO_PICKLE, PROTECTED

if TYPE_CHECKING:
    from attnprobe.gate import Decision, Moved, Policy, TwinRun
    from attnprobe.heads import HeadSet
    from attnprobe.models import Model
    from attnprobe.names import Key
    from attnprobe.results import ModelResult, Results

__all__: list[str] = []

# What pytest's exit codes mean where they leave nothing to be judged.
_PYTEST = {
    2: "was interrupted, or could not read its case files or a baseline; its output above says why",
    3: "had an internal error",
    4: "was called in a way it does not understand; its output above says why",
    5: "collected nothing",
}
_TESTS_FAILED = 1
# The reasons that leave a run unjudged and say nothing against the policy that is made of it.
_NO_FAULT_OF_RUN = {"no candidate", "ignored code"}


class _SameFile(AttnprobeError):
    """The decision would be written over what must be kept."""


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def gate(
    context: typer.Context,
    results: Annotated[
        Path | None,
        typer.Option("--results", help="Judge this results file instead of running pytest."),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy",
            help="Policy file; else the table tool.attnprobe.gate of pyproject.toml.",
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", help="Write the run's results to this file, once it is judged."),
    ] = None,
    init: Annotated[
        bool,
        typer.Option(
            "--init",
            help="Run the suite once and add the policy that demands what it judged to "
            "pyproject.toml.",
        ),
    ] = False,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the decision to this file.")
    ] = None,
) -> None:
    """Run the suite, or judge its results, and say whether the model may be released.

    All other arguments are pytest's: attnprobe gate cases --attn-model=path/to/model. A project
    needs a policy, which says what must be judged; --init writes the first one.

    Exit 0: it may. Exit 1: it may not. Exit 2: that could not be judged.
    """
    from attnprobe.explain import harmless
    from attnprobe.gate import cannot_judge
    from attnprobe.results import write_json

    try:
        if init:
            decision, found = _first(context.args, results, policy, keep, json)
        else:
            decision, found = _decided(context.args, results, policy, keep, json)
    except _SameFile as error:
        decision, found, json = _unjudged(error), None, None
    except AttnprobeError as error:
        decision, found = _unjudged(error), None
    except KeyboardInterrupt:
        decision, found = cannot_judge("interrupted", "the gate was interrupted"), None
    except Exception as error:  # noqa: BLE001  a fault of the gate must not look like a verdict
        decision, found = cannot_judge("fault", f"{type(error).__name__}: {error}"), None
    if json is not None:
        try:
            write_json(json, decision.as_dict())
        except ResultsError as error:
            told = [line for reason in decision.reasons for line in reason.lines()]
            notes = (*told, *decision.notes, decision.sentence)
            decision = replace(cannot_judge("error", str(error)), notes=notes)
    if found is not None and os.environ.get("GITHUB_ACTIONS") == "true":
        from attnprobe.summary import workflow_commands

        for line in workflow_commands(found, folder=folder(), accepted=decision.accepted):
            out.file.write(f"{line}\n")
    for line in decision.lines():
        out.file.write(f"{harmless(line)}\n")
    raise typer.Exit(decision.exit_code)


def _decided(
    arguments: Sequence[str],
    file: Path | None,
    policy_file: Path | None,
    keep: Path | None,
    json: Path | None,
) -> tuple[Decision, Results | None]:
    """The decision, and the results that it is on where there are some."""
    from attnprobe.gate import find_policy, missing_policy, read_policy

    _check_json(json, file, "the file of --results")
    _check_json(json, keep, "the file of --keep")
    _check_json(json, keep and _refused(keep), "where --keep leaves what is refused")
    if policy_file is None:
        policy, policy_file, hidden = find_policy(Path())
        if policy is None:
            raise missing_policy(hidden)
    else:
        policy = read_policy(policy_file)
    _check_json(json, policy_file, "the policy")
    _check_json(json, policy.baseline, "the policy's baseline")
    try:
        decision, found = _held_against(policy, arguments, file, keep)
    except AttnprobeError as error:
        decision, found = _unjudged(error), None
    return replace(decision, notes=(*decision.notes, f"policy: {policy_file}")), found


def _first(
    arguments: Sequence[str],
    file: Path | None,
    policy_file: Path | None,
    keep: Path | None,
    json: Path | None,
) -> tuple[Decision, Results | None]:
    """The decision under the policy that a run makes; it is written where the run was judged."""
    from attnprobe.gate import (
        PYPROJECT,
        Policy,
        append_policy,
        find_policy,
        first_policy,
        undemanded,
    )

    for given, option in ((file, "--results"), (policy_file, "--policy")):
        if given is not None:
            raise AttnprobeError(
                f"--init runs the suite and writes {PYPROJECT}, so it takes no {option}"
            )
    target = Path(PYPROJECT)
    _refuse(arguments, Policy(remote_code="ignore"))  # the decision tells of it
    _check_json(json, keep, "the file of --keep")
    _check_json(json, target, "the policy")
    stands = find_policy(Path()).file
    if stands is not None:
        raise AttnprobeError(f"--init writes a first policy, and {stands} has one already")

    def judged(found: Results) -> Decision:
        policy = first_policy(found)
        decision = _judged(found, policy, None, commit=None)
        faults = {reason.kind for reason in decision.reasons if reason.weight == "cannot judge"}
        if faults - _NO_FAULT_OF_RUN or not policy.demands:
            note = f"no policy was written to {target}: this run could not be judged"
            return replace(decision, notes=(*decision.notes, note))
        append_policy(target, policy)
        notes = [f"the policy was written to {target}; the last line judges this run by it"]
        notes += [
            f"the policy does not demand suite {suite}: no check that could block was judged"
            for suite in undemanded(found)
        ]
        return replace(decision, notes=(*decision.notes, *notes))

    decision, found = _run(arguments, judged, None)
    if keep is not None and found is not None:
        decision = _keep(found, decision, keep, None)
    return decision, found


def _check_json(json: Path | None, other: Path | None, what: str) -> None:
    """Raises _SameFile where the decision would be written over another file of the run."""
    from attnprobe.results import is_same

    if json is not None and other is not None and is_same(json, other):
        raise _SameFile(f"--json {json} is {what}; write the decision to a file of its own")


def _unjudged(error: AttnprobeError) -> Decision:
    from attnprobe.gate import cannot_judge

    first, *more = str(error).splitlines()
    return cannot_judge("error", first.rstrip("."), *more)


def _held_against(
    policy: Policy, arguments: Sequence[str], file: Path | None, keep: Path | None
) -> tuple[Decision, Results | None]:
    from attnprobe.results import environment, read_results

    # A baseline that cannot be read is known before a long run.
    baseline = None if policy.baseline is None else read_results(policy.baseline)
    if file is None:
        _refuse(arguments, policy)
        _check_candidate(arguments, policy)
        judged = functools.partial(_judged, policy=policy, baseline=baseline, commit=None)
        decision, found = _run(arguments, judged, policy.baseline)
        if keep is not None and found is not None:
            decision = _keep(found, decision, keep, policy.baseline)
    elif arguments or keep:
        extra = " ".join([*arguments, *(["--keep"] if keep else [])])
        raise AttnprobeError(f"--results judges a file and runs nothing, so it takes no {extra}")
    else:
        found = read_results(file)
        decision = _judged(found, policy, baseline, commit=environment()["git_commit"])
    return decision, found


def _keep(found: Results, decision: Decision, keep: Path, baseline: Path | None) -> Decision:
    """Writes the results, but never over the baseline what may not be released."""
    from attnprobe.results import is_same, write_json

    if decision.exit_code == 0 or baseline is None or not is_same(keep, baseline):
        write_json(keep, found.to_json())
        return decision
    beside = _refused(keep)
    write_json(beside, found.to_json())
    note = f"the baseline {keep} stays as it was; the results are in {beside}"
    return replace(decision, notes=(*decision.notes, note))


def _refused(keep: Path) -> Path:
    """Where the results of a release that is blocked go, if not over the baseline."""
    return keep.with_name(f"{keep.stem}.refused{keep.suffix}")


def _refuse(arguments: Sequence[str], policy: Policy) -> None:
    """Refuses options that the gate decides on, wherever they are given."""
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


def _check_candidate(arguments: Sequence[str], policy: Policy) -> None:
    """Refuses a run of the ini file's models before it starts; the results tell of it as well."""
    is_given = any(argument.partition("=")[0] == "--attn-model" for argument in arguments)
    if not is_given and policy.candidate == "command-line":
        raise AttnprobeError(
            "no candidate was given, so the run would judge the models of the ini file\n"
            'give --attn-model=NAME=REF, or set candidate = "ini" in the policy'
        )


def _run(
    arguments: Sequence[str], judge: Callable[[Results], Decision], baseline: Path | None
) -> tuple[Decision, Results | None]:
    """Runs pytest; the decision on what it found, and its results where it left some.

    Args:
        baseline: a file that the run may not write.
    """
    from attnprobe.gate import cannot_judge
    from attnprobe.results import read_results

    # The run obeys these whatever its options and ini file say.
    variables = os.environ | {NO_PICKLE: "1"}
    if baseline is not None:
        variables[PROTECTED] = str(baseline.resolve())
    # A folder of the gate's own: nobody else's results can be taken for this run's.
    with tempfile.TemporaryDirectory(prefix="attnprobe-gate-") as own:
        file = Path(own) / "results.json"
        command = [sys.executable, "-m", "pytest", "--attn-json", str(file), *arguments]
        sys.stdout.flush()
        # pytest's plugin writes the file when the run is over: a run that was killed leaves none.
        status = subprocess.run(command, check=False, env=variables).returncode
        if status not in (0, _TESTS_FAILED):
            what = _PYTEST.get(status, f"ended with exit code {status}")
            if status < 0:
                what = f"was killed by signal {-status}"
            return cannot_judge("pytest", _why(what, status)), None
        if not file.exists():
            return cannot_judge("pytest", "pytest left no results: the plugin did not run"), None
        found = read_results(file)
    decision = judge(found)
    # What the results file does not tell of, such as a plugin that fails the run.
    blamed = any(item.outcome in ("failed", "error") for item in found.items)
    if status == _TESTS_FAILED and not blamed and decision.verdict != "cannot judge":
        lost = cannot_judge(
            "pytest", "pytest failed, but for no attention check; its output above says why"
        )
        decision = replace(decision, reasons=lost.reasons + decision.reasons)
    return decision, found


def _why(what: str, status: int) -> str:
    if status == 5:
        return f"no attention check ran: pytest {what}"
    return f"pytest {what}"


def _judged(
    results: Results, policy: Policy, baseline: Results | None, commit: str | None
) -> Decision:
    from attnprobe.gate import cannot_judge, judge

    if any(item.outcome == "error" and not item.model for item in results.items):
        # Nothing was judged, and what else there is to say can wait for a run with a model.
        return cannot_judge(
            "no model",
            "no model to probe was given",
            "give one with --attn-model=NAME=REF, or by attn_model in the ini file",
        )
    today = datetime.now(UTC).date()
    if policy.moved_heads == "allow":
        moved, remarks = _moved(results, policy, baseline)
    else:
        moved, remarks = {}, []
    twins = _twins(results, policy) if policy.control is not None else []
    return judge(
        results,
        policy,
        today=today,
        baseline=baseline,
        commit=commit,
        moved=moved,
        twins=twins,
        remarks=remarks,
    )


def _moved(
    results: Results, policy: Policy, baseline: Results | None
) -> tuple[dict[Key, Moved], list[str]]:
    """Failed checks whose heads only moved, and why others could not be looked at."""
    from attnprobe.gate import broken_keys

    keys = broken_keys(results, policy)
    if not keys or policy.baseline_model is None:
        return {}, []
    from attnprobe.compare import pair_models
    from attnprobe.gate.moved import check_old, moved_checks
    from attnprobe.models import LoadOptions, load_model

    recorded = {}
    if baseline is not None:
        names = pair_models(baseline, results)
        recorded = {names[old.name]: old for old in baseline.models if old.name in names}
    head_sets = _head_sets(results)
    items = {item.key: item for item in results.items}
    moved: dict[Key, Moved] = {}
    remarks = []
    load_old = functools.cache(load_model)
    for model in results.models:
        own = {key: items[key] for key in keys if key.model == model.name}
        try:
            if not own:
                continue
            known = recorded.get(model.name)
            old = load_old(
                policy.baseline_model,
                LoadOptions(
                    revision=policy.baseline_revision,
                    # Heads are matched between models that share a tokenizer.
                    tokenizer=known.tokenizer if known else model.tokenizer,
                    ignore_remote_code=policy.remote_code == "ignore",
                ),
            )
            check_old(
                policy,
                revision=old.revision,
                weights_sha256=old.weights_sha256,
                tokenizer_sha256=old.tokenizer_sha256,
                recorded=known,
            )
            moved |= moved_checks(
                own,
                old=old,
                new=_loaded_again(model, results),
                root=Path(),
                chance_max=policy.chance_max,
                head_sets=head_sets,
            )
        except AttnprobeError as error:
            remarks.append(f"whether heads of {model.name} moved could not be told: {error}")
    return moved, remarks


def _twins(results: Results, policy: Policy) -> list[TwinRun]:
    """What the checks of each model come to on its untrained twin."""
    from attnprobe.gate import TwinRun, wanted_on_twin
    from attnprobe.gate.twin import judge_twin
    from attnprobe.models.twin import random_twin

    # A check that could block in the baseline blocks, whatever it is now.
    severities = ("blocking", "advisory") if policy.baseline else policy.blocking
    wanted = wanted_on_twin(results, blocking=severities)
    items = {item.key: item for item in results.items}
    head_sets = _head_sets(results) if wanted else {}
    seed = policy.control_seed
    runs = []
    for model in results.models:
        own = {key: items[key] for key in wanted.get(model.name, ())}
        if not own:
            continue
        try:
            twin = random_twin(_loaded_again(model, results), seed=seed)
            run = judge_twin(own, twin, seed=seed, root=Path(), head_sets=head_sets)
        except AttnprobeError as error:
            run = TwinRun(model.name, seed, fault=str(error))
        runs.append(run)
    return runs


def _loaded_again(model: ModelResult, results: Results) -> Model:
    """A model of the run, as it was judged.

    Raises:
        ModelError: it cannot be loaded, or its weights or its tokenizer are others by now.
    """
    from attnprobe.models import LoadOptions, load_model

    dtype = model.dtype or results.environment.get("dtype") or "float32"
    options = LoadOptions(
        tokenizer=model.tokenizer,
        revision=model.revision,
        dtype=dtype,
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


def _head_sets(results: Results) -> Mapping[str, HeadSet]:
    """Those that the checks of the run name, as they were; others from the lock file."""
    from attnprobe.gate.reread import recorded_sets
    from attnprobe.results import read_heads

    others = read_heads(Path(LOCK)) if Path(LOCK).exists() else {}
    return {**others, **recorded_sets(results)}
