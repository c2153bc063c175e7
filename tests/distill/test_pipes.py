"""How commands end whose output nobody reads, in processes of their own: with code 141, whoever prints."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from distill.run.run_directory import RunDirectory


def ended(words, cwd, *, closed: str) -> tuple[int, str]:
    """Exit code, and what was said on the other stream, of a command one of whose streams nobody reads."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-m", "distill.cli", *words]
    process = subprocess.Popen(command, text=True, cwd=cwd, env=environment, **pipes)
    assert process.stdout is not None
    assert process.stderr is not None
    gone, other = (process.stdout, process.stderr) if closed == "stdout" else (process.stderr, process.stdout)
    gone.close()
    said = other.read()
    other.close()
    return process.wait(), said


@pytest.mark.parametrize(
    "words", [("--help",), ("train", "--help"), ("--version",), (), ("recipes",), ("watch", "run", "--once")]
)
def test_nobody_reads_the_output(words, tmp_path):
    stage = {"name": "base", "type": "sft", "manifest": "train.jsonl", "steps": 10}
    RunDirectory.create(
        tmp_path / "run", {"recipe": {"name": "r", "stages": [stage], "support": {"k": 4, "temperature": 1.0}}}
    )
    assert ended(words, tmp_path, closed="stdout") == (141, "")


def test_an_error_that_nobody_reads_is_still_one(tmp_path):
    assert ended(("train", "gone.toml", "--output", "run"), tmp_path, closed="stderr") == (1, "")
