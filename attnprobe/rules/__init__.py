"""The rules that a case file can state, by name.

Each family has a file: a new rule takes no more than a module in this folder that registers it.
Other packages add rules by the entry point group `attnprobe.rules`; an entry point names a module
or a class whose import registers them.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil

from attnprobe.rules.base import BAND, RULES, Rule, parse_rule

__all__ = ["BAND", "RULES", "Rule", "parse_rule"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
for _entry_point in importlib.metadata.entry_points(group="attnprobe.rules"):
    _entry_point.load()
