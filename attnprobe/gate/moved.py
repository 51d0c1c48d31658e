"""Failed checks whose heads only have another place in the new model.

Training again, or a tool that sorts heads, may leave what a model computes as it was and still move
a head. A check is `moved` if it holds on the old model at its own heads, each of these heads has a
match in the new model that attends alike, and the check holds on the new model at the matches.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from attnprobe.attention import Reader
from attnprobe.cases import Case
from attnprobe.compare.changes import pair_models
from attnprobe.compare.matching import Match, match_heads
from attnprobe.core.errors import AttnprobeError, ModelError
from attnprobe.core.names import Key
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

# Texts that heads are matched on: the rows of a few dozen sentences tell heads apart.
_TEXTS = 64


def moved_in_run(
    results: Results, policy: Policy, baseline: Results | None
) -> tuple[dict[Key, Moved], list[str]]:
    """Failed checks whose heads only moved, and why others could not be looked at.

    Both are empty where the policy does not allow that heads move.
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
                ),
            )
            check_old(
                policy,
                revision=old.revision,
                weights_sha256=old.weights_sha256,
                tokenizer_sha256=old.tokenizer_sha256,
                recorded=known,
            )
            moved |= moved_checks(
                checks,
                old=old,
                new=load_again(model, results),
                root=Path(),
                chance_max=policy.chance_max,
                head_sets=head_sets,
            )
        except AttnprobeError as error:
            remarks.append(f"whether heads of {model.name} moved could not be told: {error}")
    return moved, remarks


def check_old(
    policy: Policy,
    *,
    revision: str | None,
    weights_sha256: str,
    tokenizer_sha256: str,
    recorded: ModelResult | None,
) -> None:
    """Refuses a baseline_model that heads must not be sought in.

    Args:
        revision, weights_sha256, tokenizer_sha256: of the model that was loaded for it; no
            revision of a folder.
        recorded: the model in the baseline, where there is one.

    Raises:
        ModelError: another commit can take its place, or the baseline is of other weights or of
            another tokenizer.
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
) -> dict[Key, Moved]:
    """Which of these checks hold at the place that their heads moved to, and where that is.

    Args:
        items: records of failed checks, all of one model.
        old, new: the model that the heads were pinned in, and the one that was judged.
        root: the folder that their files lie in.

    Raises:
        AttnprobeError: a case file is missing, cannot be read, or states something else than the
            records do; the heads cannot be matched.
    """
    found: dict[Key, Moved] = {}
    for own in reread(items, root=root, head_sets=head_sets):
        pinned = {
            key: case
            for key, case in own.stated.items()
            if isinstance(case, Case) and _is_pinned(case)
        }
        for key, case in pinned.items():
            check_stated(items[key], case)
        texts = [case.sample for case in own.cases]
        if pinned:
            found |= _of_file(pinned, items, texts, old, new, chance_max)
    return found


def _of_file(
    pinned: Mapping[Key, Case],
    items: Mapping[Key, CaseResult],
    texts: Sequence[Sample],
    old: Reader,
    new: Reader,
    chance_max: float,
) -> dict[Key, Moved]:
    # The texts of the cases in question first: there may be more than are wanted.
    samples = list(dict.fromkeys([*(case.sample for case in pinned.values()), *texts]))[:_TEXTS]
    sites = {rule.site for case in pinned.values() for rule in _rules(case)}
    matches: dict[SiteName | None, dict[Head, Match]] = {
        site: {match.old: match for match in match_heads(old, new, samples, site=site)}
        for site in sorted(sites, key=str)
    }
    placed = {
        key: moved for key, case in pinned.items() if (moved := _placed(case, matches)) is not None
    }
    before = Runner(old, [pinned[key] for key in placed], chance_max=chance_max)
    after = Runner(new, list(placed.values()), chance_max=chance_max)
    found = {}
    for key, case in placed.items():
        there = _holding(after, case) if _holding(before, pinned[key]) is not None else None
        if there is not None:
            chances = tuple(one.chance.rate if one.chance else None for one in there)
            measured = tuple(map(_measured, items[key].expectations, there))
            found[key] = Moved(_describe_moves(pinned[key], matches), chances, measured)
    return found


def _measured(entry: ExpectationResult, verdict: Verdict) -> ExpectationResult:
    """An expectation of the record, with the numbers of another place."""
    return replace(entry, outcome=verdict.outcome, bounds=verdict.bounds, head=verdict.head)


def _rules(case: Case) -> Iterator[Rule]:
    yield from (expectation.rule for expectation in case.expectations)


def _is_pinned(case: Case) -> bool:
    """Whether every rule of a case names its heads one by one."""
    return all(isinstance(member, Head) for rule in _rules(case) for member in rule.heads.members)


def _heads(heads: Heads) -> list[Head]:
    return [member for member in heads.members if isinstance(member, Head)]


def _placed(case: Case, matches: Mapping[SiteName | None, Mapping[Head, Match]]) -> Case | None:
    """The case at the new places of its heads; None if one is lost or none has moved."""
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


def _holding(runner: Runner, case: Case) -> list[Verdict] | None:
    """The verdicts on a case; None unless all of them passed."""
    verdicts = [finding.verdict for finding in runner.judge(case)]
    passed = [verdict for verdict in verdicts if verdict and verdict.outcome == "passed"]
    return passed if len(passed) == len(verdicts) else None


def _describe_moves(case: Case, matches: Mapping[SiteName | None, Mapping[Head, Match]]) -> str:
    moves = dict.fromkeys(
        f"{match.old} moved to {match.new}"
        for rule in _rules(case)
        for head in _heads(rule.heads)
        if (match := matches[rule.site][head]).fate == "moved"
    )
    return " and ".join(moves)
