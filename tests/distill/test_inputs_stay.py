"""What a command reads is never replaced by what it writes, under whatever name it is given."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distill.locations import packaged, refuse_to_replace
from distill.teacher_data.making import transcribe_manifest
from tests.distill.test_checked_first import nothing_loads
from tests.distill.test_cli import run

__all__ = ["nothing_loads"]


@pytest.fixture
def data(tmp_path):
    """A manifest with its audio, a model, and a folder of links to them."""
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    line = {"id": "a", "audio": "a.wav", "text": "one"}
    (tmp_path / "t.jsonl").write_text(json.dumps(line) + "\n")
    shutil.copytree(packaged("student"), tmp_path / "model")
    (tmp_path / "links").mkdir()
    (tmp_path / "links/soft.jsonl").symlink_to(tmp_path / "t.jsonl")
    os.link(tmp_path / "t.jsonl", tmp_path / "links/hard.jsonl")
    (tmp_path / "links/model").symlink_to(tmp_path / "model")
    return tmp_path


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.usefixtures("nothing_loads")
@pytest.mark.parametrize(
    ("output", "named"),
    [
        ("t.jsonl", "is what --manifest names"),
        ("links/../t.jsonl", "is what --manifest names"),
        ("links/soft.jsonl", "is what --manifest names"),
        ("links/hard.jsonl", "is what --manifest names"),
        ("a.wav", "is what the audio of utterance 'a' names"),
        ("model/config.json", "lies in what --(model|student) names"),
        ("links/model/model.safetensors", "lies in what --(model|student) names"),
    ],
)
@pytest.mark.parametrize("verb", ["evaluate", "probe"])
def test_a_table_does_not_replace_what_it_is_made_from(verb, output, named, data, capsys):
    before = files_of(data)
    model = data / "model"
    models = {"evaluate": ("--model", model), "probe": ("--student", model, "--teacher", "demo:teacher")}[verb]
    code, _, err = run(verb, *models, "--manifest", data / "t.jsonl", "--output", data / output, capsys=capsys)
    assert code == 1
    (line,) = [line for line in err.splitlines() if "--output: " in line]
    assert re.search(f"{named}, and would be replaced; give another name", line)
    assert files_of(data) == before


@pytest.mark.usefixtures("nothing_loads")
@pytest.mark.parametrize(
    ("manifest", "output"), [("t.jsonl", "t.jsonl"), ("out.dropped.jsonl", "out.jsonl"), ("t.jsonl", "a.jsonl")]
)
def test_teacher_data_does_not_replace_its_manifest_or_audio(manifest, output, data, capsys):
    (data / "out.dropped.jsonl").write_text((data / "t.jsonl").read_text())
    # Audio may have any name.
    shutil.copy(data / "a.wav", data / "a.summary.json")
    (data / "t.jsonl").write_text(json.dumps({"id": "a", "audio": "a.summary.json"}) + "\n")
    (data / "t.journal.jsonl").touch()
    before = files_of(data)
    arguments = ("--manifest", data / manifest, "--output", data / output)
    code, _, err = run("transcribe", "--teacher", "demo:teacher", *arguments, capsys=capsys)
    assert code == 1
    assert "and would be replaced; give another name" in err
    assert files_of(data) == before


@pytest.mark.usefixtures("nothing_loads")
def test_teacher_data_from_python(data):
    (data / "t.journal.jsonl").touch()
    with pytest.raises(ValueError, match="is what the manifest names, and would be replaced"):
        transcribe_manifest("demo:teacher", data / "t.jsonl", data / "t.jsonl")


def test_a_report_does_not_replace_a_trace(data, capsys):
    trace = data / "trace.html"
    trace.write_bytes(b"PAR1")
    code, _, err = run("report", trace, "-o", trace, capsys=capsys)
    assert (code, trace.read_bytes()) == (1, b"PAR1")
    assert "and would be replaced" in err


def test_other_files_may_be_replaced(data):
    inputs = [("--model", str(data / "model")), ("--manifest", str(data / "t.jsonl")), ("--teacher", "Qwen/Qwen3")]
    (data / "model/earlier.parquet").touch()
    for output in (data / "new.parquet", data / "model/earlier.parquet", data / "model/new.json"):
        refuse_to_replace(output, "--output", inputs)
