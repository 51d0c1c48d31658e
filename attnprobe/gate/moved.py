"""Finds failed checks whose heads only moved to another place in the new model.

New training, or a tool that sorts heads, can move a head without changing what the model computes.
A check is `moved` if three conditions hold: it holds on the old model at the heads that it names,
each of these heads has a match in the new model that attends alike, and the check holds on the new
model at the matches.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from attnprobe.cases import Case
from attnprobe.compare.changes import pair_models
from attnprobe.compare.matching import Match, match_heads
from attnprobe.core.errors import AttnprobeError, ModelError
from attnprobe.core.names import Key
from attnprobe.core.reader import Reader
from attnprobe.core.sites import Head, SiteName
from attnprobe.core.texts import Sample
from attnprobe.core.verdicts import Verdict
from attnprobe.gate.check import Moved
from attnprobe.gate.judge import broken_keys
from attnprobe.gate.policy import Policy
from attnprobe.gate.reread import check_stated, load_again, reread, sets_of_run
from attnprobe.results.records import CaseResult, ExpectationResult, ModelResult, Results
from attnprobe.rules import Rule
from attnprobe.run.runner import Runner
from attnprobe.words.heads import Heads, HeadSet

# By site, the match of each head of the old model.
_Matches = Mapping[SiteName | None, Mapping[Head, Match]]
# The most texts that heads are matched on: a few dozen sentences distinguish all heads.
_TEXTS = 64


def moved_in_run(
    results: Results, policy: Policy, baseline: Results | None
) -> tuple[dict[Key, Moved], list[str]]:
    """The failed checks of a run whose heads only moved.

    Args:
        results: the run.
        policy: names the old model; both results are empty unless it allows moved heads.
        baseline: the results that record the old model; None if the policy names none.

    Returns:
        The moved checks by key, a remark for each check whose heads are lost, and one for each
        model that could not be examined.
    """
    keys = broken_keys(results, policy) if policy.moved_heads == "allow" else ()
    if not keys or policy.baseline_model is None:
        return {}, []
    from attnprobe.models import LoadOptions, load_model

    recorded = {}
    if baseline is not None:
        names = pair_models(baseline, results)
        recorded = {names[old.name]: old for old in baseline.models if old.name in names}
    head_sets = sets_of_run(results)
    items = {item.key: item for item in results.items}
    moved: dict[Key, Moved] = {}
    remarks = []
    load_old = functools.cache(load_model)
    for model in results.models:
        checks = {key: items[key] for key in keys if key.model == model.name}
        try:
            if not checks:
                continue
            known = recorded.get(model.name)
            old = load_old(
                policy.baseline_model,
                LoadOptions(
                    revision=policy.baseline_revision,
                    # Heads are matched between models that share a tokenizer.
                    tokenizer=known.tokenizer if known else model.tokenizer,
                    ignore_remote_code=policy.remote_code == "ignore",
                    device_map=model.device_map,
                ),
            )
            check_old(
                policy,
                revision=old.revision,
                weights_sha256=old.weights_sha256,
                tokenizer_sha256=old.tokenizer_sha256,
                recorded=known,
            )
            there, lost = moved_checks(
                checks,
                old=old,
                new=load_again(model, results),
                root=Path(),
                chance_max=policy.chance_max,
                head_sets=head_sets,
            )
            moved |= there
            remarks += [f"lost: {items[key].key.place}: {heads}" for key, heads in lost.items()]
        except AttnprobeError as error:
            remarks.append(f"whether heads of {model.name} moved could not be determined: {error}")
    return moved, remarks


def check_old(
    policy: Policy,
    *,
    revision: str | None,
    weights_sha256: str,
    tokenizer_sha256: str,
    recorded: ModelResult | None,
) -> None:
    """Refuses a `baseline_model` that is not pinned or not the model of the baseline.

    Args:
        policy: names the model, and the baseline if there is one.
        revision, weights_sha256, tokenizer_sha256: those of the loaded model; the revision of a
            folder is None.
        recorded: the model in the baseline; None if the baseline lacks it or there is none.

    Raises:
        ModelError: the revision of a hub model is missing or no commit, or the baseline records
            other weights or another tokenizer.
    """
    ref = f"baseline_model {policy.baseline_model}"
    if revision is None and policy.baseline_revision is not None:
        raise ModelError(f"{ref} is no hub model, so it has no baseline_revision")
    if revision != policy.baseline_revision:
        given = policy.baseline_revision
        how = f"by {given}, which another commit can take over" if given else "without its revision"
        raise ModelError(
            f'{ref} is given {how}; set baseline_revision = "{revision}" in the policy'
        )
    if policy.baseline is None:
        return
    if recorded is None:
        raise ModelError(f"the baseline {policy.baseline.name} has no such model")
    if recorded.weights_sha256 != weights_sha256:
        then = (recorded.weights_sha256 or "unknown")[:12]
        raise ModelError(
            f"{ref} has weights {weights_sha256[:12]}, but the baseline {policy.baseline.name} is "
            f"of {recorded.ref} with weights {then}; name that model in the policy"
        )
    if recorded.tokenizer_sha256 not in (None, tokenizer_sha256):
        raise ModelError(
            f"{ref} is read with another tokenizer than that of the baseline "
            f"{policy.baseline.name}; name a model with the same tokenizer in the policy"
        )


def moved_checks(
    items: Mapping[Key, CaseResult],
    *,
    old: Reader,
    new: Reader,
    root: Path,
    chance_max: float,
    head_sets: Mapping[str, HeadSet],
) -> tuple[dict[Key, Moved], dict[Key, str]]:
    """The failed checks that hold at the new place of their heads, and those whose heads are lost.

    Args:
        items: the records of failed checks of one model.
        old, new: the model for which the cases name heads, and the judged one.
        root: the folder of the case files.
        chance_max: the largest chance rate, 0 to 1, with which a check may hold.
        head_sets: the head sets that cases name, by name.

    Returns:
        Both by key; of lost heads, their names in words.

    Raises:
        AttnprobeError: a case file is missing, cannot be read or has changed since the run, or the
            heads cannot be matched.
    """
    found: dict[Key, Moved] = {}
    lost: dict[Key, str] = {}
    for file in reread(items, root=root, head_sets=head_sets):
        pinned = {
            key: case
            for key, case in file.stated.items()
            if isinstance(case, Case) and _is_pinned(case)
        }
        for key, case in pinned.items():
            check_stated(items[key], case)
        if not pinned:
            continue
        matches = _matches(pinned, [case.sample for case in file.cases], old, new)
        found |= _moved_in_file(pinned, items, matches, old, new, chance_max)
        lost |= {
            key: heads for key, case in pinned.items() if (heads := _describe_lost(case, matches))
        }
    return found, lost


def _matches(
    pinned: Mapping[Key, Case], texts: Sequence[Sample], old: Reader, new: Reader
) -> _Matches:
    """The match of each head of the old model, by the sites of failed cases."""
    # The texts of the failed cases come first, since the list is cut.
    samples = list(dict.fromkeys([*(case.sample for case in pinned.values()), *texts]))[:_TEXTS]
    sites = {rule.site for case in pinned.values() for rule in _rules(case)}
    return {
        site: {match.old: match for match in match_heads(old, new, samples, site=site)}
        for site in sorted(sites, key=str)
    }


def _moved_in_file(
    pinned: Mapping[Key, Case],
    items: Mapping[Key, CaseResult],
    matches: _Matches,
    old: Reader,
    new: Reader,
    chance_max: float,
) -> dict[Key, Moved]:
    moved_cases = {
        key: moved
        for key, case in pinned.items()
        if (moved := _at_new_place(case, matches)) is not None
    }
    before = Runner(old, [pinned[key] for key in moved_cases], chance_max=chance_max)
    after = Runner(new, list(moved_cases.values()), chance_max=chance_max)
    found = {}
    for key, case in moved_cases.items():
        if _passing_verdicts(before, pinned[key]) is None:
            continue
        verdicts = _passing_verdicts(after, case)
        if verdicts is not None:
            found[key] = Moved(
                _describe_moves(pinned[key], matches),
                tuple(verdict.chance.rate if verdict.chance else None for verdict in verdicts),
                tuple(map(_with_numbers, items[key].expectations, verdicts)),
            )
    return found


def _with_numbers(entry: ExpectationResult, verdict: Verdict) -> ExpectationResult:
    """A recorded expectation with the numbers of a verdict at the new place."""
    return replace(entry, outcome=verdict.outcome, bounds=verdict.bounds, head=verdict.head)


def _rules(case: Case) -> Iterator[Rule]:
    yield from (expectation.rule for expectation in case.expectations)


def _is_pinned(case: Case) -> bool:
    """Whether every rule of a case names single heads, such as L3H1."""
    return all(isinstance(member, Head) for rule in _rules(case) for member in rule.heads.members)


def _heads(heads: Heads) -> list[Head]:
    return [member for member in heads.members if isinstance(member, Head)]


def _at_new_place(case: Case, matches: _Matches) -> Case | None:
    """The case at the new places of its heads; None if a head is lost or none has moved."""
    used = [matches[rule.site].get(head) for rule in _rules(case) for head in _heads(rule.heads)]
    fates = {match.fate if match else "lost" for match in used}
    if "lost" in fates or "moved" not in fates:
        return None
    expectations = []
    for expectation in case.expectations:
        rule = expectation.rule
        new = tuple(matches[rule.site][head].new for head in _heads(rule.heads))
        heads = replace(rule.heads, members=new, text=", ".join(map(str, new)), sets=())
        expectations.append(replace(expectation, rule=rule.model_copy(update={"heads": heads})))
    return replace(case, expectations=tuple(expectations))


def _passing_verdicts(runner: Runner, case: Case) -> list[Verdict] | None:
    """The verdicts on a case; None unless all of them passed."""
    verdicts = [finding.verdict for finding in runner.judge(case)]
    passed = [verdict for verdict in verdicts if verdict and verdict.outcome == "passed"]
    return passed if len(passed) == len(verdicts) else None


def _describe_lost(case: Case, matches: _Matches) -> str:
    """The heads of a case that have no match: `no head attends as L3H1 did`; else empty."""
    lost = dict.fromkeys(
        str(head)
        for rule in _rules(case)
        for head in _heads(rule.heads)
        if (match := matches[rule.site].get(head)) is None or match.fate == "lost"
    )
    return f"no head attends as {' and '.join(lost)} did" if lost else ""


def _describe_moves(case: Case, matches: _Matches) -> str:
    moves = dict.fromkeys(
        f"{match.old} moved to {match.new}"
        for rule in _rules(case)
        for head in _heads(rule.heads)
        if (match := matches[rule.site][head]).fate == "moved"
    )
    return " and ".join(moves)
