"""What pydantic finds, in plain words."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from attnprobe.findings import in_words


class _Table(BaseModel):
    model_config = ConfigDict(strict=True)


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        (list[str], {"a": 1}, 'takes a list; write "- " before each entry'),
        (list[str], "coref", "takes a list, such as [coref]"),
        (tuple[str, ...], "coref", "takes a list, such as [coref]"),
        (dict[str, str], "foo", "'foo' is no mapping of keys and values"),
        (_Table, 3, "3 is no mapping of keys and values"),
        (float, "0.3", "'0.3' is text; write 0.3 without quotes"),
        (float, "30%", "'30%' is text; write 0.3"),
        (float, "0,3", "'0,3' is text; write 0.3"),
        (float, "many", "'many' is text; it takes a number"),
        (int, True, "true is not a whole number"),
        (int, 1.5, "1.5 is not a whole number"),
        (bool, "yes", "'yes' is no truth value; write true or false without quotes"),
        (str, [1], "[1] is not one text"),
        (Annotated[float, Field(gt=0)], -0.3, "-0.3 is out of range; it must be above 0"),
        (Annotated[float, Field(lt=1)], 30, "30 is out of range; it must be below 1"),
        (Annotated[int, Field(ge=1)], 0, "0 is out of range; it must be at least 1"),
        (Annotated[float, Field(le=1)], 50, "50 is out of range; it must be at most 1"),
        (Annotated[float, Field(allow_inf_nan=False)], float("inf"), "inf is not a finite number"),
        (Annotated[str, Field(min_length=1)], "", "is empty, it takes at least one character"),
        (Annotated[list[str], Field(min_length=1)], [], "is empty, it takes at least one"),
        (Literal["blocking", "advisory"], "high", "'high' is not known; it takes 'blocking' or "
         "'advisory'"),
        (Literal["blocking", "advisory"], "Blocking", "'Blocking' is not known; did you mean "
         "'blocking'?"),
        (date, "2026-12-31", "write the date without quotes, such as 2026-12-31, not "
         "'2026-12-31'"),
        (Path, 3, "3 is no path; it takes one text"),
    ],
)  # fmt: skip
def test_a_finding_in_words(kind: Any, value: object, sentence: str) -> None:
    strict = kind is not Path
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value, strict=strict)
    (finding,) = caught.value.errors(include_url=False)
    assert in_words(finding) == sentence
