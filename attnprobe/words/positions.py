"""From selectors to token positions, and from tokens to words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from attnprobe.core.arrays import Floats
from attnprobe.core.errors import SelectorError
from attnprobe.core.printing import visible
from attnprobe.core.texts import Span, Tokens
from attnprobe.words.locate import locate
from attnprobe.words.segmentation import has_ink, strip_span, words
from attnprobe.words.selectors import (
    SPECIAL_NAMES,
    Predicts,
    Selector,
    Special,
    WholeMessage,
)
from attnprobe.words.show import indent, quoted, underline


@lru_cache(maxsize=4096)
def positions(selector: Selector, tokens: Tokens) -> tuple[int, ...]:
    """The token positions that a selector means, ascending.

    A token belongs to a word if all of its visible characters lie in the word. White space does not
    count, so ` are` belongs to `are`; all byte-level tokens of one character belong to its word.

    Raises:
        SelectorError: `locate` raises it; or a token covers more than the word, no token covers it,
            or its token is unknown; or the text has no such special token, or no token before a
            predicted word.
    """
    found: set[int] = set()
    for part in selector.parts:
        if isinstance(part, Special):
            found.update(_special_positions(part, tokens))
            continue
        (span,) = locate(Selector((part,)), tokens.text, parts=tokens.parts)
        if isinstance(part, WholeMessage):
            # Of a whole message, some words may be unknown.
            pieces = tuple(_word_positions(span, tokens))
        else:
            pieces = positions_of(span, tokens)
        if isinstance(part, Predicts):
            pieces = (_predicting_position(part, span, pieces[0], tokens),)
        found.update(pieces)
    return tuple(sorted(found))


def positions_of(span: Span, tokens: Tokens) -> tuple[int, ...]:
    """The token positions of these characters of `tokens.text`, ascending.

    Raises:
        SelectorError: as `positions`.
    """
    pieces = _word_positions(span, tokens)
    _check_known(span, pieces, tokens)
    return tuple(pieces)


def _special_positions(part: Special, tokens: Tokens) -> list[int]:
    found = _specials_named(part.name, tokens)
    if found and (part.nth or 1) <= len(found):
        return found if part.nth is None else [found[part.nth - 1]]
    if found:
        raise SelectorError(f"there is no {part}; special tokens of this name: {len(found)}")
    names = zip(tokens.special, tokens.pieces, strict=True)
    present = sorted({f"{name} ({visible(piece)})" for name, piece in names if name is not None})
    raise SelectorError(
        f"this model puts no {visible(part.name)} token around the text; "
        f"special tokens there: {', '.join(present) or 'none'}"
    )


def _specials_named(name: str, tokens: Tokens) -> list[int]:
    """The positions of the special tokens of a role or of a spelling, or of the first token."""
    if name == "first":
        return [index for index, role in enumerate(tokens.special) if role != "pad"][:1]
    if name in SPECIAL_NAMES:
        return [index for index, role in enumerate(tokens.special) if role == name]
    marks = zip(tokens.special, tokens.pieces, strict=True)
    return [
        index
        for index, (role, piece) in enumerate(marks)
        if role is not None and piece == visible(name)
    ]


def _word_positions(span: Span, tokens: Tokens) -> list[int]:
    text = tokens.text
    found: list[int] = []
    for index, covered in enumerate(tokens.spans):
        if covered is None or covered.end <= span.start or span.end <= covered.start:
            continue
        inner = Span(max(covered.start, span.start), min(covered.end, span.end))
        if not text[inner.start : inner.end].strip():
            continue
        before, after = text[covered.start : inner.start], text[inner.end : covered.end]
        if has_ink(before) or has_ink(after):
            raise SelectorError(_explain_no_boundary(span, index, tokens))
        found.append(index)
    if not found:
        raise SelectorError(
            f"no token stands for {quoted(text[span.start : span.end])}: the tokenizer drops it\n"
            + indent(underline(text, span, parts=tokens.parts))
        )
    return found


def _check_known(span: Span, pieces: Sequence[int], tokens: Tokens) -> None:
    """Refuses a word outside the vocabulary: all such words share the unknown token."""
    unknown = [index for index in pieces if index in tokens.unknown]
    if unknown:
        raise SelectorError(
            f"{quoted(tokens.text[slice(*span)])} becomes the unknown token "
            f"{tokens.pieces[unknown[0]]}: the model cannot see this word; name a word of its "
            "vocabulary\n" + indent(underline(tokens.text, span, parts=tokens.parts))
        )


def _explain_no_boundary(span: Span, index: int, tokens: Tokens) -> str:
    text = tokens.text
    token = strip_span(tokens.spans[index] or span, text)
    outside = [text[token.start : span.start].strip(), text[span.end : token.end].strip()]
    whole = Span(min(token.start, span.start), max(token.end, span.end))
    return (
        f"no token boundary there: the token {quoted(text[token.start : token.end])} also covers "
        f"{' and '.join(quoted(rest) for rest in outside if rest)}; "
        f"select the whole {quoted(text[whole.start : whole.end])}\n"
        + indent(underline(text, token, parts=tokens.parts))
    )


def _predicting_position(part: Predicts, span: Span, first: int, tokens: Tokens) -> int:
    if first == 0 or tokens.special[first - 1] == "pad":
        raise SelectorError(
            f"nothing predicts {quoted(part.text)}: no token stands before it\n"
            + indent(underline(tokens.text, span, parts=tokens.parts))
        )
    return first - 1


@dataclass(frozen=True)
class Group:
    """The token positions of one word, of several words that share a token, or of one other token.

    In `[CLS] it is unlikely [SEP]` the tokens `un` and `##likely` are one group.

    Attributes:
        label: the word as in the text, the special token, or white space made visible.
        positions: token positions, ascending.
        special: whether the group is a special token.
    """

    label: str
    positions: tuple[int, ...]
    special: bool


@lru_cache(maxsize=256)
def groups(tokens: Tokens, spans: tuple[Span, ...] | None = None) -> tuple[Group, ...]:
    """Divides all token positions into groups, ordered by their first position.

    Tokens of one word form a group, and so do tokens of words that share a token. A special token
    or an invisible token is a group of its own.

    Args:
        spans: the words of the text, in order, without overlap; by default those of `words`.
    """
    text = tokens.text
    spans = words(text) if spans is None else spans
    owner = {offset: number for number, word in enumerate(spans) for offset in range(*word)}
    touched: dict[int, list[int]] = {}
    # Of each word, the first word that it shares tokens with; a token touches consecutive words.
    first_of = list(range(len(spans)))
    for index, (span, special) in enumerate(zip(tokens.spans, tokens.special, strict=True)):
        if span is None or special is not None:
            continue
        covered = strip_span(span, text)
        numbers = [owner[at] for at in range(covered.start, covered.end) if at in owner]
        if numbers:
            touched[index] = numbers
            for number in range(numbers[0] + 1, numbers[-1] + 1):
                first_of[number] = number - 1
    for number, earlier in enumerate(first_of):
        first_of[number] = first_of[earlier] if earlier < number else number
    last_of = {first: number for number, first in enumerate(first_of)}

    members: dict[int, list[int]] = {}
    for index, numbers in touched.items():
        members.setdefault(first_of[numbers[0]], []).append(index)
    found = [
        Group(text[spans[first].start : spans[last_of[first]].end], tuple(indices), special=False)
        for first, indices in members.items()
    ]
    found += [
        Group(tokens.pieces[index], (index,), special=special is not None)
        for index, special in enumerate(tokens.special)
        if index not in touched
    ]
    return tuple(sorted(found, key=lambda group: group.positions))


def word_matrix(weights: Floats, rows: Sequence[Group], columns: Sequence[Group]) -> Floats:
    """Word weights `[..., rows, columns]` from token weights `[..., target, source]`.

    A word's row is the mean over its tokens, its column the sum (Clark et al. 2019, "What Does BERT
    Look At?", section 4.1).
    """
    summed = np.stack([weights[..., list(word.positions)].sum(-1) for word in columns], axis=-1)
    means = [summed[..., list(word.positions), :].mean(axis=-2) for word in rows]
    return np.stack(means, axis=-2)
