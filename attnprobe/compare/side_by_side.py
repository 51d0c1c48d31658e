"""Two models on the same cases: the fates of heads, and pictures of changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from attnprobe.attention import Attention
from attnprobe.cases import Case
from attnprobe.compare.changes import Change
from attnprobe.compare.describe import change_row
from attnprobe.compare.matching import SAME, Fate, Match, match_heads
from attnprobe.core.arrays import Floats
from attnprobe.core.charts import Cells, Picture, heads_title
from attnprobe.core.errors import AttnprobeError
from attnprobe.core.names import BATCH_TOKENS
from attnprobe.core.needs import Need
from attnprobe.core.reader import Reader
from attnprobe.core.sites import Head, SiteName
from attnprobe.core.texts import Encoding, Sample
from attnprobe.core.wording import format_decimals, plural, shorten
from attnprobe.render.web.compare_page import ChangePictures, HeadRow
from attnprobe.render.web.explorer import Explorer, explorer
from attnprobe.render.web.maps import AttentionMap
from attnprobe.rules.frame import sink_columns
from attnprobe.run.runner import Finding, Runner

# The weights of one model in the explorer of a comparison: about 5 MB of the page.
MOST_CELLS = 3_000_000
# The most texts that heads are matched on; more texts hardly change the matches.
MOST_TEXTS = 64
# The most heads that a sentence names, and that a table has beside those of the cases.
_MOST_NAMED = 3
_MOST_OTHERS = 10
_FATES: tuple[Fate, ...] = ("lost", "moved", "stayed")


@dataclass(frozen=True)
class HeadFate:
    """A head of the old model and its match in the new model.

    Attributes:
        cases: the number of cases that name the head.
    """

    site: SiteName
    match: Match
    cases: int

    def __str__(self) -> str:
        if not self.cases and self.match.fate == "stayed":
            return "changed" if self.changed else "kept"
        fates = {"stayed": "kept", "moved": f"moved to {self.match.new}", "lost": "lost"}
        return fates[self.match.fate]

    @property
    def changed(self) -> bool:
        """Whether the head at this place attends to something else than before."""
        return self.match.stayed > SAME


def head_fates(
    old: Reader, new: Reader, cases: Iterable[Case], *, batch_tokens: int = BATCH_TOKENS
) -> tuple[HeadFate, ...]:
    """The fate of every head, in the order lost, moved, stayed; then by site.

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
        for match in match_heads(
            old, new, list(texts[site])[:MOST_TEXTS], site=site, batch_tokens=batch_tokens
        )
    ]
    return tuple(sorted(fates, key=lambda fate: _FATES.index(fate.match.fate)))


def shown_fates(fates: Iterable[HeadFate]) -> list[HeadFate]:
    """The heads that cases name, and of the others those that changed most, most first."""
    others = sorted(
        (fate for fate in fates if fate.changed and not fate.cases),
        key=lambda fate: -fate.match.stayed,
    )
    return [*(fate for fate in fates if fate.cases), *others[:_MOST_OTHERS]]


def changed_sentence(fates: Sequence[HeadFate]) -> str:
    """How many heads of the model attend to something else than before."""
    count = sum(fate.changed for fate in fates)
    return (
        f"{count} of {plural(len(fates), 'head')} now differ by more than {SAME} nats from the "
        "head that stood at the same place"
    )


def fates_sentence(fates: Sequence[HeadFate]) -> str:
    """A sentence about lost and moved heads of cases: `L3H1 is lost, L2H0 moved to L2H4.`

    It names the sites if there are several. It is empty if all these heads stayed.
    """
    several = len({fate.site for fate in fates}) > 1
    changed = []
    for fate in fates:
        if fate.cases and fate.match.fate != "stayed":
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
        own_place=f"{format_decimals(fate.match.stayed)} nats",
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
    maps: list[AttentionMap] = []
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
        for shown, caption in drawn:
            maps.append(shown)
            captions.append(caption)
    return ChangePictures(change_row(change), tuple(lines), tuple(maps), tuple(captions))


def explore_changes(
    changed: Iterable[Case], old: Reader, new: Reader, *, most_cells: int = MOST_CELLS
) -> Explorer | None:
    """All maps of both models on the texts of changed cases, as far as they fit; None for none.

    Args:
        most_cells: how many weights of one model the page may hold.
    """
    samples: dict[tuple[Sample, SiteName], str] = {}
    cells = 0
    for case in changed:
        encoding = old.encode(case.sample)
        for expectation in case.expectations:
            site = encoding.site(expectation.rule.site)
            if (encoding.sample, site.name) in samples:
                continue
            tokens = len(encoding.queries(site.name)) * len(encoding.keys(site.name))
            cells += tokens * len(site.all_heads())
            if cells <= most_cells:
                samples[encoding.sample, site.name] = case.name
    if not samples:
        return None
    return explorer(
        [
            tuple(Attention(model, sample, site).maps(sites="own") for model in (old, new))
            for sample, site in samples
        ],
        labels=list(samples.values()),
    )


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
) -> Iterator[tuple[AttentionMap, str]]:
    verdicts = [finding.verdict for finding in (before, now) if finding.verdict is not None]
    picture = next((verdict.picture for verdict in verdicts if verdict.picture is not None), None)
    if picture is None:
        return
    encodings = [model.encode(case.sample) for model in (old, new)]
    matrices = [
        _matrix(model, encoding, picture, batch_tokens)
        for model, encoding in zip((old, new), encodings, strict=True)
    ]
    maps = [
        _map(matrix, encoding, picture)
        for matrix, encoding in zip(matrices, encodings, strict=True)
    ]
    name = heads_title(picture.heads)
    captions = (f"{name} of {old.name}, before", f"{name} of {new.name}, now")
    before_map, now_map = maps
    if (before_map.rows, before_map.columns) != (now_map.rows, now_map.columns):
        # The cells to outline are positions of the old model's tokens.
        yield before_map, captions[0]
        yield replace(now_map, expected=None, contrast=None), captions[1]
        return
    top = max(shown.scale() for shown in maps)
    yield replace(before_map, top=top), captions[0]
    yield replace(now_map, top=top), captions[1]
    change = replace(before_map, values=matrices[1] - matrices[0], signed=True)
    yield change, f"{name}, now less before"


def _map(matrix: Floats, encoding: Encoding, picture: Picture) -> AttentionMap:
    queries, keys = encoding.queries(picture.site), encoding.keys(picture.site)
    causal = encoding.site(picture.site).causal
    hidden = np.triu(np.ones(matrix.shape, bool), 1) & causal
    return AttentionMap(
        queries.pieces,
        keys.pieces,
        np.where(hidden, np.float32(np.nan), matrix),
        sinks=tuple(np.flatnonzero(sink_columns(keys, causal=causal)).tolist()),
        expected=Cells(picture.rows, picture.expected) if picture.expected else None,
        contrast=Cells(picture.rows, picture.contrast) if picture.contrast else None,
    )


def _matrix(model: Reader, encoding: Encoding, picture: Picture, batch_tokens: int) -> Floats:
    """The mean of the picture's heads over all rows, `[target, source]`."""
    layers = tuple(sorted({head.layer for head in picture.heads}))
    all_rows = tuple(range(len(encoding.queries(picture.site))))
    need = Need(encoding.sample, picture.site, layers, all_rows)
    (rows,) = model.collect([need], batch_tokens=batch_tokens)
    stacked: Sequence[Floats] = [rows.weights[head.layer][head.head] for head in picture.heads]
    mean: Floats = np.mean(stacked, axis=0)
    return mean
