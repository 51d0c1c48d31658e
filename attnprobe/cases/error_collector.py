"""Collects the errors of one document, each with its place and in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from attnprobe.cases.yamltext import Document, YamlPath
from attnprobe.core.errors import CaseError, CaseErrors, Mark
from attnprobe.core.pydantic_errors import advise_key, describe_error, drop_implied_errors
from attnprobe.core.registry import clip_name
from attnprobe.core.wording import join_names
from attnprobe.rules import RULES

M = TypeVar("M", bound=BaseModel)

# A message lists so many keys.
MOST_NAMES = 20
# A file with so many errors is read no further.
MOST_ERRORS = 100


class ErrorCollector:
    """Collects the errors of a document, so that the user sees all of them at once."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._errors: dict[tuple[Mark, str], CaseError] = {}
        self._added = 0

    def __bool__(self) -> bool:
        """Whether there are any errors."""
        return bool(self._errors)

    def add(self, message: str, path: YamlPath, *, key: bool = False) -> None:
        """Adds an error at the value of this path.

        Args:
            key: whether the error points to the key instead.

        Raises:
            CaseErrors: these are MOST_ERRORS; repetitions count.
        """
        mark = self.document.key_mark(path) if key else self.document.mark(path)
        # The rows of a template share their errors.
        self._errors.setdefault((mark, message), CaseError(message, mark))
        self._added += 1
        if self._added >= MOST_ERRORS:
            raise CaseErrors(list(self._errors.values()), stopped=True)

    def raise_all(self) -> None:
        """Raises CaseErrors if there are any errors."""
        if self._errors:
            raise CaseErrors(list(self._errors.values()))

    def add_empty_value(self, path: YamlPath) -> None:
        """Adds the error of a key without a value."""
        message = "nothing is written here; write a value, or leave the key out"
        key, *above = reversed(path)
        if above[1:2] == ["expect"] and key in RULES:
            message = f"takes a mapping of arguments, such as {RULES[str(key)].example}"
            beside = self.document.keys(path[:-1]) - {key}
            if beside:
                names = join_names(sorted(map(clip_name, beside)), MOST_NAMES)
                message = f"is empty; indent {names} deeper than {key}:"
        elif isinstance(key, str) and ":" in key:
            name, _, value = key.partition(":")
            message = f"is one word; put a space after the colon: {clip_name(f'{name}: {value}')}"
            self.add(f"{clip_name(key)!r} {message}", path)
            return
        self.add(f"{_nearest_key(path)}{message}", path)

    def validate(self, model: type[M], value: object, path: YamlPath) -> M | None:
        """The value as this model; None if it does not fit, and its errors are added."""
        try:
            return model.model_validate(value)
        except ValidationError as error:
            self.add_validation_error(error, path, model)
            return None

    def add_validation_error(
        self,
        validation: ValidationError,
        base: YamlPath,
        model: type[BaseModel],
        inherited: Mapping[str, Any] | None = None,
    ) -> None:
        """Adds every error that pydantic found in a value.

        Args:
            base: path of the value.
            inherited: the keys of the value that come from `defaults:`.
        """
        for error in drop_implied_errors(validation.errors(include_url=False)):
            loc = tuple(part for part in error["loc"] if isinstance(part, int | str))
            path = (*base, *loc)
            reason = describe_error(error)
            nested = getattr(model, "nested", {}) if len(loc) > 1 else {}
            owner = nested.get(loc[0], model) if nested else model
            if inherited and loc and loc[0] in inherited:
                path = ("defaults", *loc)
            match error["type"]:
                case "extra_forbidden":
                    self.add(_describe_unknown_key(owner, str(loc[-1])), path, key=True)
                case "missing":
                    self.add(_describe_missing_key(owner, str(loc[-1])), path[:-1], key=not nested)
                case "bool_type" | "string_type" if loc[-1:] in (("xfail",), ("skip",)):
                    self.add(
                        f'{_nearest_key(path)}takes the reason as text, such as "not learned"', path
                    )
                case "string_type" | "float_type" | "int_type":
                    # Where YAML expects a number, only text can be rewritten as one.
                    explains = error["type"] == "string_type" or isinstance(error["input"], str)
                    explained = self.document.explain_scalar(path) if explains else ""
                    self.add(f"{_nearest_key(path)}{explained or reason}", path)
                case kind:
                    needs_key = loc or kind == "model_type"
                    self.add(f"{_nearest_key(path) if needs_key else ''}{reason}", path)


def _describe_unknown_key(model: type[BaseModel], key: str) -> str:
    if key in RULES and "expect" in model.model_fields:
        return f"{key} is a rule; write it into the list expect: as - {key}: {{...}}"
    return f"unknown key {clip_name(key)!r}; {advise_key(model, key)}"


def _describe_missing_key(model: type[BaseModel], key: str) -> str:
    if key == "heads":
        return (
            "heads: is missing and has no built-in default; name the heads here or under "
            "defaults:, such as heads: L3H1"
        )
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    choices = get_args(fields[key].annotation) if key in fields else ()
    if choices and all(isinstance(choice, str) for choice in choices):
        return f"{key}: is missing; it takes {', '.join(choices)}"
    return f"{key}: is missing"


def _nearest_key(path: YamlPath) -> str:
    """The last key on a path, with a colon; an entry of a list goes by the key of the list."""
    keys = [part for part in path if isinstance(part, str)]
    return f"{clip_name(keys[-1])}: " if keys else ""
