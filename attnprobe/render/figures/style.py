"""The common style of all pictures, and a figure whose SVG keeps text as text.

The browser chooses the glyphs of an SVG, so scripts that matplotlib's own font lacks are readable.
Matplotlib's global settings do not change. Lengths are in points, 72 to the inch.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.transforms import Affine2D, Transform

from attnprobe.render.figures.fonts import OWN, families_for, warn_missing, with_boxes
from attnprobe.render.palette import CARD, INK

_FAMILY = "sans-serif"  # an SVG names the font and this family, for browsers without the font


@contextmanager
def _drawing() -> Iterator[None]:
    settings = matplotlib.rc_context(
        {
            "font.sans-serif": [OWN],
            "svg.fonttype": "none",
            "svg.hashsalt": "attnprobe",  # makes ids depend on the content only
            "svg.image_inline": True,
        }
    )
    with settings, warnings.catch_warnings():
        # In an SVG the browser has other fonts; `Drawing.draw` warns of the other formats.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
        warnings.filterwarnings("ignore", r"Matplotlib .* does not support \w+ nat", UserWarning)
        yield


_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


class Drawing(Figure):
    """A figure on a light card with rounded corners, readable on any page.

    Notebooks show it as SVG; `savefig` writes every format of matplotlib. Formats other than SVG
    use installed fonts for characters that matplotlib's own font lacks; for characters that no font
    has, the drawing raises a MissingGlyphWarning once.

    Args:
        width, height: size in points.
    """

    def __init__(self, width: float, height: float) -> None:
        super().__init__(
            figsize=(width / 72, height / 72), dpi=144, facecolor="none", frameon=False
        )
        self._missing: tuple[str, ...] = ()
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
            fontfamily=_FAMILY,
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
        is_svg = isinstance(self.canvas, FigureCanvasSVG)
        with _drawing(), nullcontext() if is_svg else self._with_installed_fonts():
            super().draw(renderer)

    @contextmanager
    def _with_installed_fonts(self) -> Iterator[None]:
        """Gives the texts fonts that have their characters, and boxes where no font has one."""
        before = [(text, text.get_text()) for text in self.texts]
        families, missing = families_for("".join(content for _, content in before))
        if missing != self._missing:
            self._missing = missing
            warn_missing(missing)
        for text, content in before:
            text.set_text(with_boxes(content, missing))
            text.set_fontfamily(families)
        try:
            yield
        finally:
            for text, content in before:
                text.set_text(content)
                text.set_fontfamily(_FAMILY)

    def savefig(self, fname: Any, **options: Any) -> None:
        """Saves as matplotlib does; an SVG has no date or other metadata.

        So the same picture has the same bytes in every run.
        """
        if (options.get("format") or Path(str(fname)).suffix[1:]).lower() == "svg":
            options = {"metadata": _NO_METADATA, **options}
        super().savefig(fname, **options)

    def _repr_svg_(self) -> str:
        return to_svg(self)


class Row(Drawing):
    """Drawings side by side, with their upper edges in one line."""

    def __init__(self, drawings: Sequence[Drawing]) -> None:
        # Whole points keep the cells of each drawing sharp.
        sizes = [np.ceil(drawing.get_size_inches() * 72).tolist() for drawing in drawings]
        height = max(high for _, high in sizes)
        super().__init__(sum(wide for wide, _ in sizes), height)
        lefts = accumulate((wide for wide, _ in sizes), initial=0.0)
        self._parts = [
            (drawing, left, height - high)
            for drawing, left, (_, high) in zip(drawings, lefts, sizes, strict=False)
        ]

    def draw(self, renderer: RendererBase) -> None:
        super().draw(renderer)
        for drawing, left, foot in self._parts:
            canvas, dpi = drawing.canvas, drawing.get_dpi()
            drawing.set_canvas(self.canvas)
            drawing.set_dpi(self.get_dpi())
            # All artists of a drawing take their places from this transform.
            to_pixels = drawing.dpi_scale_trans
            shift = np.array([left, foot]) * self.get_dpi() / 72
            to_pixels.translate(*shift)
            try:
                drawing.draw(renderer)
            finally:
                to_pixels.translate(*-shift)
                drawing.set_canvas(canvas)
                drawing.set_dpi(dpi)


def to_svg(figure: Figure) -> str:
    """The figure as an SVG document; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    return buffer.getvalue().decode()
