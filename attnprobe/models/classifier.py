"""Log probabilities of the classes and answers that a model's own classifier gives.

The class of a text, of a word, and the answer to a question are of different networks: what stands
on top of the body is loaded for the first readout of its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
)

from attnprobe.core.errors import MeasureError, ModelError, SelectorError
from attnprobe.core.needs import AnswerScore, ClassScore
from attnprobe.core.registry import did_you_mean
from attnprobe.models.ablation import Ablator, Pass, alike
from attnprobe.models.edits import outputs_of
from attnprobe.models.readout import put_on
from attnprobe.words.positions import positions_of

Classified = Literal["text", "word", "answer"]


@dataclass(frozen=True)
class _Kind:
    """A kind of classifier.

    Attributes:
        auto: transformers' class that loads one.
        names: the classes of networks that are one.
        gives: what it gives, for messages.
    """

    auto: Any
    names: frozenset[str]
    gives: str


def _kind(auto: Any, names: Mapping[str, str], gives: str) -> _Kind:
    return _Kind(auto, frozenset(names.values()), gives)


_KINDS: Mapping[Classified, _Kind] = {
    "text": _kind(
        AutoModelForSequenceClassification,
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        "the class of a text (class:)",
    ),
    "word": _kind(
        AutoModelForTokenClassification,
        MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
        "the class of a word (class: and at:)",
    ),
    "answer": _kind(
        AutoModelForQuestionAnswering,
        MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
        "an answer in the text (answer:)",
    ),
}


def classified(readout: ClassScore | AnswerScore) -> Classified:
    """What a readout classifies."""
    if isinstance(readout, AnswerScore):
        return "answer"
    return "text" if readout.at is None else "word"


def with_classifier(
    network: PreTrainedModel,
    load: Callable[[Any], PreTrainedModel] | None,
    what: Classified,
    *,
    name: str,
) -> tuple[PreTrainedModel, PreTrainedModel]:
    """The network with its classifier on top, and the part of it that is the network without.

    Args:
        load: builds the network from its files as one of transformers' `AutoModelFor…` classes.

    Raises:
        ModelError: the model has no such classifier.
    """
    kind = _KINDS[what]
    if type(network).__name__ in kind.names:
        return network, network
    # Files of one kind of classifier would load as another: their weights have the same names.
    saved: list[str] = network.config.architectures or []
    if load is None or (saved and kind.names.isdisjoint(saved)):
        is_a = saved[0] if load is not None else type(network).__name__
        raise ModelError(
            f"{name} is a {is_a}, which does not give {kind.gives}; take a network as "
            f"{kind.auto.__name__} loads it"
        )
    try:
        head = load(kind.auto)
    except ModelError as error:
        raise ModelError(f"{name} does not give {kind.gives}: {error}") from error
    return head, put_on(head, network)


class Classifier:
    """Computes the readouts of one kind of classifier.

    Args:
        head: the network with its classifier, from `with_classifier`.
        ablator: of its body, from `with_classifier` as well.

    Raises:
        ModelError: the model is an encoder-decoder, whose classifiers read the text twice.
    """

    def __init__(self, head: PreTrainedModel, ablator: Ablator, *, name: str) -> None:
        if ablator.start is not None:
            raise ModelError(
                f"{name} is an encoder-decoder; class: and answer: are read from encoders and "
                "decoders; compare words with good:"
            )
        self._head = head
        self._ablator = ablator
        self._name = name
        config: Any = head.config
        self._labels: dict[str, int] = {
            str(label): int(number) for number, label in config.id2label.items()
        }
        # As transformers' own losses take them: each class has a probability of its own.
        self._independent = config.problem_type == "multi_label_classification"

    def answer(
        self, asked: Sequence[ClassScore | AnswerScore], *, batch_tokens: int
    ) -> list[float]:
        """The log probability of each class or answer, less that of the class to compare with."""
        self._ablator.forget()
        passes = [self._pass(readout) for readout in asked]
        found: dict[Pass, tuple[Tensor, ...]] = {}
        for batch in self._batches(dict.fromkeys(passes), batch_tokens):
            outputs = outputs_of(
                self._head,
                self._ablator.network,
                self._ablator.where,
                self._ablator.inputs(batch),
                self._ablator.edits(batch, batch_tokens=batch_tokens),
            )
            self._ablator.on_forward()
            found.update(zip(batch, zip(*self._logits(outputs), strict=True), strict=True))
        values = [
            self._score(readout, found[made]) for readout, made in zip(asked, passes, strict=True)
        ]
        for value in values:
            if not bool(value.isfinite()):
                raise MeasureError(f"{self._name} gives a class a probability that is no number")
        return [float(value) for value in values]

    def _batches(self, passes: Mapping[Pass, None], batch_tokens: int) -> Iterator[list[Pass]]:
        """Passes of one length: where decoders are padded, some classify the padding."""
        alone = self._head.config.get_text_config().pad_token_id is None
        for group in alike(passes):
            lengths: dict[int, list[Pass]] = {}
            for sequence in group:
                lengths.setdefault(len(sequence.source), []).append(sequence)
            for length, same in lengths.items():
                size = 1 if alone else max(1, batch_tokens // max(length, 1))
                for start in range(0, len(same), size):
                    yield same[start : start + size]

    def _logits(self, outputs: Any) -> tuple[Tensor, ...]:
        """Logits `[batch, classes]`, `[batch, tokens, classes]`, or of starts and of ends."""
        parts = tuple(
            getattr(outputs, part, None) for part in ("logits", "start_logits", "end_logits")
        )
        logits = tuple(part for part in parts if isinstance(part, Tensor))
        if not logits:
            raise ModelError(f"{type(self._head).__name__} returns no logits")
        return tuple(part.double() for part in logits)

    def _pass(self, asked: ClassScore | AnswerScore) -> Pass:
        ablation = self._ablator.resolve(asked.ablation, asked.sample)
        tokens = self._ablator.encode(asked.sample).source
        return Pass(tokens.ids, None, ablation, tokens.segments)

    def _score(self, asked: ClassScore | AnswerScore, logits: tuple[Tensor, ...]) -> Tensor:
        tokens = self._ablator.encode(asked.sample).source
        if isinstance(asked, AnswerScore):
            places = positions_of(asked.span, tokens)
            starts, ends = (part.log_softmax(dim=-1) for part in logits)
            return starts[places[0]] + ends[places[-1]]
        (of_text,) = logits
        of_class = of_text if asked.at is None else of_text[positions_of(asked.at, tokens)[0]]
        if len(self._labels) == 1:
            if asked.instead is not None:
                raise SelectorError(f"{self._name} has a single output, so leave out instead:")
            return of_class[self._number(asked.label)]
        scores = logsigmoid(of_class) if self._independent else of_class.log_softmax(dim=-1)
        score = scores[self._number(asked.label)]
        return score if asked.instead is None else score - scores[self._number(asked.instead)]

    def _number(self, label: str) -> int:
        if label not in self._labels:
            raise SelectorError(
                f"{self._name} has no class {label!r}; {did_you_mean(label, self._labels)}"
            )
        return self._labels[label]
