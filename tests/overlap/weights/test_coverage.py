"""How often the panel's intervals hold the truth, over simulated utterances; the slow one leaves a table.

Utterances of 3 to 25 positions; both rules' weights have a part that all positions of an utterance share, and they are
graded, or 0 and 1 with rare ones. Truths are from one draw of 50,000 utterances. All of it:

    pytest -m slow tests/overlap/weights/test_coverage.py
"""

import math

import numpy as np
import pytest
from scipy import stats

from overlap.estimates.estimate import Estimate
from overlap.weights import shadow_panel

RUNS = 400
CASES = {"graded": None, "half are 0": 0.5, "one in 10 is 1": 0.9, "one in 50 is 1": 0.98}
"""How weights are made of normal numbers: by their distribution function, or cut at this share."""
LENGTH = 25


def simulated(rng, n, cut):
    """Weights of two rules and their mask, [n, 25] each."""
    mask = np.arange(LENGTH)[None] < rng.integers(3, LENGTH + 1, n)[:, None]
    shared = rng.normal(size=(2, n, 1))
    first = shared[0] + rng.normal(size=mask.shape)
    second = 0.5 * first + 0.8 * shared[1] + rng.normal(size=mask.shape)
    found = []
    for values, spread in ((first, math.sqrt(2)), (second, math.sqrt(0.5 + 0.64 + 1))):
        levels = stats.norm.cdf(values / spread)
        found.append(np.where(mask, levels if cut is None else levels >= cut, np.nan))
    return {"prune": found[0], "tropd": found[1]}, mask


def measured(rng, n, cut, draws=500) -> dict[str, Estimate]:
    weights, mask = simulated(rng, n, cut)
    return numbers(shadow_panel(weights, np.arange(n), mask, draws=draws))


def numbers(panel) -> dict[str, Estimate]:
    [pair], rule = panel.pairs, panel.rules["prune"]
    return {"kept": rule.kept, "weight": rule.weight, "jaccard": pair.jaccard, "spearman": pair.spearman}


def truths(cut) -> dict[str, float]:
    """The same numbers of very many utterances, without the library."""
    weights, mask = simulated(np.random.default_rng(99), 50_000, cut)
    first, second = (weights[name][mask] for name in ("prune", "tropd"))
    one, other = first >= 0.5, second >= 0.5
    return {
        "kept": one.mean(),
        "weight": first.mean(),
        "jaccard": (one & other).sum() / (one | other).sum(),
        "spearman": stats.spearmanr(first, second).statistic,
    }


def coverage(cut, n, runs) -> dict[str, float]:
    """Share of intervals that hold the truth, of those that there are, and as `… without` the share without one."""
    truth, rng = truths(cut), np.random.default_rng(n)
    held: dict[str, list[float]] = {name: [] for name in truth}
    for _ in range(runs):
        for name, found in measured(rng, n, cut).items():
            held[name].append(math.nan if math.isnan(found.low) else found.low <= truth[name] <= found.high)
    there = {name: [value for value in values if not math.isnan(value)] for name, values in held.items()}
    return {name: float(np.mean(values)) if values else math.nan for name, values in there.items()} | {
        f"{name} without": float(np.isnan(values).mean()) for name, values in held.items()
    }


def test_intervals_of_forty_utterances_hold_the_truth_about_as_often_as_they_say():
    found = coverage(None, 40, 80)
    assert all(found[name] >= 0.88 for name in ("kept", "weight", "jaccard", "spearman")), found


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_coverage(leave_table):
    lines = []
    for case, cut in CASES.items():
        for n in (20, 40, 80):
            found = coverage(cut, n, RUNS)
            shown = [f"{name} {100 * value:5.1f}" for name, value in found.items() if value or "without" not in name]
            lines.append(f"{case:<15} {n:>3} utterances: " + ", ".join(shown))
            if cut in (None, 0.5):
                assert all(found[name] >= 0.92 for name in ("kept", "weight", "jaccard", "spearman")), lines[-1]
                assert found["spearman without"] < 0.05
            if cut == 0.98:
                assert found["spearman without"] > 0.5  # rather none than one that is too short
    leave_table(f"coverage of 95 % intervals of the shadow panel, %, {RUNS} runs", "\n".join(lines))
