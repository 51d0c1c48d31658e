"""The methods of the Attention object that draw: what they show equals what its numbers say."""

from __future__ import annotations

import io
import math
import re
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from matplotlib.image import imread

from attnprobe.attention import Attention
from attnprobe.core.arrays import Floats
from attnprobe.core.charts import Curves, FlowGraph, HeadGrid, HeadMap
from attnprobe.core.errors import MeasureError, SelectorError
from attnprobe.core.texts import Sample
from attnprobe.models import Model
from attnprobe.render.figures import draw as drawing_of_charts
from attnprobe.render.figures.draw import draw_chart
from attnprobe.render.figures.style import Drawing, to_svg
from attnprobe.rules import parse_rule
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.made_up import FakeReader
from tests.support.svg import outline_box, texts, written

TEXT = "The keys are old"


@pytest.fixture(scope="module")
def fake() -> Attention:
    return Attention(FakeReader(), Sample(TEXT))


@pytest.fixture(scope="module")
def bart() -> Attention:
    model = Model.of(tiny_network("bart"), tiny_tokenizer(), name="tiny")
    return Attention(model, Sample("The keys", "Les clés"), "cross")


@pytest.fixture(scope="module")
def gpt2() -> Attention:
    model = Model.of(tiny_network("gpt2"), tiny_tokenizer(), name="tiny")
    return model.attention("the keys are old")


def charted(draw: Any) -> tuple[Any, Drawing]:
    """The data of the chart that a call draws, and the drawing."""
    charts = []

    def keep(chart: Any, **options: Any) -> Drawing:
        charts.append((chart, options["title"]))
        return draw_chart(chart, **options)

    with patch.object(drawing_of_charts, "draw_chart", keep):
        drawing = draw()
    ((chart, title),) = charts
    assert title in texts(to_svg(drawing))
    return chart, drawing


def numbers(drawing: Drawing) -> list[float]:
    """The numbers in the cells, in their order."""
    return [
        float(text.replace("−", "-"))
        for text in texts(to_svg(drawing))
        if re.fullmatch(r"−?\d\.\d\d", text)
    ]


@pytest.mark.parametrize(
    ("measure", "options", "name"),
    [
        ("entropy", {}, "entropy (nats)"),
        ("entropy", {"normalised": True}, "normalised entropy"),
        ("distance", {"unit": "words", "special": False}, "distance (words)"),
        ("distance", {}, "distance (tokens)"),
        ("sink", {}, "sink mass"),
        ("previous", {}, "previous mass"),
        ("local", {"window": 1, "form": "match"}, "local match"),
        ("sparse", {}, "normalised entropy"),
    ],
)
def test_a_grid_and_curves_show_the_number_of_every_head(
    fake: Attention, measure: Any, options: dict[str, Any], name: str
) -> None:
    method = getattr(fake, measure, None)
    expected = method(**options) if method else fake.pattern(measure, **options)
    chart, drawing = charted(lambda: fake.grid(measure, **options))
    assert isinstance(chart, HeadGrid)
    assert (chart.measure, chart.layers) == (name, (0, 1, 2))
    np.testing.assert_array_equal(chart.scores, expected)
    assert numbers(drawing)[: expected.size] == pytest.approx(expected.ravel(), abs=5.1e-3)
    assert name in texts(to_svg(drawing))
    curves, _ = charted(lambda: fake.curves(measure, **options))
    assert isinstance(curves, Curves)
    np.testing.assert_array_equal(curves.values, expected)


@pytest.mark.parametrize("unit", ["tokens", "words"])
def test_the_names_of_measures_are_those_of_the_rules(fake: Attention, unit: str) -> None:
    for measure in ("entropy", "distance"):
        rule: Any = parse_rule(measure, {"unit": unit, "heads": "L1", "max": 1.5})
        chart, _ = charted(lambda: fake.grid(measure, unit=unit))  # type: ignore[arg-type]  # noqa: B023
        assert chart.measure == rule._title()


def test_a_measure_that_does_not_exist_is_named(fake: Attention, bart: Attention) -> None:
    with pytest.raises(MeasureError, match="no measure 'entropi'; did you mean 'entropy'"):
        fake.grid("entropi")  # type: ignore[arg-type]
    with pytest.raises(MeasureError, match="no measure 'divergence'"):
        fake.curves("divergence")  # type: ignore[arg-type]
    with pytest.raises(SelectorError, match="cross attention relates two"):
        bart.grid("distance")


def test_a_map_of_heads_keeps_their_divergence(fake: Attention) -> None:
    chart, _ = charted(fake.head_map)
    assert isinstance(chart, HeadMap)
    assert list(map(str, chart.heads)) == [f"L{at}H{head}" for at in range(3) for head in range(2)]
    apart = np.linalg.norm(chart.points[:, None] - chart.points, axis=-1)
    divergence = fake.divergence()
    order = np.triu_indices(6, 1)
    # Six heads do not fit into a plane exactly.
    assert np.corrcoef(apart[order], divergence[order])[0, 1] > 0.8
    pair, _ = charted(lambda: fake.head_map(["L0H0", "L2H1"]))
    between = np.linalg.norm(pair.points[0] - pair.points[1])
    assert between == pytest.approx(fake.divergence(["L0H0", "L2H1"])[0, 1], abs=1e-6)
    of_layer, _ = charted(lambda: fake.head_map(layer=1))
    assert [str(head) for head in of_layer.heads] == ["L1H0", "L1H1"]


def test_one_head_has_no_map(fake: Attention) -> None:
    with pytest.raises(SelectorError, match="L0H1 has no other head to differ from"):
        fake.head_map("L0H1")
    with pytest.raises(SelectorError, match="layer 7"):
        fake.head_map(layer=7)


def test_a_flow_starts_at_a_word_and_shows_the_rollout(fake: Attention) -> None:
    chart, drawing = charted(lambda: fake.flow_graph("are", to="keys"))
    assert isinstance(chart, FlowGraph)
    assert (chart.labels, chart.layers) == (fake.words, (0, 1, 2))
    assert ([chart.labels[at] for at in chart.start], [chart.labels[at] for at in chart.end]) == (
        ["are"],
        ["keys"],
    )
    product: Floats = np.linalg.multi_dot(chart.edges[::-1])
    np.testing.assert_allclose(product, fake.rollout(unit="words")[-1], atol=1e-6)
    assert "what ends at keys" in texts(to_svg(drawing))
    plain, _ = charted(lambda: fake.flow_graph("are"))
    assert plain.end == ()


def test_a_flow_is_that_of_the_rule(gpt2: Attention) -> None:
    chart, _ = charted(lambda: gpt2.flow_graph("are", to="the"))
    verdict = gpt2.judge("flow", from_="are", to="the", min=0.01)
    (of_rule,) = verdict.charts
    assert isinstance(of_rule, FlowGraph)
    assert (chart.labels, chart.start, chart.end) == (of_rule.labels, of_rule.start, of_rule.end)
    np.testing.assert_allclose(chart.edges, of_rule.edges, atol=1e-6)
    assert "old" not in chart.labels


def test_a_flow_needs_words_that_it_can_pass(gpt2: Attention, bart: Attention) -> None:
    with pytest.raises(SelectorError, match="nothing of old reaches the, which comes before it"):
        gpt2.flow_graph("the", to="old")
    with pytest.raises(SelectorError, match="'dog'"):
        gpt2.flow_graph("dog")
    with pytest.raises(SelectorError, match="no flow through one sequence"):
        bart.flow_graph("clés")


def test_a_panel_outlines_words_in_every_map(fake: Attention) -> None:
    svg = to_svg(fake.panel(1, from_="are", to="keys", over="old"))
    assert {"expected", "contrast"} <= set(texts(svg))
    found = {name: outline_box(svg, name) for name in re.findall(r'id="(L1H\d-[^"]+)"', svg)}
    assert set(found) == {
        f"L1H{head}-{cell}" for head in (0, 1) for cell in ("expected-3-2", "contrast-3-4")
    }
    first, second = found["L1H0-expected-3-2"], found["L1H0-contrast-3-4"]
    side = first[2] - first[0]
    assert first[1] == pytest.approx(second[1], abs=0.05)  # in one row, two columns apart
    assert second[0] - first[0] == pytest.approx(2 * side, abs=0.1)
    assert "expected" not in texts(to_svg(fake.panel(1)))


def test_a_panel_shows_words_without_special_tokens(fake: Attention) -> None:
    shown = texts(to_svg(fake.panel(1, unit="words", special=False)))
    assert "[CLS]" not in shown
    assert "keys" in shown
    with pytest.raises(SelectorError, match="'dog'"):
        fake.panel(1, from_="dog")


def test_a_comparison_shows_both_and_their_difference(fake: Attention) -> None:
    class Other(FakeReader):
        name = "other"

        def weights(self, *arguments: Any, **options: Any) -> Any:
            found = super().weights(*arguments, **options)
            return {layer: values[:, :, ::-1] for layer, values in found.items()}

    other = Attention(Other(), Sample(TEXT))
    drawing = fake.compare(other, "L1H0", from_="are", to="keys")
    a, b = fake.weights("L1H0"), other.weights("L1H0")
    assert not np.allclose(a, b)
    shown = np.reshape(numbers(drawing)[: 3 * a.size], (3, *a.shape))
    np.testing.assert_allclose(shown, [a, b, b - a], atol=5.1e-3)
    svg = to_svg(drawing)
    titles = ["A: fake · L1H0", "B: other · L1H0", "B − A: L1H0"]
    places = {text.text: text.x for text in written(svg) if text.text in titles}
    assert list(places) == titles
    assert sorted(places.values()) == list(places.values())
    assert svg.count('id="expected-3-2"') == 3


def test_a_comparison_is_as_its_three_heatmaps_in_pixels(fake: Attention) -> None:
    def pixels(drawing: Drawing) -> Floats:
        buffer = io.BytesIO()
        drawing.savefig(buffer, format="png")
        buffer.seek(0)
        return np.asarray(imread(buffer)[..., :3], np.float32)

    drawing = fake.compare(fake, "L1H0")
    whole = pixels(drawing)
    np.testing.assert_array_equal(pixels(drawing), whole)
    left = 0
    for part, *_ in drawing._parts:  # type: ignore[attr-defined]
        one = pixels(part)
        height, width = one.shape[:2]
        low = slice(len(whole) - height + 25, len(whole) - 25)  # the corners of cards are round
        found = whole[low, left + 25 : left + width - 25]
        expected = one[25:-25, 25:-25]
        assert np.abs(found - expected).mean() < 0.002
        assert np.abs(expected - 1).mean() > 0.02
        left += 2 * math.ceil(part.get_size_inches()[0] * 72)
    assert whole.shape[1] == left


def test_only_equal_tokens_are_compared(fake: Attention) -> None:
    shorter = Attention(FakeReader(), Sample("The keys are"))
    with pytest.raises(SelectorError, match=r'different tokens.*may be the same: unit="words"'):
        fake.compare(shorter, "L1H0")
    with pytest.raises(SelectorError, match=r"different words, so no difference exists$"):
        fake.compare(shorter, "L1H0", unit="words")
    with pytest.raises(SelectorError, match="layer 0 has query heads"):
        fake.compare(fake, "L0H9")
