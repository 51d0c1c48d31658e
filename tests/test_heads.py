from __future__ import annotations

import re

import jsonschema
import pytest

from attnprobe.cases import schema
from attnprobe.errors import SelectorError
from attnprobe.heads import Heads, How, parse_heads
from attnprobe.records import Head, Site

SITE = Site("encoder", {0: 2, 1: 3}, causal=False)
HYBRID = Site("decoder", {1: 2, 3: 2}, causal=True)
SETS = {"pronouns": (Head(1, 2), Head(0, 1))}
ALL = ("L0H0", "L0H1", "L1H0", "L1H1", "L1H2")

FORMS: list[tuple[object, tuple[str, ...], How | None]] = [
    ("L1H2", ("L1H2",), None),
    ("L1", ("L1H0", "L1H1", "L1H2"), None),
    ("L0-L1", ALL, None),
    (["L1H2", "L0"], ("L1H2", "L0H0", "L0H1"), None),
    (["L0H1", "L0", "L0H1"], ("L0H1", "L0H0"), None),
    ("@pronouns", ("L1H2", "L0H1"), None),
    (["@pronouns", "L0H0"], ("L1H2", "L0H1", "L0H0"), None),
    ("any", ALL, "any"),
    ("all", ALL, "all"),
    ("mean", ALL, "mean"),
    (["all"], ALL, None),
    ({"in": "all"}, ALL, None),
    ({"in": "L0", "how": "all"}, ("L0H0", "L0H1"), "all"),
    ({"in": ["L0", "L1H2"], "how": "any"}, ("L0H0", "L0H1", "L1H2"), "any"),
    ({"in": "L1", "how": "mean"}, ("L1H0", "L1H1", "L1H2"), "mean"),
    ({"in": "@pronouns", "how": "best"}, ("L1H2", "L0H1"), "best"),
    ({"in": "all", "how": {"at_least": 3}}, ALL, "at_least"),
]

BROKEN: list[tuple[object, str]] = [
    (3.1, "3.1 is no head; write a head as L3H1"),
    (3, "3 is no head"),
    (True, "True is no head"),
    (None, "None is no head"),
    ("3.10", "'3.10' is no head"),
    ("L3H1 ", "'L3H1 ' is no head"),
    ("l3h1", "'l3h1' is no head"),
    ("H1", "'H1' is no head"),
    ("L٣", "'L٣' is no head"),
    ("L2-L1", "L2-L1 runs backwards; write L1-L2"),
    ([], "an empty list names no head"),
    (["L0", 1], "1 is no head"),
    (["any"], "'any' is no head"),
    ({}, "the long form needs in:"),
    ({"how": "all"}, "the long form needs in:"),
    ({"in": "mean"}, "'mean' is no head"),
    ({"in": "L0", "hwo": "all"}, "unknown key 'hwo'; did you mean 'how'?"),
    ({"in": "L0", "how": "some"}, "how takes any, all, mean, best or {at_least: 3}"),
    ({"in": "L0", "how": "at_least"}, "how takes"),
    ({"in": "L0", "how": {"at_least": 0}}, "at_least takes a whole number from 1"),
    ({"in": "L0", "how": {"at_least": True}}, "at_least takes a whole number from 1"),
    ({"in": "L0", "how": {"at_most": 1}}, "how takes"),
]


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft7Validator:
    definitions = schema()["definitions"]
    return jsonschema.Draft7Validator({**definitions["heads"], "definitions": definitions})


@pytest.mark.parametrize(("value", "heads", "how"), FORMS)
def test_every_form(
    value: object,
    heads: tuple[str, ...],
    how: How | None,
    validator: jsonschema.Draft7Validator,
) -> None:
    parsed = parse_heads(value, SETS)
    assert tuple(map(str, parsed.resolve(SITE))) == heads
    assert parsed.how == how
    assert validator.is_valid(value)


@pytest.mark.parametrize(("value", "message"), BROKEN)
def test_what_is_no_head_selector(
    value: object, message: str, validator: jsonschema.Draft7Validator
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_heads(value, SETS)
    # A schema cannot tell that a range runs backwards.
    assert validator.is_valid(value) == (value == "L2-L1")


def test_an_unknown_head_set_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"no head set '@pronuns' .*; did you mean 'pronouns'\?"):
        parse_heads("@pronuns", SETS)
    with pytest.raises(ValueError, match="none is known"):
        parse_heads("@pronouns")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("L3H1", "L3H1"),
        (["L3H1", "L2"], "[L3H1, L2]"),
        ("any", "any"),
        ({"in": "all", "how": "best"}, "best of all heads"),
        ({"in": ["L2", "L3H1"], "how": {"at_least": 2}}, "at least 2 of [L2, L3H1]"),
    ],
)
def test_a_reader_recognises_what_he_wrote(value: object, shown: str) -> None:
    assert str(parse_heads(value)) == shown


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("L1H3", "no head L1H3 at the encoder site: layer 1 has query heads 0 to 2"),
        ("L2", "layer 2 has no attention at the encoder site; layers with attention: 0 to 1"),
        ("L0-L2", "layer 2 has no attention"),
        ("L999999H0", "layer 999999 has no attention"),
    ],
)
def test_promise_22_out_of_range_gives_the_valid_range(value: str, message: str) -> None:
    with pytest.raises(SelectorError) as caught:
        parse_heads(value).resolve(SITE)
    assert message in str(caught.value)


@pytest.mark.parametrize("value", ["L2H0", "L2", "L0-L1", "L1-L4"])
def test_promise_23_a_layer_without_attention(value: str) -> None:
    with pytest.raises(SelectorError, match=r"layers with attention: 1, 3$"):
        parse_heads(value).resolve(HYBRID)


def test_a_hybrid_stack_keeps_its_layer_numbers() -> None:
    assert list(map(str, parse_heads("L1-L3").resolve(HYBRID))) == ["L1H0", "L1H1", "L3H0", "L3H1"]
    assert parse_heads("all").resolve(HYBRID) == HYBRID.all_heads()


def test_more_heads_demanded_than_there_are() -> None:
    heads: Heads = parse_heads({"in": "L0", "how": {"at_least": 3}})
    with pytest.raises(SelectorError, match="at_least: 3 of 2 heads can never hold"):
        heads.resolve(SITE)
