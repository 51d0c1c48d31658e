"""Two models on the same cases: what became of the pinned heads, and pictures of what changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from attnprobe.attention import Reader
from attnprobe.cases import Case
from attnprobe.compare.changes import Change
from attnprobe.compare.describe import change_row
from attnprobe.compare.matching import Fate, Match, match_heads
from attnprobe.core.arrays import Floats
from attnprobe.core.charts import Picture
from attnprobe.core.errors import AttnprobeError
from attnprobe.core.names import BATCH_TOKENS
from attnprobe.core.needs import Need
from attnprobe.core.sites import Head, SiteName
from attnprobe.core.texts import Encoding, Sample
from attnprobe.core.wording import format_decimals, shorten
from attnprobe.render.compare_page import ChangePictures, HeadRow
from attnprobe.run.runner import Finding, Runner

# Texts that heads are matched over; more tell little more.
MOST_TEXTS = 64
# Heads that a sentence names.
_NAMED = 3
_FATES: tuple[Fate, ...] = ("lost", "moved", "stayed")


@dataclass(frozen=True)
class HeadFate:
    """A head that cases pin down, and its match in the new model.

    Attributes:
        cases: how many cases name it.
    """

    site: SiteName
    match: Match
    cases: int

    def __str__(self) -> str:
        told = {"stayed": "kept", "moved": f"moved to {self.match.new}", "lost": "lost"}
        return told[self.match.fate]


def head_fates(
    old: Reader, new: Reader, cases: Iterable[Case], *, batch_tokens: int = BATCH_TOKENS
) -> tuple[HeadFate, ...]:
    """What became of every head that a rule names: first what is lost, then what moved.

    Those of one fate go site by site, in their order. Heads are matched over the texts of the
    cases, the first 64 of each site. Layers, `any` and `all` pin no head.

    Raises:
        AttnprobeError: the heads of a site cannot be matched, as where the models tokenise the
            texts in other ways.
    """
    pinned: dict[SiteName, Counter[Head]] = {}
    texts: dict[SiteName, dict[Sample, None]] = {}
    for case in cases:
        named: dict[SiteName, set[Head]] = {}
        encoding = old.encode(case.sample)
        for expectation in case.expectations:
            rule = expectation.rule
            site = encoding.site(rule.site).name
            texts.setdefault(site, {})[case.sample] = None
            heads = {member for member in rule.heads.members if isinstance(member, Head)}
            named.setdefault(site, set()).update(heads)
        for site, heads in named.items():
            pinned.setdefault(site, Counter()).update(heads)
    fates = [
        HeadFate(site, match, heads[match.old])
        for site, heads in sorted(pinned.items())
        if heads
        for match in match_heads(
            old, new, list(texts[site])[:MOST_TEXTS], site=site, batch_tokens=batch_tokens
        )
        if match.old in heads
    ]
    return tuple(sorted(fates, key=lambda fate: _FATES.index(fate.match.fate)))


def fates_sentence(fates: Sequence[HeadFate]) -> str:
    """What became of heads that are no longer where they were; empty where all are.

    `L3H1 is lost, L2H0 moved to L2H4.`, with the site where the heads are of several.
    """
    several = len({fate.site for fate in fates}) > 1
    told = []
    for fate in fates:
        if fate.match.fate != "stayed":
            name = f"{fate.site} {fate.match.old}" if several else str(fate.match.old)
            told.append(f"{name} {'is lost' if fate.match.fate == 'lost' else fate}")
    if not told:
        return ""
    sentence = ", ".join(shorten(told, _NAMED))
    return f"{sentence[0].upper()}{sentence[1:]}."


def head_row(fate: HeadFate) -> HeadRow:
    """A head as a table shows it."""
    return HeadRow(
        site=fate.site,
        head=str(fate.match.old),
        fate=str(fate),
        divergence=f"{format_decimals(fate.match.divergence)} nats",
        cases=fate.cases,
    )


def draw_change(
    change: Change, case: Case, old: Reader, new: Reader, *, batch_tokens: int = BATCH_TOKENS
) -> ChangePictures:
    """A changed case: what each model was found to do, and the deciding head before and now.

    The head is the one that decided in the old model, the same in both. Where the models read the
    text as other tokens there are two pictures and no difference.
    """
    before, after = (
        Runner(model, [case], batch_tokens=batch_tokens).judge(case) for model in (old, new)
    )
    lines: list[str] = []
    svgs: list[str] = []
    captions: list[str] = []
    for one, other in zip(before, after, strict=True):
        rule = one.expectation.rule.describe()
        lines.append(f"{rule}: before {_describe_finding(one)}; now {_describe_finding(other)}")
        if _same(one, other):
            continue
        try:
            drawn = _pictures(case, one, other, old, new, batch_tokens)
        except (AttnprobeError, ValueError) as error:
            lines.append(f"no picture: {error}")
            continue
        for svg, caption in drawn:
            svgs.append(svg)
            captions.append(caption)
    return ChangePictures(change_row(change), tuple(lines), tuple(svgs), tuple(captions))


def _same(one: Finding, other: Finding) -> bool:
    """Whether both came out alike, to the last bit: then there is nothing to show."""
    if one.verdict is None or other.verdict is None:
        return one.verdict is other.verdict
    return one.verdict.observed == other.verdict.observed and one.verdict.head == other.verdict.head


def _describe_finding(finding: Finding) -> str:
    if finding.verdict is None:
        return f"not measured ({finding.error})"
    verdict = finding.verdict
    return (
        f"{verdict.outcome}, {verdict.deciding.number} by {verdict.head} "
        f"(demanded {verdict.deciding.limit})"
    )


def _pictures(
    case: Case, one: Finding, other: Finding, old: Reader, new: Reader, batch_tokens: int
) -> Iterator[tuple[str, str]]:
    from attnprobe.attention import draw, heads_title
    from attnprobe.render.difference import triple
    from attnprobe.render.heatmap import Cells
    from attnprobe.render.style import to_svg

    shown = [found.verdict.picture for found in (one, other) if found.verdict is not None]
    picture = next((found for found in shown if found is not None), None)
    if picture is None:
        return
    encodings = [model.encode(case.sample) for model in (old, new)]
    matrices = [
        _matrix(model, encoding, picture, batch_tokens)
        for model, encoding in zip((old, new), encodings, strict=True)
    ]
    name = heads_title(picture.heads)
    pieces = [
        (encoding.queries(picture.site).pieces, encoding.keys(picture.site).pieces)
        for encoding in encodings
    ]
    captions = (f"{name} of {old.name}, before", f"{name} of {new.name}, now")
    if pieces[0] != pieces[1]:
        # The cells to outline are those of the old model's tokens.
        bare = Picture(picture.site, picture.heads, (), ())
        for which, shown_picture in enumerate((picture, bare)):
            matrix, encoding = matrices[which], encodings[which]
            model = (old, new)[which].name
            drawing = draw(matrix, shown_picture, encoding, model, case.name)
            yield to_svg(drawing), captions[which]
        return
    queries, keys = pieces[0]
    drawings = triple(
        matrices[0],
        matrices[1],
        queries=queries,
        keys=keys,
        titles=(
            f"before: {old.name} · {name}",
            f"now: {new.name} · {name}",
            f"change: {name}",
        ),
        expected=Cells(picture.rows, picture.expected) if picture.expected else None,
        contrast=Cells(picture.rows, picture.contrast) if picture.contrast else None,
        rows=picture.rows or None,
    )
    yield from zip(map(to_svg, drawings), (*captions, f"{name}, now less before"), strict=True)


def _matrix(model: Reader, encoding: Encoding, picture: Picture, batch_tokens: int) -> Floats:
    """All rows of the picture's heads, their mean: `[target, source]`."""
    layers = tuple(sorted({head.layer for head in picture.heads}))
    everything = tuple(range(len(encoding.queries(picture.site))))
    need = Need(encoding.sample, picture.site, layers, everything)
    (rows,) = model.collect([need], batch_tokens=batch_tokens)
    stacked: Sequence[Floats] = [rows.weights[head.layer][head.head] for head in picture.heads]
    mean: Floats = np.mean(stacked, axis=0)
    return mean
