"""The look that all pictures share, and a figure whose SVG keeps text as text.

In the SVG the browser picks the glyphs, so a script that matplotlib's own font lacks is drawn all
the same. Matplotlib's global settings are left as they are. Lengths are in points, 72 to the inch.
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
from attnprobe.render.compact import compact
from attnprobe.render.palette import CARD, INK


@contextmanager
def _drawing() -> Iterator[None]:
    settings = matplotlib.rc_context(
        {
            "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same everywhere
            "svg.fonttype": "none",
            "svg.hashsalt": "attnprobe",  # ids by content: the same picture has the same bytes
            "svg.image_inline": True,
        }
    )
    with settings, warnings.catch_warnings():
        # Matplotlib measures text with its own font; the reader's browser has others.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
        warnings.filterwarnings("ignore", r"Matplotlib .* does not support \w+ nat", UserWarning)
        yield


def width_of(text: str, size: float) -> float:
    """Width of a text in points, estimated: 0.62 em for a terminal column."""
    return 0.62 * size * display_width(text)


class Drawing(Figure):
    """A figure on a light card with rounded corners, so that it reads on any page.

    It shows itself in notebooks as SVG; `savefig` writes every format that matplotlib knows.

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
        """Writes one line of text, its baseline at these points from the lower left corner."""
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
            rotation_mode="anchor",  # the SVG then leaves alignment to the browser
            parse_math=False,
            usetex=False,
        )

    def draw(self, renderer: RendererBase) -> None:
        with _drawing():
            super().draw(renderer)

    def savefig(self, fname: Any, **options: Any) -> None:
        """As in matplotlib, but an SVG is made small and carries no date or other metadata.

        So the same picture has the same bytes in every run.
        """
        if (options.get("format") or Path(str(fname)).suffix[1:]).lower() != "svg":
            super().savefig(fname, **options)
            return
        drawn = io.BytesIO()
        super().savefig(drawn, **options | {"format": "svg"})
        svg = compact(drawn.getvalue().decode())
        with open_file_cm(fname, "w", encoding="utf-8") as file:
            file.write(svg if file_requires_unicode(file) else svg.encode())

    def _repr_svg_(self) -> str:
        return to_svg(self)


def to_svg(figure: Figure) -> str:
    """The figure as an SVG document; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    return buffer.getvalue().decode()
