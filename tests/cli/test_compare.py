"""`attnprobe compare`: results files and models, the page and its pictures."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from scipy.spatial.distance import jensenshannon
from transformers import AutoModel

from attnprobe import cases
from attnprobe.cli.base import out
from attnprobe.compare.changes import compare_results
from attnprobe.compare.matching import Match
from attnprobe.compare.side_by_side import (
    HeadFate,
    changed_sentence,
    draw_change,
    fates_sentence,
    head_fates,
    shown_fates,
)
from attnprobe.core.charts import Cells
from attnprobe.core.errors import AttnprobeError, ResultsError
from attnprobe.core.sites import Head, SiteName
from attnprobe.models import Model
from attnprobe.render.figures.difference import difference_map, triple
from attnprobe.render.figures.style import to_svg
from attnprobe.render.web.changes import ChangeRow, SuiteRow, changes_section
from attnprobe.render.web.compare_page import ChangePictures, HeadRow, compare_page
from attnprobe.render.web.maps import AttentionMap
from attnprobe.results.files import write_json
from attnprobe.results.records import Results
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.compared_results import FAIL, GAP, HOLD, case, expected, model, run
from tests.support.svg import HOSTILE, texts

Write = Callable[..., Path]
Attn = Callable[..., tuple[int, str]]


@pytest.fixture
def compare(attn: Attn, forks: None) -> Attn:
    """Runs `attnprobe compare` in an empty folder; exit code and what was printed."""
    return functools.partial(attn, "compare")


def saved(name: str, results: Results) -> str:
    write_json(Path(name), results.to_json())
    return name


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text)


# Results


def test_nothing_broken_is_0(compare: Attn) -> None:
    old = saved("a.json", run(HOLD, case(id="two")))
    code, text = compare(old, saved("b.json", run(HOLD, case(expected(0.3), id="two"))))
    assert code == 0
    assert text.endswith(
        "\n1 weaker, 1 kept\nAll 2 checks that held before still hold, 1 is weaker.\n"
    )
    assert "passed, weight 0.600 by L3H1" in text
    assert "passed, weight 0.300 by L3H1" in text
    assert "−50%" in text
    assert "2 of 2" in text


def test_something_broken_is_1(compare: Attn) -> None:
    code, text = compare(saved("a.json", run(HOLD)), saved("b.json", run(FAIL)))
    assert code == 1
    assert re.search(r"broken .* one .* passed, weight 0.600 .* failed, weight 0.100", text)


def test_a_narrow_terminal_breaks_no_name(compare: Attn, monkeypatch: pytest.MonkeyPatch) -> None:
    long = case(id="it", row="animal-cross-street-tired", file="cases/of/a/long/name.attn.yaml")
    files = saved("a.json", run(long)), saved("b.json", run(replace(long, outcome="failed")))
    monkeypatch.setattr(out, "_force_terminal", True)
    monkeypatch.setattr(out, "_width", 80)
    _, text = compare(*files)
    lines = [re.sub("[│ ]+", " ", line).strip() for line in text.splitlines()]
    assert lines[1:4] == [
        "kind broken",
        "case it[animal-cross-street-tired]",
        "cases/of/a/long/name.attn.yaml",
    ]


def test_a_limit_is_1_too(compare: Attn) -> None:
    files = saved("a.json", run(HOLD)), saved("b.json", run(case(expected(0.4))))
    assert compare(*files)[0] == 0
    assert compare(*files, "--fail", "weight:-50%")[0] == 0
    code, text = compare(*files, "--fail", "weight:-20%", "--fail", "broken:0")
    assert code == 1
    assert "beyond the limit weight:-20%: weights fell or are unknown in 1: cases/x" in text
    with pytest.raises(ResultsError, match="unknown limit"):
        compare(*files, "--fail", "wieght:-20%")


def test_what_is_gone_is_1_unless_it_is_let_go(compare: Attn) -> None:
    old = run(HOLD, *(case(id=f"c{n}") for n in range(99)))
    files = saved("a.json", old), saved("b.json", run(HOLD))
    code, text = compare(*files)
    assert code == 1
    assert "beyond the limit gone:0: 99 gone: cases/x.attn.yaml: c0 on small; " in text
    assert "99 gone, 1 kept" in text
    assert compare(*files, "--allow-gone")[0] == 0
    assert compare(*files, "--fail", "gone:99")[0] == 0
    assert compare(*files, "--fail", "gone:98")[0] == 1
    assert compare(files[1], files[0])[0] == 0  # what is new is not gone


def test_what_is_no_results_file_cannot_be_compared_p36(compare: Attn) -> None:
    good = saved("a.json", run(HOLD))
    Path("bad.json").write_text('{"schema": "attnprobe/results-9"}', encoding="utf-8")
    for other, message in (
        ("bad.json", "needs schema"),
        ("none.json", "cannot be read"),
        (saved("cut.json", run(HOLD, collected=3)), "did not finish"),
        (saved("else.json", run(case(file="y"))), "no case in common that both executed"),
        ("some/model", "a.json is a results file and some/model is none"),
        (
            "nosuch",
            "no file or baseline is named nosuch; a.json is a results file, so give a second "
            "one, or two models",
        ),
    ):
        for given in ((good, other), (other, good)):
            with pytest.raises(AttnprobeError, match=message):  # main() makes this exit code 2
                compare(*given)


def test_a_baseline_is_known_by_its_name(compare: Attn) -> None:
    saved(".attnprobe/main.json", run(HOLD))
    assert compare("main", saved("b.json", run(FAIL)))[0] == 1


def test_the_only_models_are_compared_whatever_their_names(compare: Attn) -> None:
    old = saved("a.json", run(case(model="one"), models=(model("one"),)))
    new = saved("b.json", run(case(model="two"), models=(model("two"),)))
    assert "1 kept" in compare(old, new)[1]


def test_nothing_of_a_user_acts_p31_p33(compare: Attn) -> None:
    old = run(*(case(id=f"c{n}", row=text, suite=text) for n, text in enumerate(HOSTILE)))
    new = run(
        *(case(expected(0.4), id=f"c{n}", row=text, suite=text) for n, text in enumerate(HOSTILE))
    )
    code, text = compare(
        saved("a.json", old), saved("b.json", new), "--html=p.html", "--json=c.json"
    )
    assert code == 0
    assert "\x1b" not in text
    assert not re.search(r"^\s*::", text, re.MULTILINE)
    page = Page(Path("p.html").read_text(encoding="utf-8"))
    assert not {"script", "iframe", "object", "link", "base"} & {tag for tag, _ in page.tags}
    assert not [name for _, facts in page.tags for name in facts if name.startswith("on")]
    assert len(json.loads(Path("c.json").read_text(encoding="utf-8"))["changes"]) == len(HOSTILE)


def test_the_json_says_it_all(compare: Attn) -> None:
    files = saved("a.json", run(HOLD, GAP2)), saved("b.json", run(FAIL, GAP2))
    compare(*files, "--json", "deep/c.json", "--fail=broken:0")
    found = json.loads(Path("deep/c.json").read_text(encoding="utf-8"))
    assert found["schema"] == "attnprobe/comparison-1"
    assert found["counts"] == {
        "broken": 1, "gone": 0, "weaker": 0, "fixed": 0, "stronger": 0, "new": 0, "kept": 1,
    }  # fmt: skip
    one, two = found["changes"]
    assert (one["id"], one["kind"]) == ("one", "broken")
    assert one["by"] == pytest.approx(-0.5 / 0.6)
    assert one["new"]["expectations"][0]["observed"] == 0.1
    assert (two["id"], two["kind"]) == ("two", "kept")
    assert found["suites"][0]["n"] == 2
    assert found["beyond"] == ["broken:0: 1 broken: cases/x.attn.yaml: one on small"]


GAP2 = case(*GAP.expectations, outcome="xfailed", id="two")


# Two models


def _swap(network: Any, layer: int, one: int, other: int) -> None:
    """Two heads of a layer change places, and the model computes what it did."""
    attention = network.encoder.layer[layer].attention
    order = torch.arange(32)
    order[one * 8 : one * 8 + 8] = torch.arange(other * 8, other * 8 + 8)
    order[other * 8 : other * 8 + 8] = torch.arange(one * 8, one * 8 + 8)
    with torch.no_grad():
        for part in (attention.self.query, attention.self.key, attention.self.value):
            part.weight.copy_(part.weight[order].clone())
            part.bias.copy_(part.bias[order].clone())
        attention.output.dense.weight.copy_(attention.output.dense.weight[:, order].clone())


def _break(network: Any, layer: int) -> None:
    """Each head of a layer looks, sharply, where it looked least."""
    with torch.no_grad():
        network.encoder.layer[layer].attention.self.query.weight.mul_(-8)
        network.encoder.layer[layer].attention.self.query.bias.mul_(-8)


@pytest.fixture(scope="module")
def networks() -> Mapping[str, Any]:
    """Tiny random networks: one, the same with two heads swapped, and with a broken layer."""
    made: dict[str, Any] = {name: tiny_network("bert") for name in ("old", "swapped", "wild")}
    _swap(made["swapped"], 1, 0, 2)
    _break(made["wild"], 2)
    return made


@pytest.fixture(scope="module")
def readers(networks: Mapping[str, Any]) -> dict[str, Model]:
    return {
        name: Model.of(network, tiny_tokenizer(), name=name) for name, network in networks.items()
    }


SUITE = """
- id: pinned
  text: The dog barks.
  expect:
    - ignores: {from: barks, to: dog, heads: L1H0, max: 0.99}
    - ignores: {from: barks, to: dog, heads: [L1H0, L2H3], max: 0.99}
- id: loose
  text: The seal sleeps.
  expect:
    - ignores: {from: sleeps, to: seal, heads: L2, max: 0.99}
- id: spread
  text: A dog.
  expect:
    - entropy: {heads: L2H3, min: 1}
"""


def test_pinned_heads_are_kept_moved_or_lost(
    readers: dict[str, Model], write_cases: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    suite = cases.load(write_cases(SUITE), "x")

    def told(new: str) -> list[tuple[str, str, int]]:
        fates = head_fates(readers["old"], readers[new], suite)
        assert len(fates) == 12
        return [(str(fate.match.old), str(fate), fate.cases) for fate in shown_fates(fates)]

    assert told("old") == [("L1H0", "kept", 1), ("L2H3", "kept", 2)]
    assert told("swapped") == [
        ("L1H0", "moved to L1H2", 1),
        ("L2H3", "kept", 2),
        ("L1H2", "moved to L1H0", 0),
    ]
    wild = told("wild")
    assert wild[:2] == [("L2H3", "lost", 2), ("L1H0", "kept", 1)]
    assert {(head, count) for head, _, count in wild[2:]} == {
        ("L2H0", 0),
        ("L2H1", 0),
        ("L2H2", 0),
    }


def test_a_sentence_tells_of_heads_that_are_not_where_they_were() -> None:
    def fate(head: int, new: int, divergence: float = 0.0, site: SiteName = "encoder") -> HeadFate:
        return HeadFate(site, Match(Head(3, head), Head(3, new), divergence, 1.0, 0.1), 1)

    assert fates_sentence([replace(fate(1, 5), cases=0)]) == ""
    assert fates_sentence([]) == fates_sentence([fate(1, 1)]) == ""
    assert fates_sentence([fate(1, 5), fate(2, 2)]) == "L3H1 moved to L3H5."
    assert fates_sentence([fate(2, 2, 0.5), fate(1, 5)]) == "L3H2 is lost, L3H1 moved to L3H5."
    moved = [fate(head, head + 5) for head in range(5)]
    assert fates_sentence(moved) == (
        "L3H0 moved to L3H5, L3H1 moved to L3H6, L3H2 moved to L3H7, and 2 more."
    )
    assert fates_sentence([fate(1, 5), fate(2, 2, site="decoder")]) == (
        "Encoder L3H1 moved to L3H5."
    )


def _eager(network: Any, text: str) -> Any:
    """`[layer, head, target, source]` by transformers itself."""
    network.set_attn_implementation("eager")
    with torch.inference_mode():
        found = network(**tiny_tokenizer()(text, return_tensors="pt"), output_attentions=True)
    network.set_attn_implementation("sdpa")
    return torch.cat(found.attentions).numpy()


def test_a_changed_case_is_drawn_before_now_and_their_difference(
    networks: Mapping[str, Any],
    readers: dict[str, Model],
    write_cases: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    suite = cases.load(write_cases(SUITE), "x")
    change = compare_results(run(HOLD), run(FAIL)).changes[0]
    drawn = draw_change(change, suite[2], readers["old"], readers["wild"])
    assert drawn.captions == ("L2H3 of old, before", "L2H3 of wild, now", "L2H3, now less before")
    (line,) = drawn.lines
    assert re.search(r"before passed, entropy .*; now failed, entropy ", line)
    old, new = (_eager(networks[name], "A dog.")[2, 3] for name in ("old", "wild"))
    for shown, values in zip(drawn.maps, (old, new, new - old), strict=True):
        np.testing.assert_allclose(shown.values, values, atol=1e-5)
    assert [shown.signed for shown in drawn.maps] == [False, False, True]
    assert drawn.maps[0].scale() == drawn.maps[1].scale()
    assert draw_change(change, suite[2], readers["old"], readers["old"]).maps == ()


def test_both_are_run_matched_and_drawn(
    compare: Attn, networks: Mapping[str, Any], write_cases: Write
) -> None:
    for name in ("old", "wild"):
        networks[name].save_pretrained(name)
        tiny_tokenizer().save_pretrained(name)
    write_cases(SUITE, name="cases/x.attn.yaml")
    write_cases("- {id: other, model: big, text: A b., expect: [{ignores: {from: b, to: A, "
                "max: 0.9}}]}", name="cases/y.attn.yaml")  # fmt: skip
    code, text = compare("old", "wild", "--html=p.html", "--json=c.json")
    assert code == 1
    assert re.search(r"broken +│ spread", text)
    assert re.search(r"encoder │ L2H3 │ lost", text)
    assert re.search(r"encoder │ L2H3 │ lost .*\n.*encoder │ L1H0 │ kept", text)
    assert text.endswith(" L2H3 is lost.\n")
    found = json.loads(Path("c.json").read_text(encoding="utf-8"))
    assert {change["id"] for change in found["changes"]} == {"pinned", "loose", "spread"}
    named = {head["head"]: head["fate"] for head in found["heads"] if head["cases"]}
    assert named == {"L1H0": "kept", "L2H3": "lost"}
    html = Path("p.html").read_text(encoding="utf-8")
    page = Page(html)
    assert re.search(r'<p class="attn-muted">[^<]* L2H3 is lost\.</p>', html)
    assert "to 0.693 nats (nothing in common)" in html
    assert "p: the chance of so uneven a split" in html
    figures = [tag for tag, _ in page.tags if tag == "figure"]
    assert figures
    assert len(figures) % 3 == 0
    assert len(re.findall(r"now less before; scale to 0\.\d{3}<", html)) == len(figures) // 3
    data = json.loads(re.findall(r'id="explorer-data">(.*?)</script>', html)[0])
    assert data["models"] == ["old", "wild"]
    assert {len(entry["maps"]) for entry in data["entries"]} == {2}
    assert "; script-src &#39;sha256-" in html


def test_what_cannot_be_run_cannot_be_compared(compare: Attn, write_cases: Write) -> None:
    with pytest.raises(AttnprobeError, match="no such file or folder: cases; give --cases PATH"):
        compare("a", "b")
    named = (
        "- {{id: {0}, model: {0}, text: A b., expect: [{{ignores: {{from: b, to: A, max: 0.9}}}}]}}"
    )
    write_cases("\n".join(map(named.format, ("big", "wee"))), name="cases/x.attn.yaml")
    with pytest.raises(AttnprobeError, match="several models; name one with --model: big, wee"):
        compare("a", "b")


# Pictures and page


def test_the_middle_of_the_difference_is_white() -> None:
    colors = difference_map()
    assert colors(0.5) == (1.0, 1.0, 1.0, 1.0)
    assert colors(0.0)[2] < colors(0.0)[0] < 0.5  # brown
    assert colors(1.0)[0] < colors(1.0)[1] < 0.5  # green


def test_the_difference_is_now_less_before_with_even_limits() -> None:
    old = np.array([[0.9, 0.1], [0.25, 0.75]], np.float32)
    new = np.array([[0.5, 0.5], [0.25, 0.75]], np.float32)
    tokens = ("a", "b")
    drawn = triple(old, new, queries=tokens, keys=tokens, titles=("before", "now", "change"))
    cells = [
        [text for text in texts(to_svg(drawing)) if re.fullmatch(r"−?0\.\d\d", text)]
        for drawing in drawn
    ]
    assert cells == [["0.90", "0.10", "0.25", "0.75"], ["0.50", "0.50", "0.25", "0.75"],
                     ["−0.40", "0.40", "0.00", "0.00"]]  # fmt: skip
    ticks = [text for text in texts(to_svg(drawn.difference)) if re.fullmatch(r"−?0?\.?\d*", text)]
    numbers = {float(text.replace("−", "-")) for text in ticks if text.strip("−")}
    assert {0.2, -0.2, 0.0} <= numbers
    # Old and new have one scale: the same ticks.
    scales = [
        {text for text in texts(to_svg(drawing)) if re.fullmatch(r"0(\.\d)?", text)}
        for drawing in (drawn.old, drawn.new)
    ]
    assert scales[0] == scales[1]


def test_no_change_at_all_is_drawn_too() -> None:
    same = np.full((2, 2), 0.5, np.float32)
    drawn = triple(same, same, queries=("a", "b"), keys=("a", "b"), titles=("x", "y", "z"))
    assert texts(to_svg(drawn.difference)).count("0.00") == 4


def test_a_long_text_is_a_strip_on_a_scale_of_its_own_rows() -> None:
    random = np.random.default_rng(0)
    old, new = random.dirichlet(np.ones(60), (2, 60)).astype(np.float32)
    old[0, 0] = 0.97  # a row that is not shown
    tokens = [f"t{n}" for n in range(60)]
    mark = Cells((7,), (3,))
    drawn = triple(
        old, new, queries=tokens, keys=tokens, titles=("x", "y", "z"), expected=mark, rows=(7,)
    )
    shown = texts(to_svg(drawn.old))
    assert "t7" in shown
    assert "t8" in shown  # a column
    largest = max(float(text) for text in shown if re.fullmatch(r"0\.\d+", text))
    assert largest <= max(old[7].max(), new[7].max())
    with pytest.raises(ValueError, match="do not fit"):
        triple(old, new[:5], queries=tokens, keys=tokens, titles=("x", "y", "z"))


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_terminal_without_a_minus_sign_gets_the_verdict_all_the_same(
    tmp_path: Path, encoding: str
) -> None:
    old, new = (str(tmp_path / name) for name in ("old.json", "new.json"))
    saved(old, run(HOLD))
    saved(new, run(FAIL))
    code = f"import sys; sys.argv[1:] = ['compare', {old!r}, {new!r}]\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "from attnprobe.cli import main; main()"],
        capture_output=True,
        check=False,
        env=os.environ | {"PYTHONIOENCODING": encoding},
    )
    assert (done.returncode, done.stderr) == (1, b"")
    assert b"1 broken" in done.stdout
    minus = "−".encode(encoding, errors="backslashreplace")
    assert minus + b"83%" in done.stdout


class Page(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_many_changes_are_folded_in_a_report() -> None:
    row = ChangeRow("broken", "a", "b", "c", "d", "e", "f", "g")
    for count, folded in ((12, False), (13, True), (300, True)):
        made = str(changes_section("t", summary="s", rows=[row] * count, suites=[]))
        assert ("<details" in made, "</details>" in made) == (folded, folded)
        assert made.count(">broken</span>") == min(count, 200)
    assert "and 100 more" in made
    assert "200 changed cases" not in made


@pytest.mark.parametrize("text", HOSTILE)
def test_page_and_section_escape_everything_p31(text: str) -> None:
    row = ChangeRow("broken", text, text, text, text, text, text, text)
    suite = SuiteRow(text, text, text, text, text, text, text, text)
    head = HeadRow(text, text, text, text, text, 1)
    pictures = ChangePictures(
        row, (text,), (AttentionMap((text,), (text,), np.ones((1, 1), np.float32)),), (text,)
    )
    page = compare_page(
        text,
        subtitle=text,
        counts={"broken": 1},
        rows=[row],
        suites=[suite],
        heads=[head],
        pictures=[pictures],
        notes=[text],
    )
    section = changes_section(text, summary=text, rows=[row], suites=[suite], notes=[text])
    for made in (page, str(section)):
        made.encode()
        assert "\x1b" not in made
        tags = Page(made).tags
        assert "script" not in {tag for tag, _ in tags}
        assert not [name for _, facts in tags for name in facts if name.startswith("on")]
        sources = [facts["src"] for _, facts in tags if "src" in facts]
        assert all(str(src).startswith("data:image/svg+xml;base64,") for src in sources)
    assert "Content-Security-Policy" in page
    assert "http://" not in page.replace(text, "")


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")  # within peft
def test_a_base_is_compared_with_its_adapter_p49(
    compare: Attn, tmp_path: Path, write_cases: Write
) -> None:
    """The adapter changes the queries of layer 1 alone, so layer 0 stays as it was."""
    network = tiny_network("bert")
    network.save_pretrained("base")
    tiny_tokenizer().save_pretrained("base")
    config = LoraConfig(
        target_modules=["layer.1.attention.self.query"], lora_alpha=64, init_lora_weights=False
    )
    get_peft_model(network, config).save_pretrained("moved")
    sentence = "The dog barks at the seal."
    file = write_cases(
        f"- id: one\n  text: {sentence}\n  expect:\n"
        "    - ignores: {from: barks, to: dog, heads: L0H0, max: 0.999}\n"
    )
    code, printed = compare(
        "base", "base+moved", "--cases", file, "--json", "c.json", "--html", "c.html"
    )
    assert code == 0
    assert "another network" not in printed
    before = _eager(AutoModel.from_pretrained("base"), sentence)
    merged = PeftModel.from_pretrained(AutoModel.from_pretrained("base"), "moved")
    now = _eager(merged.merge_and_unload(), sentence)
    # scipy's distance is the square root of the divergence.
    apart = (jensenshannon(before, now, axis=-1) ** 2).mean(axis=-1)
    changed = {f"L{layer}H{head}": apart[layer, head] for layer, head in np.argwhere(apart > 0.01)}
    assert 4 <= len(changed) <= 8
    assert not [head for head in changed if head.startswith("L0")]
    first, *others = json.loads(Path("c.json").read_text())["heads"]
    assert (first["head"], first["fate"], first["own_place"]) == ("L0H0", "kept", "0.000 nats")
    told = {row["head"]: float(row["own_place"].removesuffix(" nats")) for row in others}
    assert told == pytest.approx(changed, abs=6e-4)
    assert list(told) == sorted(changed, key=lambda head: -changed[head])
    sentence = f"{len(changed)} of 12 heads now differ by more than 0.01 nats from the head that "
    assert sentence in " ".join(printed.split())
    page = Path("c.html").read_text()
    for text in (printed, page):
        assert all(row["head"] in text and row["own_place"] in text for row in others)


def test_only_the_heads_that_changed_most_are_listed() -> None:
    def fate(head: int, *, named: bool = False) -> HeadFate:
        place = Head(1, head)
        return HeadFate("encoder", Match(place, place, head / 100, head / 100, 0.5), int(named))

    fates = [fate(head, named=head in (3, 11)) for head in range(16)]
    assert [shown.match.old.head for shown in shown_fates(fates)] == [
        *(3, 11),
        *(15, 14, 13, 12, 10, 9, 8, 7, 6, 5),
    ]
    assert [str(shown) for shown in shown_fates(fates)] == ["kept"] * 2 + ["changed"] * 10
    assert changed_sentence(fates).startswith("14 of 16 heads now differ by more than 0.01 nats ")
