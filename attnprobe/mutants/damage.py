"""Damaged and harmless variants of a model, to see whether a suite can tell them apart.

A variant is the same network with some of its numbers changed, in memory or in a folder of its
own. Two anatomies are known, by module path and shape: BERT's and Llama's, which many others
share. Any other is refused, for a change in the wrong place would prove nothing.
"""

from __future__ import annotations

import copy
import json
import shutil
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, PreTrainedModel

from attnprobe.core.errors import ModelError
from attnprobe.core.scratch import scratch
from attnprobe.core.sites import Head
from attnprobe.models.loading import weights_of
from attnprobe.models.location import TOKENIZER_FILES, locate_tokenizer, tokenizer_files
from attnprobe.models.model import Model
from attnprobe.mutants.kinds import Mutation

WEIGHTS = "model.safetensors"
# Files of a model's folder that a loader reads besides the weights.
COPIED = ("*.json", "*.txt", "*.model", "*.spm", "*.jinja", "*_Pooling/config.json")
INDEX = "*.index.json"


@dataclass(frozen=True)
class _Anatomy:
    """Module paths below the base network; `{}` stands for the number of the layer.

    Attributes:
        positions: table of position embeddings; None where positions are rotations.
        besides: further weights of an attention block, which belong to no head.
    """

    layer: str
    query: str
    key: str
    value: str
    output: str
    block: str
    tokens: str
    positions: str | None
    besides: tuple[str, ...] = ()


BERT = _Anatomy(
    layer="encoder.layer.{}.",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    output="attention.output.dense",
    block="attention.",
    tokens="embeddings.word_embeddings.weight",
    positions="embeddings.position_embeddings.weight",
    besides=("attention.output.LayerNorm",),
)
LLAMA = _Anatomy(
    layer="layers.{}.",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    output="self_attn.o_proj",
    block="self_attn.",
    tokens="embed_tokens.weight",
    positions=None,
)


def mutant(model: Model, mutation: Mutation) -> Model:
    """A changed copy of a model, with its language-model head if it has one.

    Raises:
        ModelError: as `mutate`, or the variant's attention cannot be read exactly.
    """
    changed = _copy(model)
    mutate(changed, mutation)
    return model.with_network(changed)


def in_bfloat16(model: Model) -> Model:
    """A copy that computes in bfloat16."""
    changed: Any = _copy(model)
    return model.with_network(changed.to(torch.bfloat16))


def _copy(model: Model) -> PreTrainedModel:
    changed = copy.deepcopy(model.whole)
    # A head that was loaded apart from its network has its own copy of the tied embeddings.
    changed.tie_weights()
    return changed


def mutate(network: PreTrainedModel, mutation: Mutation) -> None:
    """Changes the numbers of a network in place.

    Raises:
        ModelError: the anatomy is unknown, or does not allow the change.
    """
    with torch.no_grad():
        if mutation.kind == "halve-positions":
            _refuse_halving(network.config, _Body(network.state_dict(), network.config))
            for name, buffer in network.named_buffers():
                if name.endswith("inv_freq"):
                    buffer.div_(2)
            return
        _change(network.state_dict(), network.config, mutation)


def write_mutant(
    ref: str,
    mutation: Mutation,
    out: Path,
    *,
    tokenizer: str | None = None,
    ignore_remote_code: bool = False,
) -> Mutation:
    """Writes a variant of a model as a folder of safetensors, whole or not at all.

    Args:
        ref: as for `load`; a hub model must lie in the local cache.
        out: a folder that does not exist yet.
        tokenizer: as for `load`; the variant gets its files in place of the model's own.
        ignore_remote_code: as for `load`.

    Returns:
        The mutation; where heads were swapped, with the second head.

    Raises:
        ModelError: as `mutate`, or `out` exists or cannot be written.
    """
    if out.exists():
        raise ModelError(f"{out} exists; give a folder that does not, --out")
    source = weights_of(ref, ignore_remote_code=ignore_remote_code)
    folder = source.folder
    copied = _files_beside(folder, tokenizer)
    weights: dict[str, Tensor] = {}
    for file in source.files:
        weights |= load_file(file)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if mutation.kind == "swap-heads" and mutation.other is None:
        mutation = replace(mutation, other=_Body(weights, config).partner(mutation.the_head()))
    if mutation.kind == "halve-positions":
        _refuse_halving(config, _Body(weights, config))
    else:
        with torch.no_grad():
            _change(weights, config, mutation)
    if mutation.kind == "bfloat16":
        weights = {
            name: weight.bfloat16() if weight.is_floating_point() else weight
            for name, weight in weights.items()
        }
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with scratch(out) as made:
            made.mkdir()
            for path in copied:
                inside = path.relative_to(folder) if path.is_relative_to(folder) else path.name
                (made / inside).parent.mkdir(exist_ok=True)
                shutil.copyfile(path, made / inside)
            _write_config(made / "config.json", mutation)
            save_file(weights, made / WEIGHTS, metadata={"format": "pt"})
            made.rename(out)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{out}: cannot be written: {error}") from error
    return mutation


def _files_beside(folder: Path, tokenizer: str | None) -> list[Path]:
    """The files that a variant gets unchanged, with those of another tokenizer if one is named."""
    found = {path for pattern in COPIED for path in folder.glob(pattern)}
    if tokenizer is not None:
        found = {path for path in found if not any(map(path.match, TOKENIZER_FILES))}
        place = locate_tokenizer(tokenizer, online=False)
        if place.is_gguf:
            raise ModelError(f"{tokenizer} holds a tokenizer and no files of it; name a folder")
        found.update(tokenizer_files(place))
    return sorted(path for path in found if path.is_file() and not path.match(INDEX))


def swap_partner(model: Model, head: Head) -> Head:
    """The head that `swap-heads` swaps a head with by default.

    It is the next query head of the layer that shares its keys and values, and after the last head
    the first. Where each head has keys of its own, it is the next head of the layer.

    Raises:
        ModelError: as `mutate`.
    """
    network = model.network
    return _Body(network.state_dict(), network.config).partner(head)


def _write_config(path: Path, mutation: Mutation) -> None:
    """Writes the change of the configuration: the number type, or the rotation."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("transformers_weights", None)  # the weights have another name now
    if mutation.kind == "bfloat16":
        config.pop("torch_dtype", None)
        config["dtype"] = "bfloat16"
    elif mutation.kind == "halve-positions":
        theta = (config.get("rope_parameters") or {}).get("rope_theta", config.get("rope_theta"))
        config["rope_parameters"] = {"rope_type": "linear", "factor": 2.0, "rope_theta": theta}
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _refuse_halving(config: Any, body: _Body) -> None:
    """Raises ModelError where positions are no plain rotations."""
    rotary = getattr(config, "rope_parameters", None) or {}
    if body.anatomy.positions is not None or rotary.get("rope_type") != "default":
        raise ModelError(
            f"halve-positions is for networks of plain rotary positions, and {config.model_type} "
            "has others; a table of position embeddings is damaged by shift-positions"
        )


def _first_query(anatomy: _Anatomy, tokens: str) -> str:
    """Name of the first layer's query projection, given the name of the table of tokens."""
    prefix = tokens.removesuffix(anatomy.tokens)
    return f"{prefix}{anatomy.layer.format(0)}{anatomy.query}.weight"


class _Body:
    """The weights of a network by their role.

    Args:
        weights: tensors by name, which are changed in place.
    """

    def __init__(self, weights: Mapping[str, Tensor], config: Any) -> None:
        self.weights = weights
        self.kind: str = config.model_type
        found = [
            (anatomy, name.removesuffix(anatomy.tokens))
            for anatomy in (BERT, LLAMA)
            for name in weights
            if name.endswith(anatomy.tokens) and _first_query(anatomy, name) in weights
        ]
        if len(found) != 1:
            raise ModelError(
                f"{self.kind} cannot be mutated: its weights are not named as BERT's or Llama's "
                f"are ({BERT.layer.format(0)}{BERT.query}, {LLAMA.layer.format(0)}{LLAMA.query})"
            )
        self.anatomy, self.prefix = found[0]
        self.heads = int(config.num_attention_heads)
        self.key_heads = int(getattr(config, "num_key_value_heads", None) or self.heads)
        self.depth = int(getattr(config, "head_dim", None) or config.hidden_size // self.heads)
        self.spread = float(getattr(config, "initializer_range", 0.02))
        self.layers = 0
        while f"{self.of_layer(self.layers)}{self.anatomy.query}.weight" in weights:
            self._check(self.layers)
            self.layers += 1

    def of_layer(self, layer: int) -> str:
        """Start of the names of a layer's weights."""
        return self.prefix + self.anatomy.layer.format(layer)

    def _check(self, layer: int) -> None:
        """Raises ModelError where a layer's attention is not built as its names say."""
        start, anatomy = self.of_layer(layer), self.anatomy
        rows = {
            anatomy.query: self.heads,
            anatomy.key: self.key_heads,
            anatomy.value: self.key_heads,
        }
        for part, count in rows.items():
            weight = self.weights.get(f"{start}{part}.weight")
            if weight is None or weight.ndim != 2 or len(weight) != count * self.depth:
                raise ModelError(
                    f"{self.kind} cannot be mutated: {start}{part} is not {count} heads of "
                    f"{self.depth}"
                )
        known = (*rows, anatomy.output, *anatomy.besides)
        for name in self.weights:
            if name.startswith(start + anatomy.block) and not name.startswith(
                tuple(f"{start}{part}." for part in known)
            ):
                raise ModelError(
                    f"{self.kind} cannot be mutated: its attention has {name} besides query, key, "
                    "value and output"
                )
        output = self.weights.get(f"{start}{anatomy.output}.weight")
        if output is None or output.ndim != 2 or output.shape[1] != self.heads * self.depth:
            raise ModelError(
                f"{self.kind} cannot be mutated: {start}{anatomy.output} does not take "
                f"{self.heads} heads of {self.depth}"
            )

    def check_layer(self, layer: int) -> None:
        if not 0 <= layer < self.layers:
            raise ModelError(f"no layer {layer}; this model has layers 0 to {self.layers - 1}")

    def check_head(self, head: Head) -> None:
        self.check_layer(head.layer)
        if not 0 <= head.head < self.heads:
            raise ModelError(
                f"no head {head}; a layer of this model has query heads 0 to {self.heads - 1}"
            )

    def rows(self, layer: int, part: str, head: int) -> Iterator[Tensor]:
        """A head's rows of a projection, `[depth, width]`, and of its bias, `[depth]`, as views."""
        for kind in ("weight", "bias"):
            whole = self.weights.get(f"{self.of_layer(layer)}{part}.{kind}")
            if whole is not None:
                yield whole[head * self.depth : (head + 1) * self.depth]

    def columns(self, head: Head) -> Tensor:
        """A head's columns of the output projection, `[width, depth]`, as a view."""
        whole = self.weights[f"{self.of_layer(head.layer)}{self.anatomy.output}.weight"]
        return whole[:, head.head * self.depth : (head.head + 1) * self.depth]

    def partner(self, head: Head) -> Head:
        """The head to swap a head with, as `swap_partner` describes it."""
        self.check_head(head)
        group = self.heads // self.key_heads
        if group == 1:
            return Head(head.layer, (head.head + 1) % self.heads)
        first = head.head // group * group
        return Head(head.layer, first + (head.head - first + 1) % group)


def _change(weights: Mapping[str, Tensor], config: Any, mutation: Mutation) -> None:
    """Changes weights in place; random numbers depend on the mutation's seed alone."""
    body = _Body(weights, config)
    anatomy = body.anatomy
    draw = torch.Generator().manual_seed(mutation.seed)
    match mutation.kind:
        case "shuffle-queries":
            head = mutation.the_head()
            body.check_head(head)
            order = _order(body.depth, draw)
            for part in body.rows(head.layer, anatomy.query, head.head):
                part.copy_(part[order.to(part.device)].clone())
        case "shuffle-output":
            head = mutation.the_head()
            body.check_head(head)
            columns = body.columns(head)
            columns.copy_(columns[:, _order(body.depth, draw).to(columns.device)].clone())
        case "reinit-layer":
            layer = mutation.the_layer()
            body.check_layer(layer)
            _reinitialise(body, body.of_layer(layer), mutation.seed)
        case "reinit-all":
            _reinitialise(body, "", mutation.seed)
        case "permute-embeddings":
            table = weights[body.prefix + anatomy.tokens]
            table.copy_(table[_order(len(table), draw).to(table.device)].clone())
        case "shift-positions":
            if anatomy.positions is None:
                raise ModelError(
                    f"shift-positions changes nothing in {body.kind}: its positions are "
                    "rotations, and attention sees their differences only; halve-positions is "
                    "what damages those"
                )
            table = weights[body.prefix + anatomy.positions]
            table.copy_(table.roll(-1, 0))
        case "swap-heads":
            _swap(body, mutation)
        case "bfloat16":
            for weight in weights.values():
                if weight.is_floating_point():
                    weight.copy_(weight.bfloat16())
        case "resave":
            pass
        case _:
            raise ModelError(f"{mutation.kind} is no change of weights")


def _order(count: int, draw: torch.Generator) -> Tensor:
    """A random order of so many things, other than the present one.

    Raises:
        ModelError: there is but one thing.
    """
    if count < 2:
        raise ModelError("a head of depth 1 cannot be shuffled")
    while True:
        order = torch.randperm(count, generator=draw)
        if not torch.equal(order, torch.arange(count)):
            return order


def _reinitialise(body: _Body, start: str, seed: int) -> None:
    """Resets the weights whose names start so: normal matrices, norms 1, biases 0.

    Each weight draws from a generator of its own, which its name seeds. So a network and its
    folder, where names have different prefixes, get the same numbers.
    """
    for name, weight in sorted(body.weights.items()):
        if not name.startswith(start) or not weight.is_floating_point():
            continue
        if weight.ndim > 1:
            of_name = zlib.crc32(name.removeprefix(body.prefix).encode())
            draw = torch.Generator().manual_seed(seed + of_name)
            weight.copy_(torch.randn(weight.shape, generator=draw) * body.spread)
        else:
            weight.fill_(0.0 if name.endswith("bias") else 1.0)


def _swap(body: _Body, mutation: Mutation) -> None:
    """Swaps two heads of a layer, with all weights that belong to them.

    Heads that share keys and values swap none of those. Heads of two groups cannot change places,
    since the others of their groups stay.
    """
    head = mutation.the_head()
    body.check_head(head)
    partner = mutation.other or body.partner(head)
    body.check_head(partner)
    group = body.heads // body.key_heads
    if head.layer != partner.layer or head == partner:
        raise ModelError(f"swap-heads takes two heads of one layer, not {head} and {partner}")
    if group > 1 and head.head // group != partner.head // group:
        start = head.head // group * group
        raise ModelError(
            f"{head} and {partner} have other keys and values, which the heads beside them share; "
            f"{head} can be swapped with another of {Head(head.layer, start)} to "
            f"{Head(head.layer, start + group - 1)}"
        )
    anatomy = body.anatomy
    parts = [anatomy.query] if group > 1 else [anatomy.query, anatomy.key, anatomy.value]
    for part in parts:
        for first, second in zip(
            body.rows(head.layer, part, head.head),
            body.rows(head.layer, part, partner.head),
            strict=True,
        ):
            _exchange(first, second)
    _exchange(body.columns(head), body.columns(partner))


def _exchange(first: Tensor, second: Tensor) -> None:
    before = first.clone()
    first.copy_(second)
    second.copy_(before)
