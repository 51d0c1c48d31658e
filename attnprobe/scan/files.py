"""What a scan leaves in its folder: its state while unfinished, then head sets, cases and grids."""

from __future__ import annotations

import json
import math
import os
import re
import textwrap
import zipfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from attnprobe.cases import LEAST
from attnprobe.core.charts import HeadGrid
from attnprobe.core.errors import ResultsError
from attnprobe.core.names import SUFFIX
from attnprobe.core.printing import visible
from attnprobe.core.sites import Head
from attnprobe.relations.corpus import Corpus, matches
from attnprobe.results.files import write_bytes
from attnprobe.scan.report import SIGNIFICANT, RelationFigures, preference_json
from attnprobe.scan.tally import Group, Tally, packed, unpacked
from attnprobe.words.looks import Among

RESULTS = "scan.json"
STATE = "scan-state.npz"
SUITE = f"scan{SUFFIX}"
GRIDS = "grids"
# What reading a damaged file ends in.
_DAMAGE = (
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
)
_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")


def write_state(path: Path, fingerprint: str, done: int, tallies: Sequence[Tally]) -> None:
    """Saves an unfinished scan.

    Args:
        fingerprint: what was scanned and how; only the same scan may go on from it.
        done: sentences that are in the tallies.
        tallies: of the model and, where there is one, of its control.
    """
    arrays: dict[str, npt.NDArray[Any]] = {
        f"{number}_{name}": array
        for number, tally in enumerate(tallies)
        for name, array in tally.arrays().items()
    }
    arrays["fingerprint"] = np.array(fingerprint)
    arrays["done"] = np.array(done)
    write_bytes(path, packed(arrays))


def read_state(path: Path, fingerprint: str, *, like: Sequence[Tally]) -> tuple[int, list[Tally]]:
    """How many sentences an unfinished scan had done, and its tallies.

    Args:
        like: tallies of the same scan, of no sentence.

    Raises:
        ResultsError: it is missing, corrupt, or of another scan.
    """
    try:
        arrays = dict(unpacked(path.read_bytes()))
        found = json.loads(str(arrays["fingerprint"]))
        done = int(arrays["done"])
        if not isinstance(found, dict):
            raise ValueError("the fingerprint is no object")
    except OSError as error:
        raise ResultsError(f"{path}: nothing to resume: {error.strerror}") from None
    except _DAMAGE as error:
        raise _corrupt(path, error) from None
    wanted = json.loads(fingerprint)
    other = [key for key in wanted if found.get(key) != wanted[key]]
    if other:
        was, now = (visible(str(one.get(other[0])))[:80] for one in (found, wanted))
        raise ResultsError(
            f"{path}: the unfinished scan there is another one: {other[0]} was {was} and is {now}; "
            "give the same options, or scan anew with --overwrite"
        )
    try:
        return done, [
            _tally(
                {
                    name.partition("_")[2]: array
                    for name, array in arrays.items()
                    if name.startswith(f"{number}_")
                },
                empty,
            )
            for number, empty in enumerate(like)
        ]
    except _DAMAGE as error:
        raise _corrupt(path, error) from None


def _tally(arrays: Mapping[str, npt.NDArray[Any]], empty: Tally) -> Tally:
    """The tally that arrays are of; counts of other shapes would be added to without a word."""
    for name, wanted in empty.arrays().items():
        found = arrays[name]
        kept = name.startswith("kept_")  # the only ones that grow
        if found.dtype != wanted.dtype or (found.shape != wanted.shape and not kept):
            raise ValueError(
                f"{name} is {found.dtype} of shape {found.shape}, not {wanted.dtype} of "
                f"{wanted.shape}"
            )
    return Tally.of_arrays(arrays)


def _corrupt(path: Path, error: Exception) -> ResultsError:
    lack = "no " if isinstance(error, KeyError) else ""
    return ResultsError(f"{path}: corrupt: {lack}{error}; scan anew with --overwrite")


def set_names(groups: Sequence[Group], prefix: str) -> Mapping[Group, str]:
    """A name of plain letters and digits for each group: of its head set, case and grid."""
    names: dict[Group, str] = {}
    for group in groups:
        plain = _UNFIT.sub("-", f"{prefix}{group.relation}-{group.direction}").strip("-")
        name, number = plain, 2
        while name in names.values():
            name, number = f"{plain}-{number}", number + 1
        names[group] = name
    return names


def suite_names(model: str, corpora: Sequence[Path]) -> list[str]:
    """A name for the suite of each corpus, of plain letters and digits: `scan-minilm-english`."""
    names: list[str] = []
    for path in corpora:
        parts = (_UNFIT.sub("-", part).strip("-") for part in ("scan", model, path.stem))
        plain = name = "-".join(part for part in parts if part)
        number = 2
        while name in names:
            name, number = f"{plain}-{number}", number + 1
        names.append(name)
    return names


def lock_entries(
    found: Sequence[RelationFigures],
    heads: Sequence[Head],
    names: Mapping[Group, str],
    origin: Mapping[str, Any],
) -> dict[str, dict[str, Any]]:
    """Head sets for a lock file: the chosen head and, where its gain held out, the greedy set.

    Args:
        origin: model, corpora and options.
    """
    entries: dict[str, dict[str, Any]] = {}
    for one in found:
        best, name = one.best, names[one.group]
        about = {
            **origin,
            "relation": one.group.relation,
            "direction": one.group.direction,
            "heads_tried": one.heads_tried,
        }
        entries[name] = {
            **about,
            "heads": [str(best.head)],
            "accuracy": best.accuracy,
            "interval": list(best.interval),
            "judged_on": best.n,
            "best_offset": best.best_offset,
            "offset_accuracy": best.offset_accuracy,
            "p": best.p,
            "preference": preference_json(best.preference),
        }
        joint = one.heads
        if joint is not None and joint.gain > 0 and joint.p <= SIGNIFICANT:
            entries[f"{name}-set"] = {
                **about,
                "heads": [str(heads[head]) for head in joint.heads],
                "accuracy": joint.accuracy,
                "judged_on": joint.n,
                "gain": joint.gain,
                "p": joint.p,
            }
    return entries


def suite_text(
    found: Sequence[RelationFigures],
    names: Mapping[Group, str],
    corpus: Corpus,
    *,
    suite: str,
    few: Sequence[str] = (),
    untrained: Collection[str] = (),
    corpus_path: Path,
    folder: Path,
    model: str,
    site: str,
    languages: Mapping[str, str] = MappingProxyType({}),
    among: Among,
    seed: int,
) -> str:
    """A case file that holds the model to what the scan found, for the relations of one corpus.

    A bound is what the held-out half allows: the lower end of its Wilson interval and, only where
    the head is better than the best fixed distance, half of the difference.

    Args:
        found: figures of this corpus alone, which the suite judges the heads on.
        languages: that the texts were read in, by their key in a case file.
        suite: its name.
        few: names of what has too few arcs in this corpus.
        untrained: names of what an untrained twin does as well.
    """
    kind = corpus_path.suffix[1:]
    labels = {arc.relation for sentence in corpus.sentences for arc in sentence.arcs}
    source = Path(os.path.relpath(corpus_path.resolve(), folder.resolve())).as_posix()
    key = "deprel" if kind == "conllu" else "relation"
    relations: list[dict[str, Any]] = []
    never: list[str] = []
    habits: list[str] = []
    likings: list[str] = []
    unseen: list[str] = []
    for one in found:
        name, relation = names[one.group], one.group.relation
        if not any(matches(label, relation) for label in labels):
            continue
        least, above, beyond = bounds(one)
        if least <= 0:
            never.append(name)
            continue
        if above <= 0:
            habits.append(name)
        if beyond <= 0:
            (likings if _has_control(one) else unseen).append(name)
        entry: dict[str, Any] = {
            "id": name,
            "from_corpus": {kind: source, key: relation, "direction": one.group.direction},
            "heads": f"@{name}",
        }
        if among != "words":
            entry["among"] = among
        if _least(one) < LEAST:
            entry["least"] = _least(one)
        entry["expect"] = {"accuracy": least}
        if above > 0:
            entry["expect"]["above_best_offset"] = above
        if beyond > 0:
            entry["expect"]["above_preference"] = beyond
        relations.append(entry)
    if not relations:
        return ""
    comments = [
        f"# Written by attnprobe scan for {visible(model)}, seed {seed}: heads were chosen on one",
        "# half of the sentences, bounds come from the other half.",
    ]
    for text, those in (
        ("No better than a fixed distance, so position alone passes", habits),
        ("No better than when another word looks, so a liking for some words passes", likings),
        ("Too few arcs where another word can look, so a liking for some words may pass", unseen),
        (
            "No better than an untrained twin on the half that both are judged on",
            [entry["id"] for entry in relations if entry["id"] in untrained],
        ),
        ("Left out, for their bound would be zero", never),
        ("Left out, for too few of their arcs are of this corpus", few),
    ):
        if those:
            comments += textwrap.wrap(
                f"{text}: {', '.join(those)}.",
                width=96,
                initial_indent="# ",
                subsequent_indent="# ",
                break_on_hyphens=False,
            )
    content = {
        "version": 1,
        "suite": suite,
        "about": "What attnprobe scan found: relations that a head gets right.",
        "defaults": {"site": site, **languages},
        "relations": relations,
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    return "\n".join(comments) + "\n" + text


def bounds(one: RelationFigures) -> tuple[float, float, float]:
    """What a suite may demand, rounded down: an accuracy, and leads over both habits.

    One is the lead over the best distance, the other that over another word that looks. A lead is
    half of what was found: a release may lose some of it.

    A suite that names the head judges it on all arcs, so the bound must hold there as well.
    """
    _, accuracy, offset = one.overall
    least = min(one.best.interval.low, accuracy)
    above = 0.0
    if one.best.above > 0 and one.best.p <= SIGNIFICANT:
        above = max(0.0, min(one.best.above, accuracy - offset) / 2)
    beyond = 0.0
    likings = one.best.preference, one.liking
    if _has_control(one) and all(found and found.p <= SIGNIFICANT for found in likings):
        beyond = max(0.0, min(found.lead for found in likings if found is not None) / 2)
    least, above, beyond = (math.floor(value * 100) / 100 for value in (least, above, beyond))
    return least, above, beyond


def _least(one: RelationFigures) -> int:
    """The fewest arcs that a suite judges the head on."""
    return min(LEAST, one.overall[0])


def _has_control(one: RelationFigures) -> bool:
    """Whether another word can look on so many arcs that a suite may demand a lead over it."""
    if one.best.preference is None or one.liking is None:
        return False
    return one.liking.n >= _least(one)


def write_grids(
    folder: Path,
    found: Sequence[RelationFigures],
    names: Mapping[Group, str],
    measures: Mapping[str, npt.NDArray[np.float64]],
    heads: Sequence[Head],
    *,
    model: str,
) -> int:
    """A layer × head grid of each relation (accuracy held out) and of each measure, as SVG."""
    from attnprobe.render.head_grid import head_grid
    from attnprobe.render.style import to_svg

    layers = tuple(sorted({head.layer for head in heads}))
    width = max(head.head for head in heads) + 1

    def draw(name: str, title: str, values: npt.NDArray[np.float64], decided: Head | None) -> None:
        scores = np.full((len(layers), width), np.nan, np.float32)
        for head, value in zip(heads, values, strict=True):
            scores[layers.index(head.layer), head.head] = value
        chart = HeadGrid(title, layers, scores, () if decided is None else (decided,))
        drawing = head_grid(chart, title=f"{model} · {title}")
        write_bytes(folder / f"{name}.svg", to_svg(drawing).encode())

    for one in found:
        title = f"accuracy of {one.group}"
        draw(names[one.group], title, one.accuracies[1], one.best.head)
    for name, values in measures.items():
        if np.isfinite(values).any():
            draw(f"measure-{_UNFIT.sub('-', name)}", name, values, None)
    return len(found) + len(measures)
