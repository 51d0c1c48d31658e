"""The table of the sweep, for terminals, machines and the page `docs/architectures.md`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

import torch
import transformers

from tests.architectures.sweep import BAR, OUTCOMES, Family, Outcome

_PAGE = """# Architectures

Written by `make breadth` with transformers {transformers}. Do not edit it.

A family is a model type of transformers whose base network takes token ids alone: text networks
and the text parts of others that have a type of their own, such as `gemma3_text`. Left out are
networks that take a sound or a picture as well, and those of speech and music tokens.

Each family is built from a small configuration with random weights, two layers or more, and four
heads in most. Every row of every head is compared with the network's own eager
`output_attentions`: one text alone, and texts of different lengths together, padded on the right
and on the left. A sentence and a text longer than every window and block are also compared with a
network that was just built and that attnprobe has not touched. `difference` is the largest
difference found, `batch` the largest between a text in a batch and the same text alone. Both must
stay within {bar:.0e}; what does not is refused, here and, with the tolerance of 5e-4, when a model
is loaded. The eager fallback reads the eager weights themselves.

A small network with random weights shows that the numbers are read rightly. It does not show
that a large model of that family fits into memory, or that its tokenizer tells character offsets.
"""


def summary(families: Sequence[Family]) -> dict[Outcome, int]:
    """How many families came out how."""
    counts = Counter(family.outcome for family in families)
    return {outcome: counts[outcome] for outcome in OUTCOMES}


def summary_line(families: Sequence[Family]) -> str:
    """The counts in words: `200 families: 170 served by the attention function, ...`."""
    counts = summary(families).items()
    listed = ", ".join(f"{count} {OUTCOMES[outcome]}" for outcome, count in counts)
    return f"{len(families)} families: {listed}"


def cells(family: Family) -> tuple[str, ...]:
    """A row of the table: architecture, network, outcome, difference, batch, layers, reason."""
    both = (family.difference, family.batch)
    layers = "; ".join(
        f"{site} {', '.join(map(str, numbers))}" for site, numbers in family.sites.items()
    )
    return (
        family.architecture,
        family.network,
        family.outcome,
        *("" if value is None else f"{value:.0e}" for value in both),
        layers,
        family.reason,
    )


def as_json(families: Sequence[Family]) -> str:
    """The table, its versions and its bar, for machines."""
    found = {
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "bar": BAR,
        "summary": summary(families),
        "families": [asdict(family) for family in families],
    }
    return json.dumps(found, indent=1) + "\n"


def as_page(families: Sequence[Family]) -> str:
    """The table as the page `docs/architectures.md`."""
    parts = [_PAGE.format(transformers=transformers.__version__, bar=BAR)]
    parts.append(f"{summary_line(families)}.\n")
    for outcome in OUTCOMES:
        chosen = [family for family in families if family.outcome == outcome]
        title = OUTCOMES[outcome].capitalize()
        parts.append(f"## {title}: {len(chosen)}\n\n{_rows(outcome, chosen)}")
    return "\n".join(parts)


def _rows(outcome: Outcome, families: Sequence[Family]) -> str:
    columns: dict[Outcome, tuple[str, ...]] = {
        "function": ("difference", "batch", "attention"),
        "eager": ("batch", "attention"),
    }
    heading = ("architecture", *columns.get(outcome, ("reason",)))
    table = [heading, ("---",) * len(heading)]
    for family in families:
        _, _, _, difference, batch, _, reason = cells(family)
        told = {
            "architecture": f"`{family.architecture}`",
            "difference": difference,
            "batch": batch,
            "attention": ", ".join(family.features),
            "reason": reason.replace("|", "\\|").replace("<", "&lt;").replace("[", "\\["),
        }
        table.append(tuple(told[column] for column in heading))
    return "".join(f"| {' | '.join(row)} |\n" for row in table)
