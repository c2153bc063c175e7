"""How warnings look on a terminal: one line each, without a place in the code."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

import distill
import distill.cli.app as cli_app
from distill.data.labels import LabelWarning
from distill.run.run_directory import RunDirectoryError
from overlap import AnyOf, Threshold
from tests.distill.small_models import save_whisper
from tests.distill.test_pointless_recipes import recipe

__all__ = ["recipe"]

HERE = Path(__file__).parents[2]


def test_labels_that_may_not_be_meant_are_said_in_one_line(tmp_path):
    """Beside them audio above full scale, which is found in another place; both of the command as a user calls it."""
    model = save_whisper(tmp_path / "model")
    for name, peak in (("quiet", 0.1), ("loud", 100.0)):
        soundfile.write(tmp_path / f"{name}.wav", np.full(8_000, peak, dtype=np.float32), 16_000, subtype="FLOAT")
    rows = [{"audio": f"{name}.wav", "text": "<|0.00|> call<|0.40|>"} for name in ("quiet", "loud")]
    manifest = tmp_path / "test.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["evaluate", "--model", str(model), "--manifest", str(manifest), "--max-new-tokens", "2"]
    call = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "distill.cli", *words]
    ended = subprocess.run(
        call, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(HERE)}, timeout=500
    )
    assert ended.returncode == 0, ended.stderr
    said = [line for line in ended.stderr.splitlines() if "arning" in line]
    assert said[0].startswith(f"warning: {tmp_path / 'loud.wav'}: its largest sample is 100, where 1 is full scale")
    assert said[1].startswith(f"warning: {manifest}: of 2 labels, 2 with timestamps: they are left out")
    assert len(said) == 2
    for trace in (".py:", "warnings.warn", "utterances = checked_labels"):
        assert trace not in ended.stderr


@pytest.mark.parametrize(
    ("category", "expected"),
    [
        (UserWarning, "warning: two\nlines\n"),
        (LabelWarning, "warning: two\nlines\n"),
        (DeprecationWarning, "/nowhere/code.py:3: DeprecationWarning: two\nlines\n"),
        (RuntimeWarning, "/nowhere/code.py:3: RuntimeWarning: two\nlines\n"),
    ],
)
def test_what_is_for_programmers_keeps_its_place(category, expected, monkeypatch):
    said, usual = [], warnings.formatwarning

    def command(*_, **__):
        said.append(warnings.formatwarning(category("two\nlines"), category, "/nowhere/code.py", 3))

    monkeypatch.setattr(cli_app, "app", command)
    with pytest.raises(SystemExit):
        cli_app.main([])
    assert said == [expected]
    assert warnings.formatwarning is usual


def test_a_warning_points_at_the_users_call(tmp_path, recipe):
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text('{"prompt": "a", "txet": "b"}\n')
    late = "stages.0.warmup_steps=900"
    output = tmp_path / "taken"
    output.mkdir()
    (output / "file").touch()

    def train():
        with pytest.raises(RunDirectoryError):
            distill.train(recipe, output, overrides=[late], quiet=True)

    calls = (
        lambda: distill.load_recipe(recipe, [late]),
        train,
        lambda: distill.read_manifest(manifest),
        lambda: AnyOf(Threshold("vuss", at_most=3.0)).read({}, 1),
    )
    for call in calls:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            call()
        assert [Path(one.filename) for one in seen] == [Path(__file__)], seen
