"""The kinds of mutants: changes of a model that a suite should, or should not, notice.

`attnprobe.mutants.damage` makes them. It imports torch, and the command line lists the kinds
without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from attnprobe.core.errors import ModelError
from attnprobe.core.registry import did_you_mean
from attnprobe.core.sites import Head

Kind = Literal[
    "shuffle-queries",
    "shuffle-output",
    "reinit-layer",
    "reinit-all",
    "permute-embeddings",
    "shift-positions",
    "halve-positions",
    "swap-heads",
    "resave",
    "bfloat16",
]
Expected = Literal["damaging", "harmless", "moved"]

KINDS: Mapping[Kind, str] = {
    "shuffle-queries": "the rows of a head's query projection in another order",
    "shuffle-output": "a head's output in another order before it is mixed with the others",
    "reinit-layer": "all weights of a layer drawn anew, as before training",
    "reinit-all": "all weights of the model drawn anew",
    "permute-embeddings": "each token gets the embedding of another",
    "shift-positions": "each position gets the embedding of the next (tables of positions)",
    "halve-positions": "every distance counts half (rotary positions)",
    "swap-heads": "two heads of a layer swapped; the model computes what it did",
    "resave": "loaded and saved again",
    "bfloat16": "all weights rounded to bfloat16",
}
EXPECTED: Mapping[Kind, Expected] = {
    **dict.fromkeys(get_args(Kind), "damaging"),
    "swap-heads": "moved",
    "resave": "harmless",
    "bfloat16": "harmless",
}
_OF_HEAD = ("shuffle-queries", "shuffle-output", "swap-heads")


@dataclass(frozen=True)
class Mutation:
    """One change of a model.

    Attributes:
        head: the head to change, for shuffle-queries, shuffle-output and swap-heads.
        other: the second head of swap-heads; None for the next one that can be swapped.
        layer: the layer to change, for reinit-layer.
        seed: seed of random numbers.
    """

    kind: Kind
    head: Head | None = None
    other: Head | None = None
    layer: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.head is not None) != (self.kind in _OF_HEAD):
            verb = "needs a head, such as" if self.head is None else "is not of one head; leave out"
            raise ModelError(f"{self.kind} {verb} --head {self.head or 'L3H1'}")
        if (self.layer is not None) != (self.kind == "reinit-layer"):
            verb = "needs" if self.layer is None else "is not of one layer; leave out"
            number = 2 if self.layer is None else self.layer
            raise ModelError(f"{self.kind} {verb} --layer {number}")
        if self.other is not None and self.kind != "swap-heads":
            raise ModelError(f"{self.kind} swaps nothing; leave out --with {self.other}")
        if self.seed < 0:
            raise ModelError("--seed is a whole number from 0")

    def __str__(self) -> str:
        place = self.head if self.layer is None else f"L{self.layer}"
        return self.kind if place is None else f"{self.kind} {place}"

    def the_head(self) -> Head:
        """The head of a kind that has one.

        Raises:
            ModelError: the kind has none.
        """
        if self.head is None:
            raise ModelError(f"{self.kind} needs a head")
        return self.head

    def the_layer(self) -> int:
        """The layer of a kind that has one.

        Raises:
            ModelError: the kind has none.
        """
        if self.layer is None:
            raise ModelError(f"{self.kind} needs a layer")
        return self.layer


def parse_kind(text: str) -> Kind:
    """A kind by its name.

    Raises:
        ModelError: there is no such kind.
    """
    for kind in get_args(Kind):
        if kind == text:
            known: Kind = kind
            return known
    raise ModelError(f"unknown kind of mutant {text!r}; {did_you_mean(text, get_args(Kind))}")


def parse_head(text: str) -> Head:
    """The head of an option's value such as `L3H1`.

    Raises:
        ModelError: the value has another form.
    """
    try:
        return Head.parse(text)
    except ValueError as error:
        raise ModelError(str(error)) from None
