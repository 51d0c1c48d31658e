"""Which probes a run leaves out, and why: a baseline and the gate must know.

Like the plugin itself, it is imported by every pytest run in the environment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from attnprobe.core.names import Key
from attnprobe.plugin import options
from attnprobe.plugin.identity import identity, is_probe, key_of
from attnprobe.plugin.keys import (
    cases_key,
    judged_key,
    made_key,
    seen_key,
    selection_of,
)

if TYPE_CHECKING:
    from attnprobe.cases import Case


# Name of the selection among what a worker of pytest-xdist sends when it ends.
_MESSAGE = "attnprobe_selection"
# What is left out for want of its model, which is told by that.
_wanting_key = pytest.StashKey[frozenset[Key]]()


def pytest_itemcollected(item: pytest.Item) -> None:
    _see(item)


@pytest.hookimpl(wrapper=True, trylast=True)  # before --lf takes items away
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Sees what --lf leaves out, of which it tells no other hook."""
    report = yield
    config = collector.config
    if isinstance(collector, pytest.File) and report.passed and config.getoption("lf", False):
        # pytest's own plugin of this name is there once files are skipped; else a file is empty.
        if not report.result and config.pluginmanager.hasplugin("lfplugin-collskip"):
            selection_of(config).left_out.append(str(collector.path.resolve()))
        elif not collector.session.isinitpath(collector.path):
            for node in report.result:
                _see(node)
    return report


def _see(node: pytest.Item | pytest.Collector) -> None:
    """Notes a probe."""
    # Another project may have a fixture of this name; without a model it cannot be ours.
    if isinstance(node, pytest.Item) and is_probe(node) and options.settings(node.config).models:
        node.config.stash.setdefault(seen_key, []).append(node)


@pytest.hookimpl(trylast=True)  # what -k and -m leave out is not missed for want of a model
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out cases for a model that this run is not given."""
    given = options.settings(config).models
    absent = [item for item in items if _named_model(item) not in (None, *given)]
    if not absent:
        return
    items[:] = [item for item in items if _named_model(item) in (None, *given)]
    config.hook.pytest_deselected(items=absent)
    selection = selection_of(config)
    selection.absent = dict(Counter(_named_model(item) or "" for item in absent))
    only = next(iter(given), "")
    suites = {identity(item, only)["suite"] for item in absent}
    seen: list[pytest.Item] = config.stash.get(seen_key, [])
    able = set(seen).difference(absent)
    others = {identity(item, only)["suite"] for item in able}
    selection.absent_suites = sorted(suites - others)
    config.stash[_wanting_key] = frozenset(key_of(item, only) for item in absent)


def _named_model(item: pytest.Item) -> str | None:
    """The model that a case names; None for everything else."""
    return getattr(getattr(item, "case", None), "model", None) if judged_key in item.stash else None


def pytest_collection_finish(session: pytest.Session) -> None:
    config = session.config
    chosen = options.settings(config)
    selection = selection_of(config)
    if cases_key in config.stash:
        from attnprobe.run.order import stated_pairs

        cases: list[Case] = config.stash[cases_key]
        selection.pairs = [vars(pair) for pair in stated_pairs(cases)]
    only = next(iter(chosen.models), "")
    seen = {key_of(item, only): None for item in config.stash.get(seen_key, [])}
    if seen:
        kept = {key_of(item, only) for item in session.items if is_probe(item)}
        wanting = config.stash.get(_wanting_key, None) or ()
        selection.deselected = [key for key in seen if key not in kept and key not in wanting]
    # Without a model no item is noted as seen; nothing is judged then.
    taken = {item.nodeid for item in config.stash.get(seen_key, [])}
    selection.collected = [
        file
        for file, (_, names) in config.stash.get(made_key, {}).items()
        if taken.issuperset(names) or not chosen.models
    ]
    if hasattr(config, "workeroutput"):
        config.workeroutput[_MESSAGE] = selection.as_message()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    # Under pytest-xdist each worker collects, and leaves out, the same cases.
    message = getattr(node, "workeroutput", {}).get(_MESSAGE, {})
    selection_of(node.config).take(message)
