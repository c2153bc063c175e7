"""Speakers that a manifest names by text here and by number there."""

import json

import pandas as pd
import pytest

from tests.distill.test_cli import run

SPEAKERS = ["anna", 7, 7.5, None, True, ["a", "b"], "七", {"name": "x"}, "", "anna"]


def test_they_do_not_end_an_evaluation_after_its_work(student_path, manifests, tmp_path, capsys):
    lines = [json.loads(line) for line in manifests["test"].read_text().splitlines()]
    for line, speaker in zip(lines, SPEAKERS, strict=True):
        line |= {"speaker": speaker, "audio": str((manifests["test"].parent / line["audio"]).resolve())}
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)))
    arguments = ("--model", student_path, "--manifest", tmp_path / "in.jsonl", "--max-new-tokens", 4)
    code, out, _ = run("evaluate", *arguments, "--output", tmp_path / "out.parquet", capsys=capsys)
    assert code == 0
    assert "WER" in out
    found = pd.read_parquet(tmp_path / "out.parquet")["speaker"].tolist()
    expected = ["anna", "7", "7.5", None, "true", '["a", "b"]', "七", '{"name": "x"}', "", "anna"]
    assert [None if pd.isna(one) else one for one in found] == expected


@pytest.mark.parametrize("speakers", [[1, 2], ["a", "b"]])
def test_those_of_one_kind_are_told_apart(student_path, manifests, tmp_path, capsys, speakers):
    lines = [json.loads(line) for line in manifests["test"].read_text().splitlines()]
    for i, line in enumerate(lines):
        line |= {"speaker": speakers[i % 2], "audio": str((manifests["test"].parent / line["audio"]).resolve())}
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)))
    arguments = ("--model", student_path, "--manifest", tmp_path / "in.jsonl", "--max-new-tokens", 4)
    assert run("evaluate", *arguments, "--output", tmp_path / "out.parquet", capsys=capsys)[0] == 0
    assert pd.read_parquet(tmp_path / "out.parquet")["speaker"].tolist() == [str(s) for s in speakers] * 5
