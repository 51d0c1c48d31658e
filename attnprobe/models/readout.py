"""Log probabilities that a model gives to words, with heads ablated or not.

A decoder predicts a word from the text before it, an encoder with all pieces of the word masked,
an encoder-decoder from its source and the target before the word. The log probability of a word
of several pieces is the sum over its pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
)

from attnprobe.core.errors import MeasureError, ModelError, SelectorError
from attnprobe.core.needs import Ablation, Prediction
from attnprobe.core.texts import Sample, Span, Tokens
from attnprobe.models.ablation import Ablator, Ids, Pass, alike
from attnprobe.models.edits import predict
from attnprobe.models.forward import is_encoder_decoder
from attnprobe.models.plan import pack
from attnprobe.models.reading import TextReader
from attnprobe.models.tokens import check_length
from attnprobe.words.positions import positions_of

# Logits of a forward, of networks that return those of all positions: 1 GiB of float32.
MOST_LOGITS = 2**28


@dataclass(frozen=True)
class _Term:
    """The log probability of a word.

    Attributes:
        by: the sequence that predicts the word.
        places: of each piece, the position that predicts it and its token id.
    """

    by: Pass
    places: tuple[tuple[int, int], ...]


def with_head(
    network: PreTrainedModel,
    load: Callable[[Any], PreTrainedModel] | None,
    *,
    causal: bool,
    name: str,
) -> tuple[PreTrainedModel, PreTrainedModel]:
    """The network with its language-model head, and the part of it that is the network without.

    The head is put on the given network, so that its weights are in memory once.

    Args:
        load: builds the network from its files as one of transformers' `AutoModelFor…` classes.

    Raises:
        ModelError: the model has no such head.
    """
    words: object = network.get_output_embeddings()
    if words is not None:
        return network, network
    kind: Any = AutoModelForCausalLM if causal else AutoModelForMaskedLM
    if is_encoder_decoder(network):
        kind = AutoModelForSeq2SeqLM
    advice = (
        f"good: and generate: need a model with a language-model head, as {kind.__name__} loads "
        "it; for a model that makes embeddings, write positive: and negative:"
    )
    if load is None:
        raise ModelError(f"{name} was handed over without a head; {advice}")
    try:
        head = load(kind)
    except ModelError as error:
        raise ModelError(f"{name} cannot predict words: {error}; {advice}") from error
    return head, put_on(head, network)


def put_on(head: PreTrainedModel, network: PreTrainedModel) -> PreTrainedModel:
    """Puts what is on top of `head` on a network; returns the network, or `head` if it is another.

    So the weights of the network are in memory once.
    """
    part: object = getattr(head, head.base_model_prefix, None)
    if type(part) is not type(network):
        return head
    setattr(head, head.base_model_prefix, network)
    return network


class Predictor:
    """Computes predictions of words.

    Args:
        head: the network with its language-model head, from `with_head`.
        ablator: of its body, from `with_head` as well.
        reader: of the model.
        max_tokens: longest text in tokens; None where there is no limit.
    """

    def __init__(
        self,
        head: PreTrainedModel,
        ablator: Ablator,
        reader: TextReader,
        *,
        max_tokens: int | None,
        name: str,
    ) -> None:
        self._head = head
        self._ablator = ablator
        self._start = ablator.start
        self._reader = reader
        self._max_tokens = max_tokens
        self._name = name

    def answer(self, asked: Sequence[Prediction], *, batch_tokens: int) -> list[float]:
        """Of each prediction the log probability in nats, less that of the word to compare with."""
        self._ablator.forget()
        terms = [self._terms(prediction) for prediction in asked]
        wanted: dict[Pass, dict[tuple[int, int], None]] = {}
        for good, bad in terms:
            for term in (good, bad):
                if term is not None:
                    wanted.setdefault(term.by, {}).update(dict.fromkeys(term.places))
        found: dict[Pass, dict[tuple[int, int], float]] = {}
        for passes in alike(wanted):
            lengths = [(len(sequence.source), len(sequence.target or ())) for sequence in passes]
            budget = self._budget(batch_tokens)
            for batch in pack(lengths, budget, shared=self._ablator.shared):
                chosen = [passes[index] for index in batch]
                found |= self._batch(chosen, wanted, batch_tokens=batch_tokens)

        def value(term: _Term | None) -> float:
            return sum(found[term.by][place] for place in term.places) if term else 0.0

        return [value(good) - value(bad) for good, bad in terms]

    def _budget(self, batch_tokens: int) -> int:
        words = int(self._head.config.get_text_config().vocab_size)
        return min(batch_tokens, max(1, MOST_LOGITS // words))

    def _batch(
        self,
        passes: Sequence[Pass],
        wanted: Mapping[Pass, Mapping[tuple[int, int], None]],
        *,
        batch_tokens: int,
    ) -> dict[Pass, dict[tuple[int, int], float]]:
        kept = sorted({position for sequence in passes for position, _ in wanted[sequence]})
        column = {position: index for index, position in enumerate(kept)}
        logits = predict(
            self._head,
            self._ablator.network,
            self._ablator.where,
            self._ablator.inputs(passes),
            self._ablator.edits(passes, batch_tokens=batch_tokens),
            positions=kept,
        )
        self._ablator.on_forward()
        found: dict[Pass, dict[tuple[int, int], float]] = {}
        for row, sequence in enumerate(passes):
            places = wanted[sequence]
            # The wanted rows alone: a softmax over all would double the memory of the logits.
            rows = [column[position] for position, _ in places]
            tokens = torch.tensor([token for _, token in places], device=logits.device)
            logs = logits[row, rows].float().log_softmax(dim=-1)
            values = logs.gather(1, tokens[:, None])[:, 0]
            if not bool(values.isfinite().all()):
                raise MeasureError(f"{self._name} gives words a probability that is no number")
            found[sequence] = dict(zip(places, values.tolist(), strict=True))
        return found

    def _terms(self, asked: Prediction) -> tuple[_Term, _Term | None]:
        sample, span = asked.sample, asked.span
        ablation = self._ablator.resolve(asked.ablation, sample)
        if self._start is not None:
            if sample.target is None:
                raise SelectorError("effect needs a target text; write target: beside text:")
            good = self._translated(sample, sample.target, span, ablation)
        elif span is None:
            raise SelectorError("effect needs a word of the text: good:")
        else:
            good = self._word(sample, span, ablation)
        if asked.instead is None:
            return good, None
        text = sample.joined if self._start is None else sample.target or ""
        span = span or Span(0, len(text))
        put = Span(span.start, span.start + len(asked.instead))
        if self._start is not None:
            changed = f"{text[: span.start]}{asked.instead}{text[span.end :]}"
            bad = self._translated(sample, changed, put, ablation)
        else:
            bad = self._word(sample.with_word(span, asked.instead), put, ablation)
        if self._masks and len(bad.places) != len(good.places):
            raise SelectorError(
                f"{text[slice(*span)]!r} is {len(good.places)} tokens and {asked.instead!r} "
                f"{len(bad.places)}; behind masks only words of as many tokens can be compared"
            )
        if self._around(bad) != self._around(good):
            where = "around" if self._masks else "before"
            raise SelectorError(
                f"the text is cut into other tokens {where} {asked.instead!r} than {where} "
                f"{text[slice(*span)]!r}; take words that begin alike, such as after a space"
            )
        return good, bad

    def _around(self, term: _Term) -> Ids:
        """What the model sees besides the word: the masked text, or what is before the word."""
        if self._masks:
            return term.by.source
        ids = term.by.source if self._start is None else term.by.target or ()
        return ids[: term.places[0][0] + 1]

    @property
    def _masks(self) -> bool:
        return "encoder" in self._ablator.where.sites and self._start is None

    def _word(self, sample: Sample, span: Span, ablation: Ablation | None) -> _Term:
        tokens = self._reader.source(sample if self._masks else sample.until(span.end))
        first, end = _pieces(tokens, span)
        ids, segments = tokens.ids, tokens.segments
        # A decoder gets neither the last piece nor what comes after it.
        count = len(ids) if self._masks else end - 1
        word = tokens.text[slice(*span)]
        check_length(count, "text", self._max_tokens, name=self._name, text=word)
        if self._masks:
            mask = self._reader.tokenizer.mask_token_id
            if mask is None or mask >= (self._reader.rows.source or mask + 1):
                raise ModelError(f"{self._name} has no mask token with an embedding")
            masked = (*ids[:first], *(mask,) * (end - first), *ids[end:])
            places = tuple((position, ids[position]) for position in range(first, end))
            return _Term(Pass(masked, None, ablation, segments), places)
        if first == 0:
            raise SelectorError(
                f"nothing stands before {word!r}; a decoder predicts a word from "
                "what comes before it"
            )
        places = tuple((position - 1, ids[position]) for position in range(first, end))
        return _Term(Pass(ids[: end - 1], None, ablation, segments[: end - 1]), places)

    def _translated(
        self, sample: Sample, target: str, span: Span | None, ablation: Ablation | None
    ) -> _Term:
        # One token longer than the decoder's input: the token before predicts each token.
        tokens = self._reader.target(sample, target)
        first, end = _pieces(tokens, span) if span else (1, len(tokens))
        if tokens.unknown and span is None:
            raise SelectorError(
                f"the target {target!r} has unknown tokens, whose likelihood says nothing about "
                "its words; name a word of the target: good:"
            )
        word = target[slice(*span)] if span else target
        if first == 0:
            raise SelectorError(f"{word!r} opens the decoder's input; nothing predicts it")
        check_length(end - 1, "target", self._max_tokens, name=self._name, text=word)
        places = tuple((position - 1, tokens.ids[position]) for position in range(first, end))
        source = self._ablator.encode(sample).source
        return _Term(Pass(source.ids, tokens.ids[: end - 1], ablation, source.segments), places)


def _pieces(tokens: Tokens, span: Span) -> tuple[int, int]:
    """First and one past the last token of a word.

    Raises:
        SelectorError: a token covers more than the word.
    """
    found = positions_of(span, tokens)
    return found[0], found[-1] + 1
