"""What commands say where there is little to say it of, or where flags do not go together."""

import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
import soundfile
from pydantic import ValidationError

from distill.cli import app as cli_app
from distill.data.audio import AudioCache, AudioWarning, load_audio
from distill.data.checks import check_audio
from distill.data.manifest import read_manifest
from distill.evaluation.scoring import score_transcripts
from distill.recipe import Teacher
from tests.distill.test_cli import run

PROBE = ("probe", "--student", "demo:student", "--teacher", "demo:teacher", "--manifest", "demo:corpus/probe.jsonl")
TRANSCRIBE = ("transcribe", "--teacher", "demo:teacher", "--manifest", "demo:corpus/probe.jsonl", "--output")


@pytest.mark.parametrize("verb", [PROBE, (*TRANSCRIBE, "out.jsonl")])
@pytest.mark.parametrize(
    ("words", "flags"),
    [
        (("--concurrency", "3"), "--concurrency"),
        (("--api", "sglang", "--key-variable", "KEY"), "--api, --key-variable"),
        (("--timeout-seconds", "1"), "--timeout-seconds"),
    ],
)
def test_flags_of_a_server_without_one(verb, words, flags, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*verb, *words, capsys=capsys)
    assert (code, out) == (1, "")
    assert err == f"error: {flags}: this needs a server; give its --teacher-url as well, or leave it out\n"
    assert list(tmp_path.iterdir()) == []


def test_what_pydantic_finds_is_said_in_our_words(monkeypatch, capsys):
    with pytest.raises(ValidationError) as found:
        Teacher.model_validate({"model": "m", "quantize": "int9"})
    error = found.value

    def command(*_, **__):
        raise error

    monkeypatch.setattr(cli_app, "app", command)
    with pytest.raises(SystemExit) as ended:
        cli_app.main(["evaluate"])
    assert ended.value.code == 1
    assert capsys.readouterr().err == 'error: quantize: must be one of "int8", not "int9"; did you mean "int8"?\n'


@pytest.mark.parametrize(
    ("references", "words"),
    [
        ({"a": "one two"}, "WER 50.00 % (no 95 % interval: that takes two utterances or more with a reference):"),
        ({"a": ""}, "WER undefined (no 95 % interval: that takes two utterances or more with a reference):"),
        ({"a": "one two", "b": ""}, "WER 50.00 % (no 95 % interval: "),
        ({"a": "one two", "b": "one two"}, "WER 50.00 % (95 % interval over 2 utterances "),
    ],
)
def test_error_rates_of_too_few(references, words):
    texts = {name: "one" if reference else "" for name, reference in references.items()}
    said = str(score_transcripts(references, texts, normalizer="basic"))
    assert words in said
    assert "nan" not in said


@pytest.fixture
def loud(tmp_path):
    soundfile.write(tmp_path / "loud.wav", np.full(8000, 100, dtype=np.float32), 16000, subtype="FLOAT")
    (tmp_path / "m.jsonl").write_text(json.dumps({"audio": "loud.wav", "text": "one"}) + "\n")
    return tmp_path / "m.jsonl"


def test_doubts_about_audio_are_said_once_wherever_it_is_read(loud):
    utterances = read_manifest(loud)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        check_audio(utterances, 30.0, decode=True)
        load_audio(utterances[0])
        AudioCache().load(utterances[0])
        AudioCache().load(utterances[0])
    assert [one.category for one in said] == [AudioWarning]
    assert "its largest sample is 100, where 1 is full scale" in str(said[0].message)
    for _ in range(2):  # and each time to whoever asks for that
        with pytest.warns(AudioWarning, match="full scale"):
            load_audio(utterances[0])


def test_watch_says_when_a_killed_run_is_known_to_be_one():
    help_ = subprocess.run([sys.executable, "-m", "distill.cli", "watch", "--help"], capture_output=True, text=True)
    assert "not updated its record for a minute" in " ".join(help_.stdout.replace("\n", " ").split())
