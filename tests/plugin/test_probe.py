"""The fixture `attn`: probes written in Python."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from attnprobe.results.records import read_results

if TYPE_CHECKING:
    pass
from tests.support.plugin_cases import BOTH, Run, Write


def test_python_probes(probe: Run, pytester: pytest.Pytester, write_cases: Write) -> None:
    pytester.makepyfile(
        """
        import pytest

        def test_holds(attn):
            read = attn("The dog barks.")
            read.ignores("barks", "dog", heads="mean", max=0.99)
            assert read.weights("L1H2").shape == (16, 16)

        @pytest.mark.usefixtures("attn")
        def test_fails(attn):
            attn("The dog barks.").attends("barks", "dog", heads="mean", min=0.99)

        @pytest.mark.xfail(strict=True, reason="known")
        def test_gap(attn):
            attn("The dog barks.").attends(from_="barks", to="dog", heads="mean", min=0.99)

        @pytest.mark.skip(reason="later")
        def test_later(attn):
            raise AssertionError

        class TestGroup:
            @pytest.mark.parametrize("word", ["dog", "The"])
            def test_words(self, attn, word):
                attn("The dog barks.").ignores("barks", word, heads=["L1", "L2H0"], max=1 - 1e-9)

        def test_other():
            pass
        """
    )
    result = probe("--attn-json=r.json")
    result.assert_outcomes(passed=4, failed=1, xfailed=1, skipped=1)
    result.stdout.fnmatch_lines(
        [
            '>*attn("The dog barks.").attends("barks", "dog", heads="mean", min=0.99)',
            "E*ExpectationFailed: weight 0.*, demanded >= 0.99 (attends, mean of 12 heads)",
            "E*test_python_probes.py:8: failed: attends barks → dog, *",
            "E*│ The dog barks.",
            "E*weight 0.*, demanded >= 0.990",
        ]
    )
    results = read_results(Path("r.json"))
    found = {(case.id, case.row): case for case in results.cases}
    assert {key: case.outcome for key, case in found.items()} == {
        ("test_holds", None): "passed",
        ("test_fails", None): "failed",
        ("test_gap", None): "xfailed",
        ("test_later", None): "skipped",
        ("TestGroup.test_words", "dog"): "passed",
        ("TestGroup.test_words", "The"): "passed",
    }
    assert results.summary()["collected"] == 6
    fails = found["test_fails", None]
    assert (fails.file, fails.suite, fails.line, fails.marks) == (
        "test_python_probes.py",
        "test_python_probes",
        8,
        ("usefixtures",),
    )
    assert fails.expectations[0].arguments["min"] == 0.99

    # The same rule in a case file gives the same words and the same number.
    write_cases(BOTH)
    probe("--attn-json=r.json", "x.attn.yaml")
    case = read_results(Path("r.json")).cases[1]
    assert case.expectations[1].message == fails.expectations[0].message
    assert case.expectations[1].bounds[0].observed == fails.expectations[0].bounds[0].observed


def test_python_probes_on_several_models(probe: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        def test_plain(attn):
            assert attn.model in ("tiny", "big")

        @pytest.mark.parametrize("word", ["dog", "The"])
        def test_words(attn, word):
            attn("The dog barks.").ignores("barks", word, heads="mean", max=0.99)
        """
    )
    result = probe("--attn-model=big=b", "-v", "--attn-json=r.json")
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(["*::test_words[[]dog-tiny] *", "*::test_words[[]The-big] *"])
    keys = [(case.id, case.row, case.model) for case in read_results(Path("r.json")).cases]
    assert keys == [
        ("test_plain", None, "big"),
        ("test_plain", None, "tiny"),
        ("test_words", "The", "big"),
        ("test_words", "The", "tiny"),
        ("test_words", "dog", "big"),
        ("test_words", "dog", "tiny"),
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("atends('barks', 'dog', min=0.5)", "no rule or method 'atends'; did you mean 'attends'?"),
        ("weigths('L1H1')", "no rule or method 'weigths'; did you mean 'weights'?"),
        ("attends('a', 'b', 'c')", "attends takes from and to by position, each once"),
        ("attends('barks', from_='dog')", "attends takes from and to by position, each once"),
        (
            "attends('barks', 'dog', min=0.5)",
            'TypeError: attends: name the heads, such as heads="L3H1"',
        ),
        ("attends('barks', 'dog', heads='L1H1')", "TypeError: attends: demands nothing; give min:"),
        (
            "attends('barks', 'dog', heads='L1H1', minimum=0.5)",
            "TypeError: attends: unknown argument 'minimum'; did you mean 'min'?",
        ),
        (
            "ignores('barks', 'dog', heads='L1H1', min=0.5)",
            "TypeError: ignores: unknown argument 'min'; ignores takes max:, the most that it may",
        ),
        ("attends('barks', 'cat', heads='L1H1', min=0.5)", "SelectorError: "),
        ("sink('barks', heads='L1H1', max=0.5)", 'write .expect("sink", ...)'),
        ("entropy(from_='barks', heads='mean', min=0.5)", 'write .expect("entropy", ...)'),
        ("distance(heads='mean', min=0.5)", 'write .expect("distance", ...)'),
        ("pattern('previous', heads='L1', min=0.5)", 'write .expect("pattern", ...)'),
        ("flow('barks', 'dog', min=0.5)", 'write .expect("flow", ...)'),
        ("attends('barks', 'dog', heads='L9H1', min=0.5)", "L9H1"),
    ],
)
def test_mistakes_in_python_probes(
    probe: Run, pytester: pytest.Pytester, call: str, message: str
) -> None:
    pytester.makepyfile(f"def test_it(attn):\n    attn('The dog barks.').{call}\n")
    result = probe()
    result.assert_outcomes(failed=1)
    assert message in str(result.stdout)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("''", "ValueError: attn: the text is empty; write a sentence"),
        ("' '", "ValueError: attn: the text is empty; write a sentence"),
        ("['a b']", "TypeError: attn takes one text, not ['a b']"),
        ("'a b', pairs='c'", "TypeError: unknown argument 'pairs'; did you mean 'pair'?"),
        (
            "'The dog barks.').attends('barks', 'cat', heads='L1H1', min=0.5",
            "SelectorError: 'cat' does not stand in the text",
        ),
    ],
)
def test_what_a_text_has_not_is_told_in_the_line_of_the_probe(
    probe: Run, pytester: pytest.Pytester, text: str, message: str
) -> None:
    pytester.makepyfile(f"def test_it(attn):\n    attn({text})\n")
    result = probe()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"E *{message.replace('[', '[[]')}*"])
    # The reader sees the line of the probe, and none of ours or of contextlib.
    shown = [line for line in result.outlines if re.match(r"\S+\.py:[0-9]+: ", line)]
    assert len(shown) == 1
    assert "test_what_a_text_has_not" in shown[0]


def test_measures_named_like_a_rule_still_measure(probe: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_it(attn):
            read = attn("The dog barks.")
            assert read.sink("special").shape == read.entropy(normalised=True).shape
            assert read.pattern("previous", form="match").max() <= 1
            read.expect("sink", heads="mean", max=0.999)
        """
    )
    probe().assert_outcomes(passed=1)


def test_arguments_of_python_probes_become_plain_data(
    probe: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        """
        import numpy as np
        from attnprobe.words.selectors import parse_selector

        def test_it(attn):
            read = attn("The dog barks.")
            read.ignores(parse_selector("barks"), "dog", heads=["L1", "L2"], max=np.float64(0.999))
        """
    )
    probe("--attn-json=r.json").assert_outcomes(passed=1)
    (case,) = read_results(Path("r.json")).cases
    assert case.expectations[0].arguments["from"] == "barks"
    assert case.expectations[0].arguments["heads"] == ["L1", "L2"]
    assert case.expectations[0].arguments["max"] == 0.999


def test_a_foreign_fixture_of_the_same_name_is_left_alone(
    probe: Run, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(
        "import pytest\n@pytest.fixture(params=[1, 2])\ndef attn(request): return request.param"
    )
    pytester.makepyfile("def test_it(attn): assert attn in (1, 2)")
    result = probe("--attn-json=r.json", model=None)
    result.assert_outcomes(passed=2)
    assert read_results(Path("r.json")).cases == ()
