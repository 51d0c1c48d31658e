"""`attnprobe gate`: decides whether a model may be released."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from attnprobe.cli.base import app, out
from attnprobe.cli.summary import folder


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def gate(
    context: typer.Context,
    results: Annotated[
        Path | None,
        typer.Option("--results", help="Judge this results file instead of running pytest."),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy",
            help="Policy file; else the table tool.attnprobe.gate of pyproject.toml.",
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep",
            help="Write the run's results to this file, once it is judged.",
        ),
    ] = None,
    init: Annotated[
        bool,
        typer.Option(
            "--init",
            help="Run the suite once and add the policy that demands what it judged to "
            "pyproject.toml.",
        ),
    ] = False,
    json: Annotated[
        Path | None,
        typer.Option("--json", help="Write the decision to this file."),
    ] = None,
) -> None:
    """Run the suite, or judge its results, and say whether the model may be released.

    All other arguments are pytest's: attnprobe gate cases --attn-model=path/to/model. A project
    needs a policy, which says what must be judged; --init writes the first one.

    Exit 0: it may. Exit 1: it may not. Exit 2: that could not be judged.
    """
    from attnprobe.core.printing import harmless
    from attnprobe.gate.release import Request, decide

    decision, found = decide(
        Request(context.args, results=results, policy=policy, keep=keep, json=json, init=init)
    )
    if found is not None and os.environ.get("GITHUB_ACTIONS") == "true":
        from attnprobe.results.summary import workflow_commands

        for line in workflow_commands(found, folder=folder(), accepted=decision.accepted):
            out.file.write(f"{line}\n")
    for line in decision.lines():
        out.file.write(f"{harmless(line)}\n")
    raise typer.Exit(decision.exit_code)
