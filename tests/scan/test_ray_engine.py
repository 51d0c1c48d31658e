"""Scans on real Ray: the same bytes as one process, whatever happens to the actors."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import ray

from attnprobe.core.errors import AttnprobeError, CorpusError, ResultsError
from attnprobe.core.needs import MapNeed, MapSums
from attnprobe.models import Model
from attnprobe.models.twin import random_twin
from attnprobe.relations.stream import CorpusStream
from attnprobe.results.files import write_bytes
from attnprobe.scan import files, ray_engine, session, state
from attnprobe.scan.corpora import Corpora, CorpusRef
from attnprobe.scan.counting import Surveyor
from attnprobe.scan.output import Output
from attnprobe.scan.pool import Pool
from attnprobe.scan.ray_engine import on_ray
from attnprobe.scan.session import Engine, Options, Scan, in_process
from attnprobe.scan.state import STATE, State
from tests.support.scans import folder_of, run, sentences, tiny, write_jsonl

# Ray warns of its own parts that will go.
pytestmark = pytest.mark.filterwarnings("ignore")


class Failing:
    """A model whose process dies, or which raises, where a file says so.

    Files of the folder: `die` kills the process that finds it, once; `die always` each one;
    `raise` is an error of the network.
    """

    def __init__(self, model: Model, folder: Path) -> None:
        self._model = model
        self._folder = folder
        self._texts = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def survey(self, needs: Sequence[MapNeed], **options: Any) -> Iterator[MapSums]:
        self._texts += len(needs)
        if self._texts > 8:  # not in the first block
            if (self._folder / "die always").exists():
                os._exit(9)
            try:
                (self._folder / "die").unlink()
                os._exit(9)
            except FileNotFoundError:
                pass
            if (self._folder / "raise").exists():
                raise ValueError("out of luck\nand more")
        yield from self._model.survey(needs, **options)


class Make:
    """Makes the models in an actor."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self) -> tuple[Surveyor, Surveyor | None]:
        model = tiny("bert")
        return Failing(model, self.folder), random_twin(model, seed=1)  # type: ignore[return-value]


def full_disk_after(count: int) -> Callable[[Path, bytes], None]:
    """Writes so many files, then none."""
    left = iter(range(count))

    def write(path: Path, data: bytes) -> None:
        if next(left, None) is None:
            raise ResultsError(f"{path}: cannot be written: {os.strerror(errno.ENOSPC)}")
        write_bytes(path, data)

    return write


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Ray with two processors, for all tests here."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "made_up.jsonl"
    write_jsonl(path, sentences(60))
    return path


def scan_of(model: Model, path: Path, folder: Path, engine: Engine) -> Scan:
    refs = [CorpusRef(path.name, path, [CorpusStream(path, path.name)])]
    output = Output(folder, path.parent, folder / "lock.json")
    options = Options(min_arcs=5, set_arcs=10, save_every_s=0, output=output)
    return Scan(model, Corpora.inspect(refs, block=8), options, engine, control=True)


@pytest.fixture
def expected(bert: Model, corpus: Path, tmp_path: Path) -> dict[str, bytes]:
    """What one process leaves."""
    engine = in_process(bert, random_twin(bert, seed=1))
    run(scan_of(bert, corpus, tmp_path / "one", engine))
    return folder_of(tmp_path / "one")


@pytest.mark.usefixtures("cluster")
def test_two_actors_give_the_same_bytes_though_one_is_killed(
    bert: Model, corpus: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "die").touch()
    engine = on_ray(Make(tmp_path), Pool(concurrency=2))
    written = run(scan_of(bert, corpus, tmp_path / "two", engine))
    assert not (tmp_path / "die").exists()
    assert folder_of(tmp_path / "two") == expected
    assert len(written) == 4
    assert json.loads((tmp_path / "two" / files.RESULTS).read_text())["sentences_done"] == 60


@pytest.mark.usefixtures("cluster")
def test_after_deaths_and_a_full_disk_a_scan_goes_on_to_the_same_bytes(
    bert: Model,
    corpus: Path,
    expected: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray_engine, "RETRIES", 0)
    (tmp_path / "die always").touch()
    scan = scan_of(bert, corpus, tmp_path / "two", on_ray(Make(tmp_path), Pool()))
    scan.begin(resume=False)
    with pytest.raises(AttnprobeError, match=r"Ray gave up: .* tried 1 time; .* --resume"):
        list(scan.go_on())
    done = json.loads((tmp_path / "two" / files.RESULTS).read_text())["sentences_done"]
    assert done in range(0, 60, 8)
    (tmp_path / "die always").unlink()
    # The disk of the driver fills up in the middle: what was saved before stays.
    again = scan_of(bert, corpus, tmp_path / "two", on_ray(Make(tmp_path), Pool()))
    assert again.begin(resume=True) == done
    with monkeypatch.context() as patch:
        patch.setattr(state, "write_bytes", full_disk_after(2))
        patch.setattr(session, "SAVE_SHARE", 0)
        with pytest.raises(ResultsError, match="No space left on device"):
            list(again.go_on())
    saved = State.read(tmp_path / "two" / STATE)
    assert done < saved.facts.sentences_of(saved.counted.done) < 60
    last = scan_of(bert, corpus, tmp_path / "two", on_ray(Make(tmp_path), Pool()))
    assert last.begin(resume=True) == saved.facts.sentences_of(saved.counted.done)
    list(last.go_on())
    last.finish()
    assert folder_of(tmp_path / "two") == expected


@pytest.mark.usefixtures("cluster")
def test_errors_of_actors_are_told_in_one_sentence(
    bert: Model, corpus: Path, tmp_path: Path
) -> None:
    (tmp_path / "raise").touch()
    scan = scan_of(bert, corpus, tmp_path / "two", on_ray(Make(tmp_path), Pool()))
    with pytest.raises(AttnprobeError, match=r"^a worker failed: ValueError: out of luck"):
        list(scan.go_on())
    (tmp_path / "raise").unlink()
    scan = scan_of(bert, corpus, tmp_path / "three", on_ray(Make(tmp_path), Pool()))
    lines = corpus.read_text().splitlines(keepends=True)
    corpus.write_text("".join([*lines[:20], "\n", *lines[20:]]))
    with pytest.raises((AttnprobeError, CorpusError), match=r"made_up\.jsonl: has changed while"):
        list(scan.go_on())


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("pool", "message"),
    [
        (Pool(threads=99), "Ray has 2 CPUs, and one actor needs 99; lower --threads"),
        (Pool(num_gpus=1), "Ray has 0 GPUs, and one actor needs 1; lower --num-gpus"),
    ],
)
def test_what_ray_has_not_is_not_waited_for(
    bert: Model, corpus: Path, tmp_path: Path, pool: Pool, message: str
) -> None:
    scan = scan_of(bert, corpus, tmp_path / "two", on_ray(Make(tmp_path), pool))
    with pytest.raises(AttnprobeError, match=message):
        list(scan.go_on())


def test_ray_that_is_missing_or_unreachable_is_one_sentence(
    bert: Model, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "ray.data", None)
        with pytest.raises(AttnprobeError, match=r"needs Ray: pip install 'attnprobe\[ray\]'"):
            on_ray(Make(tmp_path), Pool())
    pool = Pool(address="localhost:1")
    if not ray.is_initialized():
        scan = scan_of(bert, corpus, tmp_path / "two", on_ray(Make(tmp_path), pool))
        with pytest.raises(AttnprobeError, match="Ray cannot be started: "):
            list(scan.go_on())
