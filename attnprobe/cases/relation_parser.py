"""Parses an entry of `relations:`: its arcs or their corpus file, its heads, its bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from attnprobe.cases.bounds import Unfolded
from attnprobe.cases.entries import Case, CorpusArcs, LabelledArc, LabelledArcs, Relation, Threshold
from attnprobe.cases.error_collector import ErrorCollector
from attnprobe.cases.project_files import ProjectFiles
from attnprobe.cases.shapes import (
    CORPUS_FORMATS,
    BoundsShape,
    CorpusShape,
    Defaults,
    FileShape,
    RelationShape,
    SpanShape,
)
from attnprobe.cases.yamltext import YamlPath
from attnprobe.core.errors import SelectorError
from attnprobe.core.registry import clip_name, did_you_mean
from attnprobe.core.sites import Head, SiteName
from attnprobe.core.texts import Sample, Span
from attnprobe.rules import Rule
from attnprobe.rules.attends import Attends
from attnprobe.words.heads import Heads, HeadSet, parse_heads
from attnprobe.words.locate import locate
from attnprobe.words.looks import other_candidates
from attnprobe.words.selectors import Chars, Phrase, Selector


class RelationParser:
    """Parses the relations of one file.

    Args:
        cases: the cases of the file; None if one has errors, so that their arcs are not known.
    """

    def __init__(
        self,
        errors: ErrorCollector,
        head_sets: Mapping[str, HeadSet],
        unfolded: Unfolded,
        files: ProjectFiles,
        *,
        cases: Sequence[Case] | None,
    ) -> None:
        self.document = errors.document
        self.head_sets = head_sets
        self._files = files
        self.cases = cases
        self._error = errors.add
        self._validate = errors.validate
        self._unfolded = unfolded
        self._known: dict[tuple[str | None, SiteName | None], dict[str, _CaseArcs]] = {}

    def relation(
        self,
        file: FileShape,
        defaults: Defaults,
        shape: RelationShape,
        path: YamlPath,
    ) -> Iterator[Relation]:
        """The relation of an entry; nothing if the entry has errors."""
        site = shape.site or defaults.site
        model = shape.model or file.model
        source = self._source(shape, defaults, model, site, path)
        heads = self._relation_heads(shape.heads, defaults.heads, path)
        expect = self._validate(BoundsShape, shape.expect, (*path, "expect"))
        if expect is None or source is None or heads is None:
            return
        bounds = tuple(
            Threshold(name, value, self.document.key_mark((*path, "expect", name)))
            for name, value in expect
            if value is not None
        )
        if not bounds:
            keys = ", ".join(f"{name}:" for name in BoundsShape.model_fields)
            self._error(f"expect: demands nothing; give at least one of {keys}", (*path, "expect"))
        yield Relation(
            suite=file.suite,
            id=shape.id,
            mark=self.document.mark(path),
            source=source,
            heads=heads,
            choose=heads.how == "best",
            site=site,
            among=shape.among,
            seed=shape.seed,
            least=shape.least,
            bounds=bounds,
            marks=tuple(dict.fromkeys((*file.marks, *shape.marks))),
            severity=shape.severity or file.severity,
            xfail=shape.xfail,
            skip=shape.skip,
            model=model,
        )

    def _relation_heads(self, written: object, default: object, path: YamlPath) -> Heads | None:
        """The heads of a relation: one head, the mean of several, or the best of several.

        A relation counts how often one head is right, so any other selector of several is refused.
        """
        place: YamlPath = (*path, "heads")
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
            # A scan measures a named set of several heads as their mean.
            heads = replace(heads, how="mean")
        if chosen_on not in (None, "half"):
            message = "takes half: the head is chosen on one half of the sentences and judged on "
            self._error(f"chosen_on: {message}the other", (*place, "chosen_on"))
        elif chosen_on is not None and heads.how != "best":
            message = "chosen_on: goes with how: best; nothing is chosen here"
            self._error(message, (*place, "chosen_on"), key=True)
        is_one_head = len(heads.members) == 1 and isinstance(heads.members[0], Head)
        if heads.how not in ("mean", "best") and not (heads.how is None and is_one_head):
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
        shape: RelationShape,
        defaults: Defaults,
        model: str | None,
        site: SiteName | None,
        path: YamlPath,
    ) -> CorpusArcs | LabelledArcs | None:
        given = [
            key for key in ("from_corpus", "from_cases", "spans") if getattr(shape, key) is not None
        ]
        if len(given) != 1:
            message = "a relation has exactly one of from_corpus:, from_cases: and spans:"
            self._error(message, path)
            return None
        language = shape.source_language or defaults.source_language
        if shape.from_corpus is not None:
            corpus_path = (*path, "from_corpus")
            corpus_shape = self._validate(CorpusShape, shape.from_corpus, corpus_path)
            corpus = None if corpus_shape is None else self._corpus(corpus_shape, corpus_path)
            return corpus and replace(
                corpus,
                source_language=language,
                target_language=shape.target_language or defaults.target_language,
            )
        if shape.target_language is not None or (shape.from_cases and shape.source_language):
            key = "source_language" if shape.target_language is None else "target_language"
            self._error(
                f"{key}: goes with from_corpus:, whose sentences name none; "
                "cases name their own, and spans: have no target",
                (*path, key),
                key=True,
            )
        if shape.from_cases is not None:
            return self._arcs_of_cases(shape.from_cases, model, site, (*path, "from_cases"))
        arcs = [
            self._arc_of_spans(written, language, (*path, "spans", index))
            for index, written in enumerate(shape.spans or [])
        ]
        return LabelledArcs(tuple(arc for arc in arcs if arc is not None), {})

    def _corpus(self, shape: CorpusShape, path: YamlPath) -> CorpusArcs | None:
        """The corpus file, which must exist; it is read when the relation is measured."""
        kinds = [kind for kind in CORPUS_FORMATS if getattr(shape, kind) is not None]
        if len(kinds) != 1:
            self._error("from_corpus: names one file: conllu:, jsonl: or tsv:", path)
            return None
        (kind,) = kinds
        key, wrong = ("deprel", "relation") if kind == "conllu" else ("relation", "deprel")
        if getattr(shape, wrong) is not None:
            self._error(
                f"{wrong}: does not go with {kind}:; write {key}:", (*path, wrong), key=True
            )
            return None
        labels: list[str] | None = getattr(shape, key)
        if labels is None:
            self._error(f"{key}: is missing; name the relation", path, key=True)
            return None
        written: str = getattr(shape, kind)
        try:
            file = self._files.find(written, f".{kind}", packed=True)
        except SelectorError as error:
            self._error(f"{kind}: {error}", (*path, kind))
            return None
        is_list = self.document.raw((*path, key)) is None
        marks = [
            self.document.mark((*path, key, number) if is_list else (*path, key))
            for number in range(len(labels))
        ]
        return CorpusArcs(
            path=file,
            shown=file.relative_to(self._files.root).as_posix(),
            labels=tuple(zip(labels, marks, strict=True)),
            backwards=shape.direction == "head-to-dependent",
        )

    def _arc_of_spans(
        self, written: object, language: str | None, path: YamlPath
    ) -> LabelledArc | None:
        shape = self._validate(SpanShape, written, path)
        if shape is None:
            return None
        for name, written_text in (("text", shape.text), ("text_pair", shape.text_pair)):
            if written_text is not None and not written_text.strip():
                self._error(f"{name}: holds no word", (*path, name))
                return None
        sample = Sample(
            shape.text,
            allow_special_tokens=shape.allow_special_tokens,
            source_language=language,
            pair=shape.text_pair,
            one_segment=shape.one_segment,
        )
        query = self._span("from", shape.from_, sample, (*path, "from"))
        key = self._span("to", shape.to, sample, (*path, "to"))
        named = [
            self._span("candidates", selector, sample, (*path, "candidates", number))
            for number, selector in enumerate(shape.candidates or ())
        ]
        if query is None or key is None or None in named:
            return None
        if query.start < key.end and key.start < query.end:
            self._error("from: and to: share characters; a word cannot look at itself", path)
            return None
        candidates = tuple(span for span in named if span is not None)
        if shape.candidates is not None:
            try:
                candidates = other_candidates(candidates, query, key)
            except ValueError as error:
                self._error(f"candidates: {error}", (*path, "candidates"))
                return None
        return LabelledArc(sample, query, key, candidates, shape.text)

    def _span(self, name: str, selector: Selector, sample: Sample, path: YamlPath) -> Span | None:
        self._unfolded.add("characters to look through", len(sample.joined), path)
        try:
            (span,) = locate(selector, sample.joined, parts=sample.parts)
        except SelectorError as error:
            self._error(f"{name}: {error}", path)
            return None
        return span

    def _arcs_of_cases(
        self,
        ids: Literal["all"] | list[str],
        model: str | None,
        site: SiteName | None,
        path: YamlPath,
    ) -> LabelledArcs | None:
        """The arcs that the file's cases label.

        Cases with `xfail` count: their labels are right, and leaving out known failures would
        flatter the model. Skipped cases do not count.
        """
        if self.cases is None:
            return None
        known = self._arcs_by_case(self.cases, model, site)
        if ids != "all":
            for number, id in enumerate(ids):
                if id not in known:
                    near = did_you_mean(id, known)
                    message = f"no case {clip_name(id)!r} for this model; {near}"
                    self._error(message, (*path, number))
            wanted = set(ids)
            if not known.keys() >= wanted:
                return None
            known = {id: known[id] for id in sorted(wanted, key=lambda id: known[id].number)}
        found = list(known.values())
        self._unfolded.add("arcs", sum(len(case.arcs) or 1 for case in found), path)
        arcs: dict[tuple[Sample, Span, Span], LabelledArc] = {}
        left_out: Counter[str] = Counter()
        for case in found:
            for arc in case.arcs:
                arcs.setdefault(arc[:3], arc)
            left_out.update(case.left_out)
        if not arcs:
            message = "from_cases: finds no attends with min:, top: or over: between two words"
            self._error(message, path)
            return None
        return LabelledArcs(tuple(arcs.values()), dict(left_out))

    def _arcs_by_case(
        self, cases: Sequence[Case], model: str | None, site: SiteName | None
    ) -> dict[str, _CaseArcs]:
        """The arcs of each case for a model, by its id; the rows of a template share an id."""
        if (model, site) not in self._known:
            found: dict[str, _CaseArcs] = {}
            for case in cases:
                if case.model == model:
                    empty = _CaseArcs(len(found), [], Counter())
                    found.setdefault(case.id, empty).add(case, site)
            self._known[model, site] = found
        return self._known[model, site]


class _CaseArcs(NamedTuple):
    """The arcs of the rows of a case.

    Attributes:
        number: the place of the case among those of its model.
        left_out: how many expectations are no arcs, by reason.
    """

    number: int
    arcs: list[LabelledArc]
    left_out: Counter[str]

    def add(self, case: Case, site: SiteName | None) -> None:
        for expectation in case.expectations:
            arc = _arc_of_rule(case, expectation.rule, site)
            if isinstance(arc, LabelledArc):
                self.arcs.append(arc)
            elif arc:
                self.left_out[arc] += 1


def _arc_of_rule(case: Case, rule: Rule, site: SiteName | None) -> LabelledArc | str:
    """The arc that a rule labels, or the reason why it labels none; "" for a rule that never does.

    An `attends` that only bounds the weight from above does not say where a word looks.
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
