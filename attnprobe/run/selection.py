"""Chooses cases by an expression over their names, as `-k` of pytest does."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator

Test = Callable[[Collection[str]], bool]
# A name may have the characters that pytest allows in -k.
_TOKEN = re.compile(r"\s*(\(|\)|[\w:+\-.\[\]/\\]+|$)")
_WORDS = ("and", "or", "not", "(", ")", "")


def name_test(expression: str) -> Test:
    """The test whether some names satisfy an expression such as `agreement and not (it or she)`.

    A name of the expression holds where one of the names has it as a part, in upper or lower case.

    Raises:
        ValueError: what is wrong with the expression.
    """
    tokens = list(_tokens(expression))
    test = _either(tokens, expression)
    if tokens[0]:
        raise _fault(tokens[0], expression)
    return lambda names: test([name.lower() for name in names])


def _tokens(expression: str) -> Iterator[str]:
    place = 0
    while True:
        found = _TOKEN.match(expression, place)
        if found is None:
            raise _fault(expression[place:].strip()[0], expression)
        yield found[1]
        if not found[1]:
            return
        place = found.end()


def _either(tokens: list[str], expression: str) -> Test:
    tests = [_both(tokens, expression)]
    while tokens[0] == "or":
        del tokens[0]
        tests.append(_both(tokens, expression))
    return lambda names: any(test(names) for test in tests)


def _both(tokens: list[str], expression: str) -> Test:
    tests = [_one(tokens, expression)]
    while tokens[0] == "and":
        del tokens[0]
        tests.append(_one(tokens, expression))
    return lambda names: all(test(names) for test in tests)


def _one(tokens: list[str], expression: str) -> Test:
    first = tokens.pop(0)
    if first == "not":
        negated = _one(tokens, expression)
        return lambda names: not negated(names)
    if first == "(":
        inner = _either(tokens, expression)
        if tokens.pop(0) != ")":
            raise _fault("", expression)
        return inner
    if first in _WORDS:
        raise _fault(first, expression)
    part = first.lower()
    return lambda names: any(part in name for name in names)


def _fault(token: str, expression: str) -> ValueError:
    where = f"{token!r} is unexpected" if token else "it ends too early"
    return ValueError(
        f"select: {where} in {expression!r}; write names with and, or, not and parentheses"
    )
