"""The characters that a selector means in a text, and messages for a word that is not there.

A phrase matches where both of its ends are word boundaries.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from attnprobe.core.errors import SelectorError
from attnprobe.core.printing import GRAPHEME, clip, display_width
from attnprobe.core.registry import LONGEST_NAME, did_you_mean, nearest
from attnprobe.core.texts import InputText, Span, Which, input_texts
from attnprobe.words.segmentation import (
    has_ink,
    split_at_boundaries,
    split_graphemes,
    word_boundaries,
    words,
)
from attnprobe.words.selectors import (
    SPECIAL_NAMES,
    Chars,
    Phrase,
    Predicts,
    Selector,
    Special,
    WholeMessage,
)
from attnprobe.words.show import (
    LINE,
    as_yaml,
    describe_code_points,
    escape,
    indent,
    quoted,
    underline,
)

MOST_OCCURRENCES = 10  # a message shows so many occurrences of an ambiguous word
MOST_NTH = 1000  # no occurrences beyond are counted
# A message looks for words that resemble a missing one in so many characters of a text.
_SEARCHED = 2000
# Stands between the parts of a text; neither a case file nor a tokenizer accepts half of a pair of
# surrogates.
_BREAK = "\ud800"


class _Occurrence(NamedTuple):
    """A word in one of the input texts; `span` counts from the start of that text."""

    text: InputText
    span: Span


def locate(selector: Selector, text: str, *, parts: tuple[InputText, ...] = ()) -> tuple[Span, ...]:
    """The characters that a selector means: one span for each part, in order.

    A `Special` has no characters and yields no span. A `Predicts` yields the word that it predicts.
    In several texts, a phrase without `nth` is searched in all that the user wrote. In a pair,
    `nth` and `chars` count in the first text unless the selector names one; in a conversation it
    has to name a message.

    Args:
        text: `Sample.joined`.
        parts: its input texts; empty for one text.

    Raises:
        SelectorError: a word is missing or ambiguous, or the text spells it with other characters
            that look alike; characters lie outside the text; there is no such text or message.
    """
    texts = input_texts(text, parts)
    return tuple(_locate(part, texts) for part in selector.parts if not isinstance(part, Special))


def _searched(
    part: Phrase | Predicts | Chars | WholeMessage, texts: Sequence[InputText]
) -> Sequence[InputText]:
    """The texts that a selector may mean: those that the user wrote, or the answer if it says so.

    The long text around a needle is in none.
    """
    if part.which == "generated":
        found = [text for text in texts if text.which == "generated"]
        if not found:
            raise SelectorError(
                "{generated: ...} names a word of the model's own answer, and there is none; write "
                "generate: {max_tokens: 20} beside the text"
            )
        return found
    return [text for text in texts if text.which not in ("generated", "haystack")]


def _locate(part: Phrase | Predicts | Chars | WholeMessage, texts: Sequence[InputText]) -> Span:
    texts = _searched(part, texts)
    if isinstance(part, WholeMessage):
        found = _message_of(part, texts)
        return Span(found.start, found.end)
    return _locate_chars(part, texts) if isinstance(part, Chars) else _locate_word(part, texts)


def _locate_chars(part: Chars, texts: Sequence[InputText]) -> Span:
    text = _text_of(part, texts)
    if part.end > len(text.text):
        raise SelectorError(
            f"chars: [{part.start}, {part.end}] lies outside {text.name} of {len(text.text)} "
            "characters"
        )
    if not has_ink(text.text[part.start : part.end]):
        raise SelectorError(
            f"chars: [{part.start}, {part.end}] selects only white space\n"
            + indent(underline(text.text, Span(part.start, part.end)))
        )
    return Span(text.start + part.start, text.start + part.end)


def _locate_word(part: Phrase | Predicts, texts: Sequence[InputText]) -> Span:
    if not part.text:
        return _first_word(_text_of(part, texts))
    in_any_text = part.which is None and part.nth is None
    searched = texts if in_any_text else [_text_of(part, texts)]
    nth = part.nth or 1
    found = list(islice(_find_word(part.text, searched), min(max(nth, 2), MOST_NTH)))
    if not found:
        elsewhere = None if in_any_text else _explain_other_text(part, searched[0], texts)
        raise SelectorError(elsewhere or _explain_missing(part.text, searched))
    if nth > len(found) or (part.nth is None and len(found) > 1):
        raise SelectorError(_explain_count(part, searched, texts))
    text, span = found[nth - 1]
    return Span(text.start + span.start, text.start + span.end)


def _first_word(text: InputText) -> Span:
    found = words(text.text)
    if not found:
        raise SelectorError(f"there is no word in {text.name}: {quoted(text.text)}")
    return Span(text.start + found[0].start, text.start + found[0].end)


def _explain_count(
    part: Phrase | Predicts, searched: Sequence[InputText], texts: Sequence[InputText]
) -> str:
    """The message for a word that stands several times, or not as often as `nth` says."""
    occurrences = list(islice(_find_word(part.text, searched), MOST_NTH + 1))
    times = "once" if len(occurrences) == 1 else f"{len(occurrences)} times"
    if len(occurrences) > MOST_NTH:
        times = f"more than {MOST_NTH} times"
    stands = f"{quoted(part.text)} stands {times} in " + (
        searched[0].name if len(searched) == 1 else _describe_all(texts)
    )
    lines = _show_occurrences(part, occurrences, texts)
    if part.nth is None:
        example = _selector_forms(part, occurrences, texts)[1]
        return f"{stands}; say which one, such as {example}\n{lines}"
    if len(occurrences) > MOST_NTH:
        return f"{stands}, and nth: counts no further; name its characters: {{chars: [10, 16]}}"
    return f"{stands}, there is no nth: {part.nth}\n{lines}"


def _describe_all(texts: Sequence[InputText]) -> str:
    return "the two texts" if texts[0].role is None else "the messages"


def _text_of(part: Phrase | Predicts | Chars, texts: Sequence[InputText]) -> InputText:
    """The text that a selector names, or else the only or the first one."""
    if part.which == "generated":
        return texts[0]
    if isinstance(part.which, int) or texts[0].role is not None:
        return _message_of(part, texts)
    for text in texts:
        if text.which == (part.which or "text"):
            return text
    if part.which == "needle":
        raise SelectorError(
            "{needle: ...} names a word of a sentence in a long text, and there is none; write "
            "needle: and haystack: beside text:"
        )
    raise SelectorError(
        "{pair: ...} names a word of a second text, and there is none; write text_pair: beside "
        "text:, or name the word without pair:"
    )


def _message_of(
    part: Phrase | Predicts | Chars | WholeMessage, texts: Sequence[InputText]
) -> InputText:
    """The message that a selector names, or else the only one."""
    if part.which == "generated":
        return texts[0]
    if texts[0].role is None:
        key = "role" if part.which is None else "message"
        raise SelectorError(
            f"{{{key}: ...}} names one of several messages, and this is a text; write messages: "
            "instead of text:, or name a word of the text"
        )
    if isinstance(part, WholeMessage) and part.role is not None:
        return _message_of_role(part.role, part.nth, texts)
    if isinstance(part.which, str):
        raise SelectorError(
            f"{{{part.which}: ...}} names one of two texts, and these are messages; write "
            "{message: 1, word: it}"
        )
    number = part.which or (1 if len(texts) == 1 else None)
    if number is None:
        raise SelectorError(
            f"{part}: nth and chars count in one message; name it: {{message: 1, word: it, nth: 2}}"
        )
    if abs(number) > len(texts):
        raise SelectorError(f"there is no message {number}; their number is {len(texts)}")
    return texts[number - 1 if number > 0 else number]


def _message_of_role(role: str, nth: int | None, texts: Sequence[InputText]) -> InputText:
    found = [text for text in texts if text.role == role]
    roles = list(dict.fromkeys(text.role for text in texts if text.role is not None))
    if not found:
        raise SelectorError(f"no message has the role {quoted(role)}; {did_you_mean(role, roles)}")
    if nth is None and len(found) > 1:
        places = ", ".join(str(text.which) for text in found)
        raise SelectorError(
            f"{len(found)} messages have the role {quoted(role)}: {places}; say which one, such as "
            f"{{role: {as_yaml(role)}, nth: {len(found)}}}"
        )
    if (nth or 1) > len(found):
        raise SelectorError(
            f"there is no {{role: {as_yaml(role)}, nth: {nth}}}; messages of it: {len(found)}"
        )
    return found[(nth or 1) - 1]


def _find_word(phrase: str, texts: Sequence[InputText]) -> Iterator[_Occurrence]:
    """Every occurrence of a phrase between word boundaries; occurrences may overlap."""
    # Where both ends of a phrase are boundaries, text and phrase have the same boundaries inside.
    sought = _with_breaks(phrase)
    for text in texts:
        searched = _with_breaks(text.text)
        breaks = counted = 0
        at = searched.find(sought)
        while at >= 0:
            breaks += searched.count(_BREAK, counted, at)
            counted = at
            start = at - breaks
            yield _Occurrence(text, Span(start, start + len(phrase)))
            at = searched.find(sought, at + 1)


# The expectations of a case look for words in the same texts one after the other.
@lru_cache(maxsize=64)
def _with_breaks(text: str) -> str:
    """The text with a break at each word boundary."""
    return f"{_BREAK}{_BREAK.join(split_at_boundaries(text))}{_BREAK}"


def _find_substring(phrase: str, text: str) -> Iterator[Span]:
    """Every occurrence of a substring; occurrences may overlap."""
    start = text.find(phrase)
    while start >= 0:
        yield Span(start, start + len(phrase))
        start = text.find(phrase, start + 1)


def _selector_forms(
    part: Phrase | Predicts, occurrences: Sequence[_Occurrence], texts: Sequence[InputText]
) -> list[str]:
    """The YAML selectors of the first occurrences: `{word: it, nth: 2}`."""
    kind = "word" if isinstance(part, Phrase) else "predicts"
    totals = Counter(text.which for text, _ in occurrences)
    seen: Counter[Which] = Counter()
    forms = []
    for text, _ in occurrences[:MOST_OCCURRENCES]:
        seen[text.which] += 1
        nth = f", nth: {seen[text.which]}" if totals[text.which] > 1 else ""
        word_suffices = kind == "word" and not nth
        form = as_yaml(part.text) if word_suffices else f"{{{kind}: {as_yaml(part.text)}{nth}}}"
        alone = len(texts) == 1 and text.which != "generated"
        unambiguous = alone or (nth and text.which == "text")
        if isinstance(text.which, int) and not unambiguous:
            form = f"{{message: {text.which}, {kind}: {as_yaml(part.text)}{nth}}}"
        elif not unambiguous:
            form = f"{{{text.which}: {form}}}"
        forms.append(form)
    return forms


def _show_occurrences(
    part: Phrase | Predicts, occurrences: Sequence[_Occurrence], texts: Sequence[InputText]
) -> str:
    """The underlined occurrences, each behind its selector; in a single text behind its `nth`."""
    lines = []
    forms = _selector_forms(part, occurrences, texts)
    for number, (text, span) in enumerate(occurrences[:MOST_OCCURRENCES]):
        label = f"  nth: {number + 1}  " if len(texts) == 1 else f"  {forms[number]}  "
        line, carets = underline(text.text, span).split("\n")
        lines += [label + line, " " * display_width(label) + carets]
    if len(occurrences) > MOST_OCCURRENCES:
        least = "at least " if len(occurrences) > MOST_NTH else ""
        lines.append(f"  and {least}{len(occurrences) - MOST_OCCURRENCES} more")
    return "\n".join(lines)


def _explain_other_text(
    part: Phrase | Predicts, searched: InputText, texts: Sequence[InputText]
) -> str | None:
    """The message for a word that only the other text contains; None if neither does."""
    for text in texts:
        occurrences = list(islice(_find_word(part.text, [text]), MOST_NTH))
        if occurrences:
            form = _selector_forms(part, occurrences, texts)[0]
            return (
                f"{quoted(part.text)} stands in {text.name}, not in {searched.name}; write {form}\n"
                + indent(underline(text.text, occurrences[0].span))
            )
    return None


def _explain_missing(phrase: str, texts: Sequence[InputText]) -> str:
    """The message for a phrase that no text contains, with the nearest words."""
    texts = [text._replace(text=text.text[:_SEARCHED]) for text in texts]
    for text in texts:
        alike = _find_look_alike(phrase, text.text)
        if alike:
            found = text.text[alike.start : alike.end]
            return (
                f"{quoted(phrase)} stands in {text.name} in other characters: "
                f"{_describe_differences(phrase, found)}; write it as in {text.name}: "
                f"{escape(found)}\n" + indent(underline(text.text, alike))
            )
    for text in texts:
        inside = next(_find_substring(phrase, text.text), None)
        if inside:
            whole = _extend_to_words(inside, text.text)
            return (
                f"{quoted(phrase)} stands in {text.name} only as a part of "
                f"{quoted(text.text[whole.start : whole.end])}\n"
                + indent(underline(text.text, whole))
            )
    where = "either text" if texts[0].role is None else "any message"
    where = texts[0].name if len(texts) == 1 else where
    alike_words = [(text.text, span) for text in texts for span in _nearest(phrase, text.text)]
    if not alike_words:
        clipped = "\n".join(f"  {clip(text.text, LINE)}" for text in texts)
        return f"{quoted(phrase)} does not stand in {where}{_advise(phrase)}:\n{clipped}"
    names = ", ".join(quoted(text[span.start : span.end]) for text, span in alike_words)
    lines = indent(underline(*alike_words[0]))
    return f"{quoted(phrase)} does not stand in {where}; nearest: {names}\n{lines}"


def _extend_to_words(span: Span, text: str) -> Span:
    """The span together with every word that it overlaps."""
    overlapped = [word for word in words(text) if word.start < span.end and span.start < word.end]
    return Span(
        min([span.start, *(word.start for word in overlapped)]),
        max([span.end, *(word.end for word in overlapped)]),
    )


def _nearest(phrase: str, text: str) -> list[Span]:
    """Up to three word sequences as long as the phrase, the most similar first."""
    if len(phrase) > LONGEST_NAME:
        return []
    count = max(1, len(words(phrase)))
    spans = words(text)
    sequences: dict[str, Span] = {}
    for first, last in zip(spans, spans[count - 1 :], strict=False):
        sequence = Span(first.start, last.end)
        sequences.setdefault(text[sequence.start : sequence.end].casefold(), sequence)
    return [sequences[name] for name in nearest(phrase.casefold(), list(sequences), count=3)]


def _find_look_alike(phrase: str, text: str) -> Span | None:
    """The characters of the text that look like the phrase but differ from it."""
    graphemes = [span for span in split_graphemes(text) if _skeleton(text[span.start : span.end])]
    skeleton = "".join(_skeleton(text[span.start : span.end]) for span in graphemes)
    origin = [span for span in graphemes for _ in _skeleton(text[span.start : span.end])]
    boundaries = word_boundaries(text)
    searched = "".join(map(_skeleton, GRAPHEME.findall(phrase[: 2 * _SEARCHED])))
    if not searched:
        return None
    for start, end in _find_substring(searched, skeleton):
        span = Span(origin[start].start, origin[end - 1].end)
        begins = start == 0 or origin[start - 1] != origin[start]
        ends = end == len(origin) or origin[end] != origin[end - 1]
        if begins and ends and boundaries.issuperset(span):
            return span
    return None


_PLAIN_PUNCTUATION = str.maketrans({"’": "'", "\u2010": "-", "\u2011": "-"})


@lru_cache(maxsize=4096)
def _skeleton(grapheme: str) -> str:
    """A form that graphemes of the same look share: composed, plain spaces, nothing invisible."""
    composed = unicodedata.normalize("NFKC", grapheme).translate(_PLAIN_PUNCTUATION)
    return "".join(
        " " if char.isspace() else char
        for char in composed
        if unicodedata.category(char) != "Cf" and not 0xFE00 <= ord(char) <= 0xFE0F
    )


def _describe_differences(phrase: str, found: str) -> str:
    """Where two spellings differ; of long ones, where they first differ."""
    count = None
    if len(phrase) > LONGEST_NAME:
        pairs = enumerate(zip(phrase, found, strict=False))
        start, count = next((at for at, (left, right) in pairs if left != right), 0), 1
        phrase, found = (text[start : start + LONGEST_NAME] for text in (phrase, found))
    matcher = difflib.SequenceMatcher(a=found, b=phrase, autojunk=False)
    differences = (
        f"the text has {describe_code_points(found[a:b])} "
        f"where the selector has {describe_code_points(phrase[c:d])}"
        for operation, a, b, c, d in matcher.get_opcodes()
        if operation != "equal"
    )
    return "; ".join(islice(differences, count))


def _advise(phrase: str) -> str:
    """Advice for a phrase that spells a special token or has curly quotes."""
    name = phrase.strip("[]<>").lower()
    if name in SPECIAL_NAMES and name != phrase.lower():
        return f"; write {{special: {name}}}"
    if phrase[0] in "\u201c\u201d\u2018\u2019":
        return "; the curly quotes are part of the word, write straight quotes"
    return ""
