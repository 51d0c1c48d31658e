"""The SVG that matplotlib writes, made a fraction of its size: the same shapes in fewer characters.

A picture is mostly short texts, and matplotlib gives each its font, a rotation by nothing and
six decimals. Here what texts in a row have in common stands once, on a group around them. Styles
become attributes, which a page around the picture cannot be changed by.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

__all__ = ["compact"]

_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
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
    ElementTree.register_namespace("", _SVG[1:-1])
    ElementTree.register_namespace("xlink", _HREF[1:].partition("}")[0])
    root = ElementTree.fromstring(svg)
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg))
    _clean(root, used)
    root[:] = _grouped(_flat(root))
    root.attrib = {"version": "1.1", **_COMMON, **_rounded(root.attrib, 2)}
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _clean(element: Element, used: set[str]) -> None:
    """Takes out what nobody sees, and writes the rest shorter."""
    for child in list(element):
        if child.tag in (f"{_SVG}metadata", f"{_SVG}style"):
            element.remove(child)
        else:
            _clean(child, used)
    element.tail = None
    if element.tag != f"{_SVG}text":
        element.text = None
    attributes = element.attrib
    name = attributes.get("id", "")
    if _MADE_UP.fullmatch(name) and name not in used:
        del attributes["id"]
    for entry in filter(None, attributes.pop("style", "").split(";")):
        what, _, value = entry.partition(":")
        if what.strip() not in ("image-rendering", "stroke-dashoffset"):
            attributes[what.strip()] = value.strip()
    if element.tag == f"{_SVG}text":
        _place(attributes)
    elif element.tag == f"{_SVG}image":
        attributes[_HREF] = re.sub(r"\s", "", attributes[_HREF])
        # A scale is multiplied by as many cells as there are.
        element.attrib = _rounded(attributes, 4)
    else:
        element.attrib = _rounded(attributes, 2)


def _place(attributes: dict[str, str]) -> None:
    """A text's place as x and y; a transform only where it is turned."""
    transform = attributes.pop("transform", "")
    moved = _TRANSLATED.match(transform)
    if moved:
        attributes["x"], attributes["y"] = moved[1], moved[2]
    attributes.update(_rounded(attributes, 1))
    turned = _TURNED.match(transform)
    if turned and float(turned[1]):
        place = attributes.pop("x"), attributes.pop("y")
        attributes["transform"] = f"translate({' '.join(place)})rotate({turned[1]})"


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
        if child.tag in (f"{_SVG}g", f"{_SVG}defs") and not child.attrib and not len(child):
            continue
        if child.tag == f"{_SVG}g":
            child[:] = list(_flat(child))
            if not child.attrib:
                yield from child
                continue
        yield child


def _grouped(parts: Iterator[Element]) -> list[Element]:
    found: list[Element] = []
    for is_text, run in groupby(parts, key=lambda part: part.tag == f"{_SVG}text"):
        if is_text:
            found.append(_with_common([*run]))
        else:
            found.extend(run)
    return found


def _with_common(texts: Sequence[Element]) -> Element:
    """A group around texts that says what most of them have in common."""
    group = Element(f"{_SVG}g")
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
        whole = Element(f"{_SVG}text", y=height)
        for text in line:
            del text.attrib["y"]
            text.tag = f"{_SVG}tspan"
            whole.append(text)
        yield whole


def _height(text: Element) -> str | None:
    """Where a text stands; None for one that must be an element of its own."""
    return text.attrib.get("y") if (text.text or "").isascii() else None
