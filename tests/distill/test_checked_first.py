"""What a command needs is checked before anything is loaded, and its result is printed before it is written."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from distill import normalize as normalize
from distill.cli import app as cli_app
from distill.places import packaged
from distill.run.run_directory import RunDirectory
from overlap.errors import UserError
from overlap.extras import MissingExtraError
from tests.distill.test_cli import run

CORPUS = packaged("corpus/test.jsonl")
EVALUATE = ("evaluate", "--model", "demo:student", "--manifest", CORPUS)
PROBE = ("probe", "--student", "demo:student", "--teacher", "demo:teacher", "--manifest", CORPUS)
TRANSCRIBE = ("transcribe", "--teacher", "demo:teacher", "--manifest", CORPUS)


@pytest.fixture
def nothing_loads(monkeypatch):
    def fail(*_, **__):
        raise AssertionError("a model was loaded")

    for place in ("distill.models.load_recognizer", "distill.models.load.load_recognizer"):
        monkeypatch.setattr(place, fail)
    monkeypatch.setattr("distill.teacher_data.making.load_teacher", fail)
    monkeypatch.setattr("distill.training.launch.prepare_run", fail)


@pytest.mark.usefixtures("nothing_loads")
class TestBeforeModels:
    @pytest.mark.parametrize("verb", [EVALUATE, (*TRANSCRIBE, "--output", "out.jsonl")])
    def test_an_unknown_normalizer(self, verb, capsys, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        code, out, err = run(*verb, "--normalizer", "bassic", capsys=capsys)
        assert (code, out) == (1, "")
        assert "there is no text normalizer 'bassic'; choose one of: basic," in err

    @pytest.mark.parametrize("verb", [EVALUATE, (*TRANSCRIBE, "--output", "out.jsonl")])
    def test_an_extra_that_is_not_there(self, verb, capsys, tmp_path, monkeypatch):
        def missing():
            raise MissingExtraError("needs the Python package zhconv; install it with `pip install …[text]`")

        monkeypatch.setattr(normalize, "NORMALIZERS", {**normalize.NORMALIZERS, "mandarin": missing})
        monkeypatch.chdir(tmp_path)
        code, _, err = run(*verb, "--normalizer", "mandarin", capsys=capsys)
        assert code == 1
        assert "pip install" in err

    @pytest.mark.parametrize("verb", [EVALUATE, PROBE])
    @pytest.mark.parametrize(
        ("output", "words"),
        [
            ("none/out.parquet", r"--output: there is no folder .*none; create it, or give another place"),
            ("", r"--output: .* is a folder; give a file in it"),
            ("file/out.parquet", r"--output: .*file is a file, so nothing can be written in it"),
            ("/proc/out.parquet", r"--output: nothing can be written in /proc \(.+\); give another place"),
        ],
    )
    def test_an_output_that_cannot_be_written(self, verb, output, words, capsys, tmp_path):
        (tmp_path / "file").touch()
        code, _, err = run(*verb, "--output", tmp_path / output, capsys=capsys)
        assert code == 1
        assert re.search(words, err)

    @pytest.mark.parametrize(
        ("output", "words"), [("file/a/out.jsonl", "is a file"), ("", "is a folder"), ("/proc/a/out.jsonl", "in /proc")]
    )
    def test_teacher_data_may_make_folders_but_not_anywhere(self, output, words, capsys, tmp_path):
        (tmp_path / "file").touch()
        code, _, err = run(*TRANSCRIBE, "--output", tmp_path / output, capsys=capsys)
        assert code == 1
        assert words in err
        assert "--output: " in err

    @pytest.mark.parametrize(
        ("output", "words"), [("file", "not an empty"), ("file/run", "is a file"), ("/proc/r", "in /proc")]
    )
    def test_a_run_directory(self, output, words, capsys, tmp_path):
        (tmp_path / "file").touch()
        code, _, err = run("train", "demo", "--output", tmp_path / output, capsys=capsys)
        assert code == 1
        assert words in err
        assert (tmp_path / "file").read_bytes() == b""

    @pytest.mark.parametrize("output", ["none/r.html", "/proc/r.html"])
    def test_a_report(self, output, capsys, tmp_path):
        RunDirectory.create(tmp_path / "run", {"recipe": {"stages": []}})
        code, _, err = run("report", tmp_path / "run", "-o", tmp_path / output, capsys=capsys)
        assert code == 1
        assert "--output: " in err


def test_a_file_that_is_there_stays_until_the_end(capsys, tmp_path, monkeypatch):
    kept = tmp_path / "out.parquet"
    kept.write_text("someone's")
    monkeypatch.setattr("distill.models.load_recognizer", lambda *_, **__: (_ for _ in ()).throw(UserError("no")))
    code, _, _ = run(*EVALUATE, "--output", kept, capsys=capsys)
    assert code == 1
    assert kept.read_text() == "someone's"
    assert list(tmp_path.iterdir()) == [kept]


def test_what_was_computed_is_printed_before_it_is_written(capsys, tmp_path, monkeypatch, manifests, student_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("distill.evaluation.evaluation.write_rows", full)
    monkeypatch.setattr("distill.probing.result.write_rows", full)
    model, rest = student_path, ("--manifest", manifests["test"], "--output", tmp_path / "x.parquet")
    code, out, err = run("evaluate", "--model", model, *rest, "--max-new-tokens", "4", capsys=capsys)
    assert code == 1
    assert out.startswith("WER ")
    assert "No space left" in err
    verb = ("probe", "--student", model, "--teacher", model, "--max-new-tokens", "4", "--max-utterances", "2")
    code, out, err = run(*verb, *rest, "--k", "4", capsys=capsys)
    assert code == 1
    assert "union_size" in out
    assert "No space left" in err


SPOKEN = "─ → ü 的"
SCRIPT = """
import sys
from distill.cli import app, main
@app.app.command
def speak(json_: app.JsonFlag = False):
    if json_:
        app.print_json({"text": "─ → ü 的"})
    else:
        print("─ → ü 的")
for words in (["speak"], ["speak", "--json"], ["evaluate", "--help"]):
    try:
        main(words)
    except SystemExit as end:
        assert not end.code, end.code
"""


def _spoken(tmp_path, settings):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    unset = ("PYTHONUTF8", "PYTHONIOENCODING", "LANG", "LC_ALL", "LC_CTYPE")
    env = {name: value for name, value in os.environ.items() if name not in unset} | settings
    env["PYTHONPATH"] = str(Path(__file__).parents[2])
    ended = subprocess.run([sys.executable, str(script)], capture_output=True, env=env, timeout=500)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize(
    ("encoding", "expected"), [("cp1252", "? ? ü ?"), ("ascii", "? ? ? ?"), ("latin-1", "? ? ü ?"), ("utf-8", SPOKEN)]
)
def test_output_of_any_encoding(encoding, expected, tmp_path):
    plain, tree, *_ = _spoken(tmp_path, {"PYTHONIOENCODING": encoding}).decode(encoding).splitlines()
    assert plain == expected
    assert json.loads(tree) == {"text": SPOKEN}  # for machines nothing is lost


def test_the_c_locale(tmp_path):
    said = _spoken(tmp_path, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"})
    assert json.loads(said.decode("ascii", "replace").splitlines()[1]) == {"text": SPOKEN}


def test_half_a_character_in_a_name_is_replaced(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(cli_app, "app", lambda *_, **__: print("a\ud800b"))
    with pytest.raises(SystemExit) as end:
        cli_app.main([])
    assert not end.value.code
    assert stream.buffer.getvalue() == b"a?b\n"
