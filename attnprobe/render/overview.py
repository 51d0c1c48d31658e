"""The section of the report that says first how many checks of each suite hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from attnprobe.core.stats import wilson
from attnprobe.core.wording import format_interval, join_names
from attnprobe.render.html import piece

_MOST_HEADS = 3


@dataclass(frozen=True)
class SuiteCount:
    """How many checks of a suite hold on a model.

    Attributes:
        held, judged: checks that hold, of those that had to; what could not be measured had to.
        gaps: known gaps.
        heads: those that decided, the most frequent first.
    """

    suite: str
    model: str
    held: int
    judged: int
    gaps: int
    heads: tuple[str, ...]

    @property
    def hold(self) -> str:
        return f"{self.held} of {self.judged}"

    @property
    def interval(self) -> str:
        """The 95 % Wilson interval of the rate; empty where nothing was judged."""
        return format_interval(wilson(self.held, self.judged)) if self.judged else ""

    @property
    def deciding(self) -> str:
        """The heads that decided most often, and how many more there are."""
        return join_names(self.heads, _MOST_HEADS)

    @property
    def verdict(self) -> tuple[str, str]:
        """The kind of badge and its words."""
        if not self.judged:
            return "unjudged", "not judged"
        failing = self.judged - self.held
        return ("failed", f"{failing} failed") if failing else ("passed", "holds")


def overview_section(sentence: str, suites: Sequence[SuiteCount]) -> Markup:
    """The run in a sentence, and a table of its suites."""
    return piece("overview", sentence, suites)
