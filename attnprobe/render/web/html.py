"""The environment of all HTML templates in `templates/`.

Templates escape every value that they insert. They write control and invisible characters as
`<U+200B>`, and a text of spaces alone as `␣`. Only `Markup`, the output of other templates, is
inserted unchanged.
"""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from attnprobe.core.printing import as_label, not_blank
from attnprobe.core.wording import format_short
from attnprobe.render import palette


def _make_visible(value: Any) -> Any:
    return not_blank(value) if isinstance(value, str) and not isinstance(value, Markup) else value


_environment = Environment(
    loader=PackageLoader("attnprobe.render.web"),
    autoescape=True,
    auto_reload=False,
    finalize=_make_visible,
    lstrip_blocks=True,
    trim_blocks=True,
    undefined=StrictUndefined,
)
_environment.filters |= {"short": format_short, "label": as_label}
_environment.globals["palette"] = palette


class _Macros:
    """The macros of a template, which is compiled when the first of them is asked for."""

    def __init__(self, template: str) -> None:
        self._template = template

    def __getattr__(self, name: str) -> Any:
        return getattr(_environment.get_template(self._template).module, name)


_pieces, _charts, _report = map(_Macros, ("pieces.html", "charts.html", "report.html"))
_environment.globals["pieces"] = _pieces


def fill(template: str, **values: Any) -> str:
    """The document of a template file in `templates/`."""
    return _environment.get_template(template).render(values)


def piece(name: str, /, *values: Any, **named_values: Any) -> Markup:
    """A part of a page: the output of a macro in `templates/pieces.html`."""
    part: Markup = getattr(_pieces, name)(*values, **named_values)
    return part


def chart_piece(name: str, /, *values: Any) -> Markup:
    """A chart: the output of a macro in `templates/charts.html`."""
    part: Markup = getattr(_charts, name)(*values)
    return part


def report_piece(name: str, /, *values: Any) -> Markup:
    """A part of the report: the output of a macro in `templates/report.html`."""
    part: Markup = getattr(_report, name)(*values)
    return part


def style_sheet() -> Markup:
    """The style element for pieces; a page needs it once."""
    return piece("styles")
