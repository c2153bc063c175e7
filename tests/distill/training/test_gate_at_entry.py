"""A stage's gate reads from its first step on, before it only where the recipe asks; probes are taken either way."""

import json

import pandas as pd
import pytest

from distill import resume, train
from distill.recipe import Recipe
from tests.distill.training.test_trainer import _Interrupt


def rows(path, log):
    return [json.loads(line) for line in (path / f"{log}.jsonl").read_text().splitlines()]


@pytest.fixture
def satisfied(texts, text_manifests):
    """Teacher data whose gate is open from the beginning, then on-policy steps; probes every second step."""
    probe = {"manifest": str(text_manifests["probe"]), "every": 2, "states": ["student"], "trace_utterances": 1}
    gate = {"type": "threshold", "statistic": "top1_agreement", "at_least": 0.0}
    stages = [texts["stages"][1] | {"gate": gate}, texts["stages"][2]]
    return texts | {"probe": probe, "stages": stages}


def test_a_stage_takes_steps_before_its_gate_is_read(satisfied, tmp_path):
    result = train(Recipe.model_validate(satisfied), tmp_path / "run")
    assert [row["stage"] for row in rows(result.path, "metrics")].count("teacher data") == 2
    entry, first, *_ = rows(result.path, "decisions")
    assert (entry["stage_step"], entry["gate"], entry["decision"], entry["numbers"]) == (0, "entry", "stay", {})
    assert entry["reason"] == "its gate reads from the stage's first step on"
    assert (first["stage_step"], first["decision"]) == (2, "advance")
    probes = pd.read_parquet(result.path / "probes.parquet")
    assert set(probes["step"]) == {0, 2, 4, 6}
    assert (result.path / "traces" / "step-000000-teacher data.parquet").exists()


def test_a_stage_that_asks_is_passed_over(satisfied, tmp_path):
    satisfied["stages"][0]["gate_at_entry"] = True
    result = train(Recipe.model_validate(satisfied), tmp_path / "run")
    assert {row["stage"] for row in rows(result.path, "metrics")} == {"on-policy"}


@pytest.mark.parametrize("asked", [False, True])
def test_a_collapsed_student_is_found_at_entry_only_where_asked(satisfied, tmp_path, asked):
    gate = {"type": "collapse", "limits": {"student_logprob": [0.0, None]}, "action": "abort"}
    satisfied["stages"] = [satisfied["stages"][1] | {"gate": gate, "gate_at_entry": asked}]
    result = train(Recipe.model_validate(satisfied), tmp_path / "run")
    assert result.aborted
    assert result.step == (0 if asked else 2)


def test_a_plateau_counts_from_the_first_step_on(satisfied, tmp_path):
    # Patience of one reading without an improvement: the first sets the mark, the second is none.
    gate = {"type": "plateau", "statistic": "top1_agreement", "patience": 1, "min_delta": 2.0}
    satisfied["stages"] = [satisfied["stages"][0] | {"gate": gate, "steps": 6}, satisfied["stages"][1]]
    taken = {}
    for asked in (False, True):
        satisfied["stages"][0]["gate_at_entry"] = asked
        result = train(Recipe.model_validate(satisfied), tmp_path / f"run {asked}")
        taken[asked] = [row["stage"] for row in rows(result.path, "metrics")].count("teacher data")
    assert taken == {False: 4, True: 2}


def test_a_budget_that_is_spent_at_entry_ends_the_run_all_the_same(satisfied, tmp_path):
    """A fall back at the last step enters a stage with nothing left to take."""
    gate = {"type": "collapse", "limits": {"student_logprob": [0.0, None]}}
    satisfied["stages"][1] |= {"gate": gate}
    satisfied["stages"][0]["steps"] = 2
    result = train(Recipe.model_validate(satisfied | {"total_steps": 4}), tmp_path / "run")
    assert result.step == 4
    assert result.outcome == "stopped: the run's 4 steps are spent in stage 'teacher data'"
    assert result.stopped


@pytest.mark.parametrize("at", [1, 2, 3])
def test_resuming_changes_nothing(satisfied, tmp_path, at):
    satisfied["checkpoint"] = {"every": 1}
    whole = train(Recipe.model_validate(satisfied), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(Recipe.model_validate(satisfied), tmp_path / "cut", observer=_Interrupt(at))
    again = resume(tmp_path / "cut")
    assert (again.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()
    assert rows(again.path, "decisions") == rows(whole.path, "decisions")
