"""Calibration against scikit-learn, loops, and cases worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from overlap.calibration import Outcomes, calibration, equal_mass_bins
from overlap.errors import UserError


def tokens(generator, utterances=30, sharper=1.0, spread=0.5):
    """Confidences and outcomes of tokens; `sharper` than 1 is overconfident."""
    own = np.repeat(np.arange(utterances), generator.integers(3, 25, utterances))
    logits = 1.5 + generator.normal(0, 1, utterances)[own] + 1.2 * generator.normal(size=len(own))
    right = generator.random(len(own)) < 1 / (1 + np.exp(-logits - spread * generator.normal(size=utterances)[own]))
    return 1 / (1 + np.exp(-sharper * logits)), right, own


@given(st.integers(0, 10_000), st.integers(1, 20), st.sampled_from([0.5, 1.0, 4.0]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_against_scikit_learn(seed, bins, sharper, rounded):
    c, y, own = tokens(np.random.default_rng(seed), 12, sharper)
    c = np.round(c, 1) if rounded else c
    found = calibration(Outcomes(c, y, own), bins=bins, draws=20)
    accuracy, confidence = calibration_curve(y, c, n_bins=bins, strategy="quantile")
    counts = [row.accuracy.n_positions for row in found.diagram]
    assert [row.accuracy.value for row in found.diagram] == pytest.approx(list(accuracy))
    assert [row.confidence for row in found.diagram] == pytest.approx(list(confidence))
    assert sum(counts) == len(c)
    assert found.ece.value == pytest.approx(np.average(abs(accuracy - confidence), weights=counts))
    assert found.brier.value == pytest.approx(brier_score_loss(y, c))
    a = y.mean()
    held = np.clip(c, 1e-6, 1 - 1e-6)
    theirs = 1 - log_loss(y, held, labels=[0, 1]) / log_loss(y, np.full(len(y), a), labels=[0, 1])
    assert found.nce.value == pytest.approx(theirs if 0 < a < 1 else math.nan, nan_ok=True)
    assert found.overconfident_wrong.value == pytest.approx(
        sum(c[i] > 0.9 and not y[i] for i in range(len(c))) / len(c)
    )


def test_by_hand():
    # Bins {0.2, 0.4}, {0.8, 1.0}: confidences 0.3 and 0.9, accuracies 0.5 and 0.5.
    found = calibration(Outcomes(np.array([0.2, 1.0, 0.4, 0.8]), np.array([1, 0, 0, 1]), np.arange(4)), bins=2)
    assert found.ece.value == pytest.approx(0.5 * 0.2 + 0.5 * 0.4)
    assert found.brier.value == pytest.approx((0.64 + 1 + 0.16 + 0.04) / 4)
    assert found.overconfident_wrong.value == 0.25
    losses = -math.log(0.2) - math.log(1e-6) - math.log(0.6) - math.log(0.8)
    assert found.nce.value == pytest.approx(1 - losses / 4 / math.log(2))
    assert (found.accuracy.value, found.confidence.value) == pytest.approx((0.5, 0.6))
    low, high = found.diagram
    assert (low.low, low.high, low.confidence, low.accuracy.value) == pytest.approx((0.2, 0.6, 0.3, 0.5))
    assert (high.low, high.high, high.accuracy.n_positions, high.accuracy.n_groups) == pytest.approx((0.6, 1.0, 2, 2))
    assert set(found.estimates()) == {"ece", "brier", "nce", "overconfident_wrong", "accuracy", "confidence"}


def test_slopes_of_the_linear_approximations():
    """Each utterance's influence on ECE and NCE, by leaving weight out: the standard errors follow from them."""
    c, y, own = tokens(np.random.default_rng(5), 200, 3.0)
    found = calibration(Outcomes(c, y, own), draws=50)
    _, member = equal_mass_bins(c, 10)
    held = np.clip(c, 1e-6, 1 - 1e-6)
    losses = -np.where(y, np.log(held), np.log1p(-held))

    def values(weights):
        w = weights[own]
        gaps = np.bincount(member, w * (y - c), minlength=10)
        a = (w * y).sum() / w.sum()
        h = -(a * math.log(a) + (1 - a) * math.log(1 - a))
        return np.array([abs(gaps).sum() / w.sum(), 1 - (w * losses).sum() / w.sum() / h])

    moved = [(values(1 + 1e-5 * np.eye(200)[k]) - values(np.ones(200))) / 1e-5 for k in range(200)]
    errors = np.sqrt(200 / 199 * np.square(moved).sum(0))
    assert (found.ece.standard_error, found.nce.standard_error) == pytest.approx(tuple(errors), rel=1e-3)


def test_ece_if_calibrated_is_the_bias_at_this_size():
    """Perfectly calibrated tokens have an ECE all the same; it falls as they become more."""
    generator = np.random.default_rng(0)
    expected = []
    for n in (100, 400, 6400):
        c = generator.beta(4, 1, n)
        found = calibration(Outcomes(c, generator.random(n) < c, np.arange(n)), draws=20)
        # A gap of a bin is nearly normal: its mean size is √(2/π) times its standard deviation.
        edges = np.quantile(c, np.linspace(0, 1, 11))
        variances = np.bincount(np.searchsorted(edges[1:-1], c), c * (1 - c), minlength=10)
        expected.append(math.sqrt(2 / math.pi) * np.sqrt(variances).sum() / n)
        assert found.ece_if_calibrated == pytest.approx(expected[-1], rel=0.08)
        assert found.ece.value < 2 * found.ece_if_calibrated
    assert expected == sorted(expected, reverse=True)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_order_does_not_matter(seed):
    generator = np.random.default_rng(seed)
    c, y, own = tokens(generator, 10)
    c = np.round(c, 1)
    order = generator.permutation(len(c))
    one, other = (
        calibration(Outcomes(*parts), draws=30, bins=7) for parts in ((c, y, own), (c[order], y[order], own[order]))
    )
    for name, estimate in one.estimates().items():
        assert vars(other.estimates()[name]) == pytest.approx(vars(estimate), nan_ok=True)
        assert math.isnan(estimate.low) or estimate.low <= estimate.value <= estimate.high
    assert one.ece.low >= 0
    assert one.brier.high <= 1
    assert one.nce.high <= 1


@pytest.mark.parametrize("outcome", [0, 1])
def test_nce_is_undefined_where_all_are_right_or_wrong(outcome):
    found = calibration(Outcomes(np.full(20, 0.95), np.full(20, outcome), np.arange(20)))
    assert math.isnan(found.nce.value)
    assert math.isnan(found.nce.low)
    assert (found.nce.n_positions, found.nce.n_undefined) == (0, 20)
    assert found.overconfident_wrong.value == 1 - outcome
    exact = stats.binomtest(0, 20).proportion_ci(method="exact").high
    if outcome:
        assert found.overconfident_wrong.high == pytest.approx(exact)  # never seen among 20 utterances
    assert found.ece.value == pytest.approx(0.05 if outcome else 0.95)
    assert len(found.diagram) == 1


def test_undefined_ones_are_left_out_and_counted():
    c, y, own = tokens(np.random.default_rng(1), 20)
    c[4], y = np.nan, y.astype(float)
    y[7] = np.nan
    found = calibration(Outcomes(c, y, own))
    keep = np.delete(np.arange(len(c)), [4, 7])
    assert {one.n_undefined for one in found.estimates().values()} == {2}
    assert found.brier.value == pytest.approx(brier_score_loss(y[keep], c[keep]))
    empty = calibration(Outcomes(np.zeros(0), np.zeros(0), np.zeros(0, dtype=int)))
    assert math.isnan(empty.ece.value)
    assert math.isnan(empty.ece_if_calibrated)
    assert empty.diagram == ()


def test_clip_and_certain_are_settings():
    outcomes = Outcomes(np.array([1.0, 0.6, 0.92]), np.array([0, 1, 0]), np.arange(3))
    assert calibration(outcomes, certain=0.95).overconfident_wrong.value == pytest.approx(1 / 3)
    lenient, strict = (calibration(outcomes, clip=clip).nce.value for clip in (1e-2, 1e-9))
    assert strict < lenient


def test_groups_may_be_names_and_widen_the_interval():
    generator = np.random.default_rng(3)
    c, y, own = tokens(generator, 60, 1.0, spread=2.0)
    by_token = calibration(Outcomes(c, y, np.arange(len(c)))).brier
    by_utterance = calibration(Outcomes(c, y, np.array([f"u{i}" for i in own]))).brier
    assert by_utterance.value == pytest.approx(by_token.value)
    assert by_utterance.n_groups == 60
    assert by_utterance.high - by_utterance.low > 1.2 * (by_token.high - by_token.low)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"confidence": np.array([0.5])}, r"outcomes: expected confidence, correct and groups of one length"),
        ({"confidence": np.array([-0.1, 0.5])}, "confidence: expected probabilities from 0 to 1; take the exponential"),
        ({"correct": np.array([0.5, 1])}, "correct: expected True, False, 1 or 0, or NaN"),
    ],
)
def test_messages_of_outcomes(change, message):
    with pytest.raises(UserError, match=message):
        Outcomes(**({"confidence": np.array([0.1, 0.9]), "correct": np.ones(2), "groups": np.arange(2)} | change))


@pytest.mark.parametrize("change", [{"bins": 0}, {"clip": 0.0}, {"clip": 0.5}, {"certain": 1.0}])
def test_messages_of_settings(change):
    with pytest.raises(UserError, match="calibration: expected bins of at least 1, clip between"):
        calibration(Outcomes(np.ones(2), np.ones(2), np.arange(2)), **change)
