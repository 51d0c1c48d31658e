"""Words of one text and of two: where they are found, and the whole message where they are not."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from attnprobe.core.errors import SelectorError
from attnprobe.core.texts import PAIR_BREAK, Sample, Span
from attnprobe.words.locate import locate
from attnprobe.words.selectors import parse_selector

FIRST, SECOND = "The keys are old", "The door is old. The end"
NO_PAIR = (
    "{pair: ...} names a word of a second text, and there is none; write text_pair: beside text:, "
    "or name the word without pair:"
)


def find(value: object, text: str, pair: str | None = None) -> tuple[Span, ...]:
    sample = Sample(text, pair=pair)
    return locate(parse_selector(value), sample.joined, parts=sample.parts)


def refusal(value: object, text: str, pair: str | None = None) -> list[str]:
    """The lines of the message."""
    with pytest.raises(SelectorError) as caught:
        find(value, text, pair)
    return str(caught.value).split("\n")


@pytest.mark.parametrize(
    ("value", "start", "end"),
    [
        ("keys", 4, 8),
        ("end", 17 + 21, 17 + 24),
        ({"word": "The", "nth": 1}, 0, 3),
        ({"text": "The"}, 0, 3),
        ({"text": {"chars": [0, 16]}}, 0, 16),
        ({"chars": [1, 16]}, 1, 16),
        ({"pair": {"word": "The", "nth": 1}}, 17, 20),
        ({"pair": {"word": "The", "nth": 2}}, 34, 37),
        ({"pair": {"predicts": "old"}}, 29, 32),
        ({"pair": {"chars": [0, 24]}}, 17, 41),
    ],
)
def test_words_of_two_texts(value: object, start: int, end: int) -> None:
    assert find(value, FIRST, SECOND) == (Span(start, end),)


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        (
            "The",
            [
                "'The' stands 3 times in the two texts; say which one, such as "
                "{pair: {word: The, nth: 1}}",
                f"  {{text: The}}  {FIRST}",
                "               ^^^",
                f"  {{pair: {{word: The, nth: 1}}}}  {SECOND}",
                "                               ^^^",
                f"  {{pair: {{word: The, nth: 2}}}}  {SECOND}",
                "                                                ^^^",
            ],
        ),
        (
            {"predicts": "old"},
            [
                "'old' stands 2 times in the two texts; say which one, such as "
                "{pair: {predicts: old}}",
                f"  {{text: {{predicts: old}}}}  {FIRST}",
                "                                        ^^^",
                f"  {{pair: {{predicts: old}}}}  {SECOND}",
                "                                       ^^^",
            ],
        ),
        (
            {"word": "The", "nth": 2},
            [
                "'The' stands once in the text, there is no nth: 2",
                f"  {{text: The}}  {FIRST}",
                "               ^^^",
            ],
        ),
        (
            {"pair": {"word": "The", "nth": 3}},
            [
                "'The' stands 2 times in text_pair, there is no nth: 3",
                f"  {{pair: {{word: The, nth: 1}}}}  {SECOND}",
                "                               ^^^",
                f"  {{pair: {{word: The, nth: 2}}}}  {SECOND}",
                "                                                ^^^",
            ],
        ),
        (
            {"pair": "keys"},
            [
                "'keys' stands in the text, not in text_pair; write {text: keys}",
                f"  {FIRST}",
                "      ^^^^",
            ],
        ),
        (
            {"predicts": "door", "nth": 2},
            [
                "'door' stands in text_pair, not in the text; write {pair: {predicts: door}}",
                f"  {SECOND}",
                "      ^^^^",
            ],
        ),
        (
            {"pair": {"chars": [3, 4]}},
            ["chars: [3, 4] selects only white space", f"  {SECOND}", "     ^"],
        ),
        ({"chars": [10, 17]}, ["chars: [10, 17] lies outside the text of 16 characters"]),
        (
            {"pair": {"chars": [10, 25]}},
            ["chars: [10, 25] lies outside text_pair of 24 characters"],
        ),
        ("zz", ["'zz' does not stand in either text:", f"  {FIRST}", f"  {SECOND}"]),
        ({"pair": "zz"}, ["'zz' does not stand in text_pair:", f"  {SECOND}"]),
        ({"word": "zz", "nth": 2}, ["'zz' does not stand in the text:", f"  {FIRST}"]),
        (
            "dor",
            [
                "'dor' does not stand in either text; nearest: 'door'",
                f"  {SECOND}",
                "      ^^^^",
            ],
        ),
        (
            "oor",
            ["'oor' stands in text_pair only as a part of 'door'", f"  {SECOND}", "      ^^^^"],
        ),
        (
            "eys ar",
            [
                "'eys ar' stands in the text only as a part of 'keys are'",
                f"  {FIRST}",
                "      ^^^^^^^^",
            ],
        ),
        (
            "o\u200bld",
            [
                "'o<U+200B>ld' stands in the text in other characters: the text has nothing where "
                'the selector has U+200B ZERO WIDTH SPACE; write it as in the text: "old"',
                f"  {FIRST}",
                "               ^^^",
            ],
        ),
        (
            "[CLS]",
            [
                "'[CLS]' does not stand in either text; write {special: cls}:",
                f"  {FIRST}",
                f"  {SECOND}",
            ],
        ),
        (
            "<eos>",
            [
                "'<eos>' does not stand in either text; write {special: eos}:",
                f"  {FIRST}",
                f"  {SECOND}",
            ],
        ),
        ("cls", ["'cls' does not stand in either text:", f"  {FIRST}", f"  {SECOND}"]),
        *(
            (
                f"{quote}zz",
                [
                    f"'{quote}zz' does not stand in either text; the curly quotes are part of the "
                    "word, write straight quotes:",
                    f"  {FIRST}",
                    f"  {SECOND}",
                ],
            )
            for quote in "“”‘’"
        ),
    ],
)
def test_what_two_texts_do_not_have_or_have_twice_p46(value: object, lines: list[str]) -> None:
    assert refusal(value, FIRST, SECOND) == lines


def test_a_place_in_the_first_text_needs_no_name_of_the_text_p46() -> None:
    message = refusal("it", "it it", "it")
    assert [line.split("  ")[1] for line in message[1::2]] == [
        "{word: it, nth: 1}",
        "{word: it, nth: 2}",
        "{pair: it}",
    ]


@pytest.mark.parametrize("value", [{"pair": "keys"}, {"pair": {"chars": [0, 1]}}])
def test_a_pair_needs_a_second_text(value: object) -> None:
    assert refusal(value, FIRST) == [NO_PAIR]


def test_ten_occurrences_are_shown_and_a_thousand_counted() -> None:
    few, many, more = ("a " * count for count in (11, 1000, 1001))
    assert refusal("a", "a " * 10)[-2:] == [
        "  nth: 10  a a a a a a a a a a ",
        " " * 29 + "^",
    ]
    assert refusal("a", few)[0] == (
        "'a' stands 11 times in the text; say which one, such as {word: a, nth: 2}"
    )
    assert len(refusal("a", few)) == 22
    assert refusal("a", few)[-1] == "  and 1 more"
    assert refusal("a", many)[0].startswith("'a' stands 1000 times in the text; say which one")
    assert refusal("a", many)[-1] == "  and 990 more"
    assert refusal("a", more)[0].startswith("'a' stands more than 1000 times in the text; say")
    assert refusal("a", more)[-1] == "  and at least 991 more"
    assert find({"word": "a", "nth": 1000}, more) == (Span(1998, 1999),)
    assert refusal({"word": "a", "nth": 1001}, many)[0] == (
        "'a' stands 1000 times in the text, there is no nth: 1001"
    )
    assert refusal({"word": "a", "nth": 1001}, more) == [
        "'a' stands more than 1000 times in the text, and nth: counts no further; name its "
        "characters: {chars: [10, 16]}"
    ]


def test_the_three_nearest_words_and_the_nearest_phrase_are_named() -> None:
    assert refusal("cas", "cat cap car cab Dog dog")[0] == (
        "'cas' does not stand in the text; nearest: 'cat', 'car', 'cap'"
    )
    assert refusal("THE KEYS", FIRST)[0] == (
        "'THE KEYS' does not stand in the text; nearest: 'The keys'"
    )
    assert refusal("keys were", "The keys are old keys")[0] == (
        "'keys were' does not stand in the text; nearest: 'keys are'"
    )


def test_of_long_spellings_the_first_difference_is_named() -> None:
    twice = "é" + "z" * 30 + "é"
    differs = (
        "the text has U+0065 LATIN SMALL LETTER E, U+0301 COMBINING ACUTE ACCENT where the "
        "selector has U+00E9 LATIN SMALL LETTER E WITH ACUTE"
    )
    for before, times in (("x" * 69, 1), ("x" * 68, 2), ("x" * 150, 1)):
        text = before + twice.replace("é", "e\u0301")
        message = refusal(before + twice, text)[0]
        told = message.split(" in other characters: ")[1].split("; write it")[0]
        assert told == "; ".join([differs] * times)


def test_words_that_resemble_are_sought_in_2000_characters() -> None:
    inside, outside = ("-" * before + "keys  " for before in (1996, 1999))
    part = "'eys' stands in the text only as a part of 'keys'"
    assert refusal("eys", inside)[0] == part
    assert refusal("eys", outside)[0] == "'eys' does not stand in the text:"


WORDS = st.lists(st.sampled_from(["it", "the cat", "is", "no", "it", "é"]), max_size=8)


@given(WORDS, st.none() | WORDS, st.sampled_from(["it", "no", "the cat", "é"]), st.booleans())
def test_each_form_that_a_message_names_selects_its_place_p12(
    text: list[str], pair: list[str] | None, word: str, predicts: bool
) -> None:
    first, second = " ".join(text), None if pair is None else " ".join(pair)
    joined = first if second is None else first + PAIR_BREAK + second
    places = [match.start() for match in re.finditer(rf"(?<!\w){word}(?!\w)", joined)]
    value = {"predicts": word} if predicts else word
    if len(places) < 2:
        return
    lines = refusal(value, first, second)
    if second is None:
        forms = [
            f"{{{'predicts' if predicts else 'word'}: {word!r}, nth: {number}}}"
            for number in range(1, len(places) + 1)
        ][:10]
        assert [line.split("  ")[1] for line in lines[1::2]][: len(forms)] == [
            f"nth: {number}" for number in range(1, len(forms) + 1)
        ]
    else:
        forms = [line.split("  ")[1] for line in lines[1::2] if line.startswith("  {")]
    assert [find(yaml.safe_load(form), first, second) for form in forms] == [
        (Span(start, start + len(word)),) for start in places[:10]
    ]
    example = lines[0].split("such as ")[1]
    assert find(yaml.safe_load(example), first, second)[0].start == places[1]
