"""What a run measured on a set that then changed is not held against what it measures on the set as it is now."""

import json

import pytest

from distill import Observer, TrainingError, read_manifest, resume, train, write_manifest
from distill.recipe import Recipe
from distill.run import checkpoint
from distill.run.checkpoint import TrainingState
from distill.training.reset_measurements import reset_state
from distill.training.trainer import Trainer

BEST = {"step": 0, "stage": "base", "set": "dev", "rate": "wer", "value": 0.4}


class Stops(Observer):
    def __init__(self, at: int | None = None) -> None:
        self.at, self.steps, self.said = at, 0, []

    def step(self, row):
        self.steps += 1
        if self.steps == self.at:
            raise KeyboardInterrupt

    def notice(self, text):
        self.said.append(text)


@pytest.fixture
def interrupted(manifests, student_path, teacher_path, tmp_path):
    """A run with its best weights of step 0, by an evaluation set whose first line no other set shares."""
    utterances = read_manifest(manifests["test"])[:3]
    write_manifest(tmp_path / "dev.jsonl", utterances)
    gate = {"type": "plateau", "statistic": "own.dev.error_rate", "mode": "min", "patience": 9}
    stage = {"type": "sft", "name": "base", "manifest": str(manifests["train"]), "batch_size": 4, "lr": 1e-3}
    recipe = {
        "threads": 1,
        "student": {"model": str(student_path)},
        "teacher": {"model": str(teacher_path)},
        "support": {"k": 4},
        "probe": {"manifest": str(manifests["probe"]), "every": 2, "states": ["student"], "max_utterances": 2},
        "evaluation": {"name": "dev", "manifest": str(tmp_path / "dev.jsonl"), "max_new_tokens": 4},
        "checkpoint": {"every": 3, "best": "dev"},
        "stages": [stage | {"steps": 20, "gate": gate}],
        "total_steps": 6,
    }
    with pytest.raises(KeyboardInterrupt):
        train(Recipe.model_validate(recipe), tmp_path / "run", observer=Stops(at=4))
    state_of = tmp_path / "run/checkpoints/step-000003/state.json"
    state = json.loads(state_of.read_text())
    assert (state["best"]["set"], state["gate"]["state"]["best"] is not None) == ("dev", True)
    # No error rate on the set as it will be undercuts this one.
    state["best"]["value"] = -1.0
    state_of.write_text(json.dumps(state))
    write_manifest(tmp_path / "dev.jsonl", utterances[1:])
    return tmp_path / "run", state["best"]["step"]


def test_the_best_weights_on_another_set_are_set_aside_and_kept(interrupted):
    run, step = interrupted
    seen = Stops()
    result = resume(run, accept_changed_data=True, observer=seen)
    assert result.best is not None
    assert result.best.value >= 0
    assert result.best.step > 3
    assert sorted(path.name for path in (run / "best").iterdir()) == sorted(
        [f"step-{step:06d}.before-step-3", f"step-{result.best.step:06d}"]
    )
    assert any("the best model so far" in line and "its evaluation set changed" in line for line in seen.said)
    assert any("the stage's gate is reset" in line for line in seen.said)
    decisions = [json.loads(line) for line in (run / "decisions.jsonl").read_text().splitlines()]
    assert "is the first mark" in next(row["reason"] for row in decisions if row["step"] > 3)


def test_a_run_killed_right_after_the_change_was_recorded(interrupted, monkeypatch):
    run, _ = interrupted

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", killed)
        with pytest.raises(KeyboardInterrupt):
            resume(run, accept_changed_data=True, observer=Stops())
    assert all(checkpoint.load_state(path).best is None for path in checkpoint.checkpoints(run))
    state = json.loads((run / "checkpoints/step-000003/state.json").read_text())
    assert (state["gate"]["gate"], state["gate"]["state"]) == ("plateau", {"best": None, "since": 0})
    result = resume(run, observer=Stops())
    assert result.best is not None
    assert result.best.step > 3


def test_a_run_killed_while_the_change_was_recorded_asks_again(interrupted, monkeypatch):
    run, _ = interrupted

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("distill.training.resume_changed_data.write_atomically", killed)
        with pytest.raises(KeyboardInterrupt):
            resume(run, accept_changed_data=True, observer=Stops())
    with pytest.raises(TrainingError, match=r"dev\.jsonl \(evaluation\.manifest\) changed since the run began"):
        resume(run, observer=Stops())
    assert resume(run, accept_changed_data=True, observer=Stops()).outcome.startswith("finished")


READS = {
    "probe": {"type": "threshold", "statistic": "top1_agreement", "at_least": 0.5, "patience": 3},
    "fixed": {"type": "plateau", "statistic": "fixed.union_size", "mode": "min"},
    "dev": {"type": "threshold", "statistic": "own.dev.error_rate", "at_most": 0.3},
    "test": {"type": "threshold", "statistic": "own.test.error_rate", "at_most": 0.3},
    "steps": {"type": "fixed_steps", "steps": 3},
}
READS["any"] = {"type": "any", "gates": [READS["steps"], READS["probe"]]}


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("key", ["probe.manifest", "evaluation.manifest", "further_evaluations.0.manifest"])
def test_gates_forget_what_they_read_on_it_and_nothing_else(name, key, mini):
    sets = {"further_evaluations": [mini["evaluation"] | {"name": "dev"}]}
    recipe = Recipe.model_validate(mini | sets | {"stages": [mini["stages"][0] | {"gate": READS[name]}]})
    before = TrainingState(step=3, gate={"streak": 2}, best=BEST)
    after = reset_state(before, recipe, {key, "stages.0.manifest"})
    forgets = {"probe.manifest": {"probe", "fixed", "any"}, "evaluation.manifest": {"test"}}.get(key, {"dev"})
    assert (after.gate is None) == (name in forgets)
    assert (after.best is None) == (key == "further_evaluations.0.manifest")
    assert before.gate is not None
