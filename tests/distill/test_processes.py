"""Two processes train as one: a run on two gloo ranks against the same run in one process."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from distill import train
from distill.recipe import Recipe

SCRIPT = """
import sys
from pathlib import Path
from distill import Recipe, train
train(Recipe.model_validate_json(Path(sys.argv[1]).read_text()), sys.argv[2])
"""


@pytest.mark.timeout(300)
def test_two_processes_write_one_run_and_learn_the_same(mini, tmp_path):
    mini["total_steps"] = 10
    recipe = Recipe.model_validate(mini)
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    (tmp_path / "script.py").write_text(SCRIPT)
    alone = train(recipe, tmp_path / "alone")
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launcher += ["--num_cpu_threads_per_process", "1"]
    command = [*launcher, tmp_path / "script.py", tmp_path / "recipe.json", tmp_path / "pair"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=Path.cwd())
    assert done.returncode == 0, done.stderr[-3000:]

    def rows(path, log):
        return [json.loads(line) for line in (path / f"{log}.jsonl").read_text().splitlines()]

    one, two = rows(alone.path, "metrics"), rows(tmp_path / "pair", "metrics")
    assert [row["step"] for row in two] == list(range(1, 11))
    for a, b in zip(one[:8], two[:8], strict=True):  # before rollouts may part ways by rounding
        assert a["n_positions"] == b["n_positions"]
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-3)
        assert b["gradient_norm"] == pytest.approx(a["gradient_norm"], rel=1e-2)
    assert len(rows(tmp_path / "pair", "decisions")) == len(rows(alone.path, "decisions"))
    assert len(rows(tmp_path / "pair", "teacher-transcripts-teacher data")) == 24
    probes = pd.read_parquet(tmp_path / "pair" / "probes.parquet")
    assert len(probes) == len(pd.read_parquet(alone.path / "probes.parquet"))
    entry = "checkpoints/step-000008/model.safetensors"
    ours, theirs = load_file(alone.path / entry), load_file(tmp_path / "pair" / entry)
    for name, weight in ours.items():
        torch.testing.assert_close(theirs[name], weight, atol=2e-3, rtol=1e-2)
