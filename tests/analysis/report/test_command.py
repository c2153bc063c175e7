import json

import pytest

from distill.cli import main
from tests.analysis.report.conftest import write_traced


def run(*words):
    with pytest.raises(SystemExit) as end:
        main(list(map(str, words)))
    return end.value.code


def test_the_command_writes_a_report_and_says_what_it_found(traced, tmp_path, capsys):
    assert run("report", traced, "-o", tmp_path / "report.md") == 0
    assert "traced: The pair was not ready for OPD after teacher data (step 200)" in capsys.readouterr().out
    assert (tmp_path / "report.md").read_text(encoding="utf-8").startswith("# Support overlap")


def test_several_runs_as_json(traced, tmp_path, capsys):
    other = write_traced(tmp_path / "other")
    assert run("report", traced, other, "--output", tmp_path / "report.md", "--json") == 0
    tree = json.loads(capsys.readouterr().out)
    assert [one["run"] for one in tree["runs"]] == ["traced", "other"]


def test_a_mistake_is_one_message(traced, tmp_path, capsys):
    assert run("report", traced, "-o", tmp_path / "report.docx") == 1
    assert "give an output that ends in .html or .md" in " ".join(capsys.readouterr().err.split())


def test_audio_needs_the_manifest(traced, tmp_path, capsys):
    assert run("report", traced, "-o", tmp_path / "report.html", "--audio") == 1
    assert "probe.jsonl" in capsys.readouterr().err
