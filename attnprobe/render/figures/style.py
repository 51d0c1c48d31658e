"""The common style of all pictures, and a figure whose SVG keeps text as text.

The browser chooses the glyphs of an SVG, so scripts that matplotlib's own font lacks are readable.
Matplotlib's global settings do not change. Lengths are in points, 72 to the inch.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.backend_bases import RendererBase
from matplotlib.cbook import file_requires_unicode, open_file_cm
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.transforms import Affine2D, Transform

from attnprobe.core.printing import display_width
from attnprobe.render.figures.compact import compact
from attnprobe.render.palette import CARD, INK


@contextmanager
def _drawing() -> Iterator[None]:
    settings = matplotlib.rc_context(
        {
            "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so always available
            "svg.fonttype": "none",
            "svg.hashsalt": "attnprobe",  # makes ids depend on the content only
            "svg.image_inline": True,
        }
    )
    with settings, warnings.catch_warnings():
        # Glyphs that matplotlib's font lacks do not matter, because the browser has other fonts.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
        warnings.filterwarnings("ignore", r"Matplotlib .* does not support \w+ nat", UserWarning)
        yield


def width_of(text: str, size: float) -> float:
    """The estimated width of a text in points: 0.62 em for each terminal column."""
    return 0.62 * size * display_width(text)


class Drawing(Figure):
    """A figure on a light card with rounded corners, readable on any page.

    Notebooks show it as SVG; `savefig` writes every format of matplotlib.

    Args:
        width, height: size in points.
    """

    def __init__(self, width: float, height: float) -> None:
        super().__init__(
            figsize=(width / 72, height / 72), dpi=144, facecolor="none", frameon=False
        )
        self.points: Transform = Affine2D().scale(1 / 72) + self.dpi_scale_trans
        self.add_artist(
            FancyBboxPatch(
                (0, 0),
                width,
                height,
                boxstyle="round,pad=0,rounding_size=9",
                transform=self.points,
                facecolor=CARD,
                linewidth=0,
                zorder=-1,
            )
        )

    def write(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float,
        color: str = INK,
        align: Literal["left", "center", "right"] = "left",
        rotation: float = 0,
        bold: bool = False,
    ) -> None:
        """Writes a line of text; (x, y) is the end or middle of its baseline, as `align` says."""
        self.text(
            x,
            y,
            text,
            transform=self.points,
            fontsize=size,
            fontfamily="sans-serif",
            fontweight="bold" if bold else "normal",
            color=color,
            horizontalalignment=align,
            verticalalignment="baseline",
            rotation=rotation,
            rotation_mode="anchor",  # leaves the alignment in the SVG to the browser
            parse_math=False,
            usetex=False,
        )

    def draw(self, renderer: RendererBase) -> None:
        with _drawing():
            super().draw(renderer)

    def savefig(self, fname: Any, **options: Any) -> None:
        """Saves as matplotlib does; an SVG is compacted and has no date or other metadata.

        So the same picture has the same bytes in every run.
        """
        if (options.get("format") or Path(str(fname)).suffix[1:]).lower() != "svg":
            super().savefig(fname, **options)
            return
        buffer = io.BytesIO()
        super().savefig(buffer, **options | {"format": "svg"})
        svg = compact(buffer.getvalue().decode())
        with open_file_cm(fname, "w", encoding="utf-8") as file:
            file.write(svg if file_requires_unicode(file) else svg.encode())

    def _repr_svg_(self) -> str:
        return to_svg(self)


def to_svg(figure: Figure) -> str:
    """The figure as an SVG document; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    return buffer.getvalue().decode()
