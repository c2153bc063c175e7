"""Soft switches in training: the share in force follows steps and readings, each row says why, a resume changes
nothing."""

import json

import pandas as pd
import pytest

from distill import Observer, resume, train
from distill.recipe import Recipe
from distill.run.checkpoint import LastReading, TrainingState
from distill.training.reset_measurements import reset_messages, reset_state
from distill.training.soft_switches import SoftSwitches


def rows(run, log="metrics"):
    return [json.loads(line) for line in (run / f"{log}.jsonl").read_text().splitlines()]


def on_policy(mini, fraction, *, steps, states="teacher", **changes) -> dict:
    other = {"fraction": fraction, "states": states, "transcription": {"max_new_tokens": 8}}
    other |= {"filters": mini["stages"][1]["filters"]}
    return mini | {"stages": [mini["stages"][2] | {"off_policy": other, "steps": steps} | changes]}


def test_a_linear_share_goes_from_the_reference_to_the_student(mini, tmp_path):
    linear = {"type": "linear", "from": 1.0, "to": 0.0, "steps": 4}
    recipe = on_policy(mini, linear, steps=6, states="reference", manifest=mini["stages"][0]["manifest"])
    result = train(Recipe.model_validate(recipe | {"probe": None, "evaluation": None}), tmp_path / "run")
    found = rows(result.path)
    assert [row["off_policy"]["share"] for row in found] == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    assert found[1]["off_policy"]["reason"] == "1 of the 4 steps from 1 to 0"
    assert {row["off_policy"]["read_at"] for row in found} == {None}
    assert found[0]["rollouts"]["states"] == "reference"
    assert [row["rollouts"]["states"] for row in found[4:]] == ["student", "student"]


def test_a_constant_share_is_recorded_too(mini, tmp_path):
    result = train(
        Recipe.model_validate(on_policy(mini, 0.5, steps=2) | {"probe": None, "evaluation": None}), tmp_path / "run"
    )
    for row in rows(result.path):
        assert row["off_policy"] == {"share": 0.5, "reason": "constant", "reading": None, "read_at": None}


def test_a_share_falls_with_the_readings_of_a_demo_run(mini, tmp_path):
    """The demo's student learns from its teacher; the share of each row is that of the probe that it names."""
    follows = {"type": "overlap", "statistic": "total_variation", "low": 0.2, "high": 1.0, "mode": "min", "on": "value"}
    recipe = on_policy(mini, follows, steps=12, lr=3e-3, batch_size=8)
    recipe |= {"student": {"model": "demo:student"}, "teacher": {"model": "demo:teacher"}, "evaluation": None}
    recipe["probe"] = mini["probe"] | {"every": 4, "states": ["student"]}
    result = train(Recipe.model_validate(recipe), tmp_path / "run")
    found = rows(result.path)
    probes = pd.read_parquet(result.path / "probes")
    values = probes.loc[probes["statistic"] == "total_variation"].set_index("step")["value"]
    for row in found:
        assert row["off_policy"]["read_at"] == (row["step"] - 1) // 4 * 4
        read = values[row["off_policy"]["read_at"]]
        assert row["off_policy"]["reading"] == pytest.approx(read)
        assert row["off_policy"]["share"] == pytest.approx(min(1.0, max(0.0, (read - 0.2) / 0.8)))
        assert row["off_policy"]["reason"].startswith(f"total_variation {read:.5g} [")
    shares = [row["off_policy"]["share"] for row in found]
    assert shares[-1] < shares[0]


def test_an_interrupted_run_takes_the_same_steps(mini, tmp_path):
    """Followed: a change between probes, which the first reading lacks. Within a trust region, on sampled rollouts."""
    follows = {"type": "overlap", "statistic": "total_variation.change", "low": -1.0, "high": 1.0}
    rollout = {"max_new_tokens": 8, "sample": True, "trust_region": {"radius": 0.2, "steps": 6}}
    recipe = on_policy(mini, follows | {"mode": "min", "on": "value"}, steps=8, rollout=rollout)
    recipe["evaluation"] = None
    whole = rows(train(Recipe.model_validate(recipe), tmp_path / "whole").path)

    class Interrupted(Exception):
        pass

    class Stops(Observer):
        def step(self, row):
            if row["step"] == 5:
                raise Interrupted

    with pytest.raises(Interrupted):
        train(Recipe.model_validate(recipe), tmp_path / "cut", observer=Stops())
    state = json.loads((tmp_path / "cut/checkpoints/step-000004/state.json").read_text())
    assert state["last_reading"]["step"] == 3
    again = rows(resume(tmp_path / "cut").path)
    without_seconds = [[{k: v for k, v in row.items() if k != "seconds"} for row in log] for log in (whole, again)]
    assert without_seconds[0] == without_seconds[1]
    shares = [row["off_policy"] for row in whole]
    assert [one["share"] for one in shares[:3]] == [1.0] * 3
    assert shares[0]["reason"] == "total_variation.change is missing from the reading"
    assert all(0.0 < one["share"] < 1.0 for one in shares[3:])
    assert [one["read_at"] for one in shares] == [0] * 3 + [3] * 3 + [6] * 2
    radii = [row["trust_region"]["radius"] for row in whole]
    assert radii == pytest.approx([0.2 * (1 - step / 6) for step in range(6)] + [0.0, 0.0])
    for row in whole:
        region = row["trust_region"]
        assert ("n" in region) == (row["rollouts"]["states"] == "blend")
        if "n" in region:
            assert 0 < region["beta"] <= 1
            assert 0 < region["divergence"] <= region["radius"]
    assert "blend" in {row["rollouts"]["states"] for row in whole}


FOLLOWS = {"type": "overlap", "statistic": "top1_agreement", "low": 0.4, "high": 0.8}
READ = LastReading(3, {"top1_agreement": dict.fromkeys(("standard_error", "low", "high"), None) | {"value": 0.6}})


def followed(mini, **more):
    return Recipe.model_validate(on_policy(mini, FOLLOWS | more, steps=8))


def test_an_undefined_interval_or_no_reading_leaves_the_share_at_one(mini):
    stage = followed(mini).stages[0]
    numbers = READ.estimates["top1_agreement"] | {"n_positions": 9, "n_groups": 1, "n_undefined": 0}
    for last, why in ((None, "has not been read yet"), (LastReading(3, {"top1_agreement": numbers}), "interval")):
        found = SoftSwitches.at(stage, TrainingState(stage_step=4, last_reading=last))
        assert found.share is not None
        assert found.share.value == 1.0
        assert why in found.row({})["off_policy"]["reason"]
    assert found.read_at == 3
    assert [found.mixture(draw).off_policy for draw in (0.0, 0.999)] == [True, True]


@pytest.mark.parametrize(("key", "kept"), [("probe.manifest", False), ("evaluation.manifest", True)])
def test_a_reading_on_data_that_changed_is_forgotten(mini, key, kept):
    before = TrainingState(step=4, last_reading=READ)
    after = reset_state(before, followed(mini), {key})
    assert (after.last_reading is not None) == kept
    assert bool(reset_messages(before, after)) == (not kept)
