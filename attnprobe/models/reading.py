"""Samples as one model reads them: the tokens of a text, and of a target behind the start token."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import replace
from typing import Any

from transformers import PreTrainedModel

from attnprobe.core.errors import ModelError
from attnprobe.core.texts import Sample, Tokens
from attnprobe.models.answer import with_answer
from attnprobe.models.chat import tokenize_messages
from attnprobe.models.forward import is_encoder_decoder
from attnprobe.models.haystack import written_out
from attnprobe.models.languages import Languages
from attnprobe.models.tokens import decoder_inputs, given, tokenize, tokenize_target
from attnprobe.models.vocabulary import check_rows, embedding_rows


class TextReader:
    """Reads texts with a model's tokenizer. Every measurement of a text reads it here.

    Args:
        source_language, target_language: of samples that name no language.

    Attributes:
        start: id that opens a decoder's input; None for a network that is no encoder-decoder.
        rows: rows of the network's embedding tables.
        languages: of the tokenizer.
    """

    def __init__(
        self,
        tokenizer: Any,
        network: PreTrainedModel,
        *,
        name: str,
        source_language: str | None = None,
        target_language: str | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.languages = Languages(
            tokenizer, name=name, source=source_language, target=target_language
        )
        self.start = _start_id(network)
        self.rows = embedding_rows(network)
        self._wraps = _wraps(network)
        self._name = name

    def source(self, sample: Sample) -> Tokens:
        """The tokens of a sample's text and pair, or of the ids or messages that it has instead.

        The model's own answer follows, where the sample has one.

        Raises:
            SelectorError: as `tokenize` and `tokenize_messages`, or the network has no embedding
                for a token.
            ModelError: as these, or the tokenizer needs a language and the sample names none.
        """
        if sample.answer is not None:
            prompt = self.source(sample.prompt)
            return with_answer(self.tokenizer, prompt, sample, sample.answer)
        if sample.ids is not None:
            tokens = given(self.tokenizer, sample.ids, one_segment=sample.one_segment)
            check_rows(tokens, self.rows.source, name=self._name)
            return tokens
        if sample.messages is not None:
            tokens = tokenize_messages(self.tokenizer, sample)
            check_rows(tokens, self.rows.source, name=self._name)
            return tokens
        language = self.languages.of(sample, "source_language")
        with self.languages.reading("source_language", language):
            return self._source(sample)

    def target(self, sample: Sample, text: str) -> Tokens:
        """The tokens of a target text behind the decoder's start, closing special tokens included.

        transformers trains on and generates this sequence: the labels that the tokenizer makes of
        the target, one position to the right.

        Args:
            sample: has this text as its target, or another that the text replaces.

        Raises:
            SelectorError: as `source`.
            ModelError: as `source`, or the model is no encoder-decoder.
        """
        if self.start is None:
            raise ModelError(f"{self._name} takes no target text; it is no encoder-decoder")
        language = self.languages.of(sample, "target_language")
        with self.languages.reading("target_language", language):
            tokens = self._target(sample, text, self.start)
        if language is None:
            self._check_no_language(tokens)
        return tokens

    def in_any_language(self, sample: Sample) -> tuple[Tokens, Tokens | None]:
        """A text and, where there is a decoder, its target in the tokenizer's first language.

        This is for checks of the network, which takes any tokens.
        """
        source = self._source(sample)
        if sample.target is None or self.start is None:
            return source, None
        language = next(iter(self.languages.codes), None)
        with self.languages.reading("target_language", language):
            return source, decoder_inputs(self._target(sample, sample.target, self.start))

    def _source(self, sample: Sample) -> Tokens:
        tokens = tokenize(
            self.tokenizer,
            sample.text if sample.haystack is None else written_out(sample),
            pair=sample.pair,
            allow_special_tokens=sample.allow_special_tokens,
            one_segment=sample.one_segment,
        )
        if sample.haystack is not None:
            tokens = replace(tokens, text=sample.joined, parts=sample.parts)
        check_rows(tokens, self.rows.source, name=self._name)
        return tokens

    def _target(self, sample: Sample, text: str, start: int) -> Tokens:
        tokens = tokenize_target(
            self.tokenizer,
            text,
            start=start,
            wraps=self._wraps,
            allow_special_tokens=sample.allow_special_tokens,
            one_segment=sample.one_segment,
        )
        check_rows(tokens, self.rows.target, name=self._name)
        return tokens

    def _check_no_language(self, target: Tokens) -> None:
        """Raises ModelError where a target is marked with a language that nobody can choose."""
        added = zip(target.pieces, target.spans, target.special, strict=True)
        marks = [piece for piece, span, name in added if span is None and name == "special"]
        if marks:
            raise ModelError(
                f"the tokenizer of {self._name} marks every text with {marks[0]}, targets too, and "
                f"takes no other language: it is a {type(self.tokenizer).__name__}; use "
                "the tokenizer class of the model, such as NllbTokenizer or MBart50Tokenizer"
            )


def _start_id(network: PreTrainedModel) -> int | None:
    """Id that opens a decoder's input; None for a network that is no encoder-decoder."""
    config = network.config
    if not is_encoder_decoder(network):
        return None
    for name in ("decoder_start_token_id", "bos_token_id", "pad_token_id"):
        found = getattr(config, name, None)
        if isinstance(found, int):
            return found
    raise ModelError(f"{type(network).__name__} names no decoder_start_token_id in its config")


def _wraps(network: PreTrainedModel) -> bool:
    """Whether the last token of the labels opens a decoder's input, as mBART's language does.

    The code of such a network shifts labels without a `decoder_start_token_id`.
    """
    for kind in type(network).__mro__:
        if kind.__module__.startswith("transformers.models."):
            code = importlib.import_module(kind.__module__)
            shift = getattr(code, "shift_tokens_right", None)
            known = () if shift is None else inspect.signature(shift).parameters
            return shift is not None and "decoder_start_token_id" not in known
    return False
