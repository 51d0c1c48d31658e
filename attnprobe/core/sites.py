"""Sites of attention and their heads.

Layers and heads are 0-based; a head is always a query head and is written `L3H1`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

_HEAD = re.compile(r"L([0-9]{1,6})H([0-9]{1,6})")
SiteName = Literal["encoder", "decoder", "cross"]
SITES: tuple[SiteName, ...] = ("encoder", "decoder", "cross")


class Head(NamedTuple):
    """One query head of one layer."""

    layer: int
    head: int

    @classmethod
    def parse(cls, text: str) -> Head:
        """The head of a text such as `L3H1`.

        Raises:
            ValueError: the text has another form.
        """
        match = _HEAD.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no head; write L3H1")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"L{self.layer}H{self.head}"


@dataclass(frozen=True)
class Site:
    """One place of attention in a model: the encoder's, the decoder's, or cross attention.

    Attributes:
        heads: number of query heads, by layer. Layers without attention are missing, so the numbers
            of a hybrid stack have gaps.
        causal: whether a row sees no later position.
        windows: for each layer with a sliding window, how many positions a row sees on one side,
            itself included.
        learned_sinks: the layers where a learned sink takes a share of each row.
    """

    name: SiteName
    heads: Mapping[int, int]
    causal: bool
    windows: Mapping[int, int] = field(default_factory=dict)
    learned_sinks: frozenset[int] = frozenset()

    @property
    def layers(self) -> tuple[int, ...]:
        return tuple(sorted(self.heads))

    def sees(self, layer: int | None, query: int, key: int) -> bool:
        """Whether the mask of a layer lets the row `query` see the column `key`.

        Args:
            layer: None ignores sliding windows.
        """
        if self.causal and key > query:
            return False
        window = None if layer is None else self.windows.get(layer)
        return window is None or abs(query - key) < window

    def connects(self, layer: int | None, queries: Collection[int], keys: Collection[int]) -> bool:
        """Whether the mask of a layer lets any of these rows see any of these columns."""
        if not self.causal and not self.windows:
            return True
        return any(self.sees(layer, query, key) for query in queries for key in keys)

    def all_heads(self) -> tuple[Head, ...]:
        return tuple(
            Head(layer, head) for layer in self.layers for head in range(self.heads[layer])
        )
