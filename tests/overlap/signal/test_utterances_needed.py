"""How many utterances would decide: against normal quantiles, Holm's levels by hand, and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from overlap.signal import Verdict, utterance_signal, utterances_needed
from overlap.signal.concordance import Concordance
from overlap.signal.verdict import holm
from tests.overlap.signal.samples import errors


def binormal_at(auroc, n):
    """Values of n transcripts, half of them right, whose AUROC is the true one as nearly as may be."""
    ranks = stats.norm.ppf((np.arange(n // 2) + 0.5) / (n // 2))
    return np.concatenate([ranks + math.sqrt(2) * stats.norm.ppf(auroc), ranks]), np.arange(n) < n // 2


def of(p_values, n=4000, **options):
    """Utterances needed by tests on so many utterances, enough for Student's quantiles to be those of a normal."""
    return utterances_needed(p_values, dict.fromkeys(p_values, (n, n)), **options)


def times(p, level):
    """How many times as many, by normal quantiles."""
    return (stats.norm.isf(level / 2) / stats.norm.isf(p / 2)) ** 2


def test_utterances_needed():
    assert of({"a": 0.2})["a"] == pytest.approx(4000 * times(0.2, 0.05), rel=1e-3)
    assert of({"a": 0.2}, alpha=0.1)["a"] == pytest.approx(4000 * times(0.2, 0.1), rel=1e-3)
    assert of({"a": 0.049999}) == {"a": 4001}
    assert math.isnan(of({"a": math.nan})["a"])
    assert of({"a": 1.0}) == {"a": math.inf}
    few = utterances_needed({"a": 0.2}, {"a": (40, 5)})["a"]  # with more of its speakers, the quantile falls as well
    distance = stats.t.isf(0.1, 3)
    assert 40 * (stats.norm.isf(0.025) / distance) ** 2 < few < 40 * (stats.t.isf(0.025, 3) / distance) ** 2


def test_utterances_needed_are_those_of_holms_correction():
    """The first of three at α / 3; the second at α / 2; the third needs less, and must wait for the second."""
    found = of({"a": 0.02, "b": 0.3, "c": 0.31, "none": math.nan})
    assert found["a"] == pytest.approx(4000 * times(0.02, 0.05 / 3), rel=1e-3)
    assert found["b"] == found["c"] == pytest.approx(4000 * times(0.3, 0.05 / 2), rel=1e-3)
    assert of({"a": 0.001, "b": 0.2})["b"] == of({"b": 0.2})["b"]  # beside one that is rejected, as if alone


@pytest.mark.parametrize(("auroc", "against"), [(0.71, 0.5), (0.45, 0.65)])
def test_of_so_many_utterances_about_half_decide_also_among_many_statistics(auroc, against):
    """The first of 36 statistics, of which the others are in the middle between chance and useful."""

    def p_value(values, good):
        return Concordance.from_values(values, good, np.arange(len(good)), np.zeros(len(good), int)).p_value(against)

    n = int(of({"s": p_value(*binormal_at(auroc, 50))} | dict.fromkeys(map(str, range(35)), 0.99), n=50)["s"])
    assert n > 70
    decided = []
    for seed in range(40):
        generator = np.random.default_rng(seed)
        good = generator.random(n) < 0.5
        shift = {"s": auroc} | dict.fromkeys(map(str, range(35)), 0.575)
        p = {
            name: p_value(generator.normal(size=n) + math.sqrt(2) * stats.norm.ppf(one) * good, good)
            for name, one in shift.items()
        }
        decided.append(holm(p)["s"] < 0.05)
    assert 0.3 < np.mean(decided) < 0.75


def test_one_transcript_more_is_not_said_to_decide_what_the_correction_leaves_open():
    wide = {f"noise{i}": np.random.default_rng(i).normal(size=80) for i in range(35)}
    values, good = binormal_at(0.66, 80)
    found = utterance_signal({"s": values, **wide}, errors=1 - good, words=np.full(80, 5), draws=50)["s"]
    assert found.auroc.low > 0.5
    assert found.is_open_by_correction
    assert found.needed > 110
    assert str(found).startswith("s: undecided (by correction), AUROC 0.6")
    alone = utterance_signal({"s": values}, errors=1 - good, words=np.full(80, 5), draws=50)["s"]
    assert (alone.verdict, alone.is_open_by_correction) == (Verdict.CARRIES_SIGNAL, False)


def test_so_many_utterances_do_decide():
    values, wrong, words, _ = errors(np.random.default_rng(6), 30, 0.45, -2.5)
    few = utterance_signal({"s": values}, errors=wrong, words=words, draws=50)["s"]
    assert few.needed
    times = math.ceil(few.needed / 30) + 1
    values, wrong, words = (np.tile(column, times) for column in (values, wrong, words))
    assert utterance_signal({"s": values}, errors=wrong, words=words, draws=50)["s"].needed is None
