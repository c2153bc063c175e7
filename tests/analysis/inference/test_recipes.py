import math

import numpy as np
import pytest
from scipy import stats

from analysis import load_many
from analysis.inference import Side, last_transcripts, mixed_model, over_seeds, recipe_differences, swap_test
from tests.analysis.conftest import resolve, write_transcripts

STAYS = [("base", (0, 50)), ("on-policy", (0, 50), "end")]
N = 40


@pytest.fixture
def arms(make_run):
    """Write runs of recipes: `arms({"a": [[errors of each utterance], …], …})` by seed."""

    def make(recipes, **options):
        paths = []
        for name, seeds in recipes.items():
            for seed, errors in enumerate(seeds):
                path = resolve(make_run(STAYS, f"{name}-{seed}"), name=name, seed=seed)
                ids = {f"u{i:02d}": int(wrong) for i, wrong in enumerate(errors)}
                write_transcripts(path, 100, "on-policy", ids, **options)
                write_transcripts(path, 50, "base", dict.fromkeys(ids, 9))  # not the last evaluation
                paths.append(path)
        return load_many(paths)

    return make


@pytest.fixture
def errors():
    generator = np.random.default_rng(0)
    hard, shift = generator.normal(0, 1, N), generator.normal(0, 0.25, (3, 1))
    odds = {name: level + hard + shift + generator.normal(0, 0.7, (3, N)) for name, level in (("a", -1.5), ("b", -0.9))}
    return {name: generator.binomial(10, 1 / (1 + np.exp(-x))) for name, x in odds.items()}


def test_differences_over_seeds(arms, errors):
    frame = recipe_differences(arms(errors)).frame
    totals = np.full(N, 10.0)
    expected = over_seeds([Side(errors["a"], -1.0), Side(errors["b"])], totals)
    (row,) = frame.to_dict("records")
    assert (row["first"], row["second"], row["n_seeds.first"], row["n_clusters"]) == ("a", "b", 3, N)
    assert row["rate.first"] == pytest.approx(errors["a"].mean() / 10)
    assert row["difference"] == pytest.approx((errors["b"].mean() - errors["a"].mean()) / 10)
    assert [row["difference.low"], row["p"], row["df"]] == pytest.approx(
        [expected.estimate.low, expected.p_value, expected.df]
    )
    assert row["p.corrected"] == row["p"]


def test_runs_that_go_on_are_named(arms, errors):
    runs = arms(errors)
    assert "Still running" not in str(recipe_differences(runs))
    log = runs["a-1"].path / "decisions.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))
    again = load_many([run.path for run in runs.values()])
    assert again.running == ["a-1"]
    assert "Still running, at their latest evaluation: a-1." in str(recipe_differences(again))
    assert "Still running, at their latest evaluation: a-1." in str(mixed_model(again))


def test_paired_seeds(arms, errors):
    runs = arms(errors)
    (row,) = recipe_differences(runs, pair_seeds=True).frame.to_dict("records")
    expected = over_seeds([Side(errors["b"] - errors["a"])], np.full(N, 10.0))
    assert [row["difference.low"], row["p"]] == pytest.approx([expected.estimate.low, expected.p_value])
    assert "Runs of one seed are compared" in str(recipe_differences(runs, pair_seeds=True))


def test_speakers_are_clusters(arms, errors):
    speakers = {f"u{i:02d}": f"s{i // 4}" for i in range(N)}
    (row,) = recipe_differences(arms(errors, speakers=speakers), by="speaker").frame.to_dict("records")
    merged = [side.reshape(3, -1, 4).sum(-1) for side in errors.values()]
    expected = over_seeds([Side(merged[0], -1.0), Side(merged[1])], np.full(N // 4, 40.0))
    assert row["n_clusters"] == N // 4
    assert row["difference.low"] == pytest.approx(expected.estimate.low)


def test_one_seed_is_compared_over_utterances_and_says_so(arms, errors):
    table = recipe_differences(arms({"a": errors["a"][:1], "b": errors["b"]}))
    (row,) = table.frame.to_dict("records")
    sums = np.stack([errors["a"][0], errors["b"].mean(0)], 1)
    assert row["difference"] == pytest.approx((sums[:, 1] - sums[:, 0]).mean() / 10)
    assert row["p"] == swap_test(sums, np.full((N, 2), 10.0))
    assert (row["n_seeds.first"], row["n_seeds.second"]) == (1, 3)
    assert "Other seeds are not included" in str(table)
    assert math.isnan(row["df"])


def test_pairs_baseline_and_correction(arms, errors):
    runs = arms({**errors, "c": errors["a"][:, ::-1]})
    pairs = [tuple(row) for row in recipe_differences(runs).frame[["first", "second"]].to_numpy()]
    assert pairs == [("a", "b"), ("a", "c"), ("b", "c")]
    table = recipe_differences(runs, "b", correction="bh")
    assert [tuple(row) for row in table.frame[["first", "second"]].to_numpy()] == [("b", "a"), ("b", "c")]
    np.testing.assert_allclose(table.frame["p.corrected"], stats.false_discovery_control(table.frame["p"]))
    text = table.to_text()
    assert max(map(len, text.splitlines())) <= 110
    assert "p corrected for 2 tests (Benjamini-Hochberg" in text
    assert "second − first [95 %]" in text


def test_the_bootstrap_gives_no_p(arms, errors):
    table = recipe_differences(arms(errors), method="bootstrap")
    assert table.frame["p"].isna().all()
    assert "no p here to correct" in str(table)
    assert "nan" not in str(table)


def test_what_cannot_be_compared(arms, errors, make_run):
    runs = arms(errors)
    with pytest.raises(ValueError, match="baseline: no recipe is called 'x'; there are a, b"):
        recipe_differences(runs, "x")
    alone = load_many([run.path for run in runs.of_recipe("a").values()])
    with pytest.raises(ValueError, match="there is one recipe, 'a'; load runs of at least two"):
        recipe_differences(alone)
    with pytest.raises(ValueError, match="run 'a-0' was not evaluated on 'x'; it was on test"):
        last_transcripts(runs, "a-0", "x")
    (runs["a-1"].path / "transcripts" / "step-000100-visit-001-test-student.parquet").unlink()
    again = load_many([run.path for run in runs.values()])
    with pytest.raises(
        ValueError, match=r"run 'a-1' has no transcripts of its last evaluation.*`distill evaluate --mo"
    ):
        recipe_differences(again)
    blind = load_many([make_run(STAYS, "blind", evaluated=False)])
    with pytest.raises(ValueError, match="run 'blind' was not evaluated"):
        last_transcripts(blind, "blind")


def test_utterances_that_differ_name_the_run(arms, errors):
    runs = arms({"a": errors["a"], "b": [*errors["b"][:2], errors["b"][2][:-1]]})
    with pytest.raises(ValueError, match=r"run 'b-2': utterances differ: 1 are in the first alone \('u39'\)"):
        recipe_differences(runs)


def test_seeds_that_do_not_pair(arms, errors):
    runs = arms(errors)
    for name in ("b-1", "b-2"):
        resolve(runs[name].path, seed=int(name[-1]) + 5)
    with pytest.raises(ValueError, match="pair_seeds: a-0, a-1, a-2 and b-0, b-1, b-2 share 1 seed; it takes at least"):
        recipe_differences(load_many([run.path for run in runs.values()]), pair_seeds=True)


def test_the_mixed_model_agrees_with_the_analysis_of_variance(arms):
    """With references of one length the layout is balanced: REML has the components in closed form."""
    generator = np.random.default_rng(3)
    hard, shift = generator.normal(0, 1, N), generator.normal(0, 0.6, (2, 3, 1))
    odds = np.array([-1.5, -0.9])[:, None, None] + hard + generator.normal(0, 1, (2, 1, N)) + shift
    errors = dict(zip("ab", generator.binomial(10, 1 / (1 + np.exp(-odds))), strict=True))
    runs = arms(errors)
    table = mixed_model(runs)
    rows = table.frame.set_index("term")
    difference = rows.loc["b − a"]
    assert difference["value"] == pytest.approx((errors["b"].mean() - errors["a"].mean()) / 10)
    expected = over_seeds([Side(errors["a"], -1.0), Side(errors["b"])], np.full(N, 10.0))
    assert difference["standard_error"] == pytest.approx(expected.estimate.standard_error, rel=0.03)
    assert rows.loc["a", "value"] == pytest.approx(errors["a"].mean() / 10)
    y = np.stack([errors["a"], errors["b"]]) / 10
    rest = y - y.mean(1, keepdims=True) - y.mean(2, keepdims=True) + y.mean((1, 2), keepdims=True)
    square_rest = (rest**2).sum() / (2 * 2 * (N - 1))
    square_run = N * y.mean(2).var(axis=1, ddof=1).mean()
    assert rows.loc["rest", "value"] == pytest.approx(math.sqrt(square_rest), rel=0.02)
    assert rows.loc["run (seed)", "value"] == pytest.approx(math.sqrt((square_run - square_rest) / N), rel=0.1)
    assert "recipe × utterance" in str(table)
    assert "with few seeds they are too small" in str(table)
    assert max(map(len, str(table).splitlines())) <= 110


def test_a_mixed_model_needs_recipes_and_seeds(arms, errors):
    with pytest.raises(ValueError, match="at least two recipes and two seeds"):
        mixed_model(arms({name: rows[:1] for name, rows in errors.items()}))
    runs = arms({"c": errors["a"], "d": errors["b"]})
    with pytest.raises(ValueError, match="baseline: no recipe is called 'x'; there are c, d"):
        mixed_model(runs, "x")
