"""How commands end before their end: signals, readers that leave, a full disk; what is said, and the exit code."""

import os
import signal
import subprocess
import sys

import pytest

from analysis.watching import run_state
from distill.progress.log_lines import LogProgress
from distill.run.run_directory import occupied
from distill.teacher_data import job
from tests.distill.small_models import save_qwen3
from tests.distill.test_cli import as_toml, run

SIGNALS = {signal.SIGINT: ("interrupted", 130), signal.SIGTERM: ("interrupted by signal 15", 143)}
if hasattr(signal, "SIGHUP"):
    SIGNALS[signal.SIGHUP] = ("interrupted by signal 1", 129)


@pytest.fixture
def toml(text_manifests, tmp_path):
    """Four supervised steps of a text model, with a checkpoint at each."""
    stage = {"type": "sft", "name": "base", "manifest": str(text_manifests["train"]), "steps": 4, "batch_size": 2}
    recipe = {"threads": 1, "student": {"model": str(save_qwen3(tmp_path / "student"))}, "checkpoint": {"every": 1}}
    (tmp_path / "recipe.toml").write_text(as_toml(recipe | {"stages": [stage]}))
    return tmp_path / "recipe.toml"


@pytest.fixture(autouse=True)
def usual_signals():
    """As a shell leaves them; whoever starts the tests in the background has some ignored, and a program heeds that."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def at_step(monkeypatch, step, do):
    """Do something in the middle of a run that the command line started."""
    original = LogProgress.step

    def hear(self, row):
        original(self, row)
        if row["step"] == step:
            do()

    monkeypatch.setattr(LogProgress, "step", hear)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_says_how_to_go_on_and_the_run_says_that_it_was_interrupted(
    toml, tmp_path, monkeypatch, capsys, number
):
    words, code = SIGNALS[number]
    path, handlers = tmp_path / "a run", {one: signal.getsignal(one) for one in SIGNALS}
    at_step(monkeypatch, 3, lambda: os.kill(os.getpid(), number))
    ended, out, err = run("train", toml, "--output", path, capsys=capsys)
    assert ended == code
    assert out == ""
    hint = f"Everything up to step-000002 is saved; continue from there with `distill resume '{path}'`"
    assert err.splitlines()[-2:] == [words, hint]
    assert {one: signal.getsignal(one) for one in SIGNALS} == handlers
    state = run_state(path)
    assert (state.outcome, state.interrupted) == (None, words)
    code, out, _ = run("watch", path, capsys=capsys)
    assert code == 0
    assert f"NOT RUNNING: {words}, " in out
    assert "running, last written" not in out
    monkeypatch.undo()
    code, out, _ = run("resume", path, capsys=capsys)
    assert code == 0
    assert "finished" in out
    assert run_state(path).interrupted is None


def test_ctrl_c_before_a_run_begins_has_nothing_to_resume(toml, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("distill.training.launch.prepare_run", lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))
    code, _, err = run("train", toml, "--output", tmp_path / "run", capsys=capsys)
    assert (code, err.splitlines()[-1]) == (130, "interrupted")
    assert not (tmp_path / "run").exists()


def test_ctrl_c_while_a_teacher_writes(text_manifests, tmp_path, monkeypatch, capsys):
    original, calls = job.append_batch, []

    def interrupt(path, rows):
        original(path, rows)
        calls.append(len(rows))
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(job, "append_batch", interrupt)
    arguments = ("--teacher", save_qwen3(tmp_path / "teacher"), "--manifest", text_manifests["pool"])
    arguments += ("--output", tmp_path / "out.jsonl", "--max-new-tokens", 2, "--batch-size", 4, "--unfinished", "keep")
    arguments += ("--min-logprob", "off", "--max-compression", "off", "--max-repeats", "off", "--empty", "keep")
    code, _, err = run("transcribe", *arguments, capsys=capsys)
    assert code == 130
    hint = (
        f"Finished batches are saved in {tmp_path / 'out.journal.jsonl'}; the same command again continues after them"
    )
    assert err.splitlines()[-2:] == ["interrupted", hint]
    monkeypatch.setattr(job, "append_batch", lambda path, rows: (original(path, rows), calls.append(len(rows))))
    code, _, _ = run("transcribe", *arguments, capsys=capsys)
    assert code == 0
    assert sum(calls) == 24  # none twice
    assert not list(tmp_path.glob("out.*lock"))


def test_a_second_process_is_told_who_is_at_work(toml, tmp_path, capsys):
    path = tmp_path / "run"
    assert run("train", toml, "--output", path, "--set", "total_steps=2", capsys=capsys)[0] == 0
    (path / "checkpoints" / "step-000002").rename(tmp_path / "aside")
    before = (path / "metrics.jsonl").read_bytes()
    with occupied(path):
        for command in (("resume", path), ("train", toml, "--output", path)):
            code, out, err = run(*command, capsys=capsys)
            assert (code, out) == (1, "")
            assert f"process {os.getpid()} on this machine, since " in err
            assert "is working on" in err
        for command in (("watch", path), ("compare", path), ("report", path, "-o", tmp_path / "page.md")):
            assert run(*command, capsys=capsys)[0] == 0  # whoever only reads may
    assert (path / "metrics.jsonl").read_bytes() == before


def test_a_full_disk_is_one_message(toml, tmp_path, monkeypatch, capsys):
    path = tmp_path / "run"

    def fill():
        (path / "metrics.jsonl").rename(tmp_path / "kept")
        (path / "metrics.jsonl").symlink_to("/dev/full")

    at_step(monkeypatch, 3, fill)
    code, _, err = run("train", toml, "--output", path, capsys=capsys)
    assert code == 1
    assert err.splitlines()[-2:] == [
        f"error: cannot write {path / 'metrics.jsonl'}: the disk is full; make room",
        f"Everything up to step-000003 is saved; continue from there with `distill resume {path}`",
    ]
    (path / "metrics.jsonl").unlink()
    (tmp_path / "kept").rename(path / "metrics.jsonl")
    assert (run_state(path).interrupted or "").startswith("failed: cannot write")


class TestOutput:
    """In processes of their own, since Python itself complains as it ends."""

    COMMAND = (sys.executable, "-m", "distill.cli", "recipes")

    def test_nobody_reads(self):
        process = subprocess.Popen(self.COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.close()  # as `| head` does when it has enough
        assert process.stderr is not None
        said = process.stderr.read()
        process.stderr.close()
        assert (process.wait(), said) == (141, "")

    def test_a_full_disk(self):
        with open("/dev/full", "w") as full:  # noqa: PTH123 (a device)
            done = subprocess.run(self.COMMAND, stdout=full, stderr=subprocess.PIPE, text=True)
        assert (done.returncode, done.stderr) == (1, "error: [Errno 28] No space left on device\n")
