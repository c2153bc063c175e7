"""Numbers and intervals as text."""

import math
from collections.abc import Iterable

UNDEFINED = "–"


def number(value: float, digits: int) -> str:
    """Return fixed decimals; a dash for NaN."""
    return UNDEFINED if math.isnan(value) else _fixed(f"{value:z.{digits}f}")


def signed(value: float, digits: int) -> str:
    """Return fixed decimals with the sign in front; a dash for NaN."""
    return UNDEFINED if math.isnan(value) else _fixed(f"{value:+z.{digits}f}")


def _fixed(text: str) -> str:
    return text.replace("-", "−").replace("inf", "∞")


def interval(low: float, high: float, digits: int) -> str:
    """Return `[low, high]`; a dash where a bound is NaN."""
    ends = number(low, digits), number(high, digits)
    return UNDEFINED if UNDEFINED in ends else f"[{', '.join(ends)}]"


def significant(value: float) -> str:
    """Five significant digits, without an exponent if possible; a dash for NaN."""
    return UNDEFINED if math.isnan(value) else f"{value:.5g}"


def span(low: float, high: float) -> str:
    """`low … high` in five significant digits; a dash where neither end is known."""
    ends = significant(low), significant(high)
    return UNDEFINED if ends == (UNDEFINED, UNDEFINED) else " … ".join(ends)


def with_interval(value: float, low: float, high: float, digits: int, scale: float = 1.0, *, sign: bool = False) -> str:
    """`value [low, high]`, with a dash for each of the two that is undefined; see `Estimate.shown` for the arguments.

    >>> with_interval(0.1234, 0.1, 0.15, 1, 100, sign=True)
    '+12.3 [10.0, 15.0]'
    """
    return f"{(signed if sign else number)(scale * value, digits)} {interval(scale * low, scale * high, digits)}"


def count(value: float) -> str:
    """Return a whole number with thousands separated; a dash for NaN."""
    return UNDEFINED if math.isnan(value) else f"{int(value):,}"


def counts(values: Iterable[float]) -> str:
    """Return the smallest and largest count, as one number where they are the same; a dash where all are NaN."""
    known = [value for value in values if not math.isnan(value)]
    return "–".join(dict.fromkeys([count(min(known)), count(max(known))])) if known else UNDEFINED


def decimals(error: float, otherwise: int = 3) -> int:
    """Return the number of decimals that shows two significant digits of a standard error, at most four; `otherwise`
    without one."""
    if not math.isfinite(error) or error <= 0:
        return otherwise
    return min(4, max(0, 1 - math.floor(math.log10(error))))


def plural(noun: str, n: int) -> str:
    """Return the noun in singular or plural, as the number requires."""
    return noun if n == 1 else f"{noun}s"
