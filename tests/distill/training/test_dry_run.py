"""A rehearsal takes every stage's steps on its longest utterances and leaves nothing behind."""

import io
import json
import re

import pytest

from distill import read_manifest
from distill.data.audio import duration
from distill.data.batch import length
from distill.progress.log_lines import LogProgress
from distill.progress.observer import Observer
from distill.recipe import Recipe
from distill.training.dry_run import STEPS, dry_run
from tests.distill.test_cli import as_toml, run


class Steps(Observer):
    def __init__(self):
        self.rows = []

    def step(self, row):
        self.rows.append(row)


def test_every_stage_takes_its_steps_on_its_longest_utterances(mini, tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    heard, recipe = Steps(), Recipe.model_validate(mini)
    found = dry_run(recipe, observer=heard)
    assert [row["stage"] for row in heard.rows] == [stage.name for stage in recipe.stages for _ in range(STEPS)]
    assert [cost.stage for cost in found.stages] == [stage.name for stage in recipe.stages]
    for cost, stage in zip(found.stages, recipe.stages, strict=True):
        assert cost.longest == max(duration(u) for u in read_manifest(stage.manifest))
        assert (cost.steps, cost.batch_size) == (stage.steps, stage.batch_size)
        assert cost.seconds == [row["seconds"] for row in heard.rows if row["stage"] == stage.name][-1]
        assert cost.peak_gib > 0.1
    assert list(folder.iterdir()) == []


def test_gates_and_filters_do_not_stand_in_the_way(mini):
    stages = [stage | ({"filters": {"min_logprob": 0.0}} if stage["type"] == "td" else {}) for stage in mini["stages"]]
    stages[0] |= {"gate": {"type": "threshold", "statistic": "top1_agreement", "at_least": 1.0}}
    said = io.StringIO()
    found = dry_run(Recipe.model_validate(mini | {"stages": stages, "total_steps": 1}), observer=LogProgress(said))
    assert len(found.stages) == 3
    assert "transcripts" in str(found)
    assert " kept" not in said.getvalue()  # what the recipe's filters keep is said once, and not what a rehearsal does


def test_a_stage_that_cannot_take_its_step_fails_here(mini, monkeypatch):
    def exhausted(*_, **__):
        raise MemoryError("no room for the optimizer's state")

    monkeypatch.setattr("distill.training.optimization.Optimization.step", exhausted)
    with pytest.raises(MemoryError, match="optimizer"):
        dry_run(Recipe.model_validate(mini))


def test_the_command_prints_costs_and_needs_no_output(mini, tmp_path, capsys):
    toml = tmp_path / "recipe.toml"
    toml.write_text(as_toml(mini))
    code, out, _ = run("train", toml, "--dry-run", "--json", capsys=capsys)
    assert code == 0
    tree = json.loads(out)
    assert [stage["kind"] for stage in tree["stages"]] == ["sft", "td", "opd"]
    assert all(stage["seconds_a_step"] == pytest.approx(sum(stage["seconds"].values())) for stage in tree["stages"])
    code, out, _ = run("train", toml, "--dry-run", capsys=capsys)
    assert code == 0
    assert "peak GiB" in out
    longest = max(duration(u) for u in read_manifest(mini["stages"][0]["manifest"]))
    assert re.search(rf"base +sft +4 +{longest:.4g} s +\d", out)
    assert {stage["unit"] for stage in tree["stages"]} == {"s"}
    code, _, err = run("train", toml, capsys=capsys)
    assert (code, "--output is missing" in err) == (1, True)


def test_json_without_a_dry_run_is_refused(mini, tmp_path, capsys):
    toml = tmp_path / "recipe.toml"
    toml.write_text(as_toml(mini))
    code, out, err = run("train", toml, "--output", tmp_path / "run", "--json", capsys=capsys)
    assert (code, out) == (1, "")
    assert "--json needs --dry-run: add that, or leave --json out" in err
    assert not (tmp_path / "run").exists()


def test_text_models_count_characters(texts):
    first = texts["stages"][0]
    found = dry_run(Recipe.model_validate(texts | {"stages": [first]})).stages[0]
    assert (found.unit, found.longest) == ("characters", max(map(length, read_manifest(first["manifest"]))))
