"""MAPSSWE, effect sizes and correction for many comparisons."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ztest

from analysis.inference import corrected, mapsswe, paired_effect
from tests.analysis.inference.samples import two_systems


def test_mapsswe_is_the_z_test_of_the_differences():
    _, first, second = two_systems(np.random.default_rng(0), 80)
    found = mapsswe(first, second)
    z, p = ztest(second - first)
    assert (found.z, found.p_value) == pytest.approx((z, p))
    assert found.z == pytest.approx(stats.ttest_rel(second, first).statistic)
    assert found.mean == pytest.approx((second - first).mean())
    assert mapsswe(second, first).z == -found.z
    assert str(found).startswith("MAPSSWE by utterance: z = −")


def test_mapsswe_hardly_moves_with_utterances_without_errors():
    _, first, second = two_systems(np.random.default_rng(0), 80)
    more = [np.concatenate([errors, np.zeros(80)]) for errors in (first, second)]
    assert mapsswe(*more).z == pytest.approx(mapsswe(first, second).z, rel=0.05)


def test_mapsswe_where_nothing_varies():
    found = mapsswe(np.zeros(5), np.zeros(5))
    assert math.isnan(found.z)
    assert math.isnan(found.p_value)
    assert str(found) == "MAPSSWE by utterance: z = –, p = –, 5 segments"
    with pytest.raises(ValueError, match=r"the same segments, received \[5\] and \[4\]"):
        mapsswe(np.zeros(5), np.zeros(4))


def test_effect_of_paired_differences():
    d = np.array([-3.0, -1.0, 0.0, 0.0, 2.0, -4.0, np.nan])
    found = paired_effect(d)
    kept = d[:6]
    assert found.value == pytest.approx((1 - 3 / 19) * kept.mean() / kept.std(ddof=1))
    assert (found.lower, found.higher, found.same) == (3, 1, 2)
    assert found.low < found.value < found.high
    assert math.isnan(paired_effect(np.zeros(4)).value)
    assert paired_effect(-d).value == pytest.approx(-found.value)


def test_the_interval_of_an_effect_covers_it():
    generator, held = np.random.default_rng(0), 0
    for _ in range(500):
        found = paired_effect(generator.normal(0.4, 1.0, 40))
        held += found.low <= 0.4 <= found.high
    assert 0.92 <= held / 500 <= 0.98


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_benjamini_hochberg_is_that_of_statsmodels(p_values):
    expected = multipletests(p_values, method="fdr_bh")[1]
    np.testing.assert_allclose(corrected(p_values, "bh"), expected, atol=1e-300)  # the smallest floats have no digits


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
@settings(max_examples=8, deadline=None)  # statsmodels collects garbage at every call
def test_holm_by_its_definition(p_values):
    m, order = len(p_values), np.argsort(p_values)
    steps = [min(1.0, (m - rank) * p_values[i]) for rank, i in enumerate(order)]
    expected = np.empty(m)
    expected[order] = np.maximum.accumulate(steps)
    np.testing.assert_allclose(corrected(p_values, "holm"), expected)


def test_correction_by_hand_and_without_a_test():
    p = [0.01, math.nan, 0.04, 0.03]
    np.testing.assert_allclose(corrected(p, "holm"), [0.03, math.nan, 0.06, 0.06])
    np.testing.assert_allclose(corrected(p, "bh"), [0.03, math.nan, 0.04, 0.04])
    assert np.isnan(corrected([math.nan], "bh")).all()


def test_wrong_corrections():
    with pytest.raises(ValueError, match="method: expected one of holm, bh, received 'bonferroni'"):
        corrected([0.1], "bonferroni")
    with pytest.raises(ValueError, match="numbers from 0 to 1"):
        corrected([1.2])
