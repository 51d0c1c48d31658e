"""A loaded model: its sites, its tokens, its attention rows."""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import torch
from transformers import PreTrainedModel

from attnprobe.attention import Attention
from attnprobe.core.arrays import Floats
from attnprobe.core.errors import MeasureError, ModelError
from attnprobe.core.names import BATCH_TOKENS
from attnprobe.core.needs import MapNeed, MapSums, Need, Prediction, Readout, Rows, Similarity
from attnprobe.core.sites import Site, SiteName
from attnprobe.core.text_options import TextOptions, text_sample
from attnprobe.core.texts import Encoding, Sample, Tokens
from attnprobe.find import TOP, Found, find, read_marked
from attnprobe.models.ablation import Ablator
from attnprobe.models.capture import capture, survey
from attnprobe.models.classifier import Classified, Classifier, classified, with_classifier
from attnprobe.models.embedding import Embedder
from attnprobe.models.encoder import Encoder
from attnprobe.models.forward import (
    Padding,
    batch_inputs,
    position_offset,
    site_masks,
)
from attnprobe.models.handed_over import check_takes_text, network_sha256, unwrapped
from attnprobe.models.layout import find_layout
from attnprobe.models.lengths import length_rules
from attnprobe.models.memory import (
    MEMORY_FAILURES,
    check_memory,
    enough_memory,
    longest,
    missing_size,
    retry_smaller,
)
from attnprobe.models.options import LoadOptions
from attnprobe.models.placement import describe_devices, device_of
from attnprobe.models.plan import check_need, pack, plan_batches
from attnprobe.models.pooling import pool_of_object
from attnprobe.models.quantised import describe_quantised, quantises_activations
from attnprobe.models.reading import TextReader
from attnprobe.models.readout import Predictor, with_head
from attnprobe.models.self_check import (
    applied_windows,
    beyond_windows,
    in_float32,
    padding_check,
    self_check,
)
from attnprobe.models.survey import survey_batch
from attnprobe.models.tokens import prepare_tokenizer
from attnprobe.models.vocabulary import EmbeddingRows, check_vocabulary
from attnprobe.results.records import WeightsFormat
from attnprobe.rules.overview import describe_site

# The package under which transformers imports code that comes with weights.
REMOTE_MODULES = "transformers_modules"
# Computes readouts of one kind: `answer(readouts, batch_tokens=...)`.
_Answer = Callable[..., list[float]]
PROBE = Sample("The keys near the cabinet are old.", "The keys that are near the cabinet are old.")


@dataclass(frozen=True)
class Origin:
    """Where a model comes from, as results record it.

    Attributes:
        ref: the reference that was asked for.
        weights_sha256: of the files; None where the network was handed over.
        tokenizer_sha256: of the files, or of the tokenizer that was handed over.
        revision: commit of a hub model.
        weights_format: of the files; None where the network was handed over.
        ignored_code: files of the model that name code of its own, which was not run.
        pool: how the model makes its embeddings, as `pool_of_folder` says.
        base_sha256, adapter_sha256: of the files of a base and of its adapter alone.
        quantised: how the files hold the weights, where the network has them as plain numbers.
    """

    ref: str
    weights_sha256: str | None
    tokenizer_sha256: str
    revision: str | None = None
    weights_format: WeightsFormat | None = None
    ignored_code: tuple[str, ...] = ()
    pool: str | None = None
    base_sha256: str | None = None
    adapter_sha256: str | None = None
    quantised: str | None = None


class Model:
    """A network and its tokenizer, ready to give attention rows.

    Attributes:
        ref, revision, tokenizer_sha256, weights_format, ignored_code, base_sha256, adapter_sha256:
            as in `Origin`.
        tokenizer_ref: reference of the tokenizer, where it is not the model's own.
        device_map: which accelerate divided the network by; None where it did not.
        architecture: the network's class, such as `BertModel`.
        sites: the kinds of attention that the network has.
        max_tokens: longest text in tokens, special ones included; None where there is no limit.
        lengths: which texts may share a forward, and which are too long to be read.
        quantised: what of the network or of its files is quantised; None where nothing is.
        alone: whether a text never shares a forward, since activations are quantised by scales that
            depend on all texts.
        served: how rows are read: by the attention function, or from eager weights.
        batch_tokens: padded tokens that one forward may hold.
        forwards: number of forwards that rows, sums and readouts took so far.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        tokenizer: Any,
        *,
        name: str,
        origin: Origin,
        options: LoadOptions,
        load_head: Callable[[Any], PreTrainedModel] | None = None,
    ) -> None:
        self.network = network
        self.tokenizer = tokenizer
        self.name = name
        self.ref = origin.ref
        self.revision = origin.revision
        self._files_sha256 = origin.weights_sha256
        self.tokenizer_sha256 = origin.tokenizer_sha256
        self.tokenizer_ref = options.tokenizer
        self.device_map = options.device_map
        self.weights_format = origin.weights_format
        self.ignored_code = origin.ignored_code
        self._pool = origin.pool
        self.base_sha256 = origin.base_sha256
        self.adapter_sha256 = origin.adapter_sha256
        self.quantised = describe_quantised(network) or origin.quantised
        self.alone = quantises_activations(network)
        self.architecture = type(network).__name__
        self.batch_tokens = options.batch_tokens
        self.forwards = 0
        self._load_head = load_head
        self._classifiers: dict[Classified, Classifier] = {}
        check_takes_text(network, name)
        prepare_tokenizer(tokenizer)
        self._reader = TextReader(
            tokenizer,
            network,
            name=name,
            source_language=options.source_language,
            target_language=options.target_language,
        )
        self._start = self._reader.start
        check_vocabulary(tokenizer, self._reader.rows, name=name)
        self._pad_id = _pad_id(self._reader.rows, tokenizer)
        self.max_tokens = _max_tokens(network, tokenizer)
        self.lengths = length_rules(network)
        source, target = self._reader.in_any_language(PROBE)
        inputs = batch_inputs(
            network,
            [source.ids],
            [target.ids] if target else None,
            segments=[source.segments],
        )
        found = find_layout(network, inputs)
        long = beyond_windows(network, found, max_tokens=self.max_tokens)
        self._layout = applied_windows(network, found, long)
        self.sites: Mapping[SiteName, Site] = self._layout.sites
        self._encoder = Encoder(
            network,
            self._reader,
            sites=self.sites,
            max_tokens=self.max_tokens,
            lengths=self.lengths,
            head=lambda: self._with_head[0],
            name=name,
        )
        self.served = self._layout.served
        if options.check:
            try:
                with in_float32(network):
                    self._check(inputs, long, source, target)
            except MEMORY_FAILURES as error:
                check_memory(error)
                # In the network's own precision, with a wider bound.
                with enough_memory(f"{name} with its check", device_of(network)):
                    self._check(inputs, long, source, target)

    def _check(
        self,
        inputs: Mapping[str, torch.Tensor],
        long: Mapping[str, torch.Tensor] | None,
        source: Tokens,
        target: Tokens | None,
    ) -> None:
        """Compares one sentence, and a text beyond small windows, with eager attention.

        The sentence is also compared with itself beside a longer one, if it is ever measured so.
        """
        self_check(self.network, self._layout, inputs, name=self.name)
        if long is not None:
            self_check(self.network, self._layout, long, name=self.name)
        if self.alone:
            return
        padding_check(
            self.network,
            self._layout,
            source.ids,
            target.ids if target else None,
            segments=source.segments,
            pad_id=self._pad_id,
            shared=self.lengths.shared,
            name=self.name,
        )

    @classmethod
    def of(
        cls,
        network: Any,
        tokenizer: Any,
        *,
        name: str,
        batch_tokens: int = BATCH_TOKENS,
        check: bool = True,
        load_head: Callable[[Any], PreTrainedModel] | None = None,
        source_language: str | None = None,
        target_language: str | None = None,
        pool: str | None = None,
    ) -> Model:
        """A model from a network and a fast tokenizer that are already built.

        Measuring leaves the network as it is: its modes, gradients, hooks and configuration, and
        the states of random generators. A network that is trained further is measured with the
        weights that it has by then. The tokenizer is copied, since truncation and padding are
        switched off here.

        Args:
            network: of transformers, also inside of `torch.compile`, `DataParallel`, a pipeline or
                a SentenceTransformer.
            name: of the model in results.
            batch_tokens: padded tokens that one forward may hold.
            check: whether one sentence is compared with eager attention.
            load_head: builds the network as a given class of transformers with a language-model
                head, where `network` has none.
            source_language, target_language: of samples that name none, for a multilingual
                tokenizer; by default those that the tokenizer names.
            pool: `mean`, `cls` or `lasttoken`: how the model makes its embeddings; by default as a
                SentenceTransformer says, else the mean.

        Raises:
            ModelError: what is handed over holds no network that can be measured.
        """
        pool = pool or pool_of_object(network)
        network = unwrapped(network)
        return cls(
            network,
            copy.deepcopy(tokenizer),
            name=name,
            origin=Origin(name, None, _tokenizer_sha256(tokenizer), pool=pool),
            options=LoadOptions(
                batch_tokens=batch_tokens,
                check=check,
                source_language=source_language,
                target_language=target_language,
            ),
            load_head=load_head,
        )

    def with_network(
        self,
        network: PreTrainedModel,
        *,
        name: str | None = None,
        check: bool = True,
        load_head: Callable[[Any], PreTrainedModel] | None = None,
    ) -> Model:
        """A model of another network that reads texts as this one does."""
        return Model.of(
            network,
            self.tokenizer,
            name=name or self.name,
            batch_tokens=self.batch_tokens,
            check=check,
            load_head=load_head,
            source_language=self.source_language,
            target_language=self.target_language,
            pool=self._pool,
        )

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the files; of a network that was handed over, of the weights it has now."""
        return self._files_sha256 or network_sha256(self.network)

    @property
    def device(self) -> str:
        """The device on which the network computes: `cpu`, or several: `cuda:0, cuda:1`."""
        return describe_devices(self.network)

    @property
    def dtype(self) -> str:
        """The number type of the first weight: `float32`."""
        return str(next(self.network.parameters()).dtype).removeprefix("torch.")

    @property
    def source_language(self) -> str | None:
        """The language of texts that name none; None where there is no such language."""
        return self._reader.languages.stated["source_language"]

    @property
    def target_language(self) -> str | None:
        """The language of targets that name none; None where there is no such language."""
        return self._reader.languages.stated["target_language"]

    @property
    def build(self) -> Callable[[Any], PreTrainedModel] | None:
        """Loads the network anew as a given `AutoModel…` class; None where there are no files."""
        return self._load_head

    @property
    def key_value_heads(self) -> int | None:
        """The key-value heads that the query heads of a layer share; None if unknown."""
        count = getattr(self.network.config.get_text_config(), "num_key_value_heads", None)
        return count if isinstance(count, int) else None

    @property
    def remote_code(self) -> bool:
        """Whether the network's or the tokenizer's class came with the weights."""
        return any(
            kind.__module__.partition(".")[0] == REMOTE_MODULES
            for part in (self.network, self.tokenizer)
            for kind in type(part).__mro__
        )

    def __str__(self) -> str:
        revision = f" at {self.revision}" if self.revision else ""
        return f"{self.name}{revision} ({self.architecture}, {self.device}, {self.dtype})"

    def _repr_html_(self) -> str:
        """The model's card for a notebook."""
        from attnprobe.render.web.notebook import model_card

        sites = [(name, describe_site(site)) for name, site in self.sites.items()]
        rows = [
            ("class", self.architecture),
            *((name, text.partition(": ")[2]) for name, text in sites),
            ("longest text", self.max_tokens and f"{self.max_tokens} tokens"),
            ("numbers", f"{self.dtype} on {self.device}"),
            ("quantised", self.quantised),
            ("revision", self.revision),
            ("weights, SHA-256", self.weights_sha256),
        ]
        return model_card(self.name, rows)

    def encode(self, sample: Sample) -> Encoding:
        """The sample as this model reads it.

        Raises:
            SelectorError: longer than the model takes, a special token spelled in the text, or a
                token that the network has no embedding for.
            ModelError: a target text for a model that takes none, or a text in no language for a
                tokenizer that needs one.
        """
        return self._encoder.encode(sample)

    def attention(
        self,
        text: str | None = None,
        *,
        site: SiteName | None = None,
        **options: Unpack[TextOptions],
    ) -> Attention:
        """The attention on one text, or several, for probes in Python and for notebooks.

        Args:
            text: left out where there are messages.
            site: needed only where the model has several.
            options: `pair`, `messages` and others, as `TextOptions` describes them.

        Raises:
            SelectorError: longer than the model takes, or a special token spelled in the text.
            ModelError: the tokenizer needs a language and none is named.
        """
        return Attention(self, text_sample(text, **options), site)

    def find(
        self,
        texts: str | Sequence[str],
        *,
        from_: object = None,
        to: object = None,
        over: object = None,
        site: SiteName | None = None,
        top: int = TOP,
        **options: Unpack[TextOptions],
    ) -> Found:
        """The heads by which one word attends to another, the strongest first.

        Args:
            texts: one or several; words may be marked in them, as in
                `[to Maria] said that [from she] is late.`
            from_, to, over: word selectors, for texts in which the words are not marked: the word
                that attends, the word attended to, and one that competes with it.
            site: needed only where the model has several.
            top: how many heads to keep and to try on other word pairs.
            options: as `TextOptions` describes them, for all texts.

        Raises:
            SelectorError: a word is not in its text, or the text is longer than the model takes.
        """
        written = [texts] if isinstance(texts, str) else texts
        asked = [
            read_marked(text_sample(text, **options), from_=from_, to=to, over=over)
            for text in written
        ]
        return find(self, asked, site=site, top=top, batch_tokens=self.batch_tokens)

    def collect(
        self,
        needs: Sequence[Need],
        *,
        batch_tokens: int | None = None,
        padding: Padding = "right",
    ) -> list[Rows]:
        """The rows of each need, in the order of the needs.

        One forward serves all needs of a sample. Rows are read-only, since those of one sample may
        share memory.

        Args:
            batch_tokens: padded tokens that one forward may hold; the model's own by default.
            padding: the side on which short samples of a batch are filled. Left is for tests: a
                network that counts positions from the edge of the batch, such as BART, needs right.

        Raises:
            ModelError, SelectorError: a need outside the model or the sample.
            MeasureError: a row that is no distribution over the keys that it may see.
        """
        encodings = {need.sample: self.encode(need.sample) for need in needs}
        for need in needs:
            check_need(need, encodings[need.sample])
        return retry_smaller(
            lambda tokens: self._collect(needs, encodings, tokens, padding),
            self._batch_size(batch_tokens),
            list(encodings),
        )

    def _batch_size(self, batch_tokens: int | None) -> int:
        """The tokens that one forward may hold; a single text may be longer."""
        return 1 if self.alone else batch_tokens or self.batch_tokens

    def survey(
        self, needs: Sequence[MapNeed], *, batch_tokens: int | None = None
    ) -> Iterator[MapSums]:
        """Sums over the whole maps of each need's sample, a forward at a time.

        The forwards depend on the needs alone. All needs are of the same site.

        Raises:
            MeasureError: a row that is no distribution over the keys that it may see.
        """
        encodings = [self.encode(need.sample) for need in needs]
        lengths = [(len(read.source), len(read.target or ())) for read in encodings]
        size = self._batch_size(batch_tokens)
        for batch in pack(lengths, size, shared=self.lengths.shared):
            yield from self._survey(needs, encodings, batch)

    def _survey(
        self, needs: Sequence[MapNeed], encodings: Sequence[Encoding], batch: Sequence[int]
    ) -> list[MapSums]:
        """The sums of one forward; where memory does not suffice, of one for each half of it."""
        try:
            return [self._survey_batch(needs, encodings, batch)]
        except MEMORY_FAILURES as error:
            check_memory(error)
            size = missing_size(error)
        if len(batch) == 1:
            read = encodings[batch[0]]
            raise MeasureError(
                f"out of memory with the maps of a single text of {len(read.source)} tokens{size}; "
                f"leave it out: {longest([read.sample])}"
            )
        middle = len(batch) // 2
        return [
            *self._survey(needs, encodings, batch[:middle]),
            *self._survey(needs, encodings, batch[middle:]),
        ]

    def _survey_batch(
        self, needs: Sequence[MapNeed], encodings: Sequence[Encoding], batch: Sequence[int]
    ) -> MapSums:
        chosen = [encodings[index] for index in batch]
        site = chosen[0].site(needs[batch[0]].site)
        inputs = self._inputs(chosen)
        queries, keys = site_masks(site.name, inputs)
        self.forwards += 1
        return survey_batch(
            [needs[index] for index in batch],
            tuple(batch),
            site,
            (queries.shape[1], keys.shape[1]),
            functools.partial(survey, self.network, self._layout, inputs, site.name),
            device=str(device_of(self.network)),
        )

    def _inputs(
        self, encodings: Sequence[Encoding], padding: Padding = "right"
    ) -> dict[str, torch.Tensor]:
        start = self._start
        return batch_inputs(
            self.network,
            [read.source.ids for read in encodings],
            # Without a target, only the encoder is measured, and the decoder gets its start alone.
            None
            if start is None
            else [read.target.ids if read.target else (start,) for read in encodings],
            segments=[read.source.segments for read in encodings],
            pad_id=self._pad_id,
            padding=padding,
        )

    def read_out(
        self, readouts: Sequence[Readout], *, batch_tokens: int | None = None
    ) -> list[float]:
        """The model's own output, a number for each readout, in their order.

        A prediction gives the log probability of a word in nats, a class or an answer that of its
        classifier, a similarity a difference of cosines. What stands on top of the network is
        loaded for the first readout that needs it.

        Raises:
            ModelError: the model makes no such output, or lacks the heads to ablate.
            SelectorError: a word or text that the model cannot predict or embed.
            MeasureError: a probability or an embedding that is no number.
        """
        alike: dict[_Answer, list[Readout]] = {}
        for readout in readouts:
            alike.setdefault(self._answer_of(readout), []).append(readout)
        found: dict[Readout, float] = {}
        for answer, asked in alike.items():
            values = retry_smaller(
                functools.partial(_answer_within, answer, asked),
                self._batch_size(batch_tokens),
                [readout.sample for readout in asked],
            )
            found.update(zip(asked, values, strict=True))
        return [found[readout] for readout in readouts]

    def _answer_of(self, readout: Readout) -> _Answer:
        """What computes readouts of this kind."""
        match readout:
            case Prediction():
                return self._predictor.answer
            case Similarity():
                return self._embedder.answer
        return self._classifier(classified(readout)).answer

    def _classifier(self, what: Classified) -> Classifier:
        if what not in self._classifiers:
            head, body = with_classifier(self.network, self._load_head, what, name=self.name)
            self._classifiers[what] = Classifier(head, self._ablator(body), name=self.name)
        return self._classifiers[what]

    @functools.cached_property
    def _with_head(self) -> tuple[PreTrainedModel, PreTrainedModel]:
        causal = "decoder" in self.sites
        return with_head(self.network, self._load_head, causal=causal, name=self.name)

    @property
    def whole(self) -> PreTrainedModel:
        """The network with its language-model head, or without where the model has none."""
        try:
            return self._with_head[0]
        except ModelError:
            return self.network

    @functools.cached_property
    def _predictor(self) -> Predictor:
        head, body = self._with_head
        return Predictor(
            head,
            self._ablator(body),
            self._reader,
            max_tokens=self.max_tokens,
            name=self.name,
        )

    @functools.cached_property
    def _embedder(self) -> Embedder:
        return Embedder(self._ablator(self.network), pool=self._pool, name=self.name)

    def _ablator(self, network: PreTrainedModel) -> Ablator:
        return Ablator(
            network,
            self._layout,
            self.encode,
            start=self._start,
            pad_id=self._pad_id,
            shared=self.lengths.shared,
            name=self.name,
            on_forward=self._count,
        )

    def _count(self) -> None:
        self.forwards += 1

    def _collect(
        self,
        needs: Sequence[Need],
        encodings: Mapping[Sample, Encoding],
        batch_tokens: int,
        padding: Padding,
    ) -> list[Rows]:
        captured: dict[tuple[Sample, SiteName, int], tuple[tuple[int, ...], Floats]] = {}
        shared = self.lengths.shared
        for batch in plan_batches(needs, encodings, batch_tokens, shared=shared):
            chosen = [encodings[sample] for sample in batch.samples]
            inputs = self._inputs(chosen, padding)
            found = capture(self.network, self._layout, inputs, batch.wanted)
            self.forwards += 1
            for (site, layer), weights in found.items():
                rows = batch.wanted[site, layer]
                for sample, positions, taken in zip(batch.samples, rows, weights, strict=True):
                    captured[sample, site, layer] = positions, taken
        return [
            Rows(
                encodings[need.sample],
                need.site,
                need.rows,
                {
                    layer: _take(*captured[need.sample, need.site, layer], need.rows)
                    for layer in need.layers
                },
            )
            for need in needs
        ]


def _answer_within(answer: _Answer, asked: Sequence[Readout], batch_tokens: int) -> list[float]:
    return answer(asked, batch_tokens=batch_tokens)


def _take(positions: tuple[int, ...], weights: Floats, rows: tuple[int, ...]) -> Floats:
    """The wanted rows among captured ones: a view where all are wanted, else a read-only copy."""
    if rows == positions:
        return weights
    index = {position: place for place, position in enumerate(positions)}
    taken = weights[:, [index[row] for row in rows]]
    taken.flags.writeable = False
    return taken


def _pad_id(rows: EmbeddingRows, tokenizer: Any) -> int:
    """The tokenizer's padding id, or 0 where the network has no embedding for it."""
    found = getattr(tokenizer, "pad_token_id", None)
    if not isinstance(found, int):
        return 0
    return found if all(found < count for count in rows if count is not None) else 0


def _max_tokens(network: PreTrainedModel, tokenizer: Any) -> int | None:
    """The longest text in tokens: as many as there are positions and the tokenizer allows."""
    limit = getattr(network.config.get_text_config(), "max_position_embeddings", None)
    if not isinstance(limit, int) or limit <= 0:
        return None
    try:
        allowed = int(tokenizer.model_max_length)
    except (TypeError, ValueError):
        raise ModelError(
            f"the tokenizer's model_max_length is {tokenizer.model_max_length!r}, not a number"
        ) from None
    return min(limit - position_offset(network), allowed)


def _tokenizer_sha256(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return hashlib.sha256(backend.to_str().encode() if backend else b"").hexdigest()
