"""Judges a finished run by a policy.

The gate does not trust the verdicts of the run. It decides from the recorded outcome and numbers of
each expectation whether a check holds, whatever options the run had.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date

from attnprobe.compare.changes import Comparison
from attnprobe.core.errors import ResultsError
from attnprobe.core.names import Key
from attnprobe.gate.check import Check, Moved, check_of
from attnprobe.gate.completeness import completeness, describe_deselected
from attnprobe.gate.control import TwinControl, TwinRun, control_notes, control_reasons, controls
from attnprobe.gate.decision import Decision
from attnprobe.gate.demands import allowances, amounts, failures, is_rated, may_fail, rates
from attnprobe.gate.notes import check_notes, head_set_notes, tokenizer_notes
from attnprobe.gate.policy import Policy
from attnprobe.gate.provenance import judged_models, provenance
from attnprobe.gate.reasons import Reason, importance, unjudged
from attnprobe.gate.regressions import compared_notes, compared_with, demoted_keys, regressions
from attnprobe.gate.repeats import drop_repeats, repeat_notes
from attnprobe.gate.waivers import is_waived, waiver_reasons
from attnprobe.results.records import Results


def judge(
    results: Results,
    policy: Policy,
    *,
    today: date,
    baseline: Results | None = None,
    commit: str | None = None,
    moved: Mapping[Key, Moved] | None = None,
    twins: Sequence[TwinRun] = (),
    remarks: Sequence[str] = (),
) -> Decision:
    """Decides whether a release may go.

    Args:
        results: the run.
        policy: what the run must show.
        today: the day on which waivers must still be valid.
        baseline: the results to compare with; None if the policy names none.
        commit: the commit that is checked out, for a results file that was read; None for a run
            that the gate started itself.
        moved: failed checks that hold at the new place of their heads.
        twins: the outcomes on untrained twins, if the policy wants a control.
        remarks: further notes for the reader.

    Returns:
        The decision, its reasons sorted by importance.
    """
    reasons: list[Reason] = []
    notes = list(remarks)
    notes += [
        f"position alone does as well as the heads in suite {order.suite}: {order.habit}"
        + ("" if order.found is None else f" in {order.found} of {order.pairs} pairs")
        for order in results.order
    ]
    notes += tokenizer_notes(results)
    notes += head_set_notes(results)
    places = moved or {}
    checks = [check_of(item, policy, places.get(item.key)) for item in results.items]
    waived: list[Check] = []
    not_waived: list[Check] = []
    for check in checks:
        (waived if is_waived(check, policy.waivers, today) else not_waived).append(check)
    compared: Comparison | None = None
    if baseline is not None:
        try:
            compared = compared_with(baseline, _with_moved(results, checks, places))
        except ResultsError as error:
            reasons.append(unjudged("baseline", f"the baseline cannot be compared: {error}"))
    demoted = demoted_keys(compared, policy) if compared else frozenset()
    blocking, waived_blocking = (
        [check for check in part if check.item.severity in policy.blocking or check.key in demoted]
        for part in (not_waived, waived)
    )

    blocking, waived_blocking, repeats = drop_repeats(blocking, waived_blocking)
    notes += repeat_notes(repeats)

    reasons += completeness(results, policy, commit)
    reasons += provenance(results, policy)
    reasons += waiver_reasons(results, policy, today)
    reasons += amounts(blocking, waived_blocking, results, policy)
    reasons += allowances(checks, blocking, policy)
    broken: Collection[Key] = ()
    if compared is not None:
        broken = {change.key for change in compared.of("broken")}
        reasons += regressions(compared, policy, blocking)
        notes += compared_notes(compared)
    reasons += failures(blocking, policy, broken)
    reasons += rates(blocking, policy)
    control: list[TwinControl] = []
    if policy.control is not None:
        control = controls(blocking, twins)
        reasons += control_reasons(blocking, twins, control)

    judged = [check for check in blocking if check.judged]
    holding = [check for check in judged if check.holding]
    failed = [check for check in blocking if check.state == "failed"]
    notes += [
        f"allowed to fail: {check.line}" for check in failed if is_rated(policy, check.item.suite)
    ]
    notes += check_notes(checks, waived, not_waived, policy, demoted)
    chances = [chance for check in holding for chance in check.chances]
    known = bool(chances) and None not in chances
    if holding and not known:
        without = chances.count(None)
        notes.append(
            f"{without} of {len(chances)} expectations have no chance rate: the rule has no word "
            "pairs, or the suite too few others"
        )
    if policy.control is not None:
        notes += control_notes(blocking, twins, control)
    if results.deselected is None:
        notes.append("the results, of an older version, do not say what was deselected")
    left_out = describe_deselected(results)
    if left_out and all(reason.kind != "deselected" for reason in reasons):
        notes.append(left_out)
    allowed = [file for file in results.uncollected or () if policy.allows_uncollected(file)]
    if allowed:
        notes.append(f"not collected, as the policy allows: {', '.join(allowed)}")
    reasons.sort(key=importance)
    return Decision(
        tuple(reasons),
        tuple(notes),
        holding=len(holding),
        checks=len(judged),
        suites=len({check.item.suite for check in judged}),
        models=len({check.item.model for check in holding}),
        judged=judged_models(results, [*judged, *waived_blocking]),
        chance_known=known,
        deselected=results.deselected or 0,
        left_out=len(results.left_out),
        failed=len(failed),
        waived=sum(not check.holding for check in waived_blocking),
        may_fail=may_fail(blocking, policy),
        moved=sum(check.state == "moved" for check in blocking),
        control=tuple(control),
        ignored_code=tuple(sorted(model.name for model in results.models if model.ignored_code)),
        accepted=_accepted(not_waived, waived, failed, reasons),
    )


def _accepted(
    not_waived: Sequence[Check],
    waived: Sequence[Check],
    failed: Sequence[Check],
    reasons: Sequence[Reason],
) -> dict[Key, str]:
    """Checks that failed in the run and do not block, each with the reason in words.

    Args:
        not_waived, waived: the two parts of all checks.
        failed: failed checks that can block; without reasons a pass rate lets them fail.
        reasons: why the release may not go.
    """
    found = {check.key: "waived" for check in waived}
    if not any(reason.kind in ("weaker", "gone", "new") for reason in reasons):
        found |= {check.key: check.why for check in not_waived if check.state == "moved"}
    if not reasons:
        found |= {check.key: "within the pass rate" for check in failed}
    return found


def _with_moved(results: Results, checks: Sequence[Check], places: Mapping[Key, Moved]) -> Results:
    """The run with the numbers of each moved check taken at the new place of its heads.

    So a moved check may be weaker than the baseline by no more than any other check.
    """
    expectations = {
        key: places[key].expectations
        for key in (check.key for check in checks if check.state == "moved")
    }
    cases = tuple(
        replace(item, outcome="passed", expectations=expectations[item.key])
        if item.key in expectations
        else item
        for item in results.cases
    )
    return replace(results, cases=cases)


def broken_keys(results: Results, policy: Policy) -> tuple[Key, ...]:
    """The keys of failed checks that can block; they may hold at a new place of their heads."""
    checks = (check_of(item, policy, None) for item in results.items)
    # A check that could block in the baseline still blocks, even if it is advisory now.
    return tuple(
        check.key
        for check in checks
        if check.state == "failed"
        and (check.item.severity in policy.blocking or policy.baseline is not None)
    )
