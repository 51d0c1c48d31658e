"""The fixture `attn`: attention probes written in Python, judged by the same rules."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, Unpack

import pytest
from pydantic import ValidationError

from attnprobe.attention import Attention, Reader, TextOptions, text_sample
from attnprobe.cases import Case, Expectation
from attnprobe.core.errors import AttnprobeError, Mark
from attnprobe.core.pydantic_errors import advise_key, describe_error
from attnprobe.core.registry import did_you_mean
from attnprobe.core.sites import SiteName
from attnprobe.core.texts import Sample
from attnprobe.plugin.keys import Judged, judged_key
from attnprobe.plugin.session import Session
from attnprobe.rules import RULES, Rule, parse_rule
from attnprobe.run.explain import ExpectationFailed, explain, harmless, headline


class Probe:
    """Reads texts with the model of the run: `attn("The keys are old.")`.

    The model is loaded here, in the setup of the test: one that cannot be had is an error, not a
    failure.
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
        text: str,
        *,
        site: SiteName | None = None,
        **options: Unpack[TextOptions],
    ) -> ProbedAttention:
        """The attention on this text, or on two.

        Args:
            site: needed only where the model has several.
            options: as for `Model.attention`; the languages are by default those of the run.

        Raises:
            AttnprobeError: the model cannot read the text.
            TypeError: not one text.
            ValueError: the text is empty.
        """
        __tracebackhide__ = True
        if not isinstance(text, str):
            raise TypeError(f"attn takes one text, not {text!r}")
        if not text.strip():
            raise ValueError("attn: the text is empty; write a sentence")
        pair = options.get("pair")
        if pair is not None and not pair.strip():
            raise ValueError("attn: the second text is empty; write a sentence or leave pair= out")
        sample = text_sample(text, **options)
        with _HarmlessErrors():
            return ProbedAttention(self, sample, site)

    def expect(self, sample: Sample, kind: str, arguments: dict[str, Any]) -> None:
        """Judges one rule, keeps the finding for the reports, and raises if it does not hold."""
        __tracebackhide__ = True
        path, line, _ = self._item.location
        mark = Mark(PurePath(path).as_posix(), (line or 0) + 1, 1)
        case = Case(
            suite=self._item.path.stem,
            id=self._item.name,
            row=None,
            mark=mark,
            sample=sample,
            expectations=(Expectation(_rule(kind, arguments), arguments, mark),),
            marks=(),
            severity="blocking",
            xfail=None,
            skip=None,
        )
        (finding,) = self._session.runner(self.model, [case]).judge(case)
        self._item.stash[judged_key].append(Judged(case, self.model, finding))
        if finding.error is not None:
            with _HarmlessErrors():
                raise finding.error
        if self._session.fails(finding):
            raise ExpectationFailed(f"{headline([finding])}\n{explain(case, finding)}")


class ProbedAttention(Attention):
    """An `Attention` whose rules assert: `.attends("are", "keys", heads="L3H1", min=0.3)`.

    Each rule is a method of its own name. Positional arguments are the rule's words in their
    order; the others are those of a case file. A rule that does not hold raises AssertionError.
    Where `Attention` measures under the name of a rule (`sink`), `expect` asserts the rule.
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
        """Asserts a rule by its name; needed where a method of `Attention` has the same name.

        Raises:
            AssertionError: the rule does not hold.
            AttnprobeError: it cannot be measured on this text.
            TypeError: arguments that the rule does not take.
        """
        __tracebackhide__ = True
        names = RULES[kind].positional
        # from_ stands for from, which Python keeps for itself.
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
    """The measure of `Attention`, with advice to whoever calls it as the rule of its name."""
    measure = getattr(Attention, name)
    signature = inspect.signature(measure)

    @functools.wraps(measure)
    def measured(*given: Any, **named: Any) -> Any:
        __tracebackhide__ = True
        try:
            signature.bind(*given, **named)
        except TypeError as error:
            raise TypeError(
                f'{name} measures here: {error}; to assert the rule, write .expect("{name}", ...)'
            ) from None
        return measure(*given, **named)

    return measured


for _name in set(RULES) & vars(Attention).keys():
    setattr(ProbedAttention, _name, _measure(_name))


class _HarmlessErrors:
    """Makes what an error quotes safe to print; a class, so that pytest shows no frame of it."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        __tracebackhide__ = True
        if isinstance(error, AttnprobeError):
            raise type(error)(harmless(str(error))) from None


def _rule(kind: str, arguments: dict[str, Any]) -> Rule:
    __tracebackhide__ = True
    try:
        return parse_rule(kind, arguments)
    except ValidationError as error:
        findings = [_finding(kind, finding) for finding in error.errors(include_url=False)]
        raise TypeError(harmless(f"{kind}: {'; '.join(findings)}")) from None


def _finding(kind: str, finding: Mapping[str, Any]) -> str:
    """One argument that the rule does not take, and what to write."""
    where = [str(part) for part in finding["loc"]]
    match finding["type"]:
        case "missing" if where == ["heads"]:
            return 'name the heads, such as heads="L3H1"'
        case "extra_forbidden" if len(where) == 1:
            return f"unknown argument {where[0]!r}; {advise_key(RULES[kind], where[0])}"
    return ": ".join([*where, describe_error(finding, quoted=True).removeprefix(f"{kind} ")])
