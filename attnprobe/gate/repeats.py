"""Drops repeated checks, so that equal checks on the same model count once.

Otherwise a copied file, or a second name for it, would help to reach the number of checks that a
policy demands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from attnprobe.gate.check import Check

# The worst of equal checks counts, so that no copy hides a failure.
_WORST_FIRST = ("failed", "vacuous", "borderline", "moved", "holds")
# The most repeats that the notes name.
_MOST_NOTED = 10


class DistinctChecks(NamedTuple):
    """Checks without repeats.

    Attributes:
        blocking, waived: the checks that count, in their order.
        repeats: the checks that do not count, each with the checks that it repeats.
    """

    blocking: list[Check]
    waived: list[Check]
    repeats: list[tuple[Check, list[Check]]]


def drop_repeats(blocking: Sequence[Check], waived: Sequence[Check]) -> DistinctChecks:
    """Takes out judged checks whose every expectation also stands in other checks of their model.

    Unjudged checks stay, and so do checks of older results, which do not record what they state.

    Args:
        blocking: the checks that can block and are not waived.
        waived: those that are waived; of two equal checks the one that is not waived counts.
    """
    waived_ids = set(map(id, waived))
    ordered = sorted(
        (check for check in (*blocking, *waived) if check.judged and _states(check)),
        key=lambda check: (
            id(check) in waived_ids,
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
            originals = {id(first[key]): first[key] for key in keys}
            repeats.append((check, list(originals.values())))
        for key in keys:
            first.setdefault(key, check)
    dropped = {id(check) for check, _ in repeats}
    return DistinctChecks(
        [check for check in blocking if id(check) not in dropped],
        [check for check in waived if id(check) not in dropped],
        sorted(repeats, key=lambda repeat: repeat[0].item.place),
    )


def _states(check: Check) -> frozenset[str]:
    """The digests of a check's expectations; none if one of them is unknown."""
    digests = [entry.check_sha256 for entry in check.item.expectations]
    return frozenset(digest for digest in digests if digest) if all(digests) else frozenset()


def repeat_notes(repeats: Sequence[tuple[Check, list[Check]]]) -> Iterator[str]:
    """Notes on the checks that do not count, each with the places that it repeats."""
    for check, originals in repeats[:_MOST_NOTED]:
        places = " and ".join(original.place for original in originals)
        yield f"counted once: {check.place} states what {places} states"
    more = len(repeats) - _MOST_NOTED
    if more > 0:
        yield f"counted once: {more} more"
