import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from analysis import load
from analysis.inference import change_at, switch_changes


def series(generator=None, noise=0.0, n=20, jump=2.0, switch=100, correlation=0.5):
    steps = np.arange(-n + 1, n + 1) * 10 + switch
    values = 5 + 0.01 * (steps - switch) + np.where(steps > switch, jump + 0.02 * (steps - switch), 0)
    wiggle = np.zeros(len(steps))
    if generator is not None:
        drawn = generator.normal(size=len(steps))
        for i in range(len(steps)):
            wiggle[i] = correlation * wiggle[i - 1] + math.sqrt(1 - correlation**2) * drawn[i] if i else drawn[0]
    return steps, values + noise * wiggle


def test_lines_without_noise():
    found = change_at(*series(), 100)
    assert found.jump.value == pytest.approx(2)
    assert (found.slope_before, found.slope_after, found.slope_change.value) == pytest.approx((0.01, 0.03, 0.02))
    assert (found.n_before, found.n_after) == (20, 20)
    assert (found.jump.low, found.jump.high) == pytest.approx((2, 2))


def test_lines_are_those_of_polyfit():
    steps, values = series(np.random.default_rng(0), noise=0.5)
    found = change_at(steps, values, 100)
    before, after = (np.polyfit(steps[side] - 100, values[side], 1) for side in (steps <= 100, steps > 100))
    assert found.jump.value == pytest.approx(after[1] - before[1])
    assert found.slope_change.value == pytest.approx(after[0] - before[0])


@pytest.mark.parametrize(("n", "correlation"), [(5, 0.0), (5, 0.6), (30, 0.6)])
def test_intervals_cover_the_jump_under_correlated_noise(n, correlation):
    # 300 runs: a standard deviation of 1.3 points. tests/studies/test_coverage.py is the long version.
    held = 0
    for seed in range(300):
        steps, values = series(np.random.default_rng(seed), noise=0.3, n=n, correlation=correlation)
        found = change_at(steps, values, 100)
        held += found.jump.low <= 2 <= found.jump.high
    assert 0.91 <= held / 300 <= 0.99


def test_the_interval_of_independent_noise_is_near_that_of_ordinary_least_squares():
    """Many readings leave no doubt that they are independent, so what statsmodels says without autocorrelation."""
    steps, values = series(np.random.default_rng(3), noise=0.5, n=300, correlation=0.0)
    after, time = (steps > 100).astype(float), steps - 100.0
    ordinary = sm.OLS(values, np.stack([np.ones(600), time, after, after * time], 1)).fit().conf_int(0.1)
    found = change_at(steps, values, 100, level=0.9)
    assert (found.jump.low, found.jump.high) == pytest.approx(ordinary[2], abs=0.1 * np.ptp(ordinary[2]))
    bend = found.slope_change
    assert (bend.low, bend.high) == pytest.approx(ordinary[3], abs=0.1 * np.ptp(ordinary[3]))


def test_the_interval_of_a_known_autocorrelation_is_that_of_generalized_least_squares(monkeypatch):
    """Against statsmodels' GLS, when the average runs over the one correlation that it is told."""
    steps, values = series(np.random.default_rng(4), noise=0.5, n=12)
    monkeypatch.setattr("analysis.inference.stage_switches.AUTOCORRELATIONS", np.array([0.5]))
    found = change_at(steps, values, 100)
    after, time = (steps > 100).astype(float), steps - 100.0
    covariance = 0.5 ** (np.abs(time[:, None] - time) / 10)
    theirs = sm.GLS(values, np.stack([np.ones(24), time, after, after * time], 1), covariance).fit().conf_int()
    assert (found.jump.low, found.jump.high, found.slope_change.low, found.slope_change.high) == pytest.approx(
        (*theirs[2], *theirs[3])
    )


def test_undefined_readings_and_short_sides():
    steps, values = series()
    values[3] = math.nan
    assert change_at(steps, values, 100).n_before == 19
    short = change_at(steps[17:], values[17:], 100)
    assert short.jump.value == pytest.approx(2)
    assert (short.n_before, math.isnan(short.jump.low)) == (3, True)
    for few in (change_at(steps[19:], values[19:], 100), change_at([], [], 0)):
        assert math.isnan(few.jump.value)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([1, 2], [1], 1), {}, r"one value for each step, received \[2\] steps and \[1\] values"),
        (([1, 2, 2], [1, 2, 3], 1), {}, "steps: 2 occurs twice; give one reading for each step"),
        (([1, 2], [1, 2], 1), {"level": 95}, "level: expected a coverage between 0 and 1"),
    ],
)
def test_wrong_requests(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        change_at(*arguments, **options)


def test_switches_of_a_run(make_run):
    run = load(make_run([("base", range(0, 60, 10)), ("on-policy", range(0, 60, 10), "end")]))
    table = switch_changes(run, ["union_size"])
    (row,) = table.frame.to_dict("records")
    # Readings fall by 1 each. The one where the next stage begins repeats its step, so is left out: a jump of −1.
    assert (row["from"], row["to"], row["step"], row["n_before"], row["n_after"]) == ("base", "on-policy", 50, 6, 5)
    assert row["jump"] == pytest.approx(-1)
    assert row["slope_before"] == pytest.approx(-0.1)
    assert row["slope_change"] == pytest.approx(0, abs=1e-9)
    assert "slopes are a change in 100 steps" in str(table)
    assert max(map(len, str(table).splitlines())) <= 120


def test_a_run_without_switches_and_states_not_probed(make_run):
    run = load(make_run([("base", (0, 50), "end")], states=("student",)))
    assert switch_changes(run, ["union_size"], "student").frame.empty
    with pytest.raises(ValueError, match="'union_size' was not probed on states 'teacher'; probed states are student"):
        switch_changes(run)
    assert isinstance(switch_changes(run, ["union_size"], "student").frame, pd.DataFrame)
