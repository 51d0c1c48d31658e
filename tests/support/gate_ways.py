"""Ways to lose a check by accident: in options, settings, hooks, plugins, files and policies.

Each is a change of a small project, and arguments for its gate. The project has two suites; the
model that is judged fails the second. A gate that ends in 0 let it go.
"""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

# Stands among the arguments where the gate gets no model.
WITHOUT_MODEL = "without a model"
B = "cases/sub/b.attn.yaml"
TABLE = "[tool.attnprobe.gate]\n"
POLICY = f"""{TABLE}suites = ["a", "b"]
skipped = 0
advisory = 0
known_gaps = 0
chance_max = 0.5
[tool.attnprobe.gate.suite.a]
least = 2
[tool.attnprobe.gate.suite.b]
least = 2
"""
CASES = """
- id: {id}
  text: {text}
  expect:
    - {rule}
"""


class Way(NamedTuple):
    """One way to lose a check.

    Attributes:
        change: what happens to the project, in its folder.
        arguments: of the gate, beside the model.
        environment: variables of the gate.
    """

    change: Callable[[], object]
    arguments: tuple[str, ...] = ("cases",)
    environment: Mapping[str, str] = {}


def suite(name: str, rule: str) -> str:
    """A case file with the rule in two cases, each on a text of its own."""
    texts = ("Some cats chase the dog.", "Then some cats chase the dog.")
    return f"version: 1\nsuite: {name}\ndefaults: {{heads: L1H0}}\ncases:" + "".join(
        CASES.format(id=f"c{number}", text=text, rule=rule) for number, text in enumerate(texts)
    )


def write_project(bound: float) -> None:
    """Writes the project into the working directory.

    Args:
        bound: the least weight from "cats" to "dog" that the second suite demands.
    """
    holds = "entropy: {min: 0.05}"
    fails = f"attends: {{from: cats, to: dog, min: {bound:.3f}}}"
    _write("cases/a.attn.yaml", suite("a", holds))
    _write(B, suite("b", fails))
    _write("pyproject.toml", POLICY)


# What changes a project


def _write(name: str, text: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(textwrap.dedent(text), encoding="utf-8")


def _nothing() -> None:
    """The accident is in the arguments or the environment."""


def _arguments(*arguments: str) -> Way:
    return Way(_nothing, ("cases", *arguments))


def _only(*arguments: str) -> Way:
    return Way(_nothing, arguments)


def _addopts(options: str) -> Way:
    return Way(_nothing, environment={"PYTEST_ADDOPTS": options})


def _file(name: str, text: str, *arguments: str) -> Way:
    return Way(lambda: _write(name, text), arguments or ("cases",))


def _ini(line: str, *arguments: str) -> Way:
    return _file("pytest.ini", f"[pytest]\n{line}\n", *arguments)


def _conftest(text: str, *arguments: str) -> Way:
    return _file("conftest.py", text, *arguments)


def _moved(to: str) -> Way:
    def move() -> None:
        Path(to).parent.mkdir(parents=True, exist_ok=True)
        Path(B).rename(to)

    return Way(move)


def _edited(old: str, new: str, name: str = B) -> Way:
    def edit() -> None:
        text = Path(name).read_text(encoding="utf-8")
        assert old in text
        Path(name).write_text(text.replace(old, new), encoding="utf-8")

    return Way(edit)


def _stated(more: str) -> Way:
    """A line more in each case of the second suite."""
    return _edited("  expect:", f"  {more}\n  expect:")


def _policy(text: str, name: str = "pyproject.toml", *arguments: str) -> Way:
    def write() -> None:
        Path("pyproject.toml").unlink()
        Path(name).write_text(text, encoding="utf-8")

    return Way(write, ("cases", *arguments))


def _of_policy(old: str, new: str) -> Way:
    return _edited(old, new, "pyproject.toml")


def _linked_to_nothing() -> None:
    Path(B).unlink()
    Path(B).symlink_to("gone")


def _in_a_sub_project() -> None:
    Path("cases/pyproject.toml").write_text("")
    os.chdir("cases")


def _below_testpaths() -> None:
    _write("pytest.ini", "[pytest]\ntestpaths = cases\n")
    _moved("cases/dist/b.attn.yaml").change()


def _twice() -> None:
    _write(
        "cases/a2.attn.yaml", Path("cases/a.attn.yaml").read_text().replace("suite: a", "suite: b")
    )
    Path(B).unlink()


def _failed_before() -> None:
    """What `--last-failed` would take for the only test that ever failed."""
    _write(".pytest_cache/v/cache/lastfailed", '{"cases/a.attn.yaml::c0": true}')
    _write(".pytest_cache/v/cache/stepwise", '"cases/sub/b.attn.yaml::c1"')


def _hook(signature: str, body: str, start: str = "import os, pytest, signal, sys") -> str:
    return f"{start}\n\ndef {signature}:\n    {body}\n"


def _wrapper(signature: str, before: str, after: str) -> str:
    return (
        "import pytest\n\n@pytest.hookimpl(wrapper=True, tryfirst=True)\n"
        f"def {signature}:\n    {before}\n    result = yield\n    {after}\n    return result\n"
    )


_MARKS = """
import pytest
def pytest_collection_modifyitems(items):
    for item in items:
        if "b.attn" in item.nodeid:
            item.add_marker(pytest.mark.{mark})
"""
_LATE_MARK = """
import pytest
def pytest_runtest_setup(item):
    if "b.attn" in item.nodeid:
        item.add_marker(pytest.mark.xfail(reason="later"))
"""
_OF_B = 'if "b.attn" in item.nodeid'
_PROBE = """
def test_p(attn):
    attn("Some cats chase the dog.").ignores("cats", "dog", heads="mean", max=0.99)
"""
_RERUNS = """
import pytest
def pytest_runtest_protocol(item, nextitem):
    # As a plugin that runs a test again and reports the last outcome, made to be a pass.
    if "b.attn" not in item.nodeid:
        return None
    from _pytest.runner import runtestprotocol
    for report in runtestprotocol(item, nextitem=nextitem, log=False):
        report.outcome = "passed"
        item.ihook.pytest_runtest_logreport(report=report)
    return True
"""
_SWALLOWS = """
import pytest
@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    try:
        return (yield)
    except BaseException:
        return None
"""
_GREEN = """
import pytest
@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    report.outcome = "passed"
    report.longrepr = None
    return report
"""
_NEVER_RUNS = """
import attnprobe.plugin.items as items
items.AttentionItem.runtest = lambda self: None
"""
_NO_ENTRY = "import pytest\npytest.skip('later', allow_module_level=True)\n"

_OPTIONS: dict[str, Way] = {
    "-k": _arguments("-k", "a.attn or c9"),
    "-k not": _arguments("-k", "not b"),
    "-k that takes nothing": _arguments("-k", "c99"),
    "-m": _arguments("-m", "not attention"),
    "-m of a mark that nothing has": _arguments("-m", "slow"),
    "--deselect": _arguments("--deselect", B),
    "--deselect one": _arguments("--deselect", f"{B}::c0", "--deselect", f"{B}::c1"),
    "--ignore": _arguments("--ignore=cases/sub"),
    "--ignore-glob": _arguments("--ignore-glob=*/b.*"),
    "-x": _arguments("-x"),
    "--maxfail": _arguments("--maxfail=1"),
    "--collect-only": _arguments("--collect-only"),
    "--co -q": _arguments("--co", "-q"),
    "--setup-only": _arguments("--setup-only"),
    "--setup-plan": _arguments("--setup-plan"),
    "--fixtures": _arguments("--fixtures"),
    "--markers": _arguments("--markers"),
    "--version": _arguments("--version", "--version"),
    "--pytest-help": _arguments("-h"),
    "--lf": Way(_failed_before, ("cases", "--lf", "-p", "cacheprovider")),
    "--lfnf": Way(_nothing, ("cases", "--lf", "--lfnf=none", "-p", "cacheprovider")),
    "--sw": Way(_failed_before, ("cases", "--sw", "-p", "cacheprovider")),
    "--runxfail off, marked": Way(_edited("  expect:", "  xfail: later\n  expect:").change),
    "-p no:attnprobe": _arguments("-p", "no:attnprobe"),
    "a part of the plugin is out": _arguments("-p", "no:attnprobe-selection", "-k", "c0"),
    "--noconftest and a conftest that loads": _arguments("--noconftest", "--deselect", B),
    "-c another ini file": Way(
        lambda: _write("other.ini", "[pytest]\naddopts = --ignore=cases/sub\n"),
        ("cases", "-c", "other.ini"),
    ),
    "--rootdir": _arguments("--rootdir=cases/sub", "--deselect", "b.attn.yaml"),
    "-o addopts": _arguments("-o", "addopts=--ignore=cases/sub"),
    "-o norecursedirs": _arguments("-o", "norecursedirs=sub"),
    "-o testpaths": _only("-o", "testpaths=cases/a.attn.yaml"),
    "one file": _only("cases/a.attn.yaml"),
    "one file twice": _only("cases/a.attn.yaml", "cases/a.attn.yaml"),
    "one node": _only("cases/a.attn.yaml::c0", "cases/sub"),
    "a node of each file": _only("cases/a.attn.yaml::c0", f"{B}::c0", "-k", "a.attn"),
    "a path that is not there": _only("cases/a.attn.yaml", "cases/subb"),
    "an option that is not there": _arguments("--attn-modell=x"),
    "two workers, one file": _only("cases/a.attn.yaml", "-n2"),
    "two workers, deselected": _arguments("-n2", "--deselect", B),
    "two workers, --maxfail": _arguments("-n2", "--maxfail=1"),
}
_ENVIRONMENT: dict[str, Way] = {
    "PYTEST_ADDOPTS ignores": _addopts("--ignore-glob=*/b.attn.*"),
    "PYTEST_ADDOPTS deselects": _addopts(f"--deselect {B}"),
    "PYTEST_ADDOPTS -k": _addopts("-k c99"),
    "PYTEST_ADDOPTS -m": _addopts("-m slow"),
    "PYTEST_ADDOPTS collects only": _addopts("--collect-only"),
    "PYTEST_ADDOPTS without the plugin": _addopts("-p no:attnprobe"),
    "PYTEST_ADDOPTS with a path": Way(
        _nothing, (), environment={"PYTEST_ADDOPTS": "cases/a.attn.yaml"}
    ),
    "PYTEST_ADDOPTS of another model": _addopts("--attn-model=tiny=healthy"),
    "PYTEST_PLUGINS": Way(
        lambda: _write("drops.py", _MARKS.format(mark="skip(reason='later')")),
        environment={"PYTEST_PLUGINS": "drops"},
    ),
    "no plugins": Way(_nothing, environment={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}),
}
_SETTINGS: dict[str, Way] = {
    "addopts --ignore": _ini("addopts = --ignore=cases/sub"),
    "addopts -k": _ini("addopts = -k c99"),
    "addopts -m": _ini("addopts = -m slow"),
    "addopts --deselect": _ini(f"addopts = --deselect {B}"),
    "addopts --maxfail": _ini("addopts = --maxfail=1"),
    "addopts of tox.ini": _file("tox.ini", "[pytest]\naddopts = --ignore=cases/sub\n"),
    "addopts of setup.cfg": _file("setup.cfg", "[tool:pytest]\naddopts = --deselect cases/sub\n"),
    "addopts of pyproject.toml": _of_policy(
        TABLE, f"[tool.pytest.ini_options]\naddopts = '--ignore=cases/sub'\n{TABLE}"
    ),
    "norecursedirs": _ini("norecursedirs = sub"),
    "testpaths": Way(_below_testpaths, ()),
    "testpaths of one folder": _ini("testpaths = cases/a.attn.yaml", "--attn-strict"),
    "the model of the ini file alone": _ini("attn_models = tiny=healthy"),
}
_HOOKS: dict[str, Way] = {
    "collect_ignore": _file("cases/conftest.py", "collect_ignore = ['sub']"),
    "collect_ignore_glob": _file("cases/conftest.py", "collect_ignore_glob = ['*/b.*']"),
    "pytest_ignore_collect": _conftest(
        _hook(
            "pytest_ignore_collect(collection_path)",
            "return True if 'sub' in str(collection_path) else None",
        )
    ),
    "items dropped": _conftest(
        _hook(
            "pytest_collection_modifyitems(items)",
            "items[:] = [item for item in items if 'b.attn' not in item.nodeid]",
        )
    ),
    "items dropped last": _conftest(
        "import pytest\n@pytest.hookimpl(trylast=True)\n"
        "def pytest_collection_modifyitems(items):\n    del items[1:]\n"
    ),
    "items dropped after collection": _conftest(
        _hook("pytest_collection_finish(session)", "del session.items[1:]")
    ),
    "items dropped before the loop": _conftest(
        _wrapper("pytest_runtestloop(session)", "del session.items[1:]", "pass")
    ),
    "items deselected": _conftest(
        _hook(
            "pytest_collection_modifyitems(config, items)",
            "config.hook.pytest_deselected(items=items[2:]); del items[2:]",
        )
    ),
    "skipped": _conftest(_MARKS.format(mark="skip(reason='later')")),
    "skipped if": _conftest(_MARKS.format(mark="skipif(True, reason='later')")),
    "xfailed": _conftest(_MARKS.format(mark="xfail")),
    "xfailed, not to run": _conftest(_MARKS.format(mark="xfail(run=False)")),
    "xfailed late": _conftest(_LATE_MARK),
    "skipped in a hook": _conftest(
        _hook("pytest_runtest_setup(item)", f"{_OF_B}: pytest.skip('later')")
    ),
    "skipped by a fixture": _conftest(
        "import pytest\n@pytest.fixture(autouse=True)\ndef later(): pytest.skip('later')\n"
    ),
    "xfailed in a hook": _conftest(
        _hook("pytest_runtest_call(item)", f"{_OF_B}: pytest.xfail('later')")
    ),
    "a protocol of its own that runs nothing": _conftest(
        _hook("pytest_runtest_protocol(item, nextitem)", "return 'b.attn' in item.nodeid or None")
    ),
    "a protocol of its own that reports a pass": _conftest(_RERUNS),
    "an exception swallowed": _conftest(_SWALLOWS),
    "reports made green": _conftest(_GREEN),
    "reports not delivered": _conftest(
        _wrapper("pytest_runtest_makereport(item, call)", "pass", "result.when = 'setup'")
    ),
    "tests that are not run": _conftest(_NEVER_RUNS),
    "the exit code set": _conftest(
        "import pytest\n@pytest.hookimpl(trylast=True)\n"
        "def pytest_sessionfinish(session): session.exitstatus = 0\n"
    ),
    "failures not counted": _conftest(
        _wrapper("pytest_runtestloop(session)", "pass", "session.testsfailed = 0")
    ),
    "pytest.exit in a test": _conftest(
        _hook("pytest_runtest_setup(item)", f"{_OF_B}: pytest.exit('done', returncode=0)")
    ),
    "pytest.exit at the end": _conftest(
        _hook("pytest_sessionfinish(session)", "pytest.exit('done', returncode=0)")
    ),
    "pytest.exit at the start": _conftest(
        _hook("pytest_configure(config)", "pytest.exit('done', returncode=0)")
    ),
    "sys.exit in a conftest": _conftest("import sys\nsys.exit(0)\n"),
    "sys.exit in a test": _conftest(_hook("pytest_runtest_setup(item)", f"{_OF_B}: sys.exit(0)")),
    "os._exit in a test": _conftest(_hook("pytest_runtest_setup(item)", f"{_OF_B}: os._exit(0)")),
    "os._exit at the end": _conftest(
        "import os, pytest\n@pytest.hookimpl(tryfirst=True)\n"
        "def pytest_sessionfinish(session): os._exit(0)\n"
    ),
    "killed in a test": _conftest(
        _hook("pytest_runtest_setup(item)", f"{_OF_B}: os.kill(os.getpid(), signal.SIGKILL)")
    ),
    "terminated in a test": _conftest(
        _hook("pytest_runtest_setup(item)", f"{_OF_B}: os.kill(os.getpid(), signal.SIGTERM)")
    ),
    "interrupted in a test": _conftest(
        _hook("pytest_runtest_setup(item)", f"{_OF_B}: raise KeyboardInterrupt")
    ),
    "out of memory in a test": _conftest(
        _hook("pytest_runtest_call(item)", f"{_OF_B}: raise MemoryError")
    ),
    "session.shouldstop": _conftest(
        _hook("pytest_runtest_teardown(item)", "item.session.shouldstop = 'enough'")
    ),
    "a command line of its own": _conftest(_hook("pytest_cmdline_main(config)", "return 0")),
    "a loop of its own": _conftest(_hook("pytest_runtestloop(session)", "return True")),
    "a collection of its own": _conftest(_hook("pytest_collection(session)", "return True")),
    "a conftest that is broken": _conftest("def ("),
    "a conftest that skips": _file("cases/sub/conftest.py", _NO_ENTRY),
    "the plugin unregistered": _conftest(
        _hook(
            "pytest_configure(config)",
            "[config.pluginmanager.unregister(plugin) for name, plugin in "
            "config.pluginmanager.list_name_plugin() if 'attnprobe' in name and plugin]",
        )
    ),
    "the case files taken by another plugin": _conftest(
        "import pytest\n@pytest.hookimpl(tryfirst=True)\n"
        "def pytest_collect_file(file_path, parent):\n"
        "    if file_path.name == 'b.attn.yaml':\n"
        "        class Empty(pytest.File):\n            def collect(self): return []\n"
        "        return Empty.from_parent(parent, path=file_path)\n"
    ),
    "a healthy model loaded in its place": _conftest(
        "def pytest_attn_load_model(name):\n"
        "    from attnprobe.models import load\n    return load('healthy', name=name)\n"
    ),
    "a worker that dies": _conftest(
        _hook("pytest_runtest_setup(item)", f"{_OF_B}: os._exit(0)"), "cases", "-n2"
    ),
}
_FILES: dict[str, Way] = {
    "gone": Way(lambda: Path(B).unlink()),
    "a folder gone": Way(lambda: shutil.rmtree("cases/sub")),
    "a link to nothing": Way(_linked_to_nothing),
    "empty": Way(lambda: Path(B).write_text("")),
    "no cases": Way(lambda: Path(B).write_text("version: 1\nsuite: b\ncases: []\n")),
    "half": Way(lambda: os.truncate(B, Path(B).stat().st_size // 2)),
    "cut after a case": Way(lambda: os.truncate(B, Path(B).read_bytes().index(b"- id: c1"))),
    "a broken line": _edited("cases:", "cases"),
    "in a folder of norecursedirs": _moved("cases/build/b.attn.yaml"),
    "in a hidden folder": _moved("cases/.old/b.attn.yaml"),
    "in another folder": _moved("old/b.attn.yaml"),
    "another suffix": _moved("cases/sub/b.attn.yml"),
    "a suffix more": _moved("cases/sub/b.attn.yaml.bak"),
    "no suffix of ours": _moved("cases/sub/b.yaml"),
    "another case of letters": _moved("cases/sub/b.Attn.YAML"),
    "a suite renamed": _edited("suite: b", "suite: bb"),
    "a suite in another": _edited("suite: b", "suite: a"),
    "a suite without a name": _edited("suite: b\n", ""),
    "a copy in its place": Way(_twice),
    "a case renamed to another": _edited("id: c1", "id: c0"),
    "skipped": _stated("skip: later"),
    "a known gap": _stated("xfail: it fails"),
    "advisory": _stated("severity: advisory"),
    "advisory as a default": _edited("cases:", "severity: advisory\ncases:"),
    "for another model": _stated("model: other"),
    "for another model as a whole": _edited("cases:", "model: other\ncases:"),
    "no expectation": _edited("    - attends", "    # - attends"),
    "a bound that nothing breaks": _edited("attends", "ignores"),
    "heads that are not there": _edited("L1H0", "L9H9"),
    "a probe in its place": _file("cases/test_p.py", _PROBE, "cases/test_p.py"),
}
_POLICIES: dict[str, Way] = {
    "none": _policy(""),
    "tool-attnprobe": _policy("[tool-attnprobe.gate]\nleast = 2\n"),
    "tools.attnprobe": _policy("[tools.attnprobe.gate]\nleast = 2\n"),
    "attnprobe.gate": _policy("[attnprobe.gate]\nleast = 2\n"),
    "setup.cfg": _policy("[tool:attnprobe.gate]\nleast = 2\n", "setup.cfg"),
    "empty": _policy(TABLE),
    "demands nothing": _policy(f"{TABLE}skipped = 0\n"),
    "a key mistyped": _of_policy("suites =", "suite_names ="),
    "a number as text": _of_policy("least = 2", 'least = "2"'),
    "a list": _policy("[[tool.attnprobe.gate]]\nleast = 2\n"),
    "a string": _policy("[tool.attnprobe]\ngate = 'strict'\n"),
    "broken": _policy("[tool.attnprobe.gate\n"),
    "a nearer pyproject.toml": Way(_in_a_sub_project, (".", "--ignore=sub")),
    "a policy file that is not there": _arguments("--policy", "gone.toml"),
    "a baseline that is not there": _of_policy("skipped", 'baseline = "gone.json"\nskipped'),
    "a baseline that is broken": Way(
        lambda: (
            _of_policy("skipped", 'baseline = "b.json"\nskipped').change(),
            Path("b.json").write_text("{"),
        )
    ),
    "a waiver of nothing": _of_policy(
        "[tool.attnprobe.gate.suite.a]",
        "[[tool.attnprobe.gate.waivers]]\nid = 'c9'\nreason = 'later'\nuntil = 2999-01-01\n"
        "[tool.attnprobe.gate.suite.a]",
    ),
    "a waiver that expired": _of_policy(
        "[tool.attnprobe.gate.suite.a]",
        f"[[tool.attnprobe.gate.waivers]]\nfile = '{B}'\nid = 'c0'\nreason = 'later'\n"
        "until = 2020-01-01\n[tool.attnprobe.gate.suite.a]",
    ),
    "a pattern that lets all go": Way(
        lambda: (
            _of_policy("skipped", "uncollected = ['*']\nskipped").change(),
            _moved("cases/build/b.attn.yaml").change(),
        )
    ),
    "a second policy": _arguments("--policy", "pyproject.toml", "--policy", "gone.toml"),
}
_RESULTS: dict[str, Way] = {
    "no candidate": Way(_nothing, ("cases", WITHOUT_MODEL)),
    "a candidate that is not there": _arguments("--attn-model=tiny=gone"),
    "a results file that is not there": _only("--results", "gone.json"),
    "a results file that is broken": Way(
        lambda: Path("r.json").write_text('{"schema": "attnprobe/results-1"'),
        ("--results", "r.json"),
    ),
    "results and a run": _arguments("--results", "r.json"),
}
_KINDS = {
    "option": _OPTIONS,
    "environment": _ENVIRONMENT,
    "setting": _SETTINGS,
    "hook": _HOOKS,
    "file": _FILES,
    "policy": _POLICIES,
    "results": _RESULTS,
}
WAYS = {f"{kind}: {name}": way for kind, ways in _KINDS.items() for name, way in ways.items()}
# After these the failure is seen all the same, and the gate blocks.
SEEN = {
    "option: -m",
    "setting: the model of the ini file alone",
    "hook: skipped by a fixture",
    "hook: the exit code set",
    "hook: failures not counted",
    "hook: os._exit at the end",
    "hook: out of memory in a test",
    "hook: the case files taken by another plugin",
    "hook: a healthy model loaded in its place",
}
