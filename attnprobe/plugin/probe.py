"""The fixture `attn`: attention probes written in Python, judged by the same rules."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, Unpack

import pytest

from attnprobe.attention import Attention
from attnprobe.cases import Case, Expectation
from attnprobe.core.errors import AttnprobeError, Mark
from attnprobe.core.printing import harmless
from attnprobe.core.reader import Reader
from attnprobe.core.registry import did_you_mean
from attnprobe.core.sites import SiteName
from attnprobe.core.text_options import TextOptions, text_sample
from attnprobe.core.texts import Sample
from attnprobe.plugin.keys import judged_key
from attnprobe.plugin.session import Session
from attnprobe.rules import RULES
from attnprobe.rules.calls import called_rule
from attnprobe.run.explain import ExpectationFailed, explain, headline
from attnprobe.run.judging import Judged


class Probe:
    """Reads texts with the model of the run: `attn("The keys are old.")`.

    The setup of the test makes the probe and loads the model, so a model that cannot be loaded is
    an ERROR and not a failure.
    """

    def __init__(self, session: Session, item: pytest.Item, model: str) -> None:
        self._session = session
        self._item = item
        self.model = model
        item.stash[judged_key] = []
        try:
            self.reader: Reader = session.model(model)
        except AttnprobeError as error:
            raise pytest.fail.Exception(harmless(str(error)), pytrace=False) from None

    def __call__(
        self,
        text: str | None = None,
        *,
        site: SiteName | None = None,
        **options: Unpack[TextOptions],
    ) -> ProbedAttention:
        """The attention on one text, or on a pair of texts.

        Args:
            text: the text, or the first one of the pair; left out where there are messages.
            site: needed only if the model has several sites.
            options: as for `Model.attention`; the default languages are those of the run.

        Raises:
            AttnprobeError: the model cannot read the text.
            TypeError: `text` is no string.
            ValueError: a text is empty.
        """
        __tracebackhide__ = True
        if text is not None and not isinstance(text, str):
            raise TypeError(f"attn takes one text, not {text!r}")
        if text is not None and not text.strip():
            raise ValueError("attn: the text is empty; write a sentence")
        pair = options.get("pair")
        if pair is not None and not pair.strip():
            raise ValueError("attn: the second text is empty; write a sentence or leave pair= out")
        sample = text_sample(text, **options)
        with _HarmlessErrors():
            return ProbedAttention(self, sample, site)

    def expect(self, sample: Sample, kind: str, arguments: dict[str, Any]) -> None:
        """Judges one rule and stores the finding for the reports.

        Raises:
            ExpectationFailed: the rule does not hold.
            AttnprobeError: the rule cannot be measured on this text.
            TypeError: an argument is missing, unknown or invalid.
        """
        __tracebackhide__ = True
        path, line, _ = self._item.location
        mark = Mark(PurePath(path).as_posix(), (line or 0) + 1, 1)
        case = Case(
            suite=self._item.path.stem,
            id=self._item.name,
            row=None,
            mark=mark,
            sample=sample,
            expectations=(Expectation(called_rule(kind, arguments), arguments, mark),),
            marks=(),
            severity="blocking",
            xfail=None,
            skip=None,
        )
        (finding,) = self._session.judge.runner(self.model, [case]).judge(case)
        self._item.stash[judged_key].append(Judged(case, self.model, finding))
        if finding.error is not None:
            with _HarmlessErrors():
                raise finding.error
        if self._session.judge.fails(finding):
            raise ExpectationFailed(f"{headline([finding])}\n{explain(case, finding)}")


class ProbedAttention(Attention):
    """An `Attention` whose rules assert: `.attends("are", "keys", heads="L3H1", min=0.3)`.

    Each rule is a method of the same name. Positional arguments are the words of the rule in their
    order; keyword arguments are those of a case file. A rule that does not hold raises
    AssertionError. If `Attention` has a measure with the name of a rule, such as `sink`, the method
    measures, and `.expect("sink", ...)` asserts the rule.
    """

    def __init__(self, probe: Probe, sample: Sample, site: SiteName | None) -> None:
        super().__init__(probe.reader, sample, site)
        self._probe = probe

    def __getattr__(self, kind: str) -> Any:
        if kind.startswith("_") or kind not in RULES:
            known = [*RULES, *(name for name in dir(Attention) if not name.startswith("_"))]
            raise AttributeError(f"no rule or method {kind!r}; {did_you_mean(kind, known)}")
        return functools.partial(self.expect, kind)

    def expect(self, kind: str, /, *words: Any, **arguments: Any) -> None:
        """Asserts a rule by its name; needed if a method of `Attention` has the same name.

        Args:
            kind: the name of the rule.
            words: its words in their order.
            arguments: its other arguments, as in a case file.

        Raises:
            AssertionError: the rule does not hold.
            AttnprobeError: the rule cannot be measured on this text.
            TypeError: the rule does not take these arguments.
        """
        __tracebackhide__ = True
        names = RULES[kind].positional
        # A caller writes from_, since `from` is a keyword of Python.
        stated = {name.rstrip("_"): value for name, value in arguments.items()}
        twice = set(names[: len(words)]) & set(stated)
        if len(words) > len(names) or twice:
            raise TypeError(
                f"{kind} takes {' and '.join(names) or 'nothing'} by position, each once; "
                "name the others"
            )
        given = dict(zip(names, words, strict=False))
        self._probe.expect(self.sample, kind, {"site": self.site, **given, **stated})


def _measure(name: str) -> Callable[..., Any]:
    """A measure of `Attention` whose TypeError advises callers who meant the rule of that name."""
    measure = getattr(Attention, name)
    signature = inspect.signature(measure)

    @functools.wraps(measure)
    def measured(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(
                f'{name} measures here: {error}; to assert the rule, write .expect("{name}", ...)'
            ) from None
        return measure(*args, **kwargs)

    return measured


for _name in set(RULES) & vars(Attention).keys():
    setattr(ProbedAttention, _name, _measure(_name))


class _HarmlessErrors:
    """Makes the text of an AttnprobeError safe to print.

    It is a class and no generator, so that pytest shows no frame of it.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        __tracebackhide__ = True
        if isinstance(error, AttnprobeError):
            raise type(error)(harmless(str(error))) from None
