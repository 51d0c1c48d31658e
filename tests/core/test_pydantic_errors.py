"""What pydantic finds, in plain words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import tomli_w
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from attnprobe import cases
from attnprobe.cases import yamltext
from attnprobe.core.errors import AttnprobeError
from attnprobe.core.pydantic_errors import describe_error
from attnprobe.gate.lookup import read_policy
from attnprobe.gate.policy import Policy, Regressions, SuitePolicy, Waiver
from attnprobe.rules import RULES


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
        (int, "1,000", "'1,000' is text; it takes a whole number"),
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
    assert describe_error(finding) == sentence


# No reader should have to know pydantic: every key, with values that mean nothing there.

# In C where PyYAML was built with it: thousands of case files are written.
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 7, 1.5, 1e9, float("inf"), "", " ", "odd §", "0.3", "2026-12-31"),
    *([], {}, [1], ["odd §"], [{}], [[]], {"odd": 1}, {"in": 3}, "1" * 200),
)
RAW = re.compile(
    "Input should|should (be|have|match)|[Vv]alue error|valid (tuple|dictionary|list|string)"
    "|pydantic|instance of|Extra inputs|Field required|Tuple|Assertion"
)


def complaints(entry: dict[str, Any], **head: Any) -> str:
    """What is said of a case file with this case or relation; "" for nothing."""
    place = "relations" if "from_cases" in entry or "from_corpus" in entry else "cases"
    document = {"version": 1, "suite": "s", place: [entry]} | head
    text = yaml.dump(document, Dumper=DUMPER, allow_unicode=True)
    try:
        cases.parse(yamltext.loads(text.encode(), "x"))
    except AttnprobeError as error:
        return str(error)
    return ""


def checked(said: list[str], least: int) -> None:
    """Most values are refused, and each in plain words."""
    assert sum(map(bool, said)) >= least
    assert [one for one in said if RAW.search(one)] == []


@pytest.mark.parametrize("kind", sorted(RULES))
def test_no_rule_speaks_of_pydantic(kind: str) -> None:
    fields = [field.alias or name for name, field in RULES[kind].model_fields.items()]
    whole = {"from": "dog", "to": "it", "heads": "L0H1"}
    start = {name: value for name, value in whole.items() if name in fields}
    said = [
        complaints({"id": "a", "text": "the dog saw it", "expect": [{kind: start | {name: odd}}]})
        for name in fields
        for odd in ODD
    ]
    said += [
        complaints({"id": "a", "text": "the dog saw it", "expect": [{kind: odd}]}) for odd in ODD
    ]
    checked(said, len(fields) * len(ODD) // 2)


def test_no_case_speaks_of_pydantic() -> None:
    expect = [{"attends": {"from": "dog", "to": "it", "heads": "L0H1", "min": 0.3}}]
    case = {"id": "a", "text": "the dog saw it", "expect": expect}
    relation = {"id": "a", "from_cases": {"from": "x", "to": "y"}, "heads": "L0H1", "expect": {}}
    corpus = relation | {"from_corpus": {"conllu": "x", "deprel": "y"}}
    del corpus["from_cases"]
    # Every key that any of these may have, as the schema for editors lists them.
    keys = sorted({key for found in properties(cases.schema()) for key in found})
    said = [
        complaints(start | {key: odd}) for start in (case, relation) for key in keys for odd in ODD
    ]
    said += [
        complaints(corpus | {"from_corpus": corpus["from_corpus"] | {key: odd}})
        for key in keys
        for odd in ODD
    ]
    said += [complaints(case, **{key: odd}) for key in keys for odd in ODD]
    checked(said, len(said) // 2)


def properties(schema: object) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        found = schema.get("properties")
        if isinstance(found, dict):
            yield found
        for part in schema.values():
            yield from properties(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from properties(part)


def test_no_policy_speaks_of_pydantic(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    waiver = {"case": "a", "reason": "b", "owner": "c", "expires": date(2027, 1, 1)}
    tables: list[tuple[type[BaseModel], Callable[[str, Any], dict[str, Any]]]] = [
        (Policy, lambda key, odd: {key: odd}),
        (SuitePolicy, lambda key, odd: {"suite": {"x": {key: odd}}}),
        (Regressions, lambda key, odd: {"baseline": "b.json", "regressions": {key: odd}}),
        (Waiver, lambda key, odd: {"waivers": [waiver | {key: odd}]}),
    ]
    said = []
    for table, made in tables:
        for key in table.model_fields:
            for odd in ODD:
                if odd is None or (isinstance(odd, dict | list) and None in odd):
                    continue
                file.write_text(tomli_w.dumps(made(key, odd)), encoding="utf-8")
                try:
                    read_policy(file)
                except AttnprobeError as error:
                    said.append(str(error))
                else:
                    said.append("")
    checked(said, len(said) // 2)
