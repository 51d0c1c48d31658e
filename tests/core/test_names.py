"""Names of models and checks."""

from __future__ import annotations

import pytest

from attnprobe.core.names import Key, check_name, short_name


@pytest.mark.parametrize(
    ("ref", "name"),
    [
        ("pkg://my_model/model", "my_model"),
        ("pkg://my_model", "my_model"),
        ("pkg://my_model/weights/best", "my_model"),
        ("pkg://", "model"),
        ("runs/best/model", "best"),
        ("runs/best/model/", "best"),
        ("/runs/best/.", "best"),
        ("runs/best/../..", "best"),
        (r"C:\runs\best\model", "best"),
        ("sentence-transformers/all-MiniLM_L6.v2", "all-MiniLM_L6.v2"),
        ("owner/\x1b[31m möd  el", "_31m_m_d_el"),
        ("best", "best"),
        ("model", "model"),
        ("./model", "model"),
        ("", "model"),
        ("/", "model"),
    ],
)
def test_the_short_name_of_a_model(ref: str, name: str) -> None:
    assert short_name(ref) == name


def test_the_identity_of_a_check() -> None:
    record = {"file": "cases/x.attn.yaml", "id": "it", "row": "dog", "model": "minilm", "more": 1}
    key = Key.of(record)
    assert key == Key("cases/x.attn.yaml", "it", "dog", "minilm")
    assert key.name == check_name("it", "dog") == "it[dog]"
    assert key.place == "cases/x.attn.yaml: it[dog] on minilm"
    plain = Key.of(record | {"row": None})
    assert plain.name == check_name("it", None) == "it"
    assert plain.place == "cases/x.attn.yaml: it on minilm"


def test_checks_are_sorted_by_file_id_row_and_model() -> None:
    keys = [
        Key("a", "x", None, "m"),
        Key("a", "x", "r", "m"),
        Key("a", "x", "r", "n"),
        Key("a", "y", None, "a"),
        Key("b", "a", "a", "a"),
    ]
    mixed = [keys[index] for index in (4, 1, 3, 0, 2)]
    assert sorted(mixed, key=lambda key: key.order) == keys
