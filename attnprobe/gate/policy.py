"""The policy of the gate: its keys, and the messages for unknown keys and invalid values."""

from __future__ import annotations

import glob
import re
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from attnprobe.core.errors import PolicyError
from attnprobe.core.pydantic_errors import describe_error, drop_implied_errors
from attnprobe.core.registry import did_you_mean

# The table and the file that hold the policy of a project.
TABLE = ("tool", "attnprobe", "gate")
PYPROJECT = "pyproject.toml"

Choice = Literal["fail", "pass"]
Dtype = Literal["float32", "bfloat16", "float16"]
Severity = Literal["blocking", "advisory"]
# A rate below 0.5 lets most checks fail, and no number of checks can show a rate of 1.
Rate = Annotated[float, Field(ge=0.5, lt=1)]
Count = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(min_length=1, pattern=r"\S")]
Names = Annotated[tuple[Name, ...], Field(strict=False)]


def _names_files(value: str) -> str:
    if not re.search(r"\w", re.sub(r"(?i)attn|ya?ml", "", value)):
        raise ValueError("would let every case file go; name a file or a folder")
    return value


CaseFile = Annotated[Name, AfterValidator(_names_files)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SuitePolicy(_Table):
    """The demands on one suite, on each model that it ran on.

    Attributes:
        least: the number of checks that must have been judged.
        pass_rate: the share, 0.5 to 1, that the lower end of the 95 % Wilson interval of the pass
            rate must reach. None, here and for all suites, demands that every check holds.
    """

    least: Annotated[int, Field(ge=1)] = 1
    pass_rate: Rate | None = None


class Regressions(_Table):
    """What may be worse than in the baseline; only blocking checks count.

    Attributes:
        broken: how many checks may hold in the baseline and not now.
        gone: how many checks of the baseline may be missing or skipped now.
        new: how many checks may be missing from the baseline.
        weaker: the share, 0 to 1, by which a deciding number may fall while its check still holds;
            None sets no limit.
    """

    broken: Count = 0
    gone: Count = 0
    new: Count = 0
    weaker: Annotated[float, Field(gt=0, lt=1)] | None = None


class Waiver(_Table):
    """Lets one check, or several, fail until a day.

    Attributes:
        case: the check as pytest writes it, `cases/x.attn.yaml::it-animal` or with `[row]`; `*`
            matches any text.
        reason, owner: why the check may fail, and who answers for it.
        expires: the last day on which the waiver is valid.
        model: the model that it is for; None for all models.
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
        """Whether the waiver is for a check of this address on this model."""
        # Of fnmatch, since a regular expression with many ".*" takes exponential time.
        pattern = "*".join(map(glob.escape, self.case.split("*")))
        return fnmatchcase(case, pattern) and self.model in (None, model)


class Policy(_Table):
    """What a run must show before a model may be released.

    Attributes:
        suites: names of suites that must have been judged, on each model where they can run.
        least: the number of checks that must have been judged, on each model of the command line.
        blocking: the severities that block a release; checks of other severities are only noted.
        pass_rate: as in `SuitePolicy`, over all blocking checks of a model.
        suite: demands on single suites, by name.
        chance_max: the share of other word pairs, 0 to 0.5, for which an expectation may hold.
        borderline: whether a number too near to its bound to call fails its check.
        skipped: how many checks may be skipped; None for any number.
        advisory: how many checks may have a severity that does not block; None for any number.
        known_gaps: how many checks may be marked as known gaps; None for any number.
        deselected: how many checks -k, -m and similar options may leave out.
        uncollected: patterns of case files that the run may skip, by their paths from its root;
            `*` matches any text.
        absent_models: models whose cases may be left out because the run does not have them.
        candidate: where the judged models come from: `--attn-model` on the command line of the
            gate, or the ini file.
        baseline: the results file to compare with, relative to the policy file.
        regressions: what may be worse than in the baseline.
        moved_heads: whether a check may pass that broke only because its head moved.
        baseline_model: the old model for which the cases name heads; needed to allow moved heads.
            If there is a baseline, it must record the same weights.
        baseline_revision: the commit of `baseline_model`; needed for a hub model.
        control: `random-init` compares each suite with the same suite on an untrained twin.
        control_seed: the seed of the twin's weights.
        dtypes, devices: allowed number types and devices of the run; None allows any.
        own_loader: whether a project's own loader may build models. It is unknown where their
            weights came from.
        remote_code: whether a model that comes with code of its own may be judged without it.
        commit: whether a results file must be of the commit that is checked out.
        waivers: checks that may fail until a day.
    """

    suites: Names = ()
    least: Annotated[int, Field(ge=1)] = 1
    blocking: Annotated[tuple[Severity, ...], Field(min_length=1, strict=False)] = ("blocking",)
    pass_rate: Rate | None = None
    suite: dict[Name, SuitePolicy] = Field(default_factory=dict)
    chance_max: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    borderline: Choice = "fail"
    skipped: Count | None = None
    advisory: Count | None = None
    known_gaps: Count | None = None
    deselected: Count = 0
    uncollected: Annotated[tuple[CaseFile, ...], Field(strict=False)] = ()
    absent_models: Names = ()
    candidate: Literal["command-line", "ini"] = "command-line"
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

    def allows_uncollected(self, file: str) -> bool:
        """Whether the run may skip a case file, given by its path from the root."""
        return any(fnmatchcase(file, pattern) for pattern in self.uncollected)

    @property
    def demands(self) -> bool:
        """Whether the policy says what must have been judged; without that any run would pass."""
        numbers = (self, *self.suite.values())
        return bool(self.suites) or any("least" in table.model_fields_set for table in numbers)

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


def parse_policy(data: Any, file: Path, table: str) -> Policy:
    """The policy that the keys of a table state.

    Args:
        data: the table as TOML gives it.
        file: the file of the table; the path of the baseline is relative to it.
        table: the name of the table, for messages; empty for a policy file of its own.

    Raises:
        PolicyError: a key is unknown or a value is invalid; one line for each.
    """
    try:
        policy = Policy.model_validate(data)
    except ValidationError as error:
        lines = [
            _complaint(entry, file, table)
            for entry in drop_implied_errors(error.errors(include_url=False))
        ]
        raise PolicyError("\n".join(lines)) from None
    if policy.baseline is None:
        return policy
    return policy.model_copy(update={"baseline": file.parent / policy.baseline})


def _complaint(entry: Any, file: Path, table: str) -> str:
    """An error of pydantic as `pyproject.toml: tool.attnprobe.gate.least: what is wrong`."""
    path = [str(part) for part in entry["loc"]]
    where = ".".join([*([table] if table else []), *path])
    message = describe_error(entry, quoted=True)
    if entry["type"] == "extra_forbidden":
        message = _advise_unknown(entry["loc"], file)
    elif path == ["waivers"] and isinstance(entry["input"], dict):
        message = f"write [[{where}]], with two brackets"
    return ": ".join([str(file), *([where] if where else []), message])


def _advise_unknown(loc: tuple[str | int, ...], file: Path) -> str:
    """What to write instead of an unknown key."""
    key = str(loc[-1])
    table = ".".join(TABLE) + "." if file.name == PYPROJECT else ""
    if len(loc) == 1:
        if key == TABLE[0] and not table:
            return f"in a policy file of its own leave out the header [{'.'.join(TABLE)}]"
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
