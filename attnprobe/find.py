"""Finds the heads by which one word attends to another.

With one text it can only rank. Where there are several, a head is chosen on every other text,
starting with the first, and shown on the texts between them, which had no say in the choice.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import yaml

from attnprobe.core.errors import SelectorError
from attnprobe.core.names import BATCH_TOKENS
from attnprobe.core.needs import Need, Rows
from attnprobe.core.printing import as_label
from attnprobe.core.reader import Reader, answers
from attnprobe.core.sites import Head, SiteName
from attnprobe.core.texts import Encoding, Sample, Span, case_fields
from attnprobe.core.wording import format_decimals, plural
from attnprobe.rules.attends import Attends
from attnprobe.rules.calls import called_rule
from attnprobe.rules.frame import Doubles
from attnprobe.words.locate import locate
from attnprobe.words.positions import positions
from attnprobe.words.selectors import parse_selector

# The most heads that are tried on other word pairs.
TOP = 10
# A bound lies this far below the smallest weight that it is for.
BOUND_SHARE = 0.8
_LEAST_BOUND = 0.002
_MARK = re.compile(r"\[(from|to|over) ([^\[\]]*[^\[\]\s])\]")


@dataclass(frozen=True)
class Asked:
    """A text and the words in question, as values of a case file's selectors.

    Attributes:
        over: the word that `to` competes with; None for none.
    """

    sample: Sample
    from_: object
    to: object
    over: object = None

    def rule(self, site: SiteName | None, **arguments: object) -> Attends:
        """The rule that the word attends to the other one."""
        given = {"from": self.from_, "to": self.to, "over": self.over, "site": site, **arguments}
        rule = called_rule("attends", {key: value for key, value in given.items() if value})
        assert isinstance(rule, Attends)
        return rule


def read_marked(sample: Sample, **words: object) -> Asked:
    """A text whose words are marked, as in `[to Maria] said that [from she] is late.`

    Args:
        sample: the marks stand in its text, pair or target.
        words: `from_`, `to` and `over`, for words that are not marked.

    Raises:
        SelectorError: a word is marked twice, or neither marked nor given.
    """
    found: dict[str, object] = {}
    text, in_text = _unmarked(sample.text)
    pair, in_pair = _unmarked(sample.pair or "")
    target, in_target = _unmarked(sample.target or "")
    spans = {"text": in_text, "pair": in_pair, "target": in_target}
    bare = replace(
        sample,
        text=text,
        pair=None if sample.pair is None else pair,
        target=None if sample.target is None else target,
    )
    for field, marked in spans.items():
        for name, span in marked:
            if name in found:
                raise SelectorError(f"[{name} ...] is marked twice in {written_text(sample)!r}")
            found[name] = _value(span, field, bare)
    for name, key in (("from", "from_"), ("to", "to"), ("over", "over")):
        given = words.get(key)
        if name in found or given is not None:
            found.setdefault(name, given)
        elif name != "over":
            raise SelectorError(
                f"no word is marked as [{name} ...] in {written_text(sample)!r}; mark it, or name "
                f"it with {name}"
            )
    for name, value in found.items():
        try:
            if value is not None:
                parse_selector(value)
        except ValueError as error:
            raise SelectorError(f"{name}: {error}") from None
    return Asked(bare, found["from"], found["to"], found.get("over"))


def written_text(sample: Sample) -> str:
    """The start of a sample's text, for a message."""
    return as_label(sample.text, 60)


def _unmarked(text: str) -> tuple[str, list[tuple[str, Span]]]:
    """A text without its marks, and the words that were marked."""
    plain = ""
    end = 0
    marked: list[tuple[str, Span]] = []
    for match in _MARK.finditer(text):
        plain += text[end : match.start()]
        marked.append((match[1], Span(len(plain), len(plain) + len(match[2]))))
        plain += match[2]
        end = match.end()
    return plain + text[end:], marked


def _value(span: Span, field: str, sample: Sample) -> object:
    """The plainest selector of a word: the word itself, which occurrence it is, its characters."""
    in_target = field == "target"
    text = sample.target or "" if in_target else sample.joined
    parts = () if in_target else sample.parts
    part = next((part for part in parts if part.which == field), None)
    start = 0 if part is None else part.start
    whole = Span(span.start + start, span.end + start)
    word = text[slice(*whole)]
    nth = 1 + (part.text if part else text)[: span.start].count(word)
    inner: tuple[object, ...] = (word, {"word": word, "nth": nth}, {"chars": [*span]})
    values = inner if part is None or field == "text" else ({field: value} for value in inner)
    for value in (word, *values):
        try:
            if locate(parse_selector(value), text, parts=parts) == (whole,):
                return value
        except SelectorError:
            continue
    raise SelectorError(f"{word!r} cannot be named in {written_text(sample)!r}")


class Others(NamedTuple):
    """How many other word pairs of the texts pass as well, of those that could be judged."""

    passed: int
    judged: int


@dataclass(frozen=True)
class FoundHead:
    """A head, and how it does on the texts.

    Attributes:
        weights: of the word attended to, one for each text.
        contrasts: of the word that it competes with, 0 without one.
        bound: what a case may demand, from the texts that the head was chosen on; None where the
            weight is too small for one.
        others: over the texts that the head is shown on; None without a bound.
    """

    head: Head
    weights: tuple[float, ...]
    contrasts: tuple[float, ...]
    bound: float | None
    others: Others | None = None

    def mean_weight(self, texts: Sequence[int]) -> float:
        return float(np.mean([self.weights[at] for at in texts]))

    def mean_margin(self, texts: Sequence[int]) -> float:
        """The mean of weight less contrast."""
        return float(np.mean([self.weights[at] - self.contrasts[at] for at in texts]))

    def holds(self, text: int) -> bool:
        """Whether the head reaches the bound on a text, and the word outweighs its rival."""
        return (
            self.bound is not None
            and self.weights[text] >= self.bound
            and self.weights[text] > self.contrasts[text]
        )


@dataclass(frozen=True)
class Found:
    """The heads by which one word attends to another, the strongest first.

    Attributes:
        model: the model's name.
        tried: how many heads the site has.
        heads: the strongest on the texts that they are chosen on: by their margin over a rival
            where one is named, else by their weight.
        chosen_on, shown_on: the texts that heads are chosen and shown on; the same one text where
            there is only one.
    """

    model: str
    site: SiteName
    asked: tuple[Asked, ...]
    tried: int
    heads: tuple[FoundHead, ...]
    chosen_on: tuple[int, ...]
    shown_on: tuple[int, ...]

    @property
    def is_evidence(self) -> bool:
        """Whether heads are shown on other texts than they were chosen on."""
        return len(self.asked) > 1

    @property
    def summary(self) -> str:
        """What the strongest head is, and what that says."""
        best = self.heads[0]
        if best.bound is None:
            return f"No head of {plural(self.tried, 'head')} gives the word weight enough to demand"
        others = best.others or Others(0, 0)
        beside = (
            f"{others.passed} of {plural(others.judged, 'other word pair')} there would pass too."
            if others.judged
            else "There is no other word pair to compare with."
        )
        if not self.is_evidence:
            return (
                f"{best.head} is the strongest of {plural(self.tried, 'head')} on one text, which "
                "is no evidence: some head always is. Give more texts to choose and to show it on "
                f"different ones. {beside}"
            )
        held = sum(best.holds(at) for at in self.shown_on)
        verdict = ": the choice does not carry over" if 2 * held < len(self.shown_on) else ""
        return (
            f"{best.head}, chosen on {plural(len(self.chosen_on), 'text')}, reaches "
            f"{best.bound:g} on {held} of {plural(len(self.shown_on), 'other text')} (mean weight "
            f"{format_decimals(best.mean_weight(self.shown_on))}){verdict}. {beside}"
        )

    def table(self) -> tuple[tuple[str, ...], ...]:
        """A header and a line for each head, as text.

        Weights and margins are means over the texts that heads are chosen on, and over the others.
        """
        rival = any(entry.over is not None for entry in self.asked)
        groups = [("", self.chosen_on)]
        if self.is_evidence:
            groups.append((" on others", self.shown_on))
        header = ["head"]
        for where, _ in groups:
            header += [f"weight{where}", *([f"margin{where}"] if rival else [])]
        header += ["bound", *(["holds on"] if self.is_evidence else []), "other pairs that pass"]
        return (
            tuple(header),
            *(self._line(head, [at for _, at in groups], rival=rival) for head in self.heads),
        )

    def _line(
        self, head: FoundHead, groups: Sequence[Sequence[int]], *, rival: bool
    ) -> tuple[str, ...]:
        line = [str(head.head)]
        for texts in groups:
            line.append(format_decimals(head.mean_weight(texts)))
            if rival:
                line.append(f"{head.mean_margin(texts):+.3f}".replace("-", "−"))
        line.append("" if head.bound is None else f"{head.bound:g}")
        if self.is_evidence:
            line.append(f"{sum(map(head.holds, self.shown_on))} of {len(self.shown_on)}")
        line.append("" if head.others is None else f"{head.others.passed} of {head.others.judged}")
        return tuple(line)

    def __str__(self) -> str:
        table = self.table()
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in table
        ]
        return "\n".join([*lines, self.summary])

    def suite(self, name: str = "found", *, without: Collection[str] = ()) -> str:
        """A case file that demands the strongest head on every text.

        A text on which the head fails gets an `xfail` with its weight.

        Args:
            without: ids of cases to leave out.

        Raises:
            SelectorError: no head gives the word weight enough to demand.
        """
        best = self.heads[0]
        if best.bound is None:
            raise SelectorError(f"{self.summary}, so there is no case")
        lines = [*_comment(self.summary), "version: 1", f"suite: {name}"]
        lines += [f"defaults: {{site: {self.site}, heads: {best.head}}}", "cases:"]
        for number, asked in enumerate(self.asked):
            if _id(number) not in without:
                lines += self._case(best, number, asked)
        return "\n".join(lines) + "\n"

    def _case(self, best: FoundHead, number: int, asked: Asked) -> list[str]:
        shown = f"weight {format_decimals(best.weights[number])}"
        if asked.over is not None:
            shown += f", {format_decimals(best.contrasts[number])} on the rival"
        role = "chosen on this text" if number in self.chosen_on else "not chosen on this text"
        rule: dict[str, object] = {"from": asked.from_, "to": asked.to, "min": best.bound}
        if asked.over is not None:
            rule["over"] = asked.over
        fields = case_fields(asked.sample)
        if not best.holds(number):
            fields["xfail"] = shown
        return [
            f"  - id: {_id(number)}  # {shown}; {role}",
            *(f"    {key}: {_yaml(value)}" for key, value in fields.items()),
            f"    expect: [{{attends: {_yaml(rule)}}}]",
        ]


def _id(number: int) -> str:
    return f"text-{number + 1}"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, 98, initial_indent="# ", subsequent_indent="# ")


def _yaml(value: object) -> str:
    """A value in YAML's flow style, on one line."""
    text: str = yaml.safe_dump(
        value, default_flow_style=True, allow_unicode=True, width=math.inf, sort_keys=False
    )
    return text.removesuffix("\n...\n").removesuffix("\n")


def find(
    model: Reader,
    asked: Sequence[Asked],
    *,
    site: SiteName | None = None,
    top: int = TOP,
    batch_tokens: int = BATCH_TOKENS,
) -> Found:
    """The heads by which the word attends to the other one, over all texts.

    Args:
        site: needed only where the model has several.
        top: how many heads to keep and to try on other word pairs.

    Raises:
        SelectorError: there is no text, or a word is not in its text.
        TypeError: a value is no word selector.
        ModelError: the model has no such site, or several and none is named.
    """
    if not asked:
        raise SelectorError("heads are found on texts; give at least one")
    encodings = [model.encode(entry.sample) for entry in asked]
    name = encodings[0].site(site).name
    # A bound that any weight may miss; the rule checks the words.
    rules = [entry.rule(name, heads="any", min=0.5) for entry in asked]
    needs = [rule.needs(at)[0] for rule, at in zip(rules, encodings, strict=True)]
    rows = answers(model, needs, batch_tokens=batch_tokens)
    heads = encodings[0].site(name).all_heads()
    weights, contrasts = np.zeros((2, len(asked), len(heads)))
    for number, (rule, need, encoding) in enumerate(zip(rules, needs, encodings, strict=True)):
        found = rows[need]
        assert isinstance(found, Rows)
        weights[number] = _weights(found, rule.to, encoding, name)
        if rule.over is not None:
            contrasts[number] = _weights(found, rule.over, encoding, name)
    numbers = range(len(asked))
    chosen = tuple(numbers[::2])
    shown = tuple(numbers[1::2]) or chosen
    order = np.argsort(-(weights - contrasts)[list(chosen)].mean(axis=0), kind="stable")[:top]
    kept = [
        FoundHead(
            heads[at],
            tuple(weights[:, at].tolist()),
            tuple(contrasts[:, at].tolist()),
            bound_for(float(weights[list(chosen), at].min())),
        )
        for at in order.tolist()
    ]
    tried = _others(
        model, kept, [(asked[at], encodings[at]) for at in shown], name, batch_tokens=batch_tokens
    )
    return Found(
        model.name,
        name,
        tuple(asked),
        len(heads),
        tuple(replace(head, others=tried.get(head.head)) for head in kept),
        chosen,
        shown,
    )


def _weights(rows: Rows, word: Any, encoding: Encoding, site: SiteName) -> Doubles:
    """The weight of a word in every head, `[heads]`: summed over its tokens, mean over the rows."""
    columns = list(positions(word, encoding.keys(site)))
    found = [
        rows.weights[layer][:, :, columns].astype(np.float64).sum(axis=-1).mean(axis=-1)
        for layer in sorted(rows.weights)
    ]
    return np.concatenate(found)


def bound_for(weight: float) -> float | None:
    """What a case may demand of a weight, with slack; None for a weight too small for a bound."""
    exact = BOUND_SHARE * weight
    step = 100 if exact >= 0.02 else 1000
    bound = math.floor(exact * step) / step
    return bound if bound >= _LEAST_BOUND else None


def _others(
    model: Reader,
    heads: Sequence[FoundHead],
    shown: Sequence[tuple[Asked, Encoding]],
    site: SiteName,
    *,
    batch_tokens: int,
) -> dict[Head, Others]:
    """For each head with a bound, how many other word pairs of the texts pass as well."""
    trials = []
    requests: list[Need] = []
    for head in heads:
        for entry, encoding in shown if head.bound is not None else ():
            chance = entry.rule(site, heads=str(head.head), min=head.bound).chance(encoding)
            pairs = chance.controls(encoding, [chance.pair]) if chance else ()
            if chance and pairs:
                needs = chance.needs(encoding, pairs)
                requests += needs
                trials.append((head.head, chance, pairs, needs))
    rows = answers(model, requests, batch_tokens=batch_tokens)
    counts = {head.head: Others(0, 0) for head in heads if head.bound is not None}
    for head_tried, chance, pairs, needs in trials:
        outcomes = chance.judge([rows[need] for need in needs], pairs)
        passed, judged = counts[head_tried]
        counts[head_tried] = Others(
            passed + int(outcomes.passed[outcomes.judged].sum()),
            judged + int(outcomes.judged.sum()),
        )
    return counts
