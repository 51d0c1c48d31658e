"""Cases that the plugin's tests run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.support.inner_runs import TinyModels

Run = Callable[..., pytest.RunResult]
Write = Callable[..., Path]

# Weights of a mean over random heads lie far from 0 and 1, so these bounds decide for certain.
HOLDS = "- ignores: {from: barks, to: dog, max: 0.99}"
FAILS = "- attends: {from: barks, to: dog, min: 0.99}"

BOTH = f"""
- id: holds
  text: The dog barks.
  expect:
    {HOLDS}
- id: fails
  text: The dog barks.
  expect:
    {HOLDS}
    {FAILS}
    - attends: {{from: dog, to: barks, max: 0.001}}
"""
ROWS = """
- id: rows
  template: The {animal} barks.
  rows:
    - {animal: dog}
    - {animal: big seal}
  expect:
    - ignores: {from: barks, to: "{animal}", max: 0.99}
"""


def lines(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if line]


NAMED = f"""
- id: plain
  text: The dog barks.
  expect:
    {HOLDS}
- id: named
  model: other
  text: The dog barks.
  expect:
    {HOLDS}
"""


def weight(tiny: TinyModels, text: str, query: str, key: str) -> float:
    """The mean over all heads, from eager attention: mean over the rows, sum over the columns."""
    network, tokenizer = tiny.model.network, tiny.model.tokenizer
    encoded = tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
    offsets = encoded.pop("offset_mapping")[0].tolist()

    def tokens(word: str) -> list[int]:
        start = text.index(word)
        return [
            index
            for index, (low, high) in enumerate(offsets)
            if low < high and start <= low and high <= start + len(word)
        ]

    implementation = network.config._attn_implementation
    network.set_attn_implementation("eager")
    try:
        with torch.inference_mode():
            maps = torch.stack(network(**encoded, output_attentions=True).attentions)
    finally:
        network.set_attn_implementation(implementation)
    rows = maps[:, 0].mean(dim=(0, 1))[tokens(query)].mean(dim=0)
    return float(rows[tokens(key)].sum())


SKIPPED = f"""
- id: later
  text: The dog barks.
  skip: waits
  expect:
    {HOLDS}
- id: gap
  text: The dog barks.
  xfail: known
  expect:
    {FAILS}
"""
