"""The scripts of pages: small files in `assets/`, inlined into a page once, named by a hash.

A page's policy allows its own script by the SHA-256 of the script's text and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib import resources
from typing import NamedTuple

import regex
from markupsafe import Markup

# Control, invisible and unpaired characters: unseen in the source of a page, or no UTF-8.
_UNSAFE = regex.compile(r"[\p{Cc}\p{Cf}\p{Cs}\p{Cn}\p{Zl}\p{Zp}]")


class Script(NamedTuple):
    """The text of a script element, and its source for a content-security policy."""

    element: Markup
    policy: str


@cache
def script(*names: str) -> Script:
    """The files `assets/NAME.js` in one script element."""
    folder = resources.files("attnprobe.render.web") / "assets"
    text = "\n".join((folder / f"{name}.js").read_text(encoding="utf-8") for name in names)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Script(Markup(f"<script>{text}</script>"), f"'sha256-{digest}'")


def data_element(name: str, data: object) -> Markup:
    """Plain data as JSON in a script element with this id, which no text in it can end."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    text = _UNSAFE.sub(lambda found: json.dumps(found[0]).strip('"'), text)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(f'<script type="application/json" id="{name}">{text}</script>')
