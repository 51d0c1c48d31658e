"""`pattern`, `induction`, `duplicate` against plain loops and the formulas of detect_head."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from attnprobe.attention import Attention
from attnprobe.core.arrays import Floats
from attnprobe.core.charts import HeadGrid, LayerPanel
from attnprobe.core.errors import MeasureError, SelectorError
from attnprobe.core.sites import Head
from attnprobe.core.texts import Encoding, Sample
from attnprobe.core.verdicts import Verdict
from attnprobe.models import Model
from attnprobe.rules import parse_rule
from attnprobe.rules.frame import Frame
from attnprobe.rules.head_patterns import HeadPattern, Patterns, name_patterns
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.made_up import FakeReader, distributions, encoding, rows, with_site

# Tokens:  0 [CLS]  1 The  2 ani  3 ##mals  4 slept  5 near  6 the  7 riv  8 ##er  9 .  10 [SEP]
READ = encoding("The ani|mals slept near the riv|er .")
WORDS = [[0], [1], [2, 3], [4], [5], [6], [7, 8], [9], [10]]
SEEDS = st.integers(0, 2**32 - 1)
FORMS = st.sampled_from(["mass", "match"])
Cell = Callable[[int, int], bool]
SHAPES: dict[str, tuple[dict[str, Any], Cell]] = {
    "diagonal": ({"is": "diagonal"}, lambda t, s: s == t),
    "previous": ({"is": "previous"}, lambda t, s: s == t - 1),
    "next": ({"is": "next"}, lambda t, s: s == t + 1),
    "offset": ({"is": "offset", "offset": -3}, lambda t, s: s == t - 3),
    "local": ({"is": "local", "window": 2}, lambda t, s: abs(t - s) <= 2),
    "around": (
        {"is": "local", "window": 2, "diagonal": False},
        lambda t, s: 0 < abs(t - s) <= 2,
    ),
}


def repeating(marked: str, **stated: Any) -> Encoding:
    """A text whose equal pieces have equal token ids."""
    read = encoding(marked, **stated)
    ids = {piece: number for number, piece in enumerate(dict.fromkeys(read.source.pieces))}
    source = replace(read.source, ids=tuple(ids[piece] for piece in read.source.pieces))
    return replace(read, source=source)


def judge(
    kind: str, read: Encoding = READ, weights: dict[int, Floats] | int = 0, **arguments: Any
) -> Verdict:
    """The verdict of a rule on weights, or on weights drawn with a seed."""
    if isinstance(weights, int):
        weights = distributions(read, weights)
    rule = parse_rule(kind, {"heads": "L0H0", "min": 0.5, **arguments})
    (need,) = rule.needs(read)
    return rule.judge([rows(read, need, weights)])


def scored(matrix: Any, cell: Cell, form: str, *, causal: bool = False) -> float:
    """The score of SCIENCE's formulas by loops over cells."""
    hit = total = difference = 0.0
    counted = 0
    for t, row in enumerate(np.asarray(matrix, float)):
        cells = [cell(t, s) and not (causal and s > t) for s in range(len(row))]
        if not any(cells):
            continue
        counted += 1
        for a, d in zip(row, cells, strict=True):
            hit += a * d
            total += a
            difference += abs(a - d)
    return hit / total if form == "mass" else 1 - difference / counted


def by_word(matrix: Any, groups: list[list[int]] = WORDS) -> Any:
    return [
        [sum(float(matrix[t][s]) for t in row for s in column) / len(row) for column in groups]
        for row in groups
    ]


def everywhere(row_of: Callable[[int], list[float]], read: Encoding = READ) -> dict[int, Floats]:
    """The same map in every head."""
    (site,) = read.sites.values()
    matrix = np.array([row_of(t) for t in range(len(read.queries(site.name)))], np.float32)
    return {layer: np.stack([matrix] * site.heads[layer]) for layer in site.layers}


def pure(cell: Cell, length: int = 11) -> dict[int, Floats]:
    """Every row wholly on its cells, evenly; on itself where it has none."""

    def row(t: int) -> list[float]:
        cells = [float(cell(t, s)) for s in range(length)]
        return (
            [c / sum(cells) for c in cells]
            if any(cells)
            else [float(s == t) for s in range(length)]
        )

    return everywhere(row)


# The numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=40, deadline=None)
@given(SEEDS, FORMS, st.booleans())
def test_a_score_by_loops(shape: str, seed: int, form: str, causal: bool) -> None:
    stated, cell = SHAPES[shape]
    assume(not (causal and shape == "next"))
    assume("window" not in stated or form == "mass")
    read = encoding("The ani|mals slept near the riv|er .", causal=causal)
    weights = distributions(read, seed)
    for head in range(2):
        verdict = judge("pattern", read, weights, heads=f"L1H{head}", form=form, **stated)
        expected = scored(weights[1][head], cell, form, causal=causal)
        assert verdict.observed == pytest.approx(expected, abs=1e-6)
        assert verdict.head == f"L1H{head}"


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.sampled_from(sorted(SHAPES)), FORMS)
def test_a_score_at_word_level(seed: int, shape: str, form: str) -> None:
    stated, cell = SHAPES[shape]
    assume("window" not in stated or form == "mass")
    weights = distributions(READ, seed)
    verdict = judge("pattern", weights=weights, form=form, unit="words", **stated)
    assert verdict.observed == pytest.approx(scored(by_word(weights[0][0]), cell, form), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.sampled_from(sorted(SHAPES)), FORMS)
def test_special_tokens_left_out_and_rows_scaled(seed: int, shape: str, form: str) -> None:
    stated, cell = SHAPES[shape]
    assume("window" not in stated or form == "mass")
    weights = distributions(READ, seed)
    inner = weights[0][0][1:-1, 1:-1].astype(float)
    content = inner.sum(axis=1, keepdims=True)
    # Special tokens stand at the ends: places inside keep their distances.
    said = content[:, 0] >= 0.05
    verdict = judge("pattern", weights=weights, form=form, special=False, **stated)
    expected = scored(inner / content, lambda t, s: bool(said[t]) and cell(t, s), form)
    assert verdict.observed == pytest.approx(expected, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_the_mean_of_heads_is_taken_first(seed: int) -> None:
    weights = distributions(READ, seed)
    mean = (weights[0][1] + weights[2][0]) / 2
    heads = {"in": ["L0H1", "L2H0"], "how": "mean"}
    verdict = judge("pattern", weights=weights, heads=heads, **{"is": "vertical"})
    columns = mean.mean(axis=0)
    assert verdict.observed == pytest.approx(float(columns.max()), abs=1e-6)
    assert verdict.measure == f"vertical on {READ.source.pieces[int(columns.argmax())]} mass"
    assert verdict.head == "mean of 2 heads"


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.booleans())
def test_a_stripe_and_what_it_stands_on(seed: int, causal: bool) -> None:
    read = encoding("The ani|mals slept near the riv|er .", causal=causal)
    weights = distributions(read, seed)
    matrix = weights[0][0].astype(float)
    means = [
        sum(matrix[t, s] for t in range(11) if not causal or s <= t) / (11 - s if causal else 11)
        for s in range(11)
    ]
    on = judge("pattern", read, weights, **{"is": "vertical", "to": "river"})
    seeing = [t for t in range(11) if not causal or t >= 7]
    expected = sum(matrix[t, 7] + matrix[t, 8] for t in seeing) / len(seeing)
    assert on.observed == pytest.approx(expected, abs=1e-6)
    assert on.picture is not None
    assert on.picture.expected == (7, 8)
    # A column that few rows see makes no stripe.
    wide = [s for s in range(11) if not causal or 11 - s >= 5.5]
    strongest = max(wide, key=lambda s: means[s])
    free = judge("pattern", read, weights, **{"is": "vertical"})
    assert free.observed == pytest.approx(means[strongest], abs=1e-6)
    assert free.measure == f"vertical on {read.source.pieces[strongest]} mass"
    assert free.picture is not None
    assert free.picture.expected == (strongest,)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_sparse_and_uniform_are_entropy_and_keys(seed: int) -> None:
    weights = distributions(READ, seed)
    matrix = weights[0][0].astype(float)
    entropy = float(np.mean([-sum(a * math.log(a) for a in row) for row in matrix]) / math.log(11))
    counts = []
    for row in matrix:
        held, count = 0.0, 0
        for a in sorted(row, reverse=True):
            held, count = held + a, count + 1
            if held >= 0.9:
                break
        counts.append(count)
    keys = float(np.mean(counts))
    sparse = judge("pattern", weights=weights, **{"is": "sparse", "min": None, "max": 0.3})
    assert sparse.observed == pytest.approx(entropy, abs=1e-6)
    assert (sparse.measure, sparse.relation) == ("normalised entropy", "<=")
    few = judge("pattern", weights=weights, **{"is": "sparse", "min": None, "keys": 3})
    assert (few.measure, few.observed, few.relation) == (
        "keys with 90 % of the mass",
        pytest.approx(keys),
        "<=",
    )
    many = judge("pattern", weights=weights, **{"is": "uniform", "min": None, "keys": 3})
    assert (many.observed, many.relation) == (pytest.approx(keys), ">=")


# TransformerLens' detect_head, written out again -------------------------------------------------


def detected(matrix: Floats, pattern: Floats, error_measure: str) -> float:
    """The formulas of `detect_head`: "mul", and "abs" as a mean over the cells times the length."""
    if error_measure == "mul":
        return float((matrix * pattern).sum() / matrix.sum())
    return float(1 - np.abs(matrix - pattern).mean() * len(matrix))


def detection_pattern(name: str, ids: list[int]) -> Floats:
    size = len(ids)
    pattern = np.zeros((size, size), np.float32)
    if name == "previous":
        pattern[1:, :-1] = np.eye(size - 1)
        return pattern
    same = np.equal.outer(ids, ids).astype(np.float32)
    np.fill_diagonal(same, 0)
    same = np.tril(same)
    if name == "duplicate":
        return same
    shifted = np.roll(same, 1, axis=1)
    shifted[:, 0] = 0
    return np.tril(shifted)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.sampled_from(["previous", "duplicate", "induction"]), FORMS)
def test_scores_are_those_of_detect_head(seed: int, name: str, form: str) -> None:
    read = repeating("a b c d a b c d a c", causal=True, ends=False)
    weights = distributions(read, seed)
    pattern = detection_pattern(name, list(read.source.ids))
    # Rows without a target do not count here: they are taken out before the comparison.
    with_target = pattern.any(axis=1)
    matrix, kept = weights[0][0][with_target], pattern[with_target]
    expected = float((matrix * kept).sum() / matrix.sum())
    if form == "match":
        expected = float(1 - np.abs(matrix - kept).sum(axis=1).mean())
    stated = {"is": name} if name == "previous" else {}
    kind = "pattern" if name == "previous" else name
    verdict = judge(kind, read, weights, form=form, **stated)
    assert verdict.observed == pytest.approx(expected, abs=1e-5)
    if name != "previous":
        same = judge("pattern", read, weights, form=form, **{"is": name})
        assert same.observed == verdict.observed
    # With every row counted, as detect_head does, the two differ by the rows without a target.
    share = with_target.mean()
    if form == "match":
        without = np.abs(weights[0][0][~with_target]).sum(axis=1)
        whole = detected(weights[0][0], pattern, "abs")
        assert whole == pytest.approx(
            1 - (1 - expected) * share - without.sum() / len(pattern), abs=1e-5
        )
    else:
        assert detected(weights[0][0], pattern, "mul") == pytest.approx(expected * share, abs=1e-5)


@pytest.mark.parametrize("kind", ["duplicate", "induction"])
@settings(max_examples=40, deadline=None)
@given(SEEDS, st.booleans())
def test_repetition_by_loops(kind: str, seed: int, words: bool) -> None:
    read = repeating("riv|er a riv|er b riv|er a")
    weights = distributions(read, seed)
    groups = (
        [[0], [1, 2], [3], [4, 5], [6], [7, 8], [9], [10]] if words else [[n] for n in range(11)]
    )
    names = [tuple(read.source.ids[n] for n in group) for group in groups]

    def cell(t: int, s: int) -> bool:
        if kind == "duplicate":
            return s < t and names[s] == names[t]
        return 1 <= s <= t and names[s - 1] == names[t]

    verdict = judge(kind, read, weights, unit="words" if words else "tokens")
    assert verdict.observed == pytest.approx(
        scored(by_word(weights[0][0], groups), cell, "mass"), abs=1e-6
    )


# Each can hold and can fail -----------------------------------------------------------------------

FLAT = everywhere(lambda t: [1 / 11] * 11)
FOCUSED = pure(lambda t, s: s == 4)


@pytest.mark.parametrize(
    ("shape", "form"),
    [*((shape, "mass") for shape in SHAPES), ("diagonal", "match"), ("offset", "match")],
)
def test_every_shape_can_hold_and_can_fail(shape: str, form: str) -> None:
    stated, cell = SHAPES[shape]
    bound = 0.9 if form == "mass" else 0.3
    assert judge("pattern", weights=pure(cell), form=form, min=bound, **stated).outcome == "passed"
    assert judge("pattern", weights=FLAT, form=form, min=bound, **stated).outcome == "failed"
    top = {"min": None, "max": bound, "form": form, **stated}
    assert judge("pattern", weights=pure(cell), **top).outcome == "failed"
    assert judge("pattern", weights=FLAT, **top).outcome == "passed"


@pytest.mark.parametrize(
    ("stated", "good", "bad"),
    [
        ({"is": "vertical", "min": 0.5}, FOCUSED, FLAT),
        ({"is": "vertical", "to": "slept", "min": 0.5}, FOCUSED, FLAT),
        ({"is": "vertical", "to": "near", "min": None, "max": 0.05}, FOCUSED, FLAT),
        ({"is": "sparse", "min": None, "max": 0.4}, FOCUSED, FLAT),
        ({"is": "sparse", "min": None, "keys": 2}, FOCUSED, FLAT),
        ({"is": "uniform", "min": 0.9}, FLAT, FOCUSED),
        ({"is": "uniform", "min": None, "keys": 9}, FLAT, FOCUSED),
    ],
)
def test_stripes_and_spread_can_hold_and_can_fail(
    stated: dict[str, Any], good: dict[int, Floats], bad: dict[int, Floats]
) -> None:
    assert judge("pattern", weights=good, **stated).outcome == "passed"
    assert judge("pattern", weights=bad, **stated).outcome == "failed"


@pytest.mark.parametrize("kind", ["duplicate", "induction"])
def test_repetition_can_hold_and_can_fail(kind: str) -> None:
    read = repeating("a b c a b c", causal=True, ends=False)
    back = 3 if kind == "duplicate" else 2
    good = everywhere(lambda t: [float(s == max(t - back, 0)) for s in range(6)], read)
    bad = everywhere(lambda t: [float(s == t) for s in range(6)], read)
    assert judge(kind, read, good, min=0.9).outcome == "passed"
    assert judge(kind, read, bad, min=0.1).outcome == "failed"


def test_near_its_bound_a_score_is_borderline_p40() -> None:
    assert judge("pattern", weights=FLAT, min=1 / 11 + 5e-4, **{"is": "diagonal"}).outcome == (
        "borderline"
    )


# Charts -------------------------------------------------------------------------------------------


def test_the_charts_hold_the_scores_of_all_heads_of_the_layers() -> None:
    read = encoding("The keys are old", heads={0: 2, 3: 3})
    weights = distributions(read, 5)
    verdict = judge("pattern", read, weights, heads=["L0H1", "L3H2"], **{"is": "previous"})
    grid, panel = verdict.charts
    assert isinstance(grid, HeadGrid)
    assert isinstance(panel, LayerPanel)
    assert (grid.measure, grid.layers, grid.scores.shape) == ("previous mass", (0, 3), (2, 3))
    assert np.isnan(grid.scores[0, 2])
    for layer, row in zip((0, 3), grid.scores, strict=True):
        for head in range(read.sites["encoder"].heads[layer]):
            expected = scored(weights[layer][head], lambda t, s: s == t - 1, "mass")
            assert row[head] == pytest.approx(expected, abs=1e-6)
    (decided,) = grid.decided
    assert str(decided) == verdict.head
    assert (panel.layer, panel.decided) == (decided.layer, (decided,))
    np.testing.assert_array_equal(panel.weights, weights[decided.layer])
    assert verdict.picture is not None
    assert verdict.picture.heads == (decided,)


def test_a_long_text_gets_no_whole_maps() -> None:
    read = encoding(" ".join(["word"] * 50))
    verdict = judge("pattern", read, **{"is": "previous"})
    assert verdict.picture is None
    assert [type(chart) for chart in verdict.charts] == [HeadGrid]


# What cannot be judged ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"is": "previous", "min": None}, "pattern demands nothing; give min: or max:"),
        ({"is": "sparse", "min": None}, "pattern demands nothing; give max: or keys:"),
        ({"is": "previous", "max": 0.4}, "min: must be below max:"),
        ({"is": "previous", "window": 2}, "window: belongs to local, not to previous"),
        ({"is": "next", "to": "the"}, "to: belongs to vertical, not to next"),
        ({"is": "diagonal", "keys": 2}, "keys: belongs to sparse and uniform, not to diagonal"),
        ({"is": "local"}, "local needs window:"),
        ({"is": "offset"}, "offset needs offset:"),
        ({"is": "sparse"}, "min: cannot bound sparse; give max: or keys:"),
        (
            {"is": "uniform", "min": None, "keys": 2, "max": 0.5},
            "max: cannot bound uniform; give min:",
        ),
        ({"is": "uniform", "form": "match"}, "judged by entropy and has no form:"),
        ({"is": "local", "window": 2, "form": "match"}, "it has no form: match"),
        ({"is": "zigzag"}, "'diagonal', 'previous'"),
        ({"is": "previous", "min": 1.5}, "less than 1"),
    ],
)
def test_arguments_that_do_not_fit(stated: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        judge("pattern", **stated)
    assert message in str(caught.value)


@pytest.mark.parametrize("stated", [{"is": "next"}, {"is": "offset", "offset": 2}])
def test_a_causal_site_has_no_pattern_ahead_p25(stated: dict[str, Any]) -> None:
    read = encoding("The keys are old .", site="decoder", causal=True)
    with pytest.raises(SelectorError, match="no head can look ahead here"):
        judge("pattern", read, **stated)


@pytest.mark.parametrize(
    ("kind", "stated", "message"),
    [
        ("duplicate", {}, "write a text that repeats itself"),
        ("induction", {}, "write a text that repeats itself"),
        ("pattern", {"is": "offset", "offset": 40}, "no row of this text has a target for offset"),
        (
            "pattern",
            {"is": "vertical", "to": {"special": "sep"}, "special": False},
            "no row of this text has a target for vertical",
        ),
    ],
)
def test_a_text_without_a_target(kind: str, stated: dict[str, Any], message: str) -> None:
    with pytest.raises(SelectorError, match=message):
        judge(kind, **stated)


def test_repetition_needs_one_sequence() -> None:
    read = encoding("a b a", "c d c", site="cross")
    with pytest.raises(SelectorError, match="cross attention relates two"):
        judge("duplicate", read)


def test_cross_attention_can_run_along_the_diagonal() -> None:
    read = encoding("The cat sleeps", "le chat dort bien", site="cross")
    weights = distributions(read, 3)
    verdict = judge("pattern", read, weights, **{"is": "diagonal"})
    expected = scored(weights[0][0], lambda t, s: t == s, "mass")
    assert verdict.observed == pytest.approx(expected, abs=1e-6)


def test_a_head_that_leaves_words_nothing_cannot_be_judged_on_words() -> None:
    weights = everywhere(lambda t: [0.97, *[0.003] * 10])
    with pytest.raises(MeasureError, match="L0H0 cannot be judged: words get less than 5%"):
        judge("pattern", weights=weights, special=False, **{"is": "previous"})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_score_of_what_is_no_number_p19(value: float) -> None:
    weights = distributions(READ, 0)
    weights[0][1, 4, 4] = value
    with pytest.raises(MeasureError, match="L0H1 has attention weights that are no numbers"):
        judge("pattern", weights=weights, heads="L0", **{"is": "previous"})


# On the Attention object, and on a real model -----------------------------------------------------


def test_the_object_gives_what_the_rule_gives() -> None:
    reader = FakeReader()
    attention = Attention(reader, Sample("The keys are old"))
    weights = reader.weights(reader.encode(attention.sample))
    stated: list[dict[str, Any]] = [
        {"is_": "previous"},
        {"is_": "next", "form": "match"},
        {"is_": "local", "window": 1, "diagonal": False},
        {"is_": "offset", "offset": -2},
        {"is_": "vertical", "to": {"special": "sep"}},
        {"is_": "vertical"},
        {"is_": "diagonal", "special": False},
        {"is_": "diagonal", "unit": "words"},
    ]
    for given_ in stated:
        scores = attention.pattern(**given_)
        assert scores.shape == (3, 2)
        for head in (Head(0, 0), Head(1, 1), Head(2, 0)):
            verdict = attention.judge("pattern", heads=str(head), min=0.5, **given_)
            assert scores[head] == pytest.approx(verdict.observed, abs=1e-7)
    assert attention.pattern("previous")[1, 0] == pytest.approx(
        scored(weights[1][0], lambda t, s: s == t - 1, "mass"), abs=1e-6
    )
    with pytest.raises(SelectorError, match="repeats itself"):
        attention.pattern("induction")
    misspelt: Any = "prevous"
    with pytest.raises(SelectorError, match="unknown pattern 'prevous'; did you mean 'previous'"):
        attention.pattern(misspelt)


def named(read: Encoding, weights: dict[int, Floats], special: bool = True) -> HeadPattern:
    site = read.sites["encoder"]
    frame = Frame.of(read, site, special=special)
    view = frame.view(weights[0][:, list(frame.positions)])
    return name_patterns(view, frame, site, 0)[0]


@pytest.mark.parametrize("causal", [False, True])
def test_a_text_of_one_token_has_patterns_and_no_entropy(causal: bool) -> None:
    read = encoding("slept", ends=False, causal=causal)
    found = named(read, {0: np.ones((2, 1, 1))})
    assert (found.pattern, found.score) == ("diagonal", 1.0)
    assert np.isnan(found.scores["entropy"])


@pytest.mark.parametrize(
    ("name", "on", "weights"),
    [
        ("diagonal", None, pure(lambda t, s: s == t)),
        ("previous", None, pure(lambda t, s: s == t - 1)),
        ("next", None, pure(lambda t, s: s == t + 1)),
        ("vertical", "slept", FOCUSED),
        ("local", None, pure(lambda t, s: abs(t - s) <= 2)),
        ("uniform", None, FLAT),
        ("sparse", None, pure(lambda t, s: s == (t * 5 + 3) % 11)),
        ("mixed", None, pure(lambda t, s: (t - s) % 11 in (0, 3, 5, 7))),
    ],
)
def test_a_head_gets_the_name_of_what_it_does(
    name: str, on: str | None, weights: dict[int, Floats]
) -> None:
    found = named(READ, weights)
    assert (found.pattern, found.on) == (name, on)
    assert (
        found.score == found.scores["entropy" if name in ("sparse", "uniform", "mixed") else name]
    )


def test_a_head_that_repeats_or_rests_gets_its_name() -> None:
    read = repeating("a b c d a b c d")
    back = everywhere(
        lambda t: [float(s == (t - 4 if 5 <= t <= 8 else 0)) for s in range(10)], read
    )
    assert named(read, back).pattern == "duplicate"
    after = everywhere(
        lambda t: [float(s == (t - 3 if 5 <= t <= 8 else 0)) for s in range(10)], read
    )
    assert named(read, after).pattern == "induction"
    resting = everywhere(lambda t: [0.97, *[0.003] * 10])
    assert named(READ, resting).pattern == "vertical"
    assert named(READ, resting, special=False).pattern == "sink"


def test_the_names_print_as_a_table() -> None:
    first = named(READ, FOCUSED)
    second = named(READ, everywhere(lambda t: [0.97, *[0.003] * 10]), special=False)
    assert str(Patterns([first, replace(second, head=Head(0, 11))])).splitlines() == [
        "head   pattern   score  on",
        "L0H0   vertical   1.00  slept",
        "L0H11  sink",
    ]


def test_a_long_table_is_cut_and_says_so() -> None:
    first = named(READ, FOCUSED)
    many = Patterns(replace(first, head=Head(at // 12, at % 12)) for at in range(270))
    *lines, last = repr(many).splitlines()
    assert len(lines) == 25
    assert last == "… and 246 more heads"
    assert str(many) == repr(many)
    assert len(repr(Patterns(many[:24])).splitlines()) == 25


def test_a_notebook_shows_all_heads_as_a_table() -> None:
    first = replace(named(READ, FOCUSED), on="<b>&\x1b")
    html = Patterns(replace(first, head=Head(0, at)) for at in range(30))._repr_html_()
    table = ElementTree.fromstring(html)
    rows = [[cell.text or "" for cell in row] for row in table]
    assert rows[0] == ["head", "pattern", "score", "on", "entropy", "distance"]
    assert [row[0] for row in rows[1:]] == [f"L0H{at}" for at in range(30)]
    assert rows[1][3] == "<b>&<U+001B>"
    assert float(rows[1][5]) == pytest.approx(first.distance, abs=5.1e-3)


def test_the_distance_of_a_head_is_that_of_its_rows() -> None:
    # The first row cannot look back, so it looks at itself or elsewhere.
    weights = pure(lambda t, s: s == t - 2)
    at = np.arange(len(weights[0][0]))
    far = (weights[0][0] * np.abs(at[:, None] - at)).sum(-1).mean()
    assert named(READ, weights).distance == pytest.approx(far, abs=1e-6)


@pytest.mark.parametrize("key", ["score", "entropy", "distance"])
def test_heads_without_a_number_come_last(key: Any) -> None:
    sink = named(READ, everywhere(lambda t: [0.97, *[0.003] * 10]), special=False)
    assert math.isnan(sink.score)
    known = [
        replace(
            named(READ, FOCUSED),
            head=Head(1, at),
            score=value,
            distance=1 - value,
            scores={"entropy": 1 - value},
        )
        for at, value in enumerate((0.2, 0.9, 0.5))
    ]
    found = Patterns([sink, *known]).by(key)
    assert [str(one.head) for one in found] == ["L1H1", "L1H2", "L1H0", "L0H0"]
    assert [str(one.head) for one in found.by("head")] == ["L0H0", "L1H0", "L1H1", "L1H2"]


def test_an_unknown_pattern_is_named() -> None:
    with pytest.raises(MeasureError, match="no pattern 'prevous'; did you mean 'previous'"):
        Patterns([named(READ, FOCUSED)]).named("prevous")


def test_what_heads_of_the_demo_model_do(minilm: Model) -> None:
    text = "The old man who lives near the river bought a small boat for his two sons last summer."
    attention = Attention(minilm, Sample(text))
    by_head = {str(one.head): one for one in attention.patterns()}
    assert len(by_head) == 72
    assert (by_head["L0H2"].pattern, by_head["L1H8"].pattern) == ("previous", "next")
    assert by_head["L0H2"].score > 0.99
    assert (by_head["L4H5"].pattern, by_head["L4H5"].on) == ("vertical", "[CLS]")
    assert by_head["L0H0"].pattern == "uniform"
    words = {str(one.head): one for one in attention.patterns(special=False, unit="words")}
    assert words["L1H9"].pattern == "previous"
    assert words["L4H5"].pattern == "sink"


def test_a_head_of_the_demo_model_looks_at_repeated_words(minilm: Model) -> None:
    text = "The red bird saw the blue fish and the red bird saw the blue fish."
    scores = Attention(minilm, Sample(text)).pattern("duplicate", special=False)
    assert Head(*map(int, np.unravel_index(scores.argmax(), scores.shape))) == Head(2, 9)
    assert scores[2, 9] > 0.6


# Sliding windows --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "stated"),
    [
        ("pattern", {"is": "offset", "offset": -6}),
        ("duplicate", {}),
        ("induction", {}),
    ],
)
def test_a_pattern_behind_the_window_is_an_error_p21(kind: str, stated: dict[str, Any]) -> None:
    """With a window of 6 nothing lies six back, and what repeats does so after seven or more."""
    plain = repeating("a b c d e f g h a b", ends=False, site="decoder", causal=True)
    read = with_site(plain, windows={0: 6, 1: 6})
    for how in ("max", "min"):
        bound = {"min": None, how: 0.1}
        with pytest.raises(SelectorError, match=r"in layer 0, with a sliding .* window: 2\)"):
            judge(kind, read, **stated, **bound)
    # A wide layer may have it: enough for a lower bound, too little for an upper one.
    verdict = judge(kind, read, heads=["L0", "L2"], **{**stated, "min": 0.01})
    assert (verdict.head[:2], verdict.heads_tried) == ("L2", 2)
    for stricter in ({"max": 0.1, "min": None}, {"heads": {"in": "all", "how": "all"}}):
        with pytest.raises(SelectorError, match="in layer 0, with a sliding window of 6 tokens"):
            judge(kind, read, **{"heads": "any", **stated, **stricter})


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.booleans(), st.integers(2, 6))
def test_what_a_row_cannot_see_does_not_count_p21(seed: int, causal: bool, window: int) -> None:
    read = with_site(encoding("The ani|mals slept near .", causal=causal), windows={0: window})
    weights = distributions(read, seed)
    length = 8
    entropies, reaches = [], []
    for t, row in enumerate(weights[0][0].astype(float)):
        seen = [s for s in range(length) if abs(s - t) < window and not (causal and s > t)]
        if len(seen) > 1:
            nats = -sum(row[s] * math.log(row[s]) for s in seen if row[s] > 0)
            entropies.append(nats / math.log(len(seen)))
            mean = sum(row[s] * abs(s - t) for s in seen)
            reaches.append(mean / max(abs(s - t) for s in seen))
    entropy, reach = np.mean(entropies), np.mean(reaches)
    uniform = judge("pattern", read, weights, **{"is": "uniform"})
    assert uniform.observed == pytest.approx(entropy, abs=1e-5)
    assert judge("entropy", read, weights, normalised=True).observed == uniform.observed
    far = judge("distance", read, weights, normalised=True)
    assert far.observed == pytest.approx(reach, abs=1e-5)


def test_words_are_seen_if_any_of_their_pieces_is_p21() -> None:
    """Window 2: river (7, 8) sees the (6) and . (9), and no other word."""
    site = with_site(READ, windows={0: 2}).site(None)
    frame = Frame.of(READ, site, unit="words")
    seen = frame.in_layer(site, 0).visible
    for row, target in enumerate(WORDS):
        for column, source in enumerate(WORDS):
            assert seen[row, column] == any(site.sees(0, t, s) for t in target for s in source)
    assert frame.in_layer(site, 1).visible.all()


def test_attention_tells_layers_by_what_they_see_p21() -> None:
    attention = Attention(
        Model.of(tiny_network("mistral"), tiny_tokenizer(end=False), name="mistral"),
        Sample("abcdefghijkl"),
    )
    assert attention.pattern("offset", offset=-5).shape == (3, 4)
    with pytest.raises(SelectorError, match="no row of this text has a target for offset"):
        attention.pattern("offset", offset=-6)
    length = len(attention.tokens)
    rows_of = attention.weights("L0H0").astype(float)
    expected = [
        -sum(a * math.log(a) for a in row if a > 0) / math.log(min(t + 1, 6))
        for t, row in enumerate(rows_of)
        if t
    ]
    assert length > 8
    assert attention.entropy(normalised=True)[0, 0] == pytest.approx(np.mean(expected), abs=1e-5)


def test_rows_that_say_nothing_are_told() -> None:
    weights = distributions(READ, 1)
    weights[0][0, 4] = np.eye(11)[0]
    verdict = judge("entropy", weights=weights, special=False)
    assert verdict.measure == "entropy (nats), 1 of 9 rows left out"
