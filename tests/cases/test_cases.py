from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from attnprobe.cases import Case, load, load_contents, parse, schema, yamltext
from attnprobe.core.errors import AttnprobeError, CaseError, CaseErrors, Mark
from attnprobe.core.sites import Head
from attnprobe.core.texts import Sample
from attnprobe.rules import RULES, parse_rule
from attnprobe.words.heads import HeadSet

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(ROOT.glob("cases/*.attn.yaml"))
START = "version: 1\nsuite: s\ndefaults: {heads: L0H0}\ncases:\n"
SENTENCE = "The animal didn't cross the street because it was too tired."
VALIDATOR = jsonschema.Draft7Validator(schema())


def read(text: str, **options: Any) -> tuple[Case, ...]:
    return parse(yamltext.loads(text.encode(), "a.attn.yaml"), **options)


def errors(text: str) -> list[str]:
    """What is wrong with a file, as `line:column: message`, in the order it is told."""
    with pytest.raises((CaseError, CaseErrors)) as caught:
        read(text)
    found = getattr(caught.value, "errors", [caught.value])
    assert [error.mark for error in found] == sorted(error.mark for error in found)
    return [str(error).removeprefix("a.attn.yaml:") for error in found]


def one(entry: str, text: str = SENTENCE) -> str:
    """A file of one case with one expectation, which stands in line 8."""
    return f"{START}  - id: a\n    text: {json.dumps(text)}\n    expect:\n      - {entry}\n"


def plain(value: str) -> Any:
    return yamltext.loads(value.encode(), "a").value


def test_a_case_may_be_given_as_token_ids() -> None:
    text = START + "  - {id: a, ids: [5, 9, 7], repeat: 2, expect: [{induction: {min: 0.5}}]}\n"
    (case,) = read(text)
    assert case.sample == Sample("", ids=(5, 9, 7, 5, 9, 7))
    assert VALIDATOR.is_valid(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("text: a b, ids: [5]", "5:5: a case has either text:, or template: with rows:, or ids:"),
        ("text: a b, repeat: 2", "repeat: goes with ids:, not with a text"),
        ("ids: [-1]", "ids: -1 is out of range; it must be at least 0"),
        ("ids: []", "ids: is empty"),
        ("ids: [5], repeat: 1", "repeat: 1 is out of range; it must be at least 2"),
        ("ids: [5], repeat: 2, target: a", "target"),
    ],
)
def test_token_ids_that_cannot_be_meant(case: str, told: str) -> None:
    text = f"{START}  - {{id: a, {case}, expect: [{{induction: {{min: 0.5}}}}]}}\n"
    (found,) = errors(text)
    assert told in found


def test_a_word_of_token_ids_is_missing() -> None:
    text = START + "  - {id: a, ids: [5, 9], expect: [{attends: {from: it, to: he, min: 0.5}}]}\n"
    assert "'it' does not stand in the text" in errors(text)[0]


# What a case is ---------------------------------------------------------------------------------


def test_a_case_in_full(tmp_path: Path) -> None:
    path = tmp_path / "pronouns.attn.yaml"
    path.write_text(
        """\
version: 1
suite: coreference
about: A pronoun looks back at its antecedent.
marks: [coref, english]
severity: advisory
defaults: {site: encoder, heads: "@pronouns"}
cases:
  - id: it-animal
    text: &TEXT
    marks: [english, short]
""".replace("&TEXT", f'"{SENTENCE}"')
        + """\
    severity: blocking
    xfail: it reads the street
    skip: not today
    allow_special_tokens: true
    expect:
      - attends: {from: it, to: animal, over: street, min: 0.3}
      - ignores: {from: it, to: street, heads: L0, max: 0.2, site: decoder}
""",
        encoding="utf-8",
    )
    sets = {"pronouns": HeadSet("pronouns", (Head(3, 1), Head(4, 2)))}
    (case,) = load(path, "cases/p.attn.yaml", head_sets=sets)
    assert (case.suite, case.id, case.row, case.name) == (
        "coreference",
        "it-animal",
        None,
        "it-animal",
    )
    assert case.sample == Sample(SENTENCE, None, allow_special_tokens=True)
    assert case.mark == Mark("cases/p.attn.yaml", 8, 5)
    assert case.marks == ("coref", "english", "short")
    assert (case.severity, case.xfail, case.skip) == (
        "blocking",
        "it reads the street",
        "not today",
    )
    first, second = case.expectations
    assert first.mark == Mark("cases/p.attn.yaml", 16, 9)
    assert first.arguments == {
        "site": "encoder",
        "heads": "@pronouns",
        "from": "it",
        "to": "animal",
        "over": "street",
        "min": 0.3,
    }
    assert first.rule.heads.members == (Head(3, 1), Head(4, 2))
    assert (second.rule.kind, second.rule.site, str(second.rule.heads)) == (
        "ignores",
        "decoder",
        "L0",
    )


def test_what_a_file_says_once_holds_for_its_cases() -> None:
    (case,) = read(one("attends: {from: it, to: animal, min: 0.3}"))
    assert (case.severity, case.marks, case.xfail, case.skip) == ("blocking", (), None, None)
    assert str(case.expectations[0].rule.heads) == "L0H0"


TEMPLATE = (
    START
    + """\
  - id: agreement
    template: "The {subject} {{of}} the {attractor} {verb} old."
    rows:
      - {subject: key,  attractor: cabinets, verb: is}
      - {attractor: green cabinet, verb: are, subject: "keys"}
      - {subject: clé,  attractor: x-y, verb: est}
    expect:
      - attends: {from: "{verb}", to: ["{subject}", {word: "{attractor}"}], top: 1}
"""
)


def test_rows_fill_every_text_of_a_template() -> None:
    cases = read(TEMPLATE)
    assert [case.sample.text for case in cases] == [
        "The key {of} the cabinets is old.",
        "The keys {of} the green cabinet are old.",
        "The clé {of} the x-y est old.",
    ]
    assert [case.name for case in cases] == [
        "agreement[key-cabinets-is]",
        "agreement[keys-green_cabinet-are]",
        "agreement[2]",
    ]
    assert [case.mark.line for case in cases] == [8, 9, 10]
    assert {case.expectations[0].mark.line for case in cases} == {12}
    assert cases[1].expectations[0].arguments["to"] == ["keys", {"word": "green cabinet"}]


@pytest.mark.parametrize("value", ["x_y", "x-y", "1", "é", "x" * 61, "it's"])
def test_a_row_that_is_no_plain_word_is_numbered(value: str) -> None:
    text = START + (
        "  - id: a\n    template: The {x} is\n"
        f"    rows: [{{x: ok}}, {{x: {json.dumps(value)}}}]\n"
        "    expect: [{attends: {from: is, to: The, min: 0.3}}]\n"
    )
    assert [case.row for case in read(text)] == ["ok", "1"]


@settings(max_examples=40)
@given(st.lists(st.text("ab1 -_.é", min_size=1), min_size=1, unique=True).map(list))
def test_no_two_rows_share_a_name(values: list[str]) -> None:
    rows = [{"x": value.strip(" ") or "z", "y": value[::-1] + "z"} for value in values]
    case = {
        "id": "a",
        "template": "The {x} and {y}.",
        "rows": rows,
        "expect": [{"attends": {"from": {"special": "cls"}, "to": "The", "min": 0.3}}],
    }
    document = {"version": 1, "suite": "s", "defaults": {"heads": "L0"}, "cases": [case]}
    names = [found.name for found in read(yaml.safe_dump(document, sort_keys=False))]
    assert len(set(names)) == len(rows)


def test_a_long_form_of_heads_in_the_defaults() -> None:
    text = one("attends: {from: it, to: animal, min: 0.3}").replace(
        "heads: L0H0", "heads: {in: [L2, L3H1], how: {at_least: 2}}"
    )
    (case,) = read(text)
    assert str(case.expectations[0].rule.heads) == "at least 2 of [L2, L3H1]"


def test_target_and_site() -> None:
    text = one("attends: {from: chat, to: animal, min: 0.3, site: cross}").replace(
        "    expect:", "    target: le chat\n    expect:"
    )
    (case,) = read(text)
    assert case.sample.target == "le chat"


# What a case is not -----------------------------------------------------------------------------


def test_a_duplicate_key_of_a_case_names_both_lines_p3() -> None:
    text = one("attends: {from: it, to: animal, min: 0.3}") + "    id: b\n"
    (message,) = errors(text)
    assert message.startswith("9:5: duplicate key 'id', on lines 5 and 9")


CASE = "    expect: [{attends: {from: b, to: a, min: 0.3}}]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"  - id: x\n    text: a b\n{CASE}  - id: x\n    text: b a\n{CASE}",
            "8:9: duplicate case id 'x', first used in line 5",
        ),
        (
            "  - {id: x, text: a b, expect: [{ignores: {from: a, to: b, max: 0.3}}]}\n"
            "  - {id: x, template: 'a {c}', rows: [{c: b}],"
            " expect: [{ignores: {from: a, to: '{c}', max: 0.3}}]}\n",
            "6:10: duplicate case id 'x', first used in line 5",
        ),
        (
            f"  - id: x\n    template: '{{c}} b a'\n    rows:\n      - {{c: é}}\n"
            f"      - {{c: e}}\n      - {{c: é}}\n{CASE}",
            "10:9: duplicate row, first written in line 8",
        ),
        (
            f"  - id: x\n    template: '{{c}} b a'\n    rows: [{{c: d}}, {{c: d}}]\n{CASE}",
            "7:20: duplicate row, first written in line 7",
        ),
    ],
)
def test_a_duplicate_case_id_is_refused_p4(text: str, message: str) -> None:
    assert errors(START + text) == [message]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "attends: {from: no, to: it, min: 0.3}",
            'from: YAML reads no as a truth value; write "no"',
        ),
        (
            "attends: {from: on, to: it, min: 0.3}",
            'from: YAML reads on as a truth value; write "on"',
        ),
        ("attends: {from: 12:30, to: it, min: 0.3}", 'write "12:30"'),
        ("attends: {from: 3.10, to: it, min: 0.3}", 'write "3.10"'),
        ("attends: {from: [it, no], to: it, min: 0.3}", "not False; quote it"),
        ("attends: {from: {word: no}, to: it, min: 0.3}", "not False; quote it"),
    ],
)
def test_a_word_that_yaml_reads_as_something_else_must_be_quoted_p7(
    entry: str, message: str
) -> None:
    (found,) = errors(one(entry))
    assert found.startswith("8:25: from: ")
    assert message in found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "  - {id: no, text: a b, expect: [{}]}",
            "5:10: id: YAML reads no as a truth value; write",
        ),
        (
            "  - {id: a, text: 12:30, expect: [{}]}",
            "5:19: text: YAML reads 12:30 as the number 750",
        ),
        (
            "  - {id: a, template: 3.10, expect: [{}]}",
            "5:23: template: YAML reads 3.10 as the numb",
        ),
        ("  - {id: a, template: x, rows: [{c: on}], expect: [{}]}", "5:37: c: YAML reads on as"),
        (
            "  - {id: a, text: a, xfail: yes, expect: [{}]}",
            '5:29: xfail: takes the reason as text, such as "not learned"',
        ),
        (
            "  - {id: a, text: a, marks: [off], expect: [{}]}",
            "5:30: marks: YAML reads off as a truth",
        ),
    ],
)
def test_a_text_that_yaml_reads_as_something_else_must_be_quoted_p7(
    text: str, message: str
) -> None:
    (found,) = errors(START + text)
    assert found.startswith(message)


def test_a_number_that_yaml_reads_as_text() -> None:
    (found,) = errors(one("attends: {from: it, to: animal, min: 1e-3}"))
    assert found == "8:46: min: YAML reads 1e-3 as text; write 0.001"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"suit: x\n{START}", "1:1: unknown key 'suit'; did you mean 'suite'?"),
        (
            one("attends: {}").replace("    text", "    txt"),
            "6:5: unknown key 'txt'; did you mean 'text'?",
        ),
        (
            one("attends: {}").replace("heads", "head"),
            "3:12: unknown key 'head'; did you mean 'heads'?",
        ),
        (one("attend: {}"), "8:9: unknown rule 'attend'; did you mean 'attends'?"),
        (
            one("attends: {from: it, too: animal, to: it, min: 0.3}"),
            "8:29: unknown key 'too'; did you mean 'to'?",
        ),
        (
            one("ignores: {from: it, to: animal, min: 0.3, max: 0.5}"),
            "8:41: unknown key 'min'; ignores takes max:, the most that it may get",
        ),
        (
            one("attends: {from_: it, from: it, to: animal, min: 0.3}"),
            "8:19: unknown key 'from_'; did you mean 'from'?",
        ),
        (
            one("attends: {from: {wrd: it}, to: animal, min: 0.3}"),
            "8:25: from: unknown word selector 'wrd'; did you mean 'word'?",
        ),
        (
            one("attends: {from: it, to: animal, min: 0.3, heads: {on: L1}}"),
            "a key must be text",
        ),
    ],
)
def test_an_unknown_key_or_rule_is_refused_p8(text: str, message: str) -> None:
    if text.endswith(START):
        text = text + "  - {id: a, text: a, expect: [{}]}"
    found = errors(text)
    assert len(found) == 1
    assert message in found[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1:1: the file is empty; start it with version: 1"),
        ("# nothing\n", "1:1: the file is empty; start it with version: 1"),
        ("- a\n", "1:1: a case file is a mapping that starts with version: 1"),
        (
            "version: 1\nsuite: s\n",
            "1:1: cases: is missing; a file holds cases:, relations: or both",
        ),
        ("version: 1\nsuite: s\ncases: []\n", "3:8: cases: is empty, it takes at least one"),
        (START + "  - {id: a, text: x}", "5:5: expect: is missing"),
        (
            START + "  - {id: a, text: x, expect: []}",
            "5:30: expect: is empty, it takes at least one",
        ),
        (
            START + "  - {id: a, text: x, expect: }",
            "5:30: expect: nothing is written here; write a value, or leave the key out",
        ),
        (
            START + "  - {id: a, template: x, rows: [{}], expect: [{}]}",
            "5:33: this row has no columns",
        ),
        (
            START + "  - {id: a, template: x, rows: [], expect: [{}]}",
            "5:32: rows: is empty, it takes at least one",
        ),
    ],
)
def test_an_empty_value_where_one_is_needed_is_refused_p9(text: str, message: str) -> None:
    assert errors(text) == [message]


def test_a_missing_word_shows_the_sentence_and_the_nearest_word_p11() -> None:
    assert errors(one("attends: {from: it, to: anmial, min: 0.3}")) == [
        "8:33: to: 'anmial' does not stand in the text; nearest: 'animal'\n"
        f"  {SENTENCE}\n"
        "      ^^^^^^"
    ]


def test_a_missing_word_of_a_row_shows_the_row_p11() -> None:
    found = errors(
        TEMPLATE.replace("{subject: key, ", "{subject: lock, ").replace(
            'to: ["{subject}"', "to: [key"
        )
    )
    assert found[0].startswith("12:39: to: 'key' does not stand in the text")
    assert "  The lock {of} the cabinets is old." in found[0]


def test_an_ambiguous_word_lists_its_places_p12() -> None:
    text = "It rained and it stopped, so it is dry."
    assert errors(one("attends: {from: it, to: dry, min: 0.3}", text)) == [
        "8:25: from: 'it' stands 2 times in the text; say which one, such as {word: it, nth: 2}\n"
        f"  nth: 1  {text}\n"
        "                        ^^\n"
        f"  nth: 2  {text}\n"
        "                                       ^^"
    ]


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ("3.10", "3.1 is no head; write a head as L3H1"),
        ("L3.1", "'L3.1' is no head; write a head as L3H1"),
        ("'@pronouns'", "no head set '@pronouns' in the lock file"),
        ("{in: L3, how: most}", "how takes any, all, mean, best or {at_least: 3}"),
        ("[]", "an empty list names no head"),
    ],
)
def test_what_is_no_head_selector_is_refused_p22(heads: str, message: str) -> None:
    (found,) = errors(one(f"attends: {{from: it, to: animal, min: 0.3, heads: {heads}}}"))
    assert found.startswith(f"8:58: heads: {message}")
    (inherited,) = errors(one("attends: {from: it, to: animal, min: 0.3}").replace("L0H0", heads))
    assert inherited.startswith(f"3:19: heads: {message}")


def test_a_target_needs_a_site_p26() -> None:
    text = one("attends: {from: it, to: animal, min: 0.3}") + "    target: il\n"
    assert errors(text) == [
        "8:9: site: is missing; beside a target: name it: encoder, decoder or cross"
    ]


def test_cross_attention_needs_a_target_p26() -> None:
    assert errors(one("attends: {from: it, to: animal, min: 0.3, site: cross}")) == [
        "8:51: cross attention needs a target text; write target: beside text:"
    ]


def test_heads_have_no_built_in_default() -> None:
    text = one("attends: {from: it, to: animal, min: 0.3}").replace("defaults: {heads: L0H0}\n", "")
    assert errors(text) == [
        "7:9: heads: is missing and has no built-in default; name the heads here or under "
        "defaults:, such as heads: L3H1"
    ]


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        (
            "text: a {x}\n    template: a {x}",
            ["5:5: a case has either text:, or template: with rows:, or ids:"],
        ),
        ("severity: blocking", ["5:5: a case has either text:, or template: with rows:, or ids:"]),
        (
            "text: a b\n    rows: [{x: a}]",
            ["7:5: rows: fill a template: or messages:, nothing else"],
        ),
        ("template: a b", ["6:5: a template: needs rows: with its columns"]),
        ('text: " "', ["6:11: text: holds no word"]),
        ('template: "{x}"\n    rows: [{x: " "}]', ["7:12: template: holds no word"]),
        (
            'template: "a {y}"\n    rows: [{x: b}]',
            ["6:15: no column 'y' in the row; known: x", "7:13: column 'x' is not used: write {x}"],
        ),
        (
            'template: "a {colum} b"\n    rows: [{column: b}]',
            [
                "6:15: no column 'colum' in the row; did you mean 'column'?",
                "7:13: column 'column' is not used",
            ],
        ),
        (
            'template: "a { b }"\n    rows: [{x: b}]',
            ["6:15: no column ' b ' in the row", "7:13: column 'x' is not used"],
        ),
        (
            'template: "a {x} } {"\n    rows: [{x: b}]',
            [
                "6:15: a lone '}'; write it twice to mean the character",
                "6:15: a lone '{'; write it twice to mean the character",
            ],
        ),
        (
            'template: "a {x}"\n    rows: [{x: b, z: c}, {x: d}, {x: e, z: c}]',
            ["7:19: column 'z' is not used", "7:41: column 'z' is not used"],
        ),
        (
            "text: a b\n    marks: [skip]",
            ["7:13: marks: 'skip' means something to pytest itself; take another name"],
        ),
        (
            "text: a b\n    marks: [a b]",
            ["7:13: marks: 'a b' may hold letters, digits and _ only, and starts with a letter"],
        ),
        (
            "text: a b\n    severity: deadly",
            ["7:15: severity: 'deadly' is not known; it takes 'blocking' or 'advisory'"],
        ),
        ("text: a b\n    xfail:", ["7:11: xfail: nothing is written here"]),
        ("text: a b\n    skip: ''", ["7:11: skip: is empty"]),
        ("text: [a, b]", ["6:11: text: ['a', 'b'] is not one text"]),
    ],
)
def test_cases_that_cannot_be_meant(body: str, messages: list[str]) -> None:
    text = START + (
        f"  - id: a\n    {body}\n    expect: [{{attends: {{from: {{special: cls}}, "
        "to: {special: sep}, min: 0.3}}]\n"
    )
    found = errors(text)
    assert len(found) == len(messages)
    for line, message in zip(found, messages, strict=True):
        assert line.startswith(message)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("3", "8:9: expect: 3 is no mapping of keys and values"),
        ("{}", "one rule an entry, here are 0"),
        ("{attends: {}, ignores: {}}", "one rule an entry, here are 2: attends, ignores"),
        ("attends: it", "attends: takes a mapping of arguments"),
        ("attends: {from: it, to: animal}", "attends demands nothing; give min:"),
        ("attends: {from: it, min: 0.3}", "to: is missing"),
        ("attends: {from: it, to: animal, min: 30}", "min: 30 is out of range; it must be below 1"),
        ("attends: {from: it, to: animal, top: 1.5}", "top: 1.5 is not a whole number"),
        ("attends: {from: it, to: animal, min: .nan}", "min: nan is not a finite number"),
        ("attends: {from: it, to: [[animal]], min: 0.1}", "to: a list of words holds words"),
        ("attends: {from: it, to: {chars: [5, 2]}, min: 0.1}", "to: chars takes [start, end]"),
        ("attends: {from: it, to: {special: eso}, min: 0.1}", "to: unknown special token 'eso'"),
    ],
)
def test_expectations_that_cannot_be_meant(entry: str, message: str) -> None:
    (found,) = errors(one(entry))
    assert found.startswith("8:")
    assert message in found
    assert "dictionary or instance" not in found


@pytest.mark.parametrize(
    ("start", "messages"),
    [
        ("version: 2\nsuite: s", ["1:10: version: this attnprobe reads version: 1"]),
        ("version: true\nsuite: s", ["1:10: version: true is not a whole number"]),
        ("version: '1'\nsuite: s", ["1:10: version: '1' is text; write 1 without quotes"]),
        ("version: 1", ["1:1: suite: is missing"]),
        (
            "version: 1\nsuite: my suite",
            ["2:8: suite: 'my suite' may hold letters, digits, _ . - only"],
        ),
        (
            "version: 1\nsuite: s\ndefaults: {site: encodr, heads: L1}",
            ["3:18: site: 'encodr' is not known; did you mean 'encoder'?"],
        ),
        (
            "version: 1\nsuite: s\ndefaults: L1",
            ["3:11: defaults: 'L1' is no mapping of keys and values"],
        ),
        (
            "vrsion: 1\nsuite: s\nseverity: x",
            [
                "1:1: version: is missing",
                "1:1: unknown key 'vrsion'; did you mean 'version'?",
                "3:11: severity: 'x' is not known; it takes 'blocking' or 'advisory'",
            ],
        ),
    ],
)
def test_files_that_cannot_be_meant(start: str, messages: list[str]) -> None:
    found = errors(f"{start}\ncases: [{{id: a, text: a b, expect: [{{attend: 3}}]}}]")
    assert len(found) == len(messages)
    for line, message in zip(found, messages, strict=True):
        assert line.startswith(message)


def test_all_that_is_wrong_is_told_at_once_in_the_order_of_lines() -> None:
    text = (
        START
        + """\
  - id: a b
    text: one two
    expect:
      - attends: {from: one, to: two, min: 0.3}
  - 3
  - id: c
    template: "{x} two"
    rows: [{x: one}, {x: three}]
    expect:
      - attends: {from: one, to: two, min: 2}
      - ignores: {from: one, to: two, max: 0.3}
  - id: d
    text: one two
    expect:
      - attend: {from: one, to: two, min: 0.3}
      - attends: {from: no, min: 0.3, tpo: 1}
"""
    )
    assert [message.split(": ")[0] for message in errors(text)] == [
        "5:9",  # the id
        "9:5",  # no mapping
        "14:44",  # min, told once for both rows
        "15:25",  # `one` is not in the second row
        "19:9",  # no such rule
        "20:9",  # to is missing
        "20:25",  # no
        "20:39",  # tpo
    ]


MARKUP = st.text("{}ab \n", max_size=12)


@settings(max_examples=40)
@given(MARKUP, st.dictionaries(MARKUP.filter(bool), st.text(max_size=5), max_size=2), MARKUP)
def test_any_template_is_read_or_refused(template: str, row: dict[str, str], selector: str) -> None:
    case = {
        "id": "a",
        "template": template,
        "rows": [row],
        "expect": [{"attends": {"from": selector, "to": selector, "heads": "L0", "top": 1}}],
    }
    text = yaml.safe_dump({"version": 1, "suite": "s", "cases": [case]}, allow_unicode=False)
    found: tuple[Case, ...] = ()
    with suppress(CaseError, CaseErrors):
        found = read(text)
    expected = [template.format(**row)] if found else []
    assert [case.sample.text for case in found] == expected


# The schema for editors -------------------------------------------------------------------------


def test_the_shipped_schema_is_the_schema() -> None:
    shipped = ROOT / "attnprobe" / "schema" / "case-v1.json"
    assert json.loads(shipped.read_text(encoding="utf-8")) == schema(), (
        f"write it anew: attnprobe schema -o {shipped.relative_to(ROOT)}"
    )


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, dict | list):
            yield from nodes(item)


def test_the_schema_is_draft_07_and_made_for_readers() -> None:
    jsonschema.Draft7Validator.check_schema(schema())
    names = {
        node["$ref"].removeprefix("#/definitions/") for node in nodes(schema()) if "$ref" in node
    }
    assert names == set(schema()["definitions"])
    assert not any("_" in name for name in names)
    properties = [node["properties"] for node in nodes(schema()) if "properties" in node]
    assert not any("title" in field for fields in properties for field in fields.values())
    for name in ("case", "attends", "ignores"):
        fields = schema()["definitions"][name]["properties"]
        assert [field for field in fields if not fields[field].get("description")] == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_cases_are_accepted(path: Path) -> None:
    assert any(load_contents(path, path.name))
    VALIDATOR.validate(yamltext.load(path, path.name).value)


@pytest.mark.parametrize(
    "text",
    [
        TEMPLATE,
        TEMPLATE.replace("top: 1", 'top: 1, heads: "L{verb}"').replace("verb: is", "verb: is"),
        one("ignores: {from: {word: it, nth: 1}, to: {chars: [4, 10]}, over: [street], ratio: 2}"),
        one("attends: {from: {special: first}, to: {predicts: it}, min: 0.1, heads: any}"),
    ],
)
def test_the_schema_accepts(text: str) -> None:
    assert VALIDATOR.is_valid(plain(text))


@pytest.mark.parametrize(
    "text",
    [
        "- a",
        "version: 1\nsuite: s\n",
        "version: 1\nsuite: s\ncases: []\n",
        "version: 2\n" + one("attends: {from: it, to: it, min: 0.3}").split("\n", 1)[1],
        "suit: x\n" + one("attends: {from: it, to: it, min: 0.3}"),
        one("attends: {from: it, to: it, min: 0.3}").replace("L0H0", "3.10"),
        one("attends: {from: it, to: it, min: 0.3}").replace("heads", "head"),
        one("attends: {from: it, to: it, min: 0.3}").replace("id: a", "id: a b"),
        one("attends: {from: it, to: it, min: 0.3}").replace("    text", "    txt"),
        one("attends: {from: it, to: it, min: 0.3}").replace("    text", "    template"),
        one("attends: {from: it, to: it, min: 0.3}") + "    rows: [{x: y}]",
        one("attends: {from: it, to: it, min: 0.3}") + "    skip: ''",
        one("attends: {from: it, to: it, min: 0.3}") + "    xfail:",
        one("attends: {from: it, to: it, min: 0.3}") + "    marks: x",
        one("attends: {from: it, to: it, min: 0.3}") + "    severity: x",
        TEMPLATE.replace("{subject: key,  attractor: cabinets, verb: is}", "{}"),
        TEMPLATE.replace("verb: is", "verb: no"),
        START + "  - {id: a, text: x}",
        START + "  - {id: a, text: x, expect: []}",
        START + "  - {id: a, text: no, expect: [{attends: {from: it, to: it, min: 0.3}}]}",
        one("{}"),
        one("3"),
        one("{attends: {from: it, to: it, min: 0.3}, ignores: {from: it, to: it, max: 0.3}}"),
        one("attend: {from: it, to: it, min: 0.3}"),
        one("attends: {from: it, min: 0.3}"),
        one("attends: {from: no, to: it, min: 0.3}"),
        one("attends: {from: it, to: it, tpo: 1}"),
        one("attends: {from: it, to: it, top: 0}"),
        one("attends: {from: it, to: it, top: 1.5}"),
        one("attends: {from: it, to: it, min: 30}"),
        one("attends: {from: it, to: it, min: 1e-3}"),
        one("attends: {from: it, to: it, over: , min: 0.1}"),
        one("attends: {from: it, to: [], min: 0.1}"),
        one("attends: {from: it, to: {wrd: it}, min: 0.1}"),
        one("attends: {from: it, to: {special: eso}, min: 0.1}"),
        one("attends: {from: it, to: it, min: 0.1, site: encodr}"),
        one("attends: {from: it, to: it, min: 0.1, heads: {in: L3, how: most}}"),
        one("attends: {from: it, to: it, min: 0.1, among: some}"),
    ],
)
def test_the_schema_rejects_what_is_refused(text: str) -> None:
    with pytest.raises(AttnprobeError):
        read(text)
    assert not VALIDATOR.is_valid(plain(text))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("attends: ", "takes a mapping of arguments, such as {from: it, to: animal, min: 0.3}"),
        ("{attends: , from: it, to: a}", "attends: is empty; indent from, to deeper than attends:"),
        ("attends: {from:it}", "'from:it' is one word; put a space after the colon: from: it"),
        ("attends: {from: it, to: '[CLS]', min: 0.1}", "in the text; write {special: cls}:"),
        ("attends: {from: it, to: {special: CLS}, min: 0.1}", "'CLS'; did you mean 'cls'?"),
        (
            "attends: {from: it, to: animal, min: 0,3}",
            "; where a decimal number is meant, write a point: 0.3",
        ),
        ("pattern: previous", "such as {is: previous, min: 0.5}"),
        (
            "pattern: {min: 0.5}",
            "is: is missing; it takes diagonal, previous, next, offset, ",
        ),
        (
            "attends: {from: “it”, to: animal, min: 0.3}",
            "text; the curly quotes are part of the word, write straight quotes:",
        ),
    ],
)
def test_what_stands_in_the_wrong_place(entry: str, message: str) -> None:
    assert any(message in line for line in errors(one(entry)))


@pytest.mark.parametrize("kind", sorted(RULES))
def test_what_is_told_to_be_written_can_be_written(kind: str) -> None:
    (told,) = errors(one(f"{kind}: "))
    (again,) = errors(one(f"{kind}: 3"))
    example = told.split("such as ")[1]
    assert again.endswith(f"such as {example}")
    # flow takes no heads, the others leave them to the defaults.
    heads = {} if kind == "flow" else {"heads": "L3" if kind == "diversity" else "L3H1"}
    assert parse_rule(kind, {**heads, **plain(example)}).kind == kind


def test_heads_at_the_top_of_a_file_are_told_where_to_go() -> None:
    text = "heads: L3H1\n" + one("attends: {from: it, to: it, min: 0.3}")
    assert errors(text) == ["1:1: unknown key 'heads'; heads: goes under defaults: or into a rule"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("heads: L3H1", "unknown key 'heads'; heads: goes under defaults: or into a rule"),
        ("attends: {}", "attends is a rule; write it into the list expect: as - attends: {...}"),
    ],
)
def test_a_key_of_a_rule_in_a_case(extra: str, message: str) -> None:
    assert any(
        message in line
        for line in errors(START + f"  - {{id: a, text: a, {extra}, expect: [{{}}]}}\n")
    )
