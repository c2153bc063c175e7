"""Two processes train as one: a run of two gloo ranks against the same run in one process."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from distill import train
from distill.recipe import Recipe

SCRIPT = """
import sys
from pathlib import Path
from accelerate.state import PartialState
from distill import Recipe, train
train(Recipe.model_validate_json(Path(sys.argv[1]).read_text()), sys.argv[2], check=False)
Path(f"{sys.argv[2]}.{PartialState().process_index}").write_text(str(PartialState().num_processes))
"""


def in_two_processes(recipe, folder):
    """A run under torchrun; a hang fails after three minutes."""
    (folder / "recipe.json").write_text(recipe.model_dump_json())
    (folder / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [folder / "script.py", folder / "recipe.json", folder / "pair"]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=180)


def rows(path, log):
    return [json.loads(line) for line in (path / f"{log}.jsonl").read_text().splitlines()]


@pytest.mark.timeout(400)
@pytest.mark.skipif(torch.accelerator.is_available(), reason="compares CPU processes")
def test_two_processes_write_one_run_and_learn_the_same(mini, tmp_path):
    # Soft switches are read and recorded, and hardly change what is written.
    off = {"type": "overlap", "statistic": "total_variation", "mode": "min", "low": 0.9999, "high": 1.0}
    mini["stages"][2]["off_policy"] = {"fraction": off, "states": "teacher", "transcription": {"max_new_tokens": 8}}
    mini["stages"][2]["off_policy"]["filters"] = mini["stages"][1]["filters"]
    mini["stages"][2]["rollout"] = {"max_new_tokens": 8, "trust_region": {"radius": 1e-9}}
    alone = train(Recipe.model_validate(mini), tmp_path / "alone")
    for stage in (mini["stages"][0], mini["stages"][2]):  # in parts, to the same effect
        stage["micro_batch_size"] = 1
    done = in_two_processes(Recipe.model_validate(mini), tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [(tmp_path / f"pair.{rank}").read_text() for rank in range(2)] == ["2", "2"]
    one, two = rows(alone.path, "metrics"), rows(tmp_path / "pair", "metrics")
    assert [row["step"] for row in two] == list(range(1, 13))
    for a, b in zip(one[:8], two[:8], strict=True):  # before rollouts may part ways by rounding
        assert a["n_positions"] == b["n_positions"]
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-3)
        assert b["gradient_norm"] == pytest.approx(a["gradient_norm"], rel=1e-2)
    own, both = (next(row for row in log if row["stage"] == "on-policy") for log in (one, two))
    assert both["funnel"]["used"] == own["funnel"]["used"] == both["n_positions"]
    assert both["rollouts"]["n"] == own["rollouts"]["n"]
    assert both["rollouts"]["states"] == own["rollouts"]["states"] == "blend"
    assert both["trust_region"]["n"] == own["trust_region"]["n"] > 0
    assert both["off_policy"]["share"] == own["off_policy"]["share"] == 0.0
    assert both["off_policy"]["reading"] == pytest.approx(own["off_policy"]["reading"], rel=1e-3)
    assert both["overlap"]["union_size"] == pytest.approx(own["overlap"]["union_size"], rel=0.02)
    for log in ("decisions", "evaluations", "teacher-transcripts-teacher data"):
        assert len(rows(tmp_path / "pair", log)) == len(rows(alone.path, log))
    entry = "checkpoints/step-000008/model.safetensors"
    ours, theirs = load_file(alone.path / entry), load_file(tmp_path / "pair" / entry)
    for name, weight in ours.items():
        torch.testing.assert_close(theirs[name], weight, atol=2e-3, rtol=1e-2)


@pytest.mark.timeout(200)
@pytest.mark.skipif(torch.accelerator.is_available(), reason="compares CPU processes")
def test_a_batch_smaller_than_the_number_of_processes_is_refused(mini, tmp_path):
    mini["stages"][1]["batch_size"] = 1
    done = in_two_processes(Recipe.model_validate(mini), tmp_path)
    assert "started in 2 processes, but stage 'teacher data' takes 1 utterance a step" in done.stderr
    assert not (tmp_path / "pair").exists()
