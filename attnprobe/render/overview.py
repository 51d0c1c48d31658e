"""The section of the report that says first how many checks of each suite hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from attnprobe.render.section import GREEN, GREY, RED, badge, grid, line, section
from attnprobe.stats import wilson
from attnprobe.wording import format_interval, join_names

__all__ = ["SuiteCount", "overview_section"]

_COLUMNS = ("", "suite", "model", "hold", "95 %", "gaps", "heads that decided")
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


def overview_section(sentence: str, suites: Sequence[SuiteCount]) -> Markup:
    """The run in a sentence, and a table of its suites."""
    return section("Attention checks", [line(sentence), grid(_COLUMNS, map(_row, suites))])


def _row(one: SuiteCount) -> tuple[str | Markup, ...]:
    heads = join_names(one.heads, _MOST_HEADS)
    # A long list of heads must not break the numbers.
    hold, ends = (text.replace(" ", "\N{NO-BREAK SPACE}") for text in (one.hold, one.interval))
    gaps = str(one.gaps) if one.gaps else ""
    return _verdict(one), one.suite, one.model, hold, ends, gaps, heads


def _verdict(one: SuiteCount) -> Markup:
    if not one.judged:
        return badge("not judged", GREY)
    failing = one.judged - one.held
    return badge(f"{failing} failed", RED) if failing else badge("holds", GREEN)
