"""Which word pairs a rule is tried on: each rule below is written out in control_pairs.txt."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnprobe.core.texts import PAIR_BREAK, Encoding, Sample, Tokens
from attnprobe.rules import parse_rule
from attnprobe.rules.chance import WordPairChance, WordPairs
from tests.support.made_up import encoding, tokens, with_site

WRITTEN = Path(__file__).with_name("control_pairs.txt")
PLAIN = encoding("The ani|mals slept near the old riv|er .")
DECODER = encoding("The keys to it are old now .", site="decoder", causal=True, ends=False)
LONG = encoding(" ".join(f"w{number}" for number in range(70)))
MOST = 40  # pairs that are written out; of more, a hash


def two_texts(first: str, second: str, **changes: Any) -> Encoding:
    """Two texts in one sequence, `[CLS] first [SEP] second [SEP]`."""
    one, two = tokens(first), tokens(second)
    start = len(one.text) + len(PAIR_BREAK)
    shifted = [span and type(span)(span.start + start, span.end + start) for span in two.spans[1:]]
    both = replace(
        one,
        text=one.text + PAIR_BREAK + two.text,
        ids=tuple(range(len(one) + len(two) - 1)),
        pieces=one.pieces + two.pieces[1:],
        spans=(*one.spans, *shifted),
        special=one.special + two.special[1:],
        parts=Sample(one.text, pair=two.text).parts,
    )
    read = encoding("x", **changes)
    return replace(read, sample=Sample(one.text, pair=two.text), source=both)


def with_unknown(read: Encoding, *positions: int) -> Encoding:
    return replace(read, source=replace(read.source, unknown=positions))


def changed(read: Encoding, at: int, **fields: Any) -> Encoding:
    """The text with another span or role of one token."""
    found = {
        name: (*getattr(read.source, name)[:at], value, *getattr(read.source, name)[at + 1 :])
        for name, value in fields.items()
    }
    return replace(read, source=replace(read.source, **found))


def drawn(
    read: Encoding, from_: object, to: object, *, kind: str = "attends", **more: Any
) -> tuple[WordPairChance, WordPairs]:
    bounds = {"max": 0.3} if kind == "ignores" else {"min": 0.3}
    stated = {"heads": "L0H0", "from": from_, "to": to, **bounds, **more}
    chance = parse_rule(kind, stated).chance(read)
    assert chance is not None
    return chance, chance.controls(read, [chance.pair])


CLS, SEP = {"special": "cls"}, {"special": "sep"}
PAIR = two_texts("The keys near the door are old .", "The an|imal was in the street .")
SEAM = two_texts("The keys are old .", "The an|imal was tired .", site="decoder", causal=True)
CROSS = encoding("The dog barks loud", "Der Hund bellt laut", site="cross")
RULES: dict[str, tuple[Encoding, dict[str, Any]]] = {
    "before": (PLAIN, {"from_": "river", "to": "slept"}),
    "after": (PLAIN, {"from_": "The", "to": "animals"}),
    "far": (PLAIN, {"from_": ".", "to": "animals"}),
    "phrases": (PLAIN, {"from_": "near", "to": "old river"}),
    "a wide query": (PLAIN, {"from_": "old river", "to": "slept"}),
    "over": (PLAIN, {"from_": "near", "to": "slept", "over": "animals"}),
    "over on the other side": (PLAIN, {"from_": "near", "to": "slept", "over": "river"}),
    "over a phrase": (PLAIN, {"from_": "near", "to": "slept", "over": "old river"}),
    "over the query itself": (PLAIN, {"from_": "near", "to": "slept", "over": "near"}),
    "to a special token": (PLAIN, {"from_": "river", "to": SEP}),
    "to a special token over a word": (PLAIN, {"from_": "river", "to": CLS, "over": "old"}),
    "from a special token": (PLAIN, {"from_": CLS, "to": "old"}),
    "from the first token": (PLAIN, {"from_": {"special": "first"}, "to": "old"}),
    "a union": (PLAIN, {"from_": "river", "to": ["slept", "near"]}),
    "unknown words": (with_unknown(PLAIN, 2, 6), {"from_": "river", "to": "slept"}),
    "an unknown contrast": (
        with_unknown(PLAIN, 2),
        {"from_": "river", "to": "slept", "over": "near"},
    ),
    "a special token in the text": (
        changed(PLAIN, 5, special="sep"),
        {"from_": "river", "to": "slept"},
    ),
    "a token without characters": (
        changed(PLAIN, 5, spans=None),
        {"from_": "river", "to": "slept"},
    ),
    "ignores": (PLAIN, {"from_": "river", "to": "slept", "kind": "ignores"}),
    "causal": (DECODER, {"from_": "are", "to": "keys"}),
    "causal to the first token": (DECODER, {"from_": "are", "to": "The"}),
    "causal over the first token": (DECODER, {"from_": "are", "to": "it", "over": "The"}),
    "causal over another": (DECODER, {"from_": "are", "to": "it", "over": "to"}),
    "predicts": (DECODER, {"from_": {"predicts": "are"}, "to": "keys"}),
    "predicts, to the word before": (DECODER, {"from_": {"predicts": "are"}, "to": "it"}),
    "predicts, at the end": (DECODER, {"from_": {"predicts": "."}, "to": "it"}),
    "predicts, unknown words": (
        with_unknown(DECODER, 2, 4),
        {"from_": {"predicts": "now"}, "to": "keys"},
    ),
    "windows": (with_site(PLAIN, windows={0: 3}), {"from_": "river", "to": "old"}),
    "a blind layer": (
        with_site(PLAIN, windows={0: 2}),
        {"from_": "river", "to": "the", "heads": "any"},
    ),
    "a blind layer, ignores": (
        with_site(PLAIN, windows={0: 3}),
        {"from_": "river", "to": "the", "heads": "any", "kind": "ignores"},
    ),
    "two texts": (PAIR, {"from_": "animal", "to": "keys"}),
    "two texts, back": (PAIR, {"from_": "keys", "to": "animal"}),
    "two texts, in the first": (PAIR, {"from_": "old", "to": "door"}),
    "two texts, in the second": (PAIR, {"from_": "street", "to": "was"}),
    "two texts, over one of the other": (PAIR, {"from_": "street", "to": "was", "over": "keys"}),
    "two texts, from a special token": (PAIR, {"from_": CLS, "to": "street"}),
    "two texts, to special tokens": (PAIR, {"from_": "street", "to": SEP}),
    "two texts, predicts the first word": (
        SEAM,
        {"from_": {"pair": {"predicts": "The"}}, "to": "keys"},
    ),
    "two texts, predicts another word": (
        SEAM,
        {"from_": {"pair": {"predicts": "was"}}, "to": "keys"},
    ),
    "two texts, predicts in the first": (SEAM, {"from_": {"predicts": "old"}, "to": "keys"}),
    "cross": (CROSS, {"from_": "Hund", "to": "dog"}),
    "cross, over": (CROSS, {"from_": "Hund", "to": "dog", "over": "barks"}),
    "many words": (LONG, {"from_": "w40", "to": "w39"}),
    "many words over others": (LONG, {"from_": "w40", "to": "w39", "over": "w45"}),
    "many pairs": (LONG, {"from_": "w60", "to": "w20"}),
    "many pairs over others": (LONG, {"from_": "w60", "to": "w20", "over": "w1"}),
}


def spelled(positions: Sequence[int], of: Tokens) -> str:
    return " ".join(of.pieces[at] for at in positions)


def write_out(read: Encoding, chance: WordPairChance, found: WordPairs) -> Iterator[str]:
    """The geometry of a rule, then the words of each control pair."""
    pair = chance.pair
    yield f"{pair.geometry} in texts {pair.geometry.texts}"
    queries, keys = read.queries(pair.site), read.keys(pair.site)
    lines = []
    for number in range(len(found)):
        line = f"{spelled(found.queries[found.query[number]], queries)} → "
        line += spelled(found.keys[found.key[number]], keys)
        if found.contrast is not None:
            line += f" over {spelled(found.contrasts[found.contrast[number]], keys)}"
        lines.append(line)
    if len(lines) <= MOST:
        yield from lines
    else:
        digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        queries_drawn = len(set(found.query.tolist()))
        yield f"{len(lines)} pairs of {queries_drawn} queries, sha256 {digest[:16]}"


def written() -> dict[str, list[str]]:
    """The lines below each heading of the file."""
    parts = WRITTEN.read_text("utf-8").split("\n## ")[1:]
    return {name: body for name, *body in (part.rstrip("\n").split("\n") for part in parts)}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_tried_on_what_is_written(name: str) -> None:
    """The pairs are those of earlier versions as well: only the model changes a chance rate."""
    read, stated = RULES[name]
    chance, found = drawn(read, **stated)
    assert list(write_out(read, chance, found)) == written()[name]
    # Indices, also where there are none.
    assert {found.query.dtype, found.key.dtype} == {np.dtype(np.int64)}
    assert found.contrast is None or found.contrast.dtype == np.int64


class Plain(WordPairChance):
    """The chance of a rule of another package, which draws its pairs as it is given them."""

    def needs(self, encoding: Encoding, pairs: WordPairs) -> Any:
        raise NotImplementedError

    def judge(self, rows: Sequence[Any], pairs: WordPairs) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("name", ["before", "over", "a blind layer, ignores"])
def test_a_rule_of_another_package_is_tried_on_the_same(name: str) -> None:
    read, stated = RULES[name]
    chance, _ = drawn(read, **stated)
    own = Plain(chance.pair)
    assert list(write_out(read, own, own.controls(read, [chance.pair]))) == written()[name]


def test_nothing_else_is_written() -> None:
    assert list(written()) == list(RULES)
