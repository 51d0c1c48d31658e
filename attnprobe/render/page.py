"""One HTML page that needs nothing else: no scripts, no other files, everything escaped."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from attnprobe.render.table import STYLE
from attnprobe.render.text import visible

__all__ = ["page"]

_PAGE = Markup("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem }}
.text {{ unicode-bidi: isolate; white-space: pre-wrap }}
{style}</style>
</head>
<body>
<h1>{title}</h1>
{texts}
{parts}
</body>
</html>
""")
_TEXT = Markup('<p class="text">{}</p>')


def page(title: str, *, texts: Sequence[str], parts: Sequence[str]) -> str:
    """An HTML document.

    Args:
        texts: what the page is about, a paragraph each; escaped here.
        parts: HTML made by this package, such as figures.
    """
    return str(
        _PAGE.format(
            title=visible(title),
            style=Markup(STYLE),
            texts=Markup("\n").join(_TEXT.format(visible(text)) for text in texts),
            parts=Markup("\n").join(map(Markup, parts)),
        )
    )
