"""What the gate decided, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnprobe.align import visible
from attnprobe.compare import Key
from attnprobe.errors import ResultsError
from attnprobe.gate.control import Control
from attnprobe.gate.reasons import Reason, left_out
from attnprobe.results import read_json
from attnprobe.wording import plural

__all__ = ["GATE_SCHEMA", "Decision", "cannot_judge", "read_sentence"]

GATE_SCHEMA = "attnprobe/gate-1"

_EXIT = {"may go": 0, "blocked": 1, "cannot judge": 2}
_START = {"blocked": "Release blocked", "cannot judge": "Cannot judge"}


@dataclass(frozen=True)
class Decision:
    """May the release go?

    Attributes:
        reasons: why not, the most important first; what leaves the release unjudged comes before
            what blocks it.
        notes: what a reader should know all the same.
        holding: how many blocking checks hold.
        models: of how many models.
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
    models: int = 0
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
            models = plural(self.models, "model")
            others = self._others()
            moved = f", {self.moved} of them where their heads are now" if self.moved else ""
            if self.waived:
                waived = plural(self.waived, "more fails and is", "more fail and are")
                moved = f" ({waived} waived){moved}"
            if self.failed:
                known = ", none of them by chance" if self.chance_known else ""
                of = self.holding + self.failed
                return (
                    f"Release may go: {self.holding} of {of} attention checks on {models} hold "
                    f"({self.may_fail} may fail){moved}{known}{others}."
                )
            if self.holding == 1:
                known = ", and not by chance" if self.chance_known else ""
                moved = moved.replace(
                    "1 of them where their heads are now", "where its head is now"
                )
                return f"Release may go: 1 attention check on {models} holds{moved}{known}{others}."
            known = ", none of them by chance" if self.chance_known else ""
            return (
                f"Release may go: {self.holding} attention checks on {models} "
                f"hold{moved}{known}{others}."
            )
        more = len(self.reasons) - 1
        rest = f"; {plural(more, 'more reason')} above" if more else ""
        return f"{_START[self.verdict]}: {self.reasons[0].text}{rest}."

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
            "models": self.models,
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
