"""What the pages cost: bytes, seconds until they answer in headless Chromium, seconds to make.

Run it as `.venv/bin/python -m benchmarks.pages`, or with the names of some parts: `heatmap report
filter explorer probe`. Times are medians of 5 loads, each in a fresh context of one browser, from
the start of the navigation until the page answers and is painted.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from attnprobe.core.maps import LayerMaps, ModelMaps
from tests.support import browser as browsers
from tests.support.demo_models import MINILM, SMOLLM2

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from attnprobe.models import Model

LOADS = 5
ROOT = Path(__file__).parents[1]
REPORT_READY = "document.querySelector('.attn-filter:not([hidden])')"
EXPLORER_READY = "document.querySelector('.attn-explorer[data-ready]')"
ANY_READY = "document.querySelector('#results-table tbody')"
# Notes when a page first answers and has been painted, in ms since the start of the navigation.
CLOCK = """
{
  const painted = () => setTimeout(() => { window.readyAt = performance.now(); });
  const look = () => (READY) ? requestAnimationFrame(painted) : setTimeout(look, 2);
  look();
}
"""
NOUNS = ("dog", "cat", "bird", "child", "king", "queen", "judge", "doctor", "farmer", "driver")
VERBS = ("saw", "knew", "found", "heard", "liked", "asked", "told", "met", "called", "helped")
OTHERS = ("because", "the", "old", "house", "near", "a", "river", "was", "quiet", "and", "dark",
          "so", "nobody", "came", "there", "at", "night", "when", "wind", "moon", "high",
          "above")  # fmt: skip


def say(what: str, *figures: str) -> None:
    print(f"{what:<52}", *(f"{figure:>14}" for figure in figures), flush=True)


def size_of(page: Path) -> str:
    return f"{page.stat().st_size / 1e6:.2f} MB"


@contextmanager
def chromium() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        _, browser = browsers.start_first(
            lambda candidate: playwright.chromium.launch(**browsers.launch_options(candidate))
        )
        yield browser
        browser.close()


@contextmanager
def loaded(browser: Browser, file: Path, ready: str) -> Iterator[tuple[Page, float]]:
    """An open page, and the seconds until it answered."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    context.add_init_script(CLOCK.replace("READY", ready))
    page = context.new_page()
    page.set_default_timeout(120_000)
    # A page may answer before its last data are read.
    page.goto(file.as_uri(), wait_until="commit")
    # Not wait_for_function: a page's policy forbids what it evaluates.
    while not page.evaluate("window.readyAt || 0"):
        page.wait_for_timeout(20)
    page.wait_for_load_state()
    yield page, page.evaluate("window.readyAt") / 1000
    context.close()


def seconds_to_load(browser: Browser, file: Path, ready: str) -> float:
    times = []
    for _ in range(LOADS):
        with loaded(browser, file, ready) as (_page, seconds):
            times.append(seconds)
    return statistics.median(times)


# The report


def run_pytest(folder: Path, *arguments: object, cwd: Path | None = None) -> float:
    """The processor time of a run of pytest with an HTML report."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, arguments)]
    command += ["--html", str(folder / "report.html"), "--self-contained-html"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, check=False, cwd=cwd or folder, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def sentence(generator: np.random.Generator, tokens: int) -> str:
    """A made-up sentence of MiniLM with this many tokens, its two special ones included."""
    first, second = generator.choice(NOUNS, 2, replace=False)
    start = ["The", first, generator.choice(VERBS), "every", second]
    rest = [str(generator.choice(OTHERS)) for _ in range(tokens - len(start) - 3)]
    return " ".join([*start, *rest]) + "."


def made_up_run(folder: Path, *, cases: int, tokens: int, red: bool, figures: str = "all") -> Path:
    """The report of a run of made-up cases on MiniLM."""
    generator = np.random.default_rng(0)
    lines = ["version: 1", "suite: made-up", "defaults: {heads: L3H1}", "cases:"]
    for number in range(cases):
        text = sentence(generator, tokens)
        first = text.split()[1]
        bound = 0.999 if red else 0.0001
        lines += [
            f"- id: case{number}",
            f"  text: {json.dumps(text)}",
            f"  expect: [attends: {{from: every, to: {first}, min: {bound}}}]",
        ]
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "x.attn.yaml").write_text("\n".join(lines))
    run_pytest(folder, "x.attn.yaml", f"--attn-model={MINILM}", f"--attn-figures={figures}")
    return folder / "report.html"


def rows_alone(folder: Path, cases: int) -> Path:
    """The report of pytest-html on as many tests that have nothing to do with attnprobe."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    text = f"import pytest\n@pytest.mark.parametrize('n', range({cases}))\ndef test_it(n): pass\n"
    (folder / "test_x.py").write_text(text)
    run_pytest(folder, "test_x.py")
    return folder / "report.html"


def report(browser: Browser) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        run_pytest(folder, "cases", "probes", "--attn-figures=all", cwd=ROOT)
        page = folder / "report.html"
        seconds = seconds_to_load(browser, page, REPORT_READY)
        say("report of the shipped suites", size_of(page), f"{seconds:.2f} s")
    with TemporaryDirectory() as name:
        alone = seconds_to_load(browser, rows_alone(Path(name), 1000), ANY_READY)
        say("1,000 rows of pytest-html without ours", "", f"{alone:.2f} s")
    for tokens in (20, 40):
        with TemporaryDirectory() as name:
            page = made_up_run(Path(name), cases=1000, tokens=tokens, red=False)
            seconds = seconds_to_load(browser, page, REPORT_READY)
            figures = (size_of(page), f"{seconds:.2f} s", f"{seconds - alone:.2f} s beyond")
            say(f"1,000 cases of {tokens} tokens, all pictures", *figures)
    with TemporaryDirectory() as name:
        page = made_up_run(Path(name), cases=355, tokens=20, red=True)
        seconds = seconds_to_load(browser, page, REPORT_READY)
        say("355 cases, all red and open", size_of(page), f"{seconds:.2f} s")


FILTER = """text => {
  const field = document.querySelector(".attn-filter input[type=search]");
  const start = performance.now();
  field.value = text;
  field.dispatchEvent(new Event("input", { bubbles: true }));
  document.body.getBoundingClientRect();
  return performance.now() - start;
}"""


def filtering(browser: Browser) -> None:
    with TemporaryDirectory() as name:
        page_file = made_up_run(Path(name), cases=4000, tokens=20, red=False, figures="none")
        with loaded(browser, page_file, REPORT_READY) as (page, seconds):
            times = [page.evaluate(FILTER, text) for text in ("dog", "case39", "moon", "", "king")]
    say("4,000 cases", f"{seconds:.2f} s", f"{statistics.median(times):.0f} ms to filter")


def probe(_browser: Browser) -> None:
    ratios, times = [], []
    for _ in range(3):
        with TemporaryDirectory() as name:
            spent = {
                figures: run_pytest(
                    Path(name), "cases", "probes", f"--attn-figures={figures}", cwd=ROOT
                )
                for figures in ("none", "all")
            }
        ratios.append(spent["all"] / spent["none"])
        times.append(spent)
    say(
        "make probe with all pictures / without",
        f"{statistics.median(ratios):.2f}",
        f"{min(ratios):.2f} to {max(ratios):.2f}",
        f"{statistics.median(spent['all'] for spent in times):.0f} s of CPU",
    )


def heatmap(_browser: Browser) -> None:
    from attnprobe.render.web.maps import AttentionMap, map_table

    generator = np.random.default_rng(0)
    for count in (15, 40):
        weights = generator.dirichlet(np.full(count, 0.3), count).astype(np.float32)
        labels = tuple(f"word{number}" for number in range(count))
        shown = AttentionMap(labels, labels, weights)
        made = len(str(map_table(shown, caption="made up")))
        milliseconds = 1000 * quickest(lambda shown=shown: map_table(shown, caption="made up"))
        say(f"heatmap of {count} × {count}", f"{made / 1000:.1f} kB", f"{milliseconds:.2f} ms")


def quickest(make: Callable[[], object], rounds: int = 20) -> float:
    """The median time of a call in seconds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        make()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


# The explorer


def prose(model: Model, tokens: int) -> str:
    """The start of the documentation with this many tokens of the model."""
    pages = sorted((ROOT / "docs").glob("*.md"))
    text = " ".join(" ".join(page.read_text(encoding="utf-8") for page in pages).split())
    text = text.replace("[", "(").replace("]", ")").replace("<", "(")
    encoded = model.tokenizer(text, return_offsets_mapping=True, truncation=False)
    special = len(model.tokenizer("").input_ids)
    start = 1 if special else 0
    return text[: encoded["offset_mapping"][start + tokens - special - 1][1]]


def twelve_layers(maps: ModelMaps) -> ModelMaps:
    """The maps of MiniLM with its 6 layers twice: the size of BERT, real weights."""
    (site,) = maps.sites
    layers = list(site.layers)
    again = [LayerMaps(at.layer + len(layers), at.heads, at.weights, at.figures) for at in layers]
    edges = None if site.edges is None else np.concatenate([site.edges, site.edges])
    return replace(maps, sites=(replace(site, layers=[*layers, *again], edges=edges),))


# From the choice of a head in a layer that is not unpacked yet until its first number is shown.
TO_HEAD = """head => new Promise(done => {
  const start = performance.now();
  const chips = document.querySelector(".attn-chips");
  const watch = new MutationObserver(() => {
    if (!chips.textContent.includes(head)) return;
    watch.disconnect();
    done(performance.now() - start);
  });
  watch.observe(chips, { childList: true, subtree: true, characterData: true });
  document.querySelector(`[data-head="${head}"]`).click();
})"""
TINT = """() => {
  const words = [...document.querySelectorAll("[data-token]")].slice(20, 40);
  const over = word => word.dispatchEvent(new PointerEvent("pointermove", { bubbles: true }));
  over(words[0]);
  const start = performance.now();
  words.slice(1).forEach(over);
  return (performance.now() - start) / (words.length - 1);
}"""


def explorer(browser: Browser) -> None:
    from attnprobe.models import load
    from attnprobe.render.web.explorer import explorer_page

    minilm, smollm2 = load(MINILM), load(SMOLLM2)
    for model, tokens in ((minilm, 128), (smollm2, 512), (smollm2, 2048)):
        start = time.perf_counter()
        maps = model.attention(prose(model, tokens)).maps()
        name = f"explorer of {model.name}, {tokens:,} tokens"
        if model is minilm:
            maps, name = twelve_layers(maps), "explorer of 12 × 12 heads, 128 tokens"
        with TemporaryDirectory() as folder:
            file = Path(folder) / "page.html"
            file.write_text(explorer_page(maps), encoding="utf-8")
            made = time.perf_counter() - start
            seconds = seconds_to_load(browser, file, EXPLORER_READY)
            with loaded(browser, file, EXPLORER_READY) as (page, _):
                heads = [f"L{layer}H2" for layer in (1, 4, 2, 5, 3)]
                layer = statistics.median(page.evaluate(TO_HEAD, head) for head in heads)
                tint = page.evaluate(TINT)
            figures = (f"{layer:.0f} ms a layer", f"{tint:.2f} ms a row", f"{made:.0f} s to make")
            say(name, size_of(file), f"{seconds:.2f} s", *figures)


PARTS: dict[str, Callable[[Any], None]] = {
    "heatmap": heatmap,
    "report": report,
    "filter": filtering,
    "explorer": explorer,
    "probe": probe,
}


def main() -> None:
    chosen = sys.argv[1:] or list(PARTS)
    with chromium() as browser:
        print(f"Chromium {browser.version}; {time.strftime('%d %B %Y')}")
        for name in chosen:
            PARTS[name](browser)


if __name__ == "__main__":
    main()
