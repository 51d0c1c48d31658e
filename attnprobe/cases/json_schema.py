"""Builds the JSON Schema (draft-07) with which editors check and complete a case file."""

from __future__ import annotations

from typing import Any, cast

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from attnprobe.cases.combinations import EXCLUDED, FORMS, NEEDED
from attnprobe.cases.shapes import (
    CORPUS_FORMATS,
    BoundsShape,
    CaseShape,
    CorpusShape,
    Defaults,
    FileShape,
    GenerateShape,
    MessageShape,
    RelationShape,
    SpanShape,
)
from attnprobe.rules import RULES
from attnprobe.rules.base import SELECTOR_PART_SCHEMA, SELECTOR_SCHEMA, SELECTOR_WORD_SCHEMA
from attnprobe.words.heads import HEAD_SET_SCHEMA, HEADS_SCHEMA, RELATION_HEADS_SCHEMA


def schema() -> dict[str, Any]:
    """The JSON Schema of a case file, as a dict that `json.dump` writes."""
    case = _editor_schema(CaseShape)
    case["oneOf"] = [{"required": [form]} for form in FORMS]
    case["allOf"] = [
        {"if": {"required": [key]}, "then": {"anyOf": [{"required": [other]} for other in others]}}
        for key, (others, _) in NEEDED.items()
    ] + [
        {"not": {"required": [key, other]}} for key, others in EXCLUDED.items() for other in others
    ]
    rules = {kind: _editor_schema(RULES[kind]) for kind in RULES}
    for rule in rules.values():
        # The defaults of the file may provide what a rule requires.
        rule["required"] = [key for key in rule["required"] if key not in Defaults.model_fields]
    relation = _editor_schema(RelationShape)
    relation["oneOf"] = [{"required": [key]} for key in ("from_corpus", "from_cases", "spans")]
    corpus = _editor_schema(CorpusShape)
    corpus["oneOf"] = []
    for kind in CORPUS_FORMATS:
        label, wrong = ("deprel", "relation") if kind == "conllu" else ("relation", "deprel")
        excluded = [wrong, *(key for key in CORPUS_FORMATS if key != kind)]
        corpus["oneOf"].append(
            {
                "required": [kind, label],
                "not": {"anyOf": [{"required": [key]} for key in excluded]},
            }
        )
    bounds = _editor_schema(BoundsShape)
    bounds["anyOf"] = [{"required": [name]} for name in BoundsShape.model_fields]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "attnprobe case file, version 1",
        **_editor_schema(FileShape),
        "anyOf": [{"required": ["cases"]}, {"required": ["relations"]}],
        "definitions": {
            "defaults": _editor_schema(Defaults),
            "case": case,
            "message": _editor_schema(MessageShape),
            "generate": _editor_schema(GenerateShape),
            "relation": relation,
            "corpusArcs": corpus,
            "labelledSpans": _editor_schema(SpanShape),
            "bounds": bounds,
            "expectation": {
                "description": "One rule.",
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": False,
                "properties": {kind: {"$ref": f"#/definitions/{kind}"} for kind in rules},
            },
            **rules,
            "heads": HEADS_SCHEMA,
            "headSet": HEAD_SET_SCHEMA,
            "relationHeads": RELATION_HEADS_SCHEMA,
            "selector": SELECTOR_SCHEMA,
            "selectorPart": SELECTOR_PART_SCHEMA,
            "selectorWord": SELECTOR_WORD_SCHEMA,
        },
    }


class _EditorSchema(GenerateJsonSchema):
    """Pydantic's schema without titles made from field names, and without null.

    Null stands only for a key that the user leaves out.
    """

    def field_title_should_be_set(self, schema: object) -> bool:
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default") is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)


def _editor_schema(model: type[BaseModel]) -> dict[str, Any]:
    found = model.model_json_schema(schema_generator=_EditorSchema)
    del found["title"]
    return cast(dict[str, Any], _link(found))


def _link(schema: object) -> object:
    """Replaces `{"definition": name}` of our own fields by a reference, which pydantic cannot.

    The reference stands in an allOf, because draft-07 ignores everything beside a `$ref`, even a
    description.
    """
    match schema:
        case {"definition": str(name), **beside}:
            return {**beside, "allOf": [{"$ref": f"#/definitions/{name}"}]}
        case dict():
            return {key: _link(value) for key, value in schema.items()}
        case list():
            return [_link(value) for value in schema]
    return schema
