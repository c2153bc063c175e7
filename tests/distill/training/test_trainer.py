"""The loop, end to end on a miniature run: stages, gates, fall backs, budgets, and what is on disk afterwards."""

import json
import math
from pathlib import Path

import jiwer
import pandas as pd
import pytest
import torch

import distill.training.steps
from distill import Observer, TrainingError, resume, train
from distill.models import load_recognizer
from distill.normalize import normalizer
from distill.recipe import Recipe, RecipeError
from distill.run.run_directory import RunDirectoryError
from distill.scoring.pair import PairError
from overlap.estimates.funnel import BINS


def rows(run, log):
    return [json.loads(line) for line in (run / f"{log}.jsonl").read_text().splitlines()]


def variant(mini, **changes) -> Recipe:
    return Recipe.model_validate(mini | changes)


@pytest.fixture(scope="module")
def finished(request, tmp_path_factory):
    """One uninterrupted run that several tests read."""
    return {}


@pytest.fixture
def run(recipe, finished, tmp_path_factory):
    if "result" not in finished:
        finished["result"] = train(recipe, tmp_path_factory.mktemp("runs") / "mini")
    return finished["result"]


class TestWholeRun:
    def test_every_stage_took_its_steps_in_order(self, run):
        metrics = rows(run.path, "metrics")
        assert run.outcome == "finished"
        assert [row["step"] for row in metrics] == list(range(1, 13))
        assert [row["stage"] for row in metrics] == ["base"] * 4 + ["teacher data"] * 4 + ["on-policy"] * 4
        assert all(math.isfinite(row["loss"]) and row["gradient_norm"] > 0 for row in metrics)

    def test_an_on_policy_row_holds_overlap_funnel_rollouts_and_seconds(self, run):
        row = rows(run.path, "metrics")[-1]
        assert sum(row["funnel"].values()) >= row["n_positions"] == row["funnel"]["used"]
        assert 4 <= row["overlap"]["union_size"] <= 8
        assert row["rollouts"]["n"] == 4
        assert {"data", "rollout", "teacher", "student", "measure", "update"} <= set(row["seconds"])

    def test_probes_cover_every_kind_of_states_and_their_bins_add_up(self, run):
        probes = pd.read_parquet(run.path / "probes")
        assert set(probes[probes["stage"] == "base"]["states"]) == {"student", "teacher"}
        assert set(probes[probes["stage"] == "on-policy"]["states"]) == {"student", "fixed", "teacher"}
        bins = probes[probes["statistic"].isin([f"funnel.{name}" for name in BINS])]
        for _, group in bins.groupby(["step", "stage", "states"]):
            assert group["value"].sum() == group["n_positions"].iloc[0]
        estimates = probes[probes["statistic"] == "union_size"]
        assert ((estimates["low"] <= estimates["value"]) & (estimates["value"] <= estimates["high"])).all()

    def test_fixed_states_are_the_rollouts_of_base(self, run):
        probes = pd.read_parquet(run.path / "probes")
        entry = probes[
            (probes["stage"] == "teacher data") & (probes["step"] == 4) & (probes["statistic"] == "forward_kl")
        ]
        values = entry.set_index("states")["value"]
        assert math.isclose(values["student"], values["fixed"], rel_tol=1e-5)

    def test_decisions_give_reasons_and_evaluations_intervals(self, run):
        decisions = rows(run.path, "decisions")
        assert [d["decision"] for d in decisions if d["decision"] != "stay"] == ["advance", "advance", "advance", "end"]
        assert all(d["reason"] for d in decisions)
        evaluations = rows(run.path, "evaluations")
        assert [(e["model"], e["stage"]) for e in evaluations] == [
            ("teacher", "base"),
            ("student", "base"),
            ("student", "teacher data"),
            ("student", "on-policy"),
        ]
        for evaluation in evaluations:
            assert evaluation["normalizer"] == "spoken_digits"
            assert evaluation["n_utterances"] == 10
            for rate in (evaluation["wer"], evaluation["cer"]):
                assert rate["low"] <= rate["value"] == rate["errors"] / rate["total"] <= rate["high"]
                assert rate["errors"] == rate["substitutions"] + rate["deletions"] + rate["insertions"]

    def test_what_was_written_in_an_evaluation_is_kept_with_its_errors(self, run):
        for row in rows(run.path, "evaluations"):
            written = pd.read_parquet(run.path / row["transcripts"])
            for unit, rate in (("words", "wer"), ("characters", "cer")):
                assert written[f"{unit}.errors"].sum() == row[rate]["errors"]
                assert written[f"{unit}.total"].sum() == row[rate]["total"]
            one = written.iloc[0]
            measured = jiwer.process_words(*(normalizer("spoken_digits").apply(one[c]) for c in ("reference", "text")))
            assert one["words.substitutions"] == measured.substitutions
            assert one["words.insertions"] == measured.insertions

    def test_teacher_transcripts_are_the_teachers_and_say_so(self, run, recipe):
        lines = [json.loads(x) for x in (run.path / "teacher-transcripts-teacher data.jsonl").read_text().splitlines()]
        assert len(lines) == 24
        assert {line["transcript"]["teacher"] for line in lines} == {recipe.teacher.model}

    def test_the_last_checkpoint_is_a_model(self, run):
        assert load_recognizer(str(run.model)).family == "qwen3_asr"

    def test_resolved_json_rebuilds_the_recipe(self, run, recipe):
        resolved = json.loads((run.path / "resolved.json").read_text())
        assert Recipe.model_validate(resolved["recipe"]) == recipe
        assert resolved["versions"]["torch"] == torch.__version__

    def test_resuming_a_finished_run_does_nothing(self, run):
        before = (run.path / "metrics.jsonl").read_bytes()
        assert resume(run.path) == run
        assert (run.path / "metrics.jsonl").read_bytes() == before

    def test_a_run_is_never_overwritten(self, run, recipe):
        with pytest.raises(RunDirectoryError, match="already holds a run"):
            train(recipe, run.path)


class _Interrupt(Observer):
    def __init__(self, at: int) -> None:
        self.at = at

    def step(self, row) -> None:
        if row["step"] == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("at", [1, 3, 6, 9, 11])
def test_an_interrupted_run_ends_as_if_it_had_not_been(run, recipe, tmp_path, at):
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "run", observer=_Interrupt(at))
    result = resume(tmp_path / "run")
    assert (result.model / "model.safetensors").read_bytes() == (run.model / "model.safetensors").read_bytes()
    for log in ("visits", "metrics", "decisions", "evaluations"):
        expected, got = rows(run.path, log), rows(result.path, log)
        for row in expected + got:
            row.pop("seconds", None)
        assert got == expected
    pd.testing.assert_frame_equal(pd.read_parquet(result.path / "probes"), pd.read_parquet(run.path / "probes"))


def test_a_gate_holds_the_next_stage_back_and_the_run_says_so(mini, tmp_path):
    mini["stages"][1]["when_exhausted"] = "stop"
    result = train(Recipe.model_validate(mini), tmp_path / "run")
    assert result.step == 8
    assert not result.aborted
    assert "gate has not advanced" in result.reason


@pytest.mark.parametrize(("level", "outcome"), [(1.0, "stopped"), (0.0, "finished")])
def test_steps_that_are_spent_open_nothing_where_a_precondition_does_not_hold(mini, tmp_path, level, outcome):
    ends = {"type": "threshold", "statistic": "end_of_text", "at_least": level, "on": "value"}
    never = {"type": "threshold", "statistic": "top1_agreement", "at_least": 1.0}
    precondition = {"type": "precondition", "conditions": [ends], "then": never}
    guard = {"type": "collapse", "limits": {"union_size": [0.0, 100.0]}}
    mini["stages"][1] |= {"gate": {"type": "any", "gates": [precondition, guard]}, "when_exhausted": "advance"}
    result = train(Recipe.model_validate(mini), tmp_path / "run")
    (left,) = [row for row in rows(result.path, "decisions") if row["gate"] == "exhausted" and row["visit"] == 1]
    assert result.outcome == outcome
    if outcome == "stopped":
        assert left["decision"] == "stop"
        assert (
            "when_exhausted advances only where preconditions hold: threshold(end_of_text) does not" in left["reason"]
        )
    else:
        assert left["decision"] == "advance"


def test_a_stage_that_is_only_guarded_is_followed_by_the_next_when_its_steps_are_spent(mini, tmp_path):
    mini["stages"][1]["gate"] = {"type": "collapse", "limits": {"union_size": [0.0, 100.0]}}
    del mini["stages"][1]["when_exhausted"]
    result = train(Recipe.model_validate(mini), tmp_path / "run")
    assert result.outcome == "finished"
    (left,) = [row for row in rows(result.path, "decisions") if row["decision"] == "advance" and row["visit"] == 1]
    assert left["gate"] == "guarded"
    assert left["reason"] == "the 4 steps of stage 'teacher data' are spent, and its gate only guards"


def test_a_recipe_that_its_run_directory_could_not_give_back_is_refused(mini, tmp_path):
    changed = Recipe.model_validate(mini).model_copy(update={"probe": None})
    message = r"the recipe was changed in Python and is not valid: .*reads probes: add a \[probe\] table"
    with pytest.raises(RecipeError, match=message):
        train(changed, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_budget_of_the_run_ends_it_whatever_the_stages_have_left(mini, tmp_path):
    result = train(variant(mini, total_steps=6), tmp_path / "run")
    assert result.step == 6
    assert "6 steps are spent in stage 'teacher data'" in result.reason
    # The learning-rate schedule of the last stage spans what the budget left it.
    assert rows(result.path, "metrics")[-1]["lr"] < 0.6e-3


@pytest.mark.parametrize("budget", [{}, {"total_steps": 12}])
def test_a_last_stage_that_is_only_guarded_finishes_when_its_steps_are_spent(mini, tmp_path, budget):
    mini["stages"][2]["gate"] = {"type": "collapse", "limits": {"union_size": [0.0, 100.0]}}
    result = train(variant(mini, **budget), tmp_path / "run")
    assert result.outcome == "finished"
    assert result.reason
    assert result.step == 12


def test_a_gate_that_is_satisfied_at_once_skips_the_stage_where_asked_to(mini, tmp_path):
    mini["stages"][1]["gate"]["at_least"] = 0.0
    mini["stages"][1]["gate_at_entry"] = True
    result = train(Recipe.model_validate(mini), tmp_path / "run")
    assert [row["stage"] for row in rows(result.path, "metrics")] == ["base"] * 4 + ["on-policy"] * 4


class TestCollapse:
    @pytest.fixture
    def collapsing(self, mini):
        limits = {"student_logprob": [0.0, None]}
        mini["stages"][2]["gate"] = {"type": "collapse", "limits": limits}
        return mini

    def test_falls_back_to_teacher_data_with_the_weights_that_entered(self, collapsing, tmp_path):
        result = train(Recipe.model_validate(collapsing), tmp_path / "run")
        decisions = [(d["decision"], d["stage"]) for d in rows(result.path, "decisions") if d["decision"] != "stay"]
        assert ("fall_back", "on-policy") in decisions
        stages = [row["stage"] for row in rows(result.path, "metrics")]
        assert stages.count("teacher data") == 8
        assert result.aborted
        assert "1 fallbacks already" in result.reason

    def test_aborts_where_there_is_nothing_to_return_to(self, collapsing, tmp_path):
        del collapsing["stages"][1]
        result = train(Recipe.model_validate(collapsing), tmp_path / "run")
        assert result.aborted
        assert "no teacher-data stage" in result.reason

    def test_an_abort_stays_aborted_on_resume(self, collapsing, tmp_path):
        collapsing["stages"][2]["gate"]["action"] = "abort"
        result = train(Recipe.model_validate(collapsing), tmp_path / "run")
        assert result.aborted
        assert resume(tmp_path / "run") == result


def test_checkpoints_are_pruned_but_stage_entries_stay(run):
    assert sorted(path.name for path in (run.path / "checkpoints").iterdir()) == [
        "step-000000",
        "step-000004",
        "step-000008",
        "step-000010",
        "step-000012",
    ]


class TestBadInput:
    def test_k_beyond_the_vocabulary(self, mini, tmp_path):
        with pytest.raises(PairError, match=r"k = 500 \(support\.k of a recipe\) is larger than the \d+ tokens"):
            train(variant(mini, support={"k": 500}), tmp_path / "run")

    def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(self, recipe, tmp_path, monkeypatch):
        original = distill.training.steps.supervised_step

        def poisoned(student, batch, clock):
            outcome = original(student, batch, clock)
            poisoned.calls += 1
            return outcome if poisoned.calls < 4 else type(outcome)(outcome.loss * torch.nan, outcome.positions)

        poisoned.calls = 0
        monkeypatch.setattr(distill.training.steps, "supervised_step", poisoned)
        with pytest.raises(TrainingError, match=r"step 3 of stage 'base': loss nan.*Lower"):
            train(recipe, tmp_path / "run")
        monkeypatch.undo()
        assert resume(tmp_path / "run").outcome == "finished"

    def test_nan_logits_are_named(self, mini, tmp_path, teacher_path):
        teacher = load_recognizer(str(teacher_path))
        with torch.no_grad():
            teacher.generator.model.language_model.norm.weight.fill_(3e38)  # finite weights, logits that overflow
        teacher.save(tmp_path / "broken")
        mini["teacher"] = {"model": str(tmp_path / "broken")}
        mini["evaluation"] = None
        with pytest.raises(
            ValueError, match=r"teacher '.*broken': NaN or infinite logits at \d+ of \d+ .*utterance 'probe-"
        ):
            train(Recipe.model_validate(mini), tmp_path / "run")

    def test_changed_data_refuses_to_resume(self, mini, tmp_path, manifests):
        copy = tmp_path / "train.jsonl"
        lines = manifests["train"].read_text().splitlines(keepends=True)
        absolute = [json.loads(line) for line in lines]
        for row in absolute:
            row["audio"] = str((manifests["train"].parent / row["audio"]).resolve())
        copy.write_text("".join(json.dumps(row) + "\n" for row in absolute))
        mini["stages"][0]["manifest"] = str(copy)
        with pytest.raises(KeyboardInterrupt):
            train(Recipe.model_validate(mini), tmp_path / "run", observer=_Interrupt(2))
        copy.write_text("".join(json.dumps(row) + "\n" for row in absolute[:-1]))
        with pytest.raises(TrainingError, match="changed since the run began: line 24 was removed"):
            resume(tmp_path / "run")


class TestObjectives:
    @pytest.mark.parametrize(
        "objective",
        [
            {"type": "divergence", "support": "teacher", "tail": True},
            {"type": "divergence", "support": "student", "divergence": "reverse_kl"},
            {"type": "divergence", "support": "vocabulary", "divergence": "jensen_shannon", "beta": 0.2},
            {"type": "policy_gradient", "estimator": "k3"},
        ],
    )
    def test_an_on_policy_stage_takes_any(self, mini, tmp_path, objective):
        on_policy = mini["stages"][2] | {"objective": objective, "steps": 2}
        on_policy["rollout"] = {"max_new_tokens": 8, "sample": objective["type"] == "policy_gradient"}
        result = train(variant(mini, stages=[on_policy], probe=None), tmp_path / "run")
        for row in rows(result.path, "metrics"):
            assert math.isfinite(row["loss"])
            assert row["gradient_norm"] > 0
            for side in ("student_mass", "teacher_mass"):
                assert 0 < row["objective"][side] <= 1 + 1e-6
            if objective.get("support") == "vocabulary":
                assert row["objective"]["student_mass"] == pytest.approx(1.0, abs=1e-5)

    @pytest.mark.parametrize("states", ["reference", "teacher"])
    def test_some_steps_are_taken_on_states_that_the_student_did_not_write(self, mini, tmp_path, states):
        manifest = mini["stages"][0]["manifest"]
        on_policy = mini["stages"][2] | {"manifest": manifest, "steps": 12}
        on_policy["off_policy"] = {"fraction": 0.5, "states": states, "transcription": {"max_new_tokens": 8}}
        on_policy["off_policy"]["filters"] = mini["stages"][1]["filters"]
        result = train(variant(mini, stages=[on_policy], probe=None), tmp_path / "run")
        taken = [row["rollouts"]["states"] for row in rows(result.path, "metrics")]
        assert set(taken) == {"student", states}

    def test_reference_states_need_text(self, mini, tmp_path):
        on_policy = mini["stages"][2] | {"off_policy": {"fraction": 0.5, "states": "reference"}}
        silent = tmp_path / "silent.jsonl"
        lines = [json.loads(line) for line in Path(on_policy["manifest"]).read_text().splitlines()]
        for line in lines:
            line.pop("text", None)
            line["audio"] = str(Path(on_policy["manifest"]).parent / line["audio"])
        silent.write_text("\n".join(map(json.dumps, lines)))
        with pytest.raises(ValueError, match=r"training on reference states .* needs it; add it"):
            train(variant(mini, stages=[on_policy | {"manifest": str(silent)}], probe=None), tmp_path / "run")


def test_an_evaluation_where_a_gate_acts_is_made_once(mini, tmp_path):
    evaluation = mini["evaluation"] | {"every": 2}
    stages = [mini["stages"][0] | {"steps": 4}, mini["stages"][1] | {"steps": 2, "when_exhausted": "stop"}]
    result = train(variant(mini, stages=stages, evaluation=evaluation), tmp_path / "run")
    made = [(row["step"], row["model"]) for row in rows(result.path, "evaluations")]
    assert len(made) == len(set(made))
    assert {step for step, model in made if model == "student"} >= {2, 4, 6}


def test_a_step_without_a_position_has_no_loss_and_moves_nothing(mini, tmp_path):
    opd = mini["stages"][2] | {"steps": 2, "mask_truncated": True, "rollout": {"max_new_tokens": 1}}
    recipe = variant(mini, stages=[opd | {"gate": None}], probe=None, evaluation=None)
    result = train(recipe, tmp_path / "run")
    paths = (result.path / "checkpoints" / f"step-{step:06d}" for step in (0, 2))
    before, after = (load_recognizer(str(path)).generator.state_dict() for path in paths)
    steps = rows(result.path, "metrics")
    assert [(row["n_positions"], row["loss"]) for row in steps] == [(0, None), (0, None)]
    assert all(torch.equal(before[name], after[name]) for name in before)
