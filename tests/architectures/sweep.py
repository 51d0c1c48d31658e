"""How much of transformers can be read: a tiny network of every text architecture, both paths.

A family is one model type of transformers whose base network takes nothing but token ids. Each is
built with random weights from a small configuration and compared, row by row, with its own eager
attention. What differs by more than `BAR` counts as refused, whatever the reason.

The families run in a process of their own, so that one that crashes or hangs ends nothing else.
"""

from __future__ import annotations

import inspect
import multiprocessing
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Literal

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_MAPPING, MODEL_MAPPING_NAMES
from transformers.utils import logging

from attnprobe.core.errors import AttnprobeError
from attnprobe.core.sites import Site, SiteName
from attnprobe.models.check import CheckRow, check, random_ids
from attnprobe.models.forward import batch_inputs, eager
from attnprobe.models.layout import Layout, find_layout
from attnprobe.models.model import Model
from attnprobe.models.release import ReleaseRow, release_check
from tests.architectures.small import small_config
from tests.architectures.tiny import random_network, tiny_tokenizer

BAR = 5e-5
"""Largest difference to eager weights, and of a batch to single texts."""

Outcome = Literal["function", "eager", "refused", "not built"]
OUTCOMES: Mapping[Outcome, str] = {
    "function": "served by the attention function",
    "eager": "served by the eager fallback",
    "refused": "refused",
    "not built": "not buildable from a small configuration",
}
CHUNK = 120
LIMIT = 60.0

# The code of a network and its configuration may raise any of these. All mean that it cannot be
# read; anything else ends the process, which is noticed.
_FAILURES = (
    AttnprobeError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    StrictDataclassError,
)

# Model types with token ids that are no text, or that take a sound or a picture beside them.
_OTHER = frozenset(
    {
        "chameleon",
        "csm",
        "dia",
        "evolla",
        "fastspeech2_conformer",
        "fastspeech2_conformer_with_hifigan",
        "gradium_phonon_tts",
        "higgs_audio_v2_tokenizer",
        "imagegpt",
        "kyutai_speech_to_text",
        "lxmert",
        "musicgen",
        "musicgen_melody",
        "pocket_tts",
        "seamless_m4t",
        "seamless_m4t_v2",
        "tvp",
        "vilt",
        "vits",
    }
)


@dataclass(frozen=True)
class Family:
    """One architecture.

    Attributes:
        architecture: the model type, such as `gpt_oss`.
        network: the class of its base network.
        difference: largest absolute difference to eager weights of single texts, short and long,
            and of batches padded on either side; None where nothing was compared.
        batch: largest absolute difference between a batch and single texts.
        sites: for each site the layers with attention.
        features: what its attention has beyond the plain kind.
        reason: why it is not served by the attention function, else empty.
    """

    architecture: str
    network: str
    outcome: Outcome
    difference: float | None = None
    batch: float | None = None
    sites: Mapping[SiteName, Sequence[int]] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    reason: str = ""


def names() -> list[str]:
    """Model types whose configuration is that of a single text network."""
    found: list[str] = []
    for name in MODEL_MAPPING_NAMES:
        kind = CONFIG_MAPPING[name]
        parts = {"text_config", "vision_config", "audio_config"} & set(kind.sub_configs)
        # An alias has the configuration of another type.
        if not parts and name not in _OTHER and kind.model_type == name:
            found.append(name)
    return sorted(found)


def examine(name: str) -> Family | None:
    """Builds and compares one family; None if its network does not take token ids alone."""
    try:
        kind = _network_class(name)
    except _FAILURES as error:
        return Family(name, "", "not built", reason=_reason(error))
    takes = inspect.signature(kind.forward).parameters
    if kind.main_input_name != "input_ids" or "input_ids" not in takes:
        return None
    try:
        network = _small_network(name)
    except _FAILURES as error:
        return Family(name, kind.__name__, "not built", reason=_reason(error))
    try:
        rows = check(network)
        where, features = _look(network)
        model = Model.of(network, tiny_tokenizer(end=False), name=name)
        released = release_check(model, partial(_small_network, name))
    except _FAILURES as error:
        return Family(name, kind.__name__, "refused", reason=_reason(error))
    return _judge(name, network, rows, released, where, features)


def _small_network(name: str) -> PreTrainedModel:
    return random_network(small_config(name))


def _network_class(name: str) -> type[PreTrainedModel]:
    found: Any = MODEL_MAPPING[CONFIG_MAPPING[name]]
    kind: type[PreTrainedModel] = found[0] if isinstance(found, tuple) else found
    return kind


def _judge(
    name: str,
    network: PreTrainedModel,
    rows: Sequence[CheckRow],
    released: Sequence[ReleaseRow],
    where: Layout,
    features: tuple[str, ...],
) -> Family:
    difference = max(
        *(max(row.unpadded, row.right, row.left) for row in rows),
        *(row.difference or 0.0 for row in released),
    )
    problems = [row.problem for row in released if row.problem]
    batch = max(row.batch for row in rows)
    outcome: Outcome = where.served
    reason = where.reason
    # Written so that NaN is refused.
    if problems:
        outcome, reason = "refused", problems[0]
    elif not difference <= BAR:
        outcome, reason = "refused", f"differs from its eager weights by {difference:.1e}"
    elif not batch <= BAR:
        outcome, reason = "refused", f"a text beside a longer one differs by {batch:.1e}"
    sites = {row.site: row.layers for row in rows}
    return Family(name, type(network).__name__, outcome, difference, batch, sites, features, reason)


def _look(network: PreTrainedModel) -> tuple[Layout, tuple[str, ...]]:
    """Where attention is computed, and what is special about it."""
    sources, targets = random_ids(network, seed=1)
    inputs = batch_inputs(network, sources[:1], targets and targets[:1])
    where = find_layout(network, inputs)
    # As a plain table: some configurations refuse to tell one value for all layers.
    config: dict[str, Any] = network.config.get_text_config().to_dict()
    sparse = bool(config.get("index_topk"))
    for site, layers in eager(network, inputs, alone=next(iter(where.sites))).items():
        for number, weights in zip(where.sites[site].layers, layers, strict=True):
            last = weights[0, :, -1]
            if float((last.amax(dim=1) - last.mean(dim=1)).max()) < 1e-2:
                raise AttnprobeError(
                    f"{site} layer {number} weighs all positions alike, which shows nothing"
                )
            # Sparse attention chooses what it sees: the network's own doing, and no mask.
            if site != "cross" and not sparse:
                _check_window(where.sites[site], number, weights[0])
    parameters = [path for path, _ in network.named_parameters()]
    groups = [getattr(module, "num_key_value_groups", 1) for module in network.modules()]
    depth = getattr(network.config.get_text_config(), "num_hidden_layers", 0)
    latent = bool(config.get("kv_lora_rank"))
    has = {
        "encoder-decoder": len(where.sites) == 3,
        "hybrid stack": len(where.sites) == 1
        and any(len(site.layers) < depth for site in where.sites.values()),
        "latent attention": latent,
        "grouped queries": max(groups) > 1,
        "sparse attention": sparse,
        "sliding window": any(site.windows for site in where.sites.values()),
        "soft cap": bool(config.get("attn_logit_softcapping")),
        "sinks": any("sink" in path for path in parameters),
        "relative positions": any(
            part in path
            for path in parameters
            for part in ("relative_attention_bias", "rel_embeddings", "distance_embedding")
        ),
    }
    return where, tuple(feature for feature, present in has.items() if present)


def _check_window(site: Site, layer: int, weights: torch.Tensor) -> None:
    """Raises AttnprobeError where a mask hides positions that no known window hides.

    Args:
        weights: `[heads, target, source]`.
    """
    seen = (weights > 0).any(dim=0)
    rows, keys = seen.nonzero(as_tuple=True)
    reach = int((rows - keys).abs().max())
    window = site.windows.get(layer)
    # Far corners may hold weights too small for a float, but not half of all positions.
    if reach != window - 1 if window else reach < len(seen) // 2:
        raise AttnprobeError(
            f"{site.name} layer {layer} sees {reach + 1} positions on a side, and its window is "
            f"{window or 'not known'}"
        )


def _reason(error: Exception) -> str:
    """The first sentence that says something, on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # What a configuration's own check says stands behind a heading.
    text = lines[-1] if type(error).__name__.startswith("Strict") else " ".join(lines)
    text = re.sub(r" from '[^']*'", "", text)  # where a module lies on this machine
    text = text.split(". The fast path")[0].split("; ")[0] or type(error).__name__
    return text if len(text) <= 160 else f"{text[:159]}…"


def sweep(
    chosen: Sequence[str] | None = None, *, chunk: int = CHUNK, limit: float = LIMIT
) -> Iterator[Family]:
    """Examines families one after the other, in processes of `chunk` families each.

    Args:
        chosen: model types; all of `names()` without it.
        limit: seconds that one family may take.
    """
    todo = list(names() if chosen is None else chosen)
    # Forking a process that has threads is unsafe, hence spawn.
    context = multiprocessing.get_context("spawn")
    while todo:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=serve, args=(theirs, todo[:chunk]), daemon=True)
        process.start()
        theirs.close()
        for name in todo[:chunk]:
            todo.pop(0)
            ended = ""
            try:
                if ours.poll(limit):
                    family = ours.recv()
                else:
                    ended = f"took longer than {limit:.0f} s"
            except EOFError:
                ended = "its process crashed"
            if ended:
                yield Family(name, "", "not built", reason=ended)
                break
            if family is not None:
                yield family
        process.terminate()
        process.join()
        ours.close()


def serve(connection: Connection, chosen: Sequence[str]) -> None:
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    for name in chosen:
        connection.send(examine(name))
