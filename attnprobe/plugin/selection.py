"""Records which probes a run leaves out, and why; baselines and the gate need to know.

Every pytest run imports this module, so it imports nothing slow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from attnprobe.core.names import Key
from attnprobe.plugin import options, shards
from attnprobe.plugin.identity import identity, is_probe, key_of
from attnprobe.plugin.keys import (
    cases_key,
    judged_key,
    made_key,
    planned_items,
    seen_key,
    selection_of,
)

if TYPE_CHECKING:
    from attnprobe.cases import Case

# The key of the selection in the message that a worker of pytest-xdist sends when it ends.
_MESSAGE = "attnprobe_selection"
# Keys of cases left out because the run lacks their model; `Selection.absent` counts them.
_absent_key = pytest.StashKey[frozenset[Key]]()


def pytest_itemcollected(item: pytest.Item) -> None:
    _note_probe(item)


@pytest.hookimpl(wrapper=True, trylast=True)  # to see the items before --lf removes some
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Records what --lf leaves out; pytest calls no other hook for it."""
    report = yield
    config = collector.config
    if isinstance(collector, pytest.File) and report.passed and config.getoption("lf", False):
        # pytest registers this plugin of its own once --lf skips files. Without it, a file without
        # items is empty.
        if not report.result and config.pluginmanager.hasplugin("lfplugin-collskip"):
            selection_of(config).left_out.append(str(collector.path.resolve()))
        elif not collector.session.isinitpath(collector.path):
            for node in report.result:
                _note_probe(node)
    return report


def _note_probe(node: pytest.Item | pytest.Collector) -> None:
    # A project may have a fixture `attn` of its own. Without a model the test is none of ours.
    if isinstance(node, pytest.Item) and is_probe(node) and options.settings(node.config).models:
        node.config.stash.setdefault(seen_key, []).append(node)


@pytest.hookimpl(trylast=True)  # after -k and -m, whose deselected cases need no model
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects cases for models that the run lacks; without a model, all probes but one.

    The one that is left tells what is missing. Of the others, those of this part run.
    """
    if not options.settings(config).models:
        _keep_one(config, items)
    _leave_absent(config, items)
    shards.deal(config, items)


def _leave_absent(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects cases for models that the run lacks."""
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
    runnable = set(seen).difference(absent)
    runnable_suites = {identity(item, only)["suite"] for item in runnable}
    selection.absent_suites = sorted(suites - runnable_suites)
    config.stash[_absent_key] = frozenset(key_of(item, only) for item in absent)


def _keep_one(config: pytest.Config, items: list[pytest.Item]) -> None:
    ours = [item for item in items if is_probe(item) and _named_model(item) is None]
    ours = [item for item in ours if judged_key in item.stash or _takes_our_attn(item)]
    runs = [item for item in ours if not any(map(item.get_closest_marker, ("skip", "skipif")))]
    if not runs:
        return  # all are skipped, so none needs a model
    others = {item: None for item in ours if item is not runs[0]}  # there can be thousands
    items[:] = [item for item in items if item not in others]
    config.hook.pytest_deselected(items=list(others))


def _takes_our_attn(item: pytest.Item) -> bool:
    """Whether a test's fixture `attn` is that of attnprobe: a project may have one of its own."""
    found: Any = getattr(item, "_fixtureinfo", None)
    made = found.name2fixturedefs.get("attn") if found else None
    return made is not None and made[-1].func.__module__.startswith("attnprobe.")


def _named_model(item: pytest.Item) -> str | None:
    """The model that a case names; None for any other item."""
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
        selected = {key_of(item, only) for item in planned_items(session) if is_probe(item)}
        absent = config.stash.get(_absent_key, None) or ()
        selection.deselected = [key for key in seen if key not in selected and key not in absent]
    # Without a model no item is noted as seen, and nothing is judged.
    seen_ids = {item.nodeid for item in config.stash.get(seen_key, [])}
    selection.collected = [
        file
        for file, (_, names) in config.stash.get(made_key, {}).items()
        if seen_ids.issuperset(names) or not chosen.models
    ]
    if hasattr(config, "workeroutput"):
        config.workeroutput[_MESSAGE] = selection.as_message()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    # All workers of pytest-xdist collect and leave out the same cases.
    message = getattr(node, "workeroutput", {}).get(_MESSAGE, {})
    selection_of(node.config).take(message)
