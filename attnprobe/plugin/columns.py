"""A column with the model in pytest-html's table, for runs on several models."""

from __future__ import annotations

import pytest

from attnprobe.plugin.keys import REPORT
from attnprobe.render.web.html import piece

_AFTER_TEST = 2


class ModelColumn:
    """Adds the column; the cell of a test that probes no model is empty."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_header(self, cells: list[str]) -> None:
        cells.insert(_AFTER_TEST, str(piece("model_heading")))

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_row(self, report: pytest.TestReport, cells: list[str]) -> None:
        facts = getattr(report, REPORT, None)
        name = facts["case"]["model"] if facts else ""
        cells.insert(_AFTER_TEST, str(piece("model_cell", name)))
