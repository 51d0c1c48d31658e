"""Text from users, made safe and measured: tables of hostile text, and each rule by itself."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnprobe.core.printing import (
    GRAPHEME,
    as_label,
    clip,
    display_width,
    harmless,
    no_command,
    not_blank,
    visible,
)

FAMILY = "👩\u200d👩\u200d👧"
# Odd characters, among them those that a terminal, a page or a CI system would act on.
CHARACTERS = st.characters() | st.sampled_from(
    "\x1b\x9b\n\r\t\u200b\u200d\u202e\u2028\xa0\ufffe #["
)
TEXTS = st.text(CHARACTERS, max_size=12)
JOINERS = "\u200c\u200d"


def is_hidden(text: str, at: int) -> bool:
    """By Unicode's tables, whether a character acts or cannot be seen."""
    char = text[at]
    around = text[at - 1 : at] + text[at + 1 : at + 2] if at else ""
    if char in JOINERS and len(around) == 2 and not any(map(str.isascii, around)):
        return False
    no_character = 0xFDD0 <= ord(char) <= 0xFDEF or ord(char) in (0xFFFE, 0xFFFF)
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp", "Zs")
    return no_character or (char != " " and unicodedata.category(char) in kinds)


@given(TEXTS)
def test_each_hidden_character_becomes_its_code_point_and_no_other_p33(text: str) -> None:
    expected = "".join(
        f"<U+{ord(char):04X}>" if is_hidden(text, at) else char for at, char in enumerate(text)
    )
    assert visible(text).replace("##│", "##") == expected


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\x00\x1b[2J\x7f\x9b", "<U+0000><U+001B>[2J<U+007F><U+009B>"),
        ("\u202eevil\u202c\u2066x\u2069", "<U+202E>evil<U+202C><U+2066>x<U+2069>"),
        ("a\u2028b\u2029c\n\r\t", "a<U+2028>b<U+2029>c<U+000A><U+000D><U+0009>"),
        ("\U000e0041\ufeff\ud800", "<U+E0041><U+FEFF><U+D800>"),
        ("a\u200db \u200dé é\u200d", "a<U+200D>b <U+200D>é é<U+200D>"),
        (f"{FAMILY} می\u200cخواهم e\u0301", f"{FAMILY} می\u200cخواهم e\u0301"),
        ("##[error]x ##vso[task]", "##│[error]x ##│vso[task]"),
        ("a ##teamcity[x] b", "a ##│teamcity[x] b"),
        ("## [x] ##x #[y] ##-[z]", "## [x] ##x #[y] ##-[z]"),
        ("<b>&amp;</b>", "<b>&amp;</b>"),
        ("", ""),
    ],
)
def test_what_a_reader_sees_p33_p62(text: str, seen: str) -> None:
    assert visible(text) == seen


def test_a_line_is_no_command_to_ci_p62() -> None:
    assert no_command("##[group]\x1b ##[x]") == "##│[group]\x1b ##│[x]"
    assert no_command("# [x]") == "# [x]"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("::error::x", "│ ::error::x"),
        ("  ::error file=x::", "  │ ::error file=x::"),
        ("a\n::stop-commands::x\n b", "a\n│ ::stop-commands::x\n b"),
        ("a ::error:: :: b", "a ::error:: :: b"),
        ("\n::set-output::\n", "\n│ ::set-output::\n"),
        ("a\r::error::", "a<U+000D>::error::"),
        ("##[error]\n\x1b[0m", "##│[error]\n<U+001B>[0m"),
        ("plain\n  text", "plain\n  text"),
    ],
)
def test_lines_are_no_command_to_ci_p62(message: str, shown: str) -> None:
    assert harmless(message) == shown


@given(TEXTS.map(lambda text: text.replace("\n", "\n::")))
def test_no_line_of_a_message_starts_a_command_p33_p62(text: str) -> None:
    shown = harmless(text)
    assert not re.search(r"^ *::|##\w*\[", shown, re.MULTILINE)
    assert shown.count("\n") == text.count("\n")
    assert not any(is_hidden(line, at) for line in shown.split("\n") for at in range(len(line)))


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("", 0),
        ("ab", 2),
        ("日a", 3),
        ("Ａ", 2),
        ("e\u0301\u0302", 1),
        ("\u20dd", 0),
        (FAMILY, 2),
        ("❤", 1),
        ("❤\ufe0f", 2),
        ("🇫🇷🇩", 3),
        ("हि", 2),
        ("\u00ad", 0),
    ],
)
def test_columns_in_a_terminal(text: str, columns: int) -> None:
    assert display_width(text) == columns


@pytest.mark.parametrize(
    ("text", "columns", "start", "end"),
    [
        ("abc", 3, "abc", "abc"),
        ("abc", 2, "ab…", "…bc"),
        ("abc", 0, "…", "…"),
        ("", 0, "", ""),
        ("日本語", 4, "日本…", "…本語"),
        ("日本語", 3, "日…", "…語"),
        (f"a{FAMILY}b", 2, "a…", "…b"),
        (f"a{FAMILY}b", 3, f"a{FAMILY}…", f"…{FAMILY}b"),
        ("e\u0301e\u0301", 1, "e\u0301…", "…e\u0301"),
        ("a\nb", 9, "a<U+000A>…", "…<U+000A>b"),
        ("a\nb", 10, "a<U+000A>b", "a<U+000A>b"),
    ],
)
def test_a_text_is_cut_between_graphemes(text: str, columns: int, start: str, end: str) -> None:
    assert clip(text, columns) == start
    assert clip(text, columns, from_end=True) == end


@given(TEXTS, st.integers(0, 20))
def test_a_cut_keeps_as_much_as_fits(text: str, columns: int) -> None:
    graphemes = [visible(grapheme) for grapheme in GRAPHEME.findall(text)]
    widths = [sum(map(display_width, graphemes[:count])) for count in range(len(graphemes) + 1)]
    most = max(count for count, width in enumerate(widths) if max(widths[: count + 1]) <= columns)
    cut = "" if most == len(graphemes) else "…"
    assert clip(text, columns) == "".join(graphemes[:most]) + cut


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        (" ", "␣"),
        ("   ", "␣␣␣"),
        (" a ", " a "),
        ("\t", "<U+0009>"),
        ("\xa0", "<U+00A0>"),
    ],
)
def test_a_text_of_spaces_is_shown(text: str, shown: str) -> None:
    assert not_blank(text) == shown


@pytest.mark.parametrize(
    ("text", "columns", "label"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdef", 5, "abcd…"),
        ("abc def", 5, "abc…"),
        ("日本語", 6, "日本語"),
        ("日本語", 5, "日本…"),
        ("日本語", 4, "日…"),
        ("   ", 2, "␣…"),
        ("ab…cd", 4, "ab……"),
        ("ab…cd", 3, "ab…"),
    ],
)
def test_a_label_fits_its_columns(text: str, columns: int, label: str) -> None:
    assert as_label(text, columns) == label


def test_a_label_has_18_columns() -> None:
    assert as_label("x" * 18) == "x" * 18
    assert as_label("x" * 19) == "x" * 17 + "…"
