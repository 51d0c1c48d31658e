"""A self-contained HTML page: no scripts, no other files, all text from users escaped."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from attnprobe.render.web.html import fill


def page(title: str, *, texts: Sequence[str], parts: Sequence[Markup]) -> str:
    """An HTML document.

    Args:
        texts: paragraphs at the top, which the template escapes.
        parts: HTML of this package, such as figures.
    """
    return fill("page.html", title=title, texts=texts, parts=parts)
