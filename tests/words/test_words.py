"""Words to token positions: selectors, words, offsets, and what is refused."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from itertools import pairwise

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from attnprobe.core.errors import ModelError, SelectorError
from attnprobe.core.printing import display_width, visible
from attnprobe.core.texts import Span, Tokens
from attnprobe.words.locate import locate
from attnprobe.words.positions import groups, positions
from attnprobe.words.segmentation import split_graphemes, words
from attnprobe.words.selectors import Phrase, Selector, parse_selector
from attnprobe.words.show import underline
from attnprobe.words.spelling import check_no_special_in_text, check_round_trip, display_pieces
from tests.support.tokenizers_small import KINDS, Kind, build, tokens_of

TOKENIZERS = {kind: build(kind) for kind in KINDS}
ANIMAL = "The animal didn't cross the street because it was too tired."
FAMILY = "👩\u200d👩\u200d👧"


def tokenise(kind: Kind, text: str) -> Tokens:
    return tokens_of(TOKENIZERS[kind], text)[0]


def found(value: object, text: str) -> list[str]:
    return [text[span.start : span.end] for span in locate(parse_selector(value), text)]


def pieces(value: object, tokens: Tokens) -> list[str]:
    return [tokens.pieces[index] for index in positions(parse_selector(value), tokens)]


def refusal(value: object, text: str) -> str:
    with pytest.raises(SelectorError) as caught:
        locate(parse_selector(value), text)
    return str(caught.value)


@given(st.text(st.characters(max_codepoint=127, exclude_characters="\r")))
def test_characters_of_ascii_are_graphemes(text: str) -> None:
    """Without \\r\\n, offsets need not be extended."""
    assert [span.end - span.start for span in split_graphemes(text)] == [1] * len(text)


def in_words(text: str) -> list[str]:
    return [text[span.start : span.end] for span in words(text)]


# Words in the text ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's a well-known dog.", ["It's", "a", "well-known", "dog", "."]),
        ("the dogs' bowl -- 'meow'", ["the", "dogs", "'", "bowl", "-", "-", "'", "meow", "'"]),
        ("rock’n’roll", ["rock’n’roll"]),
        ("snake_case 3rd", ["snake_case", "3rd"]),
        ("cafe\u0301 e\u0301te\u0301", ["cafe\u0301", "e\u0301te\u0301"]),
        ("日本語,カー ok", ["日", "本", "語", ",", "カ", "ー", "ok"]),
        ("iPhone版", ["iPhone", "版"]),
        ("ไม่ดี", ["ไ", "ม่", "ดี"]),
        (f"hi {FAMILY}🇫🇷❤️!", ["hi", FAMILY, "🇫🇷", "❤️", "!"]),
        ("שלום, עולם", ["שלום", ",", "עולם"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("हिन्दी है", ["हिन्दी", "है"]),
        ("a\u200bb co\u00adop\u00a0x", ["a", "b", "co\u00adop", "x"]),
        (" \n\u200b", []),
        ("", []),
    ],
)
def test_words_of_a_text(text: str, expected: list[str]) -> None:
    assert in_words(text) == expected


@pytest.mark.parametrize(
    ("phrase", "text", "start"),
    [
        ("it", ANIMAL, 43),
        ("animal didn't", ANIMAL, 4),
        ("tired.", ANIMAL, 54),
        ("dog", "the dog's bowl", 4),
        ("'s", "the dog's bowl", 7),
        ("meow", "it said:'meow'!", 9),
        ("!", "it said:'meow'!", 14),
        ("本", "日本語", 1),
        ("日本", "日本語", 0),
        ("版", "iPhone版", 6),
        ("iPhone", "iPhone版", 0),
        ("דג", "כלב, דג", 5),
        (FAMILY, f"a {FAMILY}b", 2),
    ],
)
def test_locate_finds_whole_words(phrase: str, text: str, start: int) -> None:
    assert locate(parse_selector(phrase), text) == (Span(start, start + len(phrase)),)


def test_locate_gives_a_span_for_each_part_that_has_characters() -> None:
    selector = parse_selector(["it", {"special": "cls"}, {"chars": [4, 10]}, {"predicts": "was"}])
    assert found(["it", {"special": "cls"}, {"chars": [4, 10]}], ANIMAL) == ["it", "animal"]
    assert len(locate(selector, ANIMAL)) == 3


@pytest.mark.parametrize(
    ("chars", "message"),
    [([58, 61], "lies outside the text of 60 characters"), ([3, 4], "selects only white space")],
)
def test_chars_outside_the_text_or_empty(chars: list[int], message: str) -> None:
    assert message in refusal({"chars": chars}, ANIMAL)


def test_missing_word_names_the_nearest_p11() -> None:
    message = refusal("anmial", ANIMAL)
    assert message.split("\n") == [
        "'anmial' does not stand in the text; nearest: 'animal'",
        f"  {ANIMAL}",
        "      ^^^^^^",
    ]
    assert "nearest: 'The animal'" in refusal("the animal", ANIMAL)
    assert refusal("zebra", ANIMAL) == f"'zebra' does not stand in the text:\n  {ANIMAL}"
    assert refusal("zebra", "") == "'zebra' does not stand in the text:\n  "


def test_part_of_a_word_is_missing_and_named_p11() -> None:
    message = refusal("tree", ANIMAL)
    assert message.split("\n") == [
        "'tree' stands in the text only as a part of 'street'",
        f"  {ANIMAL}",
        " " * 30 + "^^^^^^",
    ]
    assert "only as a part of 'e\u0301te\u0301'" in refusal("e", "e\u0301te\u0301")
    assert f"only as a part of '{FAMILY}'" in refusal("👧", f"a {FAMILY}")


def test_ambiguous_word_lists_each_place_p12() -> None:
    assert refusal("the", "the cat saw the dog by the door").split("\n") == [
        "'the' stands 3 times in the text; say which one, such as {word: the, nth: 2}",
        "  nth: 1  the cat saw the dog by the door",
        "          ^^^",
        "  nth: 2  the cat saw the dog by the door",
        "                      ^^^",
        "  nth: 3  the cat saw the dog by the door",
        "                                 ^^^",
    ]
    assert "{predicts: ha, nth: 2}" in refusal({"predicts": "ha"}, "ha ha")
    assert "and 2 more" in refusal("a", " ".join("a" * 12))
    assert "'ha ha' stands 2 times" in refusal("ha ha", "ha ha ha")
    assert found({"word": "the", "nth": 2}, "the cat saw the dog") == ["the"]
    message = refusal({"word": "the", "nth": 3}, "the cat saw the dog")
    assert message.startswith("'the' stands 2 times in the text, there is no nth: 3\n")
    assert "stands once in the text, there is no nth: 2" in refusal({"word": "it", "nth": 2}, "it")


@pytest.mark.parametrize(
    ("phrase", "form"),
    [
        ("no", '{word: "no", nth: 2}'),
        ("12", '{word: "12", nth: 2}'),
        ("a, b", '{word: "a, b", nth: 2}'),
        ('"x"', r'{word: "\"x\"", nth: 2}'),
        ("e\u0301", "{word: e\u0301, nth: 2}"),
        ("a\u00a0b", r'{word: "a\u00a0b", nth: 2}'),
        ("well-known", "{word: well-known, nth: 2}"),
    ],
)
def test_advice_on_an_ambiguous_word_is_valid_yaml_p12(phrase: str, form: str) -> None:
    text = f"{phrase} {phrase}"
    assert form in refusal(phrase, text)
    selector = parse_selector(yaml.safe_load(form))
    assert locate(selector, text)[0].start == len(phrase) + 1


@pytest.mark.parametrize(
    ("phrase", "text", "difference", "advice"),
    [
        (
            "café",
            "au cafe\u0301 noir",
            "the text has U+0065 LATIN SMALL LETTER E, U+0301 COMBINING ACUTE ACCENT "
            "where the selector has U+00E9 LATIN SMALL LETTER E WITH ACUTE",
            r'"cafe\u0301"',
        ),
        (
            "cafe\u0301",
            "au café noir",
            "the text has U+00E9 LATIN SMALL LETTER E WITH ACUTE where the selector has "
            "U+0065 LATIN SMALL LETTER E, U+0301 COMBINING ACUTE ACCENT",
            r'"caf\u00e9"',
        ),
        (
            "the keys",
            "See the\u00a0keys.",
            "the text has U+00A0 NO-BREAK SPACE where the selector has U+0020 SPACE",
            r'"the\u00a0keys"',
        ),
        (
            "keys",
            "the ke\u200bys",
            "the text has U+200B ZERO WIDTH SPACE where the selector has nothing",
            r'"ke\u200bys"',
        ),
        (
            "ke\u200bys",
            "the keys",
            "the text has nothing where the selector has U+200B ZERO WIDTH SPACE",
            '"keys"',
        ),
        (
            "didn't",
            "It didn’t.",
            "the text has U+2019 RIGHT SINGLE QUOTATION MARK where the selector has "
            "U+0027 APOSTROPHE",
            r'"didn\u2019t"',
        ),
        (
            "👍",
            "ok 👍\ufe0f",
            "the text has U+FE0F VARIATION SELECTOR-16 where the selector has nothing",
            r'"\U0001f44d\ufe0f"',
        ),
    ],
)
def test_look_alikes_show_code_points_p13(
    phrase: str, text: str, difference: str, advice: str
) -> None:
    message = refusal(phrase, text)
    assert difference in message
    assert f"write it as in the text: {advice}\n" in message
    line, carets = message.split("\n")[1:]
    assert carets.strip("^ ") == ""
    assert len(line) >= carets.count("^") > 0


def test_only_zero_width_characters_select_nothing_p13() -> None:
    assert "'<U+200B>' does not stand in the text" in refusal("\u200b", "it")


def test_messages_hide_no_control_character() -> None:
    text = "a \x1b[31mred\x1b[0m \u202eword\u202c 👍"
    assert visible(text) == "a <U+001B>[31mred<U+001B>[0m <U+202E>word<U+202C> 👍"
    assert visible(f"{FAMILY} می\u200cخواهم") == f"{FAMILY} می\u200cخواهم"
    assert visible("a\u200db\u00a0\n") == "a<U+200D>b<U+00A0><U+000A>"
    assert "\x1b" not in refusal("\x1bx", text)
    assert "\x1b" not in refusal("wrod", text)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("dog", 3),
        ("日本", 4),
        ("cafe\u0301", 4),
        (FAMILY, 2),
        ("❤️", 2),
        ("🇫🇷", 2),
        ("각", 2),
        ("", 0),
    ],
)
def test_width_in_a_terminal(text: str, columns: int) -> None:
    assert display_width(text) == columns


def test_carets_line_up_under_wide_and_zero_width_characters() -> None:
    text = "日本 cafe\u0301 犬 dog"
    assert underline(text, Span(9, 10)) == f"{text}\n          ^^"
    assert underline(text, Span(11, 14)) == f"{text}\n             ^^^"


def test_underline_shows_a_part_of_a_long_text() -> None:
    text = "word " * 100 + "here" + " word" * 100
    line, carets = underline(text, Span(500, 504)).split("\n")
    assert len(line) <= 96
    assert line[carets.index("^") : len(carets)] == "here"
    assert (line[0], line[-1]) == ("…", "…")


# Tokens -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("wordpiece", "didn't", ["didn", "'", "t"]),
        ("bytebpe", "didn't", ["didn", "'t"]),
        ("unigram", "didn't", ["didn't"]),
        ("wordpiece", "streets", ["street", "##s"]),
        ("bytebpe", "streets", ["street", "##s"]),
        ("unigram", "streets", ["street", "##s"]),
        ("wordpiece", "animal", ["animal"]),
        ("bytebpe", "animal", ["animal"]),
        ("unigram", "animal", ["animal"]),
        ("bytebpe", "語", ["<0xE8>", "<0xAA><0x9E>"]),
        ("unigram", "語", ["語"]),
        ("wordpiece", ["animal", "The"], ["The", "animal"]),
        ("wordpiece", {"chars": [0, 10]}, ["The", "animal"]),
        ("bytebpe", {"chars": [0, 11]}, ["The", "animal"]),
        ("wordpiece", {"predicts": "streets"}, ["the"]),
        ("bytebpe", {"predicts": "The"}, ["<s>"]),
        ("wordpiece", {"special": "cls"}, ["[CLS]"]),
        ("wordpiece", {"special": "sep"}, ["[SEP]"]),
        ("wordpiece", {"special": "first"}, ["[CLS]"]),
        ("unigram", {"special": "first"}, ["The"]),
        ("unigram", {"special": "eos"}, ["</s>"]),
        ("bytebpe", {"special": "bos"}, ["<s>"]),
    ],
)
def test_positions(kind: Kind, value: object, expected: list[str]) -> None:
    assert pieces(value, tokenise(kind, "The animal didn't cross the streets 語")) == expected


def test_positions_need_whole_tokens() -> None:
    tokens = tokenise("unigram", "The animal didn't cross")
    with pytest.raises(SelectorError) as caught:
        positions(parse_selector("didn"), tokens)
    assert str(caught.value).split("\n") == [
        "no token boundary there: the token 'didn't' also covers ''t'; select the whole 'didn't'",
        "  The animal didn't cross",
        "             ^^^^^^",
    ]


def test_positions_of_a_word_that_the_tokenizer_drops() -> None:
    tokens = Tokens("a b", (1,), ("a",), (Span(0, 1),), (None,))
    with pytest.raises(SelectorError, match="no token stands for 'b'"):
        positions(parse_selector("b"), tokens)


def test_positions_predicts_nothing_before_the_first_word() -> None:
    with pytest.raises(SelectorError, match="nothing predicts 'The': no token stands before it"):
        positions(parse_selector({"predicts": "The"}), tokenise("unigram", "The animal"))
    padded = Tokens("it", (0, 1), ("[PAD]", "it"), (None, Span(0, 2)), ("pad", None))
    with pytest.raises(SelectorError, match="no token stands before it"):
        positions(parse_selector({"predicts": "it"}), padded)
    assert positions(parse_selector({"special": "first"}), padded) == (1,)


def test_positions_of_special_tokens() -> None:
    tokens = tokenise("wordpiece", "it")
    with pytest.raises(SelectorError) as caught:
        positions(parse_selector({"special": "bos"}), tokens)
    assert str(caught.value) == (
        "this model puts no bos token around the text; special tokens there: "
        "cls ([CLS]), sep ([SEP])"
    )
    two = replace(tokens, special=("sep", None, "sep"))
    assert positions(parse_selector({"special": "sep"}), two) == (0, 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("שלום עולם", "עולם"),
        ("مرحبا بالعالم", "مرحبا"),
        ("日本語", "本"),
        ("see cafe\u0301 now", "cafe\u0301"),
        (f"ok {FAMILY} no", FAMILY),
        ("the Straße", "Straße"),
        ("ไม่ดี", "ม่"),
    ],
)
def test_right_spans_in_every_script_p14(kind: Kind, text: str, word: str) -> None:
    tokens = tokenise(kind, text)
    span = locate(parse_selector(word), text)[0]
    assert text[span.start : span.end] == word
    try:
        chosen = positions(parse_selector(word), tokens)
    except SelectorError as error:
        assert "no token boundary there" in str(error)
        assert shared_token(tokens, span)
    else:
        assert bare(covered(tokens, chosen)) == bare(word)


def test_groups_are_words_in_the_order_of_the_tokens() -> None:
    tokens = tokenise("wordpiece", "The dog's streets 語.")
    assert [(group.label, group.positions, group.special) for group in groups(tokens)] == [
        ("[CLS]", (0,), True),
        ("The", (1,), False),
        ("dog's", (2, 3, 4), False),
        ("streets", (5, 6), False),
        ("語", (7,), False),
        (".", (8,), False),
        ("[SEP]", (9,), True),
    ]


def test_groups_merge_words_that_share_a_token() -> None:
    spans = (Span(0, 2), Span(2, 5), Span(5, 6), Span(6, 8))
    tokens = Tokens("日本語 a bc", (1, 2, 3, 4), ("",) * 4, spans, (None,) * 4)
    assert [(group.label, group.positions) for group in groups(tokens)] == [
        ("日本", (0,)),
        ("語 a", (1,)),
        ("", (2,)),
        ("bc", (3,)),
    ]


def test_groups_show_white_space_and_special_tokens_from_the_text() -> None:
    tokens = tokenise("bytebpe", "it \n <s>")
    assert [(group.label, group.special) for group in groups(tokens)][1:4] == [
        ("it", False),
        ("␣", False),
        ("<U+000A>", False),
    ]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("wordpiece", ["[CLS]", "The", "street", "##s", "e\u0301", "語", "[UNK]", "[SEP]"]),
        (
            "bytebpe",
            [
                "<s>",
                "The",
                "street",
                "##s",
                "␣",
                "e",
                "<0xCC>",
                "<0x81>",
                "␣",
                "<0xE8>",
                "<0xAA><0x9E>",
            ],
        ),
        ("unigram", ["The", "street", "##s", "␣", "e\u0301", "␣", "語", "␣", "<unk>", "</s>"]),
    ],
)
def test_pieces_show_the_text_as_it_stands(kind: Kind, expected: list[str]) -> None:
    shown = list(tokenise(kind, "The streets e\u0301 語 ☃").pieces)
    assert shown[: len(expected)] == expected


# Round trip -------------------------------------------------------------------------------------


def checked(kind: Kind, text: str, spans: tuple[Span | None, ...] | None = None) -> None:
    """The round-trip check of a text, with its own spans or false ones."""
    tokenizer = TOKENIZERS[kind]
    tokens, spelled = tokens_of(tokenizer, text)
    tokens = replace(tokens, spans=tokens.spans if spans is None else spans)
    check_round_trip(tokens, spelled, unknown={tokenizer.unk_token})


@pytest.mark.parametrize("kind", KINDS)
def test_shifted_offsets_are_refused_p16(kind: Kind) -> None:
    spans = tokenise(kind, ANIMAL).spans
    checked(kind, ANIMAL)
    for shift in (-1, 1):
        shifted = tuple(
            span and Span(max(0, span.start + shift), min(60, span.end + shift)) for span in spans
        )
        with pytest.raises(ModelError, match="the tokenizer reports wrong offsets"):
            checked(kind, ANIMAL, shifted)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_or_empty_offsets_are_refused_p16(kind: Kind) -> None:
    spans = tokenise(kind, ANIMAL).spans
    for absent in (None, Span(0, 0)):
        with pytest.raises(ModelError, match="the tokenizer reports wrong offsets"):
            checked(kind, ANIMAL, (absent,) * len(spans))
    starts = tuple(span and Span(span.start, span.start) for span in spans)
    with pytest.raises(ModelError, match="the tokenizer reports wrong offsets"):
        checked(kind, ANIMAL, starts)


def test_the_error_names_token_spelling_and_offsets_p16() -> None:
    text = "the keys are"
    spans = (Span(0, 3), Span(3, 8), Span(7, 11))
    tokens = Tokens(text, (1, 2, 3), ("the", "keys", "are"), spans, (None,) * 3)
    with pytest.raises(ModelError) as caught:
        check_round_trip(tokens, ["the", "Ġkeys", "Ġare"])
    assert str(caught.value) == (
        "the tokenizer reports wrong offsets: for the token 'Ġkeys Ġare' (spelling 'keys are') "
        "they say ' keys ar'; use the model's fast tokenizer (tokenizer.json), "
        "or declare another one"
    )


@pytest.mark.parametrize(
    ("text", "spelled", "spans", "message"),
    [
        ("it is", ["it", "is"], [(3, 5), (0, 2)], "after a token at 3 to 5"),
        ("it is", ["it", "is"], [(0, 2), (3, 6)], "characters 3 to 6 of a text of 5"),
        ("doggy", ["dog", "##gy"], [(0, 5), (0, 5)], "after a token at 0 to 5"),
        ("it is so", ["it", "is"], [(0, 2), (3, 5)], "no token stands for 's' at character 6"),
        ("it is", ["it", "is"], [(0, 2), None], "that it stands for no character"),
        ("it is", ["[UNK]"], [None], "no token stands for 'i' at character 0"),
        ("it is", ["it", "is", "so"], [(0, 2), (3, 5)], "another number of offsets"),
    ],
)
def test_impossible_offsets_are_refused_p16(
    text: str, spelled: list[str], spans: list[tuple[int, int] | None], message: str
) -> None:
    where = tuple(span and Span(*span) for span in spans)
    count = len(where)
    shown = display_pieces(spelled, where, text, unknown={"[UNK]"})
    tokens = Tokens(text, tuple(range(count)), shown, where, (None,) * count)
    with pytest.raises(ModelError, match=message):
        check_round_trip(tokens, spelled, unknown={"[UNK]"})


@pytest.mark.parametrize(
    ("text", "spelled", "spans"),
    [
        ("Ünï", ["##uni"], [(0, 3)]),
        ("a語", ["▁a", "<0xE8>", "<0xAA>", "<0x9E>"], [(0, 1), (1, 2), (1, 2), (1, 2)]),
        ("low er", ["lo", "w</w>", "er</w>"], [(0, 2), (2, 3), (4, 6)]),
        ("## x", ["##", "Ġx"], [(0, 2), (2, 4)]),
        ("ﬁx", ["▁", "f", "i", "x"], [(0, 1), (0, 1), (0, 1), (1, 2)]),
        ("x", ["▁", "x"], [None, (0, 1)]),
        ("a\u200b\ufffd", ["a"], [(0, 1)]),
        ("zebra", ["[UNK]"], [(0, 5)]),
        ("각", ["ᄀ", "##ᅡ", "##ᆨ"], [(0, 1), (0, 1), (0, 1)]),
    ],
)
def test_true_offsets_of_every_convention_pass_p16(
    text: str, spelled: list[str], spans: list[tuple[int, int] | None]
) -> None:
    where = tuple(span and Span(*span) for span in spans)
    count = len(where)
    shown = display_pieces(spelled, where, text, unknown={"[UNK]"})
    tokens = Tokens(text, tuple(range(count)), shown, where, (None,) * count)
    check_round_trip(tokens, spelled, unknown={"[UNK]"})
    assert "".join(group.label for group in groups(tokens) if group.label.strip("▁")) in (
        text.replace(" ", ""),
        "a",
    )


def test_special_tokens_in_the_text_are_refused_p17() -> None:
    tokenizer = TOKENIZERS["wordpiece"]
    special = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
    for mark in ("[SEP]", "[CLS]", "[UNK]"):
        text = f"the key {mark} is"
        with pytest.raises(SelectorError) as caught:
            check_no_special_in_text(tokenise("wordpiece", text), special)
        assert f"spells out the special token '{mark}'" in str(caught.value)
        assert str(caught.value).endswith(f"  {text}\n          ^^^^^")
    # An unknown word becomes [UNK], which is no offence.
    tokens = tokenise("wordpiece", "the ☃☃ is")
    assert "[UNK]" in tokens.pieces
    check_no_special_in_text(tokens, special)
    checked("wordpiece", "the key [SEP] is")


# Random text ------------------------------------------------------------------------------------

FRAGMENTS = [
    *(
        "dog",
        "it",
        "didn't",
        "dog’s",
        "well-known",
        "Straße",
        "STREET",
        "it",
        "e",
        "3.14",
        "snake_x",
    ),
    *("cafe\u0301", "é", "ﬁn", "½", "…", "İ", "Ω\u0301\u0323", "\u0301"),
    *("שלום", "שָׁלוֹם", "مرحبا", "می\u200cخواهم", "हिन्दी", "각", "\u1100\u1161\u11a8"),
    *("日本", "語", "カー", "ไม่", "ນ້ຳ", "မြန်", "ខ្មែរ"),
    *(
        "😀",
        FAMILY,
        "👍🏽",
        "🇫🇷",
        "❤️",
        "1️⃣",
        "'",
        "’",
        "-",
        ".",
        "!?",
        '"',
        "##",
        "\u00ad",
        "\u200b",
    ),
]
SPACES = ["", "", " ", " ", "  ", "\n", "\t", "\u00a0", "\u3000"]
# "▁" is what SentencePiece writes for a space; private and unassigned characters BERT drops.
ANY = st.characters(exclude_categories=["Cs", "Cn", "Co"], exclude_characters="▁\ufffd")
TEXTS = st.lists(
    st.tuples(st.sampled_from(FRAGMENTS) | st.text(ANY, max_size=3), st.sampled_from(SPACES)),
    max_size=10,
).map(lambda parts: "".join(word + space for word, space in parts))


def bare(text: str) -> str:
    """A text less marks, controls, white space, and the Hangul letters that compose."""
    return "".join(
        char
        for char in text
        if unicodedata.category(char)[0] not in "MCZ" and not "\u1160" <= char <= "\u11ff"
    )


def covered(tokens: Tokens, chosen: tuple[int, ...]) -> str:
    offsets = {at for index in chosen for at in range(*(tokens.spans[index] or (0, 0)))}
    return "".join(tokens.text[at] for at in sorted(offsets))


def shared_token(tokens: Tokens, word: Span) -> bool:
    """Whether some token covers a visible character in the word and one outside."""
    for span in tokens.spans:
        offsets = [at for at in range(*(span or (0, 0))) if not tokens.text[at].isspace()]
        if len({word.start <= at < word.end for at in offsets}) == 2:
            return True
    return False


def spelling(kind: Kind, word: str) -> str:
    """What the pieces of a word must spell, by the normaliser of each tokenizer."""
    if kind == "bytebpe":
        return word
    if kind == "unigram":
        return unicodedata.normalize("NFKC", word)
    plain = (char for char in unicodedata.normalize("NFD", word) if char not in "\u200b")
    kept = (char for char in plain if unicodedata.category(char) not in ("Mn", "Cf", "Cc"))
    return "".join(char.lower() for char in kept)


def spelled_by(kind: Kind, raw: list[str]) -> str:
    if kind == "bytebpe":
        return str(TOKENIZERS[kind].convert_tokens_to_string(raw)).strip()
    mark = "##" if kind == "wordpiece" else "▁"
    return "".join(piece.removeprefix(mark) for piece in raw)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=100, deadline=None)
@given(text=TEXTS)
def test_the_pieces_of_any_word_spell_it(kind: Kind, text: str) -> None:
    tokenizer = TOKENIZERS[kind]
    tokens, raw = tokens_of(tokenizer, text)
    check_round_trip(tokens, raw, unknown={tokenizer.unk_token})
    for span in words(text):
        word = text[span.start : span.end]
        if text.count(word) > 1:
            continue
        assert locate(Selector((Phrase(word),)), text) == (span,)
        try:
            chosen = positions(Selector((Phrase(word),)), tokens)
        except SelectorError:
            assert shared_token(tokens, span) or not bare(word)
            continue
        assert bare(covered(tokens, chosen)) == bare(word)
        others = tuple(set(range(len(tokens))) - set(chosen))
        assert not {at for i in others for at in range(*(tokens.spans[i] or (0, 0)))} & {
            at for at in range(*span) if not text[at].isspace()
        }
        pieces = [raw[index] for index in chosen]
        if tokenizer.unk_token not in pieces:
            assert spelled_by(kind, pieces) == spelling(kind, word).strip()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_groups_partition_the_tokens(kind: Kind, text: str) -> None:
    tokens = tokenise(kind, text)
    found = groups(tokens)
    assert sorted(at for group in found for at in group.positions) == list(range(len(tokens)))
    assert all(list(group.positions) == sorted(group.positions) for group in found)
    assert [group.positions for group in found] == sorted(group.positions for group in found)
    assert all(group.label for group in found)
    ordinary = "".join(group.label for group in found if not group.special)
    position = 0
    for char in bare(text):
        position = ordinary.index(char, position) + 1


@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_words_hold_every_visible_character_and_nth_reaches_each(text: str) -> None:
    spans = words(text)
    assert all(a.end <= b.start for a, b in pairwise(spans))
    inside = {at for span in spans for at in range(*span)}
    assert bare("".join(text[at] for at in range(len(text)) if at not in inside)) == ""
    for word in {text[span.start : span.end] for span in spans}:
        reached: list[Span] = []
        while True:
            try:
                reached += locate(Selector((Phrase(word, len(reached) + 1),)), text)
            except SelectorError:
                break
        assert reached == sorted(set(reached))
        assert all(text[span.start : span.end] == word for span in reached)
        assert {span for span in spans if text[span.start : span.end] == word} <= set(reached)


@settings(max_examples=60, deadline=None)
@given(text=TEXTS, phrase=TEXTS.filter(str.strip))
def test_any_refusal_is_printable(text: str, phrase: str) -> None:
    try:
        spans = locate(Selector((Phrase(phrase),)), text)
    except SelectorError as error:
        assert all(
            unicodedata.category(char) not in ("Cc", "Zl", "Zp") or char == "\n"
            for char in str(error)
        )
    else:
        assert [text[span.start : span.end] for span in spans] == [phrase]
