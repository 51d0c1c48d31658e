"""Reading an SVG back, and text that nobody wants in one."""

from __future__ import annotations

import re
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


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


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
    found = []
    for element in ElementTree.fromstring(svg).iter(f"{SVG}text"):
        turn, text = element.attrib["transform"], element.text or ""
        if turn.startswith("rotate(-0 "):
            found.append((text, float(element.attrib["x"]), float(element.attrib["y"])))
        elif turn.startswith("translate("):
            x, y = re.findall(r"-?[\d.]+", turn)
            found.append((text, float(x), float(y)))
    return found
