"""The session object of a run: loads models, judges items, prepares the data of reports."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from attnprobe.cases import Relation
from attnprobe.core.charts import HeadGrid
from attnprobe.core.errors import AttnprobeError, ModelError, ResultsError
from attnprobe.core.printing import harmless
from attnprobe.core.wording import format_seconds
from attnprobe.plugin import junit
from attnprobe.plugin.case_page import case_page, relation_page
from attnprobe.plugin.explorer_pages import explorer_links
from attnprobe.plugin.identity import identity, is_probe
from attnprobe.plugin.keys import REPORT, judged_key, relation_key
from attnprobe.plugin.options import settings
from attnprobe.plugin.report_page import anchor_of, pages_folder
from attnprobe.relations import accuracy
from attnprobe.relations.accuracy import Accuracy, RelationFinding
from attnprobe.render.web.case import ExplorerLink
from attnprobe.results.files import is_same
from attnprobe.results.lock import read_heads
from attnprobe.run import records
from attnprobe.run.judging import Judge, Judged
from attnprobe.words.heads import HeadSet

if TYPE_CHECKING:
    from attnprobe.models import Model


def session_of(config: pytest.Config) -> Session:
    """The session object of the run; the first call makes it."""
    if _session_key not in config.stash:
        config.stash[_session_key] = Session(config)
    return config.stash[_session_key]


class Session:
    """The models, runners and corpora that all items of a pytest run share.

    The first item that needs a model loads it. If that fails, every item on the model gets the
    same error.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.settings = settings(config)
        self._models: dict[str, Model] = {}
        self._records: dict[str, dict[str, Any]] = {}
        self._broken: dict[str, AttnprobeError] = {}
        self._probes: int | None = None

    @functools.cached_property
    def head_sets(self) -> Mapping[str, HeadSet]:
        """The head sets of the lock file by name; empty if the default file is missing.

        Raises:
            ResultsError: the lock file is corrupt, or --attn-lock names a missing file.
        """
        lock = self.settings.lock
        if lock.exists():
            return read_heads(lock)
        if "lock" in self.settings.given:
            raise ResultsError(f"--attn-lock: there is no file {lock}")
        return {}

    def model(self, name: str) -> Model:
        """The model of this name; the first call loads it.

        Raises:
            AttnprobeError: it cannot be loaded, or the run has no model of this name.
        """
        if name in self._broken:
            raise self._broken[name]
        if name not in self._models:
            try:
                self._models[name] = self._load(name)
            except AttnprobeError as error:
                self._broken[name] = error
                raise
            except Exception as error:
                # An error in the project's own hook shows its traceback once, for the first item.
                self._broken[name] = ModelError(
                    f"{name} could not be loaded: {type(error).__name__}: {error}"
                )
                raise
        return self._models[name]

    @functools.cached_property
    def judge(self) -> Judge:
        """The judge of all items."""
        chosen = self.settings
        return Judge(
            self.model,
            batch_tokens=chosen.batch_tokens,
            chance_max=chosen.chance_max,
            strict=chosen.strict,
            pictures=chosen.figures == "all" and self.draws,
            nearest=chosen.nearest,
        )

    @property
    def draws(self) -> bool:
        """Whether the run writes an HTML report, which can hold pictures."""
        wanted = self.config.getoption("htmlpath", None)
        return self.config.pluginmanager.hasplugin("html") and bool(wanted)

    def report(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Attaches the data for the results file, JUnit XML and the HTML report to a report."""
        judged = item.stash.get(judged_key, [])
        related = item.stash.get(relation_key, None)
        facts = self._facts(item, judged)
        setattr(report, REPORT, facts)
        properties = junit.properties(facts["case"]["expectations"], facts["model"])
        self._note(item, report, [*junit.of_part(self.settings.part), *properties])
        if self.draws and (judged or related):
            facts["page"] = self._page(
                judged,
                related,
                facts["case"]["model"],
                failed=report.failed,
                anchor=anchor_of(item.nodeid),
            )

    def _page(
        self,
        judged: Sequence[Judged],
        related: RelationFinding | None,
        model: str,
        *,
        failed: bool,
        anchor: str,
    ) -> dict[str, Any]:
        """The data of an item's part of the HTML report."""
        figures = self.settings.figures
        pictures = figures == "all" or (figures == "failed" and failed)
        if related is not None:
            grid = functools.partial(self._grid, model) if pictures else None
            return relation_page(related, grid=grid)
        pictured = functools.partial(self._pictured, failed=failed) if pictures else None
        explorer = self.settings.explorer
        links: list[ExplorerLink | None] = []
        if explorer == "all" or (explorer == "failed" and failed):
            folder = pages_folder(self.config.getoption("htmlpath"))
            links = explorer_links(judged, self.model(model), folder=folder, anchor=anchor)
        return case_page(judged, pictured=pictured, failed=failed, explorers=links)

    def _grid(self, model: str, finding: RelationFinding, found: Accuracy) -> HeadGrid:
        """The accuracy of single heads on a relation; may take a further pass over the corpus."""
        return accuracy.head_grid(
            finding.relation,
            self.model(model),
            found,
            read=self.judge.read,
            batch_tokens=self.settings.batch_tokens,
        )

    def _pictured(self, judged: Judged, *, failed: bool) -> Judged:
        """The expectation with the weights for its picture.

        For an item that failed it takes a further forward pass, to see the pair in all layers.
        """
        if judged.finding.matrix is not None and not failed:
            return judged
        finding = self.judge.runner(judged.model, []).pictured(judged.finding)
        return judged._replace(finding=finding)

    def _facts(self, item: pytest.Item, judged: Sequence[Judged]) -> dict[str, Any]:
        """The record of an item for the results file, as plain data."""
        case = identity(item, next(iter(self.settings.models), ""))
        model = self._models.get(case["model"])
        stated = getattr(item, "case", None)
        related = item.stash.get(relation_key, None)
        return {
            "case": case | records.measured(stated, judged, related),
            "is_relation": isinstance(stated, Relation),
            "is_bound": getattr(stated, "model", None) is not None,
            "model": self._described(case["model"]) if model else None,
            "collected": self._collected(item.session),
            "page": None,
        }

    def _described(self, name: str) -> dict[str, Any]:
        """The record of a model, made once: the hash of a network in memory takes a while."""
        if name not in self._records:
            self._records[name] = self._describe_model(self._models[name], name)
        return self._records[name]

    def _describe_model(self, model: Model, name: str) -> dict[str, Any]:
        chosen = self.settings
        asked = chosen.models[name]
        if is_same(Path(asked), Path(model.ref)):
            asked = model.ref  # the same folder in another spelling
        return records.model_record(
            model, name, asked=asked, asked_revision=chosen.load.revision
        ).as_dict()

    def _note(
        self, item: pytest.Item, report: pytest.TestReport, properties: list[tuple[str, str]]
    ) -> None:
        """Sets the properties of an item for JUnit XML; replaces those of an earlier run of it."""
        foreign = [
            entry for entry in item.user_properties if not entry[0].startswith(junit.PROPERTY)
        ]
        item.user_properties[:] = [*foreign, *properties]
        report.user_properties[:] = item.user_properties

    def _collected(self, session: pytest.Session) -> int:
        """The number of probes that the run is to execute."""
        if self._probes is None:
            self._probes = sum(map(is_probe, session.items))
        return self._probes

    def _load(self, name: str) -> Model:
        from attnprobe.models import Model, load_model

        chosen = self.settings
        if name not in chosen.models:
            raise ModelError(
                "no model to probe; give one with --attn-model, or attn_model in the ini file"
            )
        ref = chosen.models[name]
        self._say(f"attnprobe: loading {ref} ...")
        start = time.perf_counter()
        options = chosen.load_of[name]._replace(device=self._device())
        source, target = options.source_language, options.target_language
        made = self.config.hook.pytest_attn_load_model(config=self.config, name=name, ref=ref)
        if made is not None and options.tokenizer is not None:
            raise ModelError(
                f"{name} is built by the project's own loader (pytest_attn_load_model), which "
                f"brings its tokenizer; drop --attn-tokenizer {options.tokenizer}"
            )
        if isinstance(made, Model):
            model = made
            if source or target:
                raise ModelError(
                    f"{name} is loaded by the project's own loader (pytest_attn_load_model); give "
                    "source_language= and target_language= to attnprobe.load there"
                )
        elif made is not None:
            try:
                network, tokenizer = made
            except (TypeError, ValueError):
                raise ModelError(
                    f"pytest_attn_load_model returned a {type(made).__name__} for {name}; return a "
                    "network and its tokenizer, or what attnprobe.load returns"
                ) from None
            model = Model.of(
                network, tokenizer, name=name, source_language=source, target_language=target
            )
        else:
            model = load_model(ref, options, name=name)
        self._say(f"attnprobe: loaded {model} in {format_seconds(time.perf_counter() - start)}")
        return model

    def _device(self) -> str:
        """The device option; with `auto`, worker n of pytest-xdist gets GPU n if there is one."""
        worker = getattr(self.config, "workerinput", {}).get("workerid", "")
        device = self.settings.load.device
        if device != "auto" or not worker:
            return device
        return f"auto:{worker.removeprefix('gw')}"

    def _say(self, line: str) -> None:
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        capture = self.config.pluginmanager.get_plugin("capturemanager")
        if terminal is None or self.config.get_verbosity() < 0:
            return
        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            terminal.ensure_newline()
            terminal.write_line(harmless(line))


_session_key = pytest.StashKey[Session]()
