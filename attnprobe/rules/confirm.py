"""How ablation confirms a rule on attention: `confirm: effect`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import (
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
)

from attnprobe.core.sites import SiteName
from attnprobe.core.verdicts import AblationControl, Bound, Verdict
from attnprobe.core.wording import format_p
from attnprobe.rules.effect import Effect, ReadoutArguments
from attnprobe.words.heads import Heads
from attnprobe.words.selectors import Phrase, Predicts, Selector


class Confirm(ReadoutArguments):
    """How ablation confirms a rule on attention.

    By default the readout is the word that the row predicts, or the word that attends; with
    `positive`, how much nearer the text's embedding is to that text than to `negative`; with
    `class` or `answer`, how likely the model's own classifier makes it. It must
    fall, and by more than for 95 % of the draws of random heads; where the layers have fewer than
    20 other sets, by more than for all of them. The verdict states p, the share of all sets, the
    ablated one included, that do as much: at least 1 of 12 where a layer has 12 heads.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    draws: Annotated[int, Field(ge=20, le=1000)] = Field(
        20, description="How many sets of random heads of the same layers to compare with."
    )
    required: bool = Field(
        False, description="Whether the case fails where ablation changes no more than by chance."
    )

    def rule(self, heads: Heads, site: SiteName | None, from_: Selector) -> Effect:
        """The effect rule on these heads."""
        arguments = {
            field.alias or name: getattr(self, name)
            for name, field in ReadoutArguments.model_fields.items()
        }
        if self.good is None and self.reads_word:
            arguments["good"] = _word_itself(from_)
        top = self._rank(self.draws)
        return Effect(heads=heads, site=site, draws=self.draws, top=top, **arguments)

    def judge(self, verdict: Verdict, control: AblationControl, *, predicts: bool) -> Verdict:
        """The verdict on the attention, with what ablation says beside it.

        Args:
            predicts: whether the row that attends decides on the word that is read out.
        """
        top = self._rank(len(control.draws))
        matters = control.change > 0 and control.as_much < top
        chance = (1 + control.as_much) / (1 + len(control.draws))
        if verdict.outcome == "failed":
            statement = "does not attend" + (", though ablation changes the prediction" * matters)
        elif matters:
            statement = f"attends and matters (p = {format_p(chance)} among random heads)"
        else:
            statement = "attends, but ablation changes nothing that random heads would not"
            if not predicts and self.reads_word:
                statement += " (this row does not predict the word; see {predicts: ...})"
        verdict = replace(verdict, control=control, confirmed=statement)
        if not self.required or matters or verdict.outcome == "failed":
            return verdict
        if control.change > 0:
            measure, rank = "rank of the fall among random heads", float(1 + control.as_much)
            bound = Bound(measure, "rank", rank, "<=", float(top), "failed")
        else:
            measure, fall = f"fall of {self.readout}", control.change
            bound = Bound(measure, self.readout_unit, fall, ">", 0.0, "failed")
        # Ablation decides, so all bounds on the attention stand beside it.
        return replace(
            verdict, outcome="failed", unbreakable=False, bounds=(bound, *verdict.bounds)
        )

    @staticmethod
    def _rank(draws: int) -> int:
        """The largest rank among the draws of a change that chance does not explain: 5 %."""
        return max(1, draws // 20)


def _confirm(value: object) -> Confirm:
    """`effect`, or `{effect: {bad: is}}`."""
    match value:
        case Confirm():
            return value
        case "effect":
            return Confirm.model_validate({})
        case {"effect": dict(arguments), **others} if not others:
            return Confirm.model_validate(arguments)
    raise ValueError("confirm takes effect, or {effect: {bad: is, how: mean, required: true}}")


_CONFIRM_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"const": "effect"},
        {
            "type": "object",
            "required": ["effect"],
            "additionalProperties": False,
            "properties": {
                "effect": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "good": {"definition": "selector"},
                        "bad": {"type": "string", "minLength": 1},
                        "positive": {"type": "string", "minLength": 1},
                        "negative": {"type": "string", "minLength": 1},
                        "class": {"type": "string", "minLength": 1},
                        "instead": {"type": "string", "minLength": 1},
                        "at": {"definition": "selector"},
                        "answer": {"definition": "selector"},
                        "pool": {"enum": ["mean", "cls", "lasttoken"]},
                        "how": {"enum": ["zero", "mean"]},
                        "draws": {"type": "integer", "minimum": 20, "maximum": 1000},
                        "seed": {"type": "integer"},
                        "required": {"type": "boolean"},
                    },
                }
            },
        },
    ]
}
ConfirmField = Annotated[Confirm, PlainValidator(_confirm), WithJsonSchema(_CONFIRM_SCHEMA)]


def _word_itself(from_: Selector) -> Selector:
    """The word that a row predicts, or the word of the row itself."""
    return Selector(
        tuple(
            Phrase(part.text, part.nth, part.which) if isinstance(part, Predicts) else part
            for part in from_.parts
        )
    )
