"""Probes a network while transformers' Trainer trains it."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from attnprobe.core.errors import ModelError, first_line
from attnprobe.core.names import CHANCE_MAX, short_name
from attnprobe.core.wording import format_percent, format_seconds, join_names
from attnprobe.models import Model, from_network
from attnprobe.results.records import CaseResult, Results
from attnprobe.results.summary import in_words, suite_counts
from attnprobe.run.in_process import Paths, Select, read_suite, run_suite

# What the names of all logged numbers begin with.
_PREFIX = "attnprobe"
_LOGGER = logging.getLogger(__name__)
# The most checks that a line names.
_MOST_NAMES = 3


class ProbeCallback(TrainerCallback):
    """Judges case files while a Trainer trains: `Trainer(..., callbacks=[ProbeCallback("cases")])`.

    It judges before the first step, and then at each evaluation or every so many steps. Of each
    suite it logs `attnprobe/SUITE/pass_rate`, the share of checks that hold without known gaps;
    `.../mean_slack`, the mean distance of attention weights from their bounds, which is positive
    where they hold; and `.../vacuous`, the number of expectations that hold and say nothing. With
    them it logs `attnprobe/seconds`, which a probing took. The Trainer brings them to its
    `log_history` and to all that it reports to. The records of each step go to a results file.

    The training is the same bit for bit as without the callback. In a distributed run the main
    process probes.

    Attributes:
        results: the results of the last probing; None before the first.
        failures: how many probings raised an error.
        seconds: what all probings took so far.

    Args:
        cases: a file, a folder, or several, as `run_cases` takes them.
        tokenizer: a fast one; by default the Trainer's `processing_class`.
        every: probe after so many steps instead of at evaluations.
        folder: for the results files, `step-000120.json` of step 120; by default `attnprobe` in the
            output folder of the training.
        stop_on: `blocking` stops the training at a check with severity blocking that fails or
            cannot be measured after a step, known gaps left out; None never stops it.
        on_error: `warn` logs a probing that raises an error and lets the training go on; `raise`
            ends the training with it. Errors in case files always end it before the first step.
        name: of the model in results; by default the name of the output folder.
        select, root, chance_max: as in `run_cases`.

    Raises:
        ValueError: an argument is none of the above.
    """

    def __init__(
        self,
        cases: Paths = "cases",
        *,
        tokenizer: Any = None,
        every: int | None = None,
        folder: str | os.PathLike[str] | None = None,
        stop_on: Literal["blocking"] | None = None,
        on_error: Literal["warn", "raise"] = "warn",
        name: str | None = None,
        select: Select | None = None,
        root: str | os.PathLike[str] | None = None,
        chance_max: float = CHANCE_MAX,
    ) -> None:
        if every is not None and every < 1:
            raise ValueError(f"every is a number of steps from 1, not {every}")
        if stop_on not in (None, "blocking"):
            raise ValueError(f"stop_on is 'blocking' or None, not {stop_on!r}")
        if on_error not in ("warn", "raise"):
            raise ValueError(f"on_error is 'warn' or 'raise', not {on_error!r}")
        self.results: Results | None = None
        self.failures = 0
        self.seconds = 0.0
        self._suite = read_suite(cases, root=root)
        self._tokenizer = tokenizer
        self._every = every
        self._folder = None if folder is None else Path(folder)
        self._stops = stop_on == "blocking"
        self._raises = on_error == "raise"
        self._name = name
        self._options: dict[str, Any] = {"select": select, "chance_max": chance_max}
        self._model: Model | None = None
        self._probed: int | None = None
        self._start = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._stops and args.world_size > 1:
            raise ValueError("stop_on takes a training in one process; it has several")
        if not state.is_world_process_zero:
            return
        self._start = time.perf_counter()
        self._probed = None
        self._model = self._model_of(args, kwargs)
        self._probe(args, state, control)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._every is not None and state.global_step % self._every == 0:
            self._probe_and_stop(args, state, control)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._every is None:
            if self._model is None and state.is_world_process_zero:  # before any training
                self._model = self._model_of(args, kwargs)
            self._probe_and_stop(args, state, control)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._model is None:
            return
        share = self.seconds / (time.perf_counter() - self._start)
        failed = f"; {self.failures} probings failed" if self.failures else ""
        _LOGGER.info(
            "attnprobe: probing took %s, %s of the training%s",
            format_seconds(self.seconds),
            format_percent(share),
            failed,
        )
        _log(
            {f"{_PREFIX}/seconds_in_all": self.seconds, f"{_PREFIX}/share_of_training": share},
            state,
            control,
        )

    def _model_of(self, args: TrainingArguments, given: Mapping[str, Any]) -> Model:
        tokenizer = self._tokenizer
        if tokenizer is None:
            tokenizer = given.get("processing_class")
        if tokenizer is None:
            raise ModelError(
                "ProbeCallback needs a tokenizer: give it tokenizer=, or the Trainer a "
                "processing_class"
            )
        name = self._name or short_name(str(args.output_dir))
        network = given["model"]
        adapter = getattr(network, "active_peft_config", None)
        if adapter is not None and not adapter.is_prompt_learning:
            network = network.get_base_model()  # whose layers the adapter has replaced by its own
        return from_network(network, tokenizer, name=name)

    def _probe_and_stop(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl
    ) -> None:
        found = self._probe(args, state, control)
        blocking = [record for record in found.items if _is_blocking(record)] if found else []
        if self._stops and blocking:
            control.should_training_stop = True
            names = join_names([record.address for record in blocking], _MOST_NAMES)
            _LOGGER.warning(
                "attnprobe: training stops at step %s: %s do not hold", state.global_step, names
            )

    def _probe(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl
    ) -> Results | None:
        """Judges the cases, writes and logs the results; None where nothing new was judged."""
        if self._model is None or self._probed == state.global_step:
            return None
        self._probed = state.global_step
        folder = self._folder or Path(str(args.output_dir)) / _PREFIX
        start = time.perf_counter()
        found = None
        try:
            found = run_suite(self._model, self._suite, **self._options)
            found.write(folder / f"step-{state.global_step:06d}.json")
        except Exception as error:
            if self._raises:
                raise
            self.failures += 1
            _LOGGER.warning(
                "attnprobe: nothing was judged at step %s: %s: %s",
                state.global_step,
                type(error).__name__,
                first_line(error),
            )
        seconds = time.perf_counter() - start
        self.seconds += seconds
        logs = {f"{_PREFIX}/seconds": seconds, f"{_PREFIX}/failures": float(self.failures)}
        if found is not None:
            self.results = found
            logs |= dict(_numbers(found))
            _LOGGER.info("attnprobe: step %s: %s", state.global_step, in_words(found))
        _log(logs, state, control)
        return found


def _numbers(found: Results) -> Iterator[tuple[str, float]]:
    """The numbers to log of each suite, by name."""
    for count in suite_counts(found.items):
        start = f"{_PREFIX}/{count.suite}"
        if count.pass_rate is not None:
            yield f"{start}/pass_rate", count.pass_rate
        if count.mean_slack is not None:
            yield f"{start}/mean_slack", count.mean_slack
        yield f"{start}/vacuous", float(count.vacuous)


def _is_blocking(record: CaseResult) -> bool:
    """Whether a check may stop a training; a known gap that holds by now may not."""
    failed = record.outcome == "failed" and any(
        entry.outcome == "failed" for entry in record.expectations
    )
    return record.severity == "blocking" and (failed or record.state == "error")


def _log(logs: dict[str, float], state: TrainerState, control: TrainerControl) -> None:
    """Logs numbers as the Trainer does, so that they reach all that it reports to."""
    trainer = _calling_trainer()
    if trainer is None:
        state.log_history.append({**logs, "step": state.global_step})
        return
    # Logging clears the request to log the loss of this step.
    wanted = control.should_log
    trainer.log(logs)
    control.should_log = wanted


def _calling_trainer() -> Trainer | None:
    """The Trainer that calls the callback; transformers does not hand it over."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
        caller = frame.f_locals.get("self")
        if isinstance(caller, Trainer):
            return caller
    return None
