"""Sentences with labelled relations between their words, and the file that they are read from."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from attnprobe.core.errors import CorpusError, Mark
from attnprobe.core.texts import Sample, Span
from attnprobe.core.wording import plural
from attnprobe.words.looks import LabelledPair, Words


class Arc(NamedTuple):
    """A relation between two words, such as nsubj from dog to barked in "The dog barked".

    Attributes:
        dependent, head: the characters of the words in `Sample.joined`; if the sentence has a
            target text, `dependent` counts in the target.
        relation: the label, such as `nsubj:pass`.
        candidates: the only words that compete with `head`; if empty, all words of the text.
    """

    dependent: Span
    head: Span
    relation: str
    candidates: tuple[Span, ...] = ()

    def pair(self, sample: int, *, backwards: bool = False) -> LabelledPair:
        """The pair of words in which the dependent looks; `backwards`, the head looks.

        Args:
            sample: index of the sample.
        """
        if backwards:
            return LabelledPair(sample, self.head, self.dependent)
        return LabelledPair(sample, self.dependent, self.head, self.candidates)


@dataclass(frozen=True)
class Sentence:
    """One sentence and its arcs.

    Attributes:
        id: the id in the file; without one, an id made from the text, which equal texts share.
        line: the line of the file in which the sentence starts, from 1.
        words: the words of a treebank, multiword tokens whole; None for labelled spans.
    """

    id: str
    sample: Sample
    arcs: tuple[Arc, ...]
    line: int
    words: Words = None


@dataclass
class CorpusFile:
    """Lines of a file, and the counts of what its notes report.

    Attributes:
        lines: number and content of each; only line feeds end one.
    """

    name: str
    lines: Sequence[tuple[int, str]]
    counts: Counter[str] = field(default_factory=Counter)

    def wrong(self, message: str, line: int, column: int = 1) -> CorpusError:
        return CorpusError(message, Mark(self.name, line, column))


def corpus_notes(counts: Mapping[str, int]) -> tuple[str, ...]:
    """What a corpus leaves out, and how the rest is read, from the counts of its files."""
    return tuple(
        f"{plural(counts[key], noun)}{rest}"
        for key, (noun, rest) in _NOTES.items()
        if counts.get(key)
    )


# The notes on the counts: after the number, a noun in the singular and the rest of the note.
_NOTES = {
    "multiword": ("multiword token", ": the words of one stand for all of its characters"),
    "inside": ("arc", " inside of one multiword token left out"),
    "empty": ("empty node", " left out: no character stands for one"),
    "enhanced": ("sentence", " with enhanced dependencies: the basic tree is read"),
    "punct": ("arc", " of punctuation left out"),
    "root": ("root", " left out: nothing in the sentence is their head"),
    "subtypes": ("arc", " with a subtype: nsubj counts nsubj:pass as well"),
    "bare": ("sentence", " without an arc that is used"),
}


def made_id(sample: Sample) -> str:
    both = f"{sample.joined}\0{sample.target or ''}".encode("utf-8", "surrogatepass")
    return f"text-{hashlib.sha256(both).hexdigest()[:16]}"
