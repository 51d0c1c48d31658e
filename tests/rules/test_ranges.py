"""Bounds that nothing can break: which numbers a text allows, whatever a model does."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnprobe.cases import parse, yamltext
from attnprobe.core.arrays import Floats
from attnprobe.core.errors import AttnprobeError, CaseErrors
from attnprobe.core.needs import Need
from attnprobe.core.texts import Encoding
from attnprobe.core.verdicts import Verdict
from attnprobe.rules import parse_rule
from attnprobe.rules.ranges import ADDED_TOKENS, most_tokens
from tests.support.made_up import encoding, rows, with_site

# Tokens of PLAIN: [CLS] a b c d e f g [SEP]; of CAUSAL the words alone.
PLAIN = encoding("a b c d e f g")
CAUSAL = encoding("a b c d e f g", site="decoder", causal=True, ends=False)
WINDOWED = with_site(PLAIN, windows=dict.fromkeys(range(3), 3))
ENDING = encoding("a b c d e f g", site="decoder", causal=True)
ENDING = replace(  # [SEP] at the end alone, as decoders that end a text with </s>
    ENDING, source=replace(ENDING.source, special=(*[None] * 8, "eos"))
)
REPEATED = replace(CAUSAL, source=replace(CAUSAL.source, ids=(0, 1, 0, 1, 0, 1, 0)))
CROSS = encoding("a", "b c", site="cross")


def masks(read: Encoding) -> dict[int, np.ndarray[Any, np.dtype[np.bool_]]]:
    """What each layer lets its rows see, `[target, source]`."""
    (site,) = read.sites.values()
    shape = len(read.queries(site.name)), len(read.keys(site.name))
    return {
        layer: np.array(
            [
                [site.sees(layer, row, column) for column in range(shape[1])]
                for row in range(shape[0])
            ]
        )
        for layer in site.layers
    }


def even(read: Encoding) -> dict[int, Floats]:
    """Each row spread over all that it sees."""
    return {
        layer: np.tile(seen / seen.sum(axis=1, keepdims=True), (2, 1, 1)).astype(np.float32)
        for layer, seen in masks(read).items()
    }


def pointing(read: Encoding, at: Any) -> dict[int, Floats]:
    """Each row of each head on the one column, of those it sees, for which `at` is largest.

    Args:
        at: a number for head, row and column.
    """
    found = {}
    for layer, seen in masks(read).items():
        matrix = np.zeros((2, *seen.shape), np.float32)
        for head, row in np.ndindex(2, len(seen)):
            (columns,) = seen[row].nonzero()
            matrix[head, row, max(columns, key=lambda column: at(head, row, column))] = 1
        found[layer] = matrix
    return found


def far(head: int, row: int, column: int) -> float:
    return abs(row - column)


def near(head: int, row: int, column: int) -> float:
    return -abs(row - column)


def first(head: int, row: int, column: int) -> float:
    return -column


def last(head: int, row: int, column: int) -> float:
    return column


def outer(head: int, row: int, column: int) -> float:
    if row in (3, 4, 5):
        return -column
    return abs(row - column) if 0 < column < 8 else -1


def before(head: int, row: int, column: int) -> float:
    return column == row - 2


def apart(head: int, row: int, column: int) -> float:
    return column if head else -column


def judge(read: Encoding, weights: dict[int, Floats], kind: str, **stated: Any) -> Verdict:
    rule = parse_rule(kind, {"heads": "L0H0", **stated})
    (need,) = rule.needs(read)
    assert isinstance(need, Need)
    return rule.judge([rows(read, need, weights)])


LENGTH = 9
FARTHEST = np.mean([max(row, LENGTH - 1 - row) for row in range(LENGTH)])
# Rule, its arguments, the bound and the end of its range by hand, and weights that reach the end.
ENDS: tuple[tuple[Encoding, str, dict[str, Any], str, float, dict[int, Floats]], ...] = (
    (PLAIN, "entropy", {}, "max", math.log(9), even(PLAIN)),
    (PLAIN, "entropy", {"special": False}, "max", math.log(7), even(PLAIN)),
    (PLAIN, "entropy", {"unit": "words", "from": "d"}, "max", math.log(9), even(PLAIN)),
    (CAUSAL, "entropy", {}, "max", np.log(range(1, 8)).mean(), even(CAUSAL)),
    (CAUSAL, "entropy", {"from": "c"}, "max", math.log(3), even(CAUSAL)),
    (CAUSAL, "entropy", {"heads": "mean"}, "max", np.log(range(1, 8)).mean(), even(CAUSAL)),
    (
        WINDOWED,
        "entropy",
        {},
        "max",
        np.log([min(row, 2) + 1 + min(8 - row, 2) for row in range(9)]).mean(),
        even(WINDOWED),
    ),
    (PLAIN, "entropy", {"normalised": True}, "max", 0.9995, even(PLAIN)),
    (PLAIN, "distance", {}, "max", FARTHEST, pointing(PLAIN, far)),
    (CAUSAL, "distance", {}, "max", 3.0, pointing(CAUSAL, first)),
    (WINDOWED, "distance", {"from": "d"}, "max", 2.0, pointing(WINDOWED, far)),
    # Words get nothing of the three rows in the middle, which are left out.
    (PLAIN, "distance", {"special": False}, "max", 5.5, pointing(PLAIN, outer)),
    (ENDING, "sink", {"into": "special"}, "max", 1 / 8, pointing(ENDING, last)),
    (ENDING, "sink", {"into": "first", "from": "c"}, "max", 0.9995, pointing(ENDING, first)),
    (PLAIN, "pattern", {"is": "local", "window": 8}, "min", 0.9, pointing(PLAIN, far)),
    (CAUSAL, "pattern", {"is": "diagonal"}, "min", 1 / 7, pointing(CAUSAL, first)),
    (WINDOWED, "pattern", {"is": "local", "window": 2}, "min", 0.9, pointing(WINDOWED, far)),
    (PLAIN, "pattern", {"is": "vertical"}, "min", 1 / 9, even(PLAIN)),
    (PLAIN, "pattern", {"is": "sparse"}, "keys", 9.0, even(PLAIN)),
    (PLAIN, "pattern", {"is": "uniform"}, "keys", 1.0, pointing(PLAIN, far)),
    # Three rows of five have two cells or more: 2 − c in the mean.
    (REPEATED, "duplicate", {"form": "match"}, "max", 0.2, pointing(REPEATED, before)),
    (CAUSAL, "diversity", {"heads": "L0"}, "max", math.log(2) * 6 / 7, pointing(CAUSAL, apart)),
    (PLAIN, "attends", {"from": "b", "to": "a"}, "min", 0.0005, pointing(PLAIN, last)),
    (PLAIN, "ignores", {"from": "b", "to": "a"}, "max", 0.9995, pointing(PLAIN, near)),
    (
        CAUSAL,
        "attends",
        {"from": "b", "to": "b", "renormalise": "words"},
        "min",
        0.9,
        even(CAUSAL),
    ),
    (CAUSAL, "attends", {"from": "b", "to": ["a", "b"]}, "min", 0.9, even(CAUSAL)),
    (
        CAUSAL,
        "flow",
        {"from": "e", "to": "b", "layers": "L0", "heads": "mean"},
        "max",
        0.5,
        pointing(CAUSAL, lambda head, row, column: column == 1),
    ),
    (
        CAUSAL,
        "flow",
        {"from": "e", "to": "e", "heads": "mean"},
        "min",
        1 / 8,
        pointing(CAUSAL, first),
    ),
    (
        PLAIN,
        "flow",
        {"from": "e", "to": "b", "layers": "L0", "heads": "mean", "method": "maxflow"},
        "max",
        0.5,
        pointing(PLAIN, lambda head, row, column: column == 2),
    ),
)


@pytest.mark.parametrize(("read", "kind", "stated", "name", "end", "weights"), ENDS)
def test_a_bound_at_the_end_of_its_range_holds_whatever_the_model_does_p53(
    read: Encoding,
    kind: str,
    stated: dict[str, Any],
    name: str,
    end: float,
    weights: dict[int, Floats],
) -> None:
    step = 0.02 * (1 if name == "max" or stated.get("is") == "sparse" else -1)
    idle = judge(read, weights, kind, **stated, **{name: end})
    assert (idle.outcome, idle.unbreakable) == ("vacuous", True)
    if 0.001 < end < 0.9:
        broken = judge(read, weights, kind, **stated, **{name: end - step})
        assert (broken.outcome, broken.unbreakable) == ("failed", False)


def test_one_of_two_bounds_that_nothing_can_break_is_reported_and_does_not_decide_p53() -> None:
    verdict = judge(PLAIN, even(PLAIN), "entropy", min=1.0, max=2.2)
    assert (verdict.outcome, verdict.relation, verdict.unbreakable) == ("passed", ">=", False)
    _, other = verdict.bounds
    assert (other.outcome, other.demanded) == ("vacuous", 2.2)


def test_a_set_of_heads_is_unbreakable_by_how_it_is_judged_p53() -> None:
    """Layer 1 sees three tokens and no farther than two; the others see all nine."""
    read = with_site(PLAIN, windows={1: 3})
    weights = pointing(read, near)
    for how, unbreakable in (("any", True), ("all", False)):
        heads = {"in": "all", "how": how}
        verdict = judge(read, weights, "distance", max=2.5, heads=heads)
        assert (verdict.outcome == "vacuous", verdict.unbreakable) == (unbreakable, unbreakable)
    for count, unbreakable in ((2, True), (3, False)):
        heads = {"in": "all", "how": {"at_least": count}}
        verdict = judge(read, weights, "distance", max=2.5, heads=heads)
        assert verdict.unbreakable is unbreakable


def test_an_alignment_to_one_source_word_holds_whatever_the_model_does_p53() -> None:
    stated = {"pairs": [["b", "a"], ["c", "a"]], "site": "cross"}
    for bound in ({"min_accuracy": 1.0}, {"max_aer": 0.0}):
        assert judge(CROSS, even(CROSS), "aligns", **stated, **bound).unbreakable
    two = encoding("a d", "b c", site="cross")
    for bound in ({"min_accuracy": 0.5}, {"max_aer": 0.5}):
        assert not judge(two, even(two), "aligns", **stated, **bound).unbreakable


def test_what_a_learned_sink_takes_widens_the_range() -> None:
    """Of two keys each may have 1/e, which has more entropy than two halves."""
    read = with_site(CAUSAL, learned_sinks=frozenset(range(3)))
    weights = {layer: matrix * np.float32(2 / math.e) for layer, matrix in even(read).items()}
    judged = judge(read, weights, "entropy", **{"from": "b", "max": math.log(2)})
    assert (judged.outcome, judged.unbreakable) == ("failed", False)
    assert judge(read, weights, "entropy", **{"from": "b", "max": 2 / math.e}).unbreakable


# Nothing that is called unbreakable breaks

READS = {
    "plain": PLAIN,
    "pieces": encoding("ab|c d|e f g|h"),
    "causal": CAUSAL,
    "windowed": with_site(PLAIN, windows={0: 2, 1: 4}),
    "leaky": with_site(CAUSAL, learned_sinks=frozenset({0, 1})),
    "ending": ENDING,
    "repeated": REPEATED,
}
RULES: tuple[tuple[str, dict[str, Any], tuple[str, ...]], ...] = (
    ("entropy", {}, ("min", "max")),
    ("entropy", {"special": False}, ("min", "max")),
    ("entropy", {"unit": "words"}, ("min", "max")),
    ("entropy", {"normalised": True}, ("min", "max")),
    ("distance", {}, ("min", "max")),
    ("distance", {"special": False, "unit": "words"}, ("min", "max")),
    ("distance", {"normalised": True}, ("min", "max")),
    *(("sink", {"into": into}, ("min", "max")) for into in ("all", "special", "first", "learned")),
    *(
        ("pattern", {**shape, "form": form, "special": special}, ("min", "max"))
        for shape in ({"is": "diagonal"}, {"is": "previous"}, {"is": "vertical"})
        for form in ("mass", "match")
        for special in (True, False)
    ),
    ("pattern", {"is": "local", "window": 2}, ("min", "max")),
    ("pattern", {"is": "sparse"}, ("keys",)),
    ("pattern", {"is": "uniform", "special": False}, ("keys",)),
    ("duplicate", {}, ("min", "max")),
    ("duplicate", {"form": "match"}, ("min", "max")),
    ("induction", {}, ("min", "max")),
    ("diversity", {"heads": "L0"}, ("min", "max")),
    ("diversity", {"heads": ["L0", "L1", "L2"]}, ("min", "max")),
)
HEADS: tuple[Any, ...] = (
    "L0H0",
    "any",
    "mean",
    {"in": "all", "how": "all"},
    {"in": "all", "how": {"at_least": 2}},
)


def extreme(read: Encoding, seed: int) -> dict[int, Floats]:
    """Maps near the ends: rows on one key, on two, spread evenly, drawn; a sink takes its share."""
    random = np.random.default_rng(seed)
    (site,) = read.sites.values()
    found = {}
    for layer, seen in masks(read).items():
        matrix = np.zeros((2, *seen.shape), np.float32)
        style = random.integers(4)
        for head, row in np.ndindex(2, len(seen)):
            (columns,) = seen[row].nonzero()
            count = (1, min(2, len(columns)), len(columns), len(columns))[style]
            chosen = random.choice(columns, count, replace=False)
            if style == 0:
                chosen = columns[[(0, -1, len(columns) // 2)[seed % 3]]]
            share = random.dirichlet(np.full(count, 0.3)) if style == 3 else 1 / count
            matrix[head, row, chosen] = share
        if layer in site.learned_sinks:
            matrix *= random.choice([1.0, 2 / math.e, 0.01])
        found[layer] = matrix
    return found


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(sorted(READS)),
    st.sampled_from(RULES),
    st.sampled_from(HEADS),
    st.floats(0.001, 1.2),
    st.integers(0, 1000),
    st.data(),
)
def test_what_is_called_unbreakable_never_fails_p53(
    text: str,
    ruled: tuple[str, dict[str, Any], tuple[str, ...]],
    heads: Any,
    scale: float,
    seed: int,
    data: st.DataObject,
) -> None:
    read = READS[text]
    kind, stated, bounds = ruled
    name = data.draw(st.sampled_from(bounds))
    most = {"entropy": 2.3, "distance": 7.0, "diversity": 0.69}.get(kind, 1.0)
    if name == "keys":
        most = 9.0
    if stated.get("normalised"):
        most = 1.0
    arguments = {"heads": heads, **stated, name: float(min(most * scale, most * 1.2))}
    try:
        rule = parse_rule(kind, arguments)
        (need,) = rule.needs(read)
    except (AttnprobeError, ValueError):
        return
    assert isinstance(need, Need)
    outcomes = []
    for number in range(12):
        try:
            outcomes.append(rule.judge([rows(read, need, extreme(read, seed + number))]))
        except AttnprobeError:
            continue
    if any(verdict.unbreakable for verdict in outcomes):
        assert {verdict.outcome for verdict in outcomes} == {"vacuous"}


# Before any run

HEAD = "version: 1\nsuite: s\ndefaults: {heads: L0H0}\ncases:\n"


def told(rule: str, text: str = "The keys are old.") -> str:
    written = f"{HEAD}  - id: a\n    text: {text}\n    expect:\n      - {rule}\n"
    with pytest.raises(CaseErrors) as caught:
        parse(yamltext.loads(written.encode(), "a.attn.yaml"))
    return str(caught.value)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            "entropy: {max: 20}",
            r"a.attn.yaml:8:\d+: max: 20 cannot be broken: .* at most 33 tokens",
        ),
        ("entropy: {max: 3.5}", r"ln 33 = 3.50 nats"),
        ("distance: {max: 512}", "distance is at most 32 tokens; give less"),
        ("distance: {max: 32, unit: words}", "at most 32 words"),
        ("pattern: {is: local, window: 32, min: 0.5}", r"8:\d+: window: 32 takes in all of"),
        ("pattern: {is: sparse, keys: 30}", r"8:\d+: keys: 30 cannot be broken: .* 30 of them"),
    ],
)
def test_a_bound_that_no_tokenizer_can_break_is_refused_before_any_run_p53(
    rule: str, message: str
) -> None:
    assert re.search(message, told(rule))


@pytest.mark.parametrize(
    "rule",
    [
        "entropy: {max: 3.49}",
        "entropy: {min: 20}",
        "entropy: {max: 0.9, normalised: true}",
        "distance: {max: 31}",
        "pattern: {is: local, window: 32, max: 0.5}",
        "pattern: {is: local, window: 32, diagonal: false, min: 0.5}",
        "pattern: {is: sparse, keys: 29}",
    ],
)
def test_a_bound_that_some_tokenizer_lets_break_is_left_for_the_run(rule: str) -> None:
    written = f"{HEAD}  - id: a\n    text: The keys are old.\n    expect:\n      - {rule}\n"
    assert len(parse(yamltext.loads(written.encode(), "a.attn.yaml"))) == 1


def test_token_ids_are_counted_as_they_are() -> None:
    written = HEAD + "  - id: a\n    ids: [5, 6, 7]\n    expect:\n      - entropy: {max: 1.2}\n"
    with pytest.raises(CaseErrors, match="at most 3 tokens"):
        parse(yamltext.loads(written.encode(), "a.attn.yaml"))


@pytest.mark.parametrize(
    ("text", "count"), [("", 0), ("abc", 3), ("é", 3), ("ﷺ", 33), ("İ", 3), ("🙂", 4), ("Ⱥ", 3)]
)
def test_a_text_has_at_most_a_token_a_byte_of_its_longest_form(text: str, count: int) -> None:
    assert most_tokens(text) == ADDED_TOKENS + count
