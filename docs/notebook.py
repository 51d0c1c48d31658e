"""Executes docs/notebook.ipynb and stores what its cells give; needs the extra `docs`.

.venv/bin/python docs/notebook.py
"""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_suffix(".ipynb")


def main() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, record_timing=False, coalesce_streams=True).execute()
    notebook.metadata.pop("language_info")  # the version of Python
    for cell in notebook.cells:
        if cell.cell_type == "code":
            # What libraries say of this machine.
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()
