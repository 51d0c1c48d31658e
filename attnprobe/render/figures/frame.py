"""The parts of pictures: title and legend, a box of cells, a colour bar, labels.

Lengths are in points; coordinates start at the lower left corner of the drawing.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.colors import Colormap
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from attnprobe.core.arrays import Floats
from attnprobe.core.printing import visible
from attnprobe.core.sites import Head
from attnprobe.core.wording import format_short, format_tick
from attnprobe.render.figures.fonts import width_of
from attnprobe.render.figures.style import Drawing
from attnprobe.render.palette import CARD, EXPECTED, INK, MAP, MUTED, RULE, SIGNED

PAD = 16.0
LINE = 15.0
SMALL = 8.0
SLANT = math.sqrt(0.5)  # column labels slant by 45°
LEAST_BAR = 96.0  # the least height of a colour bar, for its name
_DIGIT = re.compile(r"\d")
_TITLE = 11.0
_TITLE_ROOM = 330.0  # a narrow picture grows to this width for its title
_BAR = 9.0
_BAR_GAP = 14.0
_BAR_TEXT = 36.0
_SHADES = 64  # a reader can hardly distinguish more on a bar, and each costs bytes
BAR_ROOM = _BAR_GAP + _BAR + _BAR_TEXT


class LegendEntry(NamedTuple):
    """An entry of the legend; an entry without a colour is a note."""

    name: str
    color: str | None = None
    style: str | tuple[int, tuple[int, int]] = "solid"


def marked(decided: Sequence[Head], drawn: Collection[Head]) -> tuple[Head, ...]:
    """The drawn heads that decided; empty if all did, because a mark would distinguish none."""
    heads = tuple(head for head in decided if head in drawn)
    return heads if len(set(heads)) < len(drawn) else ()


def decided_legend(heads: Sequence[Head]) -> tuple[LegendEntry, ...]:
    """The legend for the mark on deciding heads; empty if there are none."""
    return (LegendEntry("decided", EXPECTED),) if heads else ()


@dataclass(frozen=True)
class Scale:
    """The mapping from values to colours.

    Attributes:
        low, high: the ends of the colour bar.
        colors: the colour map, or its name.
    """

    low: float
    high: float
    colors: str | Colormap = MAP

    def __call__(self, values: Floats) -> Floats:
        """The colours of values, `[..., 4]`: red, green, blue and opacity, 0 to 1."""
        share = (np.asarray(values, np.float64) - self.low) / (self.high - self.low)
        colors = self.colors
        if isinstance(colors, str):
            colors = matplotlib.colormaps[colors]
        shades: Floats = colors(share)
        return shades


def spread(values: Floats) -> Scale:
    """A scale from 0 to the largest value; with negative values, symmetric and in two colours."""
    found = values[np.isfinite(values)]
    top = float(np.abs(found).max(initial=0.0)) or 1.0
    return Scale(-top, top, SIGNED) if (found < 0).any() else Scale(0.0, top)


def signed(value: float, high: float = 1.0) -> str:
    """A value for a cell: 0.25, 12.5, −3; a larger `high` of all cells leaves fewer decimals."""
    decimals = 2 if high < 10 else 1 if high < 100 else 0
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def frame(
    title: str, width: float, height: float, legend: Sequence[LegendEntry] = ()
) -> tuple[Drawing, float]:
    """A drawing with title and legend, and the top of the remaining area.

    Args:
        width, height: size of the area below the legend, without margins.
    """
    title = visible(title)
    width = max(width, min(width_of(title, _TITLE), _TITLE_ROOM), _legend_width(legend))
    lines = wrapped(title, width)
    head = PAD + LINE * len(lines) + (LINE if legend else 0) + 8
    drawing = Drawing(width + 2 * PAD, head + height + PAD)
    for number, line in enumerate(lines):
        y = head + height - _TITLE - number * LINE
        drawing.write(PAD, y, line, size=_TITLE, bold=True)
    _draw_legend(drawing, legend, height + PAD + 10)
    return drawing, height + PAD


def wrapped(text: str, width: float, size: float = _TITLE) -> list[str]:
    """The text in lines of about this width."""
    needed = width_of(text, size)
    return textwrap.wrap(text, max(1, int(len(text) * width / needed))) if needed else []


def _legend_width(legend: Sequence[LegendEntry]) -> float:
    return sum((33 if entry.color else 12) + width_of(entry.name, SMALL) for entry in legend)


def _draw_legend(drawing: Drawing, legend: Sequence[LegendEntry], y: float) -> None:
    x = PAD
    for entry in legend:
        if entry.color:
            drawing.add_artist(
                Rectangle(
                    (x + 1, y - 1),
                    14,
                    8,
                    fill=False,
                    edgecolor=entry.color,
                    linewidth=1.8,
                    linestyle=entry.style,
                    transform=drawing.points,
                )
            )
            x += 21
        drawing.write(x, y, entry.name, size=SMALL, color=MUTED)
        x += 12 + width_of(entry.name, SMALL)


def add_axes(drawing: Drawing, left: float, top: float, width: float, height: float) -> Axes:
    """Invisible axes that fill a box."""
    box = Bbox.from_bounds(left, top - height, width, height)
    axes = drawing.add_axes(box.transformed(drawing.points - drawing.transFigure).bounds)
    axes.set_axis_off()
    return axes


def draw_cells(axes: Axes, values: Floats, scale: Scale) -> None:
    """Draws values as colours; a NaN leaves its cell empty, and a thin frame surrounds them all."""
    axes.imshow(
        values,
        cmap=scale.colors,
        vmin=scale.low,
        vmax=scale.high,
        interpolation="none",
        aspect="auto",
        clip_on=False,
    )
    if np.isnan(values).any():
        frame_cells(axes, *values.shape)


def frame_cells(axes: Axes, rows: int, columns: int) -> None:
    """Draws a thin frame around cells that may be as white as the card."""
    axes.add_patch(
        Rectangle((-0.5, -0.5), columns, rows, fill=False, edgecolor=RULE, clip_on=False)
    )


class Digits(Artist):
    """The values of cells as text in the cells; a cell with NaN stays empty.

    One artist writes all values, because a `Text` for each would double the time of a picture.
    """

    def __init__(
        self,
        values: Floats,
        scale: Scale,
        axes: Axes,
        write: Callable[[float], str] = format_short,
    ) -> None:
        super().__init__()
        self.set_zorder(3)
        self._values = values
        self._write = write
        self._bright = scale(values)[..., :3] @ (0.299, 0.587, 0.114) > 0.5
        self._to_pixels = axes.transData

    def draw(self, renderer: RendererBase) -> None:
        font = FontProperties(family="sans-serif", size=SMALL)
        canvas_height = renderer.get_canvas_width_height()[1]
        pen = renderer.new_gc()
        size = cache(partial(_size, renderer, font))
        for (row, column), value in np.ndenumerate(self._values):
            if np.isnan(value):
                continue
            text = self._write(float(value))
            width, height = size(_DIGIT.sub("0", text))  # digits are all equally wide
            pen.set_foreground(INK if self._bright[row, column] else CARD)
            x, y = self._to_pixels.transform((column, row)) - (width / 2, height / 2)
            if renderer.flipy():
                y = canvas_height - y
            renderer.draw_text(pen, x, y, text, font, 0)
        pen.restore()


def _size(renderer: RendererBase, font: FontProperties, text: str) -> tuple[float, float]:
    width, height, _ = renderer.get_text_width_height_descent(text, font, ismath=False)
    return width, height


def draw_outline(
    axes: Axes,
    corner: tuple[float, float],
    size: tuple[float, float],
    *,
    name: str,
    color: str = EXPECTED,
    style: str | tuple[int, tuple[int, int]] = "solid",
    width: float = 2.1,
) -> None:
    """Outlines a box with a light rim, which contrasts with any colour of the cells.

    Args:
        corner, size: the box, in coordinates of the axes.
        name: id of the outline in the SVG.
        width: width of the line.
    """
    for line, thickness, pattern, gid in (
        (CARD, 1.9 * width, "solid", None),
        (color, width, style, name),
    ):
        axes.add_patch(
            Rectangle(
                corner,
                *size,
                fill=False,
                edgecolor=line,
                linewidth=thickness,
                linestyle=pattern,
                joinstyle="round",
                clip_on=False,
                zorder=3,
                gid=gid,
            )
        )


def draw_slanted(
    drawing: Drawing, x: float, top: float, text: str, size: float, *, bold: bool = False
) -> None:
    """Writes the slanted label of a column.

    Args:
        x: the middle of the column, below which the label ends.
        top: the lower end of the column.
    """
    drawing.write(
        x + 0.3 * size,
        top - 5 - 0.6 * size,
        text,
        size=size,
        color=INK if bold else MUTED,
        align="right",
        rotation=45,
        bold=bold,
    )


def step_of(room: float, size: float) -> int:
    """The step between labels that do not overlap: 1 shows all of them, 2 every second one.

    Args:
        room: the distance between two labels.
        size: type size.
    """
    return math.ceil(1.3 * size / room)


def ticks(scale: Scale, most: int = 5, *, whole: bool = False) -> Iterator[float]:
    """Round values within the scale.

    Args:
        most: about the most ticks.
        whole: whether to use whole numbers only.
    """
    places = MaxNLocator(most, steps=[1, 2, 5, 10], integer=whole)
    for tick in places.tick_values(scale.low, scale.high):
        if scale.low <= tick <= scale.high:
            yield float(tick)


def bar_height(height: float, name: str) -> float:
    """The height of a colour bar beside a picture of this height; its name must fit as well."""
    return max(height, LEAST_BAR, width_of(name, SMALL))


def draw_bar(
    drawing: Drawing,
    right: float,
    top: float,
    height: float,
    scale: Scale,
    name: str,
    *,
    whole: bool = False,
) -> None:
    """Draws a colour bar to the right of a picture.

    Args:
        right: the right edge of the picture.
        name: name and unit of the values.
        whole: whether to mark whole numbers only.
    """
    left = right + _BAR_GAP
    axes = add_axes(drawing, left, top, _BAR, height)
    axes.imshow(
        np.linspace(0, 1, _SHADES)[:, np.newaxis],
        cmap=scale.colors,
        origin="lower",
        interpolation="none",
        aspect="auto",
        clip_on=False,
    )
    for tick in ticks(scale, whole=whole):
        y = top - height * (scale.high - tick) / (scale.high - scale.low) - 0.36 * SMALL
        drawing.write(left + _BAR + 4, y, format_tick(tick), size=SMALL, color=MUTED)
    drawing.write(
        left + _BAR + _BAR_TEXT - 2,
        top - height / 2,
        name,
        size=SMALL,
        color=MUTED,
        align="center",
        rotation=90,
    )
