"""The comparison with the model as its own tokenizer and class use it.

The self-check at load compares attnprobe with the network that attnprobe loaded. Here the other
side starts anew: token ids come from the tokenizer's public calls, and weights come from a network
that was just built from the same files and that only transformers' own code has run.
"""

from __future__ import annotations

import copy
import inspect
import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel, PreTrainedModel

from attnprobe.core.arrays import Floats
from attnprobe.core.errors import AttnprobeError, ModelError, first_line
from attnprobe.core.needs import Need
from attnprobe.core.texts import Encoding, Sample
from attnprobe.models.forward import configurations, returned_weights, segment_count
from attnprobe.models.handed_over import named_class
from attnprobe.models.model import PROBE, Model
from attnprobe.models.placement import device_of
from attnprobe.models.self_check import Difference, largest, layer_difference, tolerance

SENTENCES = (
    "The keys near the cabinet are old, and nobody knows which door they open.",
    "A letter that the author sent to her sisters was lost on the way.",
    "Because the street was too wide, the animal did not cross it.",
)
# Classes whose head reads the final states; some of them take no plain text, or no target.
CLASSIFIERS = ("ForMultipleChoice", "ForSequenceClassification")
# Tokens of the long text: `LONG`, or `BEYOND` more than the widest window or block of the model.
LONG = 96
BEYOND = 8
# Weights of the long text, over all layers and heads: 1 GB in float32 on each side.
MOST_WEIGHTS = 2**28


@dataclass(frozen=True)
class ReleaseRow:
    """The comparison on one kind of input.

    Attributes:
        architecture: the class that the model's configuration names.
        kind: `text`, `long text`, `text pair` or `chat`.
        tokens: how many tokens the tokenizer makes of the input.
        difference: largest absolute difference of a weight; None where nothing was compared.
        remark: why nothing was compared, or which window the long text does not reach.
        problem: the ids or weights that differ; empty where none do.
    """

    architecture: str
    kind: str
    tokens: int
    difference: float | None = None
    remark: str = ""
    problem: str = ""


@dataclass(frozen=True)
class _Input:
    """A sample, and what the tokenizer's own calls return for it.

    Attributes:
        encoded: inputs of the network, by their names.
        labels: ids of the target; empty where there is none.
        refusal: why the model's own code cannot make this input; empty where it can.
    """

    kind: str
    sample: Sample
    encoded: Mapping[str, Any]
    labels: Sequence[int] = ()
    refusal: str = ""


def network_as_released(model: Model) -> PreTrainedModel:
    """A new network from the model's files, of the class that its configuration names.

    The class without a head takes its place where the files lack the head's weights, as after a
    body was saved alone, and where the head is a classifier.

    Raises:
        ModelError: the model was handed over as a network.
    """
    if model.build is None:
        raise ModelError(f"{model.name} was handed over as a network, so there are no files of it")
    kind = named_class(getattr(model.network.config, "architectures", None))
    if kind is not None and not kind.__name__.endswith(CLASSIFIERS):
        with suppress(ModelError):
            return model.build(kind)
    return model.build(AutoModel)


def release_check(model: Model, build: Callable[[], PreTrainedModel]) -> list[ReleaseRow]:
    """Compares token ids and every weight on one input of each kind that the model takes.

    Args:
        build: makes a network that nothing has run on. It is called once for each kind.
    """
    return [_row(model, build, given) for given in _inputs(model)]


def _inputs(model: Model) -> list[_Input]:
    tokenizer = _tokenizer(model)

    def made(kind: str, sample: Sample, encoded: Mapping[str, Any]) -> _Input:
        target = sample.target
        return _Input(
            kind, sample, encoded, tokenizer(text_target=target)["input_ids"] if target else ()
        )

    target = PROBE.target if "cross" in model.sites else None
    text, long = PROBE.text, _long_text(model)
    found = [
        made("text", Sample(text, target), tokenizer(text)),
        made("long text", Sample(long, long if target else None), tokenizer(long)),
    ]
    segments = (segment_count(model.network) or 0) > 1 and "token_type_ids" in found[0].encoded
    if segments or "encoder" in model.sites:
        pair = SENTENCES[0]
        found.append(made("text pair", Sample(text, target, pair=pair), tokenizer(text, pair)))
    if getattr(tokenizer, "chat_template", None):
        chat = [{"role": "user", "content": text}]
        render = tokenizer.apply_chat_template
        try:
            rendered = render(chat, tokenize=False, add_generation_prompt=True)
            encoded = render(chat, tokenize=True, add_generation_prompt=True, return_dict=True)
        except Exception as error:  # noqa: BLE001  a template can raise anything
            refusal = f"the chat template cannot render it: {first_line(error)}"
            found.append(_Input("chat", Sample(text), {"input_ids": []}, refusal=refusal))
        else:
            found.append(made("chat", Sample(rendered, target, allow_special_tokens=True), encoded))
    return found


def _tokenizer(model: Model) -> Any:
    """A copy of the model's tokenizer, with the languages that the model was loaded with."""
    tokenizer = copy.deepcopy(model.tokenizer)
    languages = {"src_lang": model.source_language, "tgt_lang": model.target_language}
    for attribute, code in languages.items():
        if code is not None:
            setattr(tokenizer, attribute, code)
    return tokenizer


def _long_text(model: Model) -> str:
    """The longest text of whole words that `_long_length`, the model and memory allow."""
    heads = sum(sum(site.heads.values()) for site in model.sites.values())
    limits = (model.max_tokens, model.lengths.readable, math.isqrt(MOST_WEIGHTS // heads))
    most = min(_long_length(model), *(limit for limit in limits if limit is not None))
    words = " ".join(SENTENCES).split()

    def text(count: int) -> str:
        return " ".join(itertools.islice(itertools.cycle(words), count))

    def tokens(count: int) -> int:
        return len(model.tokenizer(text(count), verbose=False)["input_ids"])

    return text(max(1, bisect_right(range(1, most + 1), most, key=tokens)))


def _long_length(model: Model) -> int:
    """Tokens of a text that exceeds every window and block of the model."""
    windows = [window for site in model.sites.values() for window in site.windows.values()]
    return max(LONG, BEYOND + max((*windows, model.lengths.shared or 0)))


def _row(model: Model, build: Callable[[], PreTrainedModel], given: _Input) -> ReleaseRow:
    ids: list[int] = list(given.encoded["input_ids"])
    if given.refusal:
        return ReleaseRow(model.architecture, given.kind, len(ids), remark=given.refusal)
    try:
        encoding = model.encode(given.sample)
    except AttnprobeError as error:
        return ReleaseRow(model.architecture, given.kind, len(ids), remark=f"refused: {error}")
    network = build()
    row = ReleaseRow(type(network).__name__, given.kind, len(ids))
    try:
        _check_ids("token", encoding.source.ids, ids)
        inputs = _tensors(network, encoding, given)
        worst = _worst_difference(model, network, encoding, inputs)
    except AttnprobeError as error:
        return replace(row, problem=f"{model.name}, {given.kind}: {error}")
    row = replace(row, difference=worst.value)
    allowed = tolerance(network)
    if not worst.value <= allowed:  # written so that NaN is refused
        problem = (
            f"{model.name}, {given.kind}: {worst.site} {worst.head} differs by {worst.value:.2g} "
            f"from {row.architecture} as transformers loads and calls it, allowed {allowed:.0e}"
        )
        return replace(row, problem=problem)
    widest = _long_length(model) - BEYOND
    if given.kind == "long text" and LONG < len(ids) <= widest:
        return replace(row, remark=f"not longer than the widest window or block of {widest} tokens")
    return row


def _check_ids(what: str, ours: Sequence[int], theirs: Sequence[int]) -> None:
    """Raises ModelError where ids differ from those of the model's own tokenizer."""
    for place, (our, their) in enumerate(itertools.zip_longest(ours, theirs)):
        if our != their:
            raise ModelError(
                f"{what} {place} of {len(ours)} has the id {our} as attnprobe reads it, and the "
                f"id {their} of {len(theirs)} as the model's own tokenizer does"
            )


def _tensors(network: PreTrainedModel, encoding: Encoding, given: _Input) -> dict[str, Tensor]:
    """The tokenizer's output that the network takes, and the ids of the decoder."""
    takes = inspect.signature(network.forward).parameters
    device = device_of(network)
    inputs = {
        name: torch.tensor([ids], device=device)
        for name, ids in given.encoded.items()
        if name in takes
    }
    if encoding.target is None:
        return inputs
    ids = list(encoding.target.ids)
    shift = getattr(network, "prepare_decoder_input_ids_from_labels", None)
    if shift is not None:
        shifted = shift(labels=torch.tensor([list(given.labels)]))[0].tolist()
        # Where no special token closes the labels, attnprobe gives the decoder the last one too.
        _check_ids("decoder token", ids[: len(shifted)], shifted)
    return {**inputs, "decoder_input_ids": torch.tensor([ids], device=device)}


def _worst_difference(
    model: Model, network: PreTrainedModel, encoding: Encoding, inputs: Mapping[str, Tensor]
) -> Difference:
    """The largest difference between attnprobe's weights and those that the network returns.

    Raises:
        ModelError: the network has other sites, layers or heads.
    """
    # Set directly: set_attn_implementation refuses Falcon, whose code has an eager implementation.
    for config in configurations(network):
        config._attn_implementation_internal = "eager"
    # With a cache, which is for reading a text piece by piece, FSMT leaves out the causal mask.
    takes = inspect.signature(network.forward).parameters
    flags = {"use_cache": False} if "use_cache" in takes else {}
    with torch.no_grad():
        # BigBird replaces its attention modules in its first forward on a short text, and only the
        # new ones return weights.
        network(**inputs, **flags)
        outputs = network(**inputs, **flags, output_attentions=True)
    masks = {"attention_mask": torch.ones_like(inputs["input_ids"])}
    if "decoder_input_ids" in inputs:
        masks["decoder_attention_mask"] = torch.ones_like(inputs["decoder_input_ids"])
    returned = returned_weights(network, outputs, masks, alone=next(iter(model.sites)))
    del outputs
    layers = {name: site.layers for name, site in model.sites.items()}
    if {name: len(found) for name, found in returned.items()} != {
        name: len(numbers) for name, numbers in layers.items()
    }:
        raise ModelError(f"{type(network).__name__} returns weights of other sites or layers")
    found: list[Difference] = []
    for name, numbers in layers.items():
        rows = tuple(range(len(encoding.queries(name))))
        ours = model.collect([Need(encoding.sample, name, numbers, rows)])[0].weights
        for number, weights in zip(numbers, returned[name], strict=True):
            expected: Floats = weights[0].float().cpu().numpy()
            if ours[number].shape != expected.shape:
                raise ModelError(
                    f"{name} layer {number} has weights of the shape {list(ours[number].shape)} as "
                    f"attnprobe reads it, and {list(expected.shape)} as the network returns them"
                )
            found.append(layer_difference(name, number, ours[number], expected))
    return largest(found)
