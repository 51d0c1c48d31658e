"""Offsets against the spelling of tokens: the conventions, and the message of each refusal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnprobe.core.errors import ModelError, SelectorError
from attnprobe.core.texts import PAIR_BREAK, Span, Tokens
from attnprobe.words.spelling import (
    check_no_separator,
    check_no_special_in_text,
    check_round_trip,
    decode_bytes,
    display_pieces,
    has_content,
    place_space_marks,
    token_bytes,
)
from tests.support.made_up import parts_of

ADVICE = "use the model's fast tokenizer (tokenizer.json), or declare another one"
WRONG = "the tokenizer reports wrong offsets:"
Spans = list[tuple[int, int] | None]


def placed(spans: Spans) -> tuple[Span | None, ...]:
    return tuple(span and Span(*span) for span in spans)


def tokens_at(text: str, spans: Spans, special: list[str | None] | None = None) -> Tokens:
    count = len(spans)
    return Tokens(
        *(text, tuple(range(count)), ("",) * count, placed(spans)),
        tuple(special or [None] * count),
        parts=parts_of(text),
    )


def refusal(text: str, raw: list[str], spans: Spans, **about: object) -> str:
    with pytest.raises(ModelError) as caught:
        check_round_trip(tokens_at(text, spans, **about), raw, unknown={"[UNK]"})  # type: ignore[arg-type]
    return str(caught.value)


# Round trip --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "raw", "spans", "message"),
    [
        (
            "it is",
            ["is", "is"],
            [(0, 2), (3, 5)],
            f"{WRONG} for the token 'is' they say 'it'; {ADVICE}",
        ),
        (
            "it it",
            ["it", "it"],
            [(3, 5), (0, 2)],
            f"{WRONG} for the token 'it' they say characters 0 to 2, after a token at 3 to 5; "
            f"{ADVICE}",
        ),
        (
            "it is",
            ["it", "Ġis"],
            [(0, 2), (3, 6)],
            f"{WRONG} for the token 'Ġis' (spelling 'is') they say characters 3 to 6 of a text of "
            f"5; {ADVICE}",
        ),
        (
            "it",
            ["▁it"],
            [(-1, 2)],
            f"{WRONG} for the token '▁it' (spelling 'it') they say characters -1 to 2 of a text of "
            f"2; {ADVICE}",
        ),
        (
            "it",
            ["it"],
            [(2, 1)],
            f"{WRONG} for the token 'it' they say characters 2 to 1 of a text of 2; {ADVICE}",
        ),
        (
            "it is",
            ["it", "is"],
            [(0, 2), None],
            f"{WRONG} for the token 'is' they say that it stands for no character; {ADVICE}",
        ),
        (
            "doggy",
            ["dog", "##gy"],
            [(0, 5), (3, 5)],
            f"{WRONG} for the token '##gy' they say characters 3 to 5, after a token at 0 to 5; "
            f"{ADVICE}",
        ),
        (
            "it is so",
            ["it", "is"],
            [(0, 2), (3, 5)],
            f"{WRONG} no token stands for 's' at character 6; {ADVICE}\n  it is so\n        ^",
        ),
        (
            "it e\u0301",
            ["it"],
            [(0, 2)],
            f"{WRONG} no token stands for 'e\u0301' at character 3; {ADVICE}\n  it e\u0301\n     ^",
        ),
        (
            "it $",
            ["it"],
            [(0, 2)],
            f"{WRONG} no token stands for '$' at character 3; {ADVICE}\n  it $\n     ^",
        ),
        (
            "it",
            ["it", "is"],
            [(0, 2)],
            "the tokenizer gives another number of offsets than of tokens",
        ),
        (
            "dog",
            ["<0xE2>", "<0x80>"],
            [(0, 3), (0, 3)],
            f"{WRONG} for the token '<0x80>' (spelling '\ufffd') they say characters 0 to 3, after "
            f"a token at 0 to 3; {ADVICE}",
        ),
    ],
)
def test_what_is_wrong_with_offsets_p16(
    text: str, raw: list[str], spans: Spans, message: str
) -> None:
    assert refusal(text, raw, spans) == message


def test_of_two_texts_the_one_that_is_not_covered_is_shown_p16() -> None:
    text = f"it{PAIR_BREAK}is so"
    assert refusal(text, ["it", "is"], [(0, 2), (3, 5)]) == (
        f"{WRONG} no token stands for 's' at character 6; {ADVICE}\n  is so\n     ^"
    )


@pytest.mark.parametrize(
    ("text", "raw", "spans", "special"),
    [
        ("", [], [], []),
        ("it", ["<s>", "it"], [None, (0, 2)], ["bos", None]),
        ("it", ["[UNK]", "it"], [None, (0, 2)], [None, None]),
        ("zebra", ["[UNK]"], [(0, 5)], [None]),
        ("it", ["▁", "it"], [None, (0, 2)], [None, None]),
        ("it", ["▁", "it"], [(0, 0), (0, 2)], [None, None]),
        ("é", ["Ã", "©"], [(0, 1), (0, 1)], [None, None]),
        ("É", ["e"], [(0, 1)], [None]),
        ("a\u00adb\n", ["ab"], [(0, 3)], [None]),
        ("low", ["lo", "w</w>"], [(0, 2), (2, 3)], [None, None]),
    ],
)
def test_offsets_that_fit_p16(
    text: str, raw: list[str], spans: Spans, special: list[str | None]
) -> None:
    check_round_trip(tokens_at(text, spans, special), raw, unknown={"[UNK]"})


# Pieces ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "raw", "spans", "pieces"),
    [
        ("the dogs", ["the", "dog", "##s"], [(0, 3), (4, 7), (7, 8)], ["the", "dog", "##s"]),
        ("the dogs", ["the", "Ġdog", "s"], [(0, 3), (3, 7), (7, 8)], ["the", "dog", "##s"]),
        ("low er", ["lo", "w</w>", "er"], [(0, 2), (2, 3), (4, 6)], ["lo", "##w", "er"]),
        ("a  b", ["a", "▁▁", "b"], [(0, 1), (1, 3), (3, 4)], ["a", "␣␣", "b"]),
        ("a\nb", ["a", "Ċ", "b"], [(0, 1), (1, 2), (2, 3)], ["a", "<U+000A>", "b"]),
        ("é.", ["Ã", "©", "."], [(0, 1), (0, 1), (1, 2)], ["<0xC3>", "<0xA9>", "."]),
        ("ﬁ", ["f", "i"], [(0, 1), (0, 1)], ["f", "i"]),
        ("ﬁ", ["x", "y"], [(0, 1), (0, 1)], ["ﬁ", "ﬁ"]),
        ("zebra x", ["[UNK]", "x"], [(0, 5), (6, 7)], ["[UNK]", "x"]),
        ("it", ["<s>", "it", ""], [None, (0, 2), None], ["<s>", "it", ""]),
        ("e\u0301x", ["e", "x"], [(0, 1), (2, 3)], ["e\u0301", "##x"]),
        ("a\u202eb", ["a\u202eb"], [(0, 3)], ["a<U+202E>b"]),
    ],
)
def test_pieces_for_a_reader(text: str, raw: list[str], spans: Spans, pieces: list[str]) -> None:
    assert list(display_pieces(raw, placed(spans), text, unknown={"[UNK]"})) == pieces


@pytest.mark.parametrize(
    ("text", "raw", "spans", "special", "expected"),
    [
        ("a it", ["a", "▁", "it"], [(0, 1), (1, 2), (2, 4)], [None] * 3, (2, 3)),
        ("it", ["▁", "it"], [(0, 0), (0, 2)], [None] * 2, (0, 1)),
        # A mark with a space behind it, before a special token, or apart from the word stays.
        ("a  it", ["a", "▁", "▁it"], [(0, 1), (1, 2), (2, 5)], [None] * 3, (1, 2)),
        ("a <m>", ["a", "▁", "<m>"], [(0, 1), (1, 2), (2, 5)], [None, None, "special"], (1, 2)),
        ("a  it", ["a", "▁", "it"], [(0, 1), (1, 2), (3, 5)], [None] * 3, (1, 2)),
        # What is no mark alone, and what stands for a character of its own, stays.
        ("a it", ["a", "▁▁", "it"], [(0, 1), (1, 2), (2, 4)], [None] * 3, (1, 2)),
        ("a▁it", ["a", "▁", "it"], [(0, 1), (1, 2), (2, 4)], [None] * 3, (1, 2)),
        ("it", ["a", "▁", "it"], [(0, 0), None, (0, 2)], [None] * 3, None),
        ("a ", ["a", "▁", "x"], [(0, 1), (1, 2), None], [None] * 3, (1, 2)),
    ],
)
def test_a_space_mark_belongs_to_the_word_right_behind_it(
    text: str,
    raw: list[str],
    spans: Spans,
    special: list[str | None],
    expected: tuple[int, int] | None,
) -> None:
    moved = raw.index("▁") if "▁" in raw else 1
    found = place_space_marks(raw, placed(spans), special, text)
    assert found[moved] == expected
    assert [*found[:moved], *found[moved + 1 :]] == [
        *placed(spans)[:moved],
        *placed(spans)[moved + 1 :],
    ]


@given(st.binary())
def test_bytes_are_characters_or_named(given_bytes: bytes) -> None:
    shown = decode_bytes(given_bytes)
    valid = given_bytes.decode("utf-8", "ignore")
    assert all(char in shown for char in valid)
    assert shown.encode("utf-8").isascii() or valid
    assert b"".join(token_bytes(f"<0x{byte:02X}>") for byte in given_bytes) == given_bytes


@pytest.mark.parametrize(
    ("token", "spelled"),
    [
        ("<0xE2>", b"\xe2"),
        ("<0xe2>", b"<0xe2>"),
        ("<0xE2>a", b"<0xE2>a"),
        ("Ġthe", b" the"),
        ("Ċ", b"\n"),
        ("Ā", b"\x00"),
        ("Ń", b"\xad"),
        ("ġ", b"\x7f"),
        ("¡ÿ", b"\xa1\xff"),
        ("日", "日".encode()),
        ("Ġ日", "Ġ日".encode()),
        ("a b", b"a b"),
    ],
)
def test_the_bytes_of_a_token(token: str, spelled: bytes) -> None:
    assert token_bytes(token) == spelled


def test_the_alphabet_of_bytes_is_the_one_of_byte_level_tokenizers() -> None:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    for byte, char in bytes_to_unicode().items():
        assert token_bytes(char) == bytes([byte])


# Special tokens in the text ----------------------------------------------------------------------

SPECIAL = {1: "[SEP]"}
LONG_ADVICE = (
    "which the model reads as a mark of its own; change the text, or allow it if you mean it: "
    "allow_special_tokens: true in a case file, allow_special_tokens=True in Python, "
    "--allow-special-tokens with attnprobe show"
)


def test_a_special_token_in_the_text_is_refused_p17() -> None:
    tokens = tokens_at("a [sep]b", [(0, 1), (1, 7), (7, 8)])
    with pytest.raises(SelectorError) as caught:
        check_no_special_in_text(tokens, SPECIAL)
    assert str(caught.value) == (
        f"the text spells out the special token '[SEP]', {LONG_ADVICE}\n  a [sep]b\n    ^^^^^"
    )
    check_no_special_in_text(tokens, {7: "[SEP]"})
    check_no_special_in_text(tokens, {1: "[CLS]"})
    check_no_special_in_text(tokens_at("a b", [(0, 1), None, (2, 3)]), SPECIAL)
    pair = tokens_at(f"ab{PAIR_BREAK}[SEP]", [(0, 2), (3, 8)])
    with pytest.raises(SelectorError, match=r"\n  \[SEP\]\n  \^{5}$"):
        check_no_special_in_text(pair, SPECIAL)


@pytest.mark.parametrize("alone", [True, False])
def test_words_behind_a_separator_of_the_text_are_refused_p46(alone: bool) -> None:
    text = "a [SEP] b"
    second = (
        "write what follows as a second text: text_pair: in a case file, pair= in Python, "
        "--text-pair with attnprobe show; or "
    )
    message = (
        "the text spells out the separator '[SEP]', but what follows it gets the segment of what "
        f"precedes it (token_type_ids); {second if alone else ''}declare a model that is used with "
        "separators inside of one text: one_segment: true in a case file, one_segment=True in "
        "Python, --one-segment with attnprobe show\n  a [SEP] b\n    ^^^^^"
    )
    spans: Spans = [(0, 1), (2, 7), (8, 9)]
    for behind in (None, "special"):
        tokens = tokens_at(text, spans, [None, "sep", behind])
        with pytest.raises(SelectorError) as caught:
            check_no_separator(tokens, 1, "[SEP]", alone=alone)
        assert str(caught.value) == message
    for harmless in (
        tokens_at(text, spans, [None, "sep", "sep"]),
        tokens_at("a [SEP]", [(0, 1), (2, 7), None], [None, "sep", None]),
        tokens_at("a [SEP]", [(0, 1), (2, 7)], [None, "sep"]),
    ):
        check_no_separator(harmless, 1, "[SEP]", alone=alone)
    check_no_separator(tokens_at(text, spans), 2, "[SEP]", alone=alone)


@pytest.mark.parametrize(
    ("special", "content"),
    [([], False), (["cls", "sep"], False), (["sep", None], True), (["special"], True)],
)
def test_words_and_masks_are_content(special: list[str | None], content: bool) -> None:
    assert has_content(special) is content
