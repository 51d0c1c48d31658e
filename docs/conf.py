"""How Sphinx builds the site: `make docs`. A page of docs/ is a page of the site."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from attnprobe import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# Imported for the reference, it warns of kernels that this machine has no use for.
logging.getLogger("torchao").setLevel(logging.ERROR)

project = "attnprobe"
release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["examples"]
nitpicky = True
# Names of other libraries, whose documents would have to be fetched.
nitpick_ignore_regex = [("py:.*", r"(?!attnprobe).*")]
default_role = "literal"
smartquotes_action = "D"  # dashes alone
suppress_warnings = ["misc.highlighting_failure"]  # jsonl and tsv have no colours

myst_heading_anchors = 4
nb_execution_mode = "off"  # the notebook is stored with its outputs, which a test compares
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "attnprobe"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = html_show_sphinx = False


def add_commands(app: Sphinx, page: str, source: list[str]) -> None:
    """Writes the help of every command onto the page of the command line, as Typer documents it."""
    if page != "commands":
        return
    command = [sys.executable, "-m", "typer", "attnprobe.cli", "utils", "docs"]
    written = subprocess.run(
        [*command, "--name", "attnprobe"], check=True, capture_output=True, text=True
    ).stdout
    commands = re.sub(r"\A# .*?^(?=## )", "", written, flags=re.DOTALL | re.MULTILINE)
    # An option in a sentence is code, or its hyphens would be a dash.
    options = r"(`[^`\n]*`)|((?<![\w-])--[a-z][a-z-]*)"
    source[0] += re.sub(options, lambda match: match[1] or f"`{match[2]}`", commands)


def setup(app: Sphinx) -> None:
    app.connect("source-read", add_commands)
