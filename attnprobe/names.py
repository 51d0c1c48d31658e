"""Names of files that the plugin and the command line agree on; imports nothing."""

from __future__ import annotations

__all__ = ["LOCK", "SUFFIX"]

# The suffix of case files; other YAML plugins leave it alone.
SUFFIX = ".attn.yaml"
# The file of named head sets, in the root of the project.
LOCK = "attnprobe.lock.json"
