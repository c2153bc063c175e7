"""Settings under which a run breaks down, or its data vanishes, are refused before models are loaded."""

import json
from pathlib import Path

import pytest

from distill import ManifestError, train
from distill.recipe import Recipe, RecipeError, load_recipe
from distill.training.setup import prepare_run
from overlap.estimates.sequences import repetition
from tests.distill.test_pointless_recipes import recipe

__all__ = ["recipe"]


@pytest.mark.parametrize("value", ["1e10", "1.01"])
def test_a_learning_rate_that_no_weight_survives(recipe, value):
    with pytest.raises(RecipeError, match=r"stages\.0\.lr: must be at most 1, not "):
        load_recipe(recipe, [f"stages.0.lr={value}"])


def test_a_decay_that_turns_weights_over(recipe):
    with pytest.raises(
        RecipeError, match=r"stages\.1: weight_decay = 1e\+09 with lr = 1e-05: each step subtracts 10000 times"
    ):
        load_recipe(recipe, ["stages.1.weight_decay=1e9"])
    with pytest.raises(
        RecipeError, match=r"stages\.0: weight_decay = 11 with lr = 0\.1: each step subtracts 1\.1 times"
    ):
        load_recipe(recipe, ["stages.0.weight_decay=11", "stages.0.lr=0.1"])
    assert load_recipe(recipe, ["stages.0.weight_decay=10", "stages.0.lr=0.1"]).stages[0].weight_decay == 10


@pytest.mark.parametrize("value", [0.01, 0.99])
def test_a_compression_that_sentences_without_loops_have(mini, value):
    assert repetition("the bird that sang in the morning has flown away over the quiet sea") > 0.99
    mini["stages"][1]["filters"] = {"max_compression": value}
    with pytest.raises(ValueError, match="max_compression"):
        Recipe.model_validate(mini)


class TestOneProbedUtteranceIsLeft:
    """Of two, one cannot be used, which is found in the file, or by the models."""

    @pytest.fixture(params=[{"audio": "/nowhere.wav"}, {"language": "Klingon"}])
    def dropping(self, request, mini, tmp_path):
        probe = Path(mini["probe"]["manifest"])
        good, bad = (json.loads(line) for line in probe.read_text().splitlines()[:2])
        rows = [row | {"audio": str(probe.parent / row["audio"])} for row in (good, bad)]
        rows[1] |= request.param
        (tmp_path / "probe.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        mini["probe"]["manifest"] = str(tmp_path / "probe.jsonl")
        mini["audio"] = {"unusable": "drop"}
        return mini

    def test_it_is_refused_where_a_gate_needs_intervals(self, dropping, tmp_path):
        words = r"probe\.jsonl has one utterance left, 1 could not be used: stages\.1\.gate needs intervals"
        with pytest.raises(ManifestError, match=words):
            train(Recipe.model_validate(dropping), tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_it_is_taken_where_gates_do_not(self, dropping):
        dropping["stages"][1]["gate"]["on"] = "value"
        assert len(prepare_run(Recipe.model_validate(dropping), device="cpu").probe) == 1
