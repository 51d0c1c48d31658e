"""Reading an SVG back, and text that nobody wants in one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from xml.etree import ElementTree

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "]]>",
    "&amp;<!--",
    r"$\frac{1}{2}$",
    "\x1b[31mred\x1b[0m",
    "::error file=a::b",
    "\ud800",
    "\u202eabc",
    "\ufffe",
    "\x00\n",
    "x" * 500,
)


# What a text inherits, and what holds where nothing is said.
INITIAL = {"font-size": "", "font-weight": "400", "text-anchor": "start", "fill": "#000000"}


class Text(NamedTuple):
    """A text as a browser places and draws it; x and y in pixels of the SVG, angle in degrees."""

    text: str
    x: float
    y: float
    angle: float
    size: str
    weight: str
    anchor: str
    fill: str


def said(element: ElementTree.Element) -> dict[str, str]:
    """The attributes of an element, with what its style says."""
    entries = [entry.split(":", 1) for entry in element.get("style", "").split(";") if entry]
    return {**element.attrib, **{name.strip(): value.strip() for name, value in entries}}


def written(svg: str) -> list[Text]:
    """All texts of a picture, in their order, whether or not each is an element of its own."""
    return list(_written(ElementTree.fromstring(svg), INITIAL, ""))


def _written(element: ElementTree.Element, told: dict[str, str], y: str) -> Iterator[Text]:
    own = said(element)
    told = {name: own.get(name, value) for name, value in told.items()}
    parts = list(element)
    if element.tag in (f"{SVG}text", f"{SVG}tspan") and not parts:
        found = {"x": own.get("x", "0"), "y": own.get("y", y or "0"), "angle": "0"}
        turn = own.get("transform", "")
        moved = re.search(r"translate\(([^ ]+) ([^)]+)\)", turn)
        if moved:
            found |= {"x": moved[1], "y": moved[2]}
        angle = re.search(r"rotate\(([^ )]+)", turn)
        found |= {"angle": angle[1]} if angle else {}
        x, y, turned = (float(found[name]) for name in ("x", "y", "angle"))
        yield Text(element.text or "", x, y, turned, *told.values())
    for part in parts:
        yield from _written(part, told, own.get("y", y))


def texts(svg: str) -> list[str]:
    return [found.text for found in written(svg)]


def outline_box(svg: str, name: str) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of an outline, in pixels of the SVG."""
    group = next(g for g in ElementTree.fromstring(svg).iter(f"{SVG}g") if g.get("id") == name)
    path = next(group.iter(f"{SVG}path"))
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", path.attrib["d"])]
    return min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])


def named(svg: str, name: str) -> ElementTree.Element:
    """The group with this id."""
    return next(g for g in ElementTree.fromstring(svg).iter(f"{SVG}g") if g.get("id") == name)


def places(svg: str) -> list[tuple[str, float, float]]:
    """Each text that is not turned, with the point it is anchored to, in pixels of the SVG."""
    return [(found.text, found.x, found.y) for found in written(svg) if not found.angle]
