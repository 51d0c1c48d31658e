"""The decision of the gate: its verdict, its reasons and its last sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from attnprobe.core.errors import ResultsError
from attnprobe.core.names import Key
from attnprobe.core.printing import visible
from attnprobe.core.wording import plural
from attnprobe.gate.control import TwinControl
from attnprobe.gate.reasons import Reason, format_left_out
from attnprobe.results.files import read_json

GATE_SCHEMA = "attnprobe/gate-1"

_EXIT = {"may go": 0, "blocked": 1, "cannot judge": 2}
# Digits of a hash that are printed to identify weights.
_DIGITS = 12
# How the notes on heads of failed checks begin.
HEAD_NOTES = ("moved: ", "lost: ")
_START = {"blocked": "Release blocked", "cannot judge": "Cannot judge"}


@dataclass(frozen=True)
class JudgedModel:
    """A model that blocking checks were judged on.

    Attributes:
        name: what the run calls it.
        ref: where it was loaded from.
        weights_sha256: the hash of its weights; None where it is unknown.
        quantised: what of it is quantised; None where nothing is.
    """

    name: str
    ref: str
    weights_sha256: str | None
    quantised: str | None = None

    def __str__(self) -> str:
        digest = self.weights_sha256
        weights = f"sha256 {digest[:_DIGITS]}" if digest else "unknown weights"
        quantised = f", {self.quantised}" if self.quantised else ""
        return f"{self.name} ({self.ref}, {weights}{quantised})"


@dataclass(frozen=True)
class Decision:
    """Whether a release may go.

    Attributes:
        reasons: why it may not, the most important first; empty if it may. Reasons that leave the
            release unjudged come before reasons that block it.
        notes: remarks that change nothing in the verdict.
        holding: the number of blocking checks that hold.
        checks: the number of blocking checks that were judged.
        suites: the number of suites of these checks.
        models: the number of models that checks hold on.
        judged: the models that blocking checks were judged on.
        chance_known: whether every expectation of the holding checks has a chance rate.
        failed: the number of blocking checks that do not hold.
        deselected: the number of checks that -k, -m and similar options left out.
        left_out: the number of files that --lf left out.
        may_fail: the number of checks that a pass rate lets fail.
        moved: the number of holding checks that hold at a new place of their heads.
        waived: the number of further blocking checks that fail and are waived.
        control: each suite beside the untrained twin of its model, if the policy wants a control.
        ignored_code: models that were measured without the code that came with them.
        accepted: checks that failed in the run and do not block, each with the reason in words.
    """

    reasons: tuple[Reason, ...]
    notes: tuple[str, ...] = ()
    holding: int = 0
    checks: int = 0
    suites: int = 0
    models: int = 0
    judged: tuple[JudgedModel, ...] = ()
    chance_known: bool = False
    failed: int = 0
    deselected: int = 0
    left_out: int = 0
    may_fail: int = 0
    moved: int = 0
    waived: int = 0
    control: tuple[TwinControl, ...] = ()
    ignored_code: tuple[str, ...] = ()
    accepted: Mapping[Key, str] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """`may go`, `blocked` or `cannot judge`."""
        return self.reasons[0].weight if self.reasons else "may go"

    @property
    def exit_code(self) -> int:
        return _EXIT[self.verdict]

    @property
    def sentence(self) -> str:
        """The decision in one sentence that a release manager understands."""
        if not self.reasons:
            return f"Release may go: {self._describe_holding()}{self._describe_omissions()}."
        more = len(self.reasons) - 1
        rest = f"; {plural(more, 'more reason')} above" if more else ""
        if self.judged:
            rest += f"; judged: {self._format_checks(self.checks)} on {self._join_models()}"
        return f"{_START[self.verdict]}: {self.reasons[0].text}{rest}."

    def _describe_holding(self) -> str:
        """How many checks of how many suites hold on which models, and how many may fail."""
        allowed = []
        of = ""
        if self.failed:
            of = f"{self.holding} of "
            allowed.append(f"{self.may_fail} may fail")
        if self.waived:
            waived = plural(self.waived, "more fails and is", "more fail and are")
            allowed.append(f"{waived} waived")
        checks = self._format_checks(self.holding + self.failed)
        verb = "holds" if self.holding == 1 and not self.failed else "hold"
        bracket = f" ({', '.join(allowed)})" if allowed else ""
        moved = f", {self.moved} of them where their heads are now" if self.moved else ""
        chance = ", none of them by chance" if self.chance_known else ""
        if verb == "holds":
            moved = ", where its head is now" if self.moved else ""
            chance = ", and not by chance" if self.chance_known else ""
        return f"{of}{checks} {verb}{bracket} on {self._join_models()}{moved}{chance}"

    def _format_checks(self, checks: int) -> str:
        return f"{plural(checks, 'attention check')} of {plural(self.suites, 'suite')}"

    def _join_models(self) -> str:
        *others, last = map(str, self.judged)
        return f"{', '.join(others)} and {last}" if others else last

    def _describe_omissions(self) -> str:
        """The checks, files and code that the run left out, in words; empty for none."""
        parts = []
        if self.deselected:
            parts.append(plural(self.deselected, "more was deselected", "more were deselected"))
        if self.left_out:
            parts.append(format_left_out(self.left_out))
        if self.ignored_code:
            parts.append(f"the code that came with {', '.join(self.ignored_code)} was not run")
        return f"; {' and '.join(parts)}" if parts else ""

    def lines(self) -> list[str]:
        """The lines to print: the reasons, then the notes, then the sentence."""
        lines = [line for reason in self.reasons for line in reason.lines()]
        notes = [f"note: {note}" for note in self.notes]
        return [visible(line) for line in (*lines, *notes, self.sentence)]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "schema": GATE_SCHEMA,
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "sentence": self.sentence,
            "reasons": [vars(reason) for reason in self.reasons],
            "notes": list(self.notes),
            "holding": self.holding,
            "checks": self.checks,
            "suites": self.suites,
            "models": self.models,
            "judged": [asdict(model) for model in self.judged],
            "failed": self.failed,
            "may_fail": self.may_fail,
            "moved": self.moved,
            "waived": self.waived,
            "deselected": self.deselected,
            "left_out": self.left_out,
            "ignored_code": list(self.ignored_code),
            "control": [control.as_dict() for control in self.control],
        }


def cannot_judge(kind: str, text: str, *details: str) -> Decision:
    """A decision with one reason, which leaves the release unjudged."""
    return Decision((Reason("cannot judge", kind, text, details),))


def read_decision(path: Path) -> tuple[str, list[str]]:
    """The sentence of a decision that `attnprobe gate --json` wrote, and its notes on heads.

    Raises:
        ResultsError: the file is missing, corrupt, or no decision.
    """
    data = read_json(path, GATE_SCHEMA, "decision of the gate")
    sentence, notes = data.get("sentence"), data.get("notes", [])
    if not isinstance(sentence, str):
        raise ResultsError(f"{path}: corrupt: it has no sentence")
    if not isinstance(notes, list):
        raise ResultsError(f"{path}: corrupt: its notes are no list")
    return sentence, [str(note) for note in notes if str(note).startswith(HEAD_NOTES)]
