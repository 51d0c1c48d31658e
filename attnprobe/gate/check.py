"""One item of a run as the gate sees it: whether it holds is decided here."""

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
    """A failed check that holds at the place that its heads moved to.

    Attributes:
        where: `L3H1 moved to L3H5`.
        chances: of each expectation there, how often it holds for other word pairs; None where
            that is not known.
        expectations: those of the record, with the numbers that were measured there.
    """

    where: str
    chances: tuple[float | None, ...]
    expectations: tuple[ExpectationResult, ...]


@dataclass(frozen=True)
class Check:
    """One item of the run as the gate sees it.

    Attributes:
        state: `holds`, `failed`, `error`, `vacuous`, `borderline`; `moved` where its head has
            another place now; `skipped`, `known gap` and `unstated`, a probe in Python that
            passed and states nothing by a rule, were not judged.
        why: for a reader, what became of it.
        chances: of each expectation, how often it holds for other word pairs; None where that is
            not known.
        where: of a moved check, where its heads are now: `L3H1 moved to L3H5`.
        doubts: of a check whose expectations hold, why it does not count: it is `vacuous`,
            `unbreakable` (vacuous, as it holds whatever the model does) or `borderline`.
    """

    item: CaseResult
    state: str
    why: str
    chances: tuple[float | None, ...] = ()
    where: str = ""
    doubts: tuple[Doubt, ...] = ()

    @property
    def judged(self) -> bool:
        """Whether it could have failed, and was measured."""
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
    """Where a reader finds an item, and on which model it ran."""
    return f"{item.file}:{item.line}: {item.name} on {item.model}"


def check_of(item: CaseResult, policy: Policy, moved: Moved | None) -> Check:
    """What became of an item, by the gate's own bounds.

    Args:
        moved: where a failed check holds at the new place of its heads.
    """
    unmeasured = _describe_expectations(item, _is("error"))
    match item.outcome:
        case "skipped":
            return Check(item, "skipped", "was skipped")
        case _ if item.outcome == "error" or unmeasured:
            # Whatever a probe in Python made of it: pytest.raises, or an xfail.
            return Check(item, "error", unmeasured or item.error or "could not be measured")
        case "xfailed" if all(entry.outcome == "passed" for entry in item.expectations):
            cause = f": {item.error}" if item.error else ""
            why = f"is marked as a known gap, but no expectation of it was seen to fail{cause}"
            return Check(item, "error", why)
        case "xfailed":
            return Check(item, "known gap", "is a known gap")
        case "xpassed":
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
        # Only a probe in Python can pass like this, which expected them to fail.
        return Check(item, "unstated", "states nothing by a rule that holds")
    near = _describe_expectations(item, is_borderline) if policy.borderline == "fail" else ""
    too_near = [f"{near}, too near to call"] if near else []
    for entry in item.expectations:
        if why := _vacuous(entry, policy.chance_max):
            kind: Doubt = "unbreakable" if entry.unbreakable else "vacuous"
            doubts: tuple[Doubt, ...] = (kind, "borderline") if near else (kind,)
            whys = [f"{entry.rule} {why}", *too_near]
            return Check(item, "vacuous", "; ".join(whys), doubts=doubts)
    if near:
        return Check(item, "borderline", too_near[0], doubts=("borderline",))
    rates = tuple(entry.chance.rate if entry.chance else None for entry in item.expectations)
    return Check(item, "holds", "holds", rates)


def _is(outcome: Outcome) -> Callable[[ExpectationResult], bool]:
    return lambda entry: entry.outcome == outcome


def _describe_expectations(item: CaseResult, wanted: Callable[[ExpectationResult], bool]) -> str:
    """The expectations of an item that are wanted, in words."""
    found = [entry for entry in item.expectations if wanted(entry)]
    return "; ".join(
        f"{entry.rule} {entry.message}" + (f", by {entry.head}" if entry.head else "")
        for entry in found
    )


def _vacuous(entry: ExpectationResult, most: float) -> str:
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
    """The checks of each suite on each model, by both names, in order."""
    groups: dict[tuple[str, str], list[Check]] = {}
    for check in checks:
        groups.setdefault((check.item.suite, check.item.model), []).append(check)
    return dict(sorted(groups.items()))
