"""The explorer in a real browser: what it shows, what it answers to, what leaves it."""

from __future__ import annotations

import base64
import csv
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib.image import imread

from attnprobe.attention import Attention
from attnprobe.cases.parser import load
from attnprobe.core.arrays import Floats
from attnprobe.core.maps import Mark
from attnprobe.core.sites import Head
from attnprobe.core.texts import Sample
from attnprobe.models import Model
from attnprobe.render.palette import steps_of
from attnprobe.render.web.compare_page import compare_page
from attnprobe.render.web.explorer import explorer, explorer_page
from attnprobe.run.runner import Runner
from tests.architectures.tiny import tiny_tokenizer
from tests.support.eager import eager_weights
from tests.support.pages import OpenPage, look_faults
from tests.support.tiny_lm import headed

if TYPE_CHECKING:
    from playwright.sync_api import Page

TEXT = "The frobnicator near the cabinet is old."
# By hand: words of this text, with the token positions of each.
WORDS = [[0], [1], [2, 3, 4, 5], [6], [7], [8], [9], [10], [11], [12]]
LONG_TEXT = " ".join(f"the {word} sees" for word in ["dog", "cat", "old man", "river"] * 12)
BILINGUAL = Sample("The old house is small.", "La vieille maison est petite.")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("explorer")


@pytest.fixture(scope="module")
def encoder_page(minilm: Model, folder: Path) -> Path:
    minilm.attention(TEXT).page(folder / "encoder.html")
    return folder / "encoder.html"


@pytest.fixture(scope="module")
def decoder_page(smollm2: Model, folder: Path) -> Path:
    smollm2.attention(TEXT).page(folder / "decoder.html")
    return folder / "decoder.html"


@pytest.fixture(scope="module")
def cross_page(translator: Model, folder: Path) -> Path:
    Attention(translator, BILINGUAL, "cross").page(folder / "cross.html")
    return folder / "cross.html"


@pytest.fixture
def explore(open_page: OpenPage) -> Any:
    """Opens a page and waits until it is drawn."""

    def explore_(path: Path, fragment: str = "", **options: Any) -> Page:
        page = open_page(path, fragment=fragment, **options)
        page.wait_for_selector("[data-ready]")
        return page

    return explore_


def cells(page: Page) -> Floats:
    """The numbers of the heatmap as they are printed or named; NaN for empty cells."""
    rows = page.evaluate(
        """() => [...document.querySelectorAll('[data-part=map] tbody tr')].map(
          row => [...row.querySelectorAll('td')].map(
            cell => cell.textContent || cell.ariaLabel || ''))"""
    )
    return np.array(
        [[float(text.replace("−", "-") or "nan") for text in row] for row in rows], np.float32
    )


def words_of(weights: Floats) -> Floats:
    summed = np.stack([weights[:, at].sum(1) for at in WORDS], axis=1)
    return np.stack([summed[at].mean(0) for at in WORDS])


def press(page: Page, label: str, name: str) -> None:
    page.get_by_role("group", name=label, exact=True).get_by_text(name, exact=True).click()


def settle(page: Page) -> None:
    """Waits until nothing is drawn any more."""
    page.wait_for_selector(".attn-explorer:not([aria-busy])")


def see(page: Page, part: str) -> None:
    """Brings a card into the window, where it is drawn."""
    page.locator(f"[data-part={part}]").scroll_into_view_if_needed()
    page.wait_for_selector(f"[data-part={part}]:not(:empty)")
    settle(page)


def detail(page: Page) -> str:
    return page.locator(".attn-detail").inner_text()


def test_the_numbers_of_the_heatmap_are_those_of_eager_attention(
    explore: Any, encoder_page: Path, minilm: Model
) -> None:
    weights = eager_weights(minilm, Sample(TEXT), "encoder")
    page = explore(encoder_page, "L3H1,unit=pieces,sinks=kept")
    assert np.allclose(cells(page), weights[3][1], atol=0.00051)
    press(page, "units", "words")
    settle(page)
    assert np.allclose(cells(page), words_of(weights[3][1]), atol=0.0031)
    api = minilm.attention(TEXT).words_matrix("L3H1")
    assert np.allclose(cells(page), api, atol=0.0031)


def test_left_out_special_tokens_leave_rows_that_sum_to_1(
    explore: Any, encoder_page: Path, minilm: Model
) -> None:
    page = explore(encoder_page, "L3H1")
    press(page, "sinks", "left out")
    settle(page)
    weights = words_of(eager_weights(minilm, Sample(TEXT), "encoder")[3][1])[1:-1, 1:-1]
    content = weights.sum(1, keepdims=True)
    shown = cells(page)
    telling = content[:, 0] >= 0.05
    assert telling.any()
    assert np.allclose(shown[telling], (weights / content)[telling], atol=0.02)
    assert np.isnan(shown[~telling]).all()


def test_muted_sinks_have_no_part_in_the_scale(explore: Any, encoder_page: Path) -> None:
    page = explore(encoder_page, "L1H1")
    top = page.evaluate(
        """() => Math.max(...[...document.querySelectorAll('[data-part=map] td')]
          .filter(cell => !cell.classList.contains('s')).map(cell => Number(cell.textContent)))"""
    )
    legend = page.locator(".attn-legend").inner_text().split()
    assert float(legend[1]) == pytest.approx(top, abs=0.001)
    muted = page.locator("[data-part=map] td.s").count()
    press(page, "sinks", "kept")
    settle(page)
    assert muted == 2 * len(WORDS)
    assert page.locator("[data-part=map] td.s").count() == 0


def test_hover_previews_click_locks_escape_unlocks(explore: Any, encoder_page: Path) -> None:
    page = explore(encoder_page, "L3H1,from=6")
    assert "sum" in detail(page)
    locked = cells(page)
    page.locator('[data-head="L0H2"]').hover()
    settle(page)
    assert "preview of L0H2" in page.locator(".attn-chips").inner_text()
    previewed = cells(page)
    assert not np.allclose(locked, previewed)
    page.mouse.move(5, 5)
    settle(page)
    assert np.allclose(cells(page), locked)
    page.locator('[data-head="L0H2"]').click()
    settle(page)
    assert np.allclose(cells(page), previewed)
    assert page.evaluate("location.hash") == "#L0H2,from=6"
    page.locator('[data-head="L4H4"]').click(modifiers=["Shift"])
    page.mouse.move(5, 5)
    settle(page)
    assert page.locator('.attn-head[aria-pressed="true"]').count() == 2
    page.keyboard.press("Escape")
    settle(page)
    assert page.locator('.attn-head[aria-pressed="true"]').count() == 0


def test_several_heads_show_their_mean_and_arcs_of_each(
    explore: Any, encoder_page: Path, minilm: Model
) -> None:
    page = explore(encoder_page, "L3H1,L4H4,sinks=kept")
    both = minilm.attention(TEXT).words_matrix(["L3H1", "L4H4"])
    assert np.allclose(cells(page), both, atol=0.0031)
    colours = page.evaluate(
        """() => [...new Set([...document.querySelectorAll('[data-part=arcs] path')]
          .map(path => path.getAttribute('stroke')))]"""
    )
    assert len(colours) == 2
    page.locator(".attn-chip", has_text="L4H4").click()
    settle(page)
    assert np.allclose(cells(page), minilm.attention(TEXT).words_matrix("L4H4"), atol=0.0031)


def test_a_word_that_is_chosen_is_chosen_in_every_view(
    explore: Any, encoder_page: Path, minilm: Model
) -> None:
    page = explore(encoder_page, "L3H1,from=1,sinks=kept")
    page.locator("[data-part=text] span", has_text="cabinet").click()
    settle(page)
    assert page.locator("[data-part=text] .attn-from").inner_text().startswith("cabinet")
    assert page.locator("[data-part=map] th.attn-chosen").inner_text() == "cabinet"
    bold = page.locator('.attn-arc-label[font-weight="700"]')
    assert bold.text_content() == "cabinet"
    row = minilm.attention(TEXT).words_matrix("L3H1")[5]
    strongest = int(row.argmax())
    assert f"{row[strongest]:.2f}"[:3] in detail(page)
    assert float(detail(page).split()[-1].rstrip(".")) == pytest.approx(1, abs=0.007)
    assert set(
        page.locator("[data-part=arcs] path").evaluate_all("all => all.map(p => p.dataset.row)")
    ) == {"5"}
    page.locator("[data-part=map] tbody tr").nth(3).locator("td").nth(6).click()
    settle(page)
    assert page.locator("[data-part=text] .attn-from").inner_text().startswith("near")
    assert page.locator("[data-part=text] .attn-to").inner_text().startswith("is")
    number = float(detail(page).split(": ")[1].split()[0])
    assert number == pytest.approx(minilm.attention(TEXT).words_matrix("L3H1")[3, 6], abs=0.001)
    page.locator(".attn-map-scroll").first.press("ArrowRight")
    settle(page)
    assert page.locator("[data-part=text] .attn-to").inner_text().startswith("old")


def test_the_tint_is_of_what_a_word_attends_to_or_of_what_attends_to_it(
    explore: Any, encoder_page: Path, minilm: Model
) -> None:
    page = explore(encoder_page, "L3H1,from=5,sinks=kept")
    weights = minilm.attention(TEXT).words_matrix("L3H1")

    def steps() -> list[int]:
        names = page.locator("[data-part=text] .attn-sentence span").evaluate_all(
            "all => all.map(span => span.className.split(' ')[0])"
        )
        return [int(name.removeprefix("m")) for name in names]

    def expected(numbers: Floats) -> list[int]:
        owner = [word for word, at in enumerate(WORDS) for _ in at]
        scale = np.round(weights.max(), 3)
        return [int(np.floor(min(numbers[word] / scale, 1) * 31 + 0.5)) for word in owner]

    assert np.abs(np.subtract(steps(), expected(weights[5]))).max() <= 1
    press(page, "tint", "what attends to it")
    settle(page)
    assert np.abs(np.subtract(steps(), expected(weights[:, 5]))).max() <= 1
    assert page.locator("[data-part=text] .attn-to").inner_text().startswith("cabinet")


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_the_flow_in_numbers_is_the_rollout(
    explore: Any, kind: str, request: pytest.FixtureRequest, minilm: Model, smollm2: Model
) -> None:
    page = explore(request.getfixturevalue(f"{kind}_page"), "from=5")
    attention = (minilm if kind == "encoder" else smollm2).attention(TEXT)
    rolled = attention.rollout(unit="words")[-1][5]
    see(page, "flow")
    page.locator("[data-part=flow] summary").click()
    found = page.locator(".attn-reached li").evaluate_all(
        "all => all.map(({dataset, textContent}) => [dataset.unit, textContent.split(' ').at(-1)])"
    )
    assert len(found) == len(rolled)
    for unit, share in found:
        assert float(share) == pytest.approx(rolled[int(unit)], abs=0.0011)
    assert page.locator("[data-part=flow] svg path").count() > 20


def reached(page: Any, count: int) -> Floats:
    """What reaches the chosen word from each word, as the page shows it."""
    see(page, "flow")
    page.locator("[data-part=flow] summary").click()
    found = page.locator(".attn-reached li").evaluate_all(
        "all => all.map(({dataset, textContent}) => [dataset.unit, textContent.split(' ').at(-1)])"
    )
    shares = np.full(count, np.nan, np.float32)
    for unit, share in found:
        shares[int(unit)] = float(share)
    return shares


@pytest.mark.parametrize(
    ("kind", "bits", "error"),
    [("encoder", 16, 0.006), ("decoder", 16, 0.006), ("encoder", 8, 0.04)],
)
def test_the_flow_of_a_long_text_is_computed_from_its_maps(
    explore: Any,
    kind: str,
    bits: int,
    error: float,
    tmp_path: Path,
    minilm: Model,
    smollm2: Model,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of maps in thousandths, and of those in 8 bits of a text beyond 1,024 tokens."""
    if bits == 8:
        monkeypatch.setattr("attnprobe.render.web.explorer.MOST_EXACT", 0)
    attention = (minilm if kind == "encoder" else smollm2).attention(LONG_TEXT)
    assert len(attention.tokens) > 128
    attention.page(tmp_path / "flow.html")
    page = explore(tmp_path / "flow.html", "from=90")
    rolled = attention.rollout(unit="words")[-1][90]
    shares = reached(page, len(rolled))
    # The maps are rounded.
    assert np.abs(shares - rolled).max() <= error
    assert "rounded weights" in page.locator("[data-part=flow]").inner_text()
    assert page.locator("[data-part=flow] svg path").count() > 20


def rolled_out(layers: list[Floats], start: list[int]) -> Floats:
    """What reaches the mean of some tokens of a decoder from each token of the input."""
    share = np.zeros(layers[0].shape[-1])
    share[start] = 1 / len(start)
    for weights in reversed(layers):
        mean = weights.mean(axis=0, dtype=np.float64)
        for target, row in enumerate(mean):
            row[: target + 1] /= np.arange(target + 1, 0, -1)
            mean[target] = row / row.sum()
        share = (share @ mean + share) / 2
    return share


def test_the_flow_of_a_text_beyond_1024_tokens_is_that_of_exact_weights(
    explore: Any, tmp_path: Path
) -> None:
    """Its maps have 8 bits, in which most weights of a diffuse row vanish."""
    tokenizer = tiny_tokenizer(start=True)
    tokenizer.model_max_length = 1200
    network = headed("llama", max_position_embeddings=1200)
    model = Model.of(network, tokenizer, name="llama")
    text = "the old dog sees a small cat " * 36
    maps = model.attention(text).maps()
    (site,) = maps.sites
    assert len(site.rows.tokens) > 1024
    layers = list(eager_weights(model, Sample(text), "decoder").values())
    exact = rolled_out(layers, list(site.rows.words[90].positions))
    expected = np.array([exact[list(unit.positions)].sum() for unit in site.rows.words])
    (tmp_path / "flow.html").write_text(explorer_page(maps), encoding="utf-8")

    page = explore(tmp_path / "flow.html", "from=90")
    assert "255ths" in page.locator(".attn-rounding").inner_text()
    shares = reached(page, len(expected))
    assert np.sort(expected)[-3] > 0.08
    assert np.abs(shares - expected).max() <= 0.006
    assert "what a row lost by rounding" in page.locator("[data-part=flow]").inner_text()


@pytest.mark.parametrize("fragment", ["L3H1,from=5,to=2", "L3H1,L4H4,from=5,to=3"])
def test_a_copied_case_is_valid_and_passes(
    explore: Any, encoder_page: Path, minilm: Model, tmp_path: Path, fragment: str
) -> None:
    page = explore(encoder_page, f"{fragment},unit=words")
    see(page, "case")
    text = page.locator(".attn-yaml").inner_text()
    path = tmp_path / "copied.attn.yaml"
    path.write_text(text, encoding="utf-8")
    (case,) = load(path, "copied")
    (finding,) = Runner(minilm, [case]).judge(case)
    assert finding.verdict is not None
    assert finding.verdict.outcome in ("passed", "vacuous")
    assert finding.verdict.observed > finding.verdict.deciding.demanded
    counted = text.split("# ")[1].split(" of the 72 heads")[0].split(" to ")
    to = int(fragment.partition("to=")[2])
    weights = [
        minilm.attention(TEXT).words_matrix(f"L{n // 12}H{n % 12}")[5, to] for n in range(72)
    ]
    passing = sum(weight >= finding.verdict.deciding.demanded for weight in weights)
    assert int(counted[0]) <= passing <= int(counted[-1])
    # Of all other pairs of words, without the special tokens at both ends.
    heads = fragment.split(",from", maxsplit=1)[0].split(",")
    shown = minilm.attention(TEXT).words_matrix(heads)[1:-1, 1:-1]
    others = ~np.eye(len(shown), dtype=bool)
    others[5 - 1, to - 1] = False
    pairs = re.search(
        r"# Of the (\d+) other pairs of words of this text, (\d+)(?: to (\d+))?", text
    )
    assert pairs is not None
    assert int(pairs[1]) == others.sum()
    reaching = int((shown[others] >= finding.verdict.deciding.demanded).sum())
    assert int(pairs[2]) <= reaching <= int(pairs[3] or pairs[2])
    assert int(pairs[3] or pairs[2]) - int(pairs[2]) <= 6


def test_a_word_that_occurs_twice_is_named_by_its_place(
    explore: Any, smollm2: Model, folder: Path, tmp_path: Path
) -> None:
    text = 'The cat saw the dog and "the cat: yes" ran, cat.'
    attention = smollm2.attention(text)
    attention.page(folder / "twice.html", heads=["L0"])
    words = list(attention.words)
    last, first = len(words) - 2, 1
    assert (words[last], words[first]) == ("cat", "cat")
    page = explore(folder / "twice.html", f"L0H1,from={last},to={first}")
    see(page, "case")
    path = tmp_path / "copied.attn.yaml"
    path.write_text(page.locator(".attn-yaml").inner_text(), encoding="utf-8")
    assert "nth: 3" in path.read_text(encoding="utf-8")
    (case,) = load(path, "copied")
    assert case.sample.text == text
    (finding,) = Runner(smollm2, [case]).judge(case)
    assert finding.verdict is not None
    observed = attention.words_matrix("L0H1")[last, first]
    assert finding.verdict.observed == pytest.approx(observed, abs=1e-5)
    assert finding.verdict.observed > finding.verdict.deciding.demanded


def test_heads_are_sorted_and_coloured_by_a_figure(
    explore: Any, encoder_page: Path, minilm: Model
) -> None:
    page = explore(encoder_page, "L3H1,from=5,to=2")
    page.get_by_label("order").select_option("most")
    page.get_by_label("colour").select_option("previous")
    settle(page)
    order = page.locator(".attn-head").evaluate_all("all => all.map(head => head.dataset.head)")
    scores = {str(head.head): head.scores["previous"] for head in minilm.attention(TEXT).patterns()}
    ranked = [scores[name] for name in order]
    assert len(set(order)) == 72
    assert np.all(np.diff(ranked) <= 1e-4)
    page.get_by_label("colour").select_option("pair")
    page.wait_for_function("() => document.querySelector('.attn-strip').textContent !== '–'")
    first = page.locator(".attn-head").first.get_attribute("data-head")
    weights = {name: minilm.attention(TEXT).words_matrix(name)[5, 2] for name in scores}
    assert weights[str(first)] == pytest.approx(max(weights.values()), abs=0.004)


def test_query_heads_are_grouped_by_their_keys(explore: Any, decoder_page: Path) -> None:
    page = explore(decoder_page)
    press(page, "choose", "key-value groups")
    page.locator('[data-head="L2H4"]').click()
    settle(page)
    pressed = page.locator('.attn-head[aria-pressed="true"]')
    names = pressed.evaluate_all("all => all.map(head => head.dataset.head)")
    assert names == ["L2H3", "L2H4", "L2H5"]


def test_cross_attention_has_both_languages(
    explore: Any, cross_page: Path, translator: Model
) -> None:
    page = explore(cross_page, "L1H2,unit=pieces,sinks=kept")
    weights = eager_weights(translator, BILINGUAL, "cross")[1][2]
    assert np.allclose(cells(page), weights, atol=0.00051)
    assert page.locator(".attn-sentence").count() == 2
    page.locator(".attn-sentence").nth(0).locator("span").nth(2).click()
    page.locator(".attn-sentence").nth(1).locator("span").nth(1).click()
    settle(page)
    assert f"{weights[2, 1]:.2f}"[:3] in detail(page)
    page.get_by_label("site").select_option(label="decoder")
    settle(page)
    inner = eager_weights(translator, BILINGUAL, "decoder")[1][2]
    shown = cells(page)
    hidden = np.triu(np.ones_like(inner, bool), 1)
    assert (np.isnan(shown) == hidden).all()
    assert np.allclose(shown[~hidden], inner[~hidden], atol=0.00051)


def test_a_page_of_the_strongest_keys_says_what_it_drops(
    explore: Any, minilm: Model, folder: Path
) -> None:
    attention = minilm.attention(TEXT)
    page_text = attention.page(folder / "top.html", top_keys=3)
    assert len(page_text) < len(attention.page())
    page = explore(folder / "top.html", "L3H1,unit=pieces,sinks=kept,from=5")
    weights = attention.weights("L3H1")
    kept = np.sort(weights, axis=1)[:, -3:]
    shown = cells(page)
    assert np.allclose(np.sort(shown, axis=1)[:, -3:], kept, atol=0.00051)
    assert ((shown > 0).sum(axis=1) <= 3).all()
    assert f"drops {100 * (1 - kept[5].sum()):.1f} % of the row" in detail(page)
    dropped = np.concatenate(
        [1 - np.sort(layer, axis=-1)[..., -3:].sum(-1).ravel() for layer in all_layers(minilm)]
    )
    said = page.locator(".attn-rounding").inner_text()
    assert f"drops {100 * dropped.mean():.1f} % of a row on average" in said
    assert f"at most {100 * dropped.max():.1f} %." in said


def all_layers(model: Model) -> list[Floats]:
    return list(eager_weights(model, Sample(TEXT), "encoder").values())


def test_what_is_seen_can_be_saved(
    explore: Any, encoder_page: Path, minilm: Model, tmp_path: Path
) -> None:
    page = explore(encoder_page, "L3H1,sinks=kept", accept_downloads=True)
    for part in ("map", "arcs", "flow"):
        for kind in ("svg", "png"):
            with page.expect_download() as saving:
                page.get_by_label(f"save the {part} as {kind.upper()}").click()
            saving.value.save_as(tmp_path / f"{part}.{kind}")
            start = (tmp_path / f"{part}.{kind}").read_bytes()[:8]
            assert start.startswith(b"<svg" if kind == "svg" else b"\x89PNG")
    with page.expect_download() as saving:
        page.get_by_label("save the map as CSV").click()
    saving.value.save_as(tmp_path / "map.csv")
    lines = list(csv.DictReader(io.StringIO((tmp_path / "map.csv").read_text(encoding="utf-8"))))
    found = np.array([float(line["weight"]) for line in lines]).reshape(10, 10)
    assert np.allclose(found, minilm.attention(TEXT).words_matrix("L3H1"), atol=0.0031)
    assert {line["heads"] for line in lines} == {"L3H1"}


def test_search_finds_and_chooses_words(explore: Any, encoder_page: Path) -> None:
    page = explore(encoder_page, "L3H1,from=1")
    page.get_by_placeholder("a word").fill("CAB")
    assert page.locator(".attn-found").all_inner_texts() == ["cabinet"]
    page.get_by_placeholder("a word").press("Enter")
    settle(page)
    assert page.locator("[data-part=text] .attn-from").inner_text().startswith("cabinet")


def test_a_verdict_is_shown_on_its_cells(explore: Any, minilm: Model, folder: Path) -> None:
    mark = Mark(
        "encoder", (Head(4, 7),), (8,), (2, 3, 4, 5), (10,), "cabinet", "weight ≥ 0.3", "9 %"
    )
    minilm.attention(TEXT).page(folder / "marked.html", marks=[mark])
    page = explore(folder / "marked.html")
    button = page.locator(".attn-marks button")
    assert button.inner_text() == "cabinet: weight ≥ 0.3; chance: 9 %"
    button.click()
    settle(page)
    assert page.locator(".attn-chip").first.inner_text() == "cabinet: weight ≥ 0.3; chance: 9 %"
    outlined = page.evaluate(
        """() => ['e', 'c'].map(mark => [...document.querySelectorAll('[data-part=map] td.' + mark)]
          .map(cell => [cell.parentElement.rowIndex - 1, cell.cellIndex - 1]))"""
    )
    assert outlined == [[[5, 2]], [[5, 7]]]
    assert page.evaluate("location.hash").startswith("#L4H7,from=5,to=2")


def test_a_long_text_has_a_window_and_a_canvas(explore: Any, minilm: Model, folder: Path) -> None:
    text = LONG_TEXT
    minilm.attention(text).page(folder / "long.html", heads=["L2"])
    page = explore(folder / "long.html", "L2H3,from=70")
    count = len(minilm.attention(text).words)
    assert page.locator("[data-part=map] table tbody tr").count() == 40
    page.get_by_label("window").first.select_option(str(count))
    settle(page)
    size = page.locator(".attn-canvas").evaluate("canvas => [canvas.width, canvas.height]")
    assert size == [count, count]


COUNTERS = """<script>
  window.counts = { unpacked: 0, canvases: 0 };
  const count = (owner, name, counter) => {
    const kept = owner[name];
    owner[name] = new Proxy(kept, {
      construct: (target, given) => (counts[counter]++, new target(...given)),
      apply: (target, self, given) => (counts[counter]++, target.apply(self, given)),
    });
  };
  count(window, "DecompressionStream", "unpacked");
  count(HTMLCanvasElement.prototype, "getContext", "canvases");
</script>"""


def test_a_page_that_opens_draws_no_more_than_the_first_screen_shows(
    explore: Any, minilm: Model, folder: Path
) -> None:
    page_text = minilm.attention(LONG_TEXT).page()
    script = page_text.index("<script>")
    # All heads but the first that is shown stand behind the script.
    assert page_text[script:].count("<template id=") >= 70
    counted = page_text.replace("<head>", f"<head>{COUNTERS}", 1)
    (folder / "counted.html").write_text(counted, encoding="utf-8")
    page = explore(folder / "counted.html", bypass_csp=True)
    settle(page)
    assert page.evaluate("counts") == {"unpacked": 1, "canvases": 0}
    assert page.locator("*").count() < 2800
    assert page.locator("[data-part=flow] *").count() == 0
    shown = page.locator(".attn-chip").first.inner_text()
    page.locator(f'[data-head="{"L0H1" if shown[1] != "0" else "L1H1"}"]').click()
    settle(page)
    assert page.evaluate("counts") == {"unpacked": 2, "canvases": 0}
    see(page, "flow")


def test_a_link_that_names_nothing_opens_the_page(explore: Any, encoder_page: Path) -> None:
    wrong = "L99H1,constructor,from=999,to=-1,at=7,model=9,unit=<b>,__proto__=1"
    page = explore(encoder_page, wrong)
    assert page.locator('.attn-head[aria-pressed="true"]').count() == 1


def test_two_models_are_shown_in_turn_and_as_a_difference(
    explore: Any, minilm: Model, folder: Path
) -> None:
    attention = minilm.attention(TEXT)
    old = attention.maps()
    # As another model: the same one with the heads of each layer in reverse.
    (site,) = attention.maps().sites
    turned = [
        replace(layer, weights=layer.weights[::-1], figures=layer.figures[::-1])
        for layer in site.layers
    ]
    new = replace(old, model="turned", sites=[replace(site, layers=turned)])
    page_text = compare_page(
        "two",
        subtitle="",
        counts={},
        rows=[],
        suites=[],
        explorer=explorer([(old, new)]),
    )
    (folder / "two.html").write_text(page_text, encoding="utf-8")
    page = explore(folder / "two.html", "L3H1,from=5,to=3,sinks=kept")
    before, now = (attention.words_matrix(head) for head in ("L3H1", "L3H10"))
    assert np.allclose(cells(page), before, atol=0.0031)
    press(page, "model", "B: turned")
    settle(page)
    assert np.allclose(cells(page), now, atol=0.0031)
    press(page, "model", "B − A")
    settle(page)
    assert np.allclose(cells(page), now - before, atol=0.0062)
    strip = page.locator('[data-head="L3H1"] .attn-strip')
    figures = turned[3].figures[1], turned[3].figures[10]
    more = figures[0].entropy - figures[1].entropy
    assert strip.inner_text() == f"{more:+.2f}".replace("-", "−")
    assert (strip.get_attribute("class") or "").startswith(f"attn-strip {'p' if more > 0 else 'n'}")
    # The small picture of the head: a pixel for each pair of tokens, in the colour of its change.
    url = page.locator(".attn-picture").first.evaluate("it => getComputedStyle(it).backgroundImage")
    image = imread(io.BytesIO(base64.b64decode(url.split("base64,")[1].rstrip('")'))))
    picture = np.rint(image[3 * 13 : 4 * 13, 13 : 2 * 13, :3] * 255).astype(int)
    steps = [f"n{step}" for step in range(16, 0, -1)] + ["m0"]
    steps += [f"p{step}" for step in range(1, 17)]
    colours = np.array([list(bytes.fromhex(steps_of("light")[name][1:])) for name in steps])
    drawn = np.abs(picture[:, :, None] - colours).sum(-1).argmin(-1) - 16
    change = attention.weights("L3H10") - attention.weights("L3H1")
    exact = 16 * np.clip(change / np.abs(change[:, 1:-1]).max(), -1, 1)
    assert np.abs(drawn - exact).max() <= 1
    assert drawn.min() < -3
    assert drawn.max() > 3
    see(page, "case")
    assert "one model" in page.locator("[data-part=case]").inner_text()
    signs = page.locator("[data-part=map] td").evaluate_all(
        "all => all.map(cell => [cell.className.slice(0, 1), cell.textContent.slice(0, 1)])"
    )
    assert {name for name, _ in signs} >= {"n", "p"}
    assert all((name == "n") == (text == "−") for name, text in signs if name in "np")


def test_objects_show_themselves_in_a_notebook(
    open_page: OpenPage, minilm: Model, smollm2: Model, folder: Path
) -> None:
    shown = [minilm.attention(TEXT), minilm.attention("A dog sleeps."), smollm2]
    parts = "\n".join(part._repr_html_() for part in shown)
    (folder / "notebook.html").write_text(
        f"<!doctype html><meta charset=utf-8>{parts}", encoding="utf-8"
    )
    page = open_page(folder / "notebook.html")
    for number, attention in enumerate(shown[:2]):
        frame = page.frame_locator("iframe").nth(number)
        frame.locator("[data-ready]").wait_for()
        frame.locator('[data-head="L2H3"]').click()
        assert frame.locator(".attn-chip").first.inner_text() == "L2H3"
        assert frame.locator(".attn-text").inner_text() == attention.sample.text
        # Without frames, the table remains.
        table = page.locator("details").nth(number)
        text = table.locator("tbody tr").nth(1).locator("td").nth(1).text_content()
        assert float(text) == pytest.approx(attention.words_matrix("mean")[1, 1], abs=0.00051)
    card = page.locator("table").last.inner_text()
    for fact in ("LlamaModel", "30 layers × 9 heads", smollm2.weights_sha256):
        assert fact in card


def test_it_looks_right_in_every_width_and_theme(explore: Any, encoder_page: Path) -> None:
    page = explore(encoder_page, "L3H1,L4H4,from=5,to=2")
    see(page, "case")
    assert look_faults(page) == []
