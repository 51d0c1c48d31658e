"""Decides of each item of a run whether it holds by the policy, and if not, why."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from attnprobe.core.names import Key
from attnprobe.core.verdicts import Doubt, Outcome
from attnprobe.core.wording import format_floor_percent
from attnprobe.gate.policy import Policy
from attnprobe.gate.records import is_borderline
from attnprobe.results.records import CaseResult, ExpectationResult


@dataclass(frozen=True)
class Moved:
    """A failed check that holds at the new place of its heads.

    For example, a new training run may compute at L3H5 what the old model computed at L3H1. A case
    on L3H1 then fails, although the model can still do what the case demands.

    Attributes:
        where: the old and the new place in words, such as `L3H1 moved to L3H5`.
        chances: the chance rate of each expectation at the new place, 0 to 1; None where it is
            unknown.
        expectations: the recorded expectations with the numbers measured at the new place.
    """

    where: str
    chances: tuple[float | None, ...]
    expectations: tuple[ExpectationResult, ...]


@dataclass(frozen=True)
class Check:
    """One item of a run, judged by the gate's own bounds.

    Attributes:
        item: the record of the item.
        state: `holds`, `failed`, `error`, `vacuous`, `borderline`, or `moved` if the check holds
            at the new place of its heads. `skipped`, `known gap` and `unstated` mean that the item
            was not judged. A Python probe is `unstated` if it passed but no rule in it holds.
        why: the state in words, such as `was skipped`; a line for the reader ends with it.
        chances: the chance rate of each expectation, 0 to 1; None where it is unknown.
        where: for a moved check its old and new place, such as `L3H1 moved to L3H5`; else empty.
        doubts: why the check does not count although its expectations hold: it is `vacuous`,
            `unbreakable` (it holds whatever the model does) or `borderline`.
    """

    item: CaseResult
    state: str
    why: str
    chances: tuple[float | None, ...] = ()
    where: str = ""
    doubts: tuple[Doubt, ...] = ()

    @property
    def judged(self) -> bool:
        """Whether the check was measured and could have failed."""
        return self.state not in ("skipped", "known gap", "unstated", "error")

    @property
    def holding(self) -> bool:
        return self.state in ("holds", "moved")

    @property
    def key(self) -> Key:
        return self.item.key

    @property
    def place(self) -> str:
        return place_of(self.item)

    @property
    def line(self) -> str:
        return f"{self.place}: {self.why}"


def place_of(item: CaseResult) -> str:
    """An item's place for the reader: `file:line: name on model`."""
    return f"{item.file}:{item.line}: {item.name} on {item.model}"


def check_of(item: CaseResult, policy: Policy, moved: Moved | None) -> Check:
    """Judges an item by the policy's bounds, whatever options the run had.

    Args:
        item: the record of the item.
        policy: gives `chance_max`, and whether borderline numbers fail.
        moved: the new place, for a failed check that holds there; else None.
    """
    unmeasured = _describe_expectations(item, _is("error"))
    match item.state:
        case "skipped":
            return Check(item, "skipped", "was skipped")
        case "error" if item.outcome == "xfailed" and not unmeasured:
            cause = f": {item.error}" if item.error else ""
            why = f"is marked as a known gap, but no expectation of it was seen to fail{cause}"
            return Check(item, "error", why)
        case "error":
            return Check(item, "error", unmeasured or item.error or "could not be measured")
        case "gap":
            return Check(item, "known gap", "is a known gap")
        case "failed" if item.outcome == "xpassed":
            return Check(item, "failed", "is marked as a known gap but holds: remove the mark")
        case "failed" if moved is not None:
            why = f"{moved.where}, and it holds there"
            return Check(item, "moved", why, moved.chances, moved.where)
        case "failed":
            why = _describe_expectations(item, _is("failed")) or (
                "failed, though each expectation holds: a known gap that holds now, or an "
                "assertion of its own"
            )
            return Check(item, "failed", why)
    if all(entry.outcome == "failed" for entry in item.expectations):
        # Only a Python probe that expects its rules to fail passes like this.
        return Check(item, "unstated", "states nothing by a rule that holds")
    near = _describe_expectations(item, is_borderline) if policy.borderline == "fail" else ""
    too_near = [f"{near}, too near to call"] if near else []
    for entry in item.expectations:
        if why := _explain_vacuous(entry, policy.chance_max):
            kind: Doubt = "unbreakable" if entry.unbreakable else "vacuous"
            doubts: tuple[Doubt, ...] = (kind, "borderline") if near else (kind,)
            causes = [f"{entry.rule} {why}", *too_near]
            return Check(item, "vacuous", "; ".join(causes), doubts=doubts)
    if near:
        return Check(item, "borderline", too_near[0], doubts=("borderline",))
    rates = tuple(entry.chance.rate if entry.chance else None for entry in item.expectations)
    return Check(item, "holds", "holds", rates)


def _is(outcome: Outcome) -> Callable[[ExpectationResult], bool]:
    return lambda entry: entry.outcome == outcome


def _describe_expectations(item: CaseResult, wanted: Callable[[ExpectationResult], bool]) -> str:
    """The selected expectations of an item in words, joined by semicolons; empty for none."""
    found = [entry for entry in item.expectations if wanted(entry)]
    return "; ".join(
        f"{entry.rule} {entry.message}" + (f", by {entry.head}" if entry.head else "")
        for entry in found
    )


def _explain_vacuous(entry: ExpectationResult, most: float) -> str:
    """Why an expectation shows nothing about the model; empty if it shows something."""
    if entry.unbreakable:
        return "holds whatever the model does: nothing can break its bounds on this text"
    chance = entry.chance
    if chance is not None and chance.rate is not None:
        if chance.rate <= most:
            return ""
        return (
            f"holds for {chance.passed} of {chance.pairs} other word pairs as well "
            f"({format_floor_percent(chance.rate)}; at most {format_floor_percent(most)})"
        )
    return "holds for other word pairs as well" if entry.outcome == "vacuous" else ""


def grouped(checks: Iterable[Check]) -> dict[tuple[str, str], list[Check]]:
    """The checks of each (suite, model), sorted by these names."""
    groups: dict[tuple[str, str], list[Check]] = {}
    for check in checks:
        groups.setdefault((check.item.suite, check.item.model), []).append(check)
    return dict(sorted(groups.items()))
