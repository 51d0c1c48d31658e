"""`attends` and `ignores`: how much one word takes from another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from attnprobe.core.needs import Need, Readout
from attnprobe.core.texts import Encoding
from attnprobe.core.verdicts import Verdict
from attnprobe.rules.base import RULES
from attnprobe.rules.effect import ConfirmField, Effect
from attnprobe.rules.weight import Attending, WeightRule
from attnprobe.words.selectors import Predicts


@RULES.register("attends")
class Attends(Attending):
    """The word puts enough of its attention on the other word.

    Without `how`, a set of heads passes if any of them does.
    """

    kind = "attends"
    example = "{from: it, to: animal, min: 0.3}"

    confirm: ConfirmField | None = Field(
        None,
        description="effect: also ablate the heads and tell whether the model's own prediction "
        "changes more than without as many random heads.",
    )

    @model_validator(mode="after")
    def _can_be_confirmed(self) -> Self:
        if self.confirm is not None and self.heads.how is not None:
            raise ValueError(
                "confirm: effect ablates all of the heads together; name them, without any, all or "
                "mean"
            )
        return self

    def needs(self, encoding: Encoding) -> tuple[Need | Readout, ...]:
        needs = super().needs(encoding)
        effect = self._effect()
        return needs if effect is None else (*needs, *effect.readouts(encoding))

    def judge(self, rows: Sequence[Any]) -> Verdict:
        verdict = super().judge(rows)
        effect = self._effect()
        if effect is None or self.confirm is None:
            return verdict
        predicts = any(isinstance(part, Predicts) for part in self.from_.parts)
        site = rows[0].encoding.site(self.site)
        if self.confirm.required and verdict.unbreakable:
            # The ablation can still fail it.
            verdict = replace(verdict, outcome=verdict.deciding.outcome, unbreakable=False)
        return self.confirm.judge(
            verdict, effect.control(rows[1:]), predicts=predicts or not site.causal
        )

    def _effect(self) -> Effect | None:
        """The rule that confirms the verdict."""
        if self.confirm is None:
            return None
        return self.confirm.rule(self.heads, self.site, self.from_)


@RULES.register("ignores")
class Ignores(WeightRule):
    """The word takes little from the other word.

    Without `how`, a set of heads passes only if all of them ignore the word.
    """

    kind = "ignores"
    example = "{from: it, to: street, max: 0.1}"
    wanted = False
    misplaced: ClassVar[Mapping[str, str]] = {"min": "ignores takes max:, the most that it may get"}
