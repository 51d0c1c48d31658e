"""YAML text: what it becomes, where its marks point, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attnprobe.cases import yamltext
from attnprobe.cases.yamltext import MAX_BYTES, MAX_DEPTH, Document, load, loads
from attnprobe.core.errors import CaseError, Mark

LOADERS: list[Any] = [yaml.SafeLoader]
if yaml.__with_libyaml__:
    LOADERS.append(yaml.CSafeLoader)


@pytest.fixture(autouse=True, params=LOADERS, ids=lambda loader: str(loader.__name__))
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML comes with libyaml or without; both must give the same documents."""
    monkeypatch.setattr(yamltext, "LOADER", request.param)


def refusal(text: str | bytes) -> CaseError:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(CaseError) as caught:
        loads(data, "c.attn.yaml")
    return caught.value


def read(text: str) -> Document:
    return loads(text.encode(), "c.attn.yaml")


EXAMPLE = """\
version: 1
cases:
  - id: it-animal
    text: "It's 猫 😀"   # a comment
    expect:
      - attends: {from: it, min: 0.3, top: ~}
      - >
        folded
    on-line: true
"""


def test_values_and_marks() -> None:
    document = read(EXAMPLE)
    assert document.value == {
        "version": 1,
        "cases": [
            {
                "id": "it-animal",
                "text": "It's 猫 😀",
                "expect": [{"attends": {"from": "it", "min": 0.3, "top": None}}, "folded\n"],
                "on-line": True,
            }
        ],
    }
    attends = ("cases", 0, "expect", 0, "attends")
    assert document.mark(("version",)) == Mark("c.attn.yaml", 1, 10)
    assert document.key_mark((*attends, "min")) == Mark("c.attn.yaml", 6, 29)
    assert document.mark((*attends, "min")) == Mark("c.attn.yaml", 6, 34)
    assert document.mark((*attends, "max", 0)) == document.mark(attends)
    assert document.key_mark((*attends, "max")) == document.mark(attends)
    assert document.key_mark(("cases", 0)) == Mark("c.attn.yaml", 3, 5)
    assert document.raw((*attends, "min")) == ("0.3", False)
    assert document.raw(("cases", 0, "text")) == ("It's 猫 😀", True)
    assert document.raw(("cases", 0, "expect", 1)) == ("folded\n", True)


def test_columns_count_characters_not_bytes() -> None:
    assert read("{猫😀: 1, b: 2}").mark(("b",)) == Mark("c.attn.yaml", 1, 12)


def test_load_names_the_file_as_told(tmp_path: Path) -> None:
    path = tmp_path / "x.attn.yaml"
    path.write_bytes(b"a: 1\r\nb: 2\r\n")
    assert load(path, "cases/x.attn.yaml").mark(("b",)) == Mark("cases/x.attn.yaml", 2, 4)
    with pytest.raises(CaseError, match=r"cases/gone:1:1: cannot be read: No such file"):
        load(tmp_path / "gone", "cases/gone")


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ("a: b: c", 1, 5, "put text that holds a colon and a space in quotes"),
        ("a: 1\nb: @x", 2, 4, "put text that starts with this character in quotes"),
        ("a: {x} near {y}", 1, 8, "put text that starts with { [ ' or \" in quotes as a whole"),
        ("a: 'x", 1, 6, "close the quote"),
        ('a: "\\q"', 1, None, r"write \\ for a backslash"),
        ('a: "\\ud83d\\ude00"', 1, None, "write the character itself"),
        ('a: "\\UFFFFFFFF"', 1, None, "not valid YAML"),
        ("a: [1, 2", None, None, "close the bracket"),
        ("a: *x*", 1, 6, "put text that starts with * or & in quotes"),
        ("a:\n\t- b", 2, 1, "indent with spaces"),
        ("a: x\ty", 1, 5, 'write "\\t" in double quotes'),
        ("# 猫\r\na: \x1b[0m", 2, 4, 'U+001B; remove it, or write "\\u001B" in double quotes'),
        ("a: x\u2028y", 1, 5, 'U+2028; remove it, or write "\\u2028" in double quotes'),
        ("a: x\ufeffy", 1, 5, "U+FEFF"),
    ],
)
def test_malformed_text_is_located_and_advised_p1(
    text: str, line: int | None, column: int | None, said: str
) -> None:
    error = refusal(text)
    assert error.mark is not None
    assert said in error.message
    if line is not None:
        assert error.mark.line == line
    if column is not None:
        assert error.mark.column == column


def test_a_syntax_error_quotes_the_yaml_parser_p1() -> None:
    assert "mapping values are not allowed" in refusal("a: b: c").message
    assert "while parsing a flow sequence on line 2" in refusal("a:\n  [1, 2").message


def test_what_is_refused_raw_can_be_written_as_an_escape_p1() -> None:
    document = read('a: "\\t \\u001B \\u2028 \\uFEFF \\U0001F600"')
    assert document.value == {"a": "\t \x1b \u2028 \ufeff 😀"}


def test_not_utf8_or_nul_gives_the_byte_offset_p2() -> None:
    error = refusal("a: 1\nb: 猫".encode() + b"\xff")
    assert "not UTF-8 at byte 11 (0xff)" in error.message
    assert error.mark == Mark("c.attn.yaml", 2, 5)
    error = refusal(b"a: 1\nb: \0")
    assert "NUL byte at byte 8" in error.message
    assert error.mark == Mark("c.attn.yaml", 2, 4)
    assert "not UTF-8 at byte 0" in refusal("a: 1".encode("utf-16")).message
    assert "NUL byte at byte 1" in refusal("a: 1".encode("utf-16-le")).message
    assert "NUL byte at byte 1" in refusal(b"a\0b\xff").message


def test_a_byte_order_mark_is_accepted_p2() -> None:
    document = loads("\ufeffa: 1".encode(), "c.attn.yaml")
    assert document.value == {"a": 1}
    assert document.key_mark(("a",)) == Mark("c.attn.yaml", 1, 1)
    assert refusal(b"\xef\xbb\xbfa\0").mark == Mark("c.attn.yaml", 1, 2)


def test_duplicate_key_names_both_lines_p3() -> None:
    error = refusal("cases:\n  - id: a\n    text: x\n    id: b\n")
    assert "duplicate key 'id', on lines 2 and 4" in error.message
    assert error.mark == Mark("c.attn.yaml", 4, 5)
    assert "'a b', twice on line 1" in refusal("{a b: 1, 'a b': 2}").message


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("a: &x 1", 4, "anchor &x"),
        ("a: *x", 4, "alias *x"),
        ("&x a: 1", 1, "anchor &x"),
        ("*x : 1", 1, "alias *x"),
        ("a: &x [1]", 4, "anchor &x"),
        ("<<: {a: 1}", 1, "write the keys out"),
    ],
)
def test_anchors_aliases_and_merge_keys_are_refused_p5(text: str, column: int, said: str) -> None:
    error = refusal(text)
    assert said in error.message
    assert error.mark == Mark("c.attn.yaml", 1, column)


def test_a_small_bomb_never_unfolds_p5() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{key}: &{key} [{', '.join([f'*{last}'] * 9)}]\n"
        for last, key in zip("abcde", "bcdef", strict=True)
    )
    assert "anchor &a" in refusal(bomb).message


def test_size_is_capped_p5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "larger than 5 MB" in refusal(b"a: 1\n".ljust(MAX_BYTES + 1, b"#")).message
    path = tmp_path / "c.attn.yaml"
    monkeypatch.setattr(yamltext, "MAX_BYTES", 100)
    path.write_bytes(b"a: 1\n".ljust(100, b"#"))
    assert load(path, "c").value == {"a": 1}
    path.write_bytes(b"a: 1\n".ljust(101, b"#"))
    with pytest.raises(CaseError, match="split it into several files"):
        load(path, "c")


def test_depth_is_capped_p5() -> None:
    value = read("[" * MAX_DEPTH + "]" * MAX_DEPTH).value
    for _ in range(MAX_DEPTH - 1):
        assert isinstance(value, list)
        (value,) = value
    assert value == []
    error = refusal("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))
    assert "deeper than 64" in error.message
    assert error.mark == Mark("c.attn.yaml", 1, MAX_DEPTH + 1)
    assert "deeper than 64" in refusal("{a: " * 100_000).message
    assert "deeper than 64" in refusal("- " * 100_000).message


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a: !!python/object/apply:os.system ['true']", "!!python/object/apply:os.system"),
        ("a: !!str no", "!!str"),
        ("a: !mine {b: 1}", "!mine"),
        ("a: ! 12", "!"),
    ],
)
def test_any_tag_is_refused_p6(text: str, shown: str) -> None:
    error = refusal(text)
    assert f"tag {shown} is not read here" in error.message
    assert error.mark == Mark("c.attn.yaml", 1, 4)


@pytest.mark.parametrize(
    ("written", "value", "sentence"),
    [
        ("no", False, 'YAML reads no as a truth value; write "no"'),
        ("On", True, 'YAML reads On as a truth value; write "On"'),
        ("12:30", 750, 'YAML reads 12:30 as the number 750; write "12:30"'),
        ("3.10", 3.1, 'YAML reads 3.10 as the number 3.1; write "3.10"'),
        ("017", 15, 'YAML reads 017 as the number 15; write "017"'),
        ("~", None, 'YAML reads ~ as nothing; write "~"'),
        ("", None, 'nothing is written here; write "" where empty text is meant'),
        ("1e-3", "1e-3", "YAML reads 1e-3 as text; write 0.001"),
        ("1e30", "1e30", "YAML reads 1e30 as text; write 1.0e+30"),
        ("'no'", "no", ""),
        ("nan", "nan", ""),
        ("it", "it", ""),
        ("=", "=", ""),
    ],
)
def test_the_message_says_how_yaml_reads_a_plain_scalar_p7(
    written: str, value: object, sentence: str
) -> None:
    document = read(f"from: {written}")
    assert document.value == {"from": value}
    assert document.explain_scalar(("from",)) == sentence
    assert document.explain_scalar(()) == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 2001-12-14", 'YAML reads 2001-12-14 as a date; write "2001-12-14"'),
        ("a: 0x_", 'YAML reads 0x_ as a number; write "0x_"'),
        ("a: " + "1:" * 5000 + "1", "as a number; write"),
        ("no: 1", 'a key must be text: YAML reads no as a truth value; write "no"'),
        ("3: 1", 'a key must be text: YAML reads 3 as the number 3; write "3"'),
        ("? \n: 1", "a key is missing"),
        ("? [a, b]\n: 1", "a list or mapping as a key"),
        ("a: {{x}: 1}", "a list or mapping as a key"),
    ],
)
def test_surprising_values_and_keys_are_refused_p7(text: str, said: str) -> None:
    assert said in refusal(text).message


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n", "--- # x\n...\n"])
def test_an_empty_file_is_refused_p9(text: str) -> None:
    error = refusal(text)
    assert "the file is empty" in error.message
    assert error.mark == Mark("c.attn.yaml", 1, 1)


def test_a_second_document_is_refused() -> None:
    error = refusal("a: 1\n---\nb: 2\n")
    assert "second document" in error.message
    assert error.mark == Mark("c.attn.yaml", 2, 1)


def test_what_others_add_to_the_loaders_stays_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for loader in LOADERS:
        resolvers = {"i": [("!mine", re.compile("it"))]}
        monkeypatch.setattr(loader, "yaml_implicit_resolvers", resolvers)
    assert read("a: it").value == {"a": "it"}


# Surrogates cannot be written in UTF-8.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=100)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | texts
    | st.sampled_from(["no", "12:30", "3.10", "<<", "=", "2001-01-01", "~", "0x_", "a: b", "# a"])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("ab:#- é猫", max_size=3), inner)
    ),
    max_leaves=15,
)


class PlainDumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def walk(value: object, path: tuple[str | int, ...] = ()) -> dict[tuple[str | int, ...], object]:
    found = {path: value}
    if isinstance(value, dict):
        for key, inner in value.items():
            found |= walk(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found |= walk(inner, (*path, index))
    return found


relaxed = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=150,
)


@relaxed
@given(values, st.booleans())
def test_dumped_values_load_back(value: object, flow: bool) -> None:
    document = loads(yaml.dump(value, Dumper=PlainDumper, default_flow_style=flow).encode(), "f")
    assert document.value == value
    for path, inner in walk(value).items():
        is_scalar = not isinstance(inner, dict | list)
        assert (document.raw(path) is not None) == is_scalar
        assert document.keys(path) == (set(inner) if isinstance(inner, dict) else set())
        has_key = bool(path) and isinstance(path[-1], str)
        assert (document.key_mark(path) < document.mark(path)) == has_key
        assert document.raw((*path, "no", "key")) is None
        assert document.mark((*path, "no", "key")) == document.mark(path)


@relaxed
@given(st.lists(st.lists(st.text("aé猫😀", min_size=1, max_size=4), min_size=1), min_size=1))
def test_marks_point_at_what_is_written(rows: list[list[str]]) -> None:
    lines = [f"- [{', '.join(row)}]" for row in rows]
    document = read("\n".join(lines))
    for index, row in enumerate(rows):
        for place, word in enumerate(row):
            mark = document.mark((index, place))
            assert mark.line == index + 1
            assert lines[index][mark.column - 1 :].startswith(word)


YAMLISH = st.text("ab01 \n\t:-?#&*!|>'\"%@`[]{},~<=.\\xuU\r\u2028é\ufeff\ud7ff", max_size=60)


@relaxed
@given(st.binary(max_size=60) | YAMLISH.map(str.encode))
def test_random_bytes_raise_nothing_but_case_errors(data: bytes) -> None:
    try:
        place: Mark | None = loads(data, "f").mark(())
    except CaseError as error:
        place = error.mark
    assert place is not None
    assert place.line <= len(data) + 1
