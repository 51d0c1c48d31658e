"""How numbers are printed: one finding has the same number in every output."""

from __future__ import annotations

from dataclasses import replace

import pytest

from attnprobe.cases import parse, yamltext
from attnprobe.compare.changes import compare_results
from attnprobe.compare.describe import lines
from attnprobe.core import wording
from attnprobe.core.units import read_unit
from attnprobe.core.verdicts import Bound, Outcome, Verdict
from attnprobe.plugin.case_page import case_page
from attnprobe.render.web.report import unpack_html
from attnprobe.results.summary import markdown, workflow_commands
from attnprobe.run.explain import explain, headline
from attnprobe.run.judging import Judged
from attnprobe.run.records import expectation
from attnprobe.run.runner import Finding
from tests.support import made_up_results

CASE = """
version: 1
suite: s
defaults: {heads: L3H1}
cases:
  - id: a
    text: The animal was tired because it ran.
    expect:
      - attends: {from: it, to: animal, min: 0.3}
"""


def judged(measure: str, observed: float, demanded: float, outcome: Outcome) -> Judged:
    (case,) = parse(yamltext.loads(CASE.encode(), "cases/a.attn.yaml"))
    verdict = Verdict(
        outcome=outcome,
        bounds=(Bound(measure, read_unit(measure), observed, ">=", demanded, outcome),),
        head="L3H1",
        heads_tried=1,
        sink=0.25,
    )
    return Judged(case, "minilm", Finding(case.expectations[0], None, verdict, None))


@pytest.mark.parametrize(
    ("measure", "observed", "demanded", "printed"),
    [
        ("rank", 3.0, 1.0, "rank 3"),
        ("rank of the mean", 12.0, 1.0, "rank of the mean 12"),
        ("weight", 0.1, 0.3, "weight 0.100"),
        ("weight", 0.00012, 0.3, "weight 0.00012"),
        ("ratio over street", 2.5, 3.0, "ratio over street 2.500"),
        ("entropy (nats)", 1.23456, 1.5, "entropy (nats) 1.235"),
        ("effect (cosine)", -0.5, 0.1, "effect (cosine) -0.500"),
        ("keys with 90 % of the mass", 4.0, 9.0, "keys with 90 % of the mass 4"),
    ],
)
def test_a_finding_has_the_same_number_in_every_output(
    measure: str, observed: float, demanded: float, printed: str
) -> None:
    found = judged(measure, observed, demanded, "failed")
    item = made_up_results.case("a", "failed", expectation(found))
    now = made_up_results.run(item)
    held = expectation(judged(measure, demanded, demanded, "passed"))
    before = made_up_results.run(replace(item, outcome="passed", expectations=(held,)))
    terminal = explain(found.case, found.finding)
    assert f"{printed}, demanded >= " in terminal
    bound = terminal.split(", demanded >= ")[1].split("\n")[0]
    page = case_page([found], pictured=None, failed=True)
    outputs = {
        "short summary": headline([found.finding]),
        "annotation": "\n".join(workflow_commands(now)),
        "job summary": markdown(now),
        "report": unpack_html(page["body"]),
        "comparison": "\n".join(lines(compare_results(before, now))),
    }
    for name, text in outputs.items():
        # In the job summary a point is written as a character reference.
        readable = text.replace("&#46;", ".").replace("&#40;", "(").replace("&#41;", ")")
        readable = readable.replace("&#45;", "-").replace("&#37;", "%").replace("%25", "%")
        assert printed in readable, name
        assert f"{printed}." not in readable, name
    assert f"&#62;&#61; {bound.replace('.', '&#46;')}<" in outputs["job summary"]
    assert f"&gt;= {bound}<" in outputs["report"]


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (0.12345, "0.123"),
        (3.0, "3"),
        (1e6, "1e+06"),
        (999999.0, "999999"),
        (-0.5, "-0.500"),
        (0.0, "0"),
        (0.0001234, "0.000123"),
        (5.96e-08, "5.96e-08"),
    ],
)
def test_a_number_has_three_decimals_or_none(value: float, printed: str) -> None:
    assert wording.format_number(value) == printed


def test_each_kind_of_number_has_one_form() -> None:
    assert wording.format_decimals(1e-9) == "0.000"
    assert wording.format_short(0.126) == "0.13"
    assert wording.format_short(float("nan")) == ""
    assert wording.format_tick(-0.25) == "−0.25"
    assert wording.format_stated(0.3) == "0.3"
    assert wording.format_p(0.015625) == "0.016"
    assert wording.format_percent(0.125) == "12.5%"
    assert wording.format_whole_percent(0.1) == "10%"
    assert wording.format_floor_percent(0.9999) == "99.9 %"
    assert wording.format_floor_percent(0.95) == "95 %"
    assert wording.format_interval((0.797, 0.948)) == "79.7% to 94.8%"
    assert wording.format_change(-1 / 3) == "−0.333"
    assert wording.format_percent_change(-0.611) == "−61%"
    assert wording.format_percent_change(0.061, decimals=1) == "+6.1%"
    assert wording.format_seconds(1.25) == "1.2 s"
