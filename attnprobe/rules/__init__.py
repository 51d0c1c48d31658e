"""The rules that a case file can state, by name.

One file a family: a module in this folder that registers its rules is all that a new rule takes.
Other packages add theirs by the entry point group `attnprobe.rules`; each names a module or a
class whose import registers them.
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
