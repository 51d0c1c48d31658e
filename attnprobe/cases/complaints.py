"""What is wrong with one document, each complaint under its line and in our words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from attnprobe.cases.yamltext import Document
from attnprobe.core.complaints import in_words, meant, without_seeming_empty
from attnprobe.core.errors import CaseError, CaseErrors, Mark
from attnprobe.rules import RULES

KeyPath = tuple[str | int, ...]
M = TypeVar("M", bound=BaseModel)


class Complaints:
    """Gathers the errors of a document, so that all are told at once."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.errors: dict[tuple[Mark, str], CaseError] = {}

    def error(self, message: str, path: KeyPath, *, key: bool = False) -> None:
        """Notes an error at the value of this path.

        Args:
            key: at its key instead.
        """
        mark = self.document.key_mark(path) if key else self.document.mark(path)
        # The rows of a template share their errors.
        self.errors.setdefault((mark, message), CaseError(message, mark))

    def raise_all(self) -> None:
        """Raises CaseErrors if there are any."""
        if self.errors:
            raise CaseErrors(list(self.errors.values()))

    def nothing_written(self, path: KeyPath) -> None:
        """Complains of a value that is left out."""
        message = "nothing is written here; write a value, or leave the key out"
        key, *above = reversed(path)
        if above[1:2] == ["expect"] and key in RULES:
            message = f"takes a mapping of arguments, such as {RULES[str(key)].example}"
            beside = self.document.keys(path[:-1]) - {key}
            if beside:
                message = f"is empty; indent {', '.join(sorted(beside))} deeper than {key}:"
        elif isinstance(key, str) and ":" in key:
            name, _, value = key.partition(":")
            self.error(f"{key!r} is one word; put a space after the colon: {name}: {value}", path)
            return
        self.error(f"{_name(path)}{message}", path)

    def validated(self, model: type[M], value: object, path: KeyPath) -> M | None:
        """The value in this shape; None where it does not have it, and the errors are noted."""
        try:
            return model.model_validate(value)
        except ValidationError as error:
            self.explain(error, path, model)
            return None

    def explain(
        self,
        error: ValidationError,
        base: KeyPath,
        model: type[BaseModel],
        inherited: Mapping[str, Any] | None = None,
    ) -> None:
        """Files each finding of pydantic under its line, in our words."""
        for finding in without_seeming_empty(error.errors(include_url=False)):
            loc = tuple(part for part in finding["loc"] if isinstance(part, int | str))
            path = (*base, *loc)
            reason = in_words(finding)
            if inherited and loc and loc[0] in inherited:
                path = ("defaults", *loc)
            match finding["type"]:
                case "extra_forbidden":
                    self.error(_unknown(model, str(loc[-1])), path, key=True)
                case "missing":
                    self.error(_missing(model, str(loc[-1])), base, key=True)
                case "bool_type" | "string_type" if loc[-1:] in (("xfail",), ("skip",)):
                    self.error(
                        f'{_name(path)}takes the reason as text, such as "not learned"', path
                    )
                case "string_type" | "float_type" | "int_type":
                    # Where a number is needed, only text can be told how to become one.
                    meant = finding["type"] == "string_type" or isinstance(finding["input"], str)
                    explained = self.document.explain_scalar(path) if meant else ""
                    self.error(f"{_name(path)}{explained or reason}", path)
                case kind:
                    named = loc or kind == "model_type"
                    self.error(f"{_name(path) if named else ''}{reason}", path)


def _unknown(model: type[BaseModel], key: str) -> str:
    """A key that this model does not take, and what was meant."""
    if key in RULES and "expect" in model.model_fields:
        return f"{key} is a rule; write it into the list expect: as - {key}: {{...}}"
    return f"unknown key {key!r}; {meant(model, key)}"


def _missing(model: type[BaseModel], key: str) -> str:
    """A key that is left out, and what it takes where that can be listed."""
    if key == "heads":
        return (
            "heads: is missing and has no built-in default; name the heads here or under "
            "defaults:, such as heads: L3H1"
        )
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    choices = get_args(fields[key].annotation) if key in fields else ()
    if choices and all(isinstance(one, str) for one in choices):
        return f"{key}: is missing; it takes {', '.join(choices)}"
    return f"{key}: is missing"


def _name(path: KeyPath) -> str:
    """The nearest key that is a name: an entry of a list is told by the list's."""
    names = [part for part in path if isinstance(part, str)]
    return f"{names[-1]}: " if names else ""
