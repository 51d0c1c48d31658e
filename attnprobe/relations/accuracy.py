"""The accuracy of a head on a relation over many sentences, beside two controls.

One control is the best fixed distance. The other asks whether the head prefers certain words,
whichever word looks at them.

The best head of many on some sentences is worse on others, because luck is part of the choice. So
`how: best` chooses the head on one half of the sentences and judges it on the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from attnprobe.cases import Relation, Threshold
from attnprobe.core.charts import HeadGrid
from attnprobe.core.errors import AttnprobeError, MeasureError, SelectorError
from attnprobe.core.names import BATCH_TOKENS
from attnprobe.core.needs import Need, Rows
from attnprobe.core.reader import Reader
from attnprobe.core.sites import Head, Site, SiteName
from attnprobe.core.stats import Interval, paired_p, wilson
from attnprobe.core.texts import Sample, Span
from attnprobe.core.verdicts import Verdict
from attnprobe.core.wording import format_percent, plural
from attnprobe.relations.arcs import Hits, Trial, best_offset_index, measure, measure_all
from attnprobe.relations.corpus import halves, read_corpus
from attnprobe.relations.gather import Arcs, ReadCorpus, gather
from attnprobe.relations.preference import Preference
from attnprobe.rules.base import Demand, hardest, verdict_of
from attnprobe.words.heads import HeadSet
from attnprobe.words.looks import MOST_UNKNOWN, OFFSETS, LabelledPair, Looks, find_looks

# The number of wrong arcs that a report quotes.
MOST_MISTAKES = 5


@dataclass(frozen=True)
class Mistake:
    """An arc that the head got wrong.

    Attributes:
        looked_at: the word that got the most attention, in the text of the key; for a token
            without characters, its name, such as `[SEP]`.
    """

    sample: Sample
    query: Span
    key: Span
    looked_at: Span | str


@dataclass(frozen=True)
class Accuracy:
    """The figures of a relation on the judged arcs.

    Attributes:
        n: the number of judged arcs.
        right: the number of arcs whose right word got the most attention.
        interval: the 95 % Wilson interval of the accuracy.
        best_offset: the fixed distance in words that is right most often on the same arcs.
        offset_right: the number of arcs for which that distance is right.
        better: the number of arcs that only the head gets right.
        worse: the number of arcs that only the fixed distance gets right.
        p: exact McNemar test of head against fixed distance, two-sided.
        preference: the preference control; None if no other word can look.
        head: `L3H1`, or `mean of 3 heads`.
        heads_tried: the number of heads that were tried before the choice; 1 without a choice.
        chosen_on: the number of arcs that the head was chosen on.
        left_out: the number of arcs that were not judged, by reason.
        unknown: share of unknown tokens among all tokens of the texts but special ones.
        mistakes: a few arcs that the head got wrong, in the order of the corpus; empty if the
            relation holds.
        tried: the accuracy of each head that was tried, on the arcs of the choice; None without a
            choice.
    """

    n: int
    right: int
    interval: Interval
    best_offset: int
    offset_right: int
    better: int
    worse: int
    p: float
    preference: Preference | None
    head: str
    heads_tried: int
    chosen_on: int
    left_out: Mapping[str, int]
    unknown: float
    notes: tuple[str, ...]
    sha256: str | None
    mistakes: tuple[Mistake, ...] = ()
    tried: HeadGrid | None = field(default=None, compare=False)

    @property
    def share(self) -> float:
        """The accuracy, 0 to 1."""
        return self.right / self.n

    @property
    def offset_share(self) -> float:
        """The accuracy of the best fixed distance on the same arcs, 0 to 1."""
        return self.offset_right / self.n


@dataclass(frozen=True)
class RelationFinding:
    """The accuracy of a relation and the verdict on each of its bounds, or the error instead.

    Attributes:
        verdicts: in the order of the relation's bounds; empty if there is an error.
        chosen_elsewhere: head sets of the lock file that were chosen on other weights.
    """

    relation: Relation
    accuracy: Accuracy | None
    verdicts: tuple[Verdict, ...]
    error: AttnprobeError | None
    chosen_elsewhere: tuple[HeadSet, ...] = ()


def judge(
    relation: Relation,
    model: Reader,
    *,
    read: ReadCorpus = read_corpus,
    batch_tokens: int = BATCH_TOKENS,
) -> RelationFinding:
    """Measures a relation and judges its bounds.

    An error of the relation becomes part of the finding.

    Args:
        read: reads a corpus file; its second argument is the file's name in messages.
    """
    (finding,) = judge_all([relation], model, read=read, batch_tokens=batch_tokens)
    return finding


def judge_all(
    relations: Sequence[Relation],
    model: Reader,
    *,
    read: ReadCorpus = read_corpus,
    batch_tokens: int = BATCH_TOKENS,
) -> list[RelationFinding]:
    """As `judge`, for each relation; those that read the same texts share the forward passes."""
    findings: dict[int, RelationFinding] = {}
    judging = [_judge(relation, model, read, batch_tokens) for relation in relations]
    # What each relation that is not done wants to know, and then the answer.
    answers: dict[int, Hits | AttnprobeError | None] = dict.fromkeys(range(len(relations)))
    while answers:
        trials: dict[int, Trial] = {}
        for number, answer in answers.items():
            try:
                if isinstance(answer, AttnprobeError):
                    trials[number] = judging[number].throw(answer)
                else:
                    trials[number] = judging[number].send(answer)
            except StopIteration as done:
                findings[number] = done.value
            except AttnprobeError as error:
                findings[number] = RelationFinding(relations[number], None, (), error)
        found = measure_all(model, list(trials.values()), batch_tokens=batch_tokens)
        answers = dict(zip(trials, found, strict=True))
    return [findings[number] for number in range(len(relations))]


def _judge(
    relation: Relation, model: Reader, read: ReadCorpus, batch_tokens: int
) -> Generator[Trial, Hits | None, RelationFinding]:
    """Yields what is to be measured, takes the hits of it, and returns the finding.

    So several relations can be measured together.

    Raises:
        CorpusError, CaseError: as `gather`.
        MeasureError: too few arcs can be judged, too many tokens are unknown, or a weight is not a
            number.
        SelectorError, ModelError: the model does not have the heads or the site.
    """
    arcs = gather(relation, read)
    site = _site(model, arcs, relation.site)
    heads = relation.heads.resolve(site)
    tried = 1
    judged: Sequence[LabelledPair] = arcs.pairs
    chosen: Hits | None = None
    if relation.choose:
        choose_on, judged = _split(arcs, relation.seed)
        candidates = [(head,) for head in heads]
        chosen = yield Trial(
            arcs.samples, choose_on, site.name, candidates, arcs.words, relation.among
        )
        assert chosen is not None
        if not len(chosen.right):
            _unknown_share([chosen])
            raise MeasureError(
                "no arc is left to choose a head on"
                + _describe_left_out(_count_left_out(arcs, chosen))
            )
        tried = len(candidates)
        # argmax takes the first of equally good heads.
        heads = candidates[int(chosen.right.sum(axis=0).argmax())]
    hits = yield Trial(
        arcs.samples, judged, site.name, [heads], arcs.words, relation.among, relation.seed
    )
    assert hits is not None
    measured = [hits, *([chosen] if chosen else [])]
    unknown = _unknown_share(measured)
    left_out = _count_left_out(arcs, *measured)
    if len(hits.right) < relation.least:
        half = " in the half to judge on" if relation.choose else ""
        raise MeasureError(
            f"only {plural(len(hits.right), 'arc')} can be judged{half}, "
            "which is under least: "
            f"{relation.least}; take more sentences, or say with least: that fewer will do"
            + _describe_left_out(left_out)
        )
    compared = int(hits.compared.sum())
    if compared < relation.least and any(bound.name in OF_PREFERENCE for bound in relation.bounds):
        raise MeasureError(
            f"of {len(hits.right)} judged arcs only {compared} have another word in the sentence "
            f"that can look at the same word, which is under least: {relation.least}; take longer "
            "sentences, or drop above_preference" + _describe_left_out(left_out)
        )
    accuracy = _accuracy(
        hits,
        head=str(heads[0]) if len(heads) == 1 else f"mean of {len(heads)} heads",
        heads_tried=tried,
        chosen_on=len(chosen.right) if chosen else 0,
        left_out=left_out,
        unknown=unknown,
        arcs=arcs,
        tried=_grid(chosen, site, heads) if chosen else None,
    )
    verdicts = tuple(
        verdict_of(
            _demands(threshold, accuracy),
            head=accuracy.head,
            heads_tried=accuracy.heads_tried,
            sink=None,
        )
        for threshold in relation.bounds
    )
    if any(verdict.outcome != "passed" for verdict in verdicts):
        wrong = _mistakes(relation, model, arcs, judged, hits, heads, site.name, batch_tokens)
        accuracy = replace(accuracy, mistakes=wrong)
    return RelationFinding(relation, accuracy, verdicts, None)


def _site(model: Reader, arcs: Arcs, name: SiteName | None) -> Site:
    """The site of the first text that the model can take.

    Raises:
        AttnprobeError: the model can take no text, or there is none.
    """
    refused: AttnprobeError = MeasureError("there is no arc to judge")
    for sample in arcs.samples:
        try:
            return model.encode(sample).site(name)
        except SelectorError as error:
            refused = error
    raise refused


def _split(arcs: Arcs, seed: int) -> tuple[list[LabelledPair], list[LabelledPair]]:
    """The arcs to choose a head on, and the arcs to judge it on."""
    judge_on = halves(arcs.groups, seed=seed)
    choose_on = [pair for pair in arcs.pairs if not judge_on[pair.sample]]
    return choose_on, [pair for pair in arcs.pairs if judge_on[pair.sample]]


def _count_left_out(arcs: Arcs, *measured: Hits) -> dict[str, int]:
    """The number of arcs that were left out anywhere, by reason."""
    total = Counter(arcs.left_out)
    for hits in measured:
        total.update(hits.left_out)
    return dict(sorted(total.items()))


def _unknown_share(measured: Sequence[Hits]) -> float:
    """The share of unknown tokens in the texts, 0 to 1.

    Raises:
        MeasureError: the share is above one half.
    """
    tokens = sum(hits.tokens for hits in measured)
    share = sum(hits.unknown for hits in measured) / tokens if tokens else 0.0
    if share > MOST_UNKNOWN:
        raise MeasureError(
            f"{format_percent(share)} of the tokens of these texts are unknown to the model, more "
            "than half; take a corpus in a language that its tokenizer knows"
        )
    return share


def _describe_left_out(left_out: Mapping[str, int]) -> str:
    reasons = "; ".join(f"{count} × {reason}" for reason, count in left_out.items())
    return f"\n  left out: {reasons}" if reasons else ""


def _accuracy(
    hits: Hits,
    *,
    head: str,
    heads_tried: int,
    chosen_on: int,
    left_out: Mapping[str, int],
    unknown: float,
    arcs: Arcs,
    tried: HeadGrid | None,
) -> Accuracy:
    right = hits.right[:, 0]
    totals = hits.offsets.sum(axis=0)
    best = best_offset_index(totals)
    offset = hits.offsets[:, best]
    better, worse = int((right & ~offset).sum()), int((offset & ~right).sum())
    return Accuracy(
        n=len(right),
        right=int(right.sum()),
        interval=wilson(int(right.sum()), len(right)),
        best_offset=OFFSETS[best],
        offset_right=int(offset.sum()),
        better=better,
        worse=worse,
        p=paired_p(better, worse),
        preference=hits.preference(),
        head=head,
        heads_tried=heads_tried,
        chosen_on=chosen_on,
        left_out=left_out,
        unknown=unknown,
        notes=arcs.notes,
        sha256=arcs.sha256,
        tried=tried,
    )


def head_grid(
    relation: Relation,
    model: Reader,
    found: Accuracy,
    *,
    read: ReadCorpus = read_corpus,
    batch_tokens: int = BATCH_TOKENS,
) -> HeadGrid:
    """The accuracy of single heads, for a picture that marks the judged heads.

    If the head was chosen, the grid has every head that was tried, on the arcs of the choice. If
    the heads were named, it has all heads of their layers on the judged arcs, which takes another
    pass.

    Args:
        found: the accuracy that `judge` returned for the relation.
    """
    if found.tried is not None:
        return found.tried
    arcs = gather(relation, read)
    site = _site(model, arcs, relation.site)
    judged = relation.heads.resolve(site)
    layers = {head.layer for head in judged}
    single_heads = [(head,) for head in site.all_heads() if head.layer in layers]
    hits = measure(
        model,
        Trial(arcs.samples, arcs.pairs, site.name, single_heads, arcs.words, relation.among),
        batch_tokens=batch_tokens,
    )
    return _grid(hits, site, judged)


def _grid(hits: Hits, site: Site, judged: Sequence[Head]) -> HeadGrid:
    """The accuracy of each head; the sets of `hits` must be single heads."""
    layers = tuple(sorted({head.layer for (head,) in hits.sets}))
    scores = np.full((len(layers), max(site.heads[layer] for layer in layers)), np.nan, np.float32)
    for (head,), share in zip(hits.sets, hits.right.mean(axis=0), strict=True):
        scores[layers.index(head.layer), head.head] = share
    return HeadGrid(f"accuracy on {len(hits.right)} arcs", layers, scores, tuple(judged))


# The level of significance of a lead over a control.
PAIRED_P = 0.05
# Bounds on the preference control.
OF_PREFERENCE = ("above_preference", "above_preference_p")


def _demands(threshold: Threshold, found: Accuracy) -> Sequence[Demand]:
    """The demands of a relation's bound, the deciding one first."""
    if threshold.name == "accuracy":
        return [Demand.of("accuracy", "share", found.share, ">=", threshold.demanded)]
    above, lead = "lead over the best fixed distance", (found.right - found.offset_right) / found.n
    p = found.p
    if threshold.name in OF_PREFERENCE:
        assert found.preference is not None  # `judge_arcs` raised otherwise
        above, lead = "lead over another word that looks", found.preference.lead
        p = found.preference.p
    if threshold.name in ("above_best_offset", "above_preference"):
        # A lead that only a few arcs make may be luck.
        luck = Demand.of("exact McNemar p", "p", p, "<=", PAIRED_P)
        enough = Demand.of(above, "share", lead, ">=", threshold.demanded)
        # A lead and a p have no common unit, so only a worse outcome of the p decides.
        return sorted((enough, luck), key=lambda demand: demand.ease[0])
    # The test is two-sided, so a small p could also mean that the control is better.
    return hardest(
        [
            Demand.of(above, "share", lead, ">", 0.0),
            Demand.of("exact McNemar p", "p", p, "<=", threshold.demanded),
        ]
    )


def _mistakes(
    relation: Relation,
    model: Reader,
    arcs: Arcs,
    judged: Sequence[LabelledPair],
    hits: Hits,
    heads: Sequence[Head],
    name: SiteName,
    batch_tokens: int,
) -> tuple[Mistake, ...]:
    """The first wrong arcs, each with the word that got the most attention instead."""
    layers = tuple(sorted({head.layer for head in heads}))
    wrong: list[tuple[LabelledPair, Need, Looks]] = []
    right = iter(hits.right[:, 0])
    for pair in sorted(judged, key=lambda pair: pair.sample):  # the order of `hits.right`
        try:
            encoding = model.encode(arcs.samples[pair.sample])
        except SelectorError:
            continue
        site = encoding.site(name)
        words = arcs.words[pair.sample]
        looks = find_looks(encoding, site, [pair], layers, words=words, among=relation.among)
        if not looks.looks or next(right):
            continue
        rows = looks.looks[0].rows
        wrong.append((pair, Need(encoding.sample, site.name, layers, rows), looks))
        if len(wrong) == MOST_MISTAKES:
            break
    found = model.collect([need for _, need, _ in wrong], batch_tokens=batch_tokens)
    return tuple(
        Mistake(need.sample, pair.query, pair.key, _looked_at(rows, looks, heads))
        for (pair, need, looks), rows in zip(wrong, found, strict=True)
    )


def _looked_at(rows: Rows, looks: Looks, heads: Sequence[Head]) -> Span | str:
    """The candidate with the most attention: its characters, or the name of a special token."""
    mean = np.mean([rows.weights[head.layer][head.head].mean(axis=0) for head in heads], axis=0)
    masses = np.array([mean[list(word)].sum() for word in looks.words])
    word = looks.words[int(np.where(looks.looks[0].candidates, masses, -1).argmax())]
    spans = [span for span in (rows.keys.spans[at] for at in word) if span]
    if not spans:
        return rows.keys.pieces[word[0]]
    start, end = min(span.start for span in spans), max(span.end for span in spans)
    covered = rows.keys.text[start:end]
    return Span(start + len(covered) - len(covered.lstrip()), start + len(covered.rstrip()))
