"""The tables of a scan, for the terminal and for its page, and the grids of the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from attnprobe.core.charts import HeadGrid
from attnprobe.core.sites import Head
from attnprobe.core.wording import (
    format_interval,
    format_p,
    format_percent,
    format_percent_change,
    format_short,
)
from attnprobe.render.web.scan_page import ScanTable, scan_page
from attnprobe.rules.frame import Doubles
from attnprobe.scan.greedy_sets import GreedySet
from attnprobe.scan.measures import MEASURES
from attnprobe.scan.report import JUDGED, RelationFigures
from attnprobe.scan.tally import ArcGroup

# How many heads the table of measures names for each measure.
STRONGEST = 3
EXPLANATION = (
    "A head is chosen on one half of the sentences and judged on the other. p: exact McNemar test "
    "of that head against the word at the best fixed distance. preference: how often the head is "
    "right when another word of the sentence looks, and the same test against that. better: heads "
    "that are better than that distance at a false discovery rate of 5 %. set: heads whose mean is "
    "better than the head alone, and what of that is left on the other half."
)
_GRIDS = (
    "A grid has the accuracy of every head on the half that heads are judged on; the chosen head "
    "is outlined."
)
_COLUMNS = (
    *("relation", "head", "chosen", "held out", "95 %", "best offset", "p", "preference", "p"),
    *("better", "set"),
)
_MEASURE_COLUMNS = ("what heads do", "unit", "strongest", "median")


@dataclass(frozen=True, eq=False)
class Tables:
    """The figures of a scan, and of its untrained twin if there is one.

    Attributes:
        measures: every measure by name, `[heads]`.
        controls, control_measures: those of the twin; None without one.
    """

    heads: tuple[Head, ...]
    found: tuple[RelationFigures, ...]
    measures: Mapping[str, Doubles]
    controls: Mapping[ArcGroup, RelationFigures] | None = None
    control_measures: Mapping[str, Doubles] | None = None

    @property
    def relation_columns(self) -> tuple[str, ...]:
        return _COLUMNS if self.controls is None else (*_COLUMNS, "untrained")

    @property
    def measure_columns(self) -> tuple[str, ...]:
        if self.control_measures is None:
            return _MEASURE_COLUMNS
        return (*_MEASURE_COLUMNS, "untrained, strongest")

    def relation_rows(self) -> Iterator[list[str]]:
        """A row for each judged relation."""
        for finding in self.found:
            best, joint, preference = finding.best, finding.greedy_set, finding.best.preference
            cells = [
                str(finding.group),
                str(best.head),
                f"{format_percent(best.chosen_accuracy)} of {best.chosen_on}",
                f"{format_percent(best.accuracy)} of {best.n}",
                format_interval(best.interval),
                f"{best.best_offset:+d}: {format_percent(best.offset_accuracy)}",
                format_p(best.p),
                f"{format_percent(preference.share)} of {preference.n}" if preference else "",
                format_p(preference.p) if preference else "",
                f"{len(finding.discoveries)} of {finding.heads_tried}",
                _describe_set(joint) if joint else "",
            ]
            if self.controls is not None:
                twin = self.controls.get(finding.group)
                cells.append(
                    f"{twin.best.head}: {format_percent(twin.best.accuracy)}" if twin else ""
                )
            yield cells

    def measure_rows(self) -> Iterator[list[str]]:
        """A row for each measure: name, unit, strongest heads, median, and the twin's largest."""
        for measure in MEASURES:
            values = self.measures[measure.name]
            if not np.isfinite(values).any():
                continue
            most = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")[:STRONGEST]
            line = [
                measure.name,
                measure.unit,
                ", ".join(f"{self.heads[head]} {format_short(values[head])}" for head in most),
                format_short(np.nanmedian(values)),
            ]
            if self.control_measures is not None:
                line.append(format_short(np.nanmax(self.control_measures[measure.name])))
            yield line

    def page(self, title: str, *, subtitle: str, remarks: Sequence[str]) -> str:
        """An HTML page with both tables, and a layer × head grid for each of their rows.

        Args:
            remarks: what was not judged, in sentences.
        """
        relations = [
            (
                str(figures.group),
                self._grid("accuracy", figures.accuracies[JUDGED], figures.best.head),
            )
            for figures in self.found
        ]
        measures = [
            (f"{measure.name} ({measure.unit})", self._grid(measure.name, values))
            for measure in MEASURES
            if np.isfinite(values := self.measures[measure.name]).any()
        ]
        judged = (EXPLANATION, _GRIDS) if self.found else ()
        tables = (
            ScanTable(
                "Relations",
                self.relation_columns,
                tuple(self.relation_rows()),
                (*judged, *remarks),
                relations,
            ),
            ScanTable("Measures", self.measure_columns, tuple(self.measure_rows()), (), measures),
        )
        return scan_page(title, subtitle=subtitle, tables=tables)

    def _grid(self, title: str, values: Doubles, *decided: Head) -> HeadGrid:
        layers = tuple(sorted({head.layer for head in self.heads}))
        width = max(head.head for head in self.heads) + 1
        scores = np.full((len(layers), width), np.nan, np.float32)
        for head, value in zip(self.heads, values, strict=True):
            scores[layers.index(head.layer), head.head] = value
        return HeadGrid(title, layers, scores, decided)


def _describe_set(joint: GreedySet) -> str:
    gain = format_percent_change(joint.gain, decimals=1)
    return f"{len(joint.heads)} heads {gain} (p {format_p(joint.p)})"
