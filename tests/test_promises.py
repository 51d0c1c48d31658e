"""docs/promises.md and the tests that carry a promise's number are in step, both ways."""

from __future__ import annotations

from pathlib import Path

from tests.support.promises import PAGE, TESTS, complaints, holders, promise_numbers, with_links

TWO = "| 1 | a | b | |\n| 2 | c | d | |\n"
FOUND = {1: {"test_a.py": ["test_a_p1"]}, 2: {"test_a.py": ["test_b_p2"]}}


def test_every_promise_has_its_tests_and_every_such_test_its_promise() -> None:
    assert complaints(PAGE.read_text(encoding="utf-8"), holders(TESTS)) == []


def test_the_number_follows_the_words_of_a_test() -> None:
    assert promise_numbers("test_nothing_acts_p31_p33") == [31, 33]
    assert promise_numbers("test_duplicate_key_names_both_lines_p3") == [3]
    for name in ("test_p3_of_a_page", "test_promise_3", "test_of_p03", "test_top3"):
        assert promise_numbers(name) == []


def test_no_test_begins_with_a_number_of_a_promise() -> None:
    names = [path for path in TESTS.rglob("*.py") if "def test_promise_" in path.read_text("utf-8")]
    assert names == [Path(__file__)]


def test_a_row_that_loses_its_test_is_found() -> None:
    page = with_links(TWO, FOUND)
    assert complaints(page, FOUND) == []
    stale = "the links are not those of today's tests: run make promises"
    assert complaints(page, {1: FOUND[1]}) == ["promise 2: no test holds it", stale]
    renamed = FOUND | {2: {"test_a.py": ["test_c_p2"]}}
    assert complaints(page, renamed) == [stale]


def test_a_test_whose_promise_is_not_on_the_page_is_found() -> None:
    more = FOUND | {3: {"test_a.py": ["test_c_p3"]}}
    assert complaints(with_links(TWO, FOUND), more) == ["promise 3: not on the page"]


def test_a_gap_in_the_numbers_and_a_number_given_twice_are_found() -> None:
    page = with_links("| 1 | a | b | |\n| 3 | a | b | |\n| 3 | c | d | |\n", FOUND)
    assert complaints(page, {1: FOUND[1], 3: {"test_a.py": ["test_c_p3"]}})[:2] == [
        "promise 2: 0 rows",
        "promise 3: 2 rows",
    ]


def test_the_links_of_a_row_name_file_and_test() -> None:
    files = {"a/test_a.py": ["test_a_p1", "test_b_p1"], "test_c.py": ["test_c_p1"]}
    assert with_links("| 1 | what | promise | |\n", {1: files}) == (
        "| 1 | what | promise | <details><summary>3 tests</summary>"
        "[a/test_a.py](../tests/a/test_a.py): `test_a_p1`, `test_b_p1`<br>"
        "[test_c.py](../tests/test_c.py): `test_c_p1`</details> |\n"
    )
