"""From token positions back to a selector that names them in a case file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from attnprobe.core.errors import SelectorError
from attnprobe.core.texts import Span, Tokens, text_at
from attnprobe.words.positions import Group, positions
from attnprobe.words.segmentation import strip_span
from attnprobe.words.selectors import SPECIAL_NAMES, parse_selector


def selector_values(units: Sequence[Group], tokens: Tokens) -> tuple[object, ...]:
    """For each unit the plainest selector that means exactly its tokens, as a value of YAML.

    None where no selector does: a piece that shares its characters with another one, say.
    """
    count = Counter(unit.label for unit in units)
    seen: dict[str, int] = {}
    found = []
    for unit in units:
        seen[unit.label] = seen.get(unit.label, 0) + 1
        nth = seen[unit.label] if count[unit.label] > 1 else None
        candidates = _candidates(unit, nth, tokens)
        found.append(next((value for value in candidates if _means(value, unit, tokens)), None))
    return tuple(found)


def _candidates(unit: Group, nth: int | None, tokens: Tokens) -> Iterator[object]:
    role = tokens.special[unit.positions[0]]
    if role is not None:
        before = [name for name in tokens.special[: unit.positions[0]] if name == role]
        if role in SPECIAL_NAMES:
            yield {"special": role}
        yield {"special": "first"}
        if role in SPECIAL_NAMES:
            yield {"special": role, "nth": len(before) + 1}
        yield {"special": unit.label}
        yield {"special": unit.label, "nth": nth or 1}
        return
    spans = [span for at in unit.positions if (span := tokens.spans[at]) is not None]
    if not spans:
        return
    start, end = min(span.start for span in spans), max(span.end for span in spans)
    span = strip_span(Span(start, end), tokens.text)
    word = tokens.text[slice(*span)]
    part, inner = text_at(span, tokens.text, tokens.parts)
    chars = {"chars": [*inner]}
    if nth is None and word:
        yield word
    if isinstance(part.which, int):
        if nth is None:
            yield {"message": part.which, "word": word}
        yield {"message": part.which, **chars}
    elif part.which == "text":
        if nth is not None:
            yield {"word": word, "nth": nth}
        yield chars
    else:
        if nth is None:
            yield {part.which: word}
        yield {part.which: chars}


def _means(value: object, unit: Group, tokens: Tokens) -> bool:
    try:
        return positions(parse_selector(value), tokens) == unit.positions
    except (SelectorError, ValueError):
        return False
