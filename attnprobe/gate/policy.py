"""The policy of the gate: `[tool.attnprobe.gate]` of pyproject.toml, or a TOML file of its own."""

from __future__ import annotations

import difflib
import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from attnprobe.errors import PolicyError
from attnprobe.findings import in_words, told
from attnprobe.registry import did_you_mean

__all__ = [
    "FoundPolicy",
    "Policy",
    "Regressions",
    "SuitePolicy",
    "Waiver",
    "find_policy",
    "read_policy",
]

_TABLE = ("tool", "attnprobe", "gate")
_PYPROJECT = "pyproject.toml"
_DATE = re.compile(r"\b[0-9]{4}-[0-9]{2}-[0-9]{2}\b")

Choice = Literal["fail", "pass"]
Dtype = Literal["float32", "bfloat16", "float16"]
Severity = Literal["blocking", "advisory"]
# A lower rate lets most checks fail, and none of 1 can be shown by any number of checks.
Rate = Annotated[float, Field(ge=0.5, lt=1)]
Count = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(min_length=1, pattern=r"\S")]
Names = Annotated[tuple[Name, ...], Field(strict=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SuitePolicy(_Table):
    """What is demanded of one suite, on each model that it ran on.

    Attributes:
        least: checks that must have been judged.
        pass_rate: what the lower end of the 95 % Wilson interval of the pass rate must reach.
            Without one, here or for all, every check has to hold.
    """

    least: Annotated[int, Field(ge=1)] = 1
    pass_rate: Rate | None = None


class Regressions(_Table):
    """What may be worse than in the baseline; blocking checks alone count.

    Attributes:
        broken: how many checks may have held before and not now.
        gone: how many checks of the baseline may be missing, or skipped now.
        new: how many checks may be missing from the baseline.
        weaker: by what share a deciding number may have fallen where the check still holds;
            None leaves that open.
    """

    broken: Count = 0
    gone: Count = 0
    new: Count = 0
    weaker: Annotated[float, Field(gt=0, lt=1)] | None = None


class Waiver(_Table):
    """Leave for one check, or several, to fail until a day.

    Attributes:
        case: as pytest writes it, `cases/x.attn.yaml::it-animal` or with `[row]`; `*` stands for
            anything.
        model: the model that it is for; None for all.
        expires: the last day on which it holds.
    """

    case: Name
    reason: Name
    owner: Name
    expires: date
    model: Name | None = None

    @field_validator("reason", "owner")
    @classmethod
    def _says_something(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("says nothing")
        return value

    @field_validator("case")
    @classmethod
    def _names_a_case(cls, value: str) -> str:
        if not re.search(r"\w", value):
            raise ValueError("would waive every check; name a case or a file")
        return value

    def covers(self, case: str, model: str) -> bool:
        pattern = ".*".join(map(re.escape, self.case.split("*")))
        named = re.fullmatch(pattern, case, re.DOTALL) is not None
        return named and self.model in (None, model)


class Policy(_Table):
    """What a run must show before a model may be released.

    Attributes:
        suites: suites that must have been judged, by name, on each model that was given.
        least: checks that must have been judged, on each model that was given.
        blocking: the severities that block a release; the others are told only.
        pass_rate: as in `SuitePolicy`, over all blocking checks of a model.
        suite: demands on single suites, by name.
        chance_max: share of random word pairs for which an expectation may hold, 0 to 1.
        borderline: what becomes of a number too near to its bound to call.
        skipped: how many checks may be skipped; None for any number.
        deselected: how many checks -k, -m and the like may leave out.
        absent_models: models whose cases may be left out, because the run is not given them.
        baseline: results file to compare with; relative to the policy file.
        regressions: what may be worse than there.
        moved_heads: whether a check that broke because its head has another place now may pass.
        baseline_model: the model that the heads are sought in; needed to allow moved heads. Where
            there is a baseline, it must be of these weights.
        baseline_revision: its commit; needed of a hub model.
        control: whether the suites are held against an untrained twin of each model.
        control_seed: of the twin's weights.
        dtypes, devices: number types and devices of the run that are allowed; None for any.
        own_loader: whether models may come from a project's own loader, of which it is not
            known where their weights lay.
        remote_code: whether a model that comes with code of its own may be judged without it.
        commit: whether a results file must be of the commit that is checked out.
    """

    suites: Names = ()
    least: Annotated[int, Field(ge=1)] = 1
    blocking: Annotated[tuple[Severity, ...], Field(min_length=1, strict=False)] = ("blocking",)
    pass_rate: Rate | None = None
    suite: dict[Name, SuitePolicy] = Field(default_factory=dict)
    chance_max: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    borderline: Choice = "fail"
    skipped: Count | None = None
    deselected: Count = 0
    absent_models: Names = ()
    baseline: Annotated[Path | None, Field(strict=False)] = None
    regressions: Regressions = Regressions()
    moved_heads: Literal["allow", "fail"] = "fail"
    baseline_model: Name | None = None
    baseline_revision: Name | None = None
    control: Literal["random-init"] | None = None
    control_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    dtypes: Annotated[tuple[Dtype, ...], Field(min_length=1, strict=False)] | None = None
    devices: Annotated[tuple[str, ...], Field(min_length=1, strict=False)] | None = None
    own_loader: Literal["allow", "refuse"] = "refuse"
    remote_code: Literal["refuse", "ignore"] = "refuse"
    commit: Literal["same", "any"] = "same"
    waivers: Annotated[tuple[Waiver, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _makes_sense(self) -> Policy:
        if "blocking" not in self.blocking:
            raise ValueError('blocking must contain "blocking": what else would block?')
        # Path("") is the folder itself.
        if self.baseline is not None and not self.baseline.name.strip():
            raise ValueError("baseline names no file")
        if self.moved_heads == "allow" and self.baseline_model is None:
            raise ValueError(
                'moved_heads = "allow" needs baseline_model = "...", the folder or name of the '
                "model that the baseline was measured on"
            )
        if self.baseline_revision is not None and self.baseline_model is None:
            raise ValueError("baseline_revision needs baseline_model, a model of the hub")
        if "control_seed" in self.model_fields_set and self.control is None:
            raise ValueError('control_seed needs control = "random-init"')
        if "regressions" in self.model_fields_set and self.baseline is None:
            raise ValueError("regressions needs baseline, a results file to compare with")
        return self


class FoundPolicy(NamedTuple):
    """A policy and the file that it stands in; None for the defaults of `Policy`."""

    policy: Policy
    file: Path | None


def find_policy(folder: Path) -> FoundPolicy:
    """The policy in the pyproject.toml of a folder, or of the nearest one above that has one.

    The root of the git repository is the last folder that is looked at; outside of any, the first
    one with a pyproject.toml.

    Raises:
        PolicyError: it cannot be read, or says what cannot be meant.
    """
    above = folder.resolve().parents
    in_git = any((place / ".git").exists() for place in (folder, *above))
    for steps in range(len(above) + 1):
        place = folder.joinpath(*[".."] * steps)
        file = place / _PYPROJECT
        if file.is_file():
            found = _gate_table(_load(file), file)
            if found is not None:
                return FoundPolicy(_policy(found, file, ".".join(_TABLE)), file)
            if not in_git:
                break
        if (place / ".git").exists():
            break
    return FoundPolicy(Policy(), None)


def read_policy(file: Path) -> Policy:
    """The policy of a file: the table of a pyproject.toml, or the keys of any other TOML file.

    Raises:
        PolicyError: it is missing, cannot be read, or says what cannot be meant.
    """
    data = _load(file)
    if file.name != _PYPROJECT:
        return _policy(data, file, "")
    found = _gate_table(data, file)
    if found is None:
        raise PolicyError(f"{file}: has no [{'.'.join(_TABLE)}]")
    return _policy(found, file, ".".join(_TABLE))


def _load(file: Path) -> dict[str, Any]:
    text = ""
    try:
        text = file.read_text(encoding="utf-8")
        return tomllib.loads(text)
    except OSError as error:
        raise PolicyError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"{file}: is not TOML: {error}{_no_date(text, str(error))}") from None


def _no_date(text: str, problem: str) -> str:
    """Says of a date on the line of the problem that the calendar does not have it."""
    line = re.search(r"at line (\d+)", problem)
    if line is None:
        return ""
    for written in _DATE.findall(text.split("\n")[int(line[1]) - 1]):
        try:
            date.fromisoformat(written)
        except ValueError:
            return f"; {written} is no date"
    return ""


def _gate_table(data: dict[str, Any], file: Path) -> Any:
    """The table of the gate; None where there is none.

    Raises:
        PolicyError: something else of this name, or of nearly this name, stands in its place.
    """
    tool, own, gate = _TABLE
    tools = data.get(tool, {})
    near = difflib.get_close_matches(own, set(tools) - {own}, 1, 0.8)
    if near and own not in tools:
        raise PolicyError(f"{file}: {tool}.{near[0]}: unknown table; did you mean '{tool}.{own}'?")
    tables = tools.get(own)
    if tables is None:
        return None
    if not isinstance(tables, dict):
        raise PolicyError(f"{file}: {tool}.{own}: needs the table [{'.'.join(_TABLE)}]")
    if unknown := sorted(set(tables) - {gate}):
        raise PolicyError(
            f"{file}: {tool}.{own}.{unknown[0]}: unknown key; {did_you_mean(unknown[0], [gate])}"
        )
    return tables.get(gate)


def _policy(data: Any, file: Path, table: str) -> Policy:
    try:
        policy = Policy.model_validate(data)
    except ValidationError as error:
        lines = [_complaint(one, file, table) for one in told(error.errors(include_url=False))]
        raise PolicyError("\n".join(lines)) from None
    if policy.baseline is None:
        return policy
    return policy.model_copy(update={"baseline": file.parent / policy.baseline})


def _complaint(entry: Any, file: Path, table: str) -> str:
    """One error of pydantic's as `pyproject.toml: tool.attnprobe.gate.least: what is wrong`."""
    path = [str(part) for part in entry["loc"]]
    where = ".".join([*([table] if table else []), *path])
    message = in_words(entry, quoted=True)
    if entry["type"] == "extra_forbidden":
        message = _unknown(entry["loc"], file)
    elif path == ["waivers"] and isinstance(entry["input"], dict):
        message = f"write [[{where}]], with two brackets"
    return ": ".join([str(file), *([where] if where else []), message])


def _unknown(loc: tuple[str | int, ...], file: Path) -> str:
    """What to write instead of a key that its table does not have."""
    key = str(loc[-1])
    table = ".".join(_TABLE) + "." if file.name == _PYPROJECT else ""
    if len(loc) == 1:
        if key == _TABLE[0] and not table:
            return f"in a policy file of its own leave out the header [{'.'.join(_TABLE)}]"
        for name in ("regressions", "waivers"):
            if key in _keys((name,)):
                header = f"[{table}{name}]" if name == "regressions" else f"[[{table}{name}]]"
                return f"belongs under {header}"
    return f"unknown key; {did_you_mean(key, _keys(loc[:-1]))}"


def _keys(place: tuple[str | int, ...]) -> list[str]:
    """The keys that a table of the policy may have."""
    table: type[BaseModel] = Policy
    for part in place:
        field = table.model_fields.get(part) if isinstance(part, str) else None
        if field is not None:
            table = _inner(field.annotation) or table
    return list(table.model_fields)


def _inner(annotation: Any) -> type[BaseModel] | None:
    """The table inside of a type: `Waiver` for `tuple[Waiver, ...]`."""
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation if issubclass(annotation, BaseModel) else None
    found = (_inner(part) for part in get_args(annotation))
    return next((table for table in found if table is not None), None)
