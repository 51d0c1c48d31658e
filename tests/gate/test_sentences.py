"""All that the gate can say: each decision below is written out in sentences.txt, word for word."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from attnprobe.core.names import Key
from attnprobe.core.sites import Head
from attnprobe.core.verdicts import Chance
from attnprobe.gate import Decision, Moved, Policy, TwinRun, Waiver
from attnprobe.results.records import CaseResult, OrderResult
from attnprobe.words.heads import HeadSet
from tests.support.made_up_decisions import ON, TODAY, case, decide, expectation, many
from tests.support.made_up_results import MODEL, bound, run

WRITTEN = Path(__file__).with_name("sentences.txt")
COUNTED = (
    "holding", "checks", "suites", "models", "failed", "may_fail", "moved", "waived", "deselected",
    "left_out", "ignored_code", "chance_known",
)  # fmt: skip
PROBE = "probes/test_x.py"
LUCKY = Chance(passed=30, pairs=100, distinct=100)
FEW = Chance(passed=1, pairs=7, distinct=7)
OTHER = replace(MODEL, name="big", ref="runs/big", weights_sha256=None)
LATER, NEVER = TODAY + timedelta(days=1), TODAY + timedelta(days=367)


def policy(**demands: Any) -> Policy:
    return Policy.model_validate(demands)


def waiver(pattern: str, expires: date = TODAY, **more: Any) -> Waiver:
    return Waiver(case=pattern, reason="known since May", owner="ada", expires=expires, **more)


def states() -> Iterator[tuple[str, Decision]]:
    """The states of single checks."""
    two = (expectation("failed"), expectation("failed", head=None, rule="ignores"))
    unmeasured = (expectation("error", message="no such word"), expectation())
    for name, item in {
        "failed": case("x", "failed", expectations=two),
        "failed though all holds": case("x", "failed", expectations=(expectation(),)),
        "xpassed": case("x", "xpassed"),
        "error": case("x", "error", expectations=unmeasured),
        "error of the item": case("x", "error", expectations=(), error="no such layer"),
        "error without a cause": case("x", "error", expectations=()),
        "gap that was not measured": case("x", "xfailed", expectations=unmeasured),
        "gap without a failure": case("x", "xfailed", expectations=(expectation(),)),
        "gap with an error": case("x", "xfailed", expectations=(), error="no such layer"),
        "borderline": case("x", expectations=(expectation("borderline"),)),
        "vacuous": case("x", expectations=(expectation("vacuous", chance=LUCKY),)),
        "vacuous, rate unknown": case("x", expectations=(expectation("vacuous", chance=FEW),)),
        "unbreakable": case("x", expectations=(expectation("vacuous", unbreakable=True),)),
        "vacuous and borderline": case(
            "x",
            expectations=(
                expectation("borderline"),
                expectation("vacuous", chance=LUCKY, rule="ignores"),
            ),
        ),
    }.items():
        yield name, decide(run(item, *many(2)))
    odd = [replace(case(f"{word}{n}"), **kind) for n in (1, 2) for word, kind in KINDS.items()]
    yield "two of each kind", decide(run(*odd, *many(2)))
    advisory = [replace(item, severity="advisory") for item in odd]
    yield "two advisory ones of each kind", decide(run(*advisory, *many(2)))


KINDS: dict[str, dict[str, Any]] = {
    "v": {"expectations": (expectation("vacuous", chance=LUCKY),)},
    "u": {"expectations": (expectation("vacuous", unbreakable=True),)},
    "b": {"expectations": (expectation("borderline"),)},
    "e": {"outcome": "error", "expectations": (), "error": "no such layer"},
    "f": {"outcome": "failed", "expectations": (expectation("failed"),)},
    "s": {"outcome": "skipped", "expectations": ()},
    "g": {"outcome": "xfailed", "expectations": (expectation("failed"),)},
    "n": {"file": PROBE, "expectations": (expectation("failed"),)},
}


def incomplete() -> Iterator[tuple[str, Decision]]:
    """Runs that are incomplete or contradict themselves."""
    for name in ("other_failures", "unread", "complaints"):
        for found in (("one",), ("one", "two")):
            yield f"{name} {len(found)}", decide(run(*many(2), **{name: found}))
    yield "nothing", decide(run())
    idle = [replace(case(f"{word}1"), **KINDS[word]) for word in "sge"]
    yield "nothing judged", decide(run(*idle))
    more = [replace(item, id=f"{item.id}x") for item in idle]
    yield "nothing judged, two each", decide(run(*idle, *more))
    causes = replace(idle[-1], id="y", error="no such head")
    yield "nothing judged, two causes", decide(run(idle[-1], causes))
    yield "lost", decide(run(*many(2), collected=5))
    yield "twice", decide(run(case("c"), case("c"), case("d"), case("d")))
    empty = case("x", expectations=())
    yield "passed without cause", decide(run(empty, replace(empty, id="y"), *many(2)))
    unnamed = [case("x", model="mystery"), case("y", model="a")]
    yield "unnamed models", decide(run(*unnamed, *many(2)))
    one = expectation(observed=0.1)
    others = expectation(others=(bound(measure="margin over x", observed=0.1),))
    failed = expectation(others=(bound("failed", measure="margin over x", observed=0.1),))
    bare = expectation("passed", observed=None)
    for name, entries in {"one": (one,), "four": (one, others, failed, bare)}.items():
        yield f"contradictions {name}", decide(run(case("x", expectations=entries), *many(2)))
    yield "commit", decide(run(*many(2)), commit="b" * 40)
    yield "no commit", decide(run(*many(2), environment={}), commit="b" * 40)
    yield "same commit", decide(run(*many(2)), commit="a" * 40)
    yield "any commit", decide(run(*many(2)), policy(commit="any"), commit="b" * 40)
    yield "no candidate", decide(run(*many(2), given=()))
    yield "absent one", decide(run(*many(2), absent={"big": 1}))
    yield "absent two", decide(run(*many(2), absent={"b": 1, "a": 2}), policy(absent_models=[]))
    left = {"deselected": 1, "left_out": ("a.attn.yaml",)}
    yield "deselected", decide(run(*many(2), **left))
    yield "deselected, as allowed", decide(run(*many(2), **left), policy(deselected=2))
    yield "nobody knows", decide(run(*many(2), deselected=None, uncollected=None))
    yield "uncollected one", decide(run(*many(2), uncollected=("a.attn.yaml",)))
    files = ("a.attn.yaml", "b.yaml", "c/", "d.attn.yaml", "e.attn.yaml")
    yield (
        "uncollected, two allowed",
        decide(run(*many(2), uncollected=files), policy(uncollected=["d*", "e.*"])),
    )


def demands() -> Iterator[tuple[str, Decision]]:
    """Too few checks, too many that do not count, too many that fail."""
    advisory = many(2, severity="advisory")
    yield "nothing that blocks", decide(run(*advisory))
    yield "both block", decide(run(*advisory), policy(blocking=["blocking", "advisory"]))
    both = run(*many(2), models=(MODEL, OTHER), given=("minilm", "big"))
    yield "a model without checks", decide(both, policy(least=3))
    yield "too few", decide(run(*many(2), given=()), policy(least=3, candidate="ini"))
    yield "as many as demanded", decide(both, policy(least=2, own_loader="allow"))
    yield "a misspelt suite", decide(run(*many(2)), policy(suites=["coreferences"]))
    yield "an absent suite", decide(run(*many(2), absent_suites=("t",)), policy(suites=["t"]))
    yield "too few of a suite", decide(run(*many(2)), policy(suite={"coreference": {"least": 3}}))
    yield "enough of a suite", decide(run(*many(2)), policy(suite={"coreference": {"least": 2}}))
    idle = run(*many(2), case("s", "skipped", suite="idle"))
    yield "a suite that was skipped", decide(idle, policy(suites=["idle"]))
    several = {"absent": {}, "coreference": {"least": 3}, "away": {"least": 2}}
    found = run(*many(2), absent_suites=("absent",))
    yield "several suites", decide(found, policy(suite=several, suites=["later"]))
    three = run(*many(2), given=("minilm", "big"), bound=("coreference",))
    yield "a suite of one model", decide(three, policy(suites=["coreference"]))
    errors = [case(f"e{n}", "error", error="no such layer") for n in range(2)]
    yield "errors of one cause", decide(run(*many(2), *errors))
    mixed = [errors[0], replace(errors[1], error="no such head")]
    yield "errors of two causes", decide(run(*many(2), *mixed))
    odd = [replace(case(f"{word}{n}"), **KINDS[word]) for n in (1, 2) for word in "sg"]
    loose = case("a", severity="advisory")
    most = {"skipped": 1, "known_gaps": 1, "advisory": 0}
    yield "more than allowed", decide(run(*many(2), *odd, loose), policy(**most))
    most = {"skipped": 2, "known_gaps": 2, "advisory": 1}
    yield "as many as allowed", decide(run(*many(2), *odd, loose), policy(**most))
    yield "pass rate, too few checks", decide(run(*many(10)), policy(pass_rate=0.9))
    rated = {"coreference": {"pass_rate": 0.9}}
    yield "pass rate of a suite, too few", decide(run(*many(10)), policy(suite=rated))
    yield "pass rate missed", decide(run(*many(60, 3)), policy(pass_rate=0.9))
    yield "pass rate of a suite missed", decide(run(*many(60, 3)), policy(suite=rated))
    yield "pass rate met", decide(run(*many(60, 2)), policy(pass_rate=0.85))
    none = [replace(item, suite="other", id=f"o{n}") for n, item in enumerate(many(2, 2))]
    suites = policy(pass_rate=0.85, suites=["other"])
    yield "a demanded suite of which nothing holds", decide(run(*many(80), *none), suites)
    worst = [replace(item, suite="worse", id=f"w{n}") for n, item in enumerate(many(3, 3))]
    yield "two suites", decide(run(*many(4, 1), *worst))
    copies = [
        replace(item, file=f"cases/{name}.attn.yaml") for name in "ab" for item in digests(11)
    ]
    yield "repeats", decide(run(*copies))


def digests(count: int) -> list[CaseResult]:
    """Checks that record what they state, each something of its own."""
    return [
        case(f"c{number}", expectations=(expectation(check_sha256=f"{number:064}"),))
        for number in range(count)
    ]


def origins() -> Iterator[tuple[str, Decision]]:
    """Models of unknown or refused origin."""
    changes: dict[str, dict[str, Any]] = {
        "pickle": {"weights_format": "pickle"},
        "remote code": {"remote_code": True},
        "ignored code": {"ignored_code": ("modeling.py",)},
        "no revision": {"revision": "c" * 40},
        "a branch": {"revision": "c" * 40, "asked_revision": "main"},
        "pinned": {"revision": "c" * 40, "asked_revision": "c" * 40},
        "unknown weights": {"weights_sha256": None},
        "own loader": {"weights_format": None},
        "another model": {"asked": "runs/old"},
        "another tokenizer": {"tokenizer": "runs/words"},
    }
    for name, change in changes.items():
        found = run(*many(2), models=(replace(MODEL, **change),))
        yield name, decide(found)
        yield f"{name}, allowed", decide(found, policy(own_loader="allow", remote_code="ignore"))
    limits = policy(dtypes=["float32", "float16"], devices=["cuda", "mps"])
    yield "wrong device", decide(run(*many(2)), limits)
    several = replace(MODEL, device="cuda:0, cpu", dtype="bfloat16")
    yield "wrong device and dtype", decide(run(*many(2), models=(several,)), limits)
    right = replace(MODEL, device="cuda:0, mps", dtype="float16")
    yield "right ones", decide(run(*many(2), models=(right,)), limits)
    yield "unknown ones", decide(run(*many(2), environment={}), limits)
    items = [*many(2), *many(2, model="big")]
    two = run(*items, models=(MODEL, OTHER), given=("minilm", "big"))
    yield "two models", decide(two, policy(own_loader="allow"))
    third = replace(MODEL, name="mid", ref="runs/mid")
    three = run(*items, *many(1, model="mid"), models=(third, MODEL, OTHER))
    yield "three models", decide(three, policy(own_loader="allow"))


def waivers() -> Iterator[tuple[str, Decision]]:
    bad = run(*many(4, 2))
    for name, given in {
        "one": [waiver("cases/coref.attn.yaml::c0")],
        "two": [waiver("*::c?", LATER)],
        "of another model": [waiver("*::c?", LATER, model="big")],
        "holds": [waiver("*::c0"), waiver("*::c1", model="minilm"), waiver("*::c2")],
        "unknown": [waiver("cases/coref.attn.yaml::c9"), waiver("nothing", model="minilm")],
        "expired": [waiver("*::c0", TODAY - timedelta(days=1)), waiver("*::c1")],
        "endless": [waiver("*::c0", NEVER), waiver("*::c1", NEVER - timedelta(days=1))],
    }.items():
        yield f"waiver {name}", decide(bad, policy(waivers=given))
    twice = [waiver("x"), waiver("*::c0", NEVER), waiver("*::c1", NEVER)]
    yield "waivers of each kind", decide(bad, policy(waivers=[*twice, waiver("*::c2", TODAY)]))
    error = run(case("e", "error", error="no such layer"), *many(2))
    yield "waiver of an error", decide(error, policy(waivers=[waiver("*::e")]))


def moves() -> Iterator[tuple[str, Decision]]:
    key = Key("cases/coref.attn.yaml", "c0", None, "minilm")
    there = expectation(observed=0.6, head="L3H5")
    for name, rate in {"known": 0.01, "unknown": None}.items():
        places = {key: Moved("L3H1 moved to L3H5", (rate,), (there,))}
        yield f"moved, chance {name}", decide(run(*many(3, 1)), moved=places, remarks=["a remark"])
        yield f"moved alone, chance {name}", decide(run(*many(1, 1)), moved=places)
        baseline = policy(baseline="b.json", regressions={"weaker": 0.1})
        fell = decide(run(*many(3, 1)), baseline, moved=places, baseline=run(*many(3)))
        yield f"moved and fell, chance {name}", fell
    few = (expectation(chance=FEW),)
    yield "one check holds", decide(run(case("c")))
    yield (
        "one check holds, chance unknown",
        decide(run(case("c", expectations=few))),
    )


def compared() -> Iterator[tuple[str, Decision]]:
    """Runs beside a baseline."""
    old = many(6)
    now = [
        replace(old[0], outcome="failed", expectations=(expectation("failed"),)),
        replace(old[1], expectations=(expectation(observed=0.5),)),
        replace(old[2], severity="advisory"),
        replace(old[3], outcome="skipped", expectations=()),
        replace(old[4], outcome="xfailed", expectations=(expectation("failed"),)),
        case("new"),
        case("hint", severity="advisory"),
    ]
    for name, allowed in {
        "nothing": {"weaker": 0.2},
        "one each": {"broken": 1, "gone": 1, "new": 1, "weaker": 0.3},
        "two each": {"broken": 2, "gone": 2, "new": 2},
    }.items():
        given = policy(baseline="b.json", regressions=allowed)
        yield f"baseline, allowed {name}", decide(run(*now), given, baseline=run(*old))
    given = policy(baseline="b.json")
    yield "nothing in common", decide(run(case("x")), given, baseline=run(case("y")))
    yield "a baseline that lost a case", decide(run(case("x")), given, baseline=run(collected=1))
    renamed = run(case("c", model="big"), models=(replace(OTHER, weights_sha256="e" * 64),))
    yield "a renamed model", decide(renamed, given, baseline=run(case("c")))
    rated = policy(baseline="b.json", pass_rate=0.5)
    broken = decide(run(*many(20, 2)), rated, baseline=run(*many(20)))
    yield "broken within a pass rate", broken
    advisory = run(*many(2, 1, severity="advisory"), *[case("d"), case("e")])
    yield "broken and advisory now", decide(advisory, given, baseline=run(*many(2), case("d")))


def twins() -> Iterator[tuple[str, Decision]]:
    """The control on an untrained twin."""
    control = policy(control="random-init")

    def twin(items: list[CaseResult], holding: int, **more: Any) -> TwinRun:
        met = {item.key: number < holding for number, item in enumerate(items)}
        return TwinRun("minilm", 7, met, **more)

    for count, bad, holding in ((12, 0, 12), (12, 2, 9), (12, 0, 2), (3, 0, 0), (12, 6, 2)):
        items = many(count, bad)
        found = decide(run(*items), control, twins=[twin(items, holding)])
        yield f"twin holds in {holding}, model in {count - bad} of {count}", found
    items = many(12)
    yield "no twin", decide(run(*items), control)
    fault = TwinRun("minilm", 7, fault="it has no config.\nline two\nline three")
    yield "a twin that failed", decide(run(*items), control, twins=[fault])
    part = TwinRun("minilm", 7, {item.key: False for item in items[:9]}, {items[9].key: "no word"})
    yield "three were not judged there", decide(run(*items), control, twins=[part])
    one = TwinRun("minilm", 7, {item.key: False for item in items[:11]})
    yield "one was not judged there", decide(run(*items), control, twins=[one])
    suites = [replace(c, suite=suite, id=f"{suite}{c.id}") for suite in "ab" for c in many(3)]
    for holding in (0, 3, 6):
        found = decide(run(*suites), control, twins=[twin(suites, holding)])
        yield f"two small suites, twin holds in {holding}", found
    others = [replace(item, model="big") for item in items]
    both = run(*items, *others, models=(MODEL, replace(OTHER, weights_sha256="e" * 64)))
    away = TwinRun("big", 7, unmeasured={others[0].key: "no word"})
    yield "two models, one without a twin", decide(both, control, twins=[away, part])
    broken = replace(fault, model="big")
    yield "two models, one whose twin failed", decide(both, control, twins=[broken, part])
    twice = [twin(items, 1), TwinRun("big", 8, {item.key: False for item in others})]
    yield "two models, two twins", decide(both, control, twins=twice)
    probes = many(2, file=PROBE)
    yield "only probes", decide(run(*probes), control, twins=[])
    mixed = [*many(12), case("p", file=PROBE)]
    yield "a probe as well", decide(run(*mixed), control, twins=[twin(mixed[:12], 1)])


def remarks() -> Iterator[tuple[str, Decision]]:
    chosen = HeadSet("nouns", (Head(3, 1),), "runs/old", None, "e" * 64)
    unknown = HeadSet("verbs", (Head(2, 2),))
    right = HeadSet("marks", (Head(1, 1),), "runs/best", None, MODEL.weights_sha256)
    entries = (expectation(head_sets=(chosen, unknown, right)),)
    items = [case(f"h{number}", expectations=entries) for number in range(2)]
    yield "head sets of other weights", decide(run(*items))
    yield "a head set of other weights", decide(run(items[0]))
    nearest = OrderResult("c", "coreference", None, 9, "the nearest word", -1, 9, found=7)
    older = replace(nearest, suite="agreement", found=None)
    yield "position does as well", decide(run(*many(2), order=(nearest, older)))
    away = replace(MODEL, ignored_code=("modeling.py",))
    omitted: dict[str, Any] = {"models": (away,), "deselected": 1, "left_out": ("a.attn.yaml",)}
    lenient = policy(remote_code="ignore", deselected=4)
    yield "all omissions", decide(run(*many(2), **omitted), lenient)
    two: dict[str, Any] = {"models": (away, replace(away, name="big")), "left_out": ("a", "b")}
    yield "two omissions each", decide(run(*many(2), deselected=2, **two), lenient)


Family = Callable[[], Iterator[tuple[str, Decision]]]
FAMILIES: tuple[Family, ...] = (
    states, incomplete, demands, origins, waivers, moves, compared, twins, remarks,
)  # fmt: skip


def write_out(decision: Decision) -> list[str]:
    """The decision in plain lines, with the kind of each reason and the numbers that are not 0.

    `…` stands for what is written above already, `MINILM` for the model.
    """
    reasons = [
        line
        for reason in decision.reasons
        for line in (f"{reason.weight} ({reason.kind}): {reason.text}", *indent(reason.details))
    ]
    data = decision.as_dict() | {"chance_known": decision.chance_known}
    numbers = [f"{name} {value}" for name, value in data.items() if name in COUNTED and value]
    control = [json.dumps(entry.as_dict(), ensure_ascii=False) for entry in decision.control]
    accepted = [f"accepted: {key.place}: {why}" for key, why in decision.accepted.items()]
    notes = [f"note: {note}" for note in decision.notes]
    sentence = decision.sentence
    if decision.reasons:
        sentence = sentence.replace(decision.reasons[0].text, "…")
    lines = [*reasons, *notes, *control, *accepted, ", ".join(numbers), sentence]
    return [line.replace(ON, "MINILM") for line in lines if line]


def indent(lines: tuple[str, ...]) -> list[str]:
    return [f"    {line}" for line in lines]


def written() -> dict[str, list[str]]:
    """The lines below each heading of the file."""
    parts = WRITTEN.read_text("utf-8").split("\n## ")[1:]
    return {name: body for name, *body in (part.rstrip("\n").split("\n") for part in parts)}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_the_gate_says_what_is_written(
    family: Callable[[], Iterator[tuple[str, Decision]]],
) -> None:
    expected = written()
    for name, decision in family():
        assert write_out(decision) == expected[name], name


def test_all_that_is_written_is_said() -> None:
    names = [name for family in FAMILIES for name, _ in family()]
    assert names == list(written())
