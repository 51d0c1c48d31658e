"""Word selectors: their forms, and what is refused in which words."""

from __future__ import annotations

import re

import pytest

from attnprobe.core.errors import SelectorError
from attnprobe.core.texts import Sample, Span
from attnprobe.words.selectors import (
    Chars,
    Phrase,
    Predicts,
    Selector,
    Special,
    check_target_selector,
    parse_selector,
    selector_of,
)

AS_IT_STANDS = "as it stands in the text"
ONE_KIND = "a word selector has exactly one of: word, chars, special, predicts"
FROM_ONE = "nth counts the places of a word from 1, it cannot be"
CHARS = "chars takes [start, end] with 0 <= start < end, such as [10, 16], not"


@pytest.mark.parametrize(
    ("value", "parts", "shown"),
    [
        ("it", [Phrase("it")], "it"),
        ("the cat", [Phrase("the cat")], '"the cat"'),
        ({"word": "it", "nth": 2}, [Phrase("it", 2)], "it (nth: 2)"),
        ({"word": "it"}, [Phrase("it")], "it"),
        ({"chars": [10, 16]}, [Chars(10, 16)], "characters 10 to 16"),
        ({"special": "cls"}, [Special("cls")], "[CLS]"),
        ({"special": "first"}, [Special("first")], "the first token"),
        ({"predicts": "are"}, [Predicts("are")], "the token before are"),
        ({"predicts": "are", "nth": 1}, [Predicts("are", 1)], "the token before are (nth: 1)"),
        (["it", {"special": "sep"}], [Phrase("it"), Special("sep")], "it + [SEP]"),
        (Selector((Phrase("it"),)), [Phrase("it")], "it"),
    ],
)
def test_selector_forms(value: object, parts: list[object], shown: str) -> None:
    selector = parse_selector(value)
    assert list(selector.parts) == parts
    assert str(selector) == shown


@pytest.mark.parametrize(
    ("value", "parts", "shown"),
    [
        ({"text": "it"}, [Phrase("it", None, "text")], "it in the text"),
        ({"pair": {"word": "it", "nth": 2}}, [Phrase("it", 2, "pair")], "it (nth: 2) in the pair"),
        ({"pair": {"chars": [0, 2]}}, [Chars(0, 2, "pair")], "characters 0 to 2 in the pair"),
        (
            ["a", {"pair": ["b c", {"predicts": "d"}]}],
            [Phrase("a"), Phrase("b c", None, "pair"), Predicts("d", None, "pair")],
            'a + "b c" in the pair + the token before d in the pair',
        ),
    ],
)
def test_selectors_that_name_a_text(value: object, parts: list[object], shown: str) -> None:
    selector = parse_selector(value)
    assert list(selector.parts) == parts
    assert str(selector) == shown


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3.1, f"a word is text, not 3.1; quote it {AS_IT_STANDS}"),
        (False, f"a word is text, not False; quote it {AS_IT_STANDS}"),
        (None, f"no word given; write the word {AS_IT_STANDS}"),
        ("", f"a word cannot be empty; write it {AS_IT_STANDS}"),
        (" ", f"a word cannot be empty; write it {AS_IT_STANDS}"),
        ({"word": 12}, f"a word is text, not 12; quote it {AS_IT_STANDS}"),
        ({"predicts": " "}, f"a word cannot be empty; write it {AS_IT_STANDS}"),
        ([], "an empty list selects nothing; name a word"),
        ([["it"]], "a list of words holds words, not lists; write one flat list"),
        ({}, ONE_KIND),
        ({"nth": 2}, ONE_KIND),
        ({"word": "it", "chars": [0, 1]}, ONE_KIND),
        ({"word": "it", "chars": [0, 1], "wrod": 1}, ONE_KIND),
        ({"wrod": "it"}, "unknown word selector 'wrod'; did you mean 'word'?"),
        ({"nth": 2, "wrod": "it"}, "unknown word selector 'wrod'; did you mean 'word'?"),
        ({"txet": "it"}, "unknown word selector 'txet'; did you mean 'text'?"),
        (
            {12: "it"},
            "unknown word selector 12; known: chars, generated, message, needle, pair, predicts, "
            "role, special, text, word",
        ),
        ({"word": "it", "nht": 2}, "'nht' does not go with 'word'; did you mean 'nth'?"),
        ({"predicts": "it", "nht": 2}, "'nht' does not go with 'predicts'; did you mean 'nth'?"),
        ({"special": "first", "nth": 2}, "'nth' does not go with 'special'; known: special"),
        ({"chars": [0, 3], "nth": 2}, "'nth' does not go with 'chars'; known: chars"),
        ({"special": "clss"}, "unknown special token 'clss'; did you mean 'cls'?"),
        ({"special": "CLS"}, "unknown special token 'CLS'; did you mean 'cls'?"),
        ({"special": ["cls"]}, "unknown special token ['cls']; did you mean 'cls'?"),
        ({"word": "it", "nth": 0}, f"{FROM_ONE} 0"),
        ({"word": "it", "nth": True}, f"{FROM_ONE} True"),
        ({"word": "it", "nth": "2"}, f"{FROM_ONE} '2'"),
        ({"predicts": "it", "nth": -1}, f"{FROM_ONE} -1"),
        ({"chars": [3, 3]}, f"{CHARS} [3, 3]"),
        ({"chars": [-1, 3]}, f"{CHARS} [-1, 3]"),
        ({"chars": [0, 1, 2]}, f"{CHARS} [0, 1, 2]"),
        ({"chars": [0, True]}, f"{CHARS} [0, True]"),
        ({"chars": "0-3"}, f"{CHARS} '0-3'"),
        (
            {"pair": "it", "nth": 2},
            "'nth' does not go beside 'pair'; a selector goes into it whole, such as "
            "{pair: {word: the, nth: 2}}",
        ),
        ({"text": {"special": "cls"}}, "[CLS] stands in neither text; write {special: cls} alone"),
        ({"pair": {"text": "it"}}, "{text: ...} stands inside of {pair: ...}; give one"),
        ({"pair": 3}, f"a word is text, not 3; quote it {AS_IT_STANDS}"),
    ],
)
def test_what_is_no_selector(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        parse_selector(value)


def test_a_target_is_no_pair_of_texts() -> None:
    check_target_selector(parse_selector(["it", {"special": "eos"}, {"chars": [0, 1]}]))
    for value in ({"pair": "it"}, ["a", {"pair": {"chars": [0, 1]}}]):
        with pytest.raises(SelectorError) as caught:
            check_target_selector(parse_selector(value))
        assert str(caught.value) == (
            "{pair: ...} names a word of the text that the encoder reads, and this is a word of "
            "the target; leave it out"
        )


@pytest.mark.parametrize(
    ("span", "pair", "part"),
    [
        (Span(4, 7), None, Chars(4, 7)),
        (Span(4, 7), "ab cdef", Chars(4, 7)),
        (Span(8, 9), "ab cdef", Chars(0, 1, "pair")),
        (Span(10, 14), "ab cdef", Chars(2, 6, "pair")),
    ],
)
def test_the_selector_of_characters(span: Span, pair: str | None, part: Chars) -> None:
    sample = Sample("a bcdef", pair=pair)
    assert selector_of(span, sample.joined, sample.parts) == Selector((part,))
