"""The embedded demo: its teacher is as good as the README says, and its recipe runs from the package alone."""

import json
import re
from pathlib import Path

import pytest

from distill import load_recipe, read_manifest, train
from distill.data.audio import AudioCache
from distill.data.batch import AudioSource
from distill.evaluation.evaluation import evaluate
from distill.models import load_recogniser
from distill.recipe import Decoding
from distill.recipe.paths import packaged

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_error_rates_of_the_shipped_models_are_what_the_readme_says(name):
    statement = rf"{name}'s WER on `test.jsonl` is\s+(\S+) % \[(\S+), (\S+)\] \((\d+)/(\d+) words"
    stated = re.search(statement, README.read_text(encoding="utf-8"))
    assert stated, f"README.md no longer states the {name}'s WER"
    value, low, high, errors, total = map(float, stated.groups())
    score = evaluate(
        load_recogniser(str(packaged(name))),
        AudioSource(AudioCache()),
        read_manifest(packaged("corpus/test.jsonl")),
        normaliser="spoken_digits",
        decoding=Decoding(max_new_tokens=48),
        batch_size=40,
    ).score
    assert score.wer.total == total
    # Other processors round differently: a word or three may fall the other way.
    assert abs(score.wer.errors - errors) <= 3
    assert 100 * score.wer.value == pytest.approx(value, abs=0.6)
    assert low < 100 * score.wer.value < high


def test_weights_and_corpus_stay_small():
    weights = [packaged(name) / "model.safetensors" for name in ("teacher", "student")]
    assert sum(path.stat().st_size for path in weights) <= 6_000_000
    assert sum(path.stat().st_size for path in packaged("corpus").rglob("*") if path.is_file()) <= 12_000_000


@pytest.mark.parametrize("name", ["demo", "demo_matched"])
def test_the_recipe_runs_from_the_package_alone(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes = ["total_steps=3", "stages.0.steps=1", "probe.max_utterances=8"]
    recipe = load_recipe(name, changes).model_copy(update={"evaluation": None})
    pool = tmp_path / "pool.jsonl"
    rows = [json.loads(line) for line in packaged("corpus/pool.jsonl").read_text().splitlines()[:16]]
    for row in rows:
        row["audio"] = str(packaged("corpus") / row["audio"])
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows))
    short = (recipe.stages[0], *(stage.model_copy(update={"manifest": str(pool)}) for stage in recipe.stages[1:]))
    result = train(recipe.model_copy(update={"stages": short}), "run")
    assert result.step == 3
    lines = Path("run/teacher-transcripts-teacher data.jsonl").read_text().splitlines()
    assert all(re.fullmatch("[a-z ]+", json.loads(line)["text"]) for line in lines)
