"""`attends` and `ignores`: how much one word takes from another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from attnprobe.core.errors import AttnprobeError
from attnprobe.core.needs import Need, Readout, Rows
from attnprobe.core.texts import Encoding
from attnprobe.core.verdicts import NAMES_OTHERS, BestOther, Verdict
from attnprobe.rules.base import RULES
from attnprobe.rules.confirm import ConfirmField
from attnprobe.rules.effect import Effect
from attnprobe.rules.weight import Attending, WeightRule
from attnprobe.rules.word_weights import WordView
from attnprobe.words.heads import Heads
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
        if verdict.outcome in NAMES_OTHERS:
            verdict = replace(verdict, best_other=self.best_other(rows[0]))
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

    def everywhere(self, encoding: Encoding) -> Need:
        view = self._view(encoding)
        return replace(self._need(view, self._find_words(view).query), layers=view.site.layers)

    def best_other(self, rows: Rows) -> BestOther | None:
        view = self._view(rows.encoding)
        # A mean says nothing of its heads, so that each of them is another one.
        named = () if self._how == "mean" else self.heads.resolve(view.site)
        layers = [layer for layer in sorted(rows.weights) if self._is_comparable(view, layer)]
        others = [head for head in view.site.all_heads() if head.layer in layers]
        others = [head for head in others if head not in named]
        if not others:
            return None
        heads = Heads(tuple(others), "any", 0, "the other heads")
        alone = self.model_copy(update={"heads": heads})
        try:
            verdict = WeightRule.judge(alone, [rows])
        except AttnprobeError:
            return None  # these heads say nothing; the verdict on the named ones stands
        return BestOther(
            verdict.head,
            verdict.deciding,
            len(others),
            tuple(sorted({head.layer for head in others})),
        )

    def _is_comparable(self, view: WordView, layer: int) -> bool:
        """Whether a layer sees the words, and for a rank as many words as the rule's own layers."""
        windows = {view.site.windows.get(own) for own in view.layers}
        alike = self.top is None or view.site.windows.get(layer) in windows
        return alike and not any(self._hidden(view, layer))

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
