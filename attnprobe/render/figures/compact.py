"""Compacts the SVG that matplotlib writes: the same shapes in a fraction of the characters.

A picture mostly consists of short texts, and matplotlib gives each of them a font, a rotation by 0
and six decimals. Here a group around adjacent texts has their common attributes. Styles become
attributes, so that they cannot change the page around the picture.
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
_ROTATED = re.compile(r"rotate\((\S+) \S+ \S+\)$")
# Ids that matplotlib makes up; ids of this package have a hyphen or no number.
_MADE_UP = re.compile(r"\w+_\d+|(?:[pm]|image|C\d+_\w+_)[0-9a-f]{10}")
# Attributes that a text inherits from a group, with their initial values.
_INITIAL = {
    "font-size": "medium",
    "font-family": "serif",
    "font-weight": "400",
    "text-anchor": "start",
    "fill": "#000000",
}
# Properties that can be attributes; the others stay in the style.
_ATTRIBUTES = {
    *_INITIAL,
    *("font-style", "opacity", "fill-opacity", "clip-path"),
    *("stroke", "stroke-width", "stroke-opacity", "stroke-linejoin", "stroke-linecap"),
    *("stroke-dasharray", "stroke-dashoffset", "stroke-miterlimit"),
}
# From matplotlib's style sheet; a browser uses the rendering that it knows.
_COMMON = {
    "stroke-linejoin": "round",
    "style": "image-rendering:crisp-edges;image-rendering:pixelated",
}


def compact(svg: str) -> str:
    """The same picture in fewer characters.

    Texts are placed to a tenth of a point, everything else to a hundredth.

    Args:
        svg: an SVG that matplotlib wrote with `svg.fonttype` none.
    """
    root = ElementTree.fromstring(svg)
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg))
    _clean(root, used)
    root[:] = _group_texts(_flatten(root))
    root.attrib = {**_SPACES, "version": "1.1", **_COMMON, **_rounded(root.attrib, 2)}
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _clean(element: Element, used: set[str]) -> None:
    """Removes invisible parts and namespaces, and shortens the attributes."""
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
    attributes |= _style_attributes(attributes.pop("style", ""))
    if element.tag == "text":
        element.attrib = _text_attributes(attributes)
    elif element.tag == "image":
        attributes[_HREF] = re.sub(r"\s", "", attributes[_HREF])
        # The number of cells multiplies an error in the scale.
        element.attrib = _rounded(attributes, 4)
    else:
        element.attrib = _rounded(attributes, 2)


def _style_attributes(style: str) -> dict[str, str]:
    """A style as attributes; properties without an attribute stay in a style."""
    entries = [entry.partition(":") for entry in style.split(";") if entry.strip()]
    properties = {name.strip(): value.strip() for name, _, value in entries}
    properties.pop("image-rendering", None)  # `_COMMON` has it for the whole picture
    if properties.get("stroke-dashoffset") == "0":
        del properties["stroke-dashoffset"]
    rest = "; ".join(
        f"{name}: {value}" for name, value in properties.items() if name not in _ATTRIBUTES
    )
    found = {name: value for name, value in properties.items() if name in _ATTRIBUTES}
    return found | ({"style": rest} if rest else {})


def _text_attributes(attributes: Mapping[str, str]) -> dict[str, str]:
    """The attributes of a text, its place as x and y; a rotated text keeps a transform."""
    found = dict(attributes)
    transform = found.pop("transform", "")
    translation, rotation = _TRANSLATED.match(transform), _ROTATED.match(transform)
    if translation:
        found["x"], found["y"] = translation[1], translation[2]
    found = _rounded(found, 1)
    if rotation and float(rotation[1]):
        place = found.pop("x"), found.pop("y")
        found["transform"] = f"translate({' '.join(place)})rotate({rotation[1]})"
    elif transform and not translation and not rotation:
        found["transform"] = transform
    return found


def _rounded(attributes: dict[str, str], decimals: int) -> dict[str, str]:
    """Attributes whose numbers have at most so many decimals, with shorter paths."""
    return {name: _shorten_value(name, value, decimals) for name, value in attributes.items()}


def _shorten_value(name: str, value: str, decimals: int) -> str:
    if name in ("id", _HREF):
        return value
    if name == "d":
        # A reader of XML takes the line ends of a path as spaces.
        value = re.sub(r"\s*([A-Za-z])\s*", r"\1", value)
    # Two decimals are too few for thin lines.
    places = 5 if name == "stroke-width" or name.endswith("opacity") else decimals
    return _NUMBER.sub(lambda number: _format_coordinate(float(number[0]), places), value)


def _format_coordinate(number: float, decimals: int) -> str:
    text = f"{number:.{decimals}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _flatten(parent: Element) -> Iterator[Element]:
    """The parts of a picture in their order, without groups that have no attributes."""
    for child in parent:
        if child.tag in ("g", "defs") and not child.attrib and not len(child):
            continue
        if child.tag == "g":
            child[:] = list(_flatten(child))
            if not child.attrib:
                yield from child
                continue
        yield child


def _group_texts(parts: Iterator[Element]) -> list[Element]:
    """The parts with a group around each run of adjacent texts."""
    found: list[Element] = []
    for is_text, run in groupby(parts, key=lambda part: part.tag == "text"):
        if is_text:
            found.append(_text_group([*run]))
        else:
            found.extend(run)
    return found


def _text_group(texts: Sequence[Element]) -> Element:
    """A group around texts; it has the attributes that most of them share."""
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
    """Joins adjacent texts of one height into one text element, each part with its place.

    Only ASCII texts are joined, because a text from right to left would change its place.
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
    """The height of a text; None for a text that must not be joined with others."""
    return text.attrib.get("y") if (text.text or "").isascii() else None
