"""The page of an Attention object: what it packs, against eager attention and the object itself."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import zlib
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from attnprobe.attention import Attention
from attnprobe.core.arrays import Floats
from attnprobe.core.sites import Head, SiteName
from attnprobe.core.texts import Sample
from attnprobe.models import Model
from attnprobe.render.web.explorer import explorer_page
from attnprobe.render.web.maps import pack_map
from tests.support.eager import eager_weights

TEXT = "The frobnicator near the cabinet is old."
BILINGUAL = Sample("The old house is small.", "La vieille maison est petite.")


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="explorer-data">(.*?)</script>', page)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def block(page: str, name: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.frombuffer(zlib.decompress(base64.b64decode(packed_text(page, name))), np.uint8)


def packed_text(page: str, name: str) -> str:
    (found,) = re.findall(rf'<template id="{name}" data-packed="([^"]*)"></template>', page)
    return str(found)


def sixteen(raw: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    half = len(raw) // 2
    return raw[:half].astype(np.int64) * 256 + raw[half:]


def read_layer(page: str, entry: dict[str, Any], layer: int) -> Floats:
    """`[heads, target, source]` of a layer, by its place among those of the page."""
    number = sorted({number for number, _ in entry["heads"]})[layer]
    blocks = entry["maps"][0]["blocks"]
    heads = [at for at, (place, _) in enumerate(entry["heads"]) if place == number]
    return np.array([read_map(page, entry, blocks[head]) for head in heads])


def read_map(page: str, entry: dict[str, Any], name: str) -> Floats:
    """`[target, source]` of a block, read as its description says."""
    rows = len(entry["rows"]["pieces"])
    columns = len((entry["columns"] or entry["rows"])["pieces"])
    raw = block(page, name)
    numbers = raw / 255 if entry["maps"][0]["bits"] == 8 else sixteen(raw) / 1000
    if not entry["causal"]:
        return numbers.reshape(rows, columns).astype(np.float32)
    found = np.zeros((rows, rows), np.float32)
    at = 0
    for column in range(rows):
        for row in range(column, rows):
            found[row, column] = numbers[at]
            at += 1
    return found


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_the_packed_weights_are_those_of_eager_attention(
    minilm: Model, smollm2: Model, kind: SiteName
) -> None:
    model = minilm if kind == "encoder" else smollm2
    page = model.attention(TEXT).page()
    (entry,) = data_of(page)["entries"]
    weights = eager_weights(model, Sample(TEXT), kind)
    worst = np.zeros(2)
    for index, layer in enumerate(weights):
        found = read_layer(page, entry, index)
        assert np.abs(found - weights[layer]).max() <= 0.00051
        error = found - weights[layer]
        worst = np.maximum(worst, [np.abs(error).max(), np.abs(error.sum(-1)).max()])
    assert entry["maps"][0]["worst"] == pytest.approx(worst, rel=0.06, abs=1e-5)


def test_a_page_has_all_sites_that_the_sample_reaches(translator: Model) -> None:
    attention = Attention(translator, BILINGUAL, "cross")
    page = attention.page()
    entries = data_of(page)["entries"]
    assert [entry["site"] for entry in entries] == ["cross", "encoder", "decoder"]
    for entry in entries:
        weights = eager_weights(translator, BILINGUAL, entry["site"])
        for index, layer in enumerate(weights):
            assert np.allclose(read_layer(page, entry, index), weights[layer], atol=0.00051)
    own = data_of(attention.page(sites="own"))["entries"]
    assert [entry["site"] for entry in own] == ["cross"]
    encoder = Attention(translator, Sample(BILINGUAL.text), "encoder")
    assert [entry["site"] for entry in data_of(encoder.page())["entries"]] == ["encoder"]


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_the_figures_of_heads_are_those_of_the_object(
    minilm: Model, smollm2: Model, kind: str
) -> None:
    attention = (minilm if kind == "encoder" else smollm2).attention(TEXT)
    (entry,) = data_of(attention.page())["entries"]
    figures = entry["maps"][0]["figures"]
    patterns = attention.patterns()
    expected = {
        "entropy": attention.entropy(normalised=True),
        "distance": attention.distance(),
        "sink": attention.sink(),
    }
    assert entry["heads"] == [list(pattern.head) for pattern in patterns]
    for name, grid in expected.items():
        assert [figure[name] for figure in figures] == pytest.approx(grid.ravel(), abs=6e-5)
    for figure, pattern in zip(figures, patterns, strict=True):
        assert figure["pattern"] == pattern.pattern
        if pattern.pattern != "sink":
            assert figure["score"] == pytest.approx(pattern.score, abs=6e-5)
        assert figure["previous"] == pytest.approx(pattern.scores["previous"], abs=6e-5)


def test_heads_can_be_kept(minilm: Model) -> None:
    attention = minilm.attention(TEXT)
    page = attention.page(heads=["L3", "L1H2"])
    (entry,) = data_of(page)["entries"]
    assert entry["heads"] == [[1, 2], *([3, head] for head in range(12))]
    assert np.allclose(read_layer(page, entry, 0)[0], attention.weights("L1H2"), atol=0.00051)
    assert np.allclose(read_layer(page, entry, 1)[7], attention.weights("L3H7"), atol=0.00051)


def test_the_flow_is_packed_where_there_is_one(minilm: Model, translator: Model) -> None:
    attention = minilm.attention(TEXT)
    page = attention.page()
    (entry,) = data_of(page)["entries"]
    numbers = sixteen(block(page, entry["maps"][0]["flow"])) / 65535
    edges = numbers.reshape(6, len(attention.tokens), -1)
    rolled = edges[0]
    for layer in edges[1:]:
        rolled = layer @ rolled
    assert np.allclose(rolled, attention.rollout()[-1], atol=1e-4)
    cross = data_of(Attention(translator, BILINGUAL, "cross").page(sites="own"))["entries"][0]
    assert cross["maps"][0]["flow"] is None
    assert "no flow through one sequence" in cross["maps"][0]["noFlow"]


def test_a_page_without_network_runs_only_its_own_script(minilm: Model, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "it.html"
    page = minilm.attention(TEXT).page(path)
    assert path.read_text(encoding="utf-8") == page
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    policy = unescape(policy)
    assert policy.startswith("default-src 'none';")
    (own,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
    assert f"sha256-{digest}" in policy


def test_marks_are_data_of_the_page(minilm: Model) -> None:
    from attnprobe.core.maps import Mark

    mark = Mark("encoder", (Head(3, 1),), (4,), (2,), (6,), "it → keys", "weight ≥ 0.3", "12 %")
    page = explorer_page(minilm.attention(TEXT).maps(), marks=[mark])
    assert data_of(page)["marks"] == [
        {
            "site": "encoder",
            "heads": ["L3H1"],
            "rows": [4],
            "expected": [2],
            "contrast": [6],
            "label": "it → keys",
            "bound": "weight ≥ 0.3",
            "chance": "12 %",
        }
    ]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("causal", [False, True])
def test_what_a_script_reads_back_is_what_was_packed(bits: int, causal: bool) -> None:
    weights = np.random.default_rng(1).dirichlet(np.ones(9), 9).astype(np.float32)
    if causal:
        weights = np.tril(weights)
    packed = pack_map(weights, causal=causal, bits=bits)
    raw = np.frombuffer(zlib.decompress(base64.b64decode(packed.text)), np.uint8)
    numbers = raw / 255 if bits == 8 else sixteen(raw) / 1000
    if causal:
        read = np.zeros((9, 9))
        read[np.triu_indices(9)] = numbers
        read = read.T
    else:
        read = numbers.reshape(9, 9)
    error = read - weights
    assert np.abs(error).max() <= (0.5 / 255 if bits == 8 else 0.0005) + 1e-6
    assert packed.worst == pytest.approx(np.abs(error).max(), abs=1e-6)
    assert packed.worst_sum == pytest.approx(np.abs(error.sum(axis=-1)).max(), abs=1e-6)


def test_the_small_pictures_show_the_largest_weight_of_each_part(minilm: Model) -> None:
    text = " ".join(f"the {word} sees" for word in ["dog", "cat", "old man", "river"] * 12)
    attention = minilm.attention(text)
    page = attention.page()
    data = data_of(page)
    pictures = data["entries"][0]["maps"][0]["pictures"]
    size = len(attention.tokens)
    edges = [at * size // 64 for at in range(65)]
    for theme, dark in (("light", False), ("dark", True)):
        packed = pictures["head"] + data["palettes"][theme] + packed_text(page, pictures["block"])
        image = imread(io.BytesIO(base64.b64decode(packed)))[..., :3]
        assert image.shape[:2] == (6 * 64, 12 * 64)
        # The brightness of the drawn steps, from none to the strongest weight.
        for head in (Head(0, 0), Head(3, 1), Head(5, 11)):
            weights = attention.weights(str(head))
            scale = weights[:, 1:-1].max()
            parts = [
                [weights[top:bottom, left:right].max() for left, right in pairwise(edges)]
                for top, bottom in pairwise(edges)
            ]
            shares = np.minimum(np.array(parts) / scale, 1)
            row, column = 64 * head.layer, 64 * head.head
            drawn = image[row : row + 64, column : column + 64].mean(axis=-1)
            order = np.argsort(shares.ravel())
            levels = drawn.ravel()[order] * (1 if dark else -1)
            assert np.all(np.diff(levels) >= -1e-6)
            assert len(np.unique(levels)) > 8
