"""Forwards in which the outputs of heads are read or replaced, before the output projection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from attnprobe.core.errors import ModelError
from attnprobe.core.sites import SiteName
from attnprobe.models.attention_function import Edit
from attnprobe.models.forward import accepted_inputs, site_masks, watch_forward
from attnprobe.models.layout import Layout
from attnprobe.models.quantised import quantises_activations


def replace_heads(chosen: Tensor, by: Tensor | None = None) -> Edit:
    """An edit that replaces the outputs of some heads by zeros, or by the vectors `by`.

    It acts before the output projection, which mixes the heads.

    Args:
        chosen: bool `[batch, heads]`.
        by: `[heads, depth]`.
    """

    def edit(output: Tensor) -> Tensor:
        _check_output(output, chosen.shape[1])
        instead = torch.zeros(()) if by is None else by
        here = chosen.to(output.device)[:, None, :, None]
        return torch.where(here, instead.to(output), output)

    return edit


def _check_output(output: Tensor, heads: int) -> None:
    if output.dim() != 4 or output.shape[2] != heads:
        raise ModelError(
            f"attention with an output of an unknown shape {list(output.shape)}; heads cannot be "
            "ablated in it"
        )


def head_sums(
    network: PreTrainedModel,
    where: Layout,
    inputs: Mapping[str, Tensor],
    layers: Sequence[tuple[SiteName, int]],
) -> dict[tuple[SiteName, int], tuple[Tensor, int]]:
    """The output of each head of some layers, summed over all tokens of a batch.

    Returns:
        For each site and layer float64 `[heads, depth]`, and the number of tokens.
    """
    found: dict[tuple[SiteName, int], tuple[Tensor, int]] = {}

    def summing(site: SiteName, layer: int) -> Edit:
        real, _ = site_masks(site, inputs)

        def edit(output: Tensor) -> Tensor:
            _check_output(output, where.sites[site].heads[layer])
            of_tokens = output[real.to(output.device)]
            found[site, layer] = (of_tokens.double().sum(dim=0), len(of_tokens))
            return output

        return edit

    edits = {where.calls[key]: summing(*key) for key in layers}
    watch_forward(network, inputs, rows={}, edits=edits)
    return found


def outputs_of(
    head: PreTrainedModel,
    body: PreTrainedModel,
    where: Layout,
    inputs: Mapping[str, Tensor],
    edits: Mapping[tuple[SiteName, int], Edit],
    **flags: Any,
) -> Any:
    """What a network returns whose heads' outputs are edited.

    Args:
        head: the network with the part on top that makes its outputs.
        body: the part of it, or all of it, that `where` is the layout of.
        flags: further arguments of its forward.
    """
    by_call = {where.calls[key]: edit for key, edit in edits.items()}
    _, outputs = watch_forward(body, inputs, rows={}, edits=by_call, head=head, **flags)
    return outputs


def predict(
    head: PreTrainedModel,
    body: PreTrainedModel,
    where: Layout,
    inputs: Mapping[str, Tensor],
    edits: Mapping[tuple[SiteName, int], Edit],
    *,
    positions: Sequence[int],
) -> Tensor:
    """Logits `[batch, positions, vocabulary]` of a network whose heads' outputs are edited.

    Args:
        head: the network with its language-model head.
        body: the part of it, or all of it, that `where` is the layout of.
        positions: in the padded batch.

    Raises:
        ModelError: the network returns no logits.
    """
    keep = torch.tensor(positions, device=inputs["input_ids"].device)
    # Where activations share one scale, the logits of a position depend on the others.
    limited = "logits_to_keep" in accepted_inputs(head) and not quantises_activations(head)
    flags: dict[str, Any] = {"logits_to_keep": keep} if limited else {}
    outputs = outputs_of(head, body, where, inputs, edits, **flags)
    logits = getattr(outputs, "logits", None)
    if not isinstance(logits, Tensor) or logits.dim() != 3:
        raise ModelError(f"{type(head).__name__} returns no logits of words")
    return logits if limited else logits[:, keep]


def final_states(
    network: PreTrainedModel,
    where: Layout,
    inputs: Mapping[str, Tensor],
    edits: Mapping[tuple[SiteName, int], Edit],
) -> Tensor:
    """Final hidden states `[batch, tokens, width]` of a network whose heads' outputs are edited.

    Raises:
        ModelError: the network returns no hidden states.
    """
    base: Any = network.base_model
    outputs = outputs_of(base, network, where, inputs, edits)
    states = getattr(outputs, "last_hidden_state", None)
    if not isinstance(states, Tensor) or states.dim() != 3:
        raise ModelError(f"{type(base).__name__} returns no hidden states of its tokens")
    return states
