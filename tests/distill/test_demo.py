"""The embedded demo: its teacher is as good as the README says, and its recipe runs from the package alone."""

import json
import re
from pathlib import Path

import pytest

from distill import load_recipe, read_manifest, train
from distill.cli import training
from distill.data.audio import AudioCache
from distill.data.batch import AudioSource
from distill.demo.error_rates import compare, count, written
from distill.evaluation.evaluation import evaluate
from distill.models import load_recognizer
from distill.recipe import Decoding
from distill.recipe.paths import packaged
from distill.recipe.without_effect import RecipeWarning
from distill.run.training_data import AudioIdentities, read_training_data
from distill.training.setup import prepare_run

README = Path(__file__).parents[2] / "distill" / "README.md"


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_error_rates_of_the_shipped_models_are_what_the_readme_says(name):
    statement = rf"{name}'s WER on `test.jsonl` is\s+(\S+) % \[(\S+), (\S+)\] \((\d+)/(\d+) words"
    stated = re.search(statement, README.read_text(encoding="utf-8"))
    assert stated, f"distill/README.md no longer states the {name}'s WER"
    value, low, high, errors, total = map(float, stated.groups())
    score = evaluate(
        load_recognizer(str(packaged(name))),
        AudioSource(AudioCache()),
        read_manifest(packaged("corpus/test.jsonl")),
        normalizer="spoken_digits",
        decoding=Decoding(max_new_tokens=48),
        batch_size=40,
    ).score
    assert score.wer.total == total
    # Other processors round differently: a word or three may fall the other way.
    assert abs(score.wer.errors - errors) <= 3
    assert 100 * score.wer.value == pytest.approx(value, abs=0.6)
    assert (score.over, score.n_over) == ("speakers", 40)
    assert (100 * score.wer.low, 100 * score.wer.high) == pytest.approx((low, high), abs=0.8)


def test_the_demo_stays_small():
    weights = [packaged(name) / "model.safetensors" for name in ("teacher", "student")]
    assert sum(path.stat().st_size for path in weights) <= 6_000_000
    files = [path for path in packaged("").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert sum(path.stat().st_size for path in files) <= 12_000_000


@pytest.mark.parametrize("name", ["demo", "demo_matched"])
def test_the_recipe_runs_from_the_package_alone(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes = ["total_steps=3", "stages.0.steps=1", "probe.max_utterances=50"]
    with pytest.warns(RecipeWarning, match=r"stages\.0\.warmup_steps = 50: the stage has 1"):
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


def test_the_teacher_errs_alike_on_the_pool_and_the_test_set_neither_of_which_it_heard():
    """A fixed third of the pool, every third utterance of each speaker, and the whole test set."""
    pool = read_manifest(packaged("corpus/pool_references.jsonl"))
    n_speakers = len({one.extra["speaker"] for one in pool})
    third = [one for i, one in enumerate(pool) if i // n_speakers % 3 == 0]  # speakers take turns
    assert len({one.extra["speaker"] for one in third}) == n_speakers
    teacher = str(packaged("teacher"))
    found = compare(count(teacher, third), count(teacher, read_manifest(packaged("corpus/test.jsonl"))))
    assert found.agree, str(found)
    assert found.difference.high - found.difference.low < 0.1, "too few words to tell"
    shipped = written()
    assert shipped.agree, str(shipped)
    # On the test set they are counts of the same transcripts; on the pool one is of a third of the other.
    assert found.test.value == pytest.approx(shipped.test.value, abs=0.005)
    assert found.pool.low < shipped.pool.value < found.pool.high
    pool_words = sum(len((one.text or "").split()) for one in pool)
    assert (shipped.words, shipped.speakers) == ((pool_words, found.words[1]), (n_speakers, found.speakers[1]))


@pytest.mark.parametrize(("name", "said"), [("demo", True), ("demo_matched", True), ("demo_student", False)])
def test_a_demo_ends_with_its_teacher_s_error_rates(name, said, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, "_train", lambda *_: 0)
    assert training.demo(output=tmp_path / "run", recipe=name) == 0
    assert (str(written()) in capsys.readouterr().out) is said


def test_differences_of_error_rates_are_over_speakers_and_told_as_such():
    alike = {f"v{i}": (2 + i % 2, 20) for i in range(20)}
    known = {f"p{i}": (int(i == 0), 20) for i in range(20)}
    assert compare(alike, {f"w{name}": counts for name, counts in alike.items()}).agree
    found = compare(known, alike)
    assert (found.pool.value, found.test.value) == (pytest.approx(1 / 400), pytest.approx(50 / 400))
    assert found.difference.value == pytest.approx(-49 / 400)
    assert not found.agree
    assert "which differ: difference -12.2 %" in str(found)
    # All errors of one speaker of twenty leave the rate open, as independent words would not.
    one_speaker = compare({f"p{i}": (20 * (i == 0), 20) for i in range(20)}, alike).pool
    assert one_speaker.value == pytest.approx(0.05)
    assert one_speaker.high > 0.15


@pytest.mark.parametrize("name", ["demo", "demo_matched"])
def test_the_demo_s_models_have_heard_none_of_its_data(name):
    recipe = load_recipe(name)
    found = prepare_run(recipe, device="cpu").seen_in_training
    assert {(one.model, one.purpose) for one in found} >= {("teacher", "evaluation"), ("student", "evaluation")}
    assert [one.seen for one in found] == [0] * len(found)
    base = read_manifest(recipe.stages[0].manifest)
    for model in ("teacher", "student"):
        known = read_training_data(packaged(model))
        assert known is not None
        assert known.count_seen(base, AudioIdentities()) == 0
        assert sum(map(len, known.audio.values())) == {"teacher": 4800, "student": 2400}[model]
