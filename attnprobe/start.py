"""Starts a project for a model: suites with heads found on it, configuration, policy, workflow."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from tempfile import TemporaryDirectory

from attnprobe._version import __version__
from attnprobe.core.errors import AttnprobeError, MeasureError, SelectorError
from attnprobe.core.names import SUFFIX
from attnprobe.core.sites import SiteName
from attnprobe.core.texts import Sample
from attnprobe.find import Asked, Found, find, read_marked
from attnprobe.gate.first_policy import append_policy, first_policy
from attnprobe.gate.lookup import find_policy
from attnprobe.gate.policy import PYPROJECT
from attnprobe.models import Model
from attnprobe.results.files import write_bytes
from attnprobe.run.folders import pytest_config
from attnprobe.run.in_process import run_cases

# A head is chosen on the first, third, fifth text of a relation and shown on the others. In each
# half the right word comes first as well as second, and near as well as far.
RELATIONS: Mapping[str, tuple[str, ...]] = {
    "subject": (
        "The [to keys] near the [over cabinet] [from are] old.",
        "The [to dogs] behind the [over house] [from were] loud.",
        "Behind the [over barn] the [to horses] [from were] tired.",
        "Near the [over shelf] the [to books] [from are] dusty.",
        "The [to boats] on the [over lake] [from are] small.",
        "The [to trees] beside the [over road] [from are] tall.",
    ),
    "antecedent": (
        "The [to animal] did not cross the [over street] because [from it] was tired.",
        "The [to cake] did not fit in the [over tin] because [from it] was tall.",
        "In the [over garden] the [to dog] slept because [from it] was old.",
        "On the [over table] the [to lamp] shook because [from it] was loose.",
        "The [to puppy] avoided the [over puddle] because [from it] was afraid.",
        "Under the [over bridge] the [to boat] stopped because [from it] was damaged.",
    ),
    "object": (
        "The [over farmer] planted the [to beans] and [from watered] them.",
        "The [over girl] opened the [to letter] and slowly [from read] it.",
        "The [over cook] peeled the [to onions] and then quickly [from fried] them.",
        "The [over boy] found the [to ball] and [from threw] it.",
        "The [over man] washed the [to car] and later [from sold] it.",
        "The [over nurse] took the [to cup] and then carefully [from filled] it.",
    ),
}
CONFIG = "[tool.pytest.ini_options]"
WORKFLOW = Path(".github/workflows/attention.yml")
# Where attnprobe lies is for the user to say, if this machine does not know it.
PLACEHOLDER = f"git+https://github.com/OWNER/attnprobe@v{__version__}"
IGNORED = (".attnprobe/", "*.json.lock", ".pytest_cache/")


def start(model: Model, folder: Path) -> Iterator[str]:
    """Writes the files of a project into the working directory, and says what it did, line by line.

    Files that exist are added to or left alone, never replaced.

    Args:
        folder: of the case files.

    Raises:
        AttnprobeError: a suite of that name exists, or no head of the model does what the relations
            ask for; nothing has been written then.
    """
    relations = find_relations(model)
    check_absent(folder / f"{name}{SUFFIX}" for name in relations)
    for name, text in _telling(model, relations).items():
        path = folder / f"{name}{SUFFIX}"
        write_bytes(path, text.encode())
        yield f"written: {path} ({relations[name].heads[0].head})"
    yield configure(model.ref, folder)
    yield _demand(model, folder)
    yield _ignore(Path(".gitignore"))
    yield _workflow(model.ref, folder)


def check_absent(paths: Iterable[Path]) -> None:
    """Raises AttnprobeError where a file that is to be written exists."""
    for path in paths:
        if path.exists():
            raise AttnprobeError(f"{path} exists already; name another folder")


def find_relations(model: Model) -> dict[str, Found]:
    """For each relation that a head of the model holds, the heads found for it.

    A relation counts if its head, chosen on one half of the texts, holds on most of the other half.
    Where none does, the one with the best head is kept, so that there is something to start with.

    Raises:
        MeasureError: no head gives any of the words weight enough for a bound.
    """
    site: SiteName | None = "encoder" if "encoder" in model.sites else None
    found: dict[str, Found] = {}
    for name, texts in RELATIONS.items():
        asked = [read_marked(Sample(text)) for text in texts]
        asked = [entry for entry in asked if _is_readable(entry, model, site)]
        if len(asked) < 2:
            continue
        entry = find(model, asked, site=site, batch_tokens=model.batch_tokens)
        if entry.heads[0].bound is not None:
            found[name] = entry
    if not found:
        raise MeasureError(
            f"no head of {model.name} looks from a verb to its subject, from a pronoun to its "
            "antecedent or from a verb to its object, in English; find heads on your own texts: "
            "attnprobe find"
        )
    held = {name: sum(map(entry.heads[0].holds, entry.shown_on)) for name, entry in found.items()}
    kept = [name for name, entry in found.items() if 2 * held[name] > len(entry.shown_on)]
    return {name: found[name] for name in kept or [max(held, key=lambda name: held[name])]}


def _is_readable(asked: Asked, model: Model, site: SiteName | None) -> bool:
    """Whether the model's vocabulary has the words."""
    try:
        asked.rule(site, heads="any", min=0.5).needs(model.encode(asked.sample))
    except SelectorError:
        return False
    return True


def _telling(model: Model, relations: Mapping[str, Found]) -> dict[str, str]:
    """The suites, without the cases that would hold by chance as well, or are borderline.

    Raises:
        MeasureError: no case is left.
    """
    without: dict[str, set[str]] = {name: set() for name in relations}
    left = dict(relations)
    while left:
        texts = {name: left[name].suite(name, without=without[name]) for name in left}
        with TemporaryDirectory() as scratch:
            for name, text in texts.items():
                Path(scratch, f"{name}{SUFFIX}").write_text(text, encoding="utf-8")
            items = run_cases(model, scratch, root=scratch, strict=True).items
        doubted = [item for item in items if item.state == "failed"]
        if not doubted:
            return texts
        # The chance rates of the others depend on the texts that are left.
        for item in doubted:
            without[item.suite].add(item.id)
        passing = Counter(item.suite for item in items if item.state == "passed")
        left = {name: left[name] for name in left if passing[name]}
    raise MeasureError(
        f"what the heads of {model.name} do on the texts of attnprobe init holds by chance as "
        "well; find heads on your own texts: attnprobe find"
    )


def configure(ref: str, folder: Path) -> str:
    """Names the model and the folder in pyproject.toml, unless pytest is configured already."""
    value = json.dumps(ref, ensure_ascii=False)
    lines = f"{CONFIG}\nattn_model = [{value}]\ntestpaths = [{json.dumps(folder.as_posix())}]\n"
    configured = pytest_config(Path())
    if configured is not None:
        return f"{configured} configures pytest already; add to it: attn_model = {ref}"
    _append(Path(PYPROJECT), lines)
    return f"written: {PYPROJECT} ({CONFIG})"


def _append(file: Path, lines: str) -> None:
    """Adds lines to the end of a file, which is made if there is none."""
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    gap = "" if not before else "\n" if before.endswith("\n") else "\n\n"
    write_bytes(file, (before + gap + lines).encode())


def _demand(model: Model, folder: Path) -> str:
    """Writes a policy that demands what the suites have now, unless there is one."""
    existing = find_policy(Path()).file
    if existing is not None:
        return f"{existing} has a policy for the gate already; add the new suites to it"
    append_policy(Path(PYPROJECT), first_policy(run_cases(model, folder)))
    return f"written: {PYPROJECT} (the policy of attnprobe gate)"


def _ignore(file: Path) -> str:
    present = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    missing = [line for line in IGNORED if line not in present]
    if not missing:
        return f"{file} ignores what attnprobe leaves behind already"
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    gap = "" if not before or before.endswith("\n") else "\n"
    write_bytes(file, (before + gap + "\n".join(missing) + "\n").encode())
    return f"written: {file} ({', '.join(missing)})"


def _workflow(ref: str, folder: Path) -> str:
    if WORKFLOW.exists():
        return f"{WORKFLOW} exists already and stays as it is"
    source = installed_from()
    write_bytes(WORKFLOW, workflow(ref, folder, source).encode())
    if source == PLACEHOLDER:
        return f"written: {WORKFLOW} (name the repository of attnprobe in it, at ATTNPROBE)"
    return f"written: {WORKFLOW}"


def workflow(ref: str, folder: Path, source: str) -> str:
    """A workflow for GitHub that runs the gate.

    Args:
        ref: the reference of the model.
        folder: of the case files.
        source: what pip installs attnprobe from.
    """
    filled = _WORKFLOW.lstrip().replace("CASES", shlex.quote(folder.as_posix()))
    return filled.replace("REQUIREMENT", source).replace("REFERENCE", json.dumps(ref))


def installed_from() -> str:
    """What pip can install this attnprobe from on another machine (PEP 610).

    A placeholder if it was installed from a folder or a file of this one.
    """
    try:
        found = json.loads(distribution("attnprobe").read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        return PLACEHOLDER
    url = found.get("url")
    if url is None:
        return f"attnprobe=={__version__}"
    if not url.startswith("https://"):
        return PLACEHOLDER
    vcs = found.get("vcs_info")
    return f"{vcs['vcs']}+{url}@{vcs['commit_id']}" if vcs else str(url)


_WORKFLOW = r"""
# .github/workflows/attention.yml: does the model still attend as the cases say?
name: attention

on:
  push:
  pull_request:
  workflow_dispatch:

permissions:
  contents: read

env:
  # What pip installs attnprobe from: this repository by a tag, or a wheel that was built from it.
  ATTNPROBE: REQUIREMENT
  # torch for the CPU; the default one brings several GB of CUDA libraries.
  TORCH_INDEX: https://download.pytorch.org/whl/cpu
  # A folder of this repository, or what a step before the gate fetches.
  MODEL: REFERENCE

jobs:
  gate:
    runs-on: ubuntu-latest
    timeout-minutes: 30
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.11"
      - name: Install
        run: |
          python -m pip install torch --index-url "$TORCH_INDEX"
          python -m pip install "$ATTNPROBE"
      - name: Check the case files
        run: attnprobe lint CASES
      - name: Gate
        run: |
          attnprobe gate CASES --attn-model="candidate=$MODEL" \
            --keep results.json --json decision.json --junitxml=junit.xml
      - name: Summary
        if: always() && hashFiles('results.json') != ''
        run: attnprobe summary results.json --decision decision.json --no-annotations
      - uses: actions/upload-artifact@v4
        if: always()
        with:
          name: release-gate
          path: |
            results.json
            decision.json
            junit.xml
          if-no-files-found: ignore
"""
