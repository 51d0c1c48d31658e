"""The kinds of files that are damaged: sound ones to start from, and what reads them."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
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
from tests.fuzz.packed import NPZ, PARQUET, furnish, gzipped

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


def _rows() -> Any:
    """The spans as rows of Parquet, whose columns have one type each."""
    import pyarrow
    import pyarrow.parquet

    rows = [json.loads(line) for line in _SPANS.splitlines()]
    rows = [row for row in rows if isinstance(row["arcs"][0]["to"], list)]
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return PARQUET.parse(file.getvalue())


def _packed(grammar: Grammar, text: bytes) -> list[Any]:
    """The text in one member of gzip, and in three, the second of a single byte."""
    one, three = (grammar.parse(gzip.compress(text)) for _ in range(2))
    three["members"] = [[size, *three["members"][0][1:]] for size in (len(text) // 3, 1, None)]
    return [one, three]


def _streams() -> Read:
    """Reads a file or a folder as a scan does: once to find the blocks, then some of them."""
    from attnprobe.core.errors import CorpusError
    from attnprobe.core.parts import Part
    from attnprobe.relations.corpus import read_corpus
    from attnprobe.relations.stream import CorpusStream, corpus_files
    from attnprobe.scan.corpora import Corpora, CorpusRef

    def read(path: Path) -> None:
        def streams() -> list[CorpusStream]:
            return [CorpusStream(file, name) for file, name in corpus_files(path, "c")]

        # A part does not parse the sentences of others, and so reads more files than all do.
        with suppress(CorpusError):
            part = Corpora.inspect([CorpusRef("c", path, streams())], Part(2, 2), block=2)
            for blocks in part.due(lambda number: number % 3 != 0):
                list(blocks.read())
            part.check_unchanged()
        whole = Corpora.inspect([CorpusRef("c", path, streams())], block=1)
        for blocks in whole.due(lambda number: number % 2 == 1):
            list(blocks.read())
        if not path.is_dir():
            read_corpus(path)

    return read


def _folder_seeds() -> list[Any]:
    from attnprobe.relations.stream import PARQUET as SUFFIX

    rows = PARQUET.write(_rows(), random.Random(0))
    files = {
        "a.conllu": _TREES,
        "b/b.jsonl": _SPANS,
        "b/c.jsonl.gz": gzip.compress(_SPANS, mtime=0),
        "c.tsv": _TABLE,
        f"d{SUFFIX}": rows,
        "notes.txt": b"\xff",
    }
    texts = {name: data.decode("latin-1") for name, data in files.items()}
    odd = {"e.tsv": {"link": "c.tsv"}, "f.conllu": ["pipe"], "g.jsonl": 0, "h.tsv": {"link": "h"}}
    return [texts, {**texts, **odd}]


def _folders() -> Read:
    from attnprobe.core.errors import ResultsError

    read_streams = _streams()

    def read(path: Path) -> None:
        try:
            tree = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            raise ResultsError("no folder") from None
        folder = path.with_name("folder")
        try:
            furnish(folder, tree)
            read_streams(folder)
        finally:
            shutil.rmtree(folder)

    return read


# Parts of scans and of runs ----------------------------------------------------------------------


@functools.cache
def _scan_state(index: int, count: int) -> bytes:
    """The state of a part of a scan."""
    from attnprobe.core.parts import Part
    from tests.support.scans import tiny, tiny_scan

    model = tiny("bert", num_hidden_layers=1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "out")
        part = Part(index, count)
        scan = tiny_scan(folder, model, corpus_size=30, block=8, part=part, set_arcs=3, min_arcs=2)
        scan.begin(resume=False)
        for _ in scan.go_on():
            pass
        scan.stop()
        return Path(folder, "scan-state.npz").read_bytes()


def _state_seeds() -> list[Any]:
    return [NPZ.parse(_scan_state(1, 2)), NPZ.parse(_scan_state(1, 1))]


def _other_state() -> Mapping[str, bytes]:
    return {"2/scan-state.npz": _scan_state(2, 2)}


def _states() -> Read:
    from attnprobe.core.errors import AttnprobeError
    from attnprobe.scan.merge import merge
    from attnprobe.scan.output import Output
    from attnprobe.scan.state import State

    def read(path: Path) -> None:
        folder = path.parent
        output = Output(folder / "out", None, folder / "attnprobe.lock.json", overwrite=True)
        try:
            State.read(path)
            with suppress(AttnprobeError):
                merge([folder, folder / "2"], output)
                return
            merge([folder], output)
        finally:
            shutil.rmtree(folder / "out", ignore_errors=True)

    return read


def _part_results(index: int, count: int) -> Any:
    """The results of a part of a run, with all that the whole run must know of it."""
    from attnprobe.results.records import PairRecord, PartRecord
    from tests.support.made_up_results import case, run

    pairs = tuple(
        PairRecord(
            *("coreference", "cases/coref.attn.yaml", f"c{at}", None, 0, None, f"a b {at}", 0, 1),
            over=2 if at % 2 else None,
        )
        for at in range(6)
    )
    part = PartRecord(
        *(index, count, 6, "0" * 64, {"cases/coref.attn.yaml": "ab" * 32}),
        options={"strict": True, "strict_given": False, "device": "cpu"},
        broken=1,
        free=("coreference",),
        bound=("old",),
        pairs=pairs,
        default_models=("minilm",),
    )
    own = [case(f"c{at}", line=at + 1) for at in range(6) if at % count == index - 1]
    found = run(*own, part=part, complaints=("a limit",), absent={"big": 2}, unread=("x.py",))
    return json.loads(json.dumps(found.to_json()))


def _other_part() -> Mapping[str, bytes]:
    return {"other.json": json.dumps(_part_results(2, 2)).encode()}


def _parts() -> Read:
    from attnprobe.core.errors import AttnprobeError
    from attnprobe.run.merge import merge_results
    from attnprobe.run.order import Habit

    def read(path: Path) -> None:
        try:
            found = merge_results([path, path.with_name("other.json")])
        except AttnprobeError:
            found = merge_results([path])
        found.write(path.with_name("whole.json"))
        found.summary()
        for habit in found.order:
            str(Habit(**vars(habit)))

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


_GZ_CELLS, _GZ_LINES = gzipped(CELLS), gzipped(JSON_LINES)

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
            "packed-trees",
            "c.conllu.gz",
            _GZ_CELLS,
            lambda: _packed(_GZ_CELLS, _TREES),
            _streams,
            3,
        ),
        Target(
            "packed-spans", "c.jsonl.gz", _GZ_LINES, lambda: _packed(_GZ_LINES, _SPANS), _streams, 3
        ),
        Target(
            "packed-tables", "c.tsv.gz", _GZ_CELLS, lambda: _packed(_GZ_CELLS, _TABLE), _streams, 3
        ),
        Target("rows", "c.parquet", PARQUET, lambda: [_rows()], _streams, 3),
        Target("folders", "folder.json", JSON, _folder_seeds, _folders, 2),
        Target("scan-parts", "scan-state.npz", NPZ, _state_seeds, _states, 2, _other_state),
        Target(
            "run-parts",
            "part.json",
            JSON,
            lambda: [_part_results(1, 2), _part_results(1, 1)],
            _parts,
            6,
            _other_part,
        ),
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
