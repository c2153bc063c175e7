"""Who sees progress where: terminal, notebook, log file, and only the first of several processes."""

import io
import re
import subprocess
import sys
import warnings

import pytest
from rich.console import Console

from distill import resume, train
from distill.process_rank import warn_in_first_process_only
from distill.progress.bars import NotebookProgress, TerminalProgress
from distill.progress.display import display
from distill.progress.log_lines import PAUSE_SECONDS, LogProgress
from distill.progress.observer import Observer
from distill.recipe import Recipe
from distill.training.dry_run import dry_run
from tests.distill.progress.test_bars import DECISION, EVALUATION, probe_rows
from tests.distill.training.test_trainer import _Interrupt

LONG = "because " * 60


def told(tell):
    """Lines of a log after a run that told its display something, which may let seconds pass."""
    now, file = [0.0], io.StringIO()
    tell(LogProgress(file, lambda: now[0]), lambda passed: now.__setitem__(0, now[0] + passed))
    return file.getvalue().splitlines()


def test_a_log_carries_loss_and_readings_in_whole_lines():
    def tell(progress, _):
        progress.stage("teacher data", "td", 100, 1100)
        progress.step(
            {"step": 101, "stage": "teacher data", "stage_step": 1, "loss": 1.25, "lr": 2e-4, "seconds": {"a": 0.5}}
        )
        progress.probe(probe_rows("student", "fixed"))
        progress.decision(DECISION | {"decision": "stay", "reason": LONG})
        progress.evaluation(EVALUATION)

    lines = told(tell)
    assert lines[:3] == [
        "step 100 · teacher data (td) · begins, at most 1,100 steps",
        "step 101 · teacher data · 1/1,100 · loss 1.2500 · lr 0.0002 · 0.50 s",
        "step 250 · teacher data · probe on states 'student': VUSS 53.1 52.4–54.2, |I| 10.9 9.8–11.6, "
        "top-1 0.75 0.72–0.78, TV 0.28 0.26–0.30 (12,345 positions, 1,000 utterances)",
    ]
    assert lines[4] == f"step 250 · teacher data · stay: {LONG}"
    assert "WER 12.30 % [10.00, 15.00]" in lines[5]
    assert len(lines) == 6


def test_steps_and_work_are_told_first_last_and_once_in_a_while():
    def tell(progress, wait):
        progress.stage("words", "sft", 0, 100)
        for step in range(1, 101):
            progress.step({"step": step, "stage": "words", "stage_step": step, "loss": 1.0, "lr": 1.0, "seconds": {}})
            wait(PAUSE_SECONDS / 10)
        for done in range(0, 9):
            progress.work("teacher transcripts", done, 8)

    lines = told(tell)
    steps = [int(line.split()[1]) for line in lines[1:] if line.startswith("step")]
    assert steps == [*range(1, 100, 10), 100]
    assert [line for line in lines if "transcripts" in line] == [
        "teacher transcripts · 1/8",
        "teacher transcripts · 8/8",
    ]


def test_an_undefined_loss_is_said():
    lines = told(
        lambda progress, _: progress.step(
            {"step": 1, "stage": "s", "stage_step": 1, "loss": float("nan"), "lr": 1.0, "seconds": {}}
        )
    )
    assert "loss nan" in lines[0]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ({"force_jupyter": True}, NotebookProgress),
        ({"force_terminal": True, "force_jupyter": False}, TerminalProgress),
        ({"force_terminal": False, "force_jupyter": False}, LogProgress),
    ],
)
def test_each_place_has_its_display(kind, expected, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr("distill.progress.display.Console", lambda **_: Console(file=io.StringIO(), **kind))
    with display() as shown:
        assert type(shown) is expected
    with display(quiet=True) as shown:
        assert type(shown) is Observer
    monkeypatch.setenv("RANK", "1")
    with display() as shown:
        assert type(shown) is Observer


def test_python_shows_progress_unless_told_not_to(texts, tmp_path, capsys):
    stages = [stage | {"steps": 2} for stage in texts["stages"]]
    recipe = Recipe.model_validate(texts | {"stages": stages, "checkpoint": {"every": 1}})
    train(recipe, tmp_path / "shown")
    out, err = capsys.readouterr()
    assert out == ""
    assert "step 0 · base (sft) · begins, at most 2 steps" in err
    assert re.search(r"step 2 · base · 2/2 · loss \d+\.\d+ · lr ", err)
    assert "step 6 · on-policy · end: finished" in err
    train(recipe, tmp_path / "quiet", quiet=True)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "cut", observer=_Interrupt(3))
    assert capsys.readouterr() == ("", "")
    resume(tmp_path / "cut")
    assert "step 6 · on-policy · end: finished" in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "cut again", observer=_Interrupt(3))
    resume(tmp_path / "cut again", quiet=True)
    dry_run(recipe)
    assert capsys.readouterr() == ("", "")


def test_a_notebook_shows_work_and_closes_its_bars(capsys):
    progress = NotebookProgress()
    progress.work("teacher transcripts", 0, 8)
    progress.work("teacher transcripts", 4, 8)
    progress.close()
    progress.work("evaluating student", 8, 8)
    err = capsys.readouterr().err
    assert re.search(r"teacher transcripts:\s+0%.*0/8", err)
    assert "evaluating" not in err


def test_warnings_come_from_the_first_process_alone(monkeypatch, recwarn):
    from transformers.utils import logging

    before = logging.get_verbosity()
    monkeypatch.setenv("RANK", "0")
    with warn_in_first_process_only(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("said", UserWarning, stacklevel=1)
    assert len(caught) == 1
    monkeypatch.setenv("RANK", "1")
    with warn_in_first_process_only():
        assert logging.get_verbosity() == logging.ERROR
        warnings.warn("not said again", UserWarning, stacklevel=1)
    assert logging.get_verbosity() == before
    assert not recwarn.list


@pytest.mark.timeout(400)
def test_two_processes_speak_with_one_voice(texts, tmp_path):
    stages = [texts["stages"][0] | {"steps": 2}]
    (tmp_path / "recipe.json").write_text(Recipe.model_validate(texts | {"stages": stages}).model_dump_json())
    (tmp_path / "script.py").write_text(
        "import sys, warnings\n"
        "from pathlib import Path\n"
        "import distill\n"
        "from distill.data import audio\n"
        "from distill.training import launch\n"
        "prepare = launch.prepare_run\n"
        "def warned(*given, **named):\n"
        "    warnings.warn('something odd')\n"
        "    return prepare(*given, **named)\n"
        "launch.prepare_run = warned\n"
        "distill.train(distill.Recipe.model_validate_json(Path(sys.argv[1]).read_text()), sys.argv[2], check=False)\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [tmp_path / "script.py", tmp_path / "recipe.json", tmp_path / "run"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("step 0 · base (sft) · begins") == 1
    assert done.stderr.count("step 2 · base · end: finished") == 1
    assert done.stderr.count("UserWarning: something odd") == 1
