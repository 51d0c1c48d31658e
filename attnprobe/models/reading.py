"""How one model reads samples: the tokens of a text, and of a target behind the decoder's start."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from attnprobe import capture
from attnprobe.errors import ModelError
from attnprobe.models.tokens import given, tokenize, tokenize_target
from attnprobe.models.vocabulary import check_rows, embedding_rows
from attnprobe.records import Sample, Tokens

__all__ = ["TextReader"]


class TextReader:
    """Reads texts with a model's tokenizer; all that is measured of a text is read here.

    Attributes:
        start: id that opens a decoder's input; None for a network that is no encoder-decoder.
        rows: how many token ids the network has an embedding for.
    """

    def __init__(self, tokenizer: Any, network: PreTrainedModel, *, name: str) -> None:
        self.tokenizer = tokenizer
        self.start = _start_id(network)
        self.rows = embedding_rows(network)
        self._name = name

    def source(self, sample: Sample) -> Tokens:
        """The tokens of a sample's text, or of the ids that it gives instead.

        Raises:
            SelectorError: also where the network has no embedding for a token.
            SelectorError, ModelError: as `attnprobe.models.tokens.tokenize`.
        """
        if sample.ids is not None:
            tokens = given(self.tokenizer, sample.ids)
        else:
            allow = sample.allow_special_tokens
            tokens = tokenize(self.tokenizer, sample.text, allow_special_tokens=allow)
        check_rows(tokens, self.rows.source, name=self._name)
        return tokens

    def target(self, sample: Sample, text: str) -> Tokens:
        """The tokens of a target text behind the decoder's start, closing ones included.

        Args:
            sample: whose target it is, or stands in for.

        Raises:
            SelectorError: as `source`.
            ModelError: also where the model is no encoder-decoder.
        """
        if self.start is None:
            raise ModelError(f"{self._name} takes no target text; it is no encoder-decoder")
        tokens = tokenize_target(
            self.tokenizer,
            text,
            start=self.start,
            allow_special_tokens=sample.allow_special_tokens,
        )
        check_rows(tokens, self.rows.target, name=self._name)
        return tokens


def _start_id(network: PreTrainedModel) -> int | None:
    """Id that opens a decoder's input; None for a network that is no encoder-decoder."""
    config = network.config
    if not capture.is_encoder_decoder(network):
        return None
    for name in ("decoder_start_token_id", "bos_token_id", "pad_token_id"):
        found = getattr(config, name, None)
        if isinstance(found, int):
            return found
    raise ModelError(f"{type(network).__name__} names no decoder_start_token_id in its config")
