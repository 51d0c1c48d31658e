"""The page of a comparison: one HTML file with nothing outside of it, and no scripts."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment

from attnprobe.render.changes import ChangeRow, SuiteRow
from attnprobe.render.text import visible

__all__ = ["ChangePictures", "HeadRow", "compare_page"]


@dataclass(frozen=True)
class HeadRow:
    """What became of a pinned head.

    Attributes:
        fate: `kept`, `moved to L4H7` or `lost`.
        divergence: from its match, with its unit.
    """

    site: str
    head: str
    fate: str
    divergence: str
    cases: int


@dataclass(frozen=True)
class ChangePictures:
    """A changed case with its pictures.

    Attributes:
        lines: what is said of it.
        svgs: before, now, and their difference; fewer where there is none.
    """

    row: ChangeRow
    lines: tuple[str, ...]
    svgs: tuple[str, ...]
    captions: tuple[str, ...]


_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'">
<title>{{ title|visible }}</title>
<style>
:root { color-scheme: light dark; --ink: #1f2328; --muted: #59636e; --page: #f6f8fa;
  --card: #fff; --rule: #d1d9e0; --note: #7d4e00; --shade: #00000038; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --muted: #9aa4ae; --page: #0d1117; --card: #161b22; --rule: #30363d;
    --note: #d29922; --shade: #000000b0; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px; max-width: 1900px; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 24px; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 28px 0 8px; }
h3 { font-size: 15px; margin: 0; overflow-wrap: anywhere; }
p { margin: 4px 0; }
.muted { color: var(--muted); }
.note { color: var(--note); overflow-wrap: anywhere; }
.scroll, article { background: var(--card); border: 1px solid var(--rule); border-radius: 9px; }
/* Shadows at the sides that more of the table lies behind. */
.scroll { overflow-x: auto; width: fit-content; max-width: 100%; background:
  linear-gradient(to right, var(--card) 30%, transparent) left / 40px 100% no-repeat local,
  linear-gradient(to left, var(--card) 30%, transparent) right / 40px 100% no-repeat local,
  linear-gradient(to right, var(--shade), transparent) left / 14px 100% no-repeat scroll,
  linear-gradient(to left, var(--shade), transparent) right / 14px 100% no-repeat scroll,
  var(--card); }
.told { min-width: 15em; }
table { border-collapse: collapse; font-size: 14px; }
th, td { padding: 6px 12px; text-align: left; vertical-align: top; unicode-bidi: isolate; }
th { color: var(--muted); font-weight: 600; white-space: nowrap; }
tbody tr { border-top: 1px solid var(--rule); }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
article { padding: 14px 16px; margin: 14px 0; }
.head { display: flex; gap: 10px; align-items: baseline; flex-wrap: wrap; }
.pictures { display: grid; gap: 14px; margin-top: 12px; align-items: start;
  justify-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, max(340px, 30%)), 1fr)); }
figure { margin: 0; max-width: 100%; }
figure img { display: block; max-width: 100%; height: auto; border: 1px solid var(--rule);
  border-radius: 10px; }
figcaption { color: var(--muted); font-size: 13px; margin-top: 4px; }
.badge { color: #fff; border-radius: 9px; padding: 1px 9px; font-size: 13px; white-space: nowrap; }
.broken { background: #cf222e; } .gone { background: #8250df; } .weaker { background: #9a6700; }
.fixed { background: #1a7f37; } .stronger { background: #0969da; }
.new, .kept { background: #59636e; }
.totals { display: flex; flex-wrap: wrap; gap: 8px; margin: 12px 0; }
</style>
</head>
<body>
<h1>{{ title|visible }}</h1>
<p class="muted">{{ subtitle|visible }}</p>
<p class="totals">{% for kind, count in counts.items() %}{% if count %}\
<span class="badge {{ kind }}">{{ count }} {{ kind }}</span>{% endif %}{% endfor %}</p>
{% for note in notes %}<p class="note">{{ note|visible }}</p>
{% endfor %}
{% if suites %}<h2>Suites</h2>
<div class="scroll"><table><thead><tr><th>suite</th><th>model</th><th class="number">passed before\
</th><th class="number">passed now</th><th class="number">change</th><th class="number">95 %</th>\
<th class="number">p</th></tr></thead><tbody>
{% for row in suites %}<tr><td>{{ row.suite|visible }}</td><td>{{ row.model|visible }}</td>\
{% for text in (row.before, row.now, row.change, row.interval, row.p) %}<td class="number">\
{{ text|visible }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
<p class="muted">change: of the pass rate, with its 95 % interval. p: the chance of so uneven a \
split of broken and fixed, were both runs equally good (exact McNemar test).</p>{% endif %}
{% if heads %}<h2>Pinned heads</h2>
<div class="scroll"><table><thead><tr><th>site</th><th>head</th><th>now</th><th>divergence</th>\
<th class="number">cases</th></tr></thead><tbody>
{% for row in heads %}<tr><td>{{ row.site|visible }}</td><td>{{ row.head|visible }}</td>\
<td>{{ row.fate|visible }}</td><td>{{ row.divergence|visible }}</td>\
<td class="number">{{ row.cases }}</td></tr>
{% endfor %}</tbody></table></div>
<p class="muted">divergence: how unlike the attention of the two heads is, from 0 (alike) to 0.693 \
nats (nothing in common).</p>{% endif %}
<h2>Cases</h2>
{% if rows %}<div class="scroll"><table><thead><tr><th></th><th>case</th><th>model</th><th>rule\
</th><th>before</th><th>now</th><th class="number">change</th></tr></thead><tbody>
{% for row in rows %}<tr><td><span class="badge {{ row.kind }}">{{ row.kind }}</span></td>\
<td>{{ row.case|visible }}<br><span class="muted">{{ row.file|visible }}</span></td>\
{% for text in (row.model, row.rule) %}<td>{{ text|visible }}</td>{% endfor %}\
{% for text in (row.before, row.now) %}<td class="told">{{ text|visible }}</td>{% endfor %}\
<td class="number">{{ row.by|visible }}</td></tr>
{% endfor %}</tbody></table></div>
{% else %}<p>Every case is as it was.</p>{% endif %}
{% if pictures %}<h2>Before, now, and the change</h2>{% endif %}
{% for shown in pictures %}<article>
<div class="head"><span class="badge {{ shown.row.kind }}">{{ shown.row.kind }}</span>\
<h3>{{ shown.row.case|visible }}</h3><span class="muted">{{ shown.row.file|visible }}</span></div>
{% for line in shown.lines %}<p>{{ line|visible }}</p>
{% endfor %}<div class="pictures">
{% for svg in shown.svgs %}<figure><img alt="{{ shown.captions[loop.index0]|visible }}" \
src="data:image/svg+xml;base64,{{ svg|inside }}"><figcaption>\
{{ shown.captions[loop.index0]|visible }}</figcaption></figure>
{% endfor %}</div></article>
{% endfor %}
</body>
</html>
"""


def _inside(svg: str) -> str:
    return base64.b64encode(svg.encode()).decode()


_environment = Environment(autoescape=True)
_environment.filters |= {"visible": visible, "inside": _inside}
_template = _environment.from_string(_PAGE)


def compare_page(
    title: str,
    *,
    subtitle: str,
    counts: dict[str, int],
    rows: Sequence[ChangeRow],
    suites: Sequence[SuiteRow],
    heads: Sequence[HeadRow] = (),
    pictures: Sequence[ChangePictures] = (),
    notes: Sequence[str] = (),
) -> str:
    """A self-contained page; everything in it from users is escaped.

    Args:
        counts: how many cases of each kind.
        rows: the cases that changed, what matters most first.
        pictures: of some of them.
    """
    return _template.render(
        title=title,
        subtitle=subtitle,
        counts=counts,
        rows=rows,
        suites=suites,
        heads=heads,
        pictures=pictures,
        notes=notes,
    )
