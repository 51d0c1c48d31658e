"""Script elements: what a page may run, and data that no text in it can end."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from attnprobe.render import web
from attnprobe.render.web.scripts import data_element, script

ASSETS = Path(web.__file__ or "").parent / "assets"
ELEMENT = re.compile(r'<script type="application/json" id="data">(.*)</script>', re.DOTALL)
CHARACTERS = st.characters() | st.sampled_from("<>&\"'\\/\u2028\u200b\x00\ufffe")
DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(CHARACTERS),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(CHARACTERS), inner),
    max_leaves=8,
)


@given(DATA)
def test_data_comes_back_from_a_script_element_p31(data: object) -> None:
    found = ELEMENT.fullmatch(data_element("data", data))
    assert found is not None
    assert json.loads(found[1]) == data
    assert not set("<>&") & set(found[1])
    hidden = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert not hidden & {unicodedata.category(char) for char in found[1]}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("</script><script>attack(1)</script>", None),
        ("<!--<script>", None),
        ("]]>&lt;", r'"]]\u003e\u0026lt;"'),
        ("a\u2028b\u200bc\x7f\ud800\ufffe", r'"a\u2028b\u200bc\u007f\ud800\ufffe"'),
        ("\U000e0041", r'"\udb40\udc41"'),
        ("é日", '"é日"'),
        ({"a": [1, 2.5, None, True]}, '{"a":[1,2.5,null,true]}'),
    ],
)
def test_hostile_data_p31(data: object, text: str | None) -> None:
    if text is None:
        assert isinstance(data, str)
        text = json.dumps(data.replace("<", "{").replace(">", "}"))
        text = text.replace("{", r"\u003c").replace("}", r"\u003e")
    element = data_element("it", data)
    assert element == f'<script type="application/json" id="it">{text}</script>'
    assert isinstance(element, Markup)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_has_no_number_for_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        data_element("it", [value])


def test_a_page_may_run_the_text_of_its_own_script_alone() -> None:
    names = sorted(path.stem for path in ASSETS.glob("*.js"))[:2]
    found = script(*names)
    text = "\n".join((ASSETS / f"{name}.js").read_text("utf-8") for name in names)
    assert found.element == f"<script>{text}</script>"
    assert isinstance(found.element, Markup)
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
    assert found.policy == f"'sha256-{digest}'"
