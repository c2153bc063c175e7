"""Audio that a model was trained on, and that a run has for it as if it were new, is said."""

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from distill import read_manifest, write_manifest
from distill.recipe import Recipe
from distill.run.training_data import FILE, AudioIdentities, TrainingData, read_training_data
from distill.training import seen_in_training
from distill.training.dry_run import dry_run
from distill.training.launch import resume, train
from distill.training.seen_in_training import SeenInTrainingWarning
from distill.training.setup import prepare_run


@pytest.fixture(scope="module")
def trained(manifests, student_path, tmp_path_factory):
    """A checkpoint of ours, trained on half of the pool and on the labeled part."""
    folder = tmp_path_factory.mktemp("heard")
    half = read_manifest(manifests["pool"])[:12]
    write_manifest(folder / "half.jsonl", [replace(u, text="one") for u in half])
    stages = [
        {"type": "sft", "name": "half", "manifest": str(folder / "half.jsonl"), "steps": 1, "batch_size": 4},
        {"type": "sft", "name": "labels", "manifest": str(manifests["train"]), "steps": 1, "batch_size": 4},
    ]
    recipe = {"name": "first", "threads": 1, "student": {"model": str(student_path)}, "stages": stages}
    return train(Recipe.model_validate(recipe), folder / "run").model


def known(model) -> TrainingData:
    data = read_training_data(model)
    assert data is not None
    return data


def test_checkpoints_hold_what_their_weights_were_trained_on_so_far(trained, manifests):
    opening = trained.parent / "step-000000"
    assert [s["name"] for s in known(opening).sources[-1]["stages"]] == ["half"]
    data = known(trained)
    (source,) = data.sources
    assert (source["recipe"], [s["name"] for s in source["stages"]]) == ("first", ["half", "labels"])
    assert source["stages"][0]["manifest"] == "half.jsonl"
    assert data.count_seen(read_manifest(manifests["pool"]), AudioIdentities()) == 12
    assert data.count_seen(read_manifest(manifests["train"]), AudioIdentities()) == 24
    assert data.count_seen(read_manifest(manifests["test"]), AudioIdentities()) == 0


def test_a_pool_that_the_teacher_was_trained_on_is_said_everywhere(mini, trained, tmp_path):
    recipe = Recipe.model_validate(mini | {"teacher": {"model": str(trained)}, "total_steps": 1})
    found = {one.purpose: (one.seen, one.utterances) for one in prepare_run(recipe, device="cpu").seen_in_training}
    taught = [stage["name"] for stage in mini["stages"] if stage["type"] != "sft"]
    assert found == {f"stage {name!r}": (12, 24) for name in taught} | {"probe": (0, 8), "evaluation": (0, 10)}
    message = r"the teacher was trained on 12 of 24 utterances of stage .*pool\.jsonl.*Give audio that it has not been "
    with pytest.warns(SeenInTrainingWarning, match=message) as warned:
        train(recipe, tmp_path / "run")
    assert len(warned) == len(taught)
    rows = json.loads((tmp_path / "run" / "resolved.json").read_text())["seen_in_training"]
    assert {row["purpose"]: (row["seen"], row["utterances"]) for row in rows if row["model"] == "teacher"} == found
    rehearsed = dry_run(recipe)
    assert str(rehearsed).count("Warning: the teacher was trained on 12 of 24 utterances") == len(taught)
    assert rehearsed.to_dict()["seen_in_training"] == rows


def test_what_a_student_is_evaluated_on_is_compared_with_its_own_training(mini, trained, manifests):
    evaluation = mini["evaluation"] | {"manifest": str(manifests["train"])}
    recipe = Recipe.model_validate(mini | {"student": {"model": str(trained)}, "evaluation": evaluation})
    found = {(one.model, one.purpose): one.seen for one in prepare_run(recipe, device="cpu").seen_in_training}
    assert found == {("student", "probe"): 0, ("student", "evaluation"): 24}


def test_a_student_takes_over_what_it_started_from(trained, manifests, tmp_path):
    stage = {"type": "sft", "name": "more", "manifest": str(manifests["test"]), "steps": 2, "batch_size": 4}
    recipe = {"threads": 1, "student": {"model": str(trained)}, "stages": [stage], "name": "second"}
    recipe |= {"checkpoint": {"every": 1}}
    result = train(Recipe.model_validate(recipe), tmp_path / "run")
    data = known(result.model)
    assert [source["recipe"] for source in data.sources] == ["first", "second"]
    assert data.count_seen(read_manifest(manifests["train"]), AudioIdentities()) == 24
    assert data.count_seen(read_manifest(manifests["test"]), AudioIdentities()) == 10
    assert resume(tmp_path / "run").model == result.model


def test_models_that_say_nothing_cost_no_reading_of_audio(mini, monkeypatch):
    def read(*_):
        raise AssertionError("audio was read")

    monkeypatch.setattr(seen_in_training.AudioIdentities, "__call__", read)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert prepare_run(Recipe.model_validate(mini), device="cpu").seen_in_training == ()


def test_a_damaged_record_is_an_error_before_the_run(mini, trained, tmp_path):
    teacher = shutil.copytree(trained, tmp_path / "teacher")
    (teacher / FILE).write_text("{")
    with pytest.raises(ValueError, match=rf"teacher/{FILE}: cannot be read"):
        train(Recipe.model_validate(mini | {"teacher": {"model": str(teacher)}}), tmp_path / "run")
    assert not Path(tmp_path / "run").exists()


def test_prompts_are_not_recorded_and_nothing_is_said_of_them(texts, tmp_path):
    model = train(Recipe.model_validate(texts | {"total_steps": 1}), tmp_path / "run").model
    assert known(model).audio == {}
    again = texts | {"teacher": {"model": str(model)}}
    assert prepare_run(Recipe.model_validate(again), device="cpu").seen_in_training == ()
