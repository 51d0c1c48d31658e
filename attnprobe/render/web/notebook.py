"""What objects show of themselves in a notebook."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup, escape

from attnprobe.render.web.html import piece
from attnprobe.render.web.maps import AttentionMap, map_table

# The most rows and columns of the table under a page.
_MOST_SHOWN = 40


def framed(page: str, title: str, shown: AttentionMap, caption: str) -> Markup:
    """A page in a frame of its own, and a table of one map, which needs no script.

    Where a notebook is not trusted or its export drops frames, the table remains.

    Args:
        page: an HTML document; empty where it would be too large for a notebook.
    """
    frame = piece("notebook_frame", escape(page), title) if page else Markup()
    if max(shown.values.shape) > _MOST_SHOWN:
        return frame
    table = map_table(shown, caption=caption, with_colours=True)
    return frame + piece("folded", caption, table)


def model_card(name: str, rows: Iterable[tuple[str, object]]) -> Markup:
    """A table with what a model is; rows without a value are left out."""
    return piece("model_card", name, [(label, str(value)) for label, value in rows if value])
