"""Deals the probes of a run out to parts: --attn-shard.

Whole blocks of texts and whole corpora go to a part, by a hash of what they are called. Each part
plans all probes, as each worker of pytest-xdist does, so its numbers are those of the whole run.

Every pytest run imports this module, so it imports nothing slow.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Generator
from contextlib import suppress
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import pytest

from attnprobe.core.parts import Part
from attnprobe.plugin import options
from attnprobe.plugin.identity import is_probe, key_of
from attnprobe.plugin.keys import planned_key, selection_of, texts_key

if TYPE_CHECKING:
    from attnprobe.plugin.file_item import FileItem


def deal(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the probes of this part; other tests run in every part.

    A run without a model has probes as well: those that are skipped, or the one that says what is
    missing.
    """
    chosen = options.settings(config)
    if chosen.part.whole:
        return
    config.stash[planned_key] = list(items)
    probes = [item for item in items if is_probe(item)]
    owners = _owners(probes) if probes else {}  # it imports what other tests do not need
    mine = {item for item in probes if _holds(chosen.part, owners[item])}
    dealt = [item for item in probes if item not in mine]
    items[:] = [item for item in items if item in mine or not is_probe(item)]
    if dealt:
        config.hook.pytest_deselected(items=dealt)
    selection = selection_of(config)
    selection.planned = len(probes)
    selection.planned_sha256 = _hash(config, probes)
    selection.files = _hashes(config, probes)


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before the ledger judges the exit code
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, object, object]:
    """Ends a part to which no test was dealt as one that passed, if there are tests at all."""
    nothing = session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED
    if nothing and selection_of(session.config).planned:
        session.exitstatus = pytest.ExitCode.OK
    return (yield)


def _holds(part: Part, owner: str) -> bool:
    """Whether what is called so belongs to a part."""
    drawn = hashlib.blake2b(owner.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return part.holds(int.from_bytes(drawn))


def _owners(probes: list[pytest.Item]) -> dict[pytest.Item, str]:
    """What each probe goes with: its block, its corpus, or itself for a probe in Python."""
    from attnprobe.plugin.items import CaseItem
    from attnprobe.plugin.relation_items import RelationItem
    from attnprobe.run.blocks import Blocks

    found: dict[pytest.Item, str] = {}
    of_models: dict[str, list[CaseItem]] = {}
    for item in probes:
        if isinstance(item, CaseItem) and item.case.skip is None:
            of_models.setdefault(item.model, []).append(item)
        elif isinstance(item, RelationItem):
            found[item] = f"{item.model}\0{_corpus(item)}"
        else:
            found[item] = item.nodeid
    for model, cases in of_models.items():
        blocks = Blocks([item.case for item in cases], controls=True)
        for item in cases:
            file, number = blocks.keys[blocks.of[item.case]]
            found[item] = f"{model}\0{file}\0{number}"
    return found


def _hash(config: pytest.Config, probes: list[pytest.Item]) -> str:
    """The hash of the checks of all parts, in their order, on which the blocks depend."""
    only = next(iter(options.settings(config).models), "")
    return hashlib.sha256(
        json.dumps([str(key_of(one, only)) for one in probes]).encode()
    ).hexdigest()


def _hashes(config: pytest.Config, probes: list[pytest.Item]) -> dict[str, str]:
    """The hash of each file that the checks are read from, by its path from the root."""
    paths = {*(item.path for item in probes), options.settings(config).lock}
    files = dict.fromkeys(paths, config.rootpath)
    files |= dict.fromkeys(config.stash.get(texts_key, ()), config.rootpath.resolve())
    found = {}
    for path, root in files.items():
        with suppress(OSError):  # there may be no lock file
            shown = PurePath(os.path.relpath(path, root)).as_posix()
            found[shown] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _corpus(item: FileItem) -> Any:
    """The corpus of a relation, whose relations share its forward passes."""
    from attnprobe.cases import CorpusArcs, Relation

    assert isinstance(item.case, Relation)
    source = item.case.source
    return source.shown if isinstance(source, CorpusArcs) else item.nodeid
