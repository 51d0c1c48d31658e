from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from attnprobe.relations.sentences import Sentence


class Position(NamedTuple):
    block: int
    sentence: int
    line: int
    offset: int


@dataclass(frozen=True)
class Block:
    position: Position
    sentences: tuple[Sentence, ...]
    counts: Mapping[str, int]
