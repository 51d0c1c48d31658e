"""The keys of a policy, and what is said of a file that breaks them."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from attnprobe.core.errors import PolicyError
from attnprobe.gate import Policy, find_policy, read_policy


def policy_file(tmp_path: Path, text: str, name: str = "policy.toml") -> Path:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return file


WHOLE = """
suites = ["coreference"]
least = 40
blocking = ["blocking", "advisory"]
pass_rate = 0.8
chance_max = 0.02
borderline = "pass"
skipped = 3
advisory = 1
known_gaps = 1
candidate = "ini"
uncollected = ["cases/old/*"]
deselected = 2
absent_models = ["smollm2"]
baseline = "old/results.json"
moved_heads = "allow"
baseline_model = "runs/old"
baseline_revision = "abc"
control = "random-init"
control_seed = 3
dtypes = ["float32"]
devices = ["cpu"]
own_loader = "allow"
remote_code = "ignore"
commit = "any"
[suite.coreference]
least = 20
pass_rate = 0.85
[regressions]
broken = 1
gone = 2
new = 3
weaker = 0.2
[[waivers]]
case = "cases/x.attn.yaml::it"
reason = "known"
owner = "ada"
expires = 2027-01-31
model = "minilm"
"""


def test_a_policy_is_read_whole(tmp_path: Path) -> None:
    policy = read_policy(policy_file(tmp_path, WHOLE))
    assert policy.baseline == tmp_path / "old" / "results.json"
    assert policy.suite["coreference"].pass_rate == 0.85
    assert policy.regressions.weaker == 0.2
    assert policy.waivers[0].expires == date(2027, 1, 31)
    defaults = Policy()
    same = [
        name for name in Policy.model_fields if getattr(policy, name) == getattr(defaults, name)
    ]
    assert same == []


def demanded(folder: Path) -> Policy:
    """The policy that is found from a folder."""
    policy = find_policy(folder).policy
    assert policy is not None
    return policy


def test_a_policy_in_pyproject(tmp_path: Path) -> None:
    assert find_policy(tmp_path) == (None, None, None)
    file = policy_file(tmp_path, "[project]\nname = 'x'\n", "pyproject.toml")
    assert find_policy(tmp_path) == (None, None, None)
    with pytest.raises(PolicyError, match=r"pyproject.toml: has no \[tool.attnprobe.gate\]"):
        read_policy(file)
    policy_file(tmp_path, "[tool.attnprobe.gate]\nleast = 7\n", "pyproject.toml")
    assert demanded(tmp_path).least == read_policy(file).least == 7


def test_a_policy_is_found_from_a_folder_below(tmp_path: Path) -> None:
    below = tmp_path / "packages" / "model"
    below.mkdir(parents=True)
    file = policy_file(
        tmp_path, "[tool.attnprobe.gate]\nbaseline = 'b.json'\nleast = 7\n", "pyproject.toml"
    )
    policy, found, _ = find_policy(below)
    assert found is not None
    assert found.samefile(file)
    assert policy is not None
    assert policy.least == 7
    assert policy.baseline is not None
    assert policy.baseline.resolve() == tmp_path / "b.json"
    # A pyproject.toml without one ends the search only where no git repository does.
    policy_file(below, "[project]\nname = 'x'\n", "pyproject.toml")
    assert find_policy(below).file is None
    (tmp_path / ".git").mkdir()
    assert demanded(below).least == 7
    (below / ".git").mkdir()
    assert find_policy(below).file is None


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("tool.attnprobe.gates", "tool.attnprobe.gates: unknown key; did you mean 'gate'?"),
        ("tool.attnprobe.suite", "tool.attnprobe.suite: unknown key; known: gate"),
        (
            "tool.attn_probe.gate",
            "[tool.attn_probe.gate] is not read by the gate; did you mean [tool.attnprobe.gate",
        ),
    ],
)
def test_a_table_of_nearly_the_right_name_is_refused(
    tmp_path: Path, table: str, message: str
) -> None:
    policy_file(tmp_path, f"[{table}]\nleast = 7\n", "pyproject.toml")
    with pytest.raises(PolicyError, match=re.escape(message)):
        find_policy(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("laest = 3", "laest: unknown key; did you mean 'least'?"),
        ("[suite.x]\npas_rate = 0.5", "suite.x.pas_rate: unknown key; did you mean 'pass_rate'?"),
        ("[[waivers]]\nowned = 'x'", "waivers.0.owned: unknown key; did you mean 'owner'?"),
        ("baseline = 'b'\n[regressions]\nbrokn = 1", "did you mean 'broken'?"),
        ("least = '3'", "least: '3' is text; write 3 without quotes"),
        ("least = 0", "least: 0 is out of range; it must be at least 1"),
        ("pass_rate = 0.49", "pass_rate: 0.49 is out of range; it must be at least 0.5"),
        ("suites = [' ']", "suites.0: "),
        ("[suite.' ']\nleast = 1", "suite. "),
        ("baseline = ''", "baseline names no file"),
        ("blocking = ['advisory']", 'blocking must contain "blocking"'),
        ("[[waivers]]\ncase = '*'", "waivers.0.case: would waive every check"),
        ("[[waivers]]\ncase = '*::*'", "waivers.0.case: would waive every check"),
        ("pass_rate = 1.0", "pass_rate: 1.0 is out of range; it must be below 1"),
        ("chance_max = 0.51", "chance_max: 0.51 is out of range; it must be at most 0.5"),
        ("blocking = []", "blocking: "),
        (
            "blocking = ['blokking']",
            "blocking.0: 'blokking' is not known; did you mean 'blocking'?",
        ),
        ("borderline = 'maybe'", "borderline: 'maybe' is not known; it takes 'fail' or 'pass'"),
        ("suites = 'a'", 'suites: takes a list, such as ["a"]'),
        ("[waivers]\ncase = 'a'", "waivers: write [[waivers]], with two brackets"),
        ("weaker = 0.2", "weaker: belongs under [regressions]"),
        ("owner = 'me'", "owner: belongs under [[waivers]]"),
        ("[tool.attnprobe.gate]\nleast = 3", "leave out the header [tool.attnprobe.gate]"),
        (
            "dtypes = ['fp16']",
            "dtypes.0: 'fp16' is not known; it takes 'float32', 'bfloat16' or 'float16'",
        ),
        (
            "[[waivers]]\nexpires = '2026-12-31'",
            "expires: write the date without quotes, such as 2026-12-31, not '2026-12-31'",
        ),
        ("[[waivers]]\nexpires = 2026-13-01", "; 2026-13-01 is no date"),
        ("moved_heads = 'allow'", 'moved_heads = "allow" needs baseline_model'),
        ("baseline_revision = 'a'", "baseline_revision needs baseline_model, a model of the hub"),
        ("[regressions]\nbroken = 1", "regressions needs baseline"),
        ("least = 3\nleast = 4", "is not TOML: "),
        ("\x00", "is not TOML: "),
        ("#" * 1_000_001, "has more than 1,000,000 characters"),
    ],
)
def test_a_policy_that_cannot_be_meant(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        read_policy(policy_file(tmp_path, text))
    assert str(caught.value).startswith(f"{tmp_path}/policy.toml: ")
    assert message in str(caught.value)


WRITTEN = Path(__file__).with_name("policies.txt").read_text("utf-8").split("\n=== ")[1:]


@pytest.mark.parametrize("written", WRITTEN)
def test_a_refusal_is_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    monkeypatch.chdir(tmp_path)
    policy, _, message = written.removesuffix("\n").partition("\n→\n")
    name, _, text = policy.partition("\n")
    with pytest.raises(PolicyError) as caught:
        read_policy(policy_file(Path(), f"{text}\n", name))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("least = 3\nexpires = 2026-13-01", "; 2026-13-01 is no date"),
        ("a = 2026-12-01, 2027-02-30", "; 2027-02-30 is no date"),
        ("a = 2026-12-01, 3", ")"),
        ("# 2027-02-30\na = 3, 4", ")"),
    ],
)
def test_a_date_that_is_none_is_named(tmp_path: Path, text: str, end: str) -> None:
    with pytest.raises(PolicyError) as caught:
        read_policy(policy_file(tmp_path, text))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/policy.toml: is not TOML: Expected newline or end of ")
    assert message.endswith(end)
    assert message.count("is no date") == end.count("is no date")


@pytest.mark.parametrize("missing", ["reason", "owner", "expires", "case"])
def test_a_waiver_says_who_why_and_how_long(tmp_path: Path, missing: str) -> None:
    lines = ["case = 'x'", "reason = 'r'", "owner = 'o'", "expires = 2027-01-01"]
    kept = [line for line in lines if not line.startswith(missing)]
    with pytest.raises(PolicyError, match=rf"waivers.0.{missing}: is missing"):
        read_policy(policy_file(tmp_path, "\n".join(["[[waivers]]", *kept])))
    if missing != "expires":
        blank = [*kept, f"{missing} = ''"]
        with pytest.raises(PolicyError, match=rf"waivers.0.{missing}: "):
            read_policy(policy_file(tmp_path, "\n".join(["[[waivers]]", *blank])))


def test_a_policy_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"no\.toml: cannot be read: No such file"):
        read_policy(tmp_path / "no.toml")
