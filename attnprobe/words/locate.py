"""Where a selector's word stands in a text, and what to say where it does not.

A phrase matches where both its ends are word boundaries.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

from attnprobe.core.errors import SelectorError
from attnprobe.core.printing import clip, display_width
from attnprobe.core.texts import Span
from attnprobe.words.segmentation import (
    GRAPHEME,
    TextPart,
    Which,
    has_ink,
    split_graphemes,
    split_texts,
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
    quoted,
)
from attnprobe.words.show import LINE, as_yaml, describe_code_points, escape, indent, underline

MOST_PLACES = 10  # places of an ambiguous word that a message shows


def locate(selector: Selector, text: str, *, pair_start: int | None = None) -> tuple[Span, ...]:
    """The characters that a selector means, one span for each of its parts, in their order.

    A `Special` has no characters and gives no span; a `Predicts` gives the word predicted. Of two
    texts, a phrase without `nth` is sought in both; `nth` and `chars` count in the first unless the
    selector says which.

    Args:
        text: two texts as `Sample.joined`.
        pair_start: where the second of two texts starts.

    Raises:
        SelectorError: a word is missing, or ambiguous, or differs from the text in characters
            that look alike; characters outside the text; `{pair: ...}` without a second text.
    """
    texts = split_texts(text, pair_start)
    return tuple(
        _locate_chars(part, texts) if isinstance(part, Chars) else _locate_word(part, texts)
        for part in selector.parts
        if not isinstance(part, Special)
    )


def _counted_in(part: Phrase | Predicts | Chars, texts: Sequence[TextPart]) -> TextPart:
    """The text that a selector counts in: the one it names, else the first."""
    for own in texts:
        if own.which == (part.which or "text"):
            return own
    raise SelectorError(
        "{pair: ...} names a word of a second text, and there is none; write text_pair: beside "
        "text:, or name the word without pair:"
    )


def _locate_chars(part: Chars, texts: Sequence[TextPart]) -> Span:
    own = _counted_in(part, texts)
    if part.end > len(own.text):
        raise SelectorError(
            f"chars: [{part.start}, {part.end}] lies outside {own.name} of {len(own.text)} "
            "characters"
        )
    if not has_ink(own.text[part.start : part.end]):
        raise SelectorError(
            f"chars: [{part.start}, {part.end}] selects only white space\n"
            + indent(underline(own.text, Span(part.start, part.end)))
        )
    return Span(own.start + part.start, own.start + part.end)


def _locate_word(part: Phrase | Predicts, texts: Sequence[TextPart]) -> Span:
    anywhere = part.which is None and part.nth is None
    sought = texts if anywhere else [_counted_in(part, texts)]
    places = [(own, span) for own in sought for span in _places(part.text, own.text)]
    if not places:
        elsewhere = None if anywhere else _elsewhere(part, sought[0], texts)
        raise SelectorError(elsewhere or _missing(part.text, sought))
    where = sought[0].name if len(sought) == 1 else "the two texts"
    if part.nth is None and len(places) > 1:
        form = _forms(part, places, texts)[1]
        raise SelectorError(
            f"{quoted(part.text)} stands {len(places)} times in {where}; "
            f"say which one, such as {form}\n{_listed(part, places, texts)}"
        )
    nth = part.nth or 1
    if nth > len(places):
        times = "once" if len(places) == 1 else f"{len(places)} times"
        raise SelectorError(
            f"{quoted(part.text)} stands {times} in {where}, there is no nth: {nth}\n"
            f"{_listed(part, places, texts)}"
        )
    own, span = places[nth - 1]
    return Span(own.start + span.start, own.start + span.end)


def _forms(
    part: Phrase | Predicts, places: Sequence[tuple[TextPart, Span]], texts: Sequence[TextPart]
) -> list[str]:
    """How to write a selector of each place."""
    kind = "word" if isinstance(part, Phrase) else "predicts"
    counts = Counter(own.which for own, _ in places)
    seen: Counter[Which] = Counter()
    forms = []
    for own, _ in places:
        seen[own.which] += 1
        nth = f", nth: {seen[own.which]}" if counts[own.which] > 1 else ""
        plain = kind == "word" and not nth
        form = as_yaml(part.text) if plain else f"{{{kind}: {as_yaml(part.text)}{nth}}}"
        counted = len(texts) == 1 or (nth and own.which == "text")
        forms.append(form if counted else f"{{{own.which}: {form}}}")
    return forms


def _elsewhere(part: Phrase | Predicts, own: TextPart, texts: Sequence[TextPart]) -> str | None:
    """What to write for a word that stands in the other text alone."""
    for other in texts:
        places = [(other, span) for span in _places(part.text, other.text)]
        if places:
            return (
                f"{quoted(part.text)} stands in {other.name}, not in {own.name}; write "
                f"{_forms(part, places, texts)[0]}\n" + indent(underline(other.text, places[0][1]))
            )
    return None


def _occurrences(phrase: str, text: str) -> Iterator[Span]:
    """Every place of a substring; places may overlap."""
    start = text.find(phrase)
    while start >= 0:
        yield Span(start, start + len(phrase))
        start = text.find(phrase, start + 1)


def _places(phrase: str, text: str) -> list[Span]:
    found = list(_occurrences(phrase, text))
    if not found:
        return []
    boundaries = word_boundaries(text)
    return [span for span in found if boundaries.issuperset(span)]


def _listed(
    part: Phrase | Predicts, places: Sequence[tuple[TextPart, Span]], texts: Sequence[TextPart]
) -> str:
    """The places of a word, each with what names it; `nth` alone where there is one text."""
    lines = []
    forms = _forms(part, places, texts)
    for number, (own, span) in enumerate(places[:MOST_PLACES]):
        label = f"  nth: {number + 1}  " if len(texts) == 1 else f"  {forms[number]}  "
        line, carets = underline(own.text, span).split("\n")
        lines += [label + line, " " * display_width(label) + carets]
    if len(places) > MOST_PLACES:
        lines.append(f"  and {len(places) - MOST_PLACES} more")
    return "\n".join(lines)


def _missing(phrase: str, texts: Sequence[TextPart]) -> str:
    """Why a phrase is not found, with the place in the texts that comes nearest."""
    for own in texts:
        alike = _look_alike(phrase, own.text)
        if alike:
            found = own.text[alike.start : alike.end]
            return (
                f"{quoted(phrase)} stands in {own.name} in other characters: "
                f"{_differences(phrase, found)}; write it as in {own.name}: {escape(found)}\n"
                + indent(underline(own.text, alike))
            )
    for own in texts:
        inside = next(_occurrences(phrase, own.text), None)
        if inside:
            whole = _whole(inside, own.text)
            return (
                f"{quoted(phrase)} stands in {own.name} only as a part of "
                f"{quoted(own.text[whole.start : whole.end])}\n"
                + indent(underline(own.text, whole))
            )
    where = texts[0].name if len(texts) == 1 else "either text"
    nearest = [(own.text, span) for own in texts for span in _nearest(phrase, own.text)]
    if not nearest:
        shown = "\n".join(f"  {clip(own.text, LINE)}" for own in texts)
        return f"{quoted(phrase)} does not stand in {where}{_meant(phrase)}:\n{shown}"
    names = ", ".join(quoted(text[span.start : span.end]) for text, span in nearest)
    place = indent(underline(*nearest[0]))
    return f"{quoted(phrase)} does not stand in {where}; nearest: {names}\n{place}"


def _whole(span: Span, text: str) -> Span:
    """The words that a span touches."""
    touched = [word for word in words(text) if word.start < span.end and span.start < word.end]
    return Span(
        min([span.start, *(word.start for word in touched)]),
        max([span.end, *(word.end for word in touched)]),
    )


def _nearest(phrase: str, text: str) -> list[Span]:
    """Up to three stretches of as many words as the phrase has, most alike first."""
    count = max(1, len(words(phrase)))
    spans = words(text)
    stretches: dict[str, Span] = {}
    for first, last in zip(spans, spans[count - 1 :], strict=False):
        stretch = Span(first.start, last.end)
        stretches.setdefault(text[stretch.start : stretch.end].casefold(), stretch)
    return [stretches[name] for name in difflib.get_close_matches(phrase.casefold(), stretches)]


_PLAIN = str.maketrans({"’": "'", "\u2010": "-", "\u2011": "-"})


def _plain(grapheme: str) -> str:
    """A grapheme without what the eye cannot tell: composition, zero width, kind of space."""
    composed = unicodedata.normalize("NFKC", grapheme).translate(_PLAIN)
    return "".join(
        " " if char.isspace() else char
        for char in composed
        if unicodedata.category(char) != "Cf" and not 0xFE00 <= ord(char) <= 0xFE0F
    )


def _look_alike(phrase: str, text: str) -> Span | None:
    """Where the text shows the phrase in other characters."""
    graphemes = [span for span in split_graphemes(text) if _plain(text[span.start : span.end])]
    plain = "".join(_plain(text[span.start : span.end]) for span in graphemes)
    origin = [span for span in graphemes for _ in _plain(text[span.start : span.end])]
    boundaries = word_boundaries(text)
    sought = "".join(map(_plain, GRAPHEME.findall(phrase)))
    if not sought:
        return None
    for start, end in _occurrences(sought, plain):
        span = Span(origin[start].start, origin[end - 1].end)
        begins = start == 0 or origin[start - 1] != origin[start]
        ends = end == len(origin) or origin[end] != origin[end - 1]
        if begins and ends and boundaries.issuperset(span):
            return span
    return None


def _differences(phrase: str, found: str) -> str:
    matcher = difflib.SequenceMatcher(a=found, b=phrase, autojunk=False)
    return "; ".join(
        f"the text has {describe_code_points(found[a:b])} "
        f"where the selector has {describe_code_points(phrase[c:d])}"
        for operation, a, b, c, d in matcher.get_opcodes()
        if operation != "equal"
    )


def _meant(phrase: str) -> str:
    """What to write instead of a phrase that spells a special token, or has curly quotes."""
    name = phrase.strip("[]<>").lower()
    if name in SPECIAL_NAMES and name != phrase.lower():
        return f"; write {{special: {name}}}"
    if phrase[0] in "\u201c\u201d\u2018\u2019":
        return "; the curly quotes are part of the word, write straight quotes"
    return ""
