import json
import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binomtest

from overlap import Estimate, OverlapSummary, measure, utterance_estimates
from overlap.definitions import TOKEN_STATISTICS
from overlap.estimates.estimate import RECORDED
from overlap.estimates.group_sums import GroupSums
from overlap.estimates.summary import estimate
from tests.overlap import bootstrap_t


def statistics(shape=(6, 5), seed=0, mask=None):
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(*shape, 20, generator=generator)
    teacher = student + torch.randn(*shape, 20, generator=generator)
    return measure(student, teacher, k=2, mask=mask)


def test_values_are_micro_averages_over_defined_positions():
    mask = torch.rand(6, 5, generator=torch.Generator().manual_seed(1)) < 0.7
    measured = statistics(mask=mask)
    summary = measured.summary(states="student")
    assert tuple(summary) == tuple(TOKEN_STATISTICS)
    assert (summary.k, summary.temperature, summary.states, summary.level) == (2, 1.0, "student", 0.95)
    for name, value in measured.values().items():
        defined = value.double()[mask & ~value.isnan()]
        item = summary[name]
        assert item.n_positions == defined.numel()
        assert item.n_undefined == int(mask.sum()) - defined.numel()
        assert item.n_groups == int((mask & ~value.isnan()).any(-1).sum())
        if defined.numel():
            assert item.value == pytest.approx(defined.mean().item(), abs=1e-12)
            assert item.low <= item.value <= item.high
    assert summary["overlap_advantage"].n_undefined > 0  # |I| = 0 happens at k = 2: counted, not averaged as zero
    assert math.isnan(summary["student_logprob"].value)
    assert summary["student_logprob"].n_undefined == int(mask.sum())


def test_default_groups():
    assert statistics((6, 5)).summary()["jaccard"].n_groups == 6
    assert statistics((2, 3, 5)).summary()["jaccard"].n_groups == 2
    assert statistics((7,)).summary()["jaccard"].n_groups == 7
    one = statistics((1, 9)).summary()["jaccard"]
    assert one.n_groups == 1
    assert math.isfinite(one.value)
    assert all(math.isnan(x) for x in (one.standard_error, one.low, one.high))


def test_groups_in_any_shape_mean_the_same():
    measured = statistics((4, 5))
    names = ["c", "a", "b", "a"]
    rows = torch.tensor([2, 0, 1, 0])
    by_row = measured.summary(rows)
    assert by_row["jaccard"].n_groups == 3
    for same in (rows.numpy(), rows[:, None], rows[:, None].expand(4, 5), rows.tolist(), names):
        assert measured.summary(same) == by_row


@given(
    arrays(np.float64, (12,), elements=st.floats(-10, 10) | st.just(math.nan)),
    arrays(np.int64, (12,), elements=st.integers(-2, 3)),
)
@settings(deadline=None)
def test_group_sums_against_a_loop(values, groups):
    sums = GroupSums.from_values({"x": values}, groups)
    assert list(sums.keys) == sorted(set(groups.tolist()))
    for row, key in enumerate(sums.keys):
        mine = values[groups == key]
        assert sums.counts[row, 0] == (~np.isnan(mine)).sum()
        assert sums.undefined[row, 0] == np.isnan(mine).sum()
        assert sums.sums[row, 0] == pytest.approx(np.nansum(mine))


def test_interval_against_the_bootstrap_written_out():
    values = np.random.default_rng(0).gamma(2.0, size=60)
    mine = utterance_estimates({"x": values.tolist()}, draws=20_000)["x"]
    low, high = bootstrap_t.interval(values[:, None], np.ones((60, 1)), draws=4000, rng=1)
    assert (mine.low, mine.high) == pytest.approx((low, high), abs=0.25 * mine.standard_error)
    assert mine.standard_error == pytest.approx(values.std(ddof=1) / math.sqrt(60))


def test_standard_error_is_that_of_clusters_not_of_positions():
    """Against the linearised standard error of a ratio of cluster totals."""
    rng = np.random.default_rng(2)
    sizes = rng.integers(5, 40, size=80)
    groups = np.repeat(np.arange(80), sizes)
    values = rng.normal(size=80)[groups] + 0.3 * rng.normal(size=groups.size)
    item = estimate(GroupSums.from_values({"x": values}, groups))["x"]
    totals = np.bincount(groups, weights=values)
    residuals = totals - values.mean() * sizes
    linearised = math.sqrt(80 / 79 * (residuals**2).sum()) / sizes.sum()
    assert item.standard_error == pytest.approx(linearised)
    assert item.standard_error > 3 * values.std() / math.sqrt(values.size)


def test_coverage_by_simulation():
    rng = np.random.default_rng(3)
    covered = 0
    for trial in range(300):
        sizes = rng.integers(3, 15, size=30)
        groups = np.repeat(np.arange(30), sizes)
        values = 1.0 + 0.5 * rng.normal(size=30)[groups] + rng.normal(size=groups.size)
        item = estimate(GroupSums.from_values({"x": values}, groups), level=0.9, draws=300, seed=trial)["x"]
        covered += item.low <= 1.0 <= item.high
    assert 0.85 <= covered / 300 <= 0.95  # nominal 0.90, of which 300 trials know 0.017


def test_resampling_is_reproducible():
    measured = statistics()
    assert measured.summary(seed=5) == measured.summary(seed=5)
    assert measured.summary(seed=5) != measured.summary(seed=6)
    wide, narrow = measured.summary(level=0.99)["jaccard"], measured.summary(level=0.5)["jaccard"]
    assert wide.low <= narrow.low <= narrow.high <= wide.high


def test_a_statistic_defined_in_few_groups():
    values = np.array([1.0, 2.0, *[math.nan] * 8])
    item = estimate(GroupSums.from_values({"x": values}, np.arange(10)))["x"]
    assert (item.value, item.n_positions, item.n_groups, item.n_undefined) == (1.5, 2, 2, 8)
    assert item.low < 1.0 < 2.0 < item.high  # of two utterances little can be said
    lonely = estimate(GroupSums.from_values({"x": np.array([1.0, math.nan])}, np.arange(2)))["x"]
    assert math.isnan(lonely.low)


@pytest.mark.parametrize(
    ("name", "values", "at_least", "at_most"),
    [
        ("jaccard", [0.0] * 29 + [0.9], 0.0, 1.0),
        ("jaccard", [1.0] * 29 + [0.1], 0.0, 1.0),
        ("top1_agreement", [1.0, 0.0], 0.0, 1.0),
        ("forward_kl", [0.0] * 9 + [5.0], 0.0, math.inf),
        ("student_logprob", [-3.0] + [0.0] * 9, -math.inf, 0.0),
    ],
)
def test_intervals_stay_within_what_the_statistic_can_be(name, values, at_least, at_most):
    sums = GroupSums.from_values({name: np.array(values)}, np.arange(len(values)))
    item = estimate(sums)[name]
    assert at_least <= item.low <= item.value <= item.high <= at_most
    free = estimate(sums, limits=(-math.inf, math.inf))[name]
    assert free.low < at_least or free.high > at_most  # so there was something to cut off
    assert estimate(sums, limits=(-99, 99))[name].low == max(free.low, -99)


def test_what_never_varied_is_not_certain():
    """Against scipy's exact interval for a share of utterances; a reading of few utterances must not pass a gate."""
    for n in (2, 16, 60):
        both = {"top1_agreement": np.ones(n), "total_variation": np.zeros(n)}
        found = estimate(GroupSums.from_values(both, np.arange(n)))
        end = binomtest(0, n).proportion_ci(0.95, method="exact").high
        assert found["total_variation"].low == 0
        assert found["total_variation"].high == pytest.approx(end)
        assert found["top1_agreement"].low == pytest.approx(1 - end)
        assert found["top1_agreement"].high == 1
    divergent = np.full(60, math.log(2) / 2)
    item = estimate(GroupSums.from_values({"jensen_shannon": divergent}, np.arange(60)))["jensen_shannon"]
    assert (item.value - item.low, item.high - item.value) == pytest.approx((end * item.value, end * item.value))


def test_a_constant_without_limits_stays_a_constant():
    item = estimate(GroupSums.from_values({"union_size": np.full(30, 12.0)}, np.repeat(np.arange(10), 3)))["union_size"]
    assert (item.low, item.high, item.standard_error) == (12.0, 12.0, 0.0)


def test_nothing_is_as_certain_as_full_agreement():
    lows = []
    for wrong in (0, 1, 2, 4, 8):
        values = np.ones((40, 12))
        values[:wrong, 3] = 0
        groups = np.repeat(np.arange(40), 12).reshape(40, 12)
        lows.append(estimate(GroupSums.from_values({"top1_agreement": values}, groups))["top1_agreement"].low)
    assert lows[0] == max(lows) < 1
    assert len(set(lows)) == len(lows)


def test_infinities_show_without_interval_or_warning():
    values = np.array([math.inf, 1.0, -math.inf, math.inf])
    assert math.isnan(estimate(GroupSums.from_values({"x": values}, np.arange(4)))["x"].value)
    item = estimate(GroupSums.from_values({"x": values[:2]}, np.arange(2)))["x"]
    assert item.value == math.inf
    assert math.isnan(item.high)


def test_dictionary_round_trip_through_json():
    summary = statistics((1, 4)).summary(states="fixed").extended({"x": Estimate(math.inf, 0.5, 1.0, 2.0, 3, 2, 1)})
    text = json.dumps(summary.to_dict(), allow_nan=False)
    back = OverlapSummary.from_dict(json.loads(text))
    assert back == summary
    assert math.isnan(back["jaccard"].low)
    assert back["x"].value == math.inf
    assert isinstance(back["x"].n_positions, int)
    assert back != statistics((1, 4)).summary(states="student")


def test_an_estimate_and_its_record():
    made = Estimate(0.25, 0.011, 0.2, math.inf, 1200, 40, 3, level=0.9)
    assert list(made.to_dict()) == list(RECORDED) == [f.name for f in fields(Estimate) if f.name != "level"]
    assert Estimate.from_dict(made.to_dict() | {"step": 3}, level=0.9) == made
    assert made.shown(1, 100) == "25.0 [20.0, ∞]"
    assert made.shown(3, sign=True) == "+0.250 [0.200, ∞]"
    assert str(made) == "0.250 [0.200, ∞], 90 % interval over 40 clusters"
    assert Estimate(math.nan, *(3 * [math.nan]), 0, 0, 8).shown() == "–"
    assert Estimate(0.5, 0.0, math.nan, math.nan, 8, 1).shown(1) == "0.5 –"


def test_the_level_of_a_summary_is_that_of_its_estimates():
    summary = statistics((1, 4)).summary(level=0.8)
    assert {item.level for item in summary.values()} == {0.8}
    assert OverlapSummary.from_dict(summary.to_dict())["jaccard"].level == 0.8


def test_printing():
    summary = OverlapSummary(
        {
            "union_size": Estimate(53.06, 0.45, 52.38, 54.2, 12_345, 67, 0),
            "mine<b>": Estimate(math.nan, math.nan, math.nan, math.nan, 0, 0, 8),
        },
        k=32,
        temperature=1.0,
        states="student",
    )
    assert str(summary).splitlines() == [
        "states: student, k = 32, temperature = 1",
        "statistic          value  unit    standard error  95% interval  positions  utterances  undefined",
        "─────────────────  ─────  ──────  ──────────────  ────────────  ─────────  ──────────  ─────────",
        "union_size (VUSS)  53.06  tokens            0.45  52.38 … 54.2     12,345          67          0",
        "mine<b>                –                       –             –          0           0          8",
    ]
    page = summary._repr_html_()
    assert "mine&lt;b&gt;" in page
    assert "union_size (VUSS)" in page
    assert repr(summary) == str(summary)


def test_mapping():
    summary = OverlapSummary({"x": Estimate(1.0, 0.1, 0.9, 1.1, 5, 2, 0)})
    assert "x" in summary
    assert len(summary) == 1
    assert summary.get("y") is None
    with pytest.raises(KeyError, match="'y' is not in this summary; it has x"):
        summary["y"]
    with pytest.raises(AttributeError):
        summary.k = 3
    with pytest.raises(ValueError, match=r"\['x'\] are there already; rename"):
        summary.extended({"x": summary["x"]})


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            torch.zeros(5, dtype=torch.long),
            r"groups: expected the leading shape \[6, 5\] or its first axes, received \[5\]",
        ),
        (torch.zeros(6, 4, dtype=torch.long), r"received \[6, 4\]"),
        (torch.zeros(6, 5, 1, dtype=torch.long), r"received \[6, 5, 1\]"),
        (torch.zeros(6), "groups: expected integers or strings .* received float32"),
        ([None] * 6, "received object"),
    ],
)
def test_groups_that_do_not_fit(groups, message):
    with pytest.raises(ValueError, match=message):
        statistics().summary(groups)


def test_errors():
    measured = statistics()
    with pytest.raises(ValueError, match=r"level: expected a coverage between 0 and 1, such as 0.95, received 95"):
        measured.summary(level=95)
    with pytest.raises(ValueError, match="draws: expected at least 2 resamples, received 1"):
        measured.summary(draws=1)
    with pytest.raises(ValueError, match=r"summary: expected the fields .* missing \['estimates'\], unknown \['x'\]"):
        OverlapSummary.from_dict({"states": None, "k": None, "temperature": None, "level": 0.9, "x": 1})
    tree = measured.summary().to_dict()
    del tree["estimates"]["jaccard"]["low"]
    with pytest.raises(ValueError, match=r"estimate 'jaccard': expected the fields .* missing \['low'\]"):
        OverlapSummary.from_dict(tree)
    with pytest.raises(ValueError, match=r"y: expected shape \[3\] like the rest, received \[2\]"):
        GroupSums.from_values({"x": np.zeros(3), "y": np.zeros(2)}, np.arange(3))
    with pytest.raises(ValueError, match=r"counts: expected shape \[1, 1\] \(groups × statistics\), received \[2, 1\]"):
        GroupSums(("x",), (1,), np.zeros((1, 1)), np.zeros((2, 1)), np.zeros((1, 1)))
    with pytest.raises(ValueError, match=r"sums: expected the statistics \['x'\], received \['y'\]; merge only sums"):
        GroupSums.merged([GroupSums.empty(["x"]), GroupSums.empty(["y"])])
