"""The SVG that matplotlib writes, made a fraction of its size: the same shapes in fewer characters.

A picture is mostly short texts, and matplotlib gives each its font, a rotation by nothing and
six decimals. Here what texts in a row have in common stands once, on a group around them. Styles
become attributes, which a page around the picture cannot be changed by.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

_SPACES = {
    "xmlns": "http://www.w3.org/2000/svg",
    "xmlns:xlink": "http://www.w3.org/1999/xlink",
}
_HREF = "xlink:href"
_NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
_TRANSLATED = re.compile(r"translate\((\S+) (\S+)\)$")
_TURNED = re.compile(r"rotate\((\S+) \S+ \S+\)$")
# Names that matplotlib gives by itself; those that we give have a hyphen or stand alone.
_MADE_UP = re.compile(r"\w+_\d+|(?:[pm]|image|C\d+_\w+_)[0-9a-f]{10}")
# What a text inherits from a group, and what holds where nothing is said.
_INITIAL = {
    "font-size": "medium",
    "font-family": "serif",
    "font-weight": "400",
    "text-anchor": "start",
    "fill": "#000000",
}
# What a style may say as attributes as well; a style keeps the rest.
_ATTRIBUTES = {
    *_INITIAL,
    *("font-style", "opacity", "fill-opacity", "clip-path"),
    *("stroke", "stroke-width", "stroke-opacity", "stroke-linejoin", "stroke-linecap"),
    *("stroke-dasharray", "stroke-dashoffset", "stroke-miterlimit"),
}
# As matplotlib's style sheet has it; of the two the browser takes the one that it knows.
_COMMON = {
    "stroke-linejoin": "round",
    "style": "image-rendering:crisp-edges;image-rendering:pixelated",
}


def compact(svg: str) -> str:
    """The same picture in fewer characters.

    Texts are placed to a tenth of a point, all else to a hundredth.

    Args:
        svg: as matplotlib writes it with `svg.fonttype` none.
    """
    root = ElementTree.fromstring(svg)
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg))
    _clean(root, used)
    root[:] = _grouped(_flat(root))
    root.attrib = {**_SPACES, "version": "1.1", **_COMMON, **_rounded(root.attrib, 2)}
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _clean(element: Element, used: set[str]) -> None:
    """Takes out what nobody sees, and writes the rest shorter, names without their namespace."""
    element.tag = element.tag.rpartition("}")[2]
    for child in list(element):
        _clean(child, used)
        if child.tag in ("metadata", "style"):
            element.remove(child)
    element.tail = None
    if element.tag not in ("text", "tspan"):
        element.text = None
    attributes = {
        _HREF if name.endswith("}href") else name: value for name, value in element.items()
    }
    name = attributes.get("id", "")
    if _MADE_UP.fullmatch(name) and name not in used:
        del attributes["id"]
    attributes |= _styled(attributes.pop("style", ""))
    if element.tag == "text":
        element.attrib = _placed(attributes)
    elif element.tag == "image":
        attributes[_HREF] = re.sub(r"\s", "", attributes[_HREF])
        # A scale is multiplied by as many cells as there are.
        element.attrib = _rounded(attributes, 4)
    else:
        element.attrib = _rounded(attributes, 2)


def _styled(style: str) -> dict[str, str]:
    """A style as attributes, as far as there are such."""
    entries = [entry.partition(":") for entry in style.split(";") if entry.strip()]
    said = {name.strip(): value.strip() for name, _, value in entries}
    said.pop("image-rendering", None)  # stands once, on the whole picture
    if said.get("stroke-dashoffset") == "0":
        del said["stroke-dashoffset"]
    rest = "; ".join(f"{name}: {said[name]}" for name in said if name not in _ATTRIBUTES)
    found = {name: value for name, value in said.items() if name in _ATTRIBUTES}
    return found | ({"style": rest} if rest else {})


def _placed(attributes: Mapping[str, str]) -> dict[str, str]:
    """A text's place as x and y; a transform only where it is turned."""
    found = dict(attributes)
    transform = found.pop("transform", "")
    moved, turned = _TRANSLATED.match(transform), _TURNED.match(transform)
    if moved:
        found["x"], found["y"] = moved[1], moved[2]
    found = _rounded(found, 1)
    if turned and float(turned[1]):
        place = found.pop("x"), found.pop("y")
        found["transform"] = f"translate({' '.join(place)})rotate({turned[1]})"
    elif transform and not moved and not turned:
        found["transform"] = transform
    return found


def _rounded(attributes: dict[str, str], decimals: int) -> dict[str, str]:
    """Numbers with at most so many decimals; paths without spaces that say nothing."""
    return {name: _shorter(name, value, decimals) for name, value in attributes.items()}


def _shorter(name: str, value: str, decimals: int) -> str:
    if name in ("id", _HREF):
        return value
    if name == "d":
        # The line ends of a path are spaces to a reader of XML.
        value = re.sub(r"\s*([A-Za-z])\s*", r"\1", value)
    # A thin line may be a hundredth wide.
    places = 5 if name == "stroke-width" or name.endswith("opacity") else decimals
    return _NUMBER.sub(lambda number: _short(float(number[0]), places), value)


def _short(number: float, decimals: int) -> str:
    written = f"{number:.{decimals}f}".rstrip("0").rstrip(".")
    return "0" if written == "-0" else written


def _flat(parent: Element) -> Iterator[Element]:
    """The parts of a picture in their order, without groups that say nothing."""
    for child in parent:
        if child.tag in ("g", "defs") and not child.attrib and not len(child):
            continue
        if child.tag == "g":
            child[:] = list(_flat(child))
            if not child.attrib:
                yield from child
                continue
        yield child


def _grouped(parts: Iterator[Element]) -> list[Element]:
    found: list[Element] = []
    for is_text, run in groupby(parts, key=lambda part: part.tag == "text"):
        if is_text:
            found.append(_with_common([*run]))
        else:
            found.extend(run)
    return found


def _with_common(texts: Sequence[Element]) -> Element:
    """A group around texts that says what most of them have in common."""
    group = Element("g")
    group.extend(texts)
    for name, initial in _INITIAL.items():
        values = [text.attrib.pop(name, initial) for text in texts]
        ((most, _),) = Counter(values).most_common(1)
        if most != initial:
            group.set(name, most)
        for text, value in zip(texts, values, strict=True):
            if value != most:
                text.set(name, value)
    group[:] = _lines(texts)
    return group


def _lines(texts: Sequence[Element]) -> Iterator[Element]:
    """Texts at one height as one text of several parts, each with its own place.

    Only what reads from left to right: it must stay where it is.
    """
    for height, run in groupby(texts, key=_height):
        line = [*run]
        if height is None or len(line) == 1:
            yield from line
            continue
        whole = Element("text", y=height)
        for text in line:
            del text.attrib["y"]
            text.tag = "tspan"
            whole.append(text)
        yield whole


def _height(text: Element) -> str | None:
    """Where a text stands; None for one that must be an element of its own."""
    return text.attrib.get("y") if (text.text or "").isascii() else None
