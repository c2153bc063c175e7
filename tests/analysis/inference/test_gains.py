"""Which statistic foretells the gain: over runs, and over positions."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import load_many
from analysis.inference import contrast, gain_correlations, stage_gains, token_gains
from analysis.run.traces import positions
from tests.analysis.conftest import trace_rows

STATISTICS = ("union_size", "forward_kl", "student_entropy", "teacher_entropy", "jensen_shannon")


def test_a_row_a_stay(straight):
    frame = stage_gains(load_many([straight]))
    assert list(frame["stage"]) == ["base", "teacher data", "on-policy"]
    assert list(frame["kind"]) == ["sft", "td", "opd"]
    np.testing.assert_allclose(frame["wer.after"], [0.5, 0.45, 0.4])
    np.testing.assert_allclose(frame["wer.before"], [math.nan, 0.5, 0.45])
    np.testing.assert_allclose(frame["gain"], [math.nan, 0.05, 0.05])
    np.testing.assert_allclose(frame["recovery"], [math.nan, 0.05 / 0.4, 0.05 / 0.35])
    np.testing.assert_allclose(frame["union_size"], [60, 57, 54])  # of the first probe of each stage
    assert "funnel.used" not in frame


def test_weights_after_a_fall_back_were_not_evaluated(fell_back):
    frame = stage_gains(load_many([fell_back]))
    assert list(frame["stage"]) == ["base", "teacher data", "on-policy", "teacher data", "on-policy"]
    assert list(frame["gain"].isna()) == [True, False, False, True, False]


def test_no_gap_no_recovery(straight):
    log = straight / "evaluations.jsonl"
    log.write_text(log.read_text().replace('"value": 0.1,', '"value": 0.6,'))
    frame = stage_gains(load_many([straight]))
    assert frame["recovery"].isna().all()
    assert frame["gain"].notna().sum() == 2


def test_a_run_without_readings(straight):
    for name in ("decisions", "evaluations"):
        (straight / f"{name}.jsonl").write_text("")
    assert stage_gains(load_many([straight])).empty


@pytest.fixture
def gains():
    generator = np.random.default_rng(0)
    gain = generator.normal(0.1, 0.05, 12)
    return pd.DataFrame(
        {
            "run": [f"r{i}" for i in range(12)],
            "recipe": [f"recipe {i // 3}" for i in range(12)],
            "stage": "on-policy",
            "kind": "opd",
            "gain": gain,
            "recovery": gain / 0.3,
            "wer.after": 0.3 - gain,
            "union_size": -gain + generator.normal(0, 0.02, 12),
            "forward_kl": generator.normal(0, 1, 12),
            "student_size": 8.0,
        }
    )


def test_correlations_and_p_values_are_those_of_scipy(gains):
    gains.loc[3, "forward_kl"] = math.nan
    table = gain_correlations(gains)
    rows = table.frame.set_index("statistic")
    for name in ("union_size", "forward_kl"):
        kept = gains.dropna(subset=name)
        theirs = stats.spearmanr(kept[name], kept["gain"])
        assert rows.loc[name, "rho"] == pytest.approx(theirs.statistic)
        assert rows.loc[name, "p"] == pytest.approx(theirs.pvalue, abs=0.02)
        assert rows.loc[name, "low"] < theirs.statistic < rows.loc[name, "high"]
    assert (rows.loc["forward_kl", "n"], rows.loc["forward_kl", "n_undefined"]) == (11, 1)
    assert math.isnan(rows.loc["student_size", "rho"])
    assert list(table.frame["statistic"]) == ["union_size", "forward_kl", "student_size"]  # strongest first
    assert "Visits of 4 recipes: runs of one recipe begin alike" in str(table)
    assert table.heading[-1] == "n visits"
    assert "p corrected for 2 tests" in str(table)


def test_every_permutation_of_few_runs(gains):
    few = gains.iloc[:5]
    observed = abs(stats.spearmanr(few["union_size"], few["gain"]).statistic)
    drawn = [
        abs(stats.spearmanr(list(order), few["gain"]).statistic) for order in itertools.permutations(few["union_size"])
    ]
    row = gain_correlations(few, statistics=["union_size"]).frame.iloc[0]
    assert row["p"] == pytest.approx(np.mean(np.array(drawn) >= observed - 1e-9), abs=1e-9)


def test_recipes_instead_of_runs(gains):
    row = gain_correlations(gains, statistics=["union_size"], per="recipe").frame.iloc[0]
    means = gains.groupby("recipe")[["union_size", "gain"]].mean()
    assert row["n"] == 4
    assert gain_correlations(gains, per="recipe").heading[-1] == "n means"
    assert row["rho"] == pytest.approx(stats.spearmanr(means["union_size"], means["gain"]).statistic)


def test_few_rows_for_a_correlation(gains):
    few = gains.loc[gains["recipe"].isin(gains["recipe"].unique()[:3])]
    gain_correlations(few)
    with pytest.raises(
        ValueError, match=r"four rows, found 3 \(a mean over the seeds of a recipe each, opd stages\); load"
    ):
        gain_correlations(few, per="recipe")
    one = gains.loc[gains["recipe"] == gains["recipe"].iloc[0]]
    with pytest.raises(ValueError, match=rf"found {len(one)} \(a visit each, all stages\)"):
        gain_correlations(one, kind=None)


def test_states_that_no_run_was_probed_on(straight):
    with pytest.raises(ValueError, match=r"states: no run was probed on 'students'; there are student"):
        stage_gains(load_many([straight]), "students")


def test_the_interval_covers_a_correlation_over_runs():
    truth, held = 6 / math.pi * math.asin(0.6 / 2), 0  # Spearman's of a normal pair with Pearson's 0.6
    for seed in range(150):
        x, y = np.random.default_rng(seed).multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 12).T
        frame = pd.DataFrame({"kind": "opd", "recipe": range(12), "gain": y, "union_size": x, "stage": "s"})
        row = gain_correlations(frame, draws=1).frame.iloc[0]
        held += row["low"] <= truth <= row["high"]
    assert 0.9 <= held / 150 <= 0.99


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outcome": "loss"}, "outcome: expected one of gain, recovery, wer.after, received 'loss'"),
        ({"statistics": ["vus"]}, "statistics: 'vus' was not probed; there are student_size"),
        ({"kind": "td"}, "kind: no visit is of a stage of kind 'td'; there are opd"),
    ],
)
def test_wrong_requests(gains, options, message):
    with pytest.raises(ValueError, match=message):
        gain_correlations(gains, **options)


def rollouts(generator, n=40, effect=0.0):
    """Positions before and after a stage in which gain grows with the divergence, and with `union_size` by an effect.

    `jensen_shannon` is the divergence and noise: it goes with the gain through the divergence alone.
    """
    lengths = {f"u{i:02d}": 24 for i in range(n)}
    before = positions(pd.DataFrame(trace_rows(0, "opd", "fixed", lengths)))
    kl = generator.gamma(1.0, 1.0, len(before))
    before["forward_kl"] = kl
    before["student_entropy"], before["teacher_entropy"] = generator.random((2, len(before)))
    before["jensen_shannon"] = kl + generator.normal(0, 0.7, len(before))
    before["union_size"] = generator.normal(12, 1, len(before))
    hard = generator.normal(0, 0.1, n)[np.unique(before["id"], return_inverse=True)[1]]
    gain = 0.5 * kl + effect * (before["union_size"] - 12) + hard + generator.normal(0, 0.2, len(before))
    return before, before.assign(forward_kl=kl - gain)


def test_correlations_over_positions_are_spearmans():
    before, after = rollouts(np.random.default_rng(0))
    table = token_gains(before, after, statistics=STATISTICS, draws=100)
    rows = table.frame.set_index("statistic")
    gain = (before["forward_kl"].astype("float32") - after["forward_kl"].astype("float32")).astype("float64")
    for name in STATISTICS:
        assert rows.loc[name, "rho"] == pytest.approx(stats.spearmanr(before[name], gain).statistic, abs=1e-4)
    assert (rows["n_positions"] == len(before)).all()
    assert (rows["n_groups"] == 40).all()
    assert rows.loc["teacher_entropy", "rho.p"] > 0.01 > rows.loc["jensen_shannon", "rho.p"]


def test_matching_takes_out_what_goes_through_the_divergence():
    before, after = rollouts(np.random.default_rng(1), effect=0.3)
    rows, loose = (
        token_gains(before, after, statistics=STATISTICS, draws=200, caliper=c).frame.set_index("statistic")
        for c in (0.1, 1.0)
    )
    assert rows.loc["jensen_shannon", "rho"] > 0.4
    assert loose.loc["jensen_shannon", "matched.low"] > 0.4  # not matched at all
    assert rows.loc["jensen_shannon", "matched.low"] < 0 < rows.loc["jensen_shannon", "matched.high"]
    # Half a rollout above the median of a normal, half below: 2 × 0.8 standard deviations apart.
    assert rows.loc["union_size", "matched.low"] < 0.3 * 1.6 < rows.loc["union_size", "matched.high"]
    assert rows.loc["union_size", "matched.p"] < 0.001
    assert rows.loc["union_size", "imbalance"] < 0.1


def test_pairs_are_the_best_within_the_caliper():
    """Against every assignment of one rollout."""
    generator = np.random.default_rng(2)
    frame = positions(pd.DataFrame(trace_rows(0, "opd", "fixed", {"a": 8, "b": 8})))
    for name in ("forward_kl", "student_entropy", "union_size"):
        frame[name] = generator.random(16)
    after = frame.assign(forward_kl=generator.random(16))
    found = token_gains(frame, after, statistics=["union_size"], caliper=0.35, draws=50).frame.iloc[0]
    gain = (frame["forward_kl"] - after["forward_kl"]).to_numpy()
    ranks = np.stack([stats.rankdata(frame[c]) / 16 for c in ("student_entropy", "forward_kl", "position")], 1)
    sums = []
    for rows in (np.arange(8), np.arange(8, 16)):
        score = frame["union_size"].to_numpy()[rows]
        low, high = rows[score <= np.median(score)], rows[score > np.median(score)]
        best = (-1, math.inf, ())
        for order in itertools.permutations(high):
            pairs = [(i, j) for i, j in zip(low, order, strict=True) if (abs(ranks[i] - ranks[j]) <= 0.35).all()]
            cost = sum(((ranks[i] - ranks[j]) ** 2).sum() for i, j in pairs)
            if (len(pairs), -cost) > (best[0], -best[1]):
                best = (len(pairs), cost, tuple(pairs))
        sums.append([(gain[i], gain[j]) for i, j in best[2]])
    flat = [pair for part in sums for pair in part]
    assert found["n_pairs"] == len(flat) > 0
    assert found["matched"] == pytest.approx(np.mean([high - low for low, high in flat]), abs=1e-6)


def test_an_utterance_in_several_runs_is_one_cluster():
    before, after = rollouts(np.random.default_rng(3), n=6)
    both = [pd.concat([frame.assign(run="a"), frame.assign(run="b")]) for frame in (before, after)]
    one = token_gains(before, after, statistics=["union_size"], draws=50).frame.iloc[0]
    two = token_gains(*both, statistics=["union_size"], draws=50).frame.iloc[0]
    assert (two["n_groups"], two["n_positions"]) == (6, 2 * one["n_positions"])
    assert two["rho"] == pytest.approx(one["rho"])
    assert two["rho.high"] - two["rho.low"] == pytest.approx(one["rho.high"] - one["rho.low"], rel=0.3)


def test_intervals_of_matched_differences_are_over_utterances():
    before, after = rollouts(np.random.default_rng(4), n=10, effect=0.2)
    found = token_gains(before, after, statistics=["union_size"], matched_on=["position"], caliper=1.0, draws=200)
    row = found.frame.iloc[0]
    assert row["n_pairs"] == 120  # half of 24 positions above the median, of 10 utterances
    assert row["matched.low"] < row["matched"] < row["matched.high"]
    # All positions of a rollout are in a pair, so the difference is that of the halves' means.
    gain = before["forward_kl"] - after["forward_kl"]
    above = before["union_size"] > before.groupby("id")["union_size"].transform("median")
    sums = np.stack([gain.where(side).groupby(before["id"]).sum() for side in (~above, above)], 1)
    expected = contrast(sums, np.full((10, 2), 12.0), (-1, 1), draws=200)
    assert [row["matched"], row["matched.low"]] == pytest.approx([expected.value, expected.low], abs=1e-5)


def test_text():
    text = str(token_gains(*rollouts(np.random.default_rng(5), n=8), statistics=STATISTICS, draws=50))
    assert max(map(len, text.splitlines())) <= 120
    for part in (
        "Gain: fall of forward_kl",
        "of 8 utterances",
        "ranks within 0.1",
        "In each column, p corrected for 5",
    ):
        assert part in text.replace("\n  ", " ")


def test_what_was_not_traced_is_named():
    before, after = rollouts(np.random.default_rng(6), n=3)
    with pytest.raises(ValueError, match="'total_variation' is not in these positions; there are union_size"):
        token_gains(before, after, "total_variation")
    with pytest.raises(ValueError, match="the tokens of before and after differ"):
        token_gains(before, after.assign(token_id=0))
    with pytest.raises(ValueError, match=r"teacher_entropy differs from before's"):
        token_gains(before, after.assign(teacher_entropy=after["teacher_entropy"] + 1))


def test_every_statistic_that_varies_is_read():
    before, after = rollouts(np.random.default_rng(7), n=4)
    frame = token_gains(before.assign(student_size=8.0), after.assign(student_size=8.0), draws=50).frame
    assert set(frame["statistic"]) == set(STATISTICS)


def test_nothing_in_common_is_no_pair():
    before, after = rollouts(np.random.default_rng(8), n=4)
    row = token_gains(before, after, statistics=["union_size"], caliper=1e-9, draws=50).frame.iloc[0]
    assert row["n_pairs"] == 0
    assert math.isnan(row["matched"])
    assert math.isnan(row["imbalance"])
