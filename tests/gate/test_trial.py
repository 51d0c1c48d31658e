"""The gate against a damaged model: no way to lose a check by accident ends in 0."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from zlib import crc32

import pytest
from typer.testing import CliRunner

from attnprobe import cli
from attnprobe.core.sites import Head
from attnprobe.models import load
from attnprobe.mutants.damage import write_mutant
from attnprobe.mutants.kinds import Mutation
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support.gate_ways import SEEN, WAYS, WITHOUT_MODEL, write_project
from tests.support.inner_runs import SLOW

# `make test` takes one way in four, `make gate-trial` all.
TAKEN = [
    name for name in WAYS if "ATTNPROBE_ALL_WAYS" in os.environ or crc32(name.encode()) % 4 == 0
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A folder with a healthy model and a damaged one, and a bound that tells the two apart."""
    folder = tmp_path_factory.mktemp("models")
    network = tiny_network("bert")
    query = network.encoder.layer[1].attention.self.query
    query.weight.data *= 8  # sharper than the weights that were drawn
    network.save_pretrained(folder / "healthy")
    tiny_tokenizer().save_pretrained(folder / "healthy")
    write_mutant(
        str(folder / "healthy"), Mutation("shuffle-queries", head=Head(1, 0)), folder / "damaged"
    )
    least, most = min(_weights(folder / "healthy")), max(_weights(folder / "damaged"))
    assert least > most + 0.1
    return folder, (least + most) / 2


def _weights(folder: Path) -> list[float]:
    """The weight from "cats" to "dog" in the two texts of a suite."""
    found = []
    for text in ("Some cats chase the dog.", "Then some cats chase the dog."):
        attention = load(str(folder)).attention(text)
        words = attention.words
        found.append(attention.words_matrix("L1H0")[words.index("cats"), words.index("dog")].item())
    return found


@pytest.fixture
def project(
    models: tuple[Path, float], forks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The project of all ways, in the working directory."""
    folder, bound = models
    monkeypatch.chdir(tmp_path)
    for name in ("healthy", "damaged"):
        (tmp_path / name).symlink_to(folder / name)
    write_project(bound)
    for name in ("GITHUB_ACTIONS", "PYTEST_ADDOPTS", "PYTEST_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    yield
    shutil.rmtree(tmp_path, ignore_errors=True)


def gate(model: str, arguments: Sequence[str]) -> tuple[int, str]:
    """The exit code and the last line of the gate."""
    given = ["gate", *arguments]
    if WITHOUT_MODEL in given:
        given.remove(WITHOUT_MODEL)
    elif not any(argument.startswith(("--attn-model", "--results")) for argument in given):
        given += [f"--attn-model=tiny={model}", *SLOW, "-p", "no:unraisableexception"]
    result = CliRunner().invoke(cli.app, given)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout.splitlines()[-1]


@pytest.mark.usefixtures("project")
def test_the_gate_tells_the_damaged_model_from_the_healthy_one() -> None:
    assert gate("healthy", ["cases"])[0] == 0
    code, sentence = gate("damaged", ["cases"])
    assert (code, "in suite b 2 of 2 attention checks" in sentence) == (1, True)


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("name", TAKEN)
def test_no_way_to_lose_a_check_ends_in_0_p57(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    way = WAYS[name]
    way.change()
    for variable, value in way.environment.items():
        monkeypatch.setenv(variable, value)
    code, sentence = gate("damaged", way.arguments)
    expected = (1, "Release blocked: ") if name in SEEN else (2, "Cannot judge: ")
    assert (code, sentence.startswith(expected[1])) == (expected[0], True), sentence


def test_there_are_a_hundred_ways() -> None:
    assert len(WAYS) >= 100
    assert WAYS.keys() > SEEN
