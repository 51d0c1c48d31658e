"""The column of pytest-html's table that names the model; there where a run has several."""

from __future__ import annotations

import html

import pytest

from attnprobe.core.printing import visible
from attnprobe.plugin.keys import REPORT

_AFTER_TEST = 2


class ModelColumn:
    """Adds the column; tests that probe no model have an empty cell."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_header(self, cells: list[str]) -> None:
        cells.insert(_AFTER_TEST, '<th class="sortable" data-column-type="model">Model</th>')

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_row(self, report: pytest.TestReport, cells: list[str]) -> None:
        facts = getattr(report, REPORT, None)
        name = facts["case"]["model"] if facts else ""
        cells.insert(_AFTER_TEST, f'<td class="col-model">{html.escape(visible(name))}</td>')
