"""Samples as one model reads them: long texts filled, answers generated, lengths checked."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace

from transformers import PreTrainedModel

from attnprobe.core.errors import ModelError, SelectorError
from attnprobe.core.sites import Site, SiteName
from attnprobe.core.texts import Answer, Encoding, Sample, Tokens
from attnprobe.models.answer import end_tokens, generate, read_answer
from attnprobe.models.forward import segment_count
from attnprobe.models.haystack import fill
from attnprobe.models.lengths import LengthRules
from attnprobe.models.memory import enough_memory
from attnprobe.models.placement import device_of
from attnprobe.models.reading import TextReader
from attnprobe.models.tokens import check_length, decoder_inputs
from attnprobe.words.segmentation import has_ink
from attnprobe.words.show import quoted

# Samples whose tokens stay in memory.
MOST_ENCODINGS = 4096


class Encoder:
    """Encodes samples for a model.

    Args:
        sites: of the model.
        max_tokens: longest text in tokens; None where there is no limit.
        lengths: which texts are too long to be read.
        head: gives the network with its language-model head, which generates answers.
        name: of the model, for messages.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        reader: TextReader,
        *,
        sites: Mapping[SiteName, Site],
        max_tokens: int | None,
        lengths: LengthRules,
        head: Callable[[], PreTrainedModel],
        name: str,
    ) -> None:
        self._network = network
        self._reader = reader
        self._sites = sites
        self._max_tokens = max_tokens
        self._lengths = lengths
        self._segments = segment_count(network)
        self._head = head
        self._name = name
        self._encoded = functools.lru_cache(MOST_ENCODINGS)(self._encode)

    def encode(self, sample: Sample) -> Encoding:
        """The sample as the model reads it; as `Model.encode`."""
        return self._encoded(sample, self._writes() if sample.generate else 0)

    def _writes(self) -> int:
        """How often the weights were written to: a network that is trained answers otherwise."""
        weights = self._network.parameters()
        return sum(weight._version for weight in weights if not weight.is_inference())

    def _encode(self, sample: Sample, writes: int) -> Encoding:
        if sample.haystack is not None and sample.filled is None:
            sample = fill(sample, sample.haystack, lambda read: len(self._reader.source(read)))
        source, target = self._reader.source(sample), None
        if sample.target is not None:
            target = decoder_inputs(self._reader.target(sample, sample.target))
        self._check_lengths(sample, source, target)
        self._check_segments(source)
        if sample.generate is not None and sample.answer is None:
            sample = replace(sample, answer=self._answer_to(sample, source))
            source = self._reader.source(sample)
        return Encoding(sample, source, target, self._sites)

    def _check_lengths(self, sample: Sample, source: Tokens, target: Tokens | None) -> None:
        text = sample.in_one_line
        count = len(source) + (0 if sample.answer else sample.generate or 0)
        check_length(count, "text", self._max_tokens, name=self._name, text=text)
        if target is not None:
            count = len(target)
            check_length(count, "target", self._max_tokens, name=self._name, text=target.text)
        self._lengths.check(len(source), name=self._name, text=text)

    def _check_segments(self, tokens: Tokens) -> None:
        """Raises ModelError where the network has no embedding for a segment of the tokens."""
        known = self._segments
        if known and max(tokens.segments, default=0) >= known:
            raise ModelError(
                f"the tokenizer of {self._name} numbers segments up to {max(tokens.segments)}, and "
                f"the network has {known} from 0: the tokenizer is not that of this model"
            )

    def _answer_to(self, sample: Sample, prompt: Tokens) -> Answer:
        """What the model itself says next.

        Raises:
            ModelError: the model is no decoder, or has no language-model head.
            SelectorError: the model says nothing.
        """
        if list(self._sites) != ["decoder"]:
            raise ModelError(
                f"generate: needs a decoder that reads its own answer, and {self._name} is none"
            )
        head = self._head()
        ends = end_tokens(head, self._reader.tokenizer)
        with enough_memory(f"the answer of {self._name}", device_of(head)):
            ids = generate(head, prompt.ids, most=sample.generate or 0, ends=ends)
        answer = read_answer(self._reader.tokenizer, ids)
        if not has_ink(answer.text):
            said = f" but {quoted(answer.text)}" if answer.text else ""
            raise SelectorError(f"generate: {self._name} says nothing{said} behind this text")
        return answer
