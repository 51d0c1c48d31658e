"""Case files made to cost much: the work grows with the file, and the message is short."""

from __future__ import annotations

import gc
import io
import resource
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from attnprobe.cases import bounds, load_contents, parse, parse_contents, yamltext
from attnprobe.core.errors import AttnprobeError, CaseError, CaseErrors
from attnprobe.words.selectors import LONGEST_PHRASE, MOST_WORDS, parse_selector
from tests.support.torture import KINDS, SAYS, case, text_case

SMALL, LARGE = 1_000, 4_000
# Kinds whose work is a product of two parts of the file, which a bound or MOST_ERRORS ends.
PRODUCTS = {
    "characters_of_spaces",
    "many_missing_words_in_a_long_text",
    "many_near_columns",
    "many_words_that_stand_often",
    "rows_of_a_long_template",
    "rows_with_a_long_selector",
    "rows_with_many_expectations",
}
ROWS = "template: '{x} bark', rows: [{x: dogs}, {x: cats}, {x: wolves}]"
BARK = "expect: [{attends: {from: bark, to: '{x}', min: 0.5}}]"


def collect(text: str, times: int = 1) -> str:
    """The message of a file; empty for a file without errors."""
    try:
        document = yamltext.loads(text.encode(), "a.attn.yaml", times=times)
        parse_contents(document, max_unfolded=times)
    except AttnprobeError as error:
        return str(error)
    return ""


def calls(work: Callable[[], object]) -> int:
    """How many functions are called, those of C included."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("kind", KINDS)
def test_work_grows_with_the_file_and_the_message_stays_short_p61(kind: str) -> None:
    small, large = KINDS[kind](SMALL), KINDS[kind](LARGE)
    collect(small)  # fills the caches
    least = calls(lambda: collect(small))
    found: list[str] = []
    most = calls(lambda: found.append(collect(large)))
    # Four times the size: sixteen times the calls would be quadratic.
    limit = 3_000_000 if kind in PRODUCTS else 6 * least + 5_000
    assert most <= limit, (least, most)
    assert len(found[0].encode()) <= 2048


@pytest.mark.parametrize(
    ("noun", "text", "place", "count"),
    [
        ("cases", case(f"{ROWS}, {BARK}"), "5:5", 3),
        ("expectations", case(f"{ROWS}, {BARK}"), "5:86", 3),
        # Rows of "dogs bark", "bark" and "dogs"; "attends" is a key, and 0.5 no text.
        ("characters", case(f"{ROWS}, {BARK}"), "5:41", 9 + 9 + 11 + 3 * 4 + 4 + 4 + 6),
        ("token ids", case("ids: [5, 6], repeat: 10, expect: [{induction: {min: 0.5}}]"), "", 20),
        ("characters to look through", text_case("the dogs bark", SAYS), "", 26),
    ],
)
def test_what_a_file_unfolds_to_is_bounded_before_it_is_built_p61(
    noun: str, text: str, place: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "BOUNDS", {**bounds.BOUNDS, noun: count})
    assert collect(text) == ""
    monkeypatch.setattr(bounds, "BOUNDS", {**bounds.BOUNDS, noun: count - 1})
    message = collect(text)
    assert f"unfolds to {count} {noun}, and it may have {count - 1};" in message
    assert "set attn_max_unfolded = 2 in the ini file" in message
    assert message.startswith(f"a.attn.yaml:{place or 5}")
    assert collect(text, times=2) == ""


@pytest.mark.parametrize(
    "command", [("lint",), ("mutants", "--model", "m=none"), ("compare", "none", "none", "--cases")]
)
def test_every_command_raises_the_bounds_by_its_option_p61(
    command: tuple[str, ...],
    attn: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounds, "BOUNDS", {**bounds.BOUNDS, "characters": 20})
    Path("x.attn.yaml").write_text(case(f"{ROWS}, {BARK}"), encoding="utf-8")

    def told(*options: str) -> str:
        with redirect_stderr(io.StringIO()) as printed:
            try:
                _, out = attn(*command, "x.attn.yaml", *options)
            except AttnprobeError as error:
                return str(error)
        return out + printed.getvalue()

    assert "characters, and it may have 20" in told()
    assert "it may have" not in told("--max-unfolded", "9")


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_left_as_it_was(enabled: bool, tmp_path: Path) -> None:
    (tmp_path / "x.attn.yaml").write_text("[", encoding="utf-8")
    try:
        gc.enable() if enabled else gc.disable()
        with pytest.raises(AttnprobeError):
            load_contents(tmp_path / "x.attn.yaml", "x")
        assert gc.isenabled() == enabled
    finally:
        gc.enable()


def test_the_bounds_of_a_file_are_those_of_the_page() -> None:
    path = Path(__file__).parents[2] / "docs" / "write-a-case.md"
    page = " ".join(path.read_text(encoding="utf-8").split())
    others = {"values": yamltext.MAX_VALUES, "keys in one mapping": yamltext.MAX_KEYS}
    for noun, count in {**bounds.BOUNDS, **others}.items():
        assert f"{count:,} {noun}" in page


def test_arcs_that_relations_take_from_cases_are_bounded_p61(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounds, "BOUNDS", {**bounds.BOUNDS, "arcs": 5})
    relation = "  - {{id: r{}, from_cases: all, expect: {{accuracy: 0.5}}}}\n"
    head = case(f"{ROWS}, {BARK}") + "relations:\n"
    assert collect(head + relation.format(1)) == ""
    message = collect(head + relation.format(1) + relation.format(2))
    assert "unfolds to 6 arcs, and it may have 5; " in message


def test_the_values_of_a_file_are_bounded_p61(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamltext, "MAX_VALUES", 4)
    with pytest.raises(CaseError, match="more than 4 values") as caught:
        yamltext.loads(b"[1, 2, 3, 4]", "a")
    assert str(caught.value).startswith("a:1:11: ")
    assert yamltext.loads(b"[1, 2, 3, 4]", "a", times=2).value == [1, 2, 3, 4]


def test_the_keys_of_a_mapping_are_bounded_p61(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamltext, "MAX_KEYS", 2)
    assert yamltext.loads(b"{a: {b: 1, c: 2}, d: 3}", "a").value == {"a": {"b": 1, "c": 2}, "d": 3}
    with pytest.raises(CaseError) as caught:
        yamltext.loads(b"{a: {b: 1, c: 2, dd: 3}, e: 4}", "a")
    assert str(caught.value) == "a:1:18: more than 2 keys in one mapping"


def test_a_selector_has_so_many_words_and_a_word_so_many_characters_p61() -> None:
    assert len(parse_selector(["dogs"] * MOST_WORDS).parts) == MOST_WORDS
    parse_selector("d" * LONGEST_PHRASE)
    refused: dict[str, object] = {
        "holds 1,001 words; it may have 1,000": ["dogs"] * 1_001,
        "holds 1,200 words; it may have 1,000": [{"pair": ["dogs"] * 600}] * 2,
        "a word has 10,001 characters; it may have 10,000": "d" * 10_001,
    }
    for message, value in refused.items():
        with pytest.raises(ValueError, match=f"^{message}$"):
            parse_selector(value)


def test_a_file_with_many_errors_is_read_no_further_p61() -> None:
    text = KINDS["many_unknown_keys"](20_000)
    with pytest.raises(CaseErrors) as caught:
        parse(yamltext.loads(text.encode(), "a"))
    assert len(caught.value.errors) == 100
    shown = str(caught.value).splitlines()
    assert shown[-1] == f"and at least {101 - (len(shown) - 1)} more"


CHILD = """
import sys
from contextlib import redirect_stderr
from pathlib import Path
from attnprobe import cases
from attnprobe.core.errors import AttnprobeError
for name in sys.argv[1:]:
    try:
        cases.load_contents(Path(name), "x.attn.yaml")
    except AttnprobeError as error:
        print(len(str(error).encode()))
# Not ru_maxrss, which counts the process that forked this one.
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(peak)
"""


def test_five_megabytes_are_collected_in_bounded_time_and_memory_p61(tmp_path: Path) -> None:
    kinds = {
        "repeat": 1_000_000_000,
        "a_missing_word": 4_900_000,
        "rows_of_a_long_template_that_pass": 1_000_000,
        "a_huge_nth": 4_900_000,
        "many_unknown_keys": 4_900_000,
        "a_long_sexagesimal_number": 4_900_000,
    }
    files = [tmp_path / f"{kind}.attn.yaml" for kind in kinds]
    for file, (kind, size) in zip(files, kinds.items(), strict=True):
        file.write_text(KINDS[kind](size), encoding="utf-8")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, files)], capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    *sizes, peak = map(int, done.stdout.split())
    assert len(sizes) == len(kinds)
    assert all(0 < size <= 2048 for size in sizes)
    assert after.ru_utime - before.ru_utime < 5 * len(kinds)
    assert peak < 300_000  # kB
