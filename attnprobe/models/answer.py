"""The answer that a decoder gives to a text, generated greedily, and its tokens."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from attnprobe.core.errors import ModelError
from attnprobe.core.texts import Answer, Sample, Span, Tokens
from attnprobe.models.forward import accepted_inputs, running
from attnprobe.models.placement import device_of
from attnprobe.models.tokens import decoded_tokens

# Decoders write it for bytes that are no character.
_NO_CHARACTER = "\ufffd"


def end_tokens(network: PreTrainedModel, tokenizer: Any) -> frozenset[int]:
    """The tokens that end an answer, as `generate` of transformers takes them.

    Those of the network's generation configuration, or else the tokenizer's `eos_token`.
    """
    named = getattr(getattr(network, "generation_config", None), "eos_token_id", None)
    if named is None:
        named = tokenizer.eos_token_id
    found = named if isinstance(named, list | tuple) else [named]
    return frozenset(token for token in found if isinstance(token, int))


def generate(
    head: PreTrainedModel, prompt: Sequence[int], *, most: int, ends: Collection[int]
) -> tuple[int, ...]:
    """The likeliest token after the prompt, then the likeliest after that, and so on.

    Nothing but the network decides: no penalties, no sampling. The network computes with its own
    attention, and with its cache where it has one.

    Args:
        head: the network with its language-model head.
        most: the most tokens.
        ends: tokens that end the answer; they do not belong to it.

    Raises:
        ModelError: the network returns no logits of words.
    """
    accepted = accepted_inputs(head)
    # transformers 5.24 has renamed the argument.
    name = next((name for name in ("cache", "past_key_values") if name in accepted), "")
    cached = name != "" and "use_cache" in accepted
    device = device_of(head)
    found: list[int] = []
    cache = None
    with running(head, head.config._attn_implementation):
        torch.manual_seed(0)  # for networks that draw in every forward
        for _ in range(most):
            read = found[-1:] if cache is not None else [*prompt, *found]
            inputs: dict[str, Any] = {"input_ids": torch.tensor([read], device=device)}
            if "attention_mask" in accepted:
                inputs["attention_mask"] = torch.ones(
                    1, len(prompt) + len(found), dtype=torch.long, device=device
                )
            if cached:
                inputs |= {name: cache, "use_cache": True}
            outputs = head(**inputs)
            cache = getattr(outputs, name, None) if cached else None
            token = int(_last_logits(head, outputs).argmax())
            if token in ends:
                break
            found.append(token)
    return tuple(found)


def _last_logits(head: PreTrainedModel, outputs: Any) -> Tensor:
    logits = getattr(outputs, "logits", None)
    if not isinstance(logits, Tensor) or logits.dim() != 3:
        raise ModelError(f"{type(head).__name__} returns no logits of words")
    return logits[0, -1].float()


def read_answer(tokenizer: Any, ids: Sequence[int]) -> Answer:
    """Generated tokens as text.

    Tokens of parts of a character cover it together; special tokens cover none.
    """
    text = _decode(tokenizer, ids)
    spans: list[Span] = []
    start, before = 0, ""
    for count, token in enumerate(ids, start=1):
        prefix = _decode(tokenizer, ids[:count])
        shared = _shared(prefix, text)
        alone = _decode(tokenizer, [token])
        if (
            before == text[:start]
            and before.endswith(_NO_CHARACTER)
            and alone.startswith(_NO_CHARACTER)
            and len(prefix) < len(before + alone)
        ):
            start -= 1  # its first byte belongs to what is no character before it
        # What differs is the mark for a character that later tokens complete.
        spans.append(Span(start, min(shared + (shared < len(prefix)), len(text))))
        start, before = shared, prefix
    return Answer(text, tuple(ids), tuple(spans))


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    text: str = tokenizer.decode(
        list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return text


def _shared(prefix: str, text: str) -> int:
    """How many characters two texts have in common from their start."""
    pairs = enumerate(zip(prefix, text, strict=False))
    return next((at for at, (left, right) in pairs if left != right), min(len(prefix), len(text)))


def with_answer(tokenizer: Any, prompt: Tokens, sample: Sample, answer: Answer) -> Tokens:
    """The tokens of a text, and behind them those of the answer to it.

    Raises:
        ModelError: the tokenizer decodes a token to other characters than the token spells.
    """
    behind = decoded_tokens(tokenizer, answer)
    shift = sample.parts[-1].start
    moved = (span and Span(span.start + shift, span.end + shift) for span in behind.spans)
    return replace(
        prompt,
        text=sample.joined,
        ids=prompt.ids + behind.ids,
        pieces=prompt.pieces + behind.pieces,
        spans=(*prompt.spans, *moved),
        special=prompt.special + behind.special,
        unknown=(*prompt.unknown, *(len(prompt) + at for at in behind.unknown)),
        parts=sample.parts,
        segments=prompt.segments + prompt.segments[-1:] * len(behind),
    )
