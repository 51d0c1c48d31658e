"""Judges the checks of a run on the untrained twin of their model.

A check holds on the twin if its bounds are met there. Chance rates are not taken: a rule that the
twin meets by chance is met without training as well.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from attnprobe.cases import Case, Relation
from attnprobe.core.errors import AttnprobeError, first_line
from attnprobe.core.names import Key
from attnprobe.core.reader import Reader
from attnprobe.gate.control import TwinRun, wanted_on_twin
from attnprobe.gate.policy import Policy
from attnprobe.gate.reread import check_stated, load_again, reread, sets_of_run
from attnprobe.relations import accuracy
from attnprobe.relations.corpus import read_corpus
from attnprobe.results.records import CaseResult, Results
from attnprobe.run.runner import Finding, Runner, sum_up
from attnprobe.words.heads import HeadSet


def judge_twins(results: Results, policy: Policy) -> list[TwinRun]:
    """The outcomes of each model's checks on its untrained twin; empty without a control."""
    if policy.control is None:
        return []
    from attnprobe.models.twin import random_twin

    # A check that could block in the baseline still blocks, even if it is advisory now.
    severities = ("blocking", "advisory") if policy.baseline else policy.blocking
    wanted = wanted_on_twin(results, blocking=severities)
    items = {item.key: item for item in results.items}
    head_sets = sets_of_run(results) if wanted else {}
    seed = policy.control_seed
    runs = []
    for model in results.models:
        checks = {key: items[key] for key in wanted.get(model.name, ())}
        if not checks:
            continue
        try:
            twin = random_twin(load_again(model, results), seed=seed)
            run = judge_twin(checks, twin, seed=seed, root=Path(), head_sets=head_sets)
        except AttnprobeError as error:
            run = TwinRun(model.name, seed, fault=str(error))
        runs.append(run)
    return runs


def judge_twin(
    items: Mapping[Key, CaseResult],
    twin: Reader,
    *,
    seed: int,
    root: Path,
    head_sets: Mapping[str, HeadSet],
) -> TwinRun:
    """Judges checks of one model on its twin.

    Args:
        items: the records of the checks; they come from case files and were not skipped.
        twin: the untrained twin of the model.
        seed: the seed of the twin's weights.
        root: the folder that the files are relative to.
        head_sets: the head sets that cases name, by name.

    Raises:
        AttnprobeError: a case file is missing or cannot be read, or its text or expectations
            changed since the run.
    """
    stated: dict[Key, Case | Relation] = {}
    for file in reread(items, root=root, head_sets=head_sets):
        stated |= file.stated
    for key, item in items.items():
        check_stated(item, stated.get(key))
    cases = {key: entry for key, entry in stated.items() if isinstance(entry, Case)}
    runner = Runner(twin, list(cases.values()))
    met: dict[Key, bool] = {}
    unmeasured: dict[Key, str] = {}
    for key, case in cases.items():
        findings = runner.judge(case)
        found = sum_up([finding.verdict for finding in findings])
        if found == "error":
            unmeasured[key] = _join_errors(findings)
        else:
            met[key] = found == "passed"
    relations = {key: case for key, case in stated.items() if isinstance(case, Relation)}
    read = functools.cache(read_corpus)
    judged = accuracy.judge_all(list(relations.values()), twin, read=read)
    for key, finding in zip(relations, judged, strict=True):
        if finding.error is not None:
            unmeasured[key] = first_line(finding.error)
        else:
            met[key] = sum_up(finding.verdicts) == "passed"
    model = next(iter(items)).model
    return TwinRun(model, seed, met, unmeasured)


def _join_errors(findings: tuple[Finding, ...]) -> str:
    errors = (finding.error for finding in findings)
    return "; ".join(first_line(error) for error in errors if error is not None)
