"""Three small tokenizers, one of each family, built offline from a few sentences.

Other tests use them in place of a model's tokenizer: `build("wordpiece")`.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from attnprobe.core.texts import Span, Tokens
from attnprobe.words.spelling import display_pieces

Kind = Literal["wordpiece", "bytebpe", "unigram"]
KINDS: tuple[Kind, ...] = get_args(Kind)

CORPUS = (
    "The animal didn't cross the street because it was too tired.",
    "The animal didn't cross the street because it was too wide.",
    "The keys near the cabinet are old, and the key near the cabinets is old.",
    "A well-known author praised herself; the dog's owner said: 'meow!'",
    "Das Mädchen läuft über die Straße. Le café était fermé à midi.",
    "日本語の文と中文。 ทางเดิน שלום עולם مرحبا بالعالم 😀",
)
# The pieces of WordPiece and Unigram are listed, not trained: their trainers break ties by hash
# order and give another vocabulary in each process.
ENDINGS = ("s", "ed", "ing", "er", "ly", "self", "est")


def build(kind: Kind) -> PreTrainedTokenizerFast:
    """A fast tokenizer of a family, as a model of that family would bring it.

    `wordpiece`: BERT, uncased, `[CLS] text [SEP]`. `bytebpe`: byte-level BPE of a decoder,
    `<s> text`, never an unknown token. `unigram`: SentencePiece of an encoder-decoder, NFKC,
    `text </s>`. All pad with their pad token and know bos, eos, cls, sep, pad and unk as far as
    the family has them.
    """
    return {"wordpiece": _wordpiece, "bytebpe": _bytebpe, "unigram": _unigram}[kind]()


def tokens_of(tokenizer: PreTrainedTokenizerFast, text: str) -> tuple[Tokens, list[str]]:
    """A tokenised text and its raw tokens."""
    encoded = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True)
    roles = {
        getattr(tokenizer, f"{role}_token_id"): role for role in ("pad", "bos", "eos", "sep", "cls")
    }
    ids = encoded["input_ids"]
    marks = encoded["special_tokens_mask"]
    spans = tuple(
        None if mark else Span(*offsets)
        for mark, offsets in zip(marks, encoded["offset_mapping"], strict=True)
    )
    spelled = tokenizer.convert_ids_to_tokens(ids)
    tokens = Tokens(
        text=text,
        ids=tuple(ids),
        pieces=display_pieces(spelled, spans, text, unknown={tokenizer.unk_token}),
        spans=spans,
        special=tuple(
            roles.get(token, "special") if mark else None
            for token, mark in zip(ids, marks, strict=True)
        ),
    )
    return tokens, spelled


def _corpus_words(tokenizer: Tokenizer) -> list[str]:
    found: set[str] = set()
    for sentence in CORPUS:
        normal = tokenizer.normalizer.normalize_str(sentence)
        found.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal))
    return sorted(found)


def _wordpiece() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    corpus = _corpus_words(tokenizer)
    letters = sorted(set("".join(corpus)))
    short = [word for word in corpus if 1 < len(word) < 7]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *short]
    pieces += [f"##{ending}" for ending in sorted({*letters, *ENDINGS})]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer.model = models.WordPiece(vocabulary, unk_token="[UNK]")
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(mark, vocabulary[mark]) for mark in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )


def _bytebpe() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)]),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def _unigram() -> PreTrainedTokenizerFast:
    special = ["<pad>", "</s>", "<unk>"]
    tokenizer = Tokenizer(models.Unigram([(piece, 0.0) for piece in special], unk_id=2))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    corpus = _corpus_words(tokenizer)
    letters = sorted(set("".join(corpus)))
    scores = dict.fromkeys(special, 0.0) | dict.fromkeys(letters, -9.0)
    scores |= {piece: -8.0 for word in corpus for piece in (word[:3], word) if 1 < len(piece) < 8}
    scores |= dict.fromkeys(ENDINGS, -8.5) | {"▁": -9.0}
    tokenizer.model = models.Unigram(list(scores.items()), unk_id=2)
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([AddedToken(piece, special=True) for piece in special])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", eos_token="</s>"
    )


def gpt2_like() -> Any:
    """Words that are cut at spaces; the unknown one, the start and the end are one token."""
    words = ["<|endoftext|>", "the", "keys", "are"]
    backend = Tokenizer(
        models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<|endoftext|>")
    )
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token=end, bos_token=end, eos_token=end
    )
