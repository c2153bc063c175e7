"""A value that goes from one number to another over a number of steps."""


def linear(start: float, end: float, step: int, steps: int) -> float:
    """Return the value at a step: linear from `start` at step 0 to `end` at `steps`, and `end` after that.

    Args:
        start: First value.
        end: Last value.
        step: Steps done before this one.
        steps: Length of the way, at least 1.

    >>> [linear(1.0, 0.0, step, 4) for step in range(6)]
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    return end if step >= steps else start + (end - start) * step / steps
