"""A demo killed at any time ends with the weights of an undisturbed one.

    pytest -m slow tests/studies/test_interruption.py -s

takes about twice the demo's time: the whole demo once undisturbed, and once with SIGKILL at random moments.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

COMMAND = (sys.executable, "-m", "distill.cli")


def last_weights(run: Path) -> bytes:
    return (sorted((run / "checkpoints").glob("step-*"))[-1] / "model.safetensors").read_bytes()


def rows(run: Path, log: str) -> list[dict]:
    kept = [json.loads(line) for line in (run / f"{log}.jsonl").read_text().splitlines()]
    for row in kept:
        row.pop("seconds", None)
    return kept


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
def test_a_demo_killed_at_random_ends_as_an_undisturbed_one(tmp_path):
    recipe = os.environ.get("INTERRUPTED_RECIPE", "demo")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*COMMAND, "train", recipe, "--output", whole], check=True, stderr=subprocess.DEVNULL)
    moments, kills = random.Random(0), 0
    command = [*COMMAND, "train", recipe, "--output", killed]
    while True:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            assert process.wait(timeout=moments.uniform(10, 90) if kills < 10 else None) == 0
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
        if (killed / "resolved.json").exists():
            command = [*COMMAND, "resume", killed]
    print(f"killed {kills} times")
    assert kills >= 3
    assert last_weights(killed) == last_weights(whole)
    for log in ("metrics", "decisions", "evaluations"):
        assert rows(killed, log) == rows(whole, log)
    pd.testing.assert_frame_equal(pd.read_parquet(killed / "probes"), pd.read_parquet(whole / "probes"))
