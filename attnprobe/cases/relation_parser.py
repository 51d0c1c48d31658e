"""One entry of `relations:` to a `Relation` record: its arcs or their file, its head."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from attnprobe.cases.complaints import Complaints, KeyPath
from attnprobe.cases.entries import Case, CorpusArcs, LabelledArc, LabelledArcs, Relation, Threshold
from attnprobe.cases.shells import (
    CORPUS_FORMATS,
    BoundsShell,
    CorpusShell,
    Defaults,
    FileShell,
    RelationShell,
    SpanShell,
)
from attnprobe.core.errors import SelectorError
from attnprobe.core.registry import did_you_mean
from attnprobe.core.sites import Head, SiteName
from attnprobe.core.texts import Sample, Span
from attnprobe.rules import Rule
from attnprobe.rules.weight import Attends
from attnprobe.words.heads import Heads, HeadSet, parse_heads
from attnprobe.words.locate import locate
from attnprobe.words.looks import other_candidates
from attnprobe.words.selectors import Chars, Phrase, Selector


class RelationParser:
    """Reads the relations of one file.

    Args:
        folder: where the paths of corpora start.
        root: the folder that no corpus may lie outside of.
        cases: of the same file; None where one of them is broken, and what a relation takes from
            them cannot be told.
    """

    def __init__(
        self,
        complaints: Complaints,
        head_sets: Mapping[str, HeadSet],
        *,
        folder: Path,
        root: Path,
        cases: Sequence[Case] | None,
    ) -> None:
        self.document = complaints.document
        self.head_sets = head_sets
        self.folder = folder
        self.root = root
        self.cases = cases
        self._error = complaints.error
        self._validated = complaints.validated

    def relation(
        self,
        shell: FileShell,
        defaults: Defaults,
        spec: RelationShell,
        path: KeyPath,
    ) -> Iterator[Relation]:
        """The relation; nothing where it cannot be meant."""
        site = spec.site or defaults.site
        model = spec.model or shell.model
        source = self._source(spec, defaults, model, site, path)
        heads = self._relation_heads(spec.heads, defaults.heads, path)
        demanded = self._validated(BoundsShell, spec.expect, (*path, "expect"))
        if demanded is None or source is None or heads is None:
            return
        bounds = tuple(
            Threshold(name, value, self.document.key_mark((*path, "expect", name)))
            for name, value in demanded
            if value is not None
        )
        if not bounds:
            listed = ", ".join(f"{name}:" for name in BoundsShell.model_fields)
            self._error(
                f"expect: demands nothing; give at least one of {listed}", (*path, "expect")
            )
        yield Relation(
            suite=shell.suite,
            id=spec.id,
            mark=self.document.mark(path),
            source=source,
            heads=heads,
            choose=heads.how == "best",
            site=site,
            among=spec.among,
            seed=spec.seed,
            least=spec.least,
            bounds=bounds,
            marks=tuple(dict.fromkeys((*shell.marks, *spec.marks))),
            severity=spec.severity or shell.severity,
            xfail=spec.xfail,
            skip=spec.skip,
            model=model,
        )

    def _relation_heads(self, written: object, default: object, path: KeyPath) -> Heads | None:
        """The heads of a relation: one, several by their mean, or the best of several.

        A relation asks how often one head is right, so what asks several heads at once is refused.
        """
        place: KeyPath = (*path, "heads")
        whose = ""
        if written is None:
            written, place, whose = default, path, " of defaults:"
        if written is None:
            message = "heads: is missing; name one, such as heads: L3H1, or {in: all, how: best}"
            self._error(message, path, key=True)
            return None
        chosen_on = None
        if isinstance(written, dict):
            chosen_on = written.get("chosen_on")
            written = {key: value for key, value in written.items() if key != "chosen_on"}
        try:
            heads = parse_heads(written, self.head_sets)
        except ValueError as error:
            self._error(f"heads: {error}", place)
            return None
        if isinstance(written, str) and written.startswith("@") and len(heads.members) > 1:
            # A named set of several heads was measured, and named, as their mean.
            heads = replace(heads, how="mean")
        if chosen_on not in (None, "half"):
            message = "takes half: the head is chosen on one half of the sentences and judged on "
            self._error(f"chosen_on: {message}the other", (*place, "chosen_on"))
        elif chosen_on is not None and heads.how != "best":
            message = "chosen_on: goes with how: best; nothing is chosen here"
            self._error(message, (*place, "chosen_on"), key=True)
        one = len(heads.members) == 1 and isinstance(heads.members[0], Head)
        if heads.how not in ("mean", "best") and not (heads.how is None and one):
            self._error(
                f"heads: {heads}{whose} is several heads, and a relation judges one; write "
                "{in: ..., how: best, chosen_on: half} to choose one, or {in: ..., how: mean} for "
                "their mean",
                place,
            )
            return None
        return heads

    def _source(
        self,
        spec: RelationShell,
        defaults: Defaults,
        model: str | None,
        site: SiteName | None,
        path: KeyPath,
    ) -> CorpusArcs | LabelledArcs | None:
        given = [
            key for key in ("from_corpus", "from_cases", "spans") if getattr(spec, key) is not None
        ]
        if len(given) != 1:
            message = "a relation has exactly one of from_corpus:, from_cases: and spans:"
            self._error(message, path)
            return None
        language = spec.source_language or defaults.source_language
        if spec.from_corpus is not None:
            where = (*path, "from_corpus")
            shell = self._validated(CorpusShell, spec.from_corpus, where)
            corpus = None if shell is None else self._corpus(shell, where)
            return corpus and replace(
                corpus,
                source_language=language,
                target_language=spec.target_language or defaults.target_language,
            )
        if spec.target_language is not None or (spec.from_cases and spec.source_language):
            key = "source_language" if spec.target_language is None else "target_language"
            self._error(
                f"{key}: goes with from_corpus:, whose sentences name none; "
                "cases name their own, and spans: have no target",
                (*path, key),
                key=True,
            )
        if spec.from_cases is not None:
            return self._labelled(spec.from_cases, model, site, (*path, "from_cases"))
        arcs = [
            self._span_arc(written, language, (*path, "spans", index))
            for index, written in enumerate(spec.spans or [])
        ]
        return LabelledArcs(tuple(arc for arc in arcs if arc is not None), {})

    def _corpus(self, spec: CorpusShell, path: KeyPath) -> CorpusArcs | None:
        """The corpus file, which must be there; it is read when the relation is measured."""
        kinds = [kind for kind in CORPUS_FORMATS if getattr(spec, kind) is not None]
        if len(kinds) != 1:
            self._error("from_corpus: names one file: conllu:, jsonl: or tsv:", path)
            return None
        (kind,) = kinds
        key, other = ("deprel", "relation") if kind == "conllu" else ("relation", "deprel")
        if getattr(spec, other) is not None:
            self._error(
                f"{other}: does not go with {kind}:; write {key}:", (*path, other), key=True
            )
            return None
        labels: list[str] | None = getattr(spec, key)
        if labels is None:
            self._error(f"{key}: is missing; name the relation", path, key=True)
            return None
        written: str = getattr(spec, kind)
        place = (*path, kind)
        file = (self.folder / written).resolve()
        complaint = ""
        if Path(written).is_absolute() or not file.is_relative_to(self.root):
            complaint = (
                "lies outside of the project; name a file in it, from the case file's folder"
            )
        elif not file.name.endswith(f".{kind}"):
            complaint = f"is no .{kind} file"
        elif not file.is_file():
            near = did_you_mean(file.name, _names(file.parent, f".{kind}"))
            complaint = f"is not there; {near}"
        if complaint:
            self._error(f"{kind}: {written!r} {complaint}", place)
            return None
        several = self.document.raw.get((*path, key)) is None
        marks = [
            self.document.mark((*path, key, number) if several else (*path, key))
            for number in range(len(labels))
        ]
        return CorpusArcs(
            path=file,
            shown=file.relative_to(self.root).as_posix(),
            labels=tuple(zip(labels, marks, strict=True)),
            backwards=spec.direction == "head-to-dependent",
        )

    def _span_arc(self, written: object, language: str | None, path: KeyPath) -> LabelledArc | None:
        spec = self._validated(SpanShell, written, path)
        if spec is None:
            return None
        for name, written_text in (("text", spec.text), ("text_pair", spec.text_pair)):
            if written_text is not None and not written_text.strip():
                self._error(f"{name}: holds no word", (*path, name))
                return None
        sample = Sample(
            spec.text,
            allow_special_tokens=spec.allow_special_tokens,
            source_language=language,
            pair=spec.text_pair,
            one_segment=spec.one_segment,
        )
        query = self._span("from", spec.from_, sample, (*path, "from"))
        key = self._span("to", spec.to, sample, (*path, "to"))
        named = [
            self._span("candidates", selector, sample, (*path, "candidates", number))
            for number, selector in enumerate(spec.candidates or ())
        ]
        if query is None or key is None or None in named:
            return None
        if query.start < key.end and key.start < query.end:
            self._error("from: and to: share characters; a word cannot look at itself", path)
            return None
        candidates = tuple(span for span in named if span is not None)
        if spec.candidates is not None:
            try:
                candidates = other_candidates(candidates, query, key)
            except ValueError as error:
                self._error(f"candidates: {error}", (*path, "candidates"))
                return None
        return LabelledArc(sample, query, key, candidates, spec.text)

    def _span(self, name: str, selector: Selector, sample: Sample, path: KeyPath) -> Span | None:
        try:
            (span,) = locate(selector, sample.joined, pair_start=sample.pair_start)
        except SelectorError as error:
            self._error(f"{name}: {error}", path)
            return None
        return span

    def _labelled(
        self,
        wanted: Literal["all"] | list[str],
        model: str | None,
        site: SiteName | None,
        path: KeyPath,
    ) -> LabelledArcs | None:
        """What the cases say about which word should look at which.

        Cases with `xfail` are in: their label is right, and to leave out where the model is known
        to fail would flatter it. Skipped ones are out.
        """
        if self.cases is None:
            return None
        cases = [case for case in self.cases if case.model == model]
        known = dict.fromkeys(case.id for case in cases)
        if wanted != "all":
            for number, name in enumerate(wanted):
                if name not in known:
                    near = did_you_mean(name, known)
                    self._error(f"no case {name!r} for this model; {near}", (*path, number))
            if not known.keys() >= set(wanted):
                return None
            known = dict.fromkeys(wanted)
        arcs: dict[tuple[Sample, Span, Span], LabelledArc] = {}
        left_out: Counter[str] = Counter()
        for case in cases:
            if case.id not in known:
                continue
            for entry in case.expectations:
                found = _arc(case, entry.rule, site)
                if isinstance(found, LabelledArc):
                    arcs.setdefault(found[:3], found)
                elif found:
                    left_out[found] += 1
        if not arcs:
            message = "from_cases: finds no attends with min:, top: or over: between two words"
            self._error(message, path)
            return None
        return LabelledArcs(tuple(arcs.values()), dict(left_out))


def _names(folder: Path, suffix: str) -> list[str]:
    """The files of a folder that end so; none where there is no such folder."""
    return [file.name for file in folder.glob(f"*{suffix}")] if folder.is_dir() else []


def _arc(case: Case, rule: Rule, site: SiteName | None) -> LabelledArc | str:
    """The arc that an expectation labels; else why it is none, "" where it was never meant as one.

    An `attends` that only bounds the weight from above says nothing about where a word looks.
    """
    if not isinstance(rule, Attends) or (rule.min, rule.top, rule.over) == (None, None, None):
        return ""
    if case.skip is not None:
        return "skipped"
    if None not in (rule.site, site) and rule.site != site:
        return "at another site"
    spans: list[Span] = []
    for place in rule.places():
        if place.field == "over":
            continue
        if len(place.selector.parts) != 1:
            return "several words"
        if not isinstance(place.selector.parts[0], Phrase | Chars):
            return "special tokens and predicted words"
        spans += rule.locate(place.selector, case.sample, place.end)
    query, key = spans
    if rule.site != "cross" and query.start < key.end and key.start < query.end:
        return "a word and itself"
    return LabelledArc(case.sample, query, key, (), case.id)
