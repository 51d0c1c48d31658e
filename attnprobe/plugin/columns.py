"""The column of pytest-html's table that names the model; there where a run has several."""

from __future__ import annotations

import pytest

from attnprobe.plugin.keys import REPORT
from attnprobe.render.html import piece

_AFTER_TEST = 2


class ModelColumn:
    """Adds the column; tests that probe no model have an empty cell."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_header(self, cells: list[str]) -> None:
        cells.insert(_AFTER_TEST, str(piece("model_heading")))

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_row(self, report: pytest.TestReport, cells: list[str]) -> None:
        facts = getattr(report, REPORT, None)
        name = facts["case"]["model"] if facts else ""
        cells.insert(_AFTER_TEST, str(piece("model_cell", name)))
