"""How many utterances a probe needs before a gate can open at all, or a soft switch reach its last value."""

import math

from overlap.definitions import PROBE_STATISTICS, SEQUENCE_STATISTICS, Ranges
from overlap.definitions.names import form_of, statistic_of
from overlap.gates.criteria import Amount
from overlap.gates.decision import Gate
from overlap.gates.reader import Reader

LEVEL = 0.95
"""Coverage of the intervals that gates read."""


def fewest_utterances(reader: Reader) -> int | float:
    """Return the smallest number of utterances with which a simple gate that judges on intervals can open, or with
    which a soft switch can reach its last value.

    It matters for statistics with one value an utterance and two limits, such as ``end_of_text``: if all n utterances
    end, the lower end of the interval is 0.025^(1/n) (Clopper and Pearson 1934), 0.94 for n = 60. So ``at_least = 0.9``
    takes 36 utterances.

    Args:
        reader: a simple gate, not a combination, or a soft switch.

    Returns:
        The number; 2 where only an interval is needed, 1 where none is, infinity where no probe is large enough.
    """
    fewest = max(1, getattr(reader, "min_utterances", 0))
    if reader.works_without_intervals or (isinstance(reader, Gate) and not reader.can_advance):
        return fewest
    amounts = [(criterion.statistic, amount) for criterion in reader.criteria for amount in criterion.amounts]
    return max([2, fewest, *(_needed(statistic, amount) for statistic, amount in amounts)])


def _needed(statistic: str, amount: Amount) -> int | float:
    once = statistic_of(statistic) in SEQUENCE_STATISTICS or form_of(statistic) == "at_end"
    least, most = Ranges().limits(statistic)
    if statistic_of(statistic) in PROBE_STATISTICS and amount.side == "at_least" and amount.value == most:
        return math.inf  # no interval ends there
    if not once or amount.side not in ("at_least", "at_most") or (least, most) != (0.0, 1.0):
        return 2
    room = most - amount.value if amount.side == "at_least" else amount.value - least
    if room <= 0:
        return math.inf
    return 2 if room >= 1 else max(2, math.ceil(math.log((1 - LEVEL) / 2) / math.log1p(-room)))
