"""What all pictures are made of: title and legend, a box for cells, a colour bar, labels.

Lengths are in points, from the lower left corner of the drawing.
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
from attnprobe.render.palette import CARD, EXPECTED, INK, MAP, MUTED, RULE, SIGNED
from attnprobe.render.style import Drawing, width_of

PAD = 16.0
LINE = 15.0
SMALL = 8.0
SLANT = math.sqrt(0.5)  # column labels slant by 45°
LEAST_BAR = 96.0  # what the name of a colour bar needs
_DIGIT = re.compile(r"\d")
_TITLE = 11.0
_TITLE_ROOM = 330.0  # a narrow picture grows to this width for its title
_BAR = 9.0
_BAR_GAP = 14.0
_BAR_TEXT = 36.0
_SHADES = 64  # as many as an eye can tell apart on a bar; each costs bytes
BAR_ROOM = _BAR_GAP + _BAR + _BAR_TEXT


class Key(NamedTuple):
    """An entry of the legend; without a colour it is a note."""

    name: str
    color: str | None = None
    style: str | tuple[int, tuple[int, int]] = "solid"


def marked(decided: Sequence[Head], drawn: Collection[Head]) -> tuple[Head, ...]:
    """Those of the drawn heads that decided; none where all did, for a mark would tell nothing."""
    heads = tuple(head for head in decided if head in drawn)
    return heads if len(set(heads)) < len(drawn) else ()


def decided_keys(heads: Sequence[Head]) -> tuple[Key, ...]:
    """The legend of the mark on heads that decided a verdict; nothing without such heads."""
    return (Key("decided", EXPECTED),) if heads else ()


@dataclass(frozen=True)
class Scale:
    """Which colour a value has.

    Attributes:
        low, high: the ends of the colour bar.
        colors: the colour map, or its name.
    """

    low: float
    high: float
    colors: str | Colormap = MAP

    def __call__(self, values: Floats) -> Floats:
        """Colours `[..., 4]`, red to opacity, 0 to 1."""
        share = (np.asarray(values, np.float64) - self.low) / (self.high - self.low)
        colors = self.colors
        if isinstance(colors, str):
            colors = matplotlib.colormaps[colors]
        shades: Floats = colors(share)
        return shades


def spread(values: Floats) -> Scale:
    """From 0 to the largest value; about 0 and in two colours where there are negative values."""
    found = values[np.isfinite(values)]
    top = float(np.abs(found).max(initial=0.0)) or 1.0
    return Scale(-top, top, SIGNED) if (found < 0).any() else Scale(0.0, top)


def signed(value: float, high: float = 1.0) -> str:
    """A value with as many decimals as fit a cell, given the largest of all: 0.25, 12.5, −3."""
    decimals = 2 if high < 10 else 1 if high < 100 else 0
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def frame(
    title: str, width: float, height: float, legend: Sequence[Key] = ()
) -> tuple[Drawing, float]:
    """A drawing with its title and legend, and how high above its foot the rest begins.

    Args:
        width, height: of what comes below the legend, margins not included.
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
    """Lines of at most this width."""
    needed = width_of(text, size)
    return textwrap.wrap(text, max(1, int(len(text) * width / needed))) if needed else []


def _legend_width(legend: Sequence[Key]) -> float:
    return sum((33 if key.color else 12) + width_of(key.name, SMALL) for key in legend)


def _draw_legend(drawing: Drawing, legend: Sequence[Key], y: float) -> None:
    x = PAD
    for key in legend:
        if key.color:
            drawing.add_artist(
                Rectangle(
                    (x + 1, y - 1),
                    14,
                    8,
                    fill=False,
                    edgecolor=key.color,
                    linewidth=1.8,
                    linestyle=key.style,
                    transform=drawing.points,
                )
            )
            x += 21
        drawing.write(x, y, key.name, size=SMALL, color=MUTED)
        x += 12 + width_of(key.name, SMALL)


def add_axes(drawing: Drawing, left: float, top: float, width: float, height: float) -> Axes:
    """Axes that fill this box and show nothing of themselves."""
    box = Bbox.from_bounds(left, top - height, width, height)
    axes = drawing.add_axes(box.transformed(drawing.points - drawing.transFigure).bounds)
    axes.set_axis_off()
    return axes


def draw_cells(axes: Axes, values: Floats, scale: Scale) -> None:
    """The values as colours; a cell without a value stays empty, within a thin frame."""
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
    """A thin frame around cells that may be as white as the card."""
    axes.add_patch(
        Rectangle((-0.5, -0.5), columns, rows, fill=False, edgecolor=RULE, clip_on=False)
    )


class Digits(Artist):
    """The values of cells, written in them; none where a value is NaN.

    One artist for all of them: a `Text` for each would double the time of a picture.
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
    """Outlines a box, in the coordinates of the axes, set off from any colour by a light rim.

    Args:
        name: id of the outline in the SVG.
        width: of the line.
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
    """A column's label: it ends below the middle `x` of the column, whose foot is `top`."""
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
    """Every how manyth label of this type size can stand where each has this much room."""
    return math.ceil(1.3 * size / room)


def ticks(scale: Scale, most: int = 5, *, whole: bool = False) -> Iterator[float]:
    """Round values within the scale; whole numbers only, where asked."""
    places = MaxNLocator(most, steps=[1, 2, 5, 10], integer=whole)
    for tick in places.tick_values(scale.low, scale.high):
        if scale.low <= tick <= scale.high:
            yield float(tick)


def bar_height(height: float, name: str) -> float:
    """Height of a colour bar beside what is this high: its name must fit, too."""
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
    """The colour bar, to the right of what ends at `right`.

    Args:
        name: what the colours show, with its unit.
        whole: mark whole numbers only.
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
