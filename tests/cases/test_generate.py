"""Cases on the model's own answer, and on a sentence in a long text."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from attnprobe.cases import Case, load_contents, parse_contents, schema, yamltext
from attnprobe.core.errors import CaseError, CaseErrors
from attnprobe.core.texts import Haystack, case_fields
from attnprobe.models import Model
from attnprobe.run.explain import explain
from attnprobe.run.runner import Runner
from tests.architectures.tiny import tiny_tokenizer
from tests.support.inner_runs import Run
from tests.support.tiny_lm import headed

VALIDATOR = jsonschema.Draft7Validator(schema())
START = """version: 1
suite: s
defaults: {heads: L0H0}
cases:
  - id: a
"""
TEXT = "    text: The old key opens the door of\n"
GENERATE = "    generate: {max_tokens: 6}\n"
NEEDLE = """    needle: The key lies under the stone.
    haystack: hay.txt
    tokens: 400
"""
HAY = "A train left the town. Nobody saw it. The rain went on for days! Was it cold? " * 12


def file(
    from_: str = "{generated: first}", to: str = "key", *, about: str = TEXT + GENERATE
) -> str:
    entry = f"attends: {{from: {from_}, to: {to}, min: 0.0001}}"
    return f"{START}{about}    expect: [{{{entry}}}]\n"


def needle_file(from_: str = "{text: lies}", to: str = "{needle: stone}", **changes: str) -> str:
    about = NEEDLE + "    text: The key lies under the\n"
    for old, new in changes.items():
        about = about.replace(f"{old}:", f"{new}:")
    return file(from_, to, about=about)


def read(text: str, folder: Path | None = None) -> tuple[Case, ...]:
    return parse_contents(yamltext.loads(text.encode(), "a.attn.yaml"), folder=folder).cases


def errors(text: str, folder: Path | None = None) -> list[str]:
    with pytest.raises((CaseError, CaseErrors)) as caught:
        read(text, folder)
    found = getattr(caught.value, "errors", [caught.value])
    return [str(error).removeprefix("a.attn.yaml:") for error in found]


def valid(text: str) -> bool:
    return VALIDATOR.is_valid(yamltext.loads(text.encode(), "a").value)


def decoder() -> Model:
    tokenizer = tiny_tokenizer(end=False)
    tokenizer.model_max_length = 2048
    network = headed("llama", vocab_size=len(tokenizer), max_position_embeddings=2048)
    return Model.of(network, tokenizer, name="tiny")


@pytest.mark.parametrize(
    "from_",
    [
        "{generated: all}",
        "{generated: first}",
        "{generated: {predicts: first}}",
        "{generated: Paris}",
        "{generated: {word: all, nth: 2}}",
        "{generated: {predicts: first, nth: 1}}",
        "{generated: {chars: [0, 4]}}",
        "[{generated: first}, door]",
    ],
)
def test_a_case_on_an_answer(from_: str) -> None:
    (case,) = read(file(from_))
    assert (case.sample.generate, case.sample.answer) == (6, None)
    assert valid(file(from_))
    assert case_fields(case.sample)["generate"] == {"max_tokens": 6}


def test_an_answer_to_messages_begins_behind_the_generation_prompt() -> None:
    messages = "    messages: [{role: user, content: What is the key for?}]\n"
    (case,) = read(file(about=messages + GENERATE))
    assert case.sample.generation_prompt
    assert "generation_prompt" not in case_fields(case.sample)
    assert valid(file(about=messages + GENERATE))


@pytest.mark.parametrize(
    ("text", "told", "by_schema"),
    [
        (file(about=TEXT), "7:31: from: {generated: ...} names a word of the model's own", False),
        (file(to="keys"), "8:55: to: 'keys' does not stand in the text; nearest: 'key'", False),
        (file(about=TEXT + "    generate: {}\n"), "7:15: max_tokens: is missing", True),
        (file(about=TEXT + "    generate: 20\n"), "7:15: generate: 20 is no mapping", True),
        (file(about=TEXT + "    generate: {max_tokens: 0}\n"), "7:28: max_tokens: ", True),
        (file(about=TEXT + "    generate: {max_tokens: 1001}\n"), "7:28: max_tokens: ", True),
        (file(about=TEXT + "    generate: {tokens: 2}\n"), "7:16: unknown key 'tokens'", True),
        (
            file(about="    ids: [1, 2]\n" + GENERATE),
            "6:5: generate: goes without ids:",
            True,
        ),
        (file(about=TEXT + GENERATE + "    target: b\n"), "8:5: generate: goes without a t", True),
        (
            file("{generated: [first, {generated: all}]}"),
            "8:31: from: {generated: ...} stand",
            True,
        ),
        (file("{generated: {special: eos}}"), "8:31: from: [EOS] stands in no text", True),
        (file("{generated: first, nth: 2}"), "8:31: from: 'nth' does not go beside 'gene", True),
    ],
)
def test_what_is_wrong_with_an_answer(text: str, told: str, by_schema: bool) -> None:
    found = errors(text)
    assert any(line.startswith(told) for line in found), found
    if by_schema:
        assert not valid(text)


def test_the_failure_shows_what_the_model_said() -> None:
    (case,) = read(file(to="door").replace("min: 0.0001", "min: 0.999"))
    model = decoder()
    (finding,) = Runner(model, [case]).judge(case)
    answer = model.encode(case.sample).sample.answer
    assert answer is not None
    shown = explain(case, finding).split("\n")
    assert shown[1:4] == [
        "  │ The old key opens the door of",
        "  │                       ^^^^",
        "  │                       to",
    ]
    assert shown[4].startswith("  │ answer: ")
    assert shown[6].strip("│ ") == "from"


def test_a_word_that_the_model_does_not_say_is_an_error() -> None:
    (case,) = read(file("{generated: Paris}"))
    (finding,) = Runner(decoder(), [case]).judge(case)
    assert finding.verdict is None
    assert "'Paris' does not stand in the answer" in str(finding.error)


def test_a_run_records_answers_and_a_probe_asks_for_one(
    probe: Run, pytester: pytest.Pytester
) -> None:
    model = decoder()

    class Decodes:
        def pytest_attn_load_model(self, name: str, ref: str) -> Model:
            return model

    pytester.path.joinpath("a.attn.yaml").write_text(file(), encoding="utf-8")
    pytester.makepyfile(
        """
        import pytest

        def test_answer(attn):
            read = attn("The old key", generate=4)
            assert len(read.sample.answer.ids) == 4
            read.attends({"generated": "first"}, "key", heads="L0H0", min=0.0001)

        @pytest.mark.parametrize(("options", "error", "told"), [
            ({"generate": "4"}, TypeError, "generate= is a number of tokens, not '4'"),
            ({"generate": True}, TypeError, "generate= is a number of tokens, not True"),
            ({"generate": 0}, ValueError, "generate= is a number of tokens from 1, not 0"),
            ({"generate": 4, "pair": "b"}, TypeError, "generate= goes without pair="),
        ])
        def test_wrong_arguments(attn, options, error, told):
            with pytest.raises(error) as caught:
                attn("a", **options)
            assert str(caught.value) == told
        """
    )
    probe("--attn-json=r.json", plugin=Decodes()).assert_outcomes(passed=6)
    cases = json.loads(pytester.path.joinpath("r.json").read_text())["cases"]
    said = {entry["id"]: entry["generated"] for entry in cases}
    (case,) = read(file())
    answer = model.encode(case.sample).sample.answer
    assert answer is not None
    assert said["a"] == [answer.text]
    assert len(said["test_answer"]) == 1


# A sentence in a long text


def test_a_needle_stands_in_as_much_of_a_long_text_as_fits(tmp_path: Path) -> None:
    tmp_path.joinpath("hay.txt").write_text(HAY, encoding="utf-8")
    text = needle_file()
    (case,) = read(text, tmp_path)
    assert case.sample.haystack == Haystack(HAY, "The key lies under the stone.", 0.5, 400)
    assert valid(text)
    (finding,) = Runner(decoder(), [case]).judge(case)
    assert finding.error is None
    assert finding.encoding is not None
    assert 390 <= len(finding.encoding.source) <= 400
    shown = explain(case, finding)
    assert "words of the haystack …" in shown
    assert "A train left" not in shown


def test_rows_fill_needle_text_and_depth(tmp_path: Path) -> None:
    tmp_path.joinpath("hay.txt").write_text(HAY, encoding="utf-8")
    text = (
        needle_file(text="template").replace("stone.", "{thing}.").replace("stone}", "'{thing}'}")
    )
    rows = "[{thing: stone, depth: '0'}, {thing: bench, depth: '0.75'}]"
    rows = f"    depth: '{{depth}}'\n    rows: {rows}\n"
    text = text.replace("    expect", rows + "    expect")
    cases = read(text, tmp_path)
    haystacks = [case.sample.haystack for case in cases]
    assert [(hay.needle, hay.depth) for hay in haystacks if hay] == [
        ("The key lies under the stone.", 0.0),
        ("The key lies under the bench.", 0.75),
    ]
    assert valid(text)
    wrong = errors(text.replace("'0.75'", "deep"), tmp_path)
    assert wrong[0] == "10:12: depth: is a share of the haystack, from 0 to 1, not deep"


@pytest.mark.parametrize(
    ("text", "told", "by_schema"),
    [
        (
            needle_file(to="{needle: house}"),
            "10:49: to: 'house' does not stand in the needle",
            False,
        ),
        (
            needle_file(to="key"),
            "10:49: to: 'key' stands 2 times in the two texts; say which",
            False,
        ),
        (needle_file(to="town"), "10:49: to: 'town' does not stand in either text", False),
        (
            needle_file().replace("hay.txt", "hey.txt"),
            "7:15: haystack: 'hey.txt' is not there",
            False,
        ),
        (
            needle_file().replace("hay.txt", "../hay.txt"),
            "7:15: haystack: '../hay.txt' lies ",
            False,
        ),
        (
            needle_file().replace("hay.txt", "hay.md"),
            "7:15: haystack: 'hay.md' is no .txt file",
            False,
        ),
        (needle_file().replace("    haystack: hay.txt\n", ""), "6:5: a needle: needs a hays", True),
        (needle_file().replace("    tokens: 400\n", ""), "7:5: a haystack: needs tokens:", True),
        (file("old", about=TEXT + "    depth: 0.2\n"), "7:5: depth: goes with needle: and", True),
        (file("old", about=TEXT + "    tokens: 20\n"), "7:5: tokens: and haystack: go with", True),
        (
            needle_file().replace("    text", "    depth: 2\n    text"),
            "9:12: depth: is a share",
            False,
        ),
        (
            needle_file().replace("    text", "    text_pair: a\n    text"),
            "9:5: needle: goes",
            True,
        ),
        (file("{needle: old}", about=TEXT), "7:31: from: {needle: ...} names a word of a", False),
    ],
)
def test_what_is_wrong_with_a_needle(tmp_path: Path, text: str, told: str, by_schema: bool) -> None:
    tmp_path.joinpath("hay.txt").write_text(HAY, encoding="utf-8")
    found = errors(text, tmp_path)
    assert any(line.startswith(told) for line in found), found
    if by_schema:
        assert not valid(text)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "haystack: 'hay.txt' holds no word"),
        (b"\xff\xfe\x00", "haystack: 'hay.txt' is not in UTF-8, from byte 0"),
        (b"a " * 5_000_001, "haystack: 'hay.txt' is larger than 10 MB"),
    ],
)
def test_files_that_are_no_haystack(tmp_path: Path, content: bytes, told: str) -> None:
    tmp_path.joinpath("hay.txt").write_bytes(content)
    assert errors(needle_file(), tmp_path) == [f"7:15: {told}"]


def test_a_haystack_lies_in_the_project(tmp_path: Path) -> None:
    cases = tmp_path / "cases"
    cases.mkdir()
    tmp_path.joinpath("hay.txt").write_text(HAY, encoding="utf-8")
    cases.joinpath("a.attn.yaml").write_text(
        needle_file().replace("hay.txt", "../hay.txt"), encoding="utf-8"
    )
    found = load_contents(cases / "a.attn.yaml", "cases/a.attn.yaml", root=tmp_path)
    assert found.cases[0].sample.haystack is not None
