"""Trains the English-to-French translator of this folder and writes model/ and its card.

    python probes/translator/train.py

The number of steps is fixed, not the time, and one thread computes, so a seed gives the same
weights again on the same machine and library versions. Attention gets no signal of its own: the
loss is the cross-entropy of the French words, and the alignments are used for scoring alone.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import torch
from card import Trial, measure, write_card
from grammar import Sentence, corpus, sentences, vocabulary
from scoring import translate
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor
from transformers import MarianConfig, MarianMTModel, PreTrainedTokenizerFast

__all__ = [
    "CORPUS_SEED",
    "FRESH_SEED",
    "HELD_OUT",
    "MODEL",
    "SEED",
    "STEPS",
    "TRAINING",
    "TRIALS",
    "build_network",
    "build_tokenizer",
    "fresh_sentences",
    "save",
    "train",
]

MODEL = Path(__file__).parent / "model"
CORPUS_SEED = 0
FRESH_SEED = 1
# The network in `MODEL` is the trial of this seed, chosen among these by the head's alignment.
SEED = 2
TRIALS = (
    Trial(seed=0, exact=1.0000, head="L1H0", predicting=0.9786),
    Trial(seed=1, exact=0.9990, head="L1H2", predicting=0.9777),
    Trial(seed=2, exact=0.9990, head="L1H1", predicting=0.9900),
)
TRAINING, HELD_OUT = 40_000, 1_000
STEPS, WARM_UP, BATCH = 4_000, 400, 64
LEARNING_RATE = 1e-3
LONGEST = 64  # tokens, the closing mark included
PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
EXAMPLE = "The dog does not see the red house."
IGNORED = -100  # the label that torch's cross-entropy leaves out

log = logging.getLogger(__name__)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word or punctuation mark, both languages in one vocabulary, then `</s>`."""
    english, french = vocabulary()
    entries = [PAD, END, UNKNOWN, *sorted({*english, *french})]
    backend = Tokenizer(
        models.WordLevel({entry: n for n, entry in enumerate(entries)}, unk_token=UNKNOWN)
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(r"[^\w\s]"), behavior="isolated"),
        ]
    )
    backend.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, entries.index(END))]
    )
    # No word starts with the prefix; what is wanted is the full stop next to its word.
    backend.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        model_max_length=LONGEST,
    )


def build_network(tokenizer: PreTrainedTokenizerFast) -> MarianMTModel:
    """An untrained network: Marian, 2 + 2 layers of 4 heads, width 128."""
    config = MarianConfig(
        vocab_size=len(tokenizer),
        d_model=128,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=256,
        decoder_ffn_dim=256,
        dropout=0.1,
        attention_dropout=0.0,
        scale_embedding=True,
        max_position_embeddings=LONGEST,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        forced_eos_token_id=None,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    return MarianMTModel(config)


def train(
    sentences: Sequence[Sentence], *, seed: int, steps: int = STEPS
) -> tuple[MarianMTModel, list[float]]:
    """A network trained on the sentences, and the loss of each step in nats a token."""
    tokenizer = build_tokenizer()
    source = _padded(tokenizer, [one.source for one in sentences])
    target = _padded(tokenizer, [one.target for one in sentences])
    losses: list[float] = []
    began = time.monotonic()
    with _repeatable(seed):
        network = build_network(tokenizer).train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / WARM_UP, 1 - step / steps)
        )
        batches = _batches((source != IGNORED).sum(dim=1))
        while len(losses) < steps:
            loss = network(**_inputs(network, source, target, next(batches))).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            if len(losses) % 200 == 0:
                seconds = time.monotonic() - began
                log.info("step %d: loss %.4f, %.0f s", len(losses), losses[-1], seconds)
    return network.eval(), losses


@contextmanager
def _repeatable(seed: int) -> Iterator[None]:
    """One thread, since threads that share a sum change its last bits; one seed; exact kernels."""
    threads = torch.get_num_threads()
    exact = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(exact)
            torch.set_num_threads(threads)


def _padded(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> Tensor:
    """Token ids `[texts, longest]`, filled up with `IGNORED`."""
    rows = [torch.tensor(ids) for ids in tokenizer(list(texts))["input_ids"]]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORED)


def _batches(lengths: Tensor) -> Iterator[Tensor]:
    """Sentence numbers `[BATCH]` without end, of similar lengths in a batch to save padding."""
    while True:
        for pool in torch.randperm(len(lengths)).split(16 * BATCH):
            batches = pool[lengths[pool].argsort(stable=True)].split(BATCH)
            for number in torch.randperm(len(batches)).tolist():
                yield batches[number]


def _inputs(
    network: MarianMTModel, source: Tensor, target: Tensor, chosen: Tensor
) -> dict[str, Tensor]:
    texts, labels = (_trimmed(one[chosen]) for one in (source, target))
    real = texts != IGNORED
    return {
        "input_ids": texts.where(real, network.config.pad_token_id),
        "attention_mask": real.long(),
        "labels": labels,
    }


def _trimmed(ids: Tensor) -> Tensor:
    return ids[:, : int((ids != IGNORED).sum(dim=1).max())].contiguous()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=MODEL, help="folder to write")
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    training, held_out = corpus(training=TRAINING, held_out=HELD_OUT, seed=CORPUS_SEED)
    network, _ = train(training, seed=given.seed)
    fresh = fresh_sentences([*training, *held_out])
    save(network, held_out, given.out, fresh=fresh, seed=given.seed)


def fresh_sentences(known: Sequence[Sentence], count: int = HELD_OUT) -> list[Sentence]:
    """Sentences of a corpus of their own, without those that are known.

    No seed was chosen by them, so what a network scores here is no pick of the best.
    """
    seen = {one.source for one in known}
    return list(islice((one for one in sentences(FRESH_SEED) if one.source not in seen), count))


def save(
    network: MarianMTModel,
    held_out: Sequence[Sentence],
    folder: Path,
    *,
    fresh: Sequence[Sentence],
    seed: int,
) -> None:
    """Writes the network, its tokenizer and its card.

    Args:
        fresh: sentences that no choice was made by.
    """
    tokenizer = build_tokenizer()
    # The sinusoids of the positions: transformers leaves them out, and AutoModel misses them.
    network._keys_to_ignore_on_save = None
    network.generation_config.max_length = LONGEST
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with _repeatable(seed):
        untrained = build_network(tokenizer).eval()
        figures = measure(network, untrained, tokenizer, held_out, fresh)
    write_card(
        folder,
        figures,
        trials=TRIALS if seed == SEED else (),
        example=EXAMPLE,
        translation=translate(network, tokenizer, [EXAMPLE])[0],
        training=f"{TRAINING:,}",
        held_out=f"{HELD_OUT:,}",
        corpus_seed=CORPUS_SEED,
        fresh_seed=FRESH_SEED,
        parameters=f"{network.num_parameters():,}",
        steps=f"{STEPS:,}",
        warm_up=WARM_UP,
        batch=BATCH,
        rate=LEARNING_RATE,
        seed=seed,
    )
    best = figures.best
    log.info(
        "written: %s; exact match %.4f, %s aligns %.4f, the diagonal %.4f",
        folder,
        figures.exact,
        best,
        figures.heads[best].predicting,
        figures.diagonal,
    )


if __name__ == "__main__":
    main()
