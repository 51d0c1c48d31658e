"""What the tests share."""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from typer.testing import CliRunner

from tests.support.demo_models import MINILM, SMOLLM2
from tests.support.inner_runs import SLOW, Run, TinyModels

if TYPE_CHECKING:
    from attnprobe.models import Model

# A loaded machine makes any single example slow, and the making of it.
settings.register_profile("attnprobe", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("attnprobe")

pytest_plugins = ["pytester", "tests.support.pages"]


@pytest.fixture(scope="session")
def minilm() -> Model:
    """The demo model, loaded once; tests that use no model pay nothing for it."""
    from attnprobe.models import load

    return load(MINILM)


@pytest.fixture(scope="session")
def smollm2() -> Model:
    """The demo decoder; its conversion from GGUF is kept in the cache folder of the user."""
    from attnprobe.models import load

    return load(SMOLLM2)


@pytest.fixture(scope="session")
def translator() -> Model:
    """The project's own encoder-decoder."""
    from attnprobe.models import load

    return load(str(Path(__file__).parent.parent / "probes" / "translator" / "model"))


@pytest.fixture(scope="session")
def moods(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A classifier that was fine-tuned from the demo model, loaded from its folder."""
    from attnprobe.models import load
    from tests.support.moods import fine_tune

    folder = tmp_path_factory.mktemp("moods")
    fine_tune(folder)
    return load(str(folder))


@pytest.fixture(scope="session")
def _tiny_model() -> Model:
    # pytester forgets what was imported during an inner run: all of it must be there before.
    for module in (
        "models.check",
        "plugin.columns",
        "plugin.items",
        "plugin.ledger",
        "plugin.probe",
        "render.figures.heatmap",
        "run.order",
    ):
        importlib.import_module(f"attnprobe.{module}")
    from attnprobe.models import Model
    from tests.architectures.tiny import tiny_network, tiny_tokenizer

    return Model.of(tiny_network("bert"), tiny_tokenizer(), name="tiny")


@pytest.fixture
def tiny(_tiny_model: Model) -> TinyModels:
    """To be registered in an inner run; `tiny.loaded` lists what was asked of it."""
    return TinyModels(_tiny_model)


@pytest.fixture
def attn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Runs `attnprobe` in an empty folder, on a wide terminal; exit code and what was printed."""
    from attnprobe import cli
    from attnprobe.cli.base import out

    monkeypatch.chdir(tmp_path)
    # Not by COLUMNS: a console that was made where it was set, as under xdist, keeps that width.
    monkeypatch.setattr(out, "_width", 4000)

    def run(*arguments: object) -> tuple[int, str]:
        result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout

    return run


@pytest.fixture
def forks(_tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of pytest-xdist, and the run below the gate, are forks where that is possible."""
    from tests.support.forks import use_forks

    use_forks(monkeypatch)


@pytest.fixture
def probe(pytester: pytest.Pytester, tiny: TinyModels, forks: None) -> Run:
    """Runs pytest in this process, on a tiny random model unless told; warnings are errors."""

    def run(
        *args: Any, model: str | None = "tiny", plugin: object | None = None
    ) -> pytest.RunResult:
        given = [] if model is None else [f"--attn-model={model}"]
        with pytest.MonkeyPatch.context() as patch:
            # On CI pytest repeats whole messages in its summary: what is counted would differ.
            for name in ("CI", "BUILD_NUMBER"):
                patch.delenv(name, raising=False)
            return pytester.runpytest_inprocess(
                *SLOW, "-Werror", *given, *args, plugins=[tiny if plugin is None else plugin]
            )

    return run


@pytest.fixture
def write_cases() -> Callable[..., Path]:
    """Writes a case file into the working directory; heads are all of the model's, averaged."""

    def write(cases: str, *, name: str = "x.attn.yaml", head: str = "") -> Path:
        start = f"version: 1\nsuite: pronouns\n{head}defaults: {{heads: mean}}\ncases:\n"
        path = Path.cwd() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = start + textwrap.indent(textwrap.dedent(cases).strip("\n"), "  ") + "\n"
        path.write_text(text, encoding="utf-8")
        return path

    return write
