"""Formats counts, names and measured numbers, the same in every output."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def plural(count: int, one: str, several: str | None = None) -> str:
    """A count with its noun: `1 case`, `2 cases`; `several` replaces the plural: `0 entries`."""
    return f"{count} {one if count == 1 else several or one + 's'}"


def join_names(names: Sequence[str], most: int) -> str:
    """The first names, and the number of the others: `a, b and 3 more`."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def join_distinct(texts: Iterable[str | None]) -> str | None:
    """Devices or number types of several processes, sorted and each once: `cuda:0, cuda:1`.

    None for none.
    """
    return ", ".join(sorted({one for text in texts if text for one in text.split(", ")})) or None


def shorten(texts: Sequence[str], most: int) -> list[str]:
    """The first lines or clauses; a last one gives the number of the others: `and 3 more`."""
    more = len(texts) - most
    return [*texts[:most], *([f"and {more} more"] if more > 0 else [])]


def one_line(text: str) -> str:
    """The lines of a text, joined by spaces."""
    return " ".join(line.strip() for line in text.split("\n"))


def format_number(value: float, unit: str | None = None) -> str:
    """A measured or demanded number: `3`, `0.121`, `1.2e-05`.

    Whole numbers, such as ranks, have no decimals. Others have three decimals, or three digits if
    they are very small or very large. A p value has two digits.
    """
    if unit == "p":
        return format_p(value)
    if abs(value) >= 1e6 or 0 < abs(value) < 1e-3:
        return f"{value:.3g}"
    return str(int(value)) if float(value).is_integer() else f"{value:.3f}"


def format_decimals(value: float) -> str:
    """A number beside others, always with three decimals: `0.000`, `0.121`."""
    return f"{value:.3f}"


def format_short(value: float) -> str:
    """A number in a narrow cell: `0.12`; empty for NaN."""
    return "" if math.isnan(value) else f"{value:.2f}"


def format_tick(value: float) -> str:
    """A number beside a scale: `0.25`, `−1`."""
    return _minus(f"{value:.3g}")


def format_stated(value: float) -> str:
    """A number as its author wrote it, without fixed decimals: `0.3`."""
    return f"{value:g}"


def format_p(p: float) -> str:
    """The p value of a test: `0.016`, `7.6e-06`."""
    return f"{p:.2g}"


def format_percent(share: float) -> str:
    """A share, 0 to 1: `12.5%`."""
    return f"{share:.1%}"


def format_whole_percent(share: float) -> str:
    """A share, 0 to 1, in a sentence: `12%`."""
    return f"{share:.0%}"


def format_floor_percent(share: float) -> str:
    """A share, rounded down, so that only 1 becomes `100 %`: `99.9 %`."""
    return f"{math.floor(round(share * 1000, 6)) / 10:g} %"


def format_interval(ends: tuple[float, float]) -> str:
    """The ends of a confidence interval of a share: `79.7% to 94.8%`."""
    return " to ".join(map(format_percent, ends))


def format_change(difference: float) -> str:
    """A signed difference: `+0.291`, `−0.333`."""
    return _minus(f"{difference:+.3f}")


def format_percent_change(share: float, *, decimals: int = 0) -> str:
    """A change of a share, or a relative change: `+5%`, `−61%`."""
    return _minus(f"{share:+.{decimals}%}")


def format_seconds(duration: float) -> str:
    """A duration in seconds: `1.2 s`."""
    return f"{duration:.1f} s"


def _minus(text: str) -> str:
    return text.replace("-", "−")
