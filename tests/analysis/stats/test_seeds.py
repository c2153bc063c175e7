import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from analysis.inference import Side, over_seeds
from tests.analysis.inference.samples import expected_rate, lengths, recipe


def draw(generator, seeds=3, n=40, between=0.3):
    words = lengths(generator, n)
    hard = generator.normal(0, 1.2, n)
    return words, [
        recipe(generator, words, hard + generator.normal(0, 0.4, n), seeds, level, between) for level in (-1.5, -1.1)
    ]


def test_components_are_those_of_an_analysis_of_variance():
    words, (errors, _) = draw(np.random.default_rng(0), between=0.6)
    s, g = errors.shape
    rate = errors.sum() / (s * words.sum())
    z = (errors - rate * words) / words.mean()
    long = pd.DataFrame({"z": z.ravel(), "seed": np.repeat(np.arange(s), g), "utterance": np.tile(np.arange(g), s)})
    squares = anova_lm(ols("z ~ C(seed) + C(utterance)", long).fit())["mean_sq"]
    variance = (squares["C(seed)"] + squares["C(utterance)"] - squares["Residual"]) / (s * g)
    parts = squares.to_numpy() / (s * g)
    df = variance**2 / (parts**2 / np.array([s - 1, g - 1, (s - 1) * (g - 1)])).sum()
    found = over_seeds([Side(errors)], words)
    assert found.estimate.value == pytest.approx(rate)
    assert found.estimate.standard_error == pytest.approx(math.sqrt(variance))
    assert found.df == pytest.approx(df)
    assert found.estimate.high - found.estimate.value == pytest.approx(stats.t.ppf(0.975, df) * math.sqrt(variance))


def test_a_difference_of_paired_seeds_is_one_side_of_differences():
    words, (one, two) = draw(np.random.default_rng(1))
    paired = over_seeds([Side(two - one)], words)
    apart = over_seeds([Side(one, -1.0), Side(two)], words)
    assert paired.estimate.value == pytest.approx(apart.estimate.value)
    assert paired.n_seeds == (3,)
    assert apart.n_seeds == (3, 3)
    assert apart.df > paired.df


def test_where_seeds_are_the_same_utterances_are_what_is_left():
    """Three copies of one run: the interval is that of the run, over utterances."""
    words, (one, _) = draw(np.random.default_rng(2), seeds=1, n=60)
    found = over_seeds([Side(np.repeat(one, 3, axis=0))], words)
    z = (one[0] - one.sum() / words.sum() * words) / words.mean()
    assert found.estimate.standard_error == pytest.approx(z.std(ddof=1) / math.sqrt(60))
    assert found.df == pytest.approx(59)


def test_the_bootstrap_by_hand():
    words, (one, two) = draw(np.random.default_rng(3), n=25)
    found = over_seeds([Side(one, -1.0), Side(two)], words, method="bootstrap", draws=20_000)
    generator, drawn = np.random.default_rng(1), []
    for _ in range(4000):
        chosen = generator.integers(25, size=25)
        rates = [
            side[generator.integers(3, size=3)][:, chosen].mean(0).sum() / words[chosen].sum() for side in (one, two)
        ]
        drawn.append(rates[1] - rates[0])
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (found.estimate.low, found.estimate.high) == pytest.approx((low, high), abs=0.12 * np.std(drawn))
    assert found.estimate.standard_error == pytest.approx(np.std(drawn), rel=0.05)
    assert math.isnan(found.p_value)


@pytest.mark.parametrize("between", [0.0, 0.2])
def test_intervals_hold_their_coverage_with_three_seeds(between):
    # 400 runs: a standard deviation of 1.1 points. tests/studies/test_coverage.py is the long version.
    truth = expected_rate(-1.5, 1.2, 0.4, between, 0.6)
    held = nested = 0
    for seed in range(400):
        words, (errors, _) = draw(np.random.default_rng(seed), between=between)
        found = over_seeds([Side(errors)], words)
        held += found.estimate.low <= truth <= found.estimate.high
        reach = stats.t.ppf(0.975, 2) * (errors.sum(1) / words.sum()).std(ddof=1) / math.sqrt(3)
        nested += abs(found.estimate.value - truth) <= reach
    assert 0.92 <= held / 400 <= 0.985
    assert nested < held  # a t-interval over the seeds' rates takes the utterances for all there are


def test_without_two_seeds_or_utterances_there_is_no_interval():
    words, (errors, _) = draw(np.random.default_rng(0))
    for found in (over_seeds([Side(errors[:1])], words), over_seeds([Side(errors[:, :1])], words[:1])):
        assert math.isfinite(found.estimate.value)
        assert math.isnan(found.estimate.low)
    assert math.isnan(over_seeds([Side(errors[:0])], words).estimate.value)
    assert math.isnan(over_seeds([Side(0 * errors)], 0 * words).estimate.value)
    none = over_seeds([Side(0 * errors)], words)
    assert (none.estimate.value, none.estimate.standard_error) == (0, 0)
    assert math.isnan(none.p_value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "nested"}, "method: expected one of t, bootstrap, received 'nested'"),
        ({"level": 2}, "level: expected"),
    ],
)
def test_wrong_settings(options, message):
    with pytest.raises(ValueError, match=message):
        over_seeds([Side(np.ones((2, 3)))], np.ones(3), **options)
    with pytest.raises(ValueError, match=r"expected errors \[seeds, 3 clusters\], received \[2, 4\]"):
        over_seeds([Side(np.ones((2, 4)))], np.ones(3))
