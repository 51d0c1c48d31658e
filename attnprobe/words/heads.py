"""Head selectors: which heads a rule looks at, and how many of them must agree."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, get_args

from attnprobe.core.errors import SelectorError
from attnprobe.core.registry import did_you_mean
from attnprobe.core.sites import Head, Site

How = Literal["any", "all", "mean", "best", "at_least"]

ADVICE = (
    "write a head as L3H1, a layer as L3, layers as L2-L4, a list of these, any, all or mean, "
    'or {in: [L2, L3H1], how: any}, or "@name" from a lock file'
)
# A head written otherwise: L3.H1, l3h1, 3-1.
_NEARLY = re.compile(r"(?:[Ll]([0-9]{1,6})[-._ ]?[Hh]|([0-9]{1,6})[-._])([0-9]{1,6})")
# Of a hash that a reader is shown.
_DIGITS = 12
_LAYERS = re.compile(r"L([0-9]{1,6})(?:-L([0-9]{1,6}))?")

# Beside the forms of a head set, text with a column of a template in it.
HEAD_SET_SCHEMA = {
    "anyOf": [
        {"const": "all"},
        {"type": "string", "pattern": r"^(L[0-9]{1,6}(H[0-9]{1,6}|-L[0-9]{1,6})?|@.+|.*\{.+\}.*)$"},
        {"type": "array", "minItems": 1, "items": {"$ref": "#/definitions/headSet"}},
    ]
}
HEADS_SCHEMA = {
    "description": f"Which heads: {ADVICE}. Layers and heads count from 0.",
    "anyOf": [
        {"enum": ["any", "mean"]},
        {"$ref": "#/definitions/headSet"},
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["in"],
            "properties": {
                "in": {"$ref": "#/definitions/headSet"},
                "how": {
                    "anyOf": [
                        {"enum": ["any", "all", "mean", "best"]},
                        {
                            "type": "object",
                            "additionalProperties": False,
                            "required": ["at_least"],
                            "properties": {"at_least": {"type": "integer", "minimum": 1}},
                        },
                    ]
                },
            },
        },
    ],
}


RELATION_HEADS_SCHEMA = {
    "description": "Which head: L3H1, mean, the mean of several {in: [L3H1, L5H2], how: mean}, the "
    'best of several {in: all, how: best, chosen_on: half}, or "@name" from a lock file.',
    "anyOf": [
        {"const": "mean"},
        {"type": "string", "pattern": r"^(L[0-9]{1,6}H[0-9]{1,6}|@.+)$"},
        {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": {"$ref": "#/definitions/relationHeads"},
        },
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["in", "how"],
            "properties": {
                "in": {"$ref": "#/definitions/headSet"},
                "how": {"enum": ["mean", "best"]},
                "chosen_on": {
                    "const": "half",
                    "description": "The head is chosen on one half of the sentences and judged "
                    "on the other.",
                },
            },
        },
    ],
}


@dataclass(frozen=True)
class Layers:
    """All heads of the layers `first` to `last`, both included; the whole model if unbounded."""

    first: int = 0
    last: int | None = None


@dataclass(frozen=True)
class HeadSet:
    """Heads that the lock file has under a name, as a scan chose them on some model.

    Attributes:
        model, revision, weights_sha256: of that model; None where the lock file does not say.
    """

    name: str
    heads: tuple[Head, ...]
    model: str | None = None
    revision: str | None = None
    weights_sha256: str | None = None

    def __str__(self) -> str:
        return f"@{self.name}"

    @property
    def origin(self) -> str:
        """What the heads were chosen on: `minilm, weights 53aa51172d14`."""
        return origin_of(self.model, self.weights_sha256)


def origin_of(model: str | None, weights_sha256: str | None) -> str:
    """A model and its weights in words; the lock file may not tell them."""
    if weights_sha256 is None:
        return model or "a model that the lock file does not name"
    return f"{model or 'a model'}, weights {weights_sha256[:_DIGITS]}"


@dataclass(frozen=True)
class Heads:
    """A set of heads and how it is judged.

    Attributes:
        how: None where the case does not say; the rule then chooses.
        count: how many heads must pass, for `at_least`.
        text: as a reader writes it, for messages.
        sets: those of the lock file that it names.
    """

    members: tuple[Head | Layers, ...]
    how: How | None
    count: int
    text: str
    sets: tuple[HeadSet, ...] = ()

    def __str__(self) -> str:
        return self.text

    def resolve(self, site: Site) -> tuple[Head, ...]:
        """The heads meant at this site, in order, each once.

        Raises:
            SelectorError: a head or layer that the site does not have.
        """
        for own in self.sets:
            try:
                Heads(own.heads, None, 0, str(own)).resolve(site)
            except SelectorError as error:
                raise SelectorError(
                    f"{error}; the head is of {own} in the lock file, chosen on {own.origin}: "
                    "scan this model, or name its heads"
                ) from None
        found: dict[Head, None] = {}
        for member in self.members:
            if isinstance(member, Head):
                self._check_layer(member.layer, site)
                if member.head >= site.heads[member.layer]:
                    raise SelectorError(
                        f"no head {member} at the {site.name} site: layer {member.layer} has query "
                        f"heads 0 to {site.heads[member.layer] - 1}"
                    )
                found[member] = None
                continue
            last = site.layers[-1] if member.last is None else member.last
            if member.last is not None:
                self._check_layer(member.first, site)
                self._check_layer(last, site)
            found |= dict.fromkeys(
                head for head in site.all_heads() if member.first <= head.layer <= last
            )
        if self.how == "at_least" and self.count > len(found):
            raise SelectorError(f"at_least: {self.count} of {len(found)} heads can never hold")
        return tuple(found)

    def chosen_elsewhere(self, weights_sha256: str) -> tuple[HeadSet, ...]:
        """The named sets that were chosen on other weights than these."""
        return tuple(own for own in self.sets if own.weights_sha256 not in (None, weights_sha256))

    @staticmethod
    def _check_layer(layer: int, site: Site) -> None:
        if layer in site.heads:
            return
        first, last = site.layers[0], site.layers[-1]
        listed = ", ".join(map(str, site.layers))
        if len(site.layers) == last - first + 1:
            listed = f"{first} to {last}"
        raise SelectorError(
            f"layer {layer} has no attention at the {site.name} site; layers with attention: "
            f"{listed}"
        )


def parse_heads(value: object, head_sets: Mapping[str, HeadSet] | None = None) -> Heads:
    """Reads a head selector as a case file writes it.

    Args:
        head_sets: the named sets of the lock file, for `"@name"`.

    Raises:
        ValueError: not a head selector; the message says what to write.
    """
    sets = head_sets or {}
    if isinstance(value, dict):
        return _parse_long(value, sets)
    if value in ("any", "all", "mean"):
        how: How = value
        return Heads((Layers(),), how, 0, str(value))
    return Heads(_parse_members(value, sets), None, 0, _text(value), _named_sets(value, sets))


def _parse_long(value: dict[object, object], sets: Mapping[str, HeadSet]) -> Heads:
    unknown = [str(key) for key in value if key not in ("in", "how")]
    if "chosen_on" in unknown:
        raise ValueError("chosen_on: goes with the heads of a relation; leave it out here")
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}; {did_you_mean(unknown[0], ('in', 'how'))}")
    if "in" not in value:
        raise ValueError("the long form needs in: with the heads")
    if value["in"] in ("any", "mean"):
        raise ValueError(f"in: takes heads, not {value['in']}; write in: all, how: {value['in']}")
    members = _parse_members(value["in"], sets)
    how = value.get("how")
    text, named = _text(value["in"]), _named_sets(value["in"], sets)
    if how is None:
        return Heads(members, None, 0, text, named)
    if isinstance(how, dict) and set(how) == {"at_least"}:
        count = how["at_least"]
        if type(count) is not int or count < 1:
            raise ValueError("at_least takes a whole number from 1")
        return Heads(members, "at_least", count, f"at least {count} of {text}", named)
    for known in get_args(How):
        if how == known and known != "at_least":
            return Heads(members, known, 0, f"{known} of {text}", named)
    raise ValueError("how takes any, all, mean, best or {at_least: 3}")


def _parse_members(value: object, sets: Mapping[str, HeadSet]) -> tuple[Head | Layers, ...]:
    if isinstance(value, list):
        if not value:
            raise ValueError("an empty list names no head")
        return tuple(member for item in value for member in _parse_members(item, sets))
    if value == "all":
        return (Layers(),)
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no head; {ADVICE}")
    if value.startswith("@"):
        if value[1:] not in sets:
            raise ValueError(
                f"no head set {value!r} in the lock file; {did_you_mean(value[1:], sets)}"
            )
        return sets[value[1:]].heads
    with suppress(ValueError):
        return (Head.parse(value),)
    if match := _LAYERS.fullmatch(value):
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"{value} runs backwards; write L{last}-L{first}")
        return (Layers(first, last),)
    if match := _NEARLY.fullmatch(value):
        raise ValueError(f"{value!r} is no head; did you mean L{match[1] or match[2]}H{match[3]}?")
    raise ValueError(f"{value!r} is no head; {ADVICE}")


def _named_sets(value: object, sets: Mapping[str, HeadSet]) -> tuple[HeadSet, ...]:
    """The head sets that a selector names, each once; all of them are there."""
    if isinstance(value, list):
        return tuple(dict.fromkeys(own for item in value for own in _named_sets(item, sets)))
    return (sets[value[1:]],) if isinstance(value, str) and value.startswith("@") else ()


def _text(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(str, value)) + "]"
    return "all heads" if value == "all" else str(value)
