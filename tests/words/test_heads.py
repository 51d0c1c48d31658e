from __future__ import annotations

import re

import jsonschema
import pytest

from attnprobe.cases import schema
from attnprobe.core.errors import SelectorError
from attnprobe.core.sites import Head, Site
from attnprobe.words.heads import ADVICE, Heads, HeadSet, How, parse_heads

SITE = Site("encoder", {0: 2, 1: 3}, causal=False)
HYBRID = Site("decoder", {1: 2, 3: 2}, causal=True)
SETS = {"pronouns": HeadSet("pronouns", (Head(1, 2), Head(0, 1)))}
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
    (3.1, f"3.1 is no head; {ADVICE}"),
    (3, f"3 is no head; {ADVICE}"),
    (True, f"True is no head; {ADVICE}"),
    (None, f"None is no head; {ADVICE}"),
    ("3.10", "'3.10' is no head; did you mean L3H10?"),
    ("L3H1 ", f"'L3H1 ' is no head; {ADVICE}"),
    ("l3h1", "'l3h1' is no head; did you mean L3H1?"),
    ("L3.H1", "'L3.H1' is no head; did you mean L3H1?"),
    ("3-1", "'3-1' is no head; did you mean L3H1?"),
    ("H1", f"'H1' is no head; {ADVICE}"),
    ("L٣", f"'L٣' is no head; {ADVICE}"),
    ("L2-L1", "L2-L1 runs backwards; write L1-L2"),
    ([], "an empty list names no head"),
    (["L0", 1], f"1 is no head; {ADVICE}"),
    (["any"], f"'any' is no head; {ADVICE}"),
    ({}, "the long form needs in: with the heads"),
    ({"how": "all"}, "the long form needs in: with the heads"),
    ({"in": "any"}, "in: takes heads, not any; write in: all, how: any"),
    ({"in": "mean"}, "in: takes heads, not mean; write in: all, how: mean"),
    ({"in": "L0", "hwo": "all"}, "unknown key 'hwo'; did you mean 'how'?"),
    ({"in": "L0", "how": "some"}, "how takes any, all, mean, best or {at_least: 3}"),
    ({"in": "L0", "how": "at_least"}, "how takes any, all, mean, best or {at_least: 3}"),
    ({"in": "L0", "how": {"at_least": 0}}, "at_least takes a whole number from 1"),
    ({"in": "L0", "how": {"at_least": True}}, "at_least takes a whole number from 1"),
    ({"in": "L0", "how": {"at_most": 1}}, "how takes any, all, mean, best or {at_least: 3}"),
    (
        {"in": "L0", "chosen_on": "half"},
        "chosen_on: goes with the heads of a relation; leave it out here",
    ),
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
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        parse_heads(value, SETS)
    # A schema cannot tell that a range runs backwards.
    assert validator.is_valid(value) == (value == "L2-L1")


def test_an_unknown_head_set_names_the_nearest() -> None:
    with pytest.raises(
        ValueError, match=r"^no head set '@pronuns' in the lock file; did you mean 'pronouns'\?$"
    ):
        parse_heads("@pronuns", SETS)
    with pytest.raises(ValueError, match="none is known"):
        parse_heads("@pronouns")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("L3H1", "L3H1"),
        (["L3H1", "L2"], "[L3H1, L2]"),
        ("any", "any"),
        (["all"], "[all]"),
        ({"in": "all"}, "all heads"),
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
        ("L0-L2", "layer 2 has no attention at the encoder site; layers with attention: 0 to 1"),
        (
            "L999999H0",
            "layer 999999 has no attention at the encoder site; layers with attention: 0 to 1",
        ),
    ],
)
def test_out_of_range_gives_the_valid_range_p22(value: str, message: str) -> None:
    with pytest.raises(SelectorError) as caught:
        parse_heads(value).resolve(SITE)
    assert str(caught.value) == message


@pytest.mark.parametrize("value", ["L2H0", "L2", "L0-L1", "L1-L4"])
def test_a_head_of_a_layer_without_attention_is_refused_p23(value: str) -> None:
    with pytest.raises(SelectorError, match=r"layers with attention: 1, 3$"):
        parse_heads(value).resolve(HYBRID)


def test_a_hybrid_stack_keeps_its_layer_numbers() -> None:
    assert list(map(str, parse_heads("L1-L3").resolve(HYBRID))) == ["L1H0", "L1H1", "L3H0", "L3H1"]
    assert parse_heads("all").resolve(HYBRID) == HYBRID.all_heads()


def test_more_heads_demanded_than_there_are() -> None:
    heads: Heads = parse_heads({"in": "L0", "how": {"at_least": 3}})
    with pytest.raises(SelectorError, match="at_least: 3 of 2 heads can never hold"):
        heads.resolve(SITE)


# Head sets and what they were chosen on


SCANNED = {
    "one": HeadSet("one", (Head(1, 2),), "minilm", None, "ab" * 32),
    "two": HeadSet("two", (Head(0, 1), Head(1, 0)), "minilm", None, "cd" * 32),
    "mine": HeadSet("mine", (Head(0, 0),)),
}


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("@one", ["one"]),
        (["@two", "L0", "@one", "@two"], ["two", "one"]),
        ([["@one"], "L0H1"], ["one"]),
        ({"in": "@two", "how": "all"}, ["two"]),
        ({"in": ["@one", "@mine"], "how": {"at_least": 2}}, ["one", "mine"]),
        ({"in": "@one"}, ["one"]),
        ("L1H2", []),
        ("any", []),
    ],
)
def test_heads_know_the_sets_that_they_come_from(value: object, names: list[str]) -> None:
    assert [own.name for own in parse_heads(value, SCANNED).sets] == names


@pytest.mark.parametrize(
    ("head_set", "origin"),
    [
        (SCANNED["one"], "minilm, weights abababababab"),
        (HeadSet("x", (), None, None, "0123456789abcdef"), "a model, weights 0123456789ab"),
        (HeadSet("x", (), "minilm"), "minilm"),
        (HeadSet("x", ()), "a model that the lock file does not name"),
    ],
)
def test_a_set_says_what_it_was_chosen_on(head_set: HeadSet, origin: str) -> None:
    assert head_set.origin == origin


def test_sets_of_other_weights_are_told_apart() -> None:
    heads = parse_heads(["@one", "@two", "@mine"], SCANNED)
    assert heads.chosen_elsewhere("ab" * 32) == (SCANNED["two"],)
    assert heads.chosen_elsewhere("ef" * 32) == (SCANNED["one"], SCANNED["two"])
    assert parse_heads("@one", SCANNED).chosen_elsewhere("ab" * 32) == ()


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (Head(1, 3), "no head L1H3 at the encoder site: layer 1 has query heads 0 to 2"),
        (Head(2, 0), "layer 2 has no attention at the encoder site; layers with attention: 0 to 1"),
    ],
)
def test_a_set_that_does_not_fit_says_where_it_comes_from_p22(head: Head, why: str) -> None:
    sets = {"far": HeadSet("far", (Head(0, 0), head), "minilm", None, "53aa51172d142c89" * 4)}
    with pytest.raises(SelectorError) as caught:
        parse_heads(["L0H1", "@far"], sets).resolve(SITE)
    assert str(caught.value) == (
        f"{why}; the head is of @far in the lock file, chosen on minilm, weights 53aa51172d14: "
        "scan this model, or name its heads"
    )
    # Heads that the case itself names are not said to be of a set.
    with pytest.raises(SelectorError) as caught:
        parse_heads([str(head), "@one"], SCANNED).resolve(SITE)
    assert str(caught.value) == why


def test_a_head_is_read_as_it_is_written() -> None:
    assert Head.parse(str(Head(12, 3))) == Head(12, 3)


@pytest.mark.parametrize("text", ["", "L3", "l3h1", "L3H1 ", "L٣H1", "L-1H0", "L1234567H0"])
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no head; write L3H1"):
        Head.parse(text)
