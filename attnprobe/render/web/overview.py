"""How many checks of each suite hold."""

from __future__ import annotations

from dataclasses import dataclass

from attnprobe.core.stats import wilson
from attnprobe.core.wording import format_interval, join_names

_MOST_HEADS = 3


@dataclass(frozen=True)
class SuiteCount:
    """The number of checks of a suite that hold on a model.

    Attributes:
        held: the number of checks that hold.
        judged: the number of checks that must hold, unmeasured ones included.
        gaps: the number of known gaps.
        heads: the heads that decided, the most frequent first.
        vacuous: the number of expectations of these checks that hold and say nothing.
        mean_slack: the mean distance of their attention weights from the bounds, positive where
            they hold; None if no weight decided.
    """

    suite: str
    model: str
    held: int
    judged: int
    gaps: int
    heads: tuple[str, ...]
    vacuous: int
    mean_slack: float | None

    @property
    def pass_rate(self) -> float | None:
        """The share of checks that hold, known gaps left out; None if nothing was judged."""
        return self.held / self.judged if self.judged else None

    @property
    def hold(self) -> str:
        return f"{self.held} of {self.judged}"

    @property
    def interval(self) -> str:
        """The 95 % Wilson interval of the rate; empty if nothing was judged."""
        return format_interval(wilson(self.held, self.judged)) if self.judged else ""

    @property
    def deciding(self) -> str:
        """The most frequent deciding heads, and the number of the others."""
        return join_names(self.heads, _MOST_HEADS)
