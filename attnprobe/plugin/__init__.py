"""The pytest plugin: options, collection of `*.attn.yaml`, the fixture `attn`, the reports.

Every pytest run in the environment imports this module, so it imports nothing slow. Modules that
need pydantic, numpy or torch are imported when the first case file or probe needs them.
"""

from __future__ import annotations

import html
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from attnprobe.core.names import SUFFIX
from attnprobe.core.wording import join_names, plural
from attnprobe.plugin import hooks, options, order_control, selection, shards
from attnprobe.plugin.identity import is_probe
from attnprobe.plugin.keys import (
    REPORT,
    judged_in_setup_key,
    judged_key,
    selection_of,
    unreadable_key,
)

if TYPE_CHECKING:
    from attnprobe.plugin.probe import Probe

_Status = int | pytest.ExitCode | None
_LEDGER = "attnprobe-ledger"
# Doubts about tests that pass: the terminal shows only a dot for them, but a release may not have
# them.
_DOUBTS = {
    "vacuous": "but would for too many other word pairs as well (vacuous)",
    "unbreakable": "but would whatever the model does (vacuous)",
    "borderline": "but too near to the bound to call (borderline)",
}
# The most tests that a warning names.
_MOST_NAMES = 3


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(hooks)


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, _Status, _Status]:
    """Ends a run that cannot read its baseline with a message and exit code 2.

    pytest ends a usage error with code 4. Here the command line is right and a file cannot be
    read, for which the commands exit with 2 as well.
    """
    try:
        return (yield)
    except pytest.UsageError as error:
        if unreadable_key not in config.stash:
            raise
        from attnprobe.core.printing import harmless

        sys.stderr.write(harmless(f"ERROR: {error}\n"))
        return pytest.ExitCode.INTERRUPTED
    except BaseException as error:
        # A plugin raised in pytest_unconfigure: Python exits with 1, like pytest for a failed test.
        ledger = config.pluginmanager.get_plugin(_LEDGER)
        if ledger is not None:
            ledger.note_crash(error)
        raise


def pytest_configure(config: pytest.Config) -> None:
    options.store_settings(config)
    _register(config, selection, "attnprobe-selection")
    _register(config, order_control.OrderControl(config), "attnprobe-order")
    chosen = options.settings(config)
    on_worker = hasattr(config, "workerinput")
    files = (chosen.json, chosen.save, chosen.compare)
    several = chosen.all_models and len(chosen.models) > 1
    report = config.getoption("htmlpath", None) and chosen.models
    wanted = any((*files, chosen.strict, several, "compare-fail" in chosen.given, report))
    if not wanted or on_worker or config.getoption("collectonly"):
        _register(config, shards, "attnprobe-shards")
        return
    from attnprobe.plugin.ledger import Ledger

    options.check_outputs(config)

    _register(config, Ledger(config), _LEDGER)
    _register(config, shards, "attnprobe-shards")
    if several and config.pluginmanager.hasplugin("html"):
        from attnprobe.plugin.columns import ModelColumn

        config.pluginmanager.register(ModelColumn(), "attnprobe-columns")


def _register(config: pytest.Config, plugin: object, name: str) -> None:
    """Registers a part of this plugin.

    Raises:
        pytest.UsageError: `-p no:NAME` blocks the part, so the results would be incomplete.
    """
    if config.pluginmanager.register(plugin, name) is None:
        raise pytest.UsageError(f"-p no:{name} disables a part of attnprobe; leave it out")


@pytest.hookimpl(optionalhook=True)
def pytest_metadata(metadata: dict[str, Any], config: pytest.Config) -> None:
    """Adds the models of the run, and its part, to the HTML report."""
    lines = options.header(config)
    part = options.settings(config).part
    if not part.whole:
        metadata["Part"] = f"part {part.index} of {part.count}"
    if lines:
        metadata["Models"] = html.escape(lines[0].removeprefix("attnprobe: "))


def pytest_report_header(config: pytest.Config) -> list[str]:
    return options.header(config)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if not file_path.name.endswith(SUFFIX):
        return None
    from attnprobe.plugin.items import CaseFile

    file: pytest.Collector = CaseFile.from_parent(parent, path=file_path)
    return file


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _say_whose(collector, report)
    return report


def _say_whose(node: object, report: pytest.CollectReport | pytest.TestReport) -> None:
    """Adds to a failure of another plugin's node from a case file that the file is no test of it.

    Some plugins take every YAML file for theirs whose name begins with `test`.
    """
    if report.failed and isinstance(node, pytest.File) and node.path.name.endswith(SUFFIX):
        kind = type(node)
        if not kind.__module__.startswith("attnprobe."):
            report.sections.append(
                (
                    "attnprobe",
                    f"{node.path.name} is a case file of attnprobe, and {kind.__name__} of "
                    f"{kind.__module__} takes it for its own; give it another name, such as "
                    f"{node.path.name.removeprefix('test').lstrip('-_')}",
                )
            )


@pytest.hookimpl(trylast=True)  # so that the test's own parameters come first in its id
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "attn" not in metafunc.fixturenames:
        return
    chosen = options.settings(metafunc.config)
    models = list(chosen.models)
    if len(models) > 1 and chosen.all_models:
        from attnprobe.core.printing import no_command

        metafunc.parametrize("attn", models, indirect=True, ids=list(map(no_command, models)))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    models = _models_of(terminalreporter)
    facts = [f"{model['name']}: {text}" for model in models if (text := model["quantised"])]
    remarks = list(_remarks(terminalreporter, config, models))
    if facts or remarks:
        from attnprobe.core.printing import harmless

        for lines, markup in ((facts, {}), (remarks, {"yellow": True})):
            for line in lines:
                terminalreporter.write_line(harmless(f"attnprobe: {line}"), **markup)


def _remarks(
    terminalreporter: Any, config: pytest.Config, models: Iterable[Mapping[str, Any]]
) -> Iterator[str]:
    for name, count in sorted(selection_of(config).absent.items()):
        yield (
            f"{plural(count, 'case')} deselected: for model {name}, which is not given; "
            f"--attn-model {name}=REF"
        )
    for model in models:
        if model["ignored_code"]:
            yield (
                f"{model['name']} comes with code of its own, which was ignored: measured is "
                f"transformers' {model['architecture']}, which may attend differently"
            )
    yield from map(str, order_control.habits_of(config))
    for outcome, what in _DOUBTS.items():
        names = [
            report.nodeid
            for report in terminalreporter.stats.get("passed", [])
            if outcome in _outcomes(report)
        ]
        if names:
            tests = plural(len(names), "test passes", "tests pass")
            yield (
                f"{tests}, {what}: {join_names(names, _MOST_NAMES)}; --attn-strict does not accept "
                "that, nor does the gate unless its policy does"
            )


def _models_of(terminalreporter: Any) -> list[dict[str, Any]]:
    """The record of each model that tests of the run were measured on, by name."""
    reports = [report for entries in terminalreporter.stats.values() for report in entries]
    models = [(getattr(report, REPORT, None) or {}).get("model") for report in reports]
    by_name = {model["name"]: model for model in models if model}
    return [by_name[name] for name in sorted(by_name)]


def _outcomes(report: pytest.TestReport) -> set[str]:
    """The outcomes and doubts of a test's expectations; empty for a test without attention."""
    facts = getattr(report, REPORT, None)
    found = set()
    for entry in facts["case"]["expectations"] if facts else ():
        found.add("unbreakable" if entry["unbreakable"] else entry["outcome"])
        found |= {"borderline"} if entry["borderline"] else set()
    return found


@pytest.fixture
def attn(request: pytest.FixtureRequest) -> Probe:
    """Reads a text with the model: `attn("The keys are old.").attends("are", "keys", ...)`."""
    from attnprobe.plugin.probe import Probe
    from attnprobe.plugin.session import session_of

    session = session_of(request.config)
    only = next(iter(session.settings.models), "")
    return Probe(session, request.node, getattr(request, "param", only))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _say_whose(item.parent or item, report)
    if report.when == "setup" and judged_key in item.stash:
        item.stash[judged_in_setup_key] = len(item.stash[judged_key])
    # A passed setup decides nothing; a test whose worker dies after it must leave no record.
    if report.when == "teardown" or (report.when == "setup" and report.passed):
        return report
    if judged_key in item.stash or _is_skipped_probe(item):
        from attnprobe.plugin.session import session_of

        session_of(item.config).report(item, report)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Forgets what an earlier call of the same test judged: a plugin may call it again."""
    if judged_in_setup_key in pyfuncitem.stash:
        del pyfuncitem.stash[judged_key][pyfuncitem.stash[judged_in_setup_key] :]


def _is_skipped_probe(item: pytest.Item) -> bool:
    return is_probe(item) and bool(options.settings(item.config).models)


@pytest.hookimpl(optionalhook=True)
def pytest_html_results_summary(prefix: list[str], session: pytest.Session) -> None:
    """Puts the style sheet of tables and pictures into the HTML report once."""
    if options.settings(session.config).models:
        from attnprobe.render.web.html import style_sheet

        prefix.insert(0, str(style_sheet()))


@pytest.hookimpl(optionalhook=True)
def pytest_html_results_table_row(report: pytest.TestReport, cells: list[str]) -> None:
    # pytest-html does not escape node ids, and a file name may contain markup.
    for index, cell in enumerate(cells):
        if cell.startswith('<td class="col-testId">'):
            cells[index] = cell.replace(report.nodeid, html.escape(report.nodeid))
    facts = getattr(report, REPORT, None)
    if facts is not None and facts["page"] is not None:
        from attnprobe.plugin.report_page import anchor_of
        from attnprobe.render.web.report import case_link

        link = case_link(anchor_of(report.nodeid))
        cells[-1] = cells[-1].replace("</td>", f"{link}</td>")
