"""A picture of matplotlib on a page."""

from __future__ import annotations

from markupsafe import Markup

from attnprobe.render.web.html import piece


def picture_figure(svg: str, caption: str) -> Markup:
    """An HTML figure with the SVG inside it; the caption is also the alternative text."""
    return piece("figure", svg, caption)
