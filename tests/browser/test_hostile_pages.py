"""Texts of users in every field of the pages: they are shown, and none of them runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from attnprobe.results.records import CaseResult, ModelResult
from tests.architectures.tiny import tiny_network, tiny_tokenizer
from tests.support import made_up_results as made
from tests.support.inner_runs import Run
from tests.support.pages import OpenPage
from tests.support.payloads import PAYLOADS, missing_texts, payload_faults

if TYPE_CHECKING:
    from playwright.sync_api import Page

FILE = """
version: 1
suite: hostile
defaults: {{heads: mean}}
cases:
  - id: fails
    text: {text}
    expect:
      - attends: {{from: barks, to: {payload}, over: dog, min: 0.99}}
  - id: gap
    text: {text}
    xfail: {payload}
    expect:
      - attends: {{from: barks, to: {payload}, min: 0.99}}
  - id: later
    text: {text}
    skip: {payload}
    expect:
      - attends: {{from: barks, to: {payload}, min: 0.99}}
"""
PROBE = """
import pytest
PAYLOADS = {payloads!r}

@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_probe(attn, payload):
    attn(payload + " dog").attends("dog", payload, heads="mean", min=0.99)

@pytest.mark.parametrize("payload", PAYLOADS)
def test_message(payload):
    raise ValueError(payload)
"""


# The fixture `attn`: it runs the command in this process.
Attn = Callable[..., tuple[int, str]]


def opened(page: Page) -> Page:
    """The page with all that can be unfolded unfolded, and all open cases drawn."""
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.locator("#show_all_details").evaluate_all("found => found.forEach(link => link.click())")
    return page


def test_a_report_runs_no_text_p31(probe: Run, open_page: OpenPage) -> None:
    for number, payload in enumerate(PAYLOADS):
        # Two thirds of the payloads in a name; a file's name holds no slash.
        name = payload.replace("/", "") + f"{number}.attn.yaml"
        text = FILE.format(payload=json.dumps(payload), text=json.dumps(f"{payload} dog barks"))
        Path(name).write_text(text, encoding="utf-8")
    Path("test_x.py").write_text(PROBE.format(payloads=PAYLOADS), encoding="utf-8")
    result = probe(
        "--html=report.html", "--self-contained-html", "--tb=short", model=f"{PAYLOADS[0]}=tiny"
    )
    result.assert_outcomes(failed=120, xfailed=40, skipped=40)
    page = opened(open_page("report.html", bypass_csp=True))
    assert payload_faults(page) == []
    assert missing_texts(page) == []


def hostile_records() -> tuple[ModelResult, list[CaseResult]]:
    """A model and 40 cases with a payload in every field of type str."""
    model = replace(
        made.MODEL,
        ref=PAYLOADS[1],
        architecture=PAYLOADS[2],
        tokenizer=PAYLOADS[3],
        name=PAYLOADS[4],
    )
    cases = []
    for payload in PAYLOADS:
        arguments = {"from": payload, "to": payload, payload: payload}
        stated = made.expectation(
            rule=payload, arguments=arguments, message=payload, head=payload, confirmed=payload
        )
        texts = {"suite": payload, "file": payload, "row": payload, "nodeid": payload}
        words = (payload,)
        cases.append(
            made.case(payload, "passed", stated, **texts, model=model.name, unknown_words=words)
        )
    return model, cases


def test_a_history_runs_no_text_p31(attn: Attn, open_page: OpenPage) -> None:
    model, cases = hostile_records()
    other = [
        replace(case, expectations=(made.expectation(head=PAYLOADS[7]),)) for case in cases[:30]
    ] + [
        replace(case, outcome="failed", expectations=(made.expectation("failed"),))
        for case in cases[30:]
    ]
    names = [payload.replace("/", "") for payload in PAYLOADS[8:10]]
    for name, kept in zip(names, (cases, other), strict=True):
        run = made.run(*kept, models=(model,), given=(model.name,))
        Path(f"{name}.json").write_text(json.dumps(run.to_json()), encoding="utf-8")
    attn("history", *(f"{name}.json" for name in names), "--html", "page.html")
    page = opened(open_page("page.html", bypass_csp=True))
    assert payload_faults(page) == []
    assert missing_texts(page) == []


def test_a_comparison_runs_no_text_p31(attn: Attn, open_page: OpenPage) -> None:
    model, cases = hostile_records()
    broken = [
        replace(case, outcome="failed", expectations=(made.expectation("failed", message=case.id),))
        for case in cases
    ]
    for name, kept in (("a.json", cases), ("b.json", broken)):
        environment = dict.fromkeys(("device", "dtype", "git_commit", "platform"), PAYLOADS[5])
        run = made.run(*kept, models=(model,), environment=environment, given=(model.name,))
        Path(name).write_text(json.dumps(run.to_json()), encoding="utf-8")
    attn("compare", "a.json", "b.json", "--html", "page.html")
    page = opened(open_page("page.html", bypass_csp=True))
    assert payload_faults(page) == []
    assert missing_texts(page) == []


@pytest.mark.parametrize("first", range(0, len(PAYLOADS), 4))
def test_a_page_of_a_text_runs_no_text_p31(
    attn: Attn, open_page: OpenPage, tmp_path: Path, first: int
) -> None:
    chosen = PAYLOADS[first : first + 4]
    folder = tmp_path / chosen[0].replace("/", "")
    tiny_network("bert", max_position_embeddings=512).save_pretrained(folder)
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = 512
    tokenizer.save_pretrained(folder)
    text = " ".join(f"dog{number} {payload}" for number, payload in enumerate(chosen))
    attn("show", folder, text, "--heads", "L0H0", "-o", "page.html")
    page = opened(open_page("page.html", bypass_csp=True))
    assert payload_faults(page) == []
    assert missing_texts(page, chosen) == []
