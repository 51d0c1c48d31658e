"""Head selectors: which heads a rule judges, and how many of them must pass."""

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
# Other spellings of a head, for advice: L3.H1, l3h1, 3-1.
_NEARLY = re.compile(r"(?:[Ll]([0-9]{1,6})[-._ ]?[Hh]|([0-9]{1,6})[-._])([0-9]{1,6})")
_DIGITS = 12  # messages show so many digits of a hash
_LAYERS = re.compile(r"L([0-9]{1,6})(?:-L([0-9]{1,6}))?")

# The last pattern is text that contains a column of a template.
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
    """All heads of the layers `first` to `last`, both included; `last` None is the last layer."""

    first: int = 0
    last: int | None = None


@dataclass(frozen=True)
class HeadSet:
    """Heads with a name in the lock file: `@pronouns` for L3H1 and L5H2.

    Attributes:
        model, revision, weights_sha256: the model on which a scan chose the heads; None if the lock
            file does not say.
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
        """The model that the heads were chosen on: `minilm, weights 53aa51172d14`."""
        return origin_of(self.model, self.weights_sha256)


def origin_of(model: str | None, weights_sha256: str | None) -> str:
    """A model and its weights in words; None for what the lock file does not say."""
    if weights_sha256 is None:
        return model or "a model that the lock file does not name"
    return f"{model or 'a model'}, weights {weights_sha256[:_DIGITS]}"


@dataclass(frozen=True)
class Heads:
    """A set of heads and how a rule judges it.

    Attributes:
        how: None if the case does not say; then the rule chooses.
        count: for `at_least`, how many heads must pass.
        text: the selector in messages: `at least 2 of [L3, L5H2]`.
        sets: the head sets of the lock file that the selector names.
    """

    members: tuple[Head | Layers, ...]
    how: How | None
    count: int
    text: str
    sets: tuple[HeadSet, ...] = ()

    def __str__(self) -> str:
        return self.text

    def resolve(self, site: Site) -> tuple[Head, ...]:
        """The selected heads of a site, in order, each once.

        Raises:
            SelectorError: the site does not have a head or layer, or has too few heads for
                `at_least`.
        """
        for head_set in self.sets:
            try:
                Heads(head_set.heads, None, 0, str(head_set)).resolve(site)
            except SelectorError as error:
                raise SelectorError(
                    f"{error}; the head is of {head_set} in the lock file, chosen on "
                    f"{head_set.origin}: scan this model, or name its heads"
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
        """The named head sets that were chosen on other weights than these."""
        return tuple(
            head_set
            for head_set in self.sets
            if head_set.weights_sha256 not in (None, weights_sha256)
        )

    @staticmethod
    def _check_layer(layer: int, site: Site) -> None:
        if layer in site.heads:
            return
        first, last = site.layers[0], site.layers[-1]
        layers = ", ".join(map(str, site.layers))
        if len(site.layers) == last - first + 1:
            layers = f"{first} to {last}"
        raise SelectorError(
            f"layer {layer} has no attention at the {site.name} site; layers with attention: "
            f"{layers}"
        )


def parse_heads(value: object, head_sets: Mapping[str, HeadSet] | None = None) -> Heads:
    """Parses a head selector from its YAML value.

    Args:
        head_sets: the head sets of the lock file by name, for `"@name"`.

    Raises:
        ValueError: the value is no head selector. The message says what to write.
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
    """The head sets that a valid selector names, each once."""
    if isinstance(value, list):
        return tuple(dict.fromkeys(named for item in value for named in _named_sets(item, sets)))
    return (sets[value[1:]],) if isinstance(value, str) and value.startswith("@") else ()


def _text(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(str, value)) + "]"
    return "all heads" if value == "all" else str(value)
