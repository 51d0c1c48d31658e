"""Checks that state what others state on the same model: together they count once.

Otherwise a copied file, or one under a second name, would fill the number that a policy demands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from attnprobe.gate.check import Check

# Of equal checks the worst one counts, so that no copy hides a failure.
_WORST_FIRST = ("failed", "vacuous", "borderline", "moved", "holds")
_NOTED = 10


class Counted(NamedTuple):
    """Checks without repeats.

    Attributes:
        blocking, waived: the two parts of the checks that count, in their order.
        repeats: checks that do not count, each with those that state the same.
    """

    blocking: list[Check]
    waived: list[Check]
    repeats: list[tuple[Check, list[Check]]]


def counted_once(blocking: Sequence[Check], waived: Sequence[Check]) -> Counted:
    """Takes out each judged check whose every expectation stands in another one as well.

    Checks that were not judged stay, and so do those of results that do not tell what they state.

    Args:
        waived: checks that may fail for now; of two equal checks the other one counts.
    """
    excused = set(map(id, waived))
    ordered = sorted(
        (check for check in (*blocking, *waived) if check.judged and _states(check)),
        key=lambda check: (
            id(check) in excused,
            _WORST_FIRST.index(check.state),
            -len(_states(check)),
            check.item.place,
        ),
    )
    first: dict[tuple[str, str], Check] = {}
    repeats: list[tuple[Check, list[Check]]] = []
    for check in ordered:
        keys = [(check.item.model, digest) for digest in sorted(_states(check))]
        if all(key in first for key in keys):
            others = {id(first[key]): first[key] for key in keys}
            repeats.append((check, list(others.values())))
        for key in keys:
            first.setdefault(key, check)
    out = {id(check) for check, _ in repeats}
    return Counted(
        [check for check in blocking if id(check) not in out],
        [check for check in waived if id(check) not in out],
        sorted(repeats, key=lambda repeat: repeat[0].item.place),
    )


def _states(check: Check) -> frozenset[str]:
    """The digests of all expectations of a check; none where one of them is not known."""
    digests = [entry.check_sha256 for entry in check.item.expectations]
    return frozenset(digest for digest in digests if digest) if all(digests) else frozenset()


def repeat_notes(repeats: Sequence[tuple[Check, list[Check]]]) -> Iterator[str]:
    """Each check that does not count, with the places that it repeats."""
    for check, others in repeats[:_NOTED]:
        places = " and ".join(other.place for other in others)
        yield f"counted once: {check.place} states what {places} states"
    if len(repeats) > _NOTED:
        yield f"counted once: {len(repeats) - _NOTED} more"
