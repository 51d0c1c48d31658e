"""Pictures kept from run to run."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attnprobe.core.charts import Picture
from attnprobe.core.sites import Head
from attnprobe.plugin import album as module
from attnprobe.plugin.album import Album

PICTURE = Picture("encoder", (Head(3, 1),), (1,), (2,))
WEIGHTS = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)


class Artist:
    """Draws and counts."""

    def __init__(self) -> None:
        self.drawn = 0

    def __call__(self) -> str:
        self.drawn += 1
        return f"<svg>{self.drawn} ж</svg>"


def test_the_same_facts_are_drawn_once(tmp_path: Path) -> None:
    artist = Artist()
    first = Album(tmp_path).picture(artist, WEIGHTS, PICTURE, ("a", "b"), "title")
    again = Album(tmp_path).picture(artist, WEIGHTS.copy(), replace(PICTURE), ("a", "b"), "title")
    assert (first, again, artist.drawn) == ("<svg>1 ж</svg>", "<svg>1 ж</svg>", 1)


@pytest.mark.parametrize(
    "other",
    [
        (WEIGHTS + np.float32(1e-7), PICTURE, ("a", "b"), "title"),
        (WEIGHTS.reshape(1, 4), PICTURE, ("a", "b"), "title"),
        (WEIGHTS.astype(np.float64), PICTURE, ("a", "b"), "title"),
        (WEIGHTS, replace(PICTURE, contrast=(0,)), ("a", "b"), "title"),
        (WEIGHTS, replace(PICTURE, expected=(), contrast=(2,)), ("a", "b"), "title"),
        (WEIGHTS, PICTURE, ("ab", ""), "title"),
        (WEIGHTS, PICTURE, ("a", "b"), "title "),
    ],
)
def test_any_other_fact_is_drawn_anew(tmp_path: Path, other: tuple[object, ...]) -> None:
    artist = Artist()
    Album(tmp_path).picture(artist, WEIGHTS, PICTURE, ("a", "b"), "title")
    assert Album(tmp_path).picture(artist, *other) == "<svg>2 ж</svg>"


def test_another_way_of_drawing_draws_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artist = Artist()
    Album(tmp_path).picture(artist, "title")
    monkeypatch.setattr(module, "drawing_code", lambda: b"other")
    assert Album(tmp_path).picture(artist, "title") == "<svg>2 ж</svg>"


def test_without_a_folder_or_a_writable_one_pictures_are_drawn(tmp_path: Path) -> None:
    artist = Artist()
    for folder in (None, None, tmp_path / "missing", tmp_path / "missing"):
        Album(folder).picture(artist, "title")
    assert artist.drawn == 4


def test_the_oldest_pictures_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    for age in range(4):
        Album(tmp_path).picture(Artist(), age)
        newest = max(tmp_path.iterdir(), key=lambda path: path.stat().st_ctime_ns)
        os.utime(newest, (age, age))
    Album(tmp_path).trim()
    assert sorted(path.stat().st_mtime for path in tmp_path.iterdir()) == [2, 3]
