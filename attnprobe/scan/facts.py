"""What a scan is: the model, corpora and options that its parts must have in common."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from attnprobe._version import __version__
from attnprobe.core.arrays import Bools
from attnprobe.core.parts import WHOLE, Part
from attnprobe.core.printing import visible
from attnprobe.core.pydantic_errors import describe_first
from attnprobe.core.sites import Head, SiteName
from attnprobe.scan.corpora import Corpora, ScanFile
from attnprobe.words.looks import Among

# The versions on which the last bits of a number depend.
_LIBRARIES = ("torch", "transformers", "numpy")
_KNOWN = {*_LIBRARIES, "device", "dtype"}


@dataclass(frozen=True)
class CorpusFacts:
    """One corpus.

    Attributes:
        name: as the user named it.
        sha256: of its file; of several files, of the lines of `sha256sum` for them.
    """

    name: str
    sha256: str
    sentences: int


@dataclass(frozen=True)
class ScanFacts:
    """Everything that a results file says of a scan but its figures, and how it is judged.

    Attributes:
        model: the entry in the results file.
        languages: of the texts, by their key in a case file.
        environment: the versions and the machine.
        control: whether an untrained twin is scanned as well.
        block: the sentences of a block.
        relations: names of relations, which include their subtypes; if empty, all relations.
        threads: of each process; the last bits of a number depend on it.
        min_arcs, prefix: as in `Options`.
        part: the part of the blocks that this process scans.
    """

    model: Mapping[str, Any]
    languages: Mapping[str, str]
    environment: Mapping[str, str | None]
    control: bool
    heads: tuple[Head, ...]
    corpora: tuple[CorpusFacts, ...]
    files: tuple[ScanFile, ...]
    site: SiteName
    relations: tuple[str, ...]
    among: Among
    seed: int
    set_arcs: Annotated[int, Field(ge=0)]
    batch_tokens: int
    threads: int
    min_arcs: int
    prefix: str
    block: Annotated[int, Field(ge=1)]
    part: Part = WHOLE
    attnprobe: str = __version__

    @functools.cached_property
    def blocks(self) -> int:
        """The number of blocks of all parts."""
        return sum(file.blocks for file in self.files)

    @functools.cached_property
    def sentences(self) -> int:
        """The number of sentences of all parts."""
        return sum(file.sentences for file in self.files)

    def sentences_of(self, chosen: Bools) -> int:
        """The number of sentences of some blocks.

        Args:
            chosen: `[blocks]`, which.
        """
        total = 0
        for file in self.files:
            own = chosen[file.first_block : file.first_block + file.blocks]
            total += int(own.sum()) * self.block
            if len(own) and own[-1]:
                total -= -file.sentences % self.block
        return total

    def identity(self) -> dict[str, Any]:
        """What two parts of one scan, or an unfinished scan and its rest, have in common."""
        device, _, _ = str(self.environment["device"]).partition(":")
        return {
            "attnprobe": self.attnprobe,
            **{name: self.environment[name] for name in _LIBRARIES},
            "weights": self.model["weights_sha256"],
            "tokenizer": self.model["tokenizer_sha256"],
            **dict(self.languages),
            "dtype": self.environment["dtype"],
            "device": device,
            "threads": self.threads,
            **{f"corpus {corpus.name}": corpus.sha256 for corpus in self.corpora},
            "corpora": [corpus.name for corpus in self.corpora],
            "block": self.block,
            "site": self.site,
            "relations": list(self.relations),
            "among": self.among,
            "seed": self.seed,
            "set_arcs": self.set_arcs,
            "batch_tokens": self.batch_tokens,
            "control": self.control,
        }

    def difference(self, other: ScanFacts, *, whole: bool = False) -> str | None:
        """In what another scan differs from this one, such as "seed was 4 and is 0"; or None.

        Args:
            whole: compare also how the figures are judged and named.
        """
        now, was = self.identity(), other.identity()
        if whole:
            now |= {"min_arcs": self.min_arcs, "prefix": self.prefix}
            was |= {"min_arcs": other.min_arcs, "prefix": other.prefix}
        changed = [key for key in {**now, **was} if now.get(key) != was.get(key)]
        # A corpus of another name is another corpus, not a changed one.
        key = "corpora" if "corpora" in changed else changed[0] if changed else None
        if key is None:
            return None
        old, new = (visible(str(scan.get(key)))[:80] for scan in (was, now))
        return f"{key} was {old} and is {new}"

    def as_json(self) -> str:
        """The facts as JSON; `of_json` reads them."""
        return json.dumps(asdict(self))

    @classmethod
    def of_json(cls, text: str) -> ScanFacts:
        """The facts whose `as_json` this is.

        Raises:
            ValueError: the text is damaged.
        """
        try:
            found = _adapter().validate_python(json.loads(text))
        except ValidationError as error:
            raise ValueError(describe_first(error, whole="facts")) from None
        found._check()
        return found

    def _check(self) -> None:
        """Raises ValueError where these are the facts of no scan."""
        model, first = self.model, 0
        sentences = [0] * len(self.corpora)
        for file in self.files:
            blocks = -(-file.sentences // self.block)
            known = blocks >= 0 and 0 <= file.corpus < len(sentences)
            if not known or (file.first_block, file.blocks) != (first, blocks):
                raise ValueError(f"{visible(file.name)[:80]} has other blocks")
            first += blocks
            sentences[file.corpus] += file.sentences
        wrong = {
            "its model has no name": not all(
                isinstance(model.get(key), str) for key in ("name", "ref")
            ),
            "its model has no hash": not all(
                key in model and isinstance(model[key], str | None)
                for key in ("revision", "weights_sha256", "tokenizer_sha256")
            ),
            "its environment lacks a version": not self.environment.keys() >= _KNOWN,
            "it has other heads": not _are_heads(self.heads),
            "its corpora have other sentences": sentences != [c.sentences for c in self.corpora],
            f"there is no part {self.part}": not self.part.exists,
        }
        for message, holds in wrong.items():
            if holds:
                raise ValueError(message)


def _are_heads(heads: Sequence[Head]) -> bool:
    """Whether a site can have these heads, each once."""
    known = all(head.layer >= 0 and 0 <= head.head < len(heads) for head in heads)
    return bool(heads) and known and len(set(heads)) == len(heads)


@functools.cache
def _adapter() -> TypeAdapter[ScanFacts]:
    return TypeAdapter(ScanFacts)


def corpus_facts(corpora: Corpora) -> tuple[CorpusFacts, ...]:
    """The facts of each corpus."""
    found = []
    for corpus, ref in enumerate(corpora.refs):
        files = [file for file in corpora.files if file.corpus == corpus]
        hashes = "".join(f"{file.sha256}  {file.name}\n" for file in files)
        sha256 = hashlib.sha256(hashes.encode("utf-8", "surrogatepass")).hexdigest()
        if len(files) == 1:
            sha256 = files[0].sha256
        found.append(CorpusFacts(ref.name, sha256, sum(file.sentences for file in files)))
    return tuple(found)
