"""Tables of what changed between two runs, as HTML: no scripts, everything from users escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment
from markupsafe import Markup

from attnprobe.render.text import visible

__all__ = ["BADGES", "ChangeRow", "SuiteRow", "changes_section"]

# The colour of each kind of change, dark enough for white text.
BADGES = {
    "broken": "#cf222e",
    "gone": "#8250df",
    "weaker": "#9a6700",
    "fixed": "#1a7f37",
    "stronger": "#0969da",
    "new": "#59636e",
    "kept": "#59636e",
}


@dataclass(frozen=True)
class ChangeRow:
    """One case, or relation, before and now.

    Attributes:
        kind: `broken`, `weaker`, ...
        rule: the rule whose number is told.
        before, now: outcome and deciding number.
        by: relative change of that number towards holding: `−20%`; empty where none can be told.
    """

    kind: str
    case: str
    file: str
    model: str
    rule: str
    before: str
    now: str
    by: str


@dataclass(frozen=True)
class SuiteRow:
    """The paired test of one suite, its numbers written out."""

    suite: str
    model: str
    before: str
    now: str
    change: str
    interval: str
    p: str


# Styles stand on the elements: the section goes into other tools' pages.
_SECTION = """\
<section style="margin:16px 0;background:#fff;color:#1f2328;border-radius:9px;padding:10px 14px;\
font:13px/1.5 system-ui,sans-serif;overflow-x:auto">\
<h2 style="font-size:16px;margin:4px 0;color:#1f2328">{{ title|visible }}</h2>\
<p style="margin:4px 0;color:#59636e">{{ summary|visible }}</p>\
{% if rows|length > few %}<details><summary style="cursor:pointer;color:#59636e">\
{{ rows|length + more }} changed cases</summary>{% endif %}\
{% if rows %}<table style="border-collapse:separate;border-spacing:0;width:auto;margin:8px 0">\
<thead><tr>{% for name in ("", "case", "model", "rule", "before", "now", "change") %}\
<th scope="col" style="padding:4px 10px;border:0;text-align:left;color:#59636e">{{ name }}</th>\
{% endfor %}</tr></thead><tbody>{% for row in rows %}<tr>\
<td style="{{ cell }}"><span style="background:{{ badges[row.kind] }};color:#fff;\
border-radius:9px;padding:1px 8px;white-space:nowrap">{{ row.kind }}</span></td>\
<td style="{{ cell }}">{{ row.case|visible }}<br><span style="color:#59636e">\
{{ row.file|visible }}</span></td>\
{% for text in (row.model, row.rule, row.before, row.now, row.by) %}\
<td style="{{ cell }}">{{ text|visible }}</td>{% endfor %}</tr>{% endfor %}</tbody></table>\
{% if more %}<p style="margin:4px 0;color:#59636e">and {{ more }} more</p>{% endif %}{% endif %}\
{% if rows|length > few %}</details>{% endif %}\
{% if suites %}<table style="border-collapse:separate;border-spacing:0;width:auto;margin:8px 0">\
<thead><tr>{% for name in ("suite", "model", "passed before", "passed now", "change", "95 %", "p") \
%}<th scope="col" style="padding:4px 10px;border:0;text-align:left;color:#59636e">{{ name }}</th>\
{% endfor %}</tr></thead><tbody>{% for row in suites %}<tr>{% for text in (row.suite, row.model, \
row.before, row.now, row.change, row.interval, row.p) %}<td style="{{ cell }}">\
{{ text|visible }}</td>{% endfor %}</tr>{% endfor %}</tbody></table>{% endif %}\
{% for note in notes %}<p style="margin:4px 0;color:#9a6700">{{ note|visible }}</p>{% endfor %}\
</section>"""
_CELL = (
    "padding:4px 10px;border:0;border-top:1px solid #d1d9e0;text-align:left;color:#1f2328;"
    "unicode-bidi:isolate;vertical-align:top"
)
_MOST = 200
# More rows than this are folded: a report's own table must not be out of sight.
_FEW = 12

_environment = Environment(autoescape=True)
_environment.filters["visible"] = visible
_template = _environment.from_string(_SECTION)


def changes_section(
    title: str,
    *,
    summary: str,
    rows: Sequence[ChangeRow],
    suites: Sequence[SuiteRow],
    notes: Sequence[str] = (),
) -> Markup:
    """A section with what changed, the suites, and notes, on a light card.

    Args:
        summary: one line on top.
        rows: what matters most first; those after the first 200 are counted only.
    """
    return Markup(
        _template.render(
            title=title,
            summary=summary,
            rows=rows[:_MOST],
            more=max(len(rows) - _MOST, 0),
            suites=suites,
            notes=notes,
            cell=_CELL,
            few=_FEW,
            badges=BADGES,
        )
    )
