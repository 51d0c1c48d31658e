"""The shapes of a case file as pydantic models, from which the JSON Schema is made too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeGuard

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from attnprobe.cases.entries import Severity
from attnprobe.core.sites import SiteName
from attnprobe.words.looks import Among
from attnprobe.words.selectors import TEXT_KEYS, Chars, Phrase, Selector, parse_selector

# The fewest arcs that a relation is judged on, unless it says otherwise.
LEAST = 30
CORPUS_FORMATS = ("conllu", "jsonl", "tsv")
# Names and reasons stand in node ids and in the summary of a run.
_LONGEST_NAME = 200
_LONGEST_REASON = 1000
_MOST_MARKS = 50
MOST_GENERATED = 1_000
MOST_READ = 1_000_000
# Marks that pytest acts on; a case has skip: and xfail: instead, with a reason.
_TAKEN_MARKS = (
    "filterwarnings",
    "parametrize",
    "skip",
    "skipif",
    "tryfirst",
    "trylast",
    "usefixtures",
    "xfail",
)


def _check_version(number: int) -> int:
    if number != 1:
        raise ValueError("this attnprobe reads version: 1")
    return number


def _check_mark(name: str) -> str:
    if name in _TAKEN_MARKS:
        raise ValueError(
            f"{name!r} means something to pytest itself; take another name, and to leave a case "
            "out or expect its failure write skip: or xfail: with a reason"
        )
    return name


Row = Annotated[dict[str, str], Field(json_schema_extra={"minProperties": 1})]
Id = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_.-]+$",
        max_length=_LONGEST_NAME,
        description="Letters, digits, and _ . - only.",
    ),
]
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=_LONGEST_NAME)]
Text = Annotated[str, Field(min_length=1)]
Reason = Annotated[str, Field(min_length=1, max_length=_LONGEST_REASON)]
Mark = Annotated[
    str,
    Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=_LONGEST_NAME),
    AfterValidator(_check_mark),
]
Marks = Annotated[list[Mark], Field(max_length=_MOST_MARKS, description="pytest marks, for -m.")]
AllowSpecialTokens = Annotated[
    bool, Field(description="The text may spell special tokens such as [MASK].")
]
OneSegment = Annotated[
    bool,
    Field(
        description="The text may spell separators such as [SEP]: the model is used with them "
        "inside of one text."
    ),
]
SourceLanguage = Annotated[
    Text | None,
    Field(description="The language of the text, by its code in a multilingual tokenizer."),
]
TargetLanguage = Annotated[
    Text | None,
    Field(description="The language of the target text, by its code in the tokenizer."),
]


# Advice for a key in the wrong place.
_MISPLACED = {
    "heads": "heads: goes under defaults: or into a rule",
    "source_language": "source_language: goes under defaults: or into a case or relation",
    "target_language": "target_language: goes under defaults: or into a case or relation",
}


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Defaults(_Shape):
    """What every rule, case and relation of the file takes unless it says otherwise."""

    site: Annotated[SiteName | None, Field(description="Which attention.")] = None
    heads: Annotated[Any, WithJsonSchema({"definition": "heads"})] = None
    source_language: SourceLanguage = None
    target_language: TargetLanguage = None

    def of_rules(self) -> dict[str, Any]:
        """The defaults that rules have arguments for."""
        given = {"site": self.site, "heads": self.heads}
        return {field: value for field, value in given.items() if value is not None}


class MessageShape(_Shape):
    """One message of a conversation."""

    role: Text = Field(description="Who speaks, as the chat template calls it: system, user.")
    content: Text = Field(description="What is said; with rows: it has columns.")


class GenerateShape(_Shape):
    """How the model's own answer is made: greedily, up to a number of tokens."""

    max_tokens: Annotated[int, Field(ge=1, le=MOST_GENERATED)] = Field(
        description="The most tokens of the answer."
    )


def parse_depth(value: object) -> float:
    """The share of a long text before its needle; 0.5 for None.

    Raises:
        ValueError: no number from 0 to 1.
    """
    try:
        depth = 0.5 if value is None else float(str(value))
    except ValueError:
        depth = math.nan
    if not 0 <= depth <= 1:
        raise ValueError(f"depth: is a share of the haystack, from 0 to 1, not {value}")
    return depth


class CaseShape(_Shape):
    """One case: a text, or a template with rows, and what is expected of it."""

    misplaced: ClassVar[Mapping[str, str]] = _MISPLACED
    nested: ClassVar[Mapping[str, type[BaseModel]]] = {
        "messages": MessageShape,
        "generate": GenerateShape,
    }

    id: Id
    text: Text | None = Field(None, description="The sentence that the model reads.")
    template: Text | None = Field(
        None, description='A sentence with columns: "The {noun} near the house {verb} old."'
    )
    rows: Annotated[list[Row], Field(min_length=1)] | None = Field(
        None,
        description="What fills the columns of the template, or of the messages; each row is one "
        "item.",
    )
    ids: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = Field(
        None, description="Token ids instead of a text, as the model is to see them."
    )
    repeat: Annotated[int, Field(ge=2)] | None = Field(
        None, description="How many times the ids stand one after the other."
    )
    messages: (
        Annotated[
            list[Annotated[MessageShape, WithJsonSchema({"definition": "message"})]],
            Field(min_length=1),
        ]
        | None
    ) = Field(
        None,
        description="A conversation instead of a text, as the tokenizer's chat template writes it.",
    )
    generation_prompt: bool = Field(
        False, description="The conversation ends with the marks that begin an answer."
    )
    generate: Annotated[GenerateShape | None, WithJsonSchema({"definition": "generate"})] = Field(
        None,
        description="The model's own answer is read behind the text; name its words as "
        "{generated: word}.",
    )
    needle: Text | None = Field(
        None, description="A sentence that stands in a long text before the text."
    )
    haystack: Text | None = Field(
        None, description="The long text: a .txt file, by its path from the case file."
    )
    depth: float | Text | None = Field(
        None, description="The share of the long text before the needle, 0 to 1; 0.5 unless given."
    )
    tokens: Annotated[int, Field(ge=1, le=MOST_READ)] | None = Field(
        None, description="The most tokens of needle, long text and text together."
    )
    text_pair: Text | None = Field(
        None,
        description="A second text, read behind the first by the tokenizer's own encoding of "
        "pairs; in a template it has columns too.",
    )
    target: Text | None = Field(None, description="Target text, for an encoder-decoder.")
    source_language: SourceLanguage = None
    target_language: TargetLanguage = None
    model: ModelName | None = Field(
        None, description="Which model the case is for; without it the run's first."
    )
    marks: Marks = []
    severity: Severity | None = Field(
        None, description="What a failure of this case means to a release gate."
    )
    xfail: Reason | None = Field(
        None, description="Why the model is known to fail here; a pass is then a failure."
    )
    skip: Reason | None = Field(None, description="Why the case is not run.")
    allow_special_tokens: AllowSpecialTokens = False
    one_segment: OneSegment = False
    expect: Annotated[
        list[Annotated[dict[str, Any], WithJsonSchema({"definition": "expectation"})]],
        Field(min_length=1, description="The rules, each judged on its own."),
    ]


def _as_list(value: object) -> object:
    if not isinstance(value, str | list):
        raise PydanticCustomError("string_type", "takes the name of a relation, or a list of them")
    return [value] if isinstance(value, str) else value


Labels = Annotated[
    list[Text],
    Field(min_length=1),
    BeforeValidator(_as_list),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {
                    "type": "array",
                    "minItems": 1,
                    "items": {"type": "string", "minLength": 1},
                },
            ]
        }
    ),
]


class CorpusShape(_Shape):
    """A corpus file and the arcs to take from it."""

    conllu: Text | None = Field(
        None, description="A CoNLL-U treebank, by its path from the case file."
    )
    jsonl: Text | None = Field(None, description="Labelled spans, one JSON object a line.")
    tsv: Text | None = Field(None, description="Labelled spans, tab-separated.")
    deprel: Labels | None = Field(
        None, description="The relation as a treebank calls it, its subtypes too; or several."
    )
    relation: Labels | None = Field(
        None, description="The relation as the file of labelled spans calls it; or several."
    )
    direction: Literal["dependent-to-head", "head-to-dependent"] = Field(
        "dependent-to-head", description="Which word attends to which."
    )


def _names_a_text(value: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in TEXT_KEYS


def _parse_span(value: object) -> Selector:
    which, inner = next(iter(value.items())) if _names_a_text(value) else (None, value)
    if isinstance(inner, list) and all(type(part) is int for part in inner):
        inner = {"chars": inner}
    found = parse_selector(inner if which is None else {which: inner})
    if len(found.parts) != 1 or not isinstance(found.parts[0], Chars | Phrase):
        raise ValueError("one word of the text, by its characters ([4, 10]) or as it stands there")
    return found


_SpanField = Annotated[
    Selector,
    PlainValidator(_parse_span),
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "type": "array",
                    "items": {"type": "integer", "minimum": 0},
                    "minItems": 2,
                    "maxItems": 2,
                },
                {"definition": "selectorPart"},
            ]
        }
    ),
]


class SpanShape(_Shape):
    """A text with two words in it: one that attends, and one that it should attend to."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    text: Text = Field(description="The sentence that the model reads.")
    text_pair: Text | None = Field(
        None, description="A second text, read behind the first; name its words as {pair: word}."
    )
    from_: _SpanField = Field(
        alias="from", description="The word that attends: characters [4, 10], or the word itself."
    )
    to: _SpanField = Field(description="The word attended to, in the same forms.")
    allow_special_tokens: AllowSpecialTokens = False
    one_segment: OneSegment = False
    candidates: Annotated[list[_SpanField], Field(min_length=1)] | None = Field(
        None,
        description="The words that compete with to:, in the same forms; without it all words of "
        "the text.",
    )


class BoundsShape(_Shape):
    """What is demanded; all of it must hold."""

    accuracy: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Least share of arcs for which the head looks at the right word."
    )
    above_best_offset: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None,
        description="By how much the accuracy must lie above that of the best fixed distance, "
        "with p of the exact McNemar test at most 0.05.",
    )
    above_offset_p: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="Largest p of the exact McNemar test against the best fixed distance; the "
        "head must be the better one.",
    )
    above_preference: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None,
        description="By how much the accuracy must lie above that of the same head when another "
        "word of the sentence looks, with p of the exact McNemar test at most 0.05.",
    )
    above_preference_p: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="Largest p of the exact McNemar test of the head against itself when another "
        "word of the sentence looks; it must be right more often when the true word looks.",
    )


def _check_case_ids(value: object) -> object:
    names = isinstance(value, list) and value and all(isinstance(name, str) for name in value)
    if value == "all" or names:
        return value
    raise ValueError("takes all, or a list of case ids")


class RelationShape(_Shape):
    """A relation between words, judged over many sentences."""

    id: Id
    from_corpus: Annotated[
        Any,
        WithJsonSchema({"definition": "corpusArcs"}),
        Field(description="Arcs of a corpus file."),
    ] = None
    from_cases: Annotated[
        Literal["all"] | list[str] | None,
        PlainValidator(_check_case_ids),
        WithJsonSchema(
            {
                "anyOf": [
                    {"const": "all"},
                    {"type": "array", "minItems": 1, "items": {"type": "string"}},
                ]
            }
        ),
    ] = Field(
        None,
        description="What the cases of this file expect: all of them, or the cases of these ids.",
    )
    spans: (
        Annotated[
            list[Annotated[Any, WithJsonSchema({"definition": "labelledSpans"})]],
            Field(min_length=1),
        ]
        | None
    ) = Field(None, description="Texts with two labelled words each.")
    heads: Annotated[
        Any,
        WithJsonSchema({"definition": "relationHeads"}),
        Field(description="Which head is judged: one, the mean of several, or the best of them."),
    ] = None
    site: SiteName | None = Field(
        None, description="Which attention; needed where the model has several."
    )
    source_language: SourceLanguage = None
    target_language: TargetLanguage = None
    among: Among = Field(
        "words",
        description="What competes: words, or also special tokens and, at a causal site, the first "
        "token.",
    )
    seed: Annotated[int, Field(ge=0)] = Field(
        0, description="Of the split into the half chosen on and the half judged on."
    )
    least: Annotated[int, Field(ge=1)] = Field(
        LEAST, description="With fewer judged arcs the relation is an error."
    )
    expect: Annotated[
        Any, WithJsonSchema({"definition": "bounds"}), Field(description="What is demanded.")
    ]
    model: ModelName | None = Field(
        None, description="Which model the relation is for; without it the run's first."
    )
    marks: Marks = []
    severity: Severity | None = Field(
        None, description="What a failure of this relation means to a release gate."
    )
    xfail: Reason | None = Field(
        None, description="Why the model is known to fail here; a pass is then a failure."
    )
    skip: Reason | None = Field(None, description="Why the relation is not run.")


class FileShape(_Shape):
    """A file of attention probes."""

    misplaced: ClassVar[Mapping[str, str]] = _MISPLACED

    version: Annotated[
        int,
        AfterValidator(_check_version),
        WithJsonSchema({"const": 1}),
        Field(description="The version of this format."),
    ]
    suite: Id
    about: str = Field("", description="What the suite is about, in a sentence.")
    model: ModelName | None = Field(
        None, description="Which model the cases are for, unless they say otherwise."
    )
    marks: Marks = []
    severity: Severity = Field("blocking", description="What a failure means to a release gate.")
    # The parser validates defaults and entries one by one, so that no error hides another.
    defaults: Annotated[Any, WithJsonSchema({"definition": "defaults"})] = {}
    cases: (
        Annotated[list[Annotated[Any, WithJsonSchema({"definition": "case"})]], Field(min_length=1)]
        | None
    ) = None
    relations: (
        Annotated[
            list[Annotated[Any, WithJsonSchema({"definition": "relation"})]], Field(min_length=1)
        ]
        | None
    ) = None
