"""The scale of a number in the report, read back from its drawing."""

from __future__ import annotations

import re

import pytest

from attnprobe.core.stats import Spread
from attnprobe.core.verdicts import Bound
from attnprobe.render.web.case import ExpectationRow, ExpectationView, case_body, expectations_table


def drawn(bound: Bound, by_chance: Spread | None) -> str:
    row = ExpectationRow("attends", "a → b", "L0H0", "", "", "", "", None, bound.outcome)
    body = case_body(
        [ExpectationView(row, bound=bound, by_chance=by_chance)], table=expectations_table([row])
    )
    return str(body)


def ends(svg: str) -> tuple[float, float]:
    (low, high) = re.findall(r"on a scale from (\S+) to ([^\s;\"]+)", svg)[0]
    return tuple(float(end.replace("−", "-")) for end in (low, high))  # type: ignore[return-value]


def places(svg: str) -> dict[str, float]:
    """The places of number, bound and chance in the unit of the scale."""
    low, high = ends(svg)
    patterns = {
        "number": r'<circle[^>]* cx="([\d.]+)"',
        "bound": r'attn-limit" d="M([\d.]+)',
        "low": r'<rect class="attn-chance" x="([\d.]+)"',
        "width": r'<rect class="attn-chance"[^>]* width="([\d.]+)"',
        "middle": r'<path class="attn-chance" d="M([\d.]+)',
    }
    found = {name: float(re.findall(pattern, svg)[0]) for name, pattern in patterns.items()}
    units = {name: place / 300 * (high - low) for name, place in found.items()}
    return {name: at if name == "width" else at + low for name, at in units.items()}


@pytest.mark.parametrize(
    ("measure", "observed", "relation", "demanded", "chance"),
    [
        ("weight", 0.12, ">=", 0.3, Spread(0.0, 0.03, 0.15)),
        ("weight", 0.62, "<=", 0.1, Spread(0.1, 0.5, 0.9)),
        ("margin over keys", -0.2, ">=", 0.05, Spread(-0.35, -0.02, 0.1)),
        ("rank", 3.0, "<=", 1.0, Spread(1.0, 4.0, 5.0)),
    ],
)
def test_number_bound_and_chance_lie_on_one_scale(
    measure: str, observed: float, relation: str, demanded: float, chance: Spread
) -> None:
    unit = "rank" if measure == "rank" else "weight"
    svg = drawn(Bound(measure, unit, observed, relation, demanded, "failed"), chance)
    found = places(svg)
    low, high = ends(svg)
    step = (high - low) / 1000
    assert low <= min(0, *chance, observed)
    assert max(*chance, observed) <= high
    assert found["number"] == pytest.approx(observed, abs=step)
    assert found["bound"] == pytest.approx(demanded, abs=step)
    assert found["middle"] == pytest.approx(chance.middle, abs=step)
    assert found["low"] == pytest.approx(chance.low, abs=step)
    assert found["low"] + found["width"] == pytest.approx(chance.high, abs=2 * step)


def test_a_screen_reader_reads_where_chance_lies() -> None:
    svg = drawn(Bound("weight", "weight", 0.12, ">=", 0.3, "failed"), Spread(0.01, 0.03, 0.15))
    (label,) = re.findall(r'aria-label="([^"]*)"', svg)
    assert label.endswith("; other word pairs: middle 0.03, 90 % from 0.01 to 0.15")
    assert "other word pairs" not in drawn(
        Bound("weight", "weight", 0.12, ">=", 0.3, "failed"), None
    )


def test_chance_beyond_all_measure_leaves_the_number_readable() -> None:
    svg = drawn(Bound("ratio over keys", "ratio", 1.5, ">=", 2.0, "failed"), Spread(0.1, 3.0, 1e30))
    low, high = ends(svg)
    assert (low, high <= 10) == (0, True)
    assert places(svg)["number"] == pytest.approx(1.5, abs=high / 1000)


def test_the_scale_of_a_share_ends_at_one() -> None:
    assert ends(drawn(Bound("weight", "weight", 0.999, ">=", 0.9, "passed"), None)) == (0, 1)
