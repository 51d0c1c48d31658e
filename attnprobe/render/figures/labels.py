"""Places names beside points so that they do not cover one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from attnprobe.render.figures.fonts import width_of

_HIGH = 0.8  # a line of capitals and digits, in em
_GAP = 1.5  # between a point and its name
_STEP = 4.0
_AROUND = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))


class Spot(NamedTuple):
    """The lower left corner of a name, in points.

    Attributes:
        far: whether the name is away from its point.
    """

    x: float
    y: float
    far: bool


class _Box(NamedTuple):
    left: float
    foot: float
    right: float
    top: float

    def meets(self, other: _Box) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.foot < other.top
            and other.foot < self.top
        )


def spots(
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    *,
    size: float,
    dot: float,
    room: tuple[float, float, float, float],
    far: Sequence[float],
) -> list[Spot | None]:
    """A spot for the name of each point, None if no spot is free; earlier points choose first.

    Args:
        points: coordinates, in points.
        size: type size.
        dot: radius of a point, which no name may cover.
        room: left, lower, right and upper edge of the area for names.
        far: the largest distance of each name from its point if there is no room beside it.
    """
    limits = _Box(*room)
    taken = [_Box(x - dot, y - dot, x + dot, y + dot) for x, y in points]
    found: list[Spot | None] = []
    for (x, y), name, most in zip(points, names, far, strict=True):
        for gap, box in _around(x, y, width_of(name, size), _HIGH * size, dot + _GAP, most):
            inside = (
                limits.left <= box.left
                and limits.foot <= box.foot
                and box.right <= limits.right
                and box.top <= limits.top
            )
            if inside and not any(box.meets(other) for other in taken):
                taken.append(box)
                found.append(Spot(box.left, box.foot, gap > dot + _GAP))
                break
        else:
            found.append(None)
    return found


def _around(
    x: float, y: float, width: float, height: float, gap: float, most: float
) -> Iterator[tuple[float, _Box]]:
    """Boxes around a point, the nearest first, each after its distance from the point."""
    while True:
        for right, up in _AROUND:
            left = x + right * (gap + width / 2) - width / 2
            foot = y + up * (gap + height / 2) - height / 2
            yield gap, _Box(left, foot, left + width, foot + height)
        gap += _STEP
        if gap > most:
            return
