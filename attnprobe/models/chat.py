"""Conversations: the tokens that a tokenizer's chat template makes of messages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from attnprobe.core.errors import ModelError, SelectorError, first_line
from attnprobe.core.printing import visible
from attnprobe.core.texts import Message, Sample, Span, Tokens
from attnprobe.models.tokens import check_characters, check_spelled, tokenize_verbatim
from attnprobe.words.segmentation import has_ink
from attnprobe.words.show import indent, quoted, underline

_ADVICE = "write the rendered conversation as text: with allow_special_tokens: true"


class _Place(NamedTuple):
    """A message's characters in the rendered conversation, and in `Sample.joined`."""

    rendered: Span
    joined: Span

    def overlap(self, span: Span) -> Span:
        """The rendered characters of a token that belong to the message."""
        return Span(max(span.start, self.rendered.start), min(span.end, self.rendered.end))

    def in_joined(self, span: Span) -> Span:
        shift = self.joined.start - self.rendered.start
        return Span(span.start + shift, span.end + shift)


def tokenize_messages(tokenizer: Any, sample: Sample) -> Tokens:
    """The tokens of a conversation; their ids are those of `apply_chat_template`.

    Tokens that the template adds have no characters and are special.

    Raises:
        SelectorError: the template refuses the messages, or does more to one than to strip it; a
            token covers characters of a message and of the template; a message spells a special
            token without leave, or has half of a surrogate pair.
        ModelError: the tokenizer has no chat template; or as `tokenize`.
    """
    messages = sample.messages or ()
    check_characters(sample.parts)
    rendered = _render(tokenizer, messages, prompt=sample.generation_prompt)
    places = _find_places(tokenizer, sample, rendered)
    read = tokenize_verbatim(tokenizer, rendered)
    spans = tuple(span and _of_message(span, rendered, places) for span in read.spans)
    tokens = replace(
        read,
        text=sample.joined,
        spans=spans,
        special=tuple(
            name or (None if span else "special")
            for name, span in zip(read.special, spans, strict=True)
        ),
        parts=sample.parts,
    )
    check_spelled(
        tokenizer,
        tokens,
        allow_special_tokens=sample.allow_special_tokens,
        one_segment=sample.one_segment,
        alone=False,
    )
    return tokens


def _render(tokenizer: Any, messages: Sequence[Message], *, prompt: bool) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError(
            "the tokenizer has no chat template, which messages: need; name the tokenizer of a "
            "chat model with --attn-tokenizer, or write the conversation as text:"
        )
    conversation = [message._asdict() for message in messages]
    try:
        rendered = tokenizer.apply_chat_template(
            conversation, tokenize=False, add_generation_prompt=prompt
        )
    except Exception as error:
        raise SelectorError(
            f"the chat template refuses these messages: {visible(first_line(error))}"
        ) from error
    return str(rendered)


def _find_places(tokenizer: Any, sample: Sample, rendered: str) -> list[_Place]:
    """Where each message stands in the rendered conversation.

    The template renders stand-ins of the messages as well. What it puts around these must stand
    around the messages, which may be stripped.
    """
    messages = sample.messages or ()
    marks = [f"attnprobe-message-{number}-" for number, _ in enumerate(messages)]
    stand_ins = [
        message._replace(content=mark) for message, mark in zip(messages, marks, strict=True)
    ]
    skeleton = _render(tokenizer, stand_ins, prompt=sample.generation_prompt)
    for part, mark in zip(sample.parts, marks, strict=True):
        count = skeleton.count(mark)
        if count != 1:
            what = "repeats" if count else "leaves out"
            raise SelectorError(f"the chat template {what} {part.name}; {_ADVICE}")
    in_order = sorted(marks, key=skeleton.index) == marks
    begin, *between = re.split("|".join(marks), skeleton)
    pattern = re.escape(begin)
    for part, behind in zip(sample.parts, between, strict=True):
        text = part.text
        forms = dict.fromkeys((text, text.strip(), text.lstrip(), text.rstrip()))
        pattern += f"({'|'.join(map(re.escape, forms))}){re.escape(behind)}"
    found = re.fullmatch(pattern, rendered)
    if found is None or not in_order:
        raise SelectorError(
            "the chat template changes a message, or the order of the messages, so that their "
            f"words cannot be found; {_ADVICE}"
        )
    return [
        _place(Span(*found.span(number)), found[number], part.text, part.start)
        for number, part in enumerate(sample.parts, start=1)
    ]


def _place(rendered: Span, found: str, text: str, start: int) -> _Place:
    cut = 0 if text.startswith(found) else len(text) - len(text.lstrip())
    return _Place(rendered, Span(start + cut, start + cut + len(found)))


def _of_message(span: Span, rendered: str, places: Sequence[_Place]) -> Span | None:
    """The characters of a token in `Sample.joined`; None for a token of the template.

    A token that also covers white space of the template belongs to the message. One that covers
    only white space of a message, beside what the template spells, belongs to the template.

    Raises:
        SelectorError: the token covers visible characters of both, or of two messages.
    """
    for place in places:
        start, end = place.rendered
        if start <= span.start < end and span.end <= end:
            return place.in_joined(span)
    inked = [place for place in places if has_ink(rendered[slice(*place.overlap(span))])]
    if not inked:
        return None
    overlap = inked[0].overlap(span)
    outside = rendered[span.start : overlap.start] + rendered[overlap.end : span.end]
    if has_ink(outside):
        raise SelectorError(
            f"the token {quoted(rendered[slice(*span)])} covers characters of a message and others "
            "of the chat template, so it belongs to neither; begin and end messages in another "
            f"way, or {_ADVICE}\n" + indent(underline(rendered, span))
        )
    return inked[0].in_joined(overlap)
