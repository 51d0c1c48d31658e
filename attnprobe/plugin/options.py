"""The command line options and their ini keys, which have the same name with `_` for `-`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import pytest

from attnprobe.core.names import BATCH_TOKENS, CHANCE_MAX, LOCK, REPORT_BUDGET, short_name
from attnprobe.core.parts import WHOLE, Part
from attnprobe.models.options import LoadOptions

Figures = Literal["failed", "all", "none"]

_MODEL = "attn_model"
_SWITCHES = {
    "online": "allow the model hub; it wants --attn-revision",
    "allow-pickle": "load pickled weights, which can run code",
    "ignore-remote-code": "load a model that comes with code of its own without that code, as "
    "transformers' own class; without this option it is refused",
    "all-models": "cases that name no model run on every model of the ini file, not on the first "
    "alone",
    "nearest": "look for the best other head of a failing word pair in all layers, which takes "
    "another pass over its text; without this option it is the best in the captured layers",
    "strict": "borderline and vacuous verdicts fail, and so does a run that judged nothing or left "
    "out cases for a model that was not given",
}
_VALUES = {
    "revision": ("", "commit of the model on the hub", None),
    "device": ("auto", "device of the model: auto, cpu, cuda, cuda:1", None),
    "device-map": (
        "",
        "in place of the device, for a model that fits no single one: auto, balanced, "
        "balanced_low_0 or sequential, as in transformers",
        None,
    ),
    "dtype": ("float32", "number type of the model", ("float32", "bfloat16", "float16")),
    "batch-tokens": (str(BATCH_TOKENS), "tokens in one forward pass, padding included", None),
    "max-unfolded": (
        "1",
        "how many times the usual bounds a case file may hold and unfold to",
        None,
    ),
    "chance-max": (
        str(CHANCE_MAX),
        "a rule that passes for more of the other word pairs than this share is vacuous",
        None,
    ),
    "figures": ("failed", "cases that get pictures in the HTML report", ("failed", "all", "none")),
    "explorer": (
        "none",
        "cases whose maps of all heads get a page beside the HTML report, linked from it",
        ("failed", "all", "none"),
    ),
    "report-budget": (
        str(REPORT_BUDGET),
        "MB that the details of cases may take in the HTML report; those beyond, the least "
        "important first, become pages beside it, or are left out of a self-contained report",
        None,
    ),
    "json": ("", "write the results to this file", None),
    "save": ("", "save the results as a baseline: a name, or a path", None),
    "compare": ("", "compare the results with a baseline: its name, or a path", None),
    "lock": (LOCK, 'file of named head sets, for heads: "@name"', None),
    "shard": (
        "",
        "run the I-th of N parts of the probes, 2/3; attnprobe merge puts the results together",
        None,
    ),
}
# Options that apply to one model, each with its metavar and its help.
_BY_MODEL = {
    "tokenizer": (
        "REF",
        "tokenizer to read texts with, for a model whose folder has none: a folder, "
        "pkg://package/path, or a hub id with its commit (ORG/NAME@COMMIT)",
    ),
    "source-language": (
        "CODE",
        "language of texts that name none, for a multilingual tokenizer, such as eng_Latn",
    ),
    "target-language": ("CODE", "language of target texts that name none"),
}
_FAIL = "attn_compare_fail"
# The folder of baselines that have a name instead of a path.
_FOLDER = ".attnprobe"


class Settings(NamedTuple):
    """The options of a run, checked.

    Attributes:
        models: the reference of each model by its name, in the given order. Cases that name no
            model run on the first one, or on all if `all_models`.
        load: how models are loaded.
        load_of: how each model is loaded, by its name.
        batch_tokens: the most tokens in one forward pass, padding included.
        max_unfolded: how many times the usual bounds a case file may unfold to.
        chance_max: the chance rate, 0 to 1, above which a rule is vacuous.
        all_models: whether cases that name no model run on every model; several models on the
            command line imply it.
        strict: whether borderline and vacuous verdicts fail.
        nearest: whether to look for the best other head of a failing word pair in all layers.
        figures: which cases get pictures in the HTML report.
        explorer: which cases get the explorer beside the HTML report.
        report_budget: the most bytes of details in the HTML report.
        json: the results file; None to write none.
        save, compare: the baseline files to save and to compare with; None for none.
        compare_fail: limits of a comparison, as they were written.
        lock: the lock file of head sets.
        part: the part of the probes that runs.
        given: names of options on the command line, such as `compare-fail`; the ini file does not
            count.
        candidates: names of the models on the command line itself. `addopts` and PYTEST_ADDOPTS do
            not count: they apply to every run and choose no candidate.
    """

    models: dict[str, str]
    load: LoadOptions
    load_of: dict[str, LoadOptions]
    batch_tokens: int
    max_unfolded: int
    chance_max: float
    all_models: bool
    strict: bool
    nearest: bool
    figures: Figures
    explorer: Figures
    report_budget: int
    json: Path | None
    save: Path | None
    compare: Path | None
    compare_fail: tuple[str, ...]
    lock: Path
    part: Part
    given: frozenset[str]
    candidates: tuple[str, ...]

    @property
    def default_models(self) -> tuple[str, ...]:
        """The names of the models that a case runs on if it names none."""
        return tuple(self.models)[: None if self.all_models else 1]


def add(parser: pytest.Parser) -> None:
    group = parser.getgroup("attnprobe", "attention probes")
    group.addoption(
        "--attn-model",
        action="append",
        metavar="[NAME=]REF",
        help="model to probe: a folder, pkg://package/path, a hub id, a .gguf file or "
        "base+adapter; repeat to run on several",
    )
    parser.addini(_MODEL, "default of --attn-model, one a line", type="linelist", default=[])
    group.addoption(
        "--attn-compare-fail",
        action="append",
        metavar="EXPR",
        help="fail if the comparison is beyond this: weight:-20%%, rate:-0.02, broken:0, ...; "
        "repeat for several",
    )
    parser.addini(_FAIL, "default of --attn-compare-fail, one a line", type="linelist", default=[])
    for name, (value, text) in _BY_MODEL.items():
        group.addoption(
            f"--attn-{name}",
            action="append",
            metavar=f"[NAME=]{value}",
            help=f"{text}; repeat for several models",
        )
        parser.addini(_ini(name), f"{text}; one a line", type="linelist", default=[])
    for name, (default, text, choices) in _VALUES.items():
        described = f"{text} (default: {default})" if default else text
        group.addoption(f"--attn-{name}", choices=choices, help=described)
        parser.addini(_ini(name), text, default=default)
    for name, text in _SWITCHES.items():
        group.addoption(f"--attn-{name}", action="store_true", default=None, help=text)
        parser.addini(_ini(name), text, type="bool", default=False)


_settings_key = pytest.StashKey[Settings]()


def store_settings(config: pytest.Config) -> None:
    """Reads the options once for the whole run; a conftest.py may have changed them before.

    Raises:
        pytest.UsageError: a value is invalid.
    """
    config.stash[_settings_key] = _read(config)


def settings(config: pytest.Config) -> Settings:
    """The stored options of this run; before `store_settings`, the options at this moment.

    Raises:
        pytest.UsageError: a value is invalid.
    """
    return config.stash.get(_settings_key, None) or _read(config)


def _read(config: pytest.Config) -> Settings:
    json = _value(config, "json")
    models = _models(config)
    by_model = {option: _by_model(config, option, models) for option in _BY_MODEL}
    load = LoadOptions(
        revision=_value(config, "revision") or None,
        device=_value(config, "device"),
        device_map=_value(config, "device-map") or None,
        dtype=_value(config, "dtype"),
        online=_switch(config, "online"),
        allow_pickle=_switch(config, "allow-pickle"),
        ignore_remote_code=_switch(config, "ignore-remote-code"),
    )
    return Settings(
        models=models,
        load=load,
        load_of=load.by_model(models, by_model),
        batch_tokens=_count(config, "batch-tokens"),
        max_unfolded=_count(config, "max-unfolded"),
        chance_max=_share(config, "chance-max"),
        all_models=_switch(config, "all-models") or len(config.getoption(_MODEL) or ()) > 1,
        strict=_switch(config, "strict"),
        nearest=_switch(config, "nearest"),
        figures=cast(Figures, _value(config, "figures")),
        explorer=cast(Figures, _value(config, "explorer")),
        report_budget=_megabytes(config, "report-budget"),
        json=config.invocation_params.dir / json if json else None,
        save=_baseline(config, "save"),
        compare=_baseline(config, "compare"),
        compare_fail=tuple(config.getoption(_FAIL) or config.getini(_FAIL)),
        lock=config.rootpath / _value(config, "lock"),
        part=_part(config),
        given=frozenset(
            name
            for name in ("compare-fail", *_BY_MODEL, *_VALUES, *_SWITCHES)
            if config.getoption(_ini(name))
        ),
        candidates=_candidates(config),
    )


def check_outputs(config: pytest.Config) -> None:
    """Checks the files that the run will write, before it loads a model.

    Raises:
        pytest.UsageError: a path leads to something that may not be replaced.
    """
    from attnprobe.core.errors import ResultsError
    from attnprobe.results.files import check_output

    chosen = settings(config)
    for option, path in (("json", chosen.json), ("save", chosen.save)):
        try:
            if path is not None:
                # What a baseline holds is checked when it is read.
                check_output(path, as_json=option == "json")
        except ResultsError as error:
            raise pytest.UsageError(f"--attn-{option}: {error}") from None


def header(config: pytest.Config) -> list[str]:
    """The lines for the header of a run: its models and warnings; empty without a model."""
    chosen = settings(config)
    if not chosen.models:
        return []
    from attnprobe.core.printing import visible

    models = ", ".join(
        ref if len(chosen.models) == 1 else f"{name}={ref}" for name, ref in chosen.models.items()
    )
    load = chosen.load
    revision = f", revision {load.revision}" if load.revision else ""
    of_models = "".join(
        f", {what} {value}" if len(chosen.models) == 1 else f", {what} of {name} {value}"
        for what in ("tokenizer", "source language", "target language")
        for name, options in chosen.load_of.items()
        if (value := getattr(options, what.replace(" ", "_"))) is not None
    )
    place = f"device map {load.device_map}" if load.device_map else f"device {load.device}"
    lines = [f"attnprobe: {models}{of_models}{revision}, {load.dtype}, {place}"]
    if not chosen.part.whole:
        lines.append(
            f"attnprobe: part {chosen.part} of the run; attnprobe merge puts the results together"
        )
    if load.ignore_remote_code:
        lines.append(
            "attnprobe: warning: code that comes with a model is ignored, its class replaced by "
            "that of transformers: --attn-ignore-remote-code"
        )
    here = config.invocation_params.dir
    option = _taken_for_tests(config)
    if config.inipath is None and config.rootpath != here and option is not None:
        lines.append(
            f"attnprobe: the root of this run is {config.rootpath}, not {here}; write "
            f"{option}=PATH with an equals sign, or give the project a pytest.ini"
        )
    return list(map(visible, lines))


def _taken_for_tests(config: pytest.Config) -> str | None:
    """The first option of ours whose path pytest took for a path of tests; None without one.

    pytest determines its root before it knows these options.
    """
    written = list(map(str, config.invocation_params.args))
    if any(argument.partition("=")[0] == "--rootdir" for argument in written):
        return None
    for option, value in pairwise(written):
        is_ours = option.startswith("--attn-") and "=" not in option and not value.startswith("-")
        if is_ours and (config.invocation_params.dir / value).exists():
            return option
    return None


def _models(config: pytest.Config) -> dict[str, str]:
    return _named_refs(config.getoption(_MODEL) or config.getini(_MODEL))


def _named_refs(entries: Iterable[str]) -> dict[str, str]:
    """The reference of each model by its name, from entries such as `NAME=REF` or `REF`."""
    from attnprobe.core.per_model import split_name

    models: dict[str, str] = {}
    for entry in entries:
        if not entry.strip():
            raise pytest.UsageError("--attn-model is empty; is a variable not set?")
        given_name, ref = split_name(entry)
        name = given_name or short_name(ref)
        if name in models:
            raise pytest.UsageError(
                f"two models are called {name!r}; write --attn-model NAME={ref}"
            )
        models[name] = ref
    return models


def _by_model(config: pytest.Config, name: str, models: Collection[str]) -> dict[str, str]:
    """The values of a `[NAME=]VALUE` option by model; the ini file may name further models."""
    from attnprobe.core.errors import AttnprobeError
    from attnprobe.core.per_model import values_by_model

    given: list[str] | None = config.getoption(_ini(name))
    entries = given or config.getini(_ini(name))
    try:
        return values_by_model(entries, models, option=f"--attn-{name}", other_models=not given)
    except AttnprobeError as error:
        raise pytest.UsageError(str(error)) from None


def _candidates(config: pytest.Config) -> tuple[str, ...]:
    """The names of the models on the command line itself, without `addopts`."""
    arguments = [str(argument) for argument in config.invocation_params.args]
    start = "--attn-model="
    entries = {word.removeprefix(start) for word in arguments if word.startswith(start)}
    entries |= {value for option, value in pairwise(arguments) if option == "--attn-model"}
    entries &= set(config.getoption(_MODEL) or ())
    return tuple(name for entry in sorted(entries) for name in _named_refs([entry]))


def _baseline(config: pytest.Config, name: str) -> Path | None:
    """The file of a baseline, given by its name or by a path; None if the option is not set."""
    given = _value(config, name)
    if not given:
        return None
    if "/" in given or "\\" in given or given.endswith(".json"):
        return (config.invocation_params.dir / given).resolve()
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", given):
        raise pytest.UsageError(
            f"--attn-{name} takes a name of letters, digits, _ . and -, or a path such as "
            f"{_FOLDER}/main.json, not {given!r}"
        )
    return (config.rootpath / _FOLDER / f"{given}.json").resolve()


def _part(config: pytest.Config) -> Part:
    """The part of the probes that runs.

    Raises:
        pytest.UsageError: the option is no part, or the run is to be compared or saved: a part is
            no run.
    """
    given = _value(config, "shard")
    if not given:
        return WHOLE
    from attnprobe.core.errors import AttnprobeError

    try:
        part = Part.parse(given, "--attn-shard")
    except AttnprobeError as error:
        raise pytest.UsageError(str(error)) from None
    for name in ("save", "compare"):
        if not part.whole and _value(config, name):
            raise pytest.UsageError(
                f"--attn-{name} takes a whole run, and --attn-shard {part} runs a part; put the "
                f"parts together with attnprobe merge, then use attnprobe compare; an empty "
                f"{_ini(name)} (-o {_ini(name)}=) undoes the one in the ini file"
            )
    return part


def _ini(name: str) -> str:
    return "attn_" + name.replace("-", "_")


def _value(config: pytest.Config, name: str) -> str:
    given: Any = config.getoption(_ini(name))
    value = str(given if given is not None else config.getini(_ini(name)))
    choices = _VALUES[name][2]
    if choices and value not in choices:
        # argparse checks the option, but nothing checks the ini key.
        raise pytest.UsageError(f"{_ini(name)} is {_join_choices(choices)}, not {value!r}")
    return value


def _count(config: pytest.Config, name: str) -> int:
    given = _value(config, name)
    if not re.fullmatch("0*[1-9][0-9]{0,11}", given):
        raise pytest.UsageError(f"--attn-{name} takes a whole number, not {given!r}")
    return int(given)


def _share(config: pytest.Config, name: str) -> float:
    given = _value(config, name)
    if not re.fullmatch(r"0*(0?\.[0-9]+|[01](\.0*)?)", given):
        raise pytest.UsageError(f"--attn-{name} takes a share from 0 to 1, not {given!r}")
    return float(given)


def _megabytes(config: pytest.Config, name: str) -> int:
    """A size in bytes, given in MB: `20` or `0.5`."""
    given = _value(config, name)
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", given):
        raise pytest.UsageError(f"--attn-{name} takes a number of MB, not {given!r}")
    return int(float(given) * 1_000_000)


def _join_choices(choices: Sequence[str]) -> str:
    return f"{', '.join(choices[:-1])} or {choices[-1]}"


def _switch(config: pytest.Config, name: str) -> bool:
    given: Any = config.getoption(_ini(name))
    return bool(given if given is not None else config.getini(_ini(name)))
