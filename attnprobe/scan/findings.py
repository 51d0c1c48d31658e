"""What a scan found: figures from counts, in sentences, tables, a page and the results file."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from attnprobe.core.wording import format_percent, plural
from attnprobe.relations.labels import matches, relation_names
from attnprobe.relations.sentences import corpus_notes
from attnprobe.rules.frame import Doubles
from attnprobe.scan.facts import ScanFacts
from attnprobe.scan.files import set_names
from attnprobe.scan.measures import MEASURES
from attnprobe.scan.report import (
    RelationFigures,
    as_json,
    figures,
    figures_in_corpus,
    measure_rows,
    number,
)
from attnprobe.scan.state import Counted
from attnprobe.scan.tables import Tables
from attnprobe.scan.tally import DIRECTIONS, ArcGroup, Tally, arc_groups
from attnprobe.words.looks import LEFT_OUT, MOST_UNKNOWN

SCAN_SCHEMA = "attnprobe/scan-1"


@dataclass(frozen=True, eq=False)
class Findings:
    """The figures of a scan, or of the blocks that are counted so far.

    Attributes:
        sets: whether to choose sets of heads, for which the sample must be complete.
        expected: the number of arcs with each label, where some are still to be counted.
    """

    facts: ScanFacts
    counted: Counted
    sets: bool = True
    expected: Mapping[str, int] | None = None

    @property
    def _tally(self) -> Tally:
        return self.counted.tallies[0]

    @property
    def complete(self) -> bool:
        """Whether every block is counted."""
        return bool(self.counted.done.all())

    @functools.cached_property
    def labels(self) -> Mapping[str, int]:
        """The number of arcs with each label, judged or not."""
        if self.expected is not None:
            return self.expected
        found: Counter[str] = Counter()
        arcs = self._tally.arcs
        for row, label in enumerate(self._tally.labels):
            if label.direction == DIRECTIONS[0]:
                found[label.relation] += int(arcs.n[row].sum() + arcs.left_out[row].sum())
        return found

    @functools.cached_property
    def groups(self) -> tuple[ArcGroup, ...]:
        """The groups with figures of their own."""
        names = tuple(dict.fromkeys(self.facts.relations)) or tuple(relation_names(self.labels))
        return arc_groups(names, both=self.facts.site != "cross")

    @functools.cached_property
    def names(self) -> Mapping[ArcGroup, str]:
        """The name of each group's head set and relation."""
        return set_names(self.groups, self.facts.prefix)

    @functools.cached_property
    def _figures(self) -> Mapping[ArcGroup, tuple[RelationFigures | None, ...]]:
        """For each group, the figures of the model and of its twin; None with too few arcs."""
        return {
            group: tuple(
                figures(
                    tally.of(group),
                    group,
                    self.facts.heads,
                    min_arcs=self.facts.min_arcs,
                    sets=self.sets and place == 0,
                )
                for place, tally in enumerate(self.counted.tallies)
            )
            for group in self.groups
        }

    @functools.cached_property
    def found(self) -> tuple[RelationFigures, ...]:
        """The figures of each group that is judged."""
        return tuple(own for own, *_ in self._figures.values() if own is not None)

    @functools.cached_property
    def too_few(self) -> Mapping[str, tuple[int, int]]:
        """The groups with too few arcs in a half, and their numbers of arcs."""
        counts = {
            str(group): self._tally.of(group).arcs.n.tolist()
            for group, (own, *_) in self._figures.items()
            if own is None
        }
        return {name: (chosen, judged) for name, (chosen, judged) in counts.items()}

    @functools.cached_property
    def controls(self) -> Mapping[ArcGroup, RelationFigures]:
        """The figures of the untrained twin, for the groups that are judged."""
        return {
            group: twin[0]
            for group, (own, *twin) in self._figures.items()
            if own is not None and twin and twin[0] is not None
        }

    def as_good_untrained(self, relation: RelationFigures) -> bool:
        """Whether the twin is at least as accurate on the judged half."""
        twin = self.controls.get(relation.group)
        return twin is not None and twin.best.accuracy >= relation.best.accuracy

    def in_corpus(self, corpus: int) -> tuple[list[RelationFigures], list[str]]:
        """The figures in one corpus, and the names of relations with too few arcs there."""
        found: list[RelationFigures] = []
        few: list[str] = []
        for relation in self.found:
            tally = self._tally.of(relation.group, corpus)
            own = figures_in_corpus(tally, relation, self.facts.heads, min_arcs=self.facts.min_arcs)
            if own is not None:
                found.append(own)
            elif tally.arcs.n.any():
                few.append(self.names[relation.group])
        return found, few

    @property
    def refusal(self) -> str | None:
        """The reason why the counts give no figures; None if they do."""
        if self._tally.unread == self.facts.sentences:
            return f"nothing was measured: {LEFT_OUT[0]} of any sentence"
        for place, corpus in enumerate(self.facts.corpora):
            share = self._tally.unknown_share(place)
            if share > MOST_UNKNOWN:
                return (
                    f"{corpus.name}: {format_percent(share)} of its tokens are unknown to "
                    f"{self.facts.model['name']}, more than half; scan a corpus in a language that "
                    "its tokenizer knows"
                )
        for name in self.facts.relations:
            if not any(matches(label, name) for label in self.labels):
                return f"no arc has the relation {name!r}"
        return None

    @property
    def tables(self) -> Tables:
        """The tables and grids of the figures."""
        model, *twin = map(measure_rows, self.counted.tallies)
        return Tables(
            self.facts.heads,
            self.found,
            model,
            controls=self.controls if twin else None,
            control_measures=twin[0] if twin else None,
        )

    def page(self) -> str:
        """The page with all tables and grids."""
        facts = self.facts
        corpora = ", ".join(corpus.name for corpus in facts.corpora)
        return self.tables.page(
            f"What the heads of {facts.model['name']} do",
            subtitle=f"{plural(facts.sentences, 'sentence')} of {corpora} · {facts.site} · "
            f"seed {facts.seed} · attnprobe {facts.attnprobe}",
            remarks=tuple(self.remarks()),
        )

    def remarks(self) -> Iterator[str]:
        """Sentences about what was not judged."""
        tally = self._tally
        if not self.found:
            has_arcs = any(any(counts) for counts in self.too_few.values())
            advice = ": lower --min-arcs, or add sentences" if has_arcs else ""
            yield f"no relation was judged{advice}"
        yield from self._remarks_on_few()
        for place, corpus in enumerate(self.facts.corpora):
            if tally.tokens[place, 0]:
                yield f"{corpus.name}: unknown tokens: {format_percent(tally.unknown_share(place))}"
        if tally.unread:
            yield f"{tally.unread} of {self.facts.sentences} sentences left out: {LEFT_OUT[0]}"
        of_groups = {group: tally.of(group).arcs.left_out.tolist() for group in self.groups}
        for place, reason in enumerate(LEFT_OUT[1:], start=1):
            worst = max(of_groups, key=lambda group: of_groups[group][place], default=None)
            if worst is not None and of_groups[worst][place]:
                yield f"arcs left out: {reason} ({worst}: {of_groups[worst][place]})"

    def _remarks_on_few(self) -> Iterator[str]:
        """Sentences about relations with too few arcs in a half; those nearest to enough first."""
        least = self.facts.min_arcs
        one_way = self.facts.site == "cross"
        # Both directions of a relation mostly have the same numbers, and share an entry.
        directions: dict[tuple[str, tuple[int, int]], list[str]] = {}
        for name, counts in self.too_few.items():
            if any(counts):
                relation, _, direction = name.rpartition(", ")
                directions.setdefault((relation, counts), []).append(direction)
        entries = {
            f"{relation}{'' if len(of) == 2 or one_way else f', {of[0]}'} {chosen}+{judged}": min(
                chosen, judged
            )
            for (relation, (chosen, judged)), of in directions.items()
        }
        near = {entry: arcs for entry, arcs in entries.items() if 2 * arcs >= least}
        if near:
            ordered = sorted(near, key=lambda entry: -near[entry])
            yield (
                f"nearly judged, with at least half of the {least} arcs in each half of the "
                f"sentences: {'; '.join(ordered)}; --min-arcs {min(near.values())} judges "
                f"{'it' if len(near) == 1 else 'them'} as well, with wider intervals"
            )
        others = [entry for entry in entries if entry not in near]
        if others:
            yield f"fewer than {least} arcs in a half of the sentences: {'; '.join(others)}"
        without = sum(not any(counts) for counts in self.too_few.values())
        if without:
            yield f"relations and directions of which no arc can be judged: {without}"

    def results(self, *, duration_s: float, engine: Mapping[str, Any]) -> dict[str, Any]:
        """The content of the results file.

        Two equal scans differ in `duration_s` and `engine` alone.

        Args:
            engine: what counted the blocks: its name, and what else there is to say of it.
        """
        facts = self.facts
        return {
            "schema": SCAN_SCHEMA,
            "attnprobe": facts.attnprobe,
            "complete": self.complete,
            "sentences": facts.sentences,
            "sentences_done": facts.sentences_of(self.counted.done),
            "sentences_unread": self._tally.unread,
            "duration_s": round(duration_s, 3),
            "engine": dict(engine),
            "environment": dict(facts.environment),
            "model": dict(facts.model),
            "corpora": [
                {
                    "name": corpus.name,
                    "sha256": corpus.sha256,
                    "sentences": corpus.sentences,
                    "unknown_share": self._tally.unknown_share(place),
                    "notes": list(corpus_notes(self._tally.notes[place])),
                }
                for place, corpus in enumerate(facts.corpora)
            ],
            "site": facts.site,
            "among": facts.among,
            "seed": facts.seed,
            "min_arcs": facts.min_arcs,
            "batch_tokens": facts.batch_tokens,
            "block": facts.block,
            "threads": facts.threads,
            "heads": [str(head) for head in facts.heads],
            "relations": [as_json(relation, facts.heads) for relation in self.found],
            "too_few": {name: list(counts) for name, counts in self.too_few.items()},
            "measures": self._measures(self._tally),
            "control": None
            if not facts.control
            else {
                "how": "random-init",
                "relations": [
                    as_json(relation, facts.heads) for relation in self.controls.values()
                ],
                "measures": self._measures(self.counted.tallies[1]),
            },
        }

    def _measures(self, tally: Tally) -> dict[str, Any]:
        rows: Mapping[str, Doubles] = measure_rows(tally)
        return {
            measure.name: {
                "unit": measure.unit,
                "heads": {
                    str(head): number(value)
                    for head, value in zip(self.facts.heads, rows[measure.name], strict=True)
                },
            }
            for measure in MEASURES
        }
