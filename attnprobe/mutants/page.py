"""Writes the kill table as a page of Markdown, and its rows for a terminal."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

from attnprobe.mutants.kinds import KINDS
from attnprobe.mutants.trial import SEEN_FROM, SMALL_BATCH, Trial

COLUMNS = ("variant", "wanted", "found", "blocking", "advisory", "suites", "note")

_PAGE = """# Mutants: can the shipped suites fail?

Written by `make mutants` (`attnprobe mutants`) on {date}, with torch {torch} and transformers
{transformers}. Do not edit it.

A suite that passes proves something only if it can fail. Here the demo models are damaged on
purpose, one variant at a time, and the shipped cases are run on each. The variants are made from
the weights alone and with a fixed seed, so the table can be made again.

| variant | what is done |
|---|---|
{kinds}
| `unchanged` | nothing |
| `batches of {batch} tokens`, `padding on the left` | nothing but how texts are put into batches |
| `arithmetic in bfloat16` | nothing; the model computes as `--attn-dtype bfloat16` asks |

Every head that a blocking case names is damaged in its queries and in its output, and every layer
is drawn anew. What is wanted:

- `red`: at least one blocking case breaks. A case breaks when it fails, cannot be measured, or is
  an `xfail` that passes. Advisory cases are counted, but do not turn a run red.
- `green`: no blocking case breaks.
- `moved`: the model computes what it did, with two heads in each other's place. Cases that name the
  head break, as they should; `compare` must say where it went, and that no other head moved.
- `unseen`: scrambling this head's output changes no attention weight by {seen} or more, in any
  later layer, on any text of the suites, and no case breaks. A head of the last layer has no later
  layer. No case about attention can see that; one with `effect` may.

A caught mutant shows that a suite sees this damage. It does not show that it sees every damage:
each variant is one draw, and small changes of a head stay below any bound. Most cases that catch
shuffled outputs are in suites called `downstream`, which say nothing about language and are there
for this alone.

## Your own suites

```console
attnprobe mutants my-cases --model path/to/model
attnprobe mutate path/to/model --kind shuffle-output --head L3H1 --out damaged
pytest my-cases --attn-model=damaged
```

The first makes this table for your suites and exits with 1 if a variant comes out otherwise than
wanted. The second writes one variant as a folder that anything loads. Both know networks that are
named and shaped as BERT's or Llama's are, and refuse any other. `--seed` draws another variant,
`--tokenizer` names the tokenizer of a folder that has none.
"""


@dataclass(frozen=True)
class ModelFacts:
    """The facts about a model on the page.

    Attributes:
        size: kind, layers and heads: `encoder, 6 layers of 12 heads`.
        cases: number of cases that are for the model.
    """

    name: str
    architecture: str
    size: str
    weights_sha256: str
    cases: int


def cells(trial: Trial) -> tuple[str, ...]:
    """The cells of a trial's row, in the order of `COLUMNS`."""
    suites = ", ".join(f"{suite} {count}" for suite, count in trial.suites.items())
    return (
        trial.variant,
        trial.wanted,
        trial.found + ("" if trial.as_wanted else " (!)"),
        str(trial.blocking),
        str(trial.advisory),
        suites,
        trial.note,
    )


def summary_line(trials: Sequence[Trial]) -> str:
    """The table as a sentence: `12 of 12 damaged variants are caught; ...`."""
    clauses = []
    for wanted, words in (
        ("red", "damaged variants are caught"),
        ("green", "harmless ones stay green"),
        ("moved", "swapped heads are reported as moved"),
        ("unseen", "cannot be seen in attention"),
    ):
        group = [trial for trial in trials if trial.wanted == wanted]
        as_wanted = sum(trial.as_wanted for trial in group)
        if group:
            clauses.append(f"{as_wanted} of {len(group)} {words}")
    return "; ".join(clauses)


def as_page(found: Sequence[tuple[ModelFacts, Sequence[Trial]]]) -> str:
    """The page with the tables of all models."""
    today = datetime.datetime.now(tz=datetime.UTC).date()
    parts = [
        _PAGE.format(
            date=today,
            torch=version("torch"),
            transformers=version("transformers"),
            batch=SMALL_BATCH,
            seen=SEEN_FROM,
            kinds="\n".join(f"| `{kind}` | {words} |" for kind, words in KINDS.items()),
        )
    ]
    for model, trials in found:
        parts.append(
            f"\n## {_escape(model.name)}\n\n"
            f"{_escape(model.architecture)}, {_escape(model.size)}; {model.cases} cases; weights "
            f"sha256 `{model.weights_sha256}`.\n\n{summary_line(trials)}.\n\n"
        )
        parts.append(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n")
        parts += [f"| {' | '.join(map(_escape, cells(trial)))} |\n" for trial in trials]
    return "".join(parts)


def _escape(text: str) -> str:
    """The text with Markdown's special characters escaped."""
    for char in "\\|[]`*_":
        text = text.replace(char, f"\\{char}")
    return text.replace("<", "&lt;")
