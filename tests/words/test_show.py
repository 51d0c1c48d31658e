"""Texts in messages: what is quoted, underlined, cut and escaped."""

from __future__ import annotations

import unicodedata

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from attnprobe.core.printing import display_width, visible
from attnprobe.core.texts import Sample, Span
from attnprobe.words.show import as_yaml, describe_code_points, escape, indent, quoted, underline

# Neither YAML nor any tokenizer takes half of a pair of surrogates.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\"\\'\n\t#:{}[],é"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("it", "'it'"),
        ("", "''"),
        ("a\n\u202e", "'a<U+000A><U+202E>'"),
        ("x" * 192, f"'{'x' * 192}'"),
        ("x" * 193, f"'{'x' * 192}…'"),
        ("日" * 192, f"'{'日' * 192}'"),
        ("日" * 193, f"'{'日' * 96}…'"),
        ("\u0301" * 5000, "'" + "\u0301" * 1000 + "'"),
    ],
)
def test_a_quoted_text_is_visible_and_cut(text: str, shown: str) -> None:
    assert quoted(text) == shown


@pytest.mark.parametrize(
    ("before", "word", "after", "line", "column"),
    [
        (10, "word", 10, "a" * 10 + "word" + "b" * 10, 10),
        (46, "word", 46, "a" * 46 + "word" + "b" * 46, 46),
        (46, "word", 47, "…" + "a" * 44 + "word" + "b" * 44 + "…", 45),
        (0, "word", 93, "word" + "b" * 44 + "…", 0),
        (93, "word", 0, "…" + "a" * 44 + "word", 45),
        (44, "word", 50, "a" * 44 + "word" + "b" * 44 + "…", 44),
        (3000, "日本", 3000, "…" + "a" * 44 + "日本" + "b" * 44 + "…", 45),
    ],
)
def test_a_word_is_underlined_with_what_stands_around_it(
    before: int, word: str, after: int, line: str, column: int
) -> None:
    text = "a" * before + word + "b" * after
    carets = " " * column + "^" * display_width(word)
    assert underline(text, Span(before, before + len(word))) == f"{line}\n{carets}"


def test_a_text_of_marks_is_long_by_its_characters() -> None:
    marks = "\u0301" * 1000
    assert underline("a" + marks[1:], Span(0, 1)) == f"a{marks[1:]}\n^"
    shown = underline("a" * 50 + marks, Span(0, 1))
    assert shown == "a" + "a" * 44 + "…\n^"


def test_carets_are_never_missing_and_as_long_as_what_is_shown() -> None:
    assert underline("a\u0301b", Span(1, 2)) == "a\u0301b\n ^"
    assert underline("a", Span(1, 1)) == "a\n ^"
    assert underline("a\nb", Span(1, 2)) == "a<U+000A>b\n ^^^^^^^^"
    long = "x" * 300
    assert underline(long, Span(0, 300)) == "x" * 192 + "…\n" + "^" * 193


@pytest.mark.parametrize(
    ("span", "shown"),
    [
        (Span(0, 3), "The keys\n^^^"),
        (Span(4, 8), "The keys\n    ^^^^"),
        (Span(9, 10), "A door\n^"),
        (Span(11, 15), "A door\n  ^^^^"),
    ],
)
def test_of_two_texts_the_one_with_the_word_is_shown(span: Span, shown: str) -> None:
    sample = Sample("The keys", pair="A door")
    assert underline(sample.joined, span, parts=sample.parts) == shown


def test_lines_are_indented() -> None:
    assert indent("a\n\nb") == "  a\n  \n  b"
    assert indent("a", by="> ") == "> a"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "nothing"),
        ("é", "U+00E9 LATIN SMALL LETTER E WITH ACUTE"),
        ("a\x00", "U+0061 LATIN SMALL LETTER A, U+0000 (no name)"),
        ("😀", "U+1F600 GRINNING FACE"),
    ],
)
def test_characters_by_number_and_name(text: str, told: str) -> None:
    assert describe_code_points(text) == told


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (" ~", '" ~"'),
        ("\x1f\x7f", r'"\u001f\u007f"'),
        ('"\\', r'"\"\\"'),
        ("é\uffff", r'"\u00e9\uffff"'),
        ("\U00010000\U0010ffff", r'"\U00010000\U0010ffff"'),
        ("", '""'),
    ],
)
def test_escapes(text: str, written: str) -> None:
    assert escape(text) == written


@given(TEXTS)
def test_an_escaped_text_is_ascii_and_yaml_reads_it_back(text: str) -> None:
    written = escape(text)
    assert written.isascii()
    assert written.isprintable()
    assert yaml.safe_load(written) == text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("it", "it"),
        ("well-known o'clock x", "well-known o'clock x"),
        ("e\u0301té", "e\u0301té"),
        ("हिन्दी", "हिन्दी"),
        *((word, f'"{word}"') for word in ("y", "N", "Yes", "no", "On", "off", "TRUE", "false")),
        ("Null", '"Null"'),
        ("yes it is", "yes it is"),
        *((odd, f'"{odd}"') for odd in ("3", "a1", "a: b", "-a", "a-", "a  b", "a #b", "", " a")),
        ('"', r'"\""'),
        ("\\a", r'"\\a"'),
        ("日, é", '"日, é"'),
        ("a\u00a0é", r'"a\u00a0\u00e9"'),
        ("a\u200bb", r'"a\u200bb"'),
    ],
)
def test_a_word_in_yaml(text: str, written: str) -> None:
    assert as_yaml(text) == written


@given(TEXTS)
def test_a_word_in_yaml_is_read_back_in_a_flow_mapping(text: str) -> None:
    written = as_yaml(text)
    assert visible(written).replace("##│", "##") == written
    assert yaml.safe_load(f"{{word: {written}}}") == {"word": text}
    assert all(unicodedata.category(char) != "Cc" for char in written)
