"""`make breadth`: the sweep over all architectures on the terminal, as a page and as JSON."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from attnprobe.cli.base import out, print_table
from attnprobe.results.files import write_bytes
from tests.architectures import page, sweep


def main(arguments: Sequence[str] | None = None) -> None:
    """Sweeps over all architectures and writes what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m tests.architectures", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the table to this file as JSON")
    parser.add_argument("--page", type=Path, help="write the table to this file as Markdown")
    files = parser.parse_args(arguments)
    families = []
    with Console(stderr=True).status("building") as status:
        for family in sweep.sweep():
            families.append(family)
            status.update(f"{len(families)} families, last {family.architecture}")
    table = Table("architecture", "network", "outcome", "difference", "batch", "layers", "reason")
    for family in families:
        table.add_row(*page.cells(family))
    print_table(table)
    out.print(page.summary_line(families), soft_wrap=True)
    if files.json is not None:
        write_bytes(files.json, page.as_json(families).encode())
    if files.page is not None:
        write_bytes(files.page, page.as_page(families).encode())


if __name__ == "__main__":
    main()
