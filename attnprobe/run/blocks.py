"""Divides the cases of a model into blocks of texts that are measured together.

The blocks depend on the suites alone, not on a model or on the case that is judged first. They
start anew with each case file, so a new case moves only the blocks behind it in its file.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from attnprobe.cases import Case
from attnprobe.core.texts import Sample
from attnprobe.results.records import text_sha256
from attnprobe.rules.base import Rule

# The number of texts that are measured together.
BLOCK = 64
# The most texts of a file that chance rates are taken over.
CONTROLS = 64


@dataclass(eq=False)
class Suite:
    """The rules and texts of one file on one model.

    Attributes:
        related: every rule of the file with its text.
        controls: the texts that chance rates are taken over; token ids have no words.
        drawn: whether the controls are some of many texts; they are measured apart from blocks.
        cases: the cases of the file that run.
        block: the block that measures the controls; None if they are drawn, and for a case in no
            block.
    """

    related: Sequence[tuple[Sample, Rule]]
    controls: tuple[Sample, ...]
    drawn: bool = False
    cases: list[Case] = field(default_factory=list)
    block: int | None = None

    @classmethod
    def of(cls, case: Case) -> Suite:
        """The suite of a case; the suite of a probe in Python has only the probe's text."""
        related = case.related or tuple(
            (case.sample, expectation.rule) for expectation in case.expectations
        )
        texts = list(dict.fromkeys(sample for sample, _ in related if sample.ids is None))
        many = len(texts) > CONTROLS
        if many:
            # By a hash of each, so that a new text takes the place of one control at most.
            drawn = set(heapq.nsmallest(CONTROLS, texts, key=text_sha256))
            texts = [text for text in texts if text in drawn]
        return cls(related, tuple(texts), many)


class Blocks:
    """The blocks of some cases.

    Args:
        size: the number of texts of a block.
        controls: whether chance rates are taken.

    Attributes:
        suites: the suite of each case.
        cases: the cases of each block; a text that stands in several files has a block in each.
        keys: the file of each block, and the number of the block in it.
        of: the block of each case.
    """

    def __init__(self, cases: Sequence[Case], *, size: int = BLOCK, controls: bool) -> None:
        self.suites: dict[Case, Suite] = {}
        suites: dict[int, Suite] = {}
        for case in cases:
            # The cases of a file share one table of rules.
            key = id(case.related or case)
            if key not in suites:
                suites[key] = Suite.of(case)
            suites[key].cases.append(case)
            self.suites[case] = suites[key]
        self._size = size
        self._numbers: dict[tuple[str, Sample], int] = {}
        self.keys: list[tuple[str, int]] = []
        self.of: dict[Case, int] = {}
        self._counts: Counter[str] = Counter()
        self._left = 0
        for suite in suites.values():
            self._assign(suite, controls=controls)
        self.cases: list[list[Case]] = [[] for _ in self.keys]
        for case, number in self.of.items():
            self.cases[number].append(case)

    def _assign(self, suite: Suite, *, controls: bool) -> None:
        """Assigns the texts of a suite; where they are the controls as well, to one block."""
        texts = dict.fromkeys(case.sample for case in suite.cases)
        least = len(texts) if controls and not suite.drawn else 0
        file = suite.cases[0].mark.file
        if not self.keys or self.keys[-1][0] != file or self._left < least:
            self._left = 0
        for text in texts:
            if (file, text) not in self._numbers:
                if not self._left:
                    self.keys.append((file, self._counts[file]))
                    self._counts[file] += 1
                    self._left = self._size
                self._numbers[file, text] = len(self.keys) - 1
                self._left -= 1
        suite.block = None if suite.drawn else self._numbers[file, next(iter(texts))]
        for case in suite.cases:
            self.of[case] = self._numbers[file, case.sample]
