"""Numbers as the pages have them."""

from collections.abc import Iterable

from analysis.formatting import interval, number


def rate(value: float, low: float, high: float, unit: str = " %") -> str:
    """`16.8 % [13.5, 20.3]` of shares."""
    return f"{number(100 * value, 1)}{unit} {interval(100 * low, 100 * high, 1)}"


def span(values: Iterable[float], digits: int) -> str:
    """`10.3 to 15.2`, or one number where both print alike."""
    values = list(values)
    return " to ".join(dict.fromkeys(number(end, digits) for end in (min(values), max(values))))
