"""Two models on the same cases: the fates of the heads that cases name, and pictures of changes."""

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
from attnprobe.render.web.compare_page import ChangePictures, HeadRow
from attnprobe.run.runner import Finding, Runner

# The most texts that heads are matched on; more texts hardly change the matches.
MOST_TEXTS = 64
# The most heads that a sentence names.
_MOST_NAMED = 3
_FATES: tuple[Fate, ...] = ("lost", "moved", "stayed")


@dataclass(frozen=True)
class HeadFate:
    """A head that cases name, and its match in the new model.

    Attributes:
        cases: the number of cases that name the head.
    """

    site: SiteName
    match: Match
    cases: int

    def __str__(self) -> str:
        fates = {"stayed": "kept", "moved": f"moved to {self.match.new}", "lost": "lost"}
        return fates[self.match.fate]


def head_fates(
    old: Reader, new: Reader, cases: Iterable[Case], *, batch_tokens: int = BATCH_TOKENS
) -> tuple[HeadFate, ...]:
    """The fate of every head that a rule names, in the order lost, moved, stayed; then by site.

    Heads are matched on the texts of the cases, the first 64 of each site. Layers, `any` and `all`
    name no head.

    Raises:
        AttnprobeError: the heads of a site cannot be matched, for example because the models
            divide a text into different tokens.
    """
    named: dict[SiteName, Counter[Head]] = {}
    texts: dict[SiteName, dict[Sample, None]] = {}
    for case in cases:
        of_case: dict[SiteName, set[Head]] = {}
        encoding = old.encode(case.sample)
        for expectation in case.expectations:
            rule = expectation.rule
            site = encoding.site(rule.site).name
            texts.setdefault(site, {})[case.sample] = None
            heads = {member for member in rule.heads.members if isinstance(member, Head)}
            of_case.setdefault(site, set()).update(heads)
        for site, heads in of_case.items():
            named.setdefault(site, Counter()).update(heads)
    fates = [
        HeadFate(site, match, heads[match.old])
        for site, heads in sorted(named.items())
        if heads
        for match in match_heads(
            old, new, list(texts[site])[:MOST_TEXTS], site=site, batch_tokens=batch_tokens
        )
        if match.old in heads
    ]
    return tuple(sorted(fates, key=lambda fate: _FATES.index(fate.match.fate)))


def fates_sentence(fates: Sequence[HeadFate]) -> str:
    """A sentence about lost and moved heads: `L3H1 is lost, L2H0 moved to L2H4.`

    It names the sites if there are several. It is empty if all heads stayed.
    """
    several = len({fate.site for fate in fates}) > 1
    changed = []
    for fate in fates:
        if fate.match.fate != "stayed":
            name = f"{fate.site} {fate.match.old}" if several else str(fate.match.old)
            changed.append(f"{name} {'is lost' if fate.match.fate == 'lost' else fate}")
    if not changed:
        return ""
    sentence = ", ".join(shorten(changed, _MOST_NAMED))
    return f"{sentence[0].upper()}{sentence[1:]}."


def head_row(fate: HeadFate) -> HeadRow:
    """The table row of a head."""
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
    """A changed case: the findings on both models, and pictures of the deciding head.

    All pictures show the head that decided on the old model. If the models divide the text into
    different tokens, there are two pictures and no difference.
    """
    old_findings, new_findings = (
        Runner(model, [case], batch_tokens=batch_tokens).judge(case) for model in (old, new)
    )
    lines: list[str] = []
    svgs: list[str] = []
    captions: list[str] = []
    for before, now in zip(old_findings, new_findings, strict=True):
        rule = before.expectation.rule.describe()
        lines.append(f"{rule}: before {_describe_finding(before)}; now {_describe_finding(now)}")
        if _same(before, now):
            continue
        try:
            drawn = _pictures(case, before, now, old, new, batch_tokens)
        except (AttnprobeError, ValueError) as error:
            lines.append(f"no picture: {error}")
            continue
        for svg, caption in drawn:
            svgs.append(svg)
            captions.append(caption)
    return ChangePictures(change_row(change), tuple(lines), tuple(svgs), tuple(captions))


def _same(before: Finding, now: Finding) -> bool:
    """Whether both findings have the same head and exactly the same number."""
    old, new = before.verdict, now.verdict
    if old is None or new is None:
        return old is new
    return old.observed == new.observed and old.head == new.head


def _describe_finding(finding: Finding) -> str:
    if finding.verdict is None:
        return f"not measured ({finding.error})"
    verdict = finding.verdict
    return (
        f"{verdict.outcome}, {verdict.deciding.number} by {verdict.head} "
        f"(demanded {verdict.deciding.limit})"
    )


def _pictures(
    case: Case, before: Finding, now: Finding, old: Reader, new: Reader, batch_tokens: int
) -> Iterator[tuple[str, str]]:
    from attnprobe.attention import draw, heads_title
    from attnprobe.core.charts import Cells
    from attnprobe.render.figures.difference import triple
    from attnprobe.render.figures.style import to_svg

    verdicts = [finding.verdict for finding in (before, now) if finding.verdict is not None]
    picture = next((verdict.picture for verdict in verdicts if verdict.picture is not None), None)
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
        # The cells to outline are positions of the old model's tokens.
        without_cells = Picture(picture.site, picture.heads, (), ())
        for model, cells, matrix, encoding, caption in zip(
            (old, new), (picture, without_cells), matrices, encodings, captions, strict=True
        ):
            yield to_svg(draw(matrix, cells, encoding, model.name, case.name)), caption
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
    """The mean of the picture's heads over all rows, `[target, source]`."""
    layers = tuple(sorted({head.layer for head in picture.heads}))
    all_rows = tuple(range(len(encoding.queries(picture.site))))
    need = Need(encoding.sample, picture.site, layers, all_rows)
    (rows,) = model.collect([need], batch_tokens=batch_tokens)
    stacked: Sequence[Floats] = [rows.weights[head.layer][head.head] for head in picture.heads]
    mean: Floats = np.mean(stacked, axis=0)
    return mean
