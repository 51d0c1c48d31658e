"""The one environment that all HTML comes from: `templates/`, filled in with values.

Whatever a template inserts is escaped; characters that act or cannot be shown are written as their
escapes, and spaces alone as `␣`. Only what a template made (`Markup`) stands as it is.
"""

from __future__ import annotations

import base64
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from attnprobe.core.printing import not_blank
from attnprobe.core.wording import format_short
from attnprobe.render import palette


def _finalized(value: Any) -> Any:
    return not_blank(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _data_uri(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


_environment = Environment(
    loader=PackageLoader("attnprobe.render"),
    autoescape=True,
    auto_reload=False,
    finalize=_finalized,
    lstrip_blocks=True,
    trim_blocks=True,
    undefined=StrictUndefined,
)
_environment.filters |= {"data_uri": _data_uri, "short": format_short}
_environment.globals["palette"] = palette
_pieces = _environment.get_template("pieces.html").module
_environment.globals["pieces"] = _pieces


def fill(template: str, **values: Any) -> str:
    """A document from a file of `templates/`."""
    return _environment.get_template(template).render(values)


def piece(name: str, /, *values: Any, **more: Any) -> Markup:
    """A part of a page: the macro of this name in `templates/pieces.html`."""
    made: Markup = getattr(_pieces, name)(*values, **more)
    return made


def style_sheet() -> Markup:
    """The style element that pieces need, once in the page that they stand in."""
    return piece("styles")
