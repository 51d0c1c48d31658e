"""Options with which a text is read in Python, and the sample that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, Unpack

from attnprobe.core.registry import did_you_mean
from attnprobe.core.texts import Message, Sample


class TextOptions(TypedDict, total=False):
    """Options for reading a text; all of them are optional.

    Attributes:
        pair: a second text after the first, as in `tokenizer(text, pair)`.
        target: the target text, for an encoder-decoder.
        source_language, target_language: language codes of a multilingual tokenizer, such as
            `fra_Latn`; by default those that the model was loaded with.
        allow_special_tokens: whether the text may spell special tokens, as the text of a chat
            template does.
        one_segment: whether the text may spell separators, which then start no second segment.
        messages: a conversation instead of a text, as for `apply_chat_template`:
            `[{"role": "user", "content": "Hello"}]`.
        generation_prompt: whether the conversation ends with the marks that begin an answer.
        generate: how many tokens of its own answer the model reads behind the text, at most.
    """

    pair: str | None
    target: str | None
    source_language: str | None
    target_language: str | None
    allow_special_tokens: bool
    one_segment: bool
    messages: Sequence[Mapping[str, str]] | None
    generation_prompt: bool
    generate: int | None


def text_sample(text: str | None, **options: Unpack[TextOptions]) -> Sample:
    """The sample of a text, or of messages.

    Raises:
        TypeError: `TextOptions` does not have one of the options; or there is neither a text nor
            messages, or both; or something of them is no text.
        ValueError: there are no messages.
    """
    __tracebackhide__ = True
    known = TextOptions.__annotations__
    for option in options:
        if option not in known:
            raise TypeError(f"unknown argument {option!r}; {did_you_mean(option, known)}")
    fields: dict[str, Any] = {**options}
    _check_generate(fields)
    messages = fields.pop("messages", None)
    if messages is None:
        if not isinstance(text, str):
            raise TypeError(f"give a text, or messages=, not {text!r}")
        if fields.get("generation_prompt"):
            raise TypeError("generation_prompt= goes with messages=")
        return Sample(text, **fields)
    if text is not None or fields.get("pair") is not None:
        raise TypeError("messages= stand for the text; give no other text")
    given = tuple(map(_message, messages))
    if not given:
        raise ValueError("messages= is empty; write {'role': 'user', 'content': ...}")
    if fields.get("generate"):
        fields["generation_prompt"] = True
    return Sample("", **fields, messages=given)


def _check_generate(fields: Mapping[str, Any]) -> None:
    """Raises TypeError or ValueError where an answer cannot be generated as the options say."""
    __tracebackhide__ = True
    count = fields.get("generate")
    if count is None:
        return
    if not isinstance(count, int) or isinstance(count, bool):
        raise TypeError(f"generate= is a number of tokens, not {count!r}")
    if count < 1:
        raise ValueError(f"generate= is a number of tokens from 1, not {count}")
    for other in ("pair", "target"):
        if fields.get(other) is not None:
            raise TypeError(f"generate= goes without {other}=")


def _message(given: object) -> Message:
    match given:
        case {"role": str(role), "content": str(content), **beside} if not beside:
            return Message(role, content)
    raise TypeError(f"a message is {{'role': ..., 'content': ...}} with two texts, not {given!r}")
