"""One HTML page that needs nothing else: no scripts, no other files, everything escaped."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from attnprobe.render.html import fill


def page(title: str, *, texts: Sequence[str], parts: Sequence[Markup]) -> str:
    """An HTML document.

    Args:
        texts: what the page is about, a paragraph each; escaped here.
        parts: HTML made by this package, such as figures.
    """
    return fill("page.html", title=title, texts=texts, parts=parts)
