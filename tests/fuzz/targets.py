"""The kinds of files that are damaged: sound ones to start from, and what reads them."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from tests.fuzz.grammars import (
    CELLS,
    GGUF,
    JSON,
    JSON_LINES,
    TOML,
    YAML,
    Grammar,
    mutate,
)

ROOT = Path(__file__).parents[2]
TODAY = date(2026, 11, 24)
Read = Callable[[Path], object]


@dataclass(frozen=True)
class Target:
    """A kind of file.

    Attributes:
        file: the name of the file.
        seeds: makes the sound files, as the grammar parses them.
        reader: makes the function that reads a file: its imports may take seconds.
        share: parts of all inputs of `make fuzz`, by how quickly such a file is read.
        others: the names and contents of files that stand beside it.
    """

    name: str
    file: str
    grammar: Grammar
    seeds: Callable[[], list[Any]]
    reader: Callable[[], Read]
    share: int
    others: Callable[[], Mapping[str, bytes]] = dict

    def make(self, seed: int, number: int) -> bytes:
        """One damaged file; the same for the same numbers."""
        return mutate(self.grammar, self._parsed, random.Random(f"{self.name} {seed} {number}"))

    def sound(self) -> list[bytes]:
        """The files to start from."""
        return [self.grammar.write(tree, random.Random(0)) for tree in self._parsed]

    def write_others(self, folder: Path) -> None:
        """Puts into a folder what stands beside such a file."""
        for name, content in self.others().items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)

    @functools.cached_property
    def read(self) -> Read:
        """Reads a file. Some are read here, since the first ones may import much."""
        read = self.reader()
        with tempfile.TemporaryDirectory() as folder:
            self.write_others(Path(folder))
            path = Path(folder, self.file)
            for content in self.sound()[:4]:
                path.write_bytes(content)
                with suppress(Exception):  # which the forks will meet again
                    read(path)
        return read

    @functools.cached_property
    def _parsed(self) -> list[Any]:
        return self.seeds()


# Case files, results, lock files, policies -------------------------------------------------------


def _case_seeds() -> list[Any]:
    """Each case and relation of the shipped suites in a file of its own, and some together."""
    found = []
    for file in sorted((ROOT / "cases").glob("*.yaml")):
        whole = YAML.parse(file.read_bytes())
        entries = [(key, entry) for key in ("cases", "relations") for entry in whole.get(key, ())]
        head = {key: value for key, value in whole.items() if key not in ("cases", "relations")}
        found += [{**head, key: [entry]} for key, entry in entries]
        found.append({**head, entries[0][0]: [entry for _, entry in entries[:3]]})
    return found


def _cases() -> Read:
    from attnprobe import cases
    from attnprobe.relations import accuracy
    from attnprobe.relations.corpus import read_corpus
    from attnprobe.words.heads import HeadSet

    sets = {"det": HeadSet("det", ()), "obj": HeadSet("obj", ())}
    read_once = functools.cache(read_corpus)

    def read(path: Path) -> object:
        found = cases.load_contents(path, path.name, head_sets=sets, root=path.parent)
        return [accuracy.gather(relation, read_once) for relation in found.relations]

    return read


def _corpora() -> Mapping[str, bytes]:
    folder = ROOT / "cases" / "data"
    return {f"data/{file.name}": file.read_bytes() for file in sorted(folder.iterdir())}


def _result_seeds() -> list[Any]:
    from attnprobe.core.verdicts import Chance
    from tests.support.made_up_results import case, expectation, run

    chance = Chance(passed=1, pairs=100, distinct=100)
    sure = expectation(chance=chance)
    cases = [
        case("it", stated=sure),
        case("row", "failed", row="2", marks=("slow",), severity="advisory"),
        *(case(outcome, outcome) for outcome in ("skipped", "xfailed", "xpassed")),
    ]
    runs = [
        run(case("it", stated=sure)),
        run(*cases, uncollected=("b.attn.yaml",), complaints=("a limit",), absent={"big": 2}),
    ]
    return [json.loads(json.dumps(made.to_json())) for made in runs]


def _results() -> Read:
    from attnprobe.compare.changes import compare_results
    from attnprobe.compare.describe import lines
    from attnprobe.gate import Policy, judge
    from attnprobe.results.card import card_yaml
    from attnprobe.results.records import read_results
    from attnprobe.results.summary import markdown, workflow_commands

    def read(path: Path) -> None:
        found = read_results(path)
        judge(found, Policy(), today=TODAY).lines()
        card_yaml(found)
        markdown(found)
        workflow_commands(found, folder="")
        list(lines(compare_results(found, found)))

    return read


def _lock_seeds() -> list[Any]:
    from attnprobe.results.lock import LOCK_SCHEMA

    origin = {"model": "m", "revision": None, "weights_sha256": "ab" * 32}
    heads = {"nsubj": {"heads": ["L3H1", "L0H0"], **origin}, "obj": {"heads": ["L2H11"], **origin}}
    return [{"schema": LOCK_SCHEMA, "heads": heads}, {"schema": LOCK_SCHEMA, "heads": {}}]


def _locks() -> Read:
    from attnprobe.results.lock import check_heads, read_heads

    def read(path: Path) -> object:
        check_heads(path, ("nsubj", "obj"), weights_sha256="ab" * 32)
        return read_heads(path)

    return read


def _policy_seeds() -> list[Any]:
    waiver = {
        "case": "*::it*ow*",
        "reason": "the model is old",
        "owner": "ann",
        "expires": TODAY,
        "model": "m",
    }
    found = TOML.parse((ROOT / "pyproject.toml").read_bytes())["tool"]["attnprobe"]["gate"]
    whole = {
        "suites": ["coreference"],
        "least": 1,
        "blocking": ["blocking", "advisory"],
        "pass_rate": 0.9,
        "suite": {"coreference": {"least": 1, "pass_rate": 0.9}},
        "chance_max": 0.1,
        "borderline": "pass",
        "skipped": 1,
        "uncollected": ["old/*.attn.yaml"],
        "absent_models": ["big"],
        "candidate": "ini",
        "control": "random-init",
        "control_seed": 3,
        "dtypes": ["float32"],
        "devices": ["cpu"],
        "own_loader": "refuse",
        "commit": "any",
        "waivers": [waiver],
    }
    compared = {"baseline": "b.json", "regressions": {"broken": 1, "weaker": 0.1}, "least": 2}
    moved = {"moved_heads": "allow", "baseline_model": "m", "baseline_revision": "ab", "least": 2}
    tables = [found, whole, {**compared, **moved}, {"least": 1}]
    return [{"tool": {"attnprobe": {"gate": table}}} for table in tables]


def _policies() -> Read:
    from attnprobe.gate import find_policy, judge, read_policy
    from tests.support.made_up_results import case, run

    results = run(case("it"), case("row", "failed"))

    def read(path: Path) -> object:
        find_policy(path.parent)
        return judge(results, read_policy(path), today=TODAY).lines()

    return read


# Corpora -----------------------------------------------------------------------------------------

_TREES = b"""# sent_id = a
# text = The dog's keys don't bark.
1\tThe\tthe\tDET\t_\t_\t2\tdet\t_\t_
2\tdog\tdog\tNOUN\tNN\tNumber=Sing\t4\tnmod:poss\t2:nmod\tSpaceAfter=No
3\t's\t's\tPART\t_\t_\t2\tcase\t_\t_
4\tkeys\tkey\tNOUN\t_\t_\t7\tnsubj\t_\t_
5-6\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
5\tdo\tdo\tAUX\t_\t_\t7\taux\t_\t_
6\tn't\tnot\tPART\t_\t_\t7\tadvmod\t_\t_
6.1\tx\t_\t_\t_\t_\t_\t_\t_\t_
7\tbark\tbark\tVERB\t_\t_\t0\troot\t_\tSpaceAfter=No
8\t.\t.\tPUNCT\t_\t_\t7\tpunct\t_\t_

# sent_id = b
1\tKeys\tkey\tNOUN\t_\t_\t2\tcomp:obj@x\t_\t_
2\tbark\tbark\tVERB\t_\t_\t0\troot\t_\t_

"""
_SPANS = b"""{"id": "a", "text": "the dog barks", "arcs": [{"from": [4, 7], "to": [8, 13], \
"relation": "nsubj", "candidates": [[0, 3], [8, 13]]}]}
{"text": "a b", "text_pair": "c d", "arcs": [{"from": {"pair": [0, 1]}, "to": {"text": [0, 1]}, \
"relation": "r"}]}
{"text": "a b", "target": "c d", "arcs": [{"from": [0, 1], "to": [2, 3], "relation": "r:s"}]}
"""
_TABLE = b"""id\ttext\ttarget\tfrom-start\tfrom-end\tto-start\tto-end\trelation
a\tthe dog barks\tder Hund\t0\t3\t8\t13\tnsubj
a\tthe dog barks\tder Hund\t4\t8\t8\t13\tobj
b\ta b c\t\t0\t1\t2\t3\tr
"""


def _corpus() -> Read:
    from attnprobe.relations.corpus import halves, read_corpus
    from attnprobe.relations.labels import relation_names

    def read(path: Path) -> object:
        found = read_corpus(path)
        halves([sentence.id for sentence in found.sentences], seed=0)
        return relation_names(arc.relation for entry in found.sentences for arc in entry.arcs)

    return read


# Models ------------------------------------------------------------------------------------------


def _saved_tokenizers(file: str) -> list[Any]:
    from tests.support.tokenizers_small import KINDS, build

    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            build(kind).save_pretrained(f"{folder}/{kind}")
        return [json.loads(Path(folder, kind, file).read_bytes()) for kind in KINDS]


def _whole_tokenizer() -> Mapping[str, bytes]:
    return {"tokenizer.json": json.dumps(_saved_tokenizers("tokenizer.json")[0]).encode()}


def _tokenizers() -> Read:
    from attnprobe.core.texts import Sample
    from attnprobe.models.loading import load_tokenizer
    from attnprobe.models.reading import TextReader
    from attnprobe.models.tokens import prepare_tokenizer
    from attnprobe.models.vocabulary import EmbeddingRows, check_vocabulary
    from tests.architectures.tiny import tiny_network

    network = tiny_network("bert", num_hidden_layers=1, vocab_size=2000)
    samples = [
        Sample("The keys near the cabinet are old."),
        Sample("Das M\u00e4dchen \U0001f600  l\u00e4uft", pair="caf\u00e9 e\u0301\n"),
        Sample("", ids=(0, 1, 5, 90)),
    ]

    def read(path: Path) -> object:
        tokenizer = load_tokenizer(path.parent)
        prepare_tokenizer(tokenizer)
        check_vocabulary(tokenizer, EmbeddingRows(None, None), name="m")
        reader = TextReader(tokenizer, network, name="m")
        return [reader.source(sample) for sample in samples]

    return read


_SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def _index_seeds() -> list[Any]:
    places = {"embed.weight": _SHARDS[0], "layer.0.weight": _SHARDS[1], "layer.0.bias": _SHARDS[1]}
    return [{"metadata": {"total_size": 88}, "weight_map": places}]


def _shards() -> Mapping[str, bytes]:
    from safetensors.numpy import save

    return dict.fromkeys(_SHARDS, save({}))


def _indexes() -> Read:
    from attnprobe.models.files import sha256
    from attnprobe.models.loading import weights_of

    def read(path: Path) -> object:
        found = weights_of(str(path.parent))
        with found.staged():
            return sha256(found.files)

    return read


def _gguf_seeds() -> list[Any]:
    from tests.support.gguf_files import write_llama

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.gguf")
        write_llama(path, layers=1)
        return [GGUF.parse(path.read_bytes())]


def _gguf() -> Read:
    from attnprobe.models.gguf import check_gguf, unpacked

    def read(path: Path) -> object:
        check_gguf(path)
        cache = path.parent / "cache"
        os.environ["ATTNPROBE_CACHE"] = str(cache)
        try:
            return unpacked(path, hashlib.sha256(path.read_bytes()).hexdigest())
        finally:
            shutil.rmtree(cache, ignore_errors=True)

    return read


TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target("cases", "a.attn.yaml", YAML, _case_seeds, _cases, 24, _corpora),
        Target("results", "r.json", JSON, _result_seeds, _results, 16),
        Target("locks", "attnprobe.lock.json", JSON, _lock_seeds, _locks, 10),
        Target("policies", "pyproject.toml", TOML, _policy_seeds, _policies, 12),
        Target("trees", "c.conllu", CELLS, lambda: [CELLS.parse(_TREES)], _corpus, 12),
        Target("spans", "c.jsonl", JSON_LINES, lambda: [JSON_LINES.parse(_SPANS)], _corpus, 8),
        Target("tables", "c.tsv", CELLS, lambda: [CELLS.parse(_TABLE)], _corpus, 6),
        Target(
            "tokenizers",
            "tokenizer.json",
            JSON,
            lambda: _saved_tokenizers("tokenizer.json"),
            _tokenizers,
            4,
        ),
        Target(
            "tokenizer-configs",
            "tokenizer_config.json",
            JSON,
            lambda: _saved_tokenizers("tokenizer_config.json"),
            _tokenizers,
            2,
            _whole_tokenizer,
        ),
        Target("indexes", "model.safetensors.index.json", JSON, _index_seeds, _indexes, 4, _shards),
        Target("gguf", "m.gguf", GGUF, _gguf_seeds, _gguf, 1),
    )
}
