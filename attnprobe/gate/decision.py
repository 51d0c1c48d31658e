"""What the gate decided, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from attnprobe.core.errors import ResultsError
from attnprobe.core.names import Key
from attnprobe.core.printing import visible
from attnprobe.core.wording import plural
from attnprobe.gate.control import Control
from attnprobe.gate.reasons import Reason, left_out
from attnprobe.results.files import read_json

GATE_SCHEMA = "attnprobe/gate-1"

_EXIT = {"may go": 0, "blocked": 1, "cannot judge": 2}
# Digits of a hash that tell one set of weights from another.
_DIGITS = 12
_START = {"blocked": "Release blocked", "cannot judge": "Cannot judge"}


@dataclass(frozen=True)
class JudgedModel:
    """A model that blocking checks were judged on.

    Attributes:
        ref: where it was loaded from.
    """

    name: str
    ref: str
    weights_sha256: str | None

    def __str__(self) -> str:
        digest = self.weights_sha256
        weights = f"sha256 {digest[:_DIGITS]}" if digest else "unknown weights"
        return f"{self.name} ({self.ref}, {weights})"


@dataclass(frozen=True)
class Decision:
    """May the release go?

    Attributes:
        reasons: why not, the most important first; what leaves the release unjudged comes before
            what blocks it.
        notes: what a reader should know all the same.
        holding: how many blocking checks hold.
        checks: how many blocking checks were judged.
        suites: of how many suites.
        models: on how many models checks hold.
        judged: the models that blocking checks were judged on.
        chance_known: whether the chance rate of each expectation of these is known.
        failed: how many blocking checks do not hold.
        deselected: how many checks -k, -m and the like left out.
        left_out: how many files --lf left out.
        may_fail: how many a pass rate lets fail.
        moved: how many of those that hold do so at another place of their heads.
        waived: how many more blocking checks fail and may, by a waiver.
        control: each suite beside the untrained twin of its model, where the policy asks for that.
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
    control: tuple[Control, ...] = ()
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
            return f"Release may go: {self._holding()}{self._others()}."
        more = len(self.reasons) - 1
        rest = f"; {plural(more, 'more reason')} above" if more else ""
        if self.judged:
            rest += f"; judged: {self._counted(self.checks)} on {self._models()}"
        return f"{_START[self.verdict]}: {self.reasons[0].text}{rest}."

    def _holding(self) -> str:
        """How many checks hold, of how many suites, on which models, and in spite of what."""
        allowed = []
        of = ""
        if self.failed:
            of = f"{self.holding} of "
            allowed.append(f"{self.may_fail} may fail")
        if self.waived:
            waived = plural(self.waived, "more fails and is", "more fail and are")
            allowed.append(f"{waived} waived")
        checks = self._counted(self.holding + self.failed)
        verb = "holds" if self.holding == 1 and not self.failed else "hold"
        bracket = f" ({', '.join(allowed)})" if allowed else ""
        moved = f", {self.moved} of them where their heads are now" if self.moved else ""
        chance = ", none of them by chance" if self.chance_known else ""
        if verb == "holds":
            moved = ", where its head is now" if self.moved else ""
            chance = ", and not by chance" if self.chance_known else ""
        return f"{of}{checks} {verb}{bracket} on {self._models()}{moved}{chance}"

    def _counted(self, checks: int) -> str:
        return f"{plural(checks, 'attention check')} of {plural(self.suites, 'suite')}"

    def _models(self) -> str:
        *others, last = map(str, self.judged)
        return f"{', '.join(others)} and {last}" if others else last

    def _others(self) -> str:
        """What was left out of the run, or of a model."""
        told = []
        if self.deselected:
            told.append(plural(self.deselected, "more was deselected", "more were deselected"))
        if self.left_out:
            told.append(left_out(self.left_out))
        if self.ignored_code:
            told.append(f"the code that came with {', '.join(self.ignored_code)} was not run")
        return f"; {' and '.join(told)}" if told else ""

    def lines(self) -> list[str]:
        """All for a reader: reasons, notes, and as the last line the sentence."""
        lines = [line for reason in self.reasons for line in reason.lines()]
        return [visible(line) for line in (*lines, *self._notes(), self.sentence)]

    def _notes(self) -> list[str]:
        return [f"note: {note}" for note in self.notes]

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
            "control": [one.as_dict() for one in self.control],
        }


def cannot_judge(kind: str, text: str, *details: str) -> Decision:
    """The decision where there is nothing to decide on."""
    return Decision((Reason("cannot judge", kind, text, details),))


def read_sentence(path: Path) -> str:
    """The sentence of a decision that `attnprobe gate --json` wrote.

    Raises:
        ResultsError: the file is missing, corrupt, or no decision.
    """
    sentence = read_json(path, GATE_SCHEMA, "decision of the gate").get("sentence")
    if not isinstance(sentence, str):
        raise ResultsError(f"{path}: corrupt: it has no sentence")
    return sentence
