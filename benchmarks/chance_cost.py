"""What chance rates cost: a suite of 1,000 cases judged with and without them.

    .venv/bin/python benchmarks/chance_cost.py

The suite has rules of ten kinds (bounds, distances and directions). Both ways take turns in one
process, and seconds are of the processor, for the model's own threads run beside. Printed are the
medians and the ratio within a round; reading and checking the case file counts in both, as in a
pytest run.
"""

from __future__ import annotations

import argparse
import statistics
import time

from suite_speed import MODEL, sentences

import attnprobe
from attnprobe import cases
from attnprobe.cases import yamltext
from attnprobe.core.names import CHANCE_MAX
from attnprobe.run.runner import Runner

BOUNDS = ("min: 0.2", "min: 0.3, top: 1", "margin: 0.1", "min: 0.1, ratio: 2", "top: 2")


def suite(count: int) -> bytes:
    lines = ["version: 1", "suite: speed", "defaults: {heads: L3H1}", "cases:"]
    for number, (text, noun, other) in enumerate(sentences(count)):
        bound = BOUNDS[number % len(BOUNDS)]
        # Back to the subject, or ahead to the last word.
        to, over = (noun, other) if number % 2 else (text.split()[-1].rstrip("."), None)
        contrast = f", over: {over or noun}"
        lines += [
            f"  - id: case-{number}",
            f"    text: {text}",
            "    expect:",
            f"      - attends: {{from: is, to: {to}{contrast}, {bound}}}",
        ]
    return "\n".join(lines).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    model = attnprobe.load(MODEL)
    text = suite(options.cases)
    seconds: dict[float | None, list[float]] = {None: [], CHANCE_MAX: []}
    kinds: set[object] = set()
    for _ in range(options.rounds):
        for chance_max, found in seconds.items():
            start = time.process_time()
            read = cases.parse(yamltext.loads(text, "speed.attn.yaml"))
            runner = Runner(model, read, chance_max=chance_max)
            for case in read:
                for finding in runner.judge(case):
                    if finding.verdict is not None and finding.verdict.chance is not None:
                        kinds.add(finding.verdict.chance)
            found.append(time.process_time() - start)
    ratios = [b / a for a, b in zip(seconds[None], seconds[CHANCE_MAX], strict=True)]
    print(f"{options.cases} cases, {len(kinds)} chance rates, medians of {options.rounds} rounds")
    print(
        f"without {statistics.median(seconds[None]):.2f} s, with chance rates "
        f"{statistics.median(seconds[CHANCE_MAX]):.2f} s: {statistics.median(ratios):.2f} times"
    )


if __name__ == "__main__":
    main()
