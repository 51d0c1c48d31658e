"""Compares attention rows and pattern scores with TransformerLens and its `detect_head`.

    python3.11 -m venv /tmp/lens
    /tmp/lens/bin/pip install torch==2.13.0 "transformer-lens<4"
    /tmp/lens/bin/python benchmarks/compare/detect_head.py measure /tmp/lens.npz
    .venv/bin/python benchmarks/compare/detect_head.py compare /tmp/lens.npz

The two steps share no library but numpy and torch, so their versions of transformers may differ.
The first makes a HookedTransformer with random weights, runs some texts of token ids, and keeps
weights, attention patterns and scores. The second puts the weights into a GPT-2 of transformers,
reads its attention through attnprobe, and prints the largest differences.

`detect_head` divides by all rows; attnprobe leaves rows without a target out. With T rows, of which
n have a target, and rows that sum to 1:

    mul:  ours = theirs · T / n
    abs:  ours = 1 − (T · (1 − theirs) − (T − n)) / n

since a row without a target gives 0 to the first sum and differs by 1 in the second. `abs` is
rounded to three decimals by TransformerLens, so the rounding is switched off here. (Not named after
that package: the script would then import itself.)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

LAYERS, HEADS, WIDTH, LONGEST, VOCABULARY = 3, 4, 64, 128, 261
PATTERNS = {
    "previous": "previous_token_head",
    "duplicate": "duplicate_token_head",
    "induction": "induction_head",
}
FORMS = {"mul": "mass", "abs": "match"}
EPSILON = 1e-5  # of the layer norms
LARGEST = 1e-5  # difference that is let pass

Doubles = npt.NDArray[np.float64]


def texts(seed: int = 0) -> list[list[int]]:
    """Token ids: sequences said twice, and draws from few tokens, where some occur again."""
    random = np.random.default_rng(seed)
    twice = [random.integers(5, VOCABULARY, length).tolist() * 2 for length in (6, 15, 30)]
    few = [random.integers(5, 5 + length // 2, length).tolist() for length in (8, 20, 47)]
    return twice + few


# Step one, in the environment of TransformerLens -------------------------------------------------


def measure(path: Path) -> None:
    """Writes weights, patterns `[layers, heads, target, source]` and scores to an .npz file."""
    import torch
    from transformer_lens import HookedTransformer, HookedTransformerConfig, head_detector

    config = HookedTransformerConfig(
        n_layers=LAYERS,
        n_heads=HEADS,
        d_model=WIDTH,
        d_head=WIDTH // HEADS,
        n_ctx=LONGEST,
        d_vocab=VOCABULARY,
        act_fn="gelu_new",
        normalization_type="LN",
        eps=EPSILON,
        device="cpu",
        seed=0,
    )
    model = HookedTransformer(config)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        # As they are made, weights are so small that all heads attend evenly.
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=draw))
    vars(head_detector)["round"] = lambda value, digits: value
    kept: dict[str, Any] = {"version": metadata.version("transformer-lens")}
    kept |= {
        f"weight.{name}": value.numpy()
        for name, value in model.state_dict().items()
        if not name.endswith((".mask", ".IGNORE"))
    }
    for number, ids in enumerate(texts()):
        tokens = torch.tensor([ids])
        # There is no tokenizer: whatever text is asked for is this one.
        vars(model)["to_tokens"] = lambda text, tokens=tokens: tokens
        with torch.inference_mode():
            _, cache = model.run_with_cache(tokens, remove_batch_dim=True)
        kept[f"pattern.{number}"] = np.stack(
            [cache["pattern", layer, "attn"].numpy() for layer in range(LAYERS)]
        )
        for name, theirs in PATTERNS.items():
            for form in FORMS:
                score = head_detector.detect_head(model, "", theirs, error_measure=form)
                kept[f"score.{number}.{name}.{form}"] = score.numpy()
    np.savez(path, **kept)
    print(f"TransformerLens {kept['version']}, torch {torch.__version__}: written {path}")


# Step two, in the environment of attnprobe --------------------------------------------------------


def compare(path: Path) -> None:
    """Prints how far attnprobe is from what is in the file."""
    import torch
    import transformers

    # The tokenizer is one of the tests' own, which are not installed.
    sys.path.append(str(Path(__file__).parents[2]))
    from attnprobe import __version__
    from attnprobe.attention import Attention
    from attnprobe.core.texts import Sample
    from attnprobe.models import Model
    from tests.architectures.tiny import tiny_tokenizer

    kept = np.load(path)
    model = Model.of(_gpt2(kept), tiny_tokenizer(), name="gpt2")
    rows: list[Doubles] = []
    # Our scores, theirs, and theirs corrected, of all texts and heads.
    found: dict[tuple[str, str], list[Doubles]] = {
        (name, form): [] for name in PATTERNS for form in FORMS
    }
    for number, ids in enumerate(texts()):
        attention = Attention(model, Sample("", ids=tuple(ids)))
        ours = [
            [attention.weights(f"L{layer}H{head}") for head in range(HEADS)]
            for layer in range(LAYERS)
        ]
        rows.append(np.abs(np.array(ours) - kept[f"pattern.{number}"]).ravel())
        for (name, form), scores in found.items():
            raw = kept[f"score.{number}.{name}.{form}"].astype(np.float64)
            fair = corrected(raw, form, len(ids), with_target(ids, name))
            scores.append(np.stack([attention.pattern(name, form=FORMS[form]), raw, fair]))

    print(
        f"attnprobe {__version__}, transformers {transformers.__version__}, torch "
        f"{torch.__version__}; TransformerLens {kept['version']}"
    )
    print(f"{len(texts())} texts, {LAYERS} layers of {HEADS} heads; largest differences\n")
    print("| compared | our values | as they are | rows without a target left out |")
    print("|---|---|---|---|")
    # numpy's max hands NaN on, so what is no number is above the bound.
    worst = np.concatenate(rows).max()
    print(f"| attention rows | 0 to 1 | {worst:.1e} | |")
    for key, scores in found.items():
        own, raw, fair = np.concatenate(scores, axis=1).reshape(3, -1)
        before, after = np.abs(own - raw).max(), np.abs(own - fair).max()
        between = f"{own.min():.2f} to {own.max():.2f}"
        print(f"| {', '.join(key)} | {between} | {before:.1e} | {after:.1e} |")
        worst = np.maximum(worst, after)
    if not worst <= LARGEST:
        raise SystemExit(f"\nthe largest difference, {worst:.1e}, is above {LARGEST}")


def corrected(scores: Doubles, form: str, total: int, counted: int) -> Doubles:
    """Scores of `detect_head` over the rows that have a target alone.

    Args:
        total, counted: how many rows there are, and how many have a target.
    """
    if form == "mul":
        return scores * total / counted
    fair: Doubles = 1 - (total * (1 - scores) - (total - counted)) / counted
    return fair


def with_target(ids: Sequence[int], name: str) -> int:
    """How many rows of a text have a target."""
    if name == "previous":
        return len(ids) - 1
    # The token after an earlier copy is at most the row itself, so both ask for an earlier copy.
    return sum(token in ids[:place] for place, token in enumerate(ids))


def _gpt2(kept: Mapping[str, Any]) -> Any:
    """A GPT-2 of transformers with the weights of the file."""
    import torch
    from transformers import GPT2Config, GPT2Model

    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=LONGEST,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        activation_function="gelu_new",
        layer_norm_epsilon=EPSILON,
        bos_token_id=1,
        eos_token_id=2,
    )
    network = GPT2Model(config).eval()

    def weight(name: str) -> torch.Tensor:
        return torch.from_numpy(kept[f"weight.{name}"])

    state = {"wte.weight": weight("embed.W_E"), "wpe.weight": weight("pos_embed.W_pos")}
    for layer in range(LAYERS):
        here, there = f"blocks.{layer}", f"h.{layer}"
        for one in ("1", "2"):
            state[f"{there}.ln_{one}.weight"] = weight(f"{here}.ln{one}.w")
            state[f"{there}.ln_{one}.bias"] = weight(f"{here}.ln{one}.b")
        # Theirs are [head, width, head width], GPT-2 has one matrix [width, 3 · width].
        state[f"{there}.attn.c_attn.weight"] = torch.cat(
            [weight(f"{here}.attn.W_{one}").transpose(0, 1).flatten(1) for one in "QKV"], dim=1
        )
        state[f"{there}.attn.c_attn.bias"] = torch.cat(
            [weight(f"{here}.attn.b_{one}").flatten() for one in "QKV"]
        )
        state[f"{there}.attn.c_proj.weight"] = weight(f"{here}.attn.W_O").flatten(0, 1)
        state[f"{there}.attn.c_proj.bias"] = weight(f"{here}.attn.b_O")
        for theirs, ours in (("in", "c_fc"), ("out", "c_proj")):
            state[f"{there}.mlp.{ours}.weight"] = weight(f"{here}.mlp.W_{theirs}")
            state[f"{there}.mlp.{ours}.bias"] = weight(f"{here}.mlp.b_{theirs}")
    state["ln_f.weight"], state["ln_f.bias"] = weight("ln_final.w"), weight("ln_final.b")
    missing, unexpected = network.load_state_dict(state, strict=False)
    left = [name for name in missing if not name.endswith((".attn.bias", ".masked_bias"))]
    if left or unexpected:
        raise SystemExit(f"weights that do not fit: {left + unexpected}")
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=["measure", "compare"])
    parser.add_argument("file", type=Path, help="an .npz file")
    given = parser.parse_args()
    (measure if given.step == "measure" else compare)(given.file)


if __name__ == "__main__":
    main()
