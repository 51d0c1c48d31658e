"""What the gate notes besides its verdict: tokenizers, head sets, position."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from attnprobe.core.sites import Head
from attnprobe.gate import Policy
from attnprobe.results.files import write_json
from attnprobe.results.records import OrderResult, read_results
from attnprobe.words.heads import HeadSet
from tests.support.made_up_decisions import case, decide, expectation, many
from tests.support.made_up_results import MODEL, run


def test_a_suite_that_position_gives_away_is_told() -> None:
    order = OrderResult("x", "coreference", None, 9, "take the first of the two words", -2, 8)
    decision = decide(run(*many(3), order=(order,)))
    assert decision.exit_code == 0
    assert decision.notes == (
        "position alone does as well as the heads in suite coreference: take the first of the two "
        "words",
    )


def test_heads_that_were_chosen_on_other_weights_are_told() -> None:
    other = HeadSet("subject", (Head(3, 1),), "minilm", None, "53aa51172d142c89" * 4)
    own = replace(other, name="own", weights_sha256=MODEL.weights_sha256)
    unknown = HeadSet("mine", (Head(3, 1),))
    cases = [
        case("a", expectations=(expectation(head_sets=(other, own)), expectation())),
        case("b", expectations=(expectation(head_sets=(other,)),) * 2),
        case("c", expectations=(expectation(head_sets=(unknown,)),)),
    ]
    decision = decide(run(*cases))
    assert decision.exit_code == 0
    assert decision.notes == (
        "heads @subject of 2 attention checks were chosen on minilm, weights 53aa51172d14; model "
        "minilm has other weights: scan it again, or see attnprobe compare for where the heads "
        "moved",
        "heads @mine of 1 attention check on model minilm: the lock file does not say on which "
        "weights they were chosen",
    )
    # The hash of a network that a project's own loader built is of another kind.
    made = replace(MODEL, weights_format=None)
    found = decide(run(*cases[:2], models=(made,)), Policy(own_loader="allow"))
    assert (found.exit_code, found.notes) == (0, ())


def test_results_from_before_head_sets_are_read(tmp_path: Path) -> None:
    older = run(*many(3)).to_json()
    for item in older["cases"]:
        for entry in item["expectations"]:
            del entry["head_sets"]
    write_json(tmp_path / "r.json", older)
    assert read_results(tmp_path / "r.json") == run(*many(3))


def test_a_tokenizer_from_elsewhere_is_noted() -> None:
    named = replace(MODEL, tokenizer="models/old")
    (note,) = [note for note in decide(run(*many(3), models=(named,))).notes if "tokenizer" in note]
    assert note.startswith("the texts of model minilm were read with the tokenizer of models/old (")
    assert not [note for note in decide(run(*many(3))).notes if "tokenizer" in note]
