"""Several evaluation sets in a recipe, gates that read the error rate on one, best weights beside the last."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from analysis import load, stage_table
from analysis.report.browser_rows import groups, packed
from analysis.stages.error_rates import evaluated
from distill import resume, train
from distill.cli.training import _conclude
from distill.data.manifest import read_manifest, write_manifest
from distill.evaluation.evaluation import evaluate
from distill.models import load_recognizer
from distill.progress.observer import Observer
from distill.recipe import Decoding, Recipe
from distill.run import best, checkpoint
from distill.run.best import Best
from distill.training.setup import prepare_run
from overlap.version import SCHEMA


def rows_of(run, log="evaluations"):
    return [json.loads(line) for line in (run / f"{log}.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def several(manifests, student_path, teacher_path, tmp_path_factory):
    """A recipe with three sets: `dev` is the smaller, `letters` the same as `test` under the mixed error rate."""
    folder = tmp_path_factory.mktemp("sets")
    write_manifest(folder / "dev.jsonl", read_manifest(manifests["test"])[:4])
    common = {"max_new_tokens": 6}
    return {
        "threads": 1,
        "student": {"model": str(student_path)},
        "teacher": {"model": str(teacher_path)},
        "support": {"k": 4},
        "evaluation": {"manifest": str(manifests["test"]), "normalizer": "spoken_digits", **common},
        "further_evaluations": [
            {"name": "dev", "manifest": str(folder / "dev.jsonl"), "every": 2, **common},
            {"name": "letters", "manifest": str(manifests["test"]), "normalizer": "mandarin", **common},
        ],
        "checkpoint": {"every": 3, "keep": 1, "best": "dev"},
        "stages": [
            {
                "type": "sft",
                "name": "base",
                "manifest": str(manifests["train"]),
                "steps": 6,
                "batch_size": 4,
                "lr": 1e-3,
            }
        ],
    }


class TestRecipe:
    def test_one_set_stays_a_recipe(self, several):
        one = {k: v for k, v in several.items() if k not in ("further_evaluations", "checkpoint")}
        assert [section.name for section in Recipe.model_validate(one).evaluations] == ["test"]
        assert Recipe.model_validate(one | {"evaluation": None}).evaluations == ()
        assert [section.name for section in Recipe.model_validate(several).evaluations] == ["test", "dev", "letters"]

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"evaluation": None}, "make one of these sets the main one"),
            (
                {"further_evaluations": [{"name": "Test", "manifest": "x"}], "checkpoint": {}},
                "must differ in more than capital letters",
            ),
            ({"checkpoint": {"best": "deev"}}, r'checkpoint\.best: no evaluation set is named "deev"; there are'),
            ({"evaluation": None, "further_evaluations": []}, r"checkpoint\.best: no evaluation set .* add an \[evalu"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, several, change, words):
        with pytest.raises(ValueError, match=words):
            Recipe.model_validate(several | change)

    def test_a_gate_reads_sets_that_there_are(self, several, manifests):
        def recipe(statistic):
            gate = {"type": "threshold", "statistic": statistic, "at_most": 0.3}
            probe = {"manifest": str(manifests["probe"])}
            return several | {"probe": probe, "stages": [several["stages"][0] | {"gate": gate}]}

        Recipe.model_validate(recipe("own.dev.error_rate"))
        with pytest.raises(ValueError, match=r'did you mean "own\.dev\.error_rate"'):
            Recipe.model_validate(recipe("own.devv.error_rate"))

    def test_every_set_is_checked_before_the_first_step(self, several, tmp_path, manifests):
        utterances = read_manifest(manifests["test"])
        utterances[1] = replace(utterances[1], text=None)
        write_manifest(tmp_path / "bad.jsonl", utterances)
        bad = [{"name": "dev", "manifest": str(tmp_path / "bad.jsonl")}]
        recipe = Recipe.model_validate(several | {"further_evaluations": bad})
        with pytest.raises(ValueError, match="evaluation 'dev'"):
            prepare_run(recipe, device="cpu")
        unknown = [several["further_evaluations"][0] | {"normalizer": "bassic"}]
        with pytest.raises(ValueError, match=r"further_evaluations\.0\.normalizer\n.* 'mandarin'"):
            Recipe.model_validate(several | {"further_evaluations": unknown})


@pytest.fixture(scope="module")
def run(several, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, train(Recipe.model_validate(several), folder, quiet=True)


class TestRun:
    def test_each_set_has_its_normalizer_and_its_turn(self, run):
        rows = [row for row in rows_of(run[0]) if row["model"] == "student"]
        steps = {name: [row["step"] for row in rows if row["set"] == name] for name in ("test", "dev", "letters")}
        assert steps == {"test": [0, 6], "dev": [0, 2, 4, 6], "letters": [0, 6]}
        assert {row["set"]: row["normalizer"] for row in rows} == {
            "test": "spoken_digits",
            "dev": "basic",
            "letters": "mandarin",
        }
        assert {row["set"] for row in rows if "mer" in row} == {"letters"}

    def test_the_best_weights_are_kept_and_named(self, run, several, capsys):
        folder, result = run
        rows = [row for row in rows_of(folder) if (row["model"], row["set"]) == ("student", "dev")]
        least = min(rows, key=lambda row: (row["wer"]["value"], row["step"]))
        assert result.best == Best(least["step"], "base", "dev", "wer", least["wer"]["value"])
        [kept] = (folder / "best").iterdir()
        assert kept == result.best_model == folder / "best" / f"step-{least['step']:06d}"
        assert json.loads((kept / "best.json").read_text())["step"] == least["step"]
        section = several["further_evaluations"][0]
        recipe = Recipe.model_validate(several)
        setup = prepare_run(recipe, device="cpu")
        again = evaluate(
            load_recognizer(str(kept)),
            setup.source,
            setup.evaluations[1],
            normalizer="basic",
            decoding=Decoding(max_new_tokens=section["max_new_tokens"]),
        )
        assert again.score.wer.value == least["wer"]["value"]
        _conclude(result)
        assert f"best model: {kept} (step {least['step']}, WER " in capsys.readouterr().out

    def test_tables_show_the_main_set(self, run):
        read = load(run[0])
        assert read.main_set == "test"
        assert read.error_rate == "wer"
        assert set(evaluated(read)["set"]) == {"test"}
        assert set(evaluated(read, all_sets=True)["set"]) == {"test", "dev", "letters"}
        assert "set 'test'" in stage_table(read).to_text()

    def test_the_browser_shows_every_set_under_its_own_rate(self, run):
        read = load(run[0])
        shown = {group.what: group for group in groups(read) if group.step == 6}
        assert {"test/student", "dev/student", "letters/student"} <= set(shown)
        assert shown["letters/student"].errors.startswith("tokens, normalizer mandarin")
        assert shown["test/student"].errors.startswith("words, normalizer spoken_digits")
        for name in ("test", "letters"):
            assert all(row["err"] for row in packed(read, shown[f"{name}/student"], candidates=1)["rows"])


class Stop(Observer):
    """Ends a run after some step."""

    def __init__(self, at):
        self.at = at

    def step(self, row):
        if row["step"] == self.at:
            raise KeyboardInterrupt


class TestResumption:
    @pytest.mark.parametrize("at", [3, 5])
    def test_the_same_best_as_without_an_interruption(self, run, several, tmp_path, at):
        folder = tmp_path / "run"
        with pytest.raises(KeyboardInterrupt):
            train(Recipe.model_validate(several), folder, observer=Stop(at))
        result = resume(folder, quiet=True)
        assert result.best == run[1].best
        [kept] = (folder / "best").iterdir()
        assert kept.name == run[1].best_model.name
        ours, theirs = (load_recognizer(str(path)).generator.state_dict() for path in (kept, run[1].best_model))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        names = ("step", "set", "model", "wer")
        one, other = ([[row.get(n) for n in names] for row in rows_of(path)] for path in (folder, run[0]))
        assert one == other

    def test_a_run_that_has_ended_still_says_which(self, run):
        assert resume(run[0], quiet=True).best == run[1].best


class TestPruning:
    def made(self, run, steps, known):
        for step in steps:
            folder = best.directory(run, Best(step, "base", "dev", "wer", 0.5))
            folder.mkdir(parents=True)
            (folder / "best.json").write_text("{}")
        for step, of in known.items():
            path = checkpoint.directory(run, step)
            path.mkdir(parents=True)
            state = checkpoint.TrainingState(
                step=step, best=None if of is None else vars(Best(of, "b", "d", "wer", 0.5))
            )
            (path / "state.json").write_text(json.dumps({"schema": SCHEMA} | vars(state)))

    def left(self, run):
        return sorted(path.name for path in (run / "best").iterdir())

    def test_what_a_checkpoint_knows_stays(self, tmp_path):
        self.made(tmp_path, [2, 4, 6], {3: 2, 5: 4})
        best.prune(tmp_path)
        assert self.left(tmp_path) == ["step-000002", "step-000004"]

    def test_what_is_not_ours_stays(self, tmp_path):
        self.made(tmp_path, [2], {3: None})
        (tmp_path / "best" / "step-mine").mkdir()
        (tmp_path / "best" / "notes").mkdir()
        best.prune(tmp_path)
        assert self.left(tmp_path) == ["notes", "step-mine"]

    def test_where_a_checkpoint_is_damaged_everything_stays(self, tmp_path):
        self.made(tmp_path, [2, 4], {3: 2, 5: 4})
        (checkpoint.directory(tmp_path, 3) / "state.json").write_text("{")
        best.prune(tmp_path)
        assert self.left(tmp_path) == ["step-000002", "step-000004"]

    def test_a_run_without_best_weights(self, tmp_path):
        self.made(tmp_path, [], {3: None})
        best.prune(tmp_path)
        assert not (tmp_path / "best").exists()

    def test_states_of_before_are_read(self, tmp_path):
        self.made(tmp_path, [], {3: None})
        file = checkpoint.directory(tmp_path, 3) / "state.json"
        tree = json.loads(file.read_text())
        del tree["best"]
        file.write_text(json.dumps(tree))
        assert best.best_of(checkpoint.load_state(file.parent)) is None


@pytest.mark.parametrize(
    ("value", "than", "taken"),
    [
        (0.3, None, True),
        (0.3, 0.4, True),
        (0.4, 0.4, False),
        (0.5, 0.4, False),
        (None, None, False),
        (None, 0.4, False),
    ],
)
def test_which_is_better(value, than, taken):
    row = {"step": 5, "stage": "s", "set": "dev", "mer": {"value": value}}
    earlier = None if than is None else Best(2, "s", "dev", "mer", than)
    assert (best.new_best(row, earlier) is not None) == taken


def test_a_gate_opens_on_the_error_rate_of_a_set(several, manifests, tmp_path):
    gate = {"type": "threshold", "statistic": "own.dev.error_rate", "at_least": 0.01, "on": "value"}
    probe = {"manifest": str(manifests["probe"]), "every": 2, "states": ["student"], "trace_utterances": 0}
    stage = several["stages"][0] | {"gate": gate}
    recipe = several | {"probe": probe, "stages": [stage], "checkpoint": {}}
    result = train(Recipe.model_validate(recipe), tmp_path / "run", quiet=True)
    assert (result.step, result.best) == (2, None)
    decision = [row for row in rows_of(tmp_path / "run", "decisions") if row["decision"] == "advance"][-1]
    assert "own.dev.error_rate" in decision["reason"]
    at = [
        (row["step"], row["set"]) for row in rows_of(tmp_path / "run") if row["model"] == "student" and row["step"] == 2
    ]
    assert sorted(at) == [(2, "dev"), (2, "letters"), (2, "test")]  # each once, though the gate has read one
    shutil.rmtree(tmp_path / "run")


def test_a_resumed_run_evaluates_nothing_twice(several, manifests, tmp_path):
    """Its gate reads at the first step, which was evaluated before the first checkpoint."""
    gate = {"type": "threshold", "statistic": "own.dev.error_rate", "at_most": 0.0}
    probe = {"manifest": str(manifests["probe"]), "every": 2, "states": ["student"], "trace_utterances": 0}
    stage = several["stages"][0] | {"gate": gate, "steps": 2}
    recipe = several | {"probe": probe, "stages": [stage], "checkpoint": {}}

    class Interrupt(Observer):
        def step(self, row):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(Recipe.model_validate(recipe), tmp_path / "run", observer=Interrupt())
    resume(tmp_path / "run", quiet=True)
    at = [(row["step"], row["set"], row["model"]) for row in rows_of(tmp_path / "run")]
    assert len(at) == len(set(at)) == 9
    assert len(load(tmp_path / "run").evaluations) == 9
    shutil.rmtree(tmp_path / "run")
