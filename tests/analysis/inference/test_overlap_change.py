import math

import pandas as pd
import pytest

from analysis import load, load_many
from analysis.inference import overlap_change, stage_changes, stage_ends, swap_test
from analysis.run.traces import positions
from tests.analysis.conftest import trace_rows, write_traces
from tests.overlap import bootstrap_t

LENGTHS = {f"u{i}": 3 + i for i in range(8)}


def traced(seed, **options):
    return positions(pd.DataFrame(trace_rows(100, "base", "fixed", LENGTHS, seed=seed, **options)))


def test_means_and_change_are_over_positions():
    before, after = traced(1), traced(2)
    row = overlap_change(before, after, ["union_size"]).iloc[0]
    assert row["before"] == pytest.approx(before["union_size"].mean())
    assert row["change"] == pytest.approx(after["union_size"].mean() - before["union_size"].mean())
    assert row["change.low"] < row["change"] < row["change.high"]
    assert (row["n_groups"], row["n_positions.before"], row["n_undefined.after"]) == (8, sum(LENGTHS.values()), 0)


def test_an_alias_is_the_statistic():
    before, after = traced(1), traced(2)
    pd.testing.assert_frame_equal(
        overlap_change(before, after, ["VUSS"]), overlap_change(before, after, ["union_size"])
    )


def test_the_interval_against_the_bootstrap_written_out():
    before, after = traced(1), traced(2)
    table = pd.concat([f.groupby("id")["union_size"].agg(["sum", "count"]) for f in (before, after)], axis=1).to_numpy()
    sums, counts = table[:, [0, 2]], table[:, [1, 3]]
    ours = overlap_change(before, after, ["union_size"], draws=20_000).iloc[0]
    theirs = bootstrap_t.interval(sums, counts, (-1, 1), draws=4000, rng=2)
    assert [ours["change.low"], ours["change.high"]] == pytest.approx(theirs, abs=0.4 * ours["change.standard_error"])
    assert ours["p"] == swap_test(sums, counts)


def test_undefined_and_unused_positions_are_counted_apart():
    before, after = traced(1), traced(2)
    before.loc[0, "union_size"] = math.nan
    after.loc[[1, 2], "used"] = False
    row = overlap_change(before, after, ["union_size"]).iloc[0]
    total = sum(LENGTHS.values())
    assert (row["n_positions.before"], row["n_undefined.before"]) == (total - 1, 1)
    assert (row["n_positions.after"], row["n_undefined.after"]) == (total - 2, 0)
    assert row["before"] == pytest.approx(before["union_size"].mean())
    assert row["after"] == pytest.approx(after.loc[after["used"], "union_size"].mean())


def test_what_is_the_same_everywhere_is_not_tested():
    before, after = traced(1), traced(2)
    same = [frame.assign(union_size=8.0) for frame in (before, after)]
    row = overlap_change(*same, ["union_size"]).iloc[0]
    assert row["change"] == 0
    assert math.isnan(row["p"])
    assert math.isnan(row["change.low"])


def test_own_rollouts_need_not_be_as_long():
    before = traced(1)
    longer = positions(pd.DataFrame(trace_rows(200, "base", "student", {k: 2 * n for k, n in LENGTHS.items()})))
    with pytest.raises(
        ValueError, match=r"utterance 'u0': the tokens of before and after differ.*states fixed, teacher"
    ):
        overlap_change(before, longer, ["union_size"])
    row = overlap_change(before, longer, ["union_size"], same_rollouts=False).iloc[0]
    assert row["n_positions.after"] == 2 * row["n_positions.before"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.iloc[:0], "after: there are no positions"),
        (lambda f: pd.concat([f, f]), r"after: utterance 'u0' occurs more than once.*positions\.query"),
        (lambda f: f[f["id"] != "u0"], r"1 utterances are on one side alone \(such as 'u0'\)"),
        (
            lambda f: f.drop(columns="union_size"),
            "statistics: 'union_size' is not in these positions; there are teacher_entropy, forward_kl",
        ),
    ],
)
def test_what_cannot_be_compared(change, message):
    with pytest.raises(ValueError, match=message):
        overlap_change(traced(1), change(traced(2)), ["union_size"])


@pytest.fixture
def run(straight):
    """Traced as the trainer does: where a stage begins, and where the run ends."""
    for step, stage in ((0, "base"), (100, "teacher data"), (200, "on-policy"), (300, "on-policy")):
        states = ("student",) if step == 0 else ("student", "fixed")
        write_traces(straight, step, stage, LENGTHS, states, seed=step)
    return load(straight)


def test_a_row_a_stage_and_statistic(run):
    table = stage_changes(run, statistics=["union_size", "forward_kl"])
    frame = table.frame
    assert list(frame["stage"]) == ["teacher data"] * 2 + ["on-policy"] * 2
    assert frame[["first_step", "last_step"]].to_numpy().tolist() == [[100, 200]] * 2 + [[200, 300]] * 2
    where = run.positions[run.positions["states"] == "fixed"]
    means = where.groupby("step")["union_size"].mean()
    assert frame["change"].iloc[0] == pytest.approx(means[200] - means[100])
    assert list(stage_changes(run, "student", ["union_size"]).frame["stage"]) == ["base", "teacher data", "on-policy"]


def test_text(run):
    text = stage_changes(run, statistics=["union_size", "forward_kl"]).to_text()
    assert "of 8 traced utterances, of 40 probed" in text.replace("\n  ", " ")
    assert "p corrected for 4 tests" in text
    assert text.count("teacher data") == 1
    assert r"100--200" in stage_changes(run, statistics=["union_size"]).to_latex()


def test_a_fall_back_is_not_the_start_of_the_next_stage(fell_back):
    """After a fall back the next stage begins with other weights than the last one ended with."""
    for step, stage in ((200, "on-policy"), (250, "teacher data"), (300, "on-policy"), (400, "on-policy")):
        write_traces(fell_back, step, stage, LENGTHS, ("teacher",), seed=step)
    frame = stage_changes(load(fell_back), "teacher", ["union_size"]).frame
    assert frame[["stage", "first_step", "last_step"]].to_numpy().tolist() == [
        ["teacher data", 250, 300],
        ["on-policy", 300, 400],
    ]


def test_traces_of_a_run_without_readings_yet(run):
    (run.path / "decisions.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"no stage was traced at both ends on states 'fixed'"):
        stage_changes(load(run.path))
    with pytest.raises(ValueError, match=r"both ends of a stage 'on-policy'; stages are none$"):
        stage_ends(load_many([run.path]), "on-policy")


def test_without_traces_the_recipes_setting_is_named(straight):
    with pytest.raises(
        ValueError, match=r"no stage was traced at both ends on states 'fixed' \(there are traces on none"
    ):
        stage_changes(load(straight))


def test_ends_of_a_stage_over_runs(run, make_run):
    other = make_run([("base", (0, 50), "end")], "other")
    runs = load_many([run.path, other])
    before, after = stage_ends(runs, "on-policy")
    assert set(before["run"]) == {"straight"}
    assert (set(before["step"]), set(after["step"])) == ({200}, {300})
    with pytest.raises(
        ValueError, match="no run has traces on states 'fixed' at both ends of a stage 'base'; stages are"
    ):
        stage_ends(runs, "base")
