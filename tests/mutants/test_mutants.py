"""The gate's own test: damaged variants of the demo models break the shipped suites."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from attnprobe import cases
from attnprobe.cases import Case, yamltext
from attnprobe.cli import app
from attnprobe.core.errors import AttnprobeError
from attnprobe.core.needs import Need
from attnprobe.core.sites import Head
from attnprobe.core.texts import Sample
from attnprobe.models import Model
from attnprobe.mutants.damage import mutant
from attnprobe.mutants.kinds import EXPECTED, Mutation
from attnprobe.mutants.page import ModelFacts, as_page, cells, summary_line
from attnprobe.mutants.trial import (
    count_trials,
    SEEN_FROM,
    Trial,
    judge_all,
    largest_change,
    pinned_heads,
    plan,
    read_otherwise,
    trials,
    try_mutation,
)
from tests.architectures.tiny import tiny_network, tiny_tokenizer

ROOT = Path(__file__).parents[2]


def shipped(model: str, *suites: str) -> list[Case]:
    """The shipped cases for a model, of the named suites or of all."""
    files = sorted((ROOT / "cases").glob("*.attn.yaml"))
    found = [case for file in files for case in cases.load(file, f"cases/{file.name}")]
    return [
        case
        for case in found
        if (case.model or "minilm") == model and (not suites or case.suite in suites)
    ]


MINILM = (
    Mutation("shuffle-queries", Head(3, 1)),
    Mutation("shuffle-output", Head(3, 1)),
    Mutation("reinit-layer", layer=4),
    Mutation("reinit-all"),
    Mutation("permute-embeddings"),
    Mutation("shift-positions"),
    Mutation("swap-heads", Head(3, 1)),
    Mutation("resave"),
    Mutation("bfloat16"),
)


@pytest.mark.parametrize("mutation", MINILM, ids=str)
def test_the_shipped_suites_of_minilm_tell_damage_from_harmless_change(
    minilm: Model, mutation: Mutation
) -> None:
    found = shipped("minilm")
    if EXPECTED[mutation.kind] == "damaging" and mutation.kind != "shuffle-output":
        # Attention alone must show it. Suites that edit the network take most of the time.
        found = [case for case in found if case.suite not in ("downstream", "negation-effect")]
    trial = try_mutation(minilm, mutation, found)
    wanted = {"damaging": "red", "harmless": "green", "moved": "moved"}[EXPECTED[mutation.kind]]
    assert (trial.wanted, trial.found) == (wanted, wanted)
    assert trial.blocking + trial.advisory == sum(trial.suites.values())


def test_reading_minilm_otherwise_breaks_nothing(minilm: Model) -> None:
    found = list(read_otherwise(minilm, shipped("minilm")))
    assert [(trial.variant, trial.found, trial.advisory) for trial in found] == [
        ("batches of 24 tokens", "green", 0),
        ("padding on the left", "green", 0),
        ("arithmetic in bfloat16", "green", 0),
    ]


def test_every_head_that_a_minilm_suite_pins_is_in_the_plan(minilm: Model) -> None:
    site = minilm.sites["encoder"]
    found = set(plan(shipped("minilm"), site, rotary=False))
    text = "".join(
        path.read_text(encoding="utf-8")
        for path in (ROOT / "cases").glob("*.attn.yaml")
        if not path.name.startswith(("smollm2", "translator"))
    )
    named = {Head(int(one), int(two)) for one, two in re.findall(r"heads: L(\d+)H(\d+)", text)}
    assert len(named) > 10
    for head in named:
        assert {Mutation("shuffle-queries", head), Mutation("shuffle-output", head)} <= found


@pytest.mark.parametrize("head", [2, 4, 7, 8, 9, 11])
def test_effect_sees_the_output_of_the_last_layer(minilm: Model, head: int) -> None:
    mutation = Mutation("shuffle-output", Head(5, head))
    own = [case for case in shipped("minilm", "downstream") if f"L5H{head}-" in case.id]
    trial = try_mutation(minilm, mutation, own)
    assert (trial.wanted, trial.found, trial.blocking) == ("red", "red", len(own))
    assert len(own) == 2


def test_attention_does_not_see_the_output_of_the_last_layer(minilm: Model) -> None:
    mutation = Mutation("shuffle-output", Head(5, 11))
    trial = try_mutation(minilm, mutation, shipped("minilm", "coreference", "objects"))
    assert (trial.wanted, trial.found, trial.as_wanted) == ("unseen", "green", True)
    assert trial.note == "no layer comes after it, so its output reaches no attention"


def test_a_swapped_head_is_reported_where_it_is_now(minilm: Model) -> None:
    mutation = Mutation("swap-heads", Head(3, 1), Head(3, 7))
    trial = try_mutation(minilm, mutation, shipped("minilm", "coreference"))
    assert trial.found == "moved"
    assert trial.note.startswith("L3H1 moved to L3H7 (divergence 0.000 nats")
    assert trial.blocking > 10


@pytest.mark.parametrize(
    "mutation",
    [Mutation("shuffle-output", Head(18, 6)), Mutation("reinit-layer", layer=22)],
    ids=str,
)
def test_the_shipped_suites_of_smollm2_notice_damage(smollm2: Model, mutation: Mutation) -> None:
    trial = try_mutation(smollm2, mutation, shipped("smollm2", "smollm2-downstream"))
    assert (trial.wanted, trial.found) == ("red", "red")


# A tool that can fail ----------------------------------------------------------------------------

TEXT = "The keys near the cabinet are old."


def suite(text: str) -> tuple[Case, ...]:
    return cases.parse(yamltext.loads(text.encode(), "a.attn.yaml"))


def one_case(expect: str, more: str = "") -> str:
    return (
        f"version: 1\nsuite: s\ncases:\n  - id: a\n    text: {TEXT}\n    expect: [{expect}]\n{more}"
    )


# Holds of any model whose rows sum to 1: it notices nothing.
WEAK = "ignores: {from: are, to: keys, heads: L1H2, max: 0.999}"


@pytest.fixture(scope="module")
def bert() -> Model:
    return Model.of(tiny_network("bert"), tiny_tokenizer(), name="tiny")


def tight(model: Model) -> str:
    """A rule that pins a weight of L1H2 from both sides."""
    sample = Sample(TEXT)
    (case,) = suite(one_case("attends: {from: are, to: keys, heads: L1H2, min: 0.0001}"))
    rule = case.expectations[0].rule
    (need,) = (one for one in rule.needs(model.encode(sample)) if isinstance(one, Need))
    observed = rule.judge(model.collect([need])).observed
    low, high = observed - 0.002, observed + 0.002
    return f"attends: {{from: are, to: keys, heads: L1H2, min: {low:.5f}, max: {high:.5f}}}"


def test_a_suite_that_notices_nothing_is_found_out(bert: Model) -> None:
    trial = try_mutation(bert, Mutation("shuffle-queries", Head(1, 2)), suite(one_case(WEAK)))
    assert (trial.wanted, trial.found, trial.as_wanted) == ("red", "green", False)


def test_a_suite_that_pins_the_head_notices(bert: Model) -> None:
    found = suite(one_case(tight(bert)))
    assert judge_all(bert, found) == {found[0]: "passed"}
    trial = try_mutation(bert, Mutation("reinit-all"), found)
    assert (trial.found, trial.blocking, trial.advisory, dict(trial.suites)) == (
        "red",
        1,
        0,
        {"s": 1},
    )


def test_what_only_advises_turns_nothing_red(bert: Model) -> None:
    found = suite(one_case(tight(bert), "    severity: advisory\n"))
    trial = try_mutation(bert, Mutation("reinit-all"), found)
    assert (trial.found, trial.blocking, trial.advisory) == ("green", 0, 1)


def test_a_harmless_change_that_breaks_a_case_is_found_out(
    bert: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "attnprobe.mutants.damage.in_bfloat16", lambda model: mutant(model, Mutation("reinit-all"))
    )
    last = list(read_otherwise(bert, suite(one_case(tight(bert)))))[-1]
    assert (last.wanted, last.found, last.as_wanted) == ("green", "red", False)


def test_a_suite_that_fails_as_it_is_says_so_first(bert: Model) -> None:
    found = suite(one_case("attends: {from: are, to: keys, heads: L1H2, min: 0.999}"))
    first = next(trials(bert, found))
    assert (first.variant, first.wanted, first.found) == ("unchanged", "green", "red")


def test_outcomes_are_those_of_pytest(
    bert: Model, probe: Callable[..., pytest.RunResult], write_cases: Callable[..., Path]
) -> None:
    """Each outcome once; an error is an error for an xfail as well."""
    fails = "attends: {from: are, to: keys, heads: mean, min: 0.99}"
    holds = "attends: {from: are, to: keys, heads: mean, min: 0.0001}"
    broken = "attends: {from: are, to: keys, heads: L9H9, min: 0.1}"
    text = "".join(
        f"- id: {name}\n  text: {TEXT}\n  expect: [{rule}]\n{more}"
        for name, rule, more in (
            ("a", holds, ""),
            ("b", fails, ""),
            ("c", fails, "  xfail: known\n"),
            ("d", holds, "  xfail: known\n"),
            ("e", broken, ""),
            ("f", broken, "  xfail: known\n"),
            ("g", fails, "  skip: not now\n"),
        )
    )
    path = write_cases(text)
    found = judge_all(bert, cases.load(path, path.name))
    assert {case.id: outcome for case, outcome in found.items()} == {
        "a": "passed",
        "b": "failed",
        "c": "xfailed",
        "d": "xpassed",
        "e": "error",
        "f": "error",
    }
    # pytest counts a strict xpass among the failed.
    probe().assert_outcomes(passed=1, failed=2, xfailed=1, errors=2, skipped=1)


def test_known_gaps_and_advice_pin_no_head(bert: Model) -> None:
    text = (
        "version: 1\nsuite: s\ncases:\n"
        f"  - {{id: a, text: {TEXT}, expect: [{{attends: {{from: are, to: keys, "
        "heads: [L1H2, L0], min: 0.1}}]}\n"
        f"  - {{id: b, text: {TEXT}, xfail: known, expect: [{{attends: {{from: are, to: keys, "
        "heads: L0H1, min: 0.1}}]}\n"
        f"  - {{id: c, text: {TEXT}, severity: advisory, expect: [{{attends: {{from: are, "
        "to: keys, heads: L0H3, min: 0.1}}]}\n"
    )
    assert pinned_heads(suite(text), bert.sites["encoder"]) == (Head(1, 2),)
    found = [str(mutation) for mutation in plan(suite(text), bert.sites["encoder"], rotary=True)]
    assert found == [
        "shuffle-queries L1H2",
        "shuffle-output L1H2",
        "reinit-layer L0",
        "reinit-layer L1",
        "reinit-layer L2",
        "reinit-all",
        "permute-embeddings",
        "halve-positions",
        "swap-heads L1H2",
        "resave",
        "bfloat16",
    ]


def test_the_largest_change_is_over_all_later_weights_of_all_texts(bert: Model) -> None:
    changed = mutant(bert, Mutation("shuffle-output", Head(0, 1)))
    text = one_case(WEAK, f"  - id: b\n    text: Old keys.\n    expect: [{WEAK}]\n")
    text = text.replace("Old keys.", "Old keys are here.")
    largest = []
    for sample in (Sample(TEXT), Sample("Old keys are here.")):
        rows = tuple(range(len(bert.encode(sample).source)))
        need = Need(sample, "encoder", (1, 2), rows)
        (was,), (now,) = bert.collect([need]), changed.collect([need])
        largest += [np.abs(was.weights[layer] - now.weights[layer]).max() for layer in (1, 2)]
    found = largest_change(bert, changed, suite(text), after=0)
    assert found == pytest.approx(max(largest), abs=1e-6)
    assert found > 0
    assert largest_change(bert, changed, suite(text), after=2) == 0


# The command and the page ------------------------------------------------------------------------


def run(folder: Path, *arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["mutants", *map(str, arguments)], env={"COLUMNS": "300"})
    if isinstance(result.exception, AttnprobeError):
        return 2, str(result.exception)
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bert") / "model"
    tiny_network("bert").save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


def test_the_command_exits_1_for_a_suite_that_notices_nothing(
    folder: Path, bert: Model, tmp_path: Path
) -> None:
    (tmp_path / "weak.attn.yaml").write_text(one_case(WEAK), encoding="utf-8")
    page = tmp_path / "mutants.md"
    status, text = run(folder, tmp_path, "--model", f"small={folder}", "--page", page)
    assert status == 1
    assert re.search(r"shuffle-queries L1H2\s*│\s*red\s*│\s*green \(!\)", text)
    lines = [line for line in text.splitlines() if line.startswith("│")]
    slipped = ["(!)" in line for line in lines]
    assert slipped == sorted(slipped)
    assert any(slipped)
    assert len(lines) == count_trials(bert, suite(one_case(WEAK)))
    written = page.read_text(encoding="utf-8")
    assert "## small\n" in written
    assert "| shuffle-queries L1H2 | red | green (!) | 0 | 0 |  |  |" in written
    assert str(tmp_path) not in written
    assert str(folder) not in written


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--model", "a/model", "--model", "b/a"], "two models have the same name"),
        (["--model", "x=somewhere"], "no model at|no folder|no weights"),
    ],
)
def test_the_command_refuses(
    folder: Path, tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    (tmp_path / "weak.attn.yaml").write_text(one_case(WEAK), encoding="utf-8")
    status, text = run(folder, tmp_path, *arguments)
    assert status == 2
    assert re.search(complaint, text)


def test_no_case_is_an_error(folder: Path, tmp_path: Path) -> None:
    assert run(folder, tmp_path, "--model", folder) == (2, "no case file; they end in .attn.yaml")
    text = one_case(WEAK).replace("suite: s", "suite: s\nmodel: other")
    (tmp_path / "other.attn.yaml").write_text(text, encoding="utf-8")
    status, said = run(folder, tmp_path, "--model", f"small={folder}")
    assert status == 2
    assert said.startswith("no case is for small")


def trial(wanted: str, found: str, suites: Mapping[str, int] | None = None) -> Trial:
    return Trial("m", "reinit-all", wanted, found, 3, 1, suites or {}, "a|b [x](y) <i>")


def test_the_page_shows_names_and_notes_as_text() -> None:
    facts = ModelFacts("a*b", "BertModel", "encoder, 2 layers of 3 heads", "00ff", 7)
    page = as_page([(facts, [trial("red", "red", {"s_1": 3, "t": 1})])])
    assert "## a\\*b\n" in page
    assert "7 cases; weights sha256 `00ff`" in page
    assert "| 3 | 1 | s\\_1 3, t 1 | a\\|b \\[x\\](y) &lt;i> |" in page


def test_the_summary_counts_each_kind() -> None:
    found = [
        trial("red", "red"),
        trial("red", "green"),
        trial("green", "green"),
        trial("moved", "mistaken"),
        trial("unseen", "green"),
    ]
    assert summary_line(found) == (
        "1 of 2 damaged variants are caught; 1 of 1 harmless ones stay green; 0 of 1 swapped heads "
        "are reported as moved; 1 of 1 cannot be seen in attention"
    )
    assert cells(found[1])[2] == "green (!)"


def test_the_page_in_the_docs_has_no_survivor() -> None:
    page = (ROOT / "docs" / "mutants.md").read_text(encoding="utf-8")
    assert "## minilm\n" in page
    assert "## smollm2\n" in page
    assert "(!)" not in page


@pytest.mark.parametrize(("name", "rotary"), [("minilm", False), ("smollm2", True)])
def test_the_page_in_the_docs_is_of_the_shipped_suites(
    name: str, rotary: bool, request: pytest.FixtureRequest
) -> None:
    model: Model = request.getfixturevalue(name)
    found = [
        case
        for file in sorted((ROOT / "cases").glob("*.attn.yaml"))
        for case in cases.load(file, file.name)
        if (case.model or "minilm") == name and case.skip is None
    ]
    page = (ROOT / "docs" / "mutants.md").read_text(encoding="utf-8")
    assert f"no attention weight by {SEEN_FROM} or more" in page
    section = page.split(f"## {name}\n")[1].split("\n## ")[0]
    assert f"{len(found)} cases" in section
    rows = re.findall(r"^\| ([^|]+?) \|", section, re.MULTILINE)
    (site,) = model.sites.values()
    assert {str(mutation) for mutation in plan(found, site, rotary=rotary)} <= set(rows)
