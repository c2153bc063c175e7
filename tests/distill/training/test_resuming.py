"""What a run goes on from: nothing begins anew in silence, nothing written is lost, and what is damaged is named."""

import errno
import json
import re
import resource
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from distill import Observer, resume, train
from distill.files import WriteError
from distill.recipe import Recipe
from distill.run import checkpoint
from distill.run.checkpoint import CheckpointError
from distill.run.process_lock import AtWorkError
from distill.run.run_directory import LOGS, RunDirectoryError, occupied
from distill.training.errors import TrainingError
from distill.training.resume_moved_data import Request, check_paths
from overlap.version import SCHEMA, __version__
from tests.distill.small_models import save_qwen3
from tests.distill.training.test_trainer import _Interrupt, rows


@pytest.fixture(scope="module")
def short(manifests, text_manifests, student_path, tmp_path_factory):
    """Six supervised steps with a checkpoint every other, and an evaluation."""
    student = save_qwen3(tmp_path_factory.mktemp("short") / "student")
    stage = {"type": "sft", "name": "base", "manifest": str(text_manifests["train"]), "steps": 6, "batch_size": 2}
    evaluation = {"manifest": str(text_manifests["test"]), "max_new_tokens": 4, "every": 2}
    return Recipe.model_validate(
        {
            "threads": 1,
            "student": {"model": str(student)},
            "evaluation": evaluation,
            "checkpoint": {"every": 2, "keep": 9},
        }
        | {"stages": [stage | {"lr": 1e-3, "warmup_steps": 3}]}
    )


@pytest.fixture(scope="module")
def cut(short, tmp_path_factory):
    """Interrupted after step 5, with checkpoints of steps 0, 2 and 4."""
    path = tmp_path_factory.mktemp("cut") / "run"
    with pytest.raises(KeyboardInterrupt):
        train(short, path, observer=_Interrupt(5))
    return path


@pytest.fixture(scope="module")
def weights(cut, tmp_path_factory):
    """Those that the run ends with when nothing was damaged."""
    copy = shutil.copytree(cut, tmp_path_factory.mktemp("whole") / "run")
    return (resume(copy).model / "model.safetensors").read_bytes()


@pytest.fixture
def run(cut, tmp_path):
    return shutil.copytree(cut, tmp_path / "run")


@pytest.fixture
def newest(run):
    return run / "checkpoints" / "step-000004"


def contents(run):
    """Everything but the mark of who works there."""
    files = (path for path in run.rglob("*") if path.is_file() and path.name not in (".lock", "process.json"))
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def refused(run, kind, match):
    before = contents(run)
    with pytest.raises(kind, match=match) as error:
        resume(run)
    assert contents(run) == before
    return str(error.value)


GO_BACK = r"Restore it from a copy, or delete .*step-000004: the run then continues from step-000002"


class TestCheckpoints:
    @pytest.mark.parametrize("name", ["optimizer.pt", "state.json"])
    def test_a_file_that_is_missing(self, run, newest, weights, name):
        (newest / name).unlink()
        refused(run, CheckpointError, rf"cannot continue from step-000004: .*{re.escape(name)} is missing.*{GO_BACK}")
        shutil.rmtree(newest)
        assert (resume(run).model / "model.safetensors").read_bytes() == weights  # the remedy works

    @pytest.mark.parametrize(
        "name", ["optimizer.pt", "state.json", "model.safetensors", "config.json", "tokenizer.json"]
    )
    def test_a_file_that_was_cut(self, run, newest, name):
        content = (newest / name).read_bytes()
        (newest / name).write_bytes(content[: len(content) // 2])
        refused(run, CheckpointError, rf"{re.escape(name)} is cut short or damaged.*{GO_BACK}")

    def test_an_optimizer_that_is_none(self, run, newest):
        torch.save([1, 2], newest / "optimizer.pt")
        refused(run, CheckpointError, rf"optimizer\.pt contains no optimizer state\. {GO_BACK}")

    def test_a_state_of_something_else(self, run, newest):
        (newest / "state.json").write_text('{"epoch": 3}')
        refused(run, CheckpointError, r"state\.json is cut short or damaged .*epoch.*")

    def test_weights_that_are_not_finite(self, run, newest):
        tensors = load_file(newest / "model.safetensors")
        next(iter(tensors.values())).fill_(torch.nan)
        save_file(tensors, newest / "model.safetensors", metadata={"format": "pt"})
        refused(run, ValueError, rf"{newest}.*NaN or infinite.*take an earlier checkpoint")

    def test_the_first_one_has_none_before_it(self, run):
        for step in (2, 4):
            shutil.rmtree(run / f"checkpoints/step-{step:06d}")
        (run / "checkpoints/step-000000/state.json").write_text("")
        refused(run, CheckpointError, "or start a new run: there is no earlier checkpoint")

    def test_all_of_them_gone(self, run, newest):
        away = shutil.move(run / "checkpoints", run.parent / "away")
        refused(
            run, RunDirectoryError, r"holds no checkpoint, but the run has 5 rows of metrics.*would be lost. Put its"
        )
        shutil.move(away, run / "checkpoints")
        assert resume(run).step == 6

    def test_a_kept_run_without_any_is_not_asked_for_its_data(self, tmp_path):
        """The run that the notebooks show: it has no checkpoints, and its data is in the package."""
        kept = shutil.copytree(Path("notebooks/runs/demo"), tmp_path / "kept")
        refused(kept, RunDirectoryError, r"checkpoints holds no checkpoint, but the run has 1200 rows of metrics")
        recipe = Recipe.model_validate(json.loads((kept / "resolved.json").read_text("utf-8"))["recipe"])
        assert recipe.stages[0].manifest.startswith("demo:")
        check_paths(recipe, recipe, Request(kept))
        missing = recipe.model_copy(
            update={"stages": (recipe.stages[0].model_copy(update={"manifest": "demo:corpus/x"}),)}
        )
        with pytest.raises(TrainingError, match=r"stages\.0\.manifest was demo:corpus/x, where nothing is now"):
            check_paths(missing, missing, Request(kept))

    def test_a_run_that_never_had_one_begins_again(self, short, tmp_path):
        class Early(Observer):
            def evaluation(self, row):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt) as error:
            train(short, tmp_path / "run", observer=Early())
        assert error.value.__notes__ == [
            f"There is no checkpoint yet; start again with `distill resume {tmp_path / 'run'}`"
        ]
        assert len(rows(tmp_path / "run", "evaluations")) == 1
        result = resume(tmp_path / "run")
        assert [row["step"] for row in rows(result.path, "evaluations")] == [0, 2, 4, 6]

    @pytest.mark.parametrize("name", ["step-000002-best", "step-final", "step-2", "best", "step-000009.bak"])
    def test_folders_of_other_names_are_left_alone(self, run, newest, weights, name):
        kept = shutil.copytree(newest, run / "checkpoints" / name)
        result = resume(run)
        assert (result.model / "model.safetensors").read_bytes() == weights
        assert kept.is_dir()
        checkpoint.prune(run, 1, set())
        assert sorted(path.name for path in (run / "checkpoints").iterdir()) == sorted(["step-000006", name])


class TestLogs:
    def test_a_probe_file_that_was_cut(self, run):
        (run / "probes" / "step-000000-visit-000.parquet").write_bytes(b"PAR1 and no end")
        refused(
            run,
            RunDirectoryError,
            r"probes/step-000000-visit-000\.parquet is cut short or damaged .*restore it from a copy, or start a new",
        )

    @pytest.mark.parametrize("log", LOGS)
    def test_a_log_that_is_missing(self, run, log):
        (run / f"{log}.jsonl").unlink()
        refused(run, RunDirectoryError, rf"{log}\.jsonl: missing; restore it from a copy, or start a new run")

    def test_a_log_that_is_a_folder(self, run):
        (run / "decisions.jsonl").unlink()
        (run / "decisions.jsonl").mkdir()
        refused(
            run, RunDirectoryError, r"decisions\.jsonl: a folder, not a file; restore it from a copy, or start a new"
        )

    def test_a_log_that_lost_rows(self, run):
        lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
        (run / "metrics.jsonl").write_bytes(b"".join(lines[:2]))
        refused(run, RunDirectoryError, r"metrics\.jsonl has 2 rows, the checkpoint recorded 4; restore it from a copy")

    def test_a_row_that_a_crash_filled_with_zeros(self, run):
        lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
        lines[2] = b"\0" * (len(lines[2]) - 1) + b"\n"
        (run / "metrics.jsonl").write_bytes(b"".join(lines))
        refused(run, RunDirectoryError, r"metrics\.jsonl:3: not a line of JSON .*restore it from a copy")

    def test_a_last_line_that_was_torn_is_dropped(self, run, weights):
        with (run / "metrics.jsonl").open("a") as file:
            file.write('{"step": 6, "lo')
        result = resume(run)
        assert [row["step"] for row in rows(result.path, "metrics")] == list(range(1, 7))
        assert (result.model / "model.safetensors").read_bytes() == weights

    @pytest.mark.parametrize("keep", [0.5, 0.0])
    def test_a_configuration_that_was_cut(self, run, keep):
        content = (run / "resolved.json").read_bytes()
        (run / "resolved.json").write_bytes(content[: int(keep * len(content))])
        refused(run, RunDirectoryError, r"resolved\.json is cut short or damaged \(not JSON.*restore it from a copy")

    @pytest.mark.parametrize(("schema", "said"), [(None, "before files had a schema version"), (9, "in schema 9")])
    def test_files_of_another_schema(self, run, newest, schema, said):
        for file in (newest / "state.json", run / "resolved.json"):
            tree = json.loads(file.read_text())
            del tree["schema"]
            file.write_text(json.dumps(tree if schema is None else tree | {"schema": schema, "novelty": 1}))
            place = newest / "state.json" if file.name == "state.json" else run
            words = f"{place}: written by support-overlap {__version__} {said}; this version reads schema {SCHEMA}"
            kind = CheckpointError if file.name == "state.json" else RunDirectoryError
            assert refused(run, kind, re.escape(words)).count("\n") == 0

    def test_a_configuration_of_another_version(self, run):
        tree = json.loads((run / "resolved.json").read_text())
        tree["recipe"]["novelty"] = 1
        stage = tree["recipe"]["stages"][0]
        stage["learning_rate"] = stage.pop("lr")
        del stage["steps"]
        (run / "resolved.json").write_text(json.dumps(tree))
        said = refused(run, RunDirectoryError, r"resolved\.json: its recipe is not valid here: .*\. Restore the file")
        for words in (
            "unknown key novelty; ",
            "unknown key stages.0.learning_rate; write stages.0.lr",
            "stages.0.steps is missing: Largest number of steps of the stage",
        ):
            assert words in said
        assert said.count("\n") == 0

    @pytest.mark.parametrize("wrong", [None, [1]])
    def test_a_configuration_without_digests_of_its_data(self, run, wrong):
        tree = json.loads((run / "resolved.json").read_text()) | {"manifest_sha256": wrong}
        (run / "resolved.json").write_text(json.dumps(tree))
        refused(run, RunDirectoryError, r"resolved\.json: its manifest_sha256 is no object; restore it from a copy")

    @pytest.mark.parametrize(
        ("content", "where"), [("[]", "Input should be"), ('{"a": [1, true]}', "a.0: "), ('{"a": [[1]]}', "a.1: ")]
    )
    def test_recorded_rollouts_that_are_none(self, run, content, where):
        (run / "fixed_rollouts.json").write_text(content)
        words = rf"fixed_rollouts\.json is cut short or damaged \({re.escape(where)}.*; restore it from a copy"
        refused(run, RunDirectoryError, words)

    def test_decisions_that_are_no_objects(self, run):
        lines = (run / "decisions.jsonl").read_text().splitlines()
        (run / "decisions.jsonl").write_text("[1]\n" * len(lines))
        refused(run, RunDirectoryError, r"decisions\.jsonl:1: not an object; restore it from a copy")


class TestOneAtATime:
    def test_a_second_resume_and_a_second_train_are_refused_before_anything(self, run, short):
        before = contents(run)
        with occupied(run):
            with pytest.raises(AtWorkError, match=rf"is working on {run}; nothing was changed"):
                resume(run)
            with pytest.raises(AtWorkError, match=rf"is working on {run}; nothing was changed"):
                train(short, run)
        assert contents(run) == before
        assert resume(run).step == 6

    def test_a_directory_that_a_process_has_only_just_made(self, short, tmp_path):
        with occupied(tmp_path / "run"), pytest.raises(AtWorkError):
            train(short, tmp_path / "run")
        assert train(short, tmp_path / "run").step == 6  # of the one that left, only its mark is there

    def test_an_ended_run_can_be_asked_for_while_another_reads_it(self, run):
        first = resume(run)
        with occupied(run):
            assert resume(run) == first


class _Until(Observer):
    """Does something once a step was taken."""

    def __init__(self, at, do):
        self.at, self.do = at, do

    def step(self, row):
        if row["step"] == self.at:
            self.do()


class TestFullDisk:
    """The operating system itself refuses: a device that is always full, and a limit on the size of files."""

    def test_a_log(self, short, tmp_path, weights):
        path = tmp_path / "run"
        saved = tmp_path / "saved"

        def fill():
            shutil.move(path / "metrics.jsonl", saved)
            (path / "metrics.jsonl").symlink_to("/dev/full")

        with pytest.raises(WriteError, match=r"cannot write .*metrics\.jsonl: the disk is full; make room") as error:
            train(short, path, observer=_Until(3, fill))
        assert error.value.__notes__ == [
            f"Everything up to step-000002 is saved; continue from there with `distill resume {path}`"
        ]
        (path / "metrics.jsonl").unlink()
        shutil.move(saved, path / "metrics.jsonl")
        assert (resume(path).model / "model.safetensors").read_bytes() == weights

    def test_a_checkpoint(self, short, tmp_path, weights):
        path, unlimited = tmp_path / "run", resource.getrlimit(resource.RLIMIT_FSIZE)

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, unlimited[1]))

        try:
            with pytest.raises(WriteError, match=r"cannot write .*checkpoints/step-000004: .*File too large"):
                train(short, path, observer=_Until(3, limit))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        assert sorted(path.name for path in (path / "checkpoints").iterdir()) == ["step-000000", "step-000002"]
        assert (resume(path).model / "model.safetensors").read_bytes() == weights

    def test_an_optimizer(self, short, tmp_path, monkeypatch):
        original = torch.save

        def full(what, file):
            original(what, file)
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(torch, "save", full)
        with pytest.raises(WriteError, match=r"step-000002: the disk is full; make room"):
            train(short, tmp_path / "run")
        assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["step-000000"]
