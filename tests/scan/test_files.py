"""The files of a scan: after a kill, beside others, and with hostile names."""

from __future__ import annotations

import io
import json
import signal
import textwrap
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from attnprobe import cases
from attnprobe.core.errors import ResultsError
from attnprobe.core.names import LOCK
from attnprobe.core.sites import Head
from attnprobe.models import Model
from attnprobe.results.files import write_json
from attnprobe.results.lock import LOCK_SCHEMA, read_heads, update_heads
from attnprobe.scan import archive, files
from attnprobe.scan.archive import pack, unpack
from attnprobe.scan.facts import ScanFacts
from attnprobe.scan.output import Output
from attnprobe.scan.session import Options, Scan, in_process
from attnprobe.scan.state import STATE, State
from tests.support.forked_commands import run_code
from tests.support.scans import MadeUp, corpora, corpus, folder_of, run, tiny_scan


@pytest.fixture(scope="module")
def uninterrupted(bert: Model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a scan leaves that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole") / "scan"
    whole = tiny_scan(folder, bert, block=8)
    assert whole.begin(resume=False) == 0
    assert list(whole.go_on()) == [8, 16, 24, 32, 40]
    whole.finish()
    assert json.loads((folder / files.RESULTS).read_text())["complete"] is True
    assert not (folder / STATE).exists()
    return folder_of(folder)


def test_a_scan_that_goes_on_gives_the_same_bytes(
    bert: Model, uninterrupted: dict[str, bytes], tmp_path: Path
) -> None:
    for stop in (0, 3):
        folder = tmp_path / f"stopped-{stop}" / "scan"
        first = tiny_scan(folder, bert, block=8)
        first.begin(resume=False)
        steps = first.go_on()
        for _ in range(stop):
            next(steps)
        steps.close()
        if stop:
            first.stop()
        partial = json.loads((folder / files.RESULTS).read_text())
        assert partial["complete"] is False
        assert partial["sentences_done"] == 8 * stop
        assert partial["sentences"] == 40
        second = tiny_scan(folder, bert, block=8)
        assert second.begin(resume=True) == 8 * stop
        assert list(second.go_on()) == [8, 16, 24, 32, 40][stop:]
        second.finish()
        assert folder_of(folder) == uninterrupted


def test_a_kill_leaves_a_partial_file_that_says_so_p35(
    bert: Model,
    uninterrupted: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from attnprobe.scan import session
        from tests.support.scans import tiny, tiny_scan
        session.SAVE_SHARE = 0
        scan = tiny_scan(Path(sys.argv[1]), tiny("bert"), block=8)
        scan.begin(resume=False)
        for done in scan.go_on():
            if done == 16:
                os.kill(os.getpid(), signal.SIGKILL)
    """)
    folder = tmp_path / "scan"
    monkeypatch.chdir(Path(__file__).parents[2])  # where tests.support is found
    assert run_code(code, str(folder)) == -signal.SIGKILL
    partial = json.loads((folder / files.RESULTS).read_text())
    assert (partial["complete"], partial["sentences_done"]) == (False, 16)
    assert partial["relations"]
    resumed = tiny_scan(folder, bert, block=8)
    assert resumed.begin(resume=True) == 16
    list(resumed.go_on())
    resumed.finish()
    assert folder_of(folder) == uninterrupted


def test_an_unfinished_scan_is_neither_mixed_nor_lost(bert: Model, tmp_path: Path) -> None:
    folder = tmp_path / "scan"
    tiny_scan(folder, bert).begin(resume=False)
    with pytest.raises(ResultsError, match="an unfinished scan lies there; go on with --resume"):
        tiny_scan(folder, bert).begin(resume=False)
    with pytest.raises(ResultsError, match="is another one: seed was 0 and is 4"):
        tiny_scan(folder, bert, seed=4).begin(resume=True)
    assert tiny_scan(tmp_path / "none", bert).begin(resume=True) == 0
    state = folder / STATE
    state.write_bytes(state.read_bytes()[:-40])
    with pytest.raises(ResultsError, match="corrupt"):
        tiny_scan(folder, bert).begin(resume=True)
    assert tiny_scan(folder, bert, overwrite=True).begin(resume=False) == 0


def test_head_sets_of_another_model_are_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / LOCK
    first = {"heads": ["L0H0"], "weights_sha256": "a", "model": "one"}
    update_heads(path, {"x": first, "y": first})
    update_heads(path, {"x": {**first, "heads": ["L1H1"]}})
    assert {name: own.heads for name, own in read_heads(path).items()} == {
        "x": (Head(1, 1),),
        "y": (Head(0, 0),),
    }
    other = {"heads": ["L2H2"], "weights_sha256": "b", "model": "two"}
    with pytest.raises(ResultsError, match=r"'x' is a head set of one; .* --prefix"):
        update_heads(path, {"new": other, "x": other})
    assert set(read_heads(path)) == {"x", "y"}
    update_heads(path, {"x": other}, overwrite=True)
    assert read_heads(path)["x"].heads == (Head(2, 2),)
    # A set that was written by hand is of no known model.
    write_json(path, {"schema": LOCK_SCHEMA, "heads": {"x": {"heads": ["L0H0"]}}})
    with pytest.raises(ResultsError, match="'x' is a head set of another model"):
        update_heads(path, {"x": other})


def test_a_head_set_in_the_way_is_told_before_the_scan(bert: Model, tmp_path: Path) -> None:
    lock = tmp_path / LOCK
    other = {"heads": ["L0H0"], "weights_sha256": "a", "model": "one"}
    update_heads(lock, {"det-dependent-to-head": other})
    with pytest.raises(ResultsError, match=r"is a head set of one; .* --prefix"):
        tiny_scan(tmp_path / "scan", bert, lock=lock).begin(resume=False)
    for changes in ({"prefix": "tiny-"}, {"overwrite": True}):
        scan = tiny_scan(tmp_path / "scan", bert, lock=lock, **changes)
        run(scan)
    assert {"tiny-det-dependent-to-head", "det-dependent-to-head"} <= set(read_heads(lock))
    # With fewer arcs than a relation asks for, the suite says so.
    few = tiny_scan(tmp_path / "few", bert, corpus_size=10, min_arcs=2, lock=tmp_path / "few.json")
    run(few)
    suite = yaml.safe_load((tmp_path / "few" / files.SUITE).read_text())
    assert suite["relations"]
    totals = {
        f"{one['relation']}-{one['direction']}": one["overall"]["n"]
        for one in json.loads((tmp_path / "few" / files.RESULTS).read_text())["relations"]
    }
    assert {one["id"]: one["least"] for one in suite["relations"]}.items() <= totals.items()
    assert 0 < max(totals.values()) < cases.LEAST


def test_what_competes_is_part_of_a_scan(bert: Model, tmp_path: Path) -> None:
    for among in ("words", "all"):
        folder = tmp_path / among / "scan"
        scan = tiny_scan(folder, bert, among=among)
        scan.begin(resume=False)
        if among == "words":
            with pytest.raises(ResultsError, match="among was words and is all"):
                tiny_scan(folder, bert, among="all").begin(resume=True)
        list(scan.go_on())
        scan.finish()
        assert json.loads((folder / files.RESULTS).read_text())["among"] == among
        suite = yaml.safe_load((folder / files.SUITE).read_text())
        assert suite["relations"]
        for relation in suite["relations"]:
            assert relation.get("among", "words") == among


def test_hostile_names_do_no_harm(bert: Model, tmp_path: Path) -> None:
    label = "../<script>&{x} - 'n'"
    own = corpora(
        MadeUp(
            tuple(
                replace(one, arcs=tuple(arc._replace(relation=label) for arc in one.arcs))
                for one in corpus(20).sentences
            )
        )
    )
    output = Output(tmp_path / "scan", lock=tmp_path / LOCK)
    run(Scan(bert, own, Options(output=output, min_arcs=5), in_process(bert)))
    page = (tmp_path / "scan" / files.PAGE).read_text(encoding="utf-8")
    assert "<script" not in page
    assert "../&lt;script&gt;" in page
    suite = yaml.safe_load((tmp_path / "scan" / files.SUITE).read_text())
    assert suite["relations"][0]["from_corpus"]["relation"] == label
    assert not (tmp_path / "<script>").exists()


@pytest.mark.parametrize(
    "name", ["0_arcs_n", "0_totals_whole", "0_facts", "1_kept_places", "facts", "done"]
)
@pytest.mark.parametrize("harm", ["missing", "of another shape"])
def test_a_damaged_state_of_a_scan_is_refused_p36(
    bert: Model, tmp_path: Path, name: str, harm: str
) -> None:
    folder = tmp_path / "scan"
    tiny_scan(folder, bert).begin(resume=False)
    state = folder / STATE
    arrays = dict(unpack(state.read_bytes()))
    assert name in arrays, list(arrays)
    del arrays[name]
    if harm != "missing":
        arrays[name] = np.array([[1.5, 2.5]])
    state.write_bytes(pack(arrays))
    with pytest.raises(ResultsError, match=r"corrupt: .*; scan anew with --overwrite"):
        tiny_scan(folder, bert).begin(resume=True)


@pytest.mark.parametrize(
    ("name", "at", "by", "message"),
    [
        ("0_arcs_n", (0, 0), -(10**6), "its counts contradict each other"),
        ("0_arcs_right", (0, 0, 0), 10**6, "its counts contradict each other"),
        ("0_arcs_with_both", (0, 0, 0), 10**6, "its counts contradict each other"),
        ("0_tokens", (0, 0), 10**6, "its counts contradict each other"),
        ("0_totals_fraction", (0, 0), 1 << 41, "its counts contradict each other"),
        ("0_totals_whole", (0, 0), 1 << 62, "its counts contradict each other"),
        ("0_kept_words", (0,), 1, "its sampled arcs do not fit together"),
        ("0_kept_weights", (0, 0), float("inf"), "its sampled arcs do not fit together"),
        ("0_kept_places", (0, 0), 9, "its sampled arcs are not those of such a scan"),
        ("0_kept_places", (0, 6), 99, "its sampled arcs are not those of such a scan"),
    ],
)
def test_counts_that_no_scan_makes_are_refused_p36(
    bert: Model, tmp_path: Path, name: str, at: tuple[int, ...], by: float, message: str
) -> None:
    folder = tmp_path / "scan"
    scan = tiny_scan(folder, bert)
    scan.begin(resume=False)
    list(scan.go_on())
    scan.stop()
    state = folder / STATE
    arrays = dict(unpack(state.read_bytes()))
    arrays[name] = arrays[name].copy()
    arrays[name][at] += by
    state.write_bytes(pack(arrays))
    with pytest.raises(ResultsError, match=rf"corrupt: {message}; scan anew with --overwrite"):
        State.read(state)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"part": {"index": 3, "count": 2}}, "there is no part 3/2"),
        ({"part": {"index": 1, "count": 10**7}}, "there is no part 1/10000000"),
        ({"block": 0}, "block: Input should be greater than or equal to 1"),
        ({"block": 7}, "made_up.tsv has other blocks"),
        ({"heads": [[0, 0], [0, 0]]}, "it has other heads"),
        ({"heads": [[0, 10**9]]}, "it has other heads"),
        ({"environment": {}}, "its environment lacks a version"),
        ({"model": {"name": "a", "ref": "b"}}, "its model has no hash"),
        ({"corpora": []}, "made_up.tsv has other blocks"),
        ({"site": "nowhere"}, "site: Input should be 'encoder', 'decoder' or 'cross'"),
    ],
)
def test_facts_of_no_scan_are_refused_p36(
    bert: Model, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    facts = json.loads(tiny_scan(tmp_path / "scan", bert).facts.as_json())
    assert ScanFacts.of_json(json.dumps(facts)).as_json() == json.dumps(facts)
    with pytest.raises(ValueError, match=message):
        ScanFacts.of_json(json.dumps(facts | changes))


def test_a_small_state_that_unfolds_to_a_large_one_is_refused_p61(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = pack({"a": np.zeros(1 << 16)})
    assert [array.size for _, array in unpack(data)] == [1 << 16]
    monkeypatch.setattr(archive, "UNFOLDED_FREE", 1 << 16)
    with pytest.raises(ValueError, match="it unfolds to more than counts do"):
        dict(unpack(data))


def test_an_array_that_announces_more_than_it_has_is_refused_p61() -> None:
    content, file = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array(content, np.zeros(3))
    larger = content.getvalue().replace(b"(3,), }        ", b"(3000000000,), }")
    with zipfile.ZipFile(file, "w") as members:
        members.writestr("a.npy", larger[:128] + larger[-24:])
    with pytest.raises(ValueError, match=r"an array of shape \(3000000000,\) has 24 bytes"):
        dict(unpack(file.getvalue()))
