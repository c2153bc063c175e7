"""Everything wrong with a source is found at once, whether a line cannot be read or its audio cannot."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distill.data.checks import check_source
from distill.data.line_findings import refuse
from distill.data.manifest import ManifestError, read_manifest

DEEP = "[" * 100_000


def written(folder: Path, *lines: object) -> Path:
    soundfile.write(folder / "a.wav", np.zeros(16000), 16000)
    path = folder / "set.jsonl"
    raw = [
        one if isinstance(one, bytes) else (one if isinstance(one, str) else json.dumps(one)).encode() for one in lines
    ]
    path.write_bytes(b"\n".join(raw))
    return path


def test_all_bad_lines_are_found_at_once_with_place_id_field_and_remedy(tmp_path):
    path = written(
        tmp_path,
        {"id": "good", "audio": "a.wav", "text": "one"},
        {"id": "typed", "audio": "a.wav", "text": 3, "begin_time": "1"},
        {"id": "good", "audio": "a.wav"},
        {"audio": "a.wav", "langauge": "English"},
        '{"id": "cut", "audio": "a.wa',
        b'{"audio": "a.wav", "text": "caf\xe9"}',
        {"id": 7, "audio": "a.wav"},
        {"id": "times", "audio": "a.wav", "begin_time": 2, "end_time": 1},
        {"id": "gone", "audio": "gone.wav"},
        {"id": "beyond", "audio": "a.wav", "end_time": 9},
        {"text": "no audio"},
        "null",
    )
    utterances, findings = check_source(path, 30.0)
    assert [one.id for one in utterances] == ["good", "set-000004", "gone", "beyond"]
    assert [(one.line, one.id, one.field) for one in findings if one.severity == "error"] == [
        (2, "typed", "text"),
        (2, "typed", "begin_time"),
        (3, "good", "id"),
        (5, None, None),
        (6, None, None),
        (7, None, "id"),
        (8, "times", "end_time"),
        (11, "set-000011", "audio"),
        (12, None, None),
        (9, "gone", "audio"),
        (10, "beyond", "end_time"),
    ]
    assert [(one.line, one.field, one.remedy) for one in findings if one.severity == "warning"] == [
        (4, "langauge", 'is "language" meant?')
    ]
    assert all(one.file == str(path) and one.message and one.remedy for one in findings)
    with pytest.raises(ManifestError) as refused:
        refuse(findings)
    head, *said = str(refused.value).split("\n  ")
    assert head == "10 lines of the data cannot be used:"
    assert said[3].startswith(f"{path}:5: column 24: malformed JSON (Unterminated string starting at); write one")
    assert (
        said[0]
        == f"{path}:2: utterance 'typed': field \"text\": is a number, not a string; write it as text in double quotes"
    )
    with pytest.raises(ManifestError) as raised:
        read_manifest(path)
    assert str(raised.value).startswith(f"{path}: 10 problems\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (DEEP, "malformed JSON (nested too deeply); write one complete JSON object a line"),
        (
            '{"audio": "a.wav", "end_time": 1' + "0" * 400 + "}",
            'field "end_time" is a number of more than fifteen digits',
        ),
        (
            '{"audio": "a.wav", "duration": 1' + "0" * 400 + "}",
            'field "duration" is a number of more than fifteen digits',
        ),
        (
            '{"audio": "a.wav", "text": "one", "text": "two"}',
            'field "text" stands twice in the line; keep the one that',
        ),
        (
            {"audio": "a\0.wav"},
            'field "audio" contains a null character, which is not allowed in paths; write the path again',
        ),
    ],
    ids=["deep", "huge end", "huge duration", "twice", "null character"],
)
def test_lines_that_ended_in_other_errors_or_none(tmp_path, line, message):
    path = written(tmp_path, {"audio": "a.wav"}, line)
    with pytest.raises(ManifestError, match=re.escape(f"{path}:2: {message}")):
        read_manifest(path)
    utterances, (finding,) = check_source(path, 30.0)
    assert (len(utterances), finding.line) == (1, 2)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("none.jsonl", "the manifest does not exist; give the path of a JSON Lines file, one utterance a line"),
        (".", "the manifest is a folder; give the path"),
        ("empty.jsonl", "the manifest has no utterances; write one JSON object a line"),
        ("demo:corpus/tset.jsonl", "is not in the embedded demo; did you mean demo:corpus/test.jsonl?"),
    ],
)
def test_what_is_wrong_with_a_whole_file_is_a_finding(tmp_path, place, message):
    (tmp_path / "empty.jsonl").write_text("\n")
    source = place if place.startswith("demo:") else str(tmp_path / place)
    utterances, (finding,) = check_source(source, 30.0)
    assert (utterances, finding.line, finding.id) == ([], None, None)
    assert message in str(finding)
    with pytest.raises((ManifestError, FileNotFoundError), match=re.escape(message)):
        read_manifest(source)


def test_a_file_that_cannot_be_opened_is_a_finding(tmp_path, monkeypatch):
    path = written(tmp_path, {"audio": "a.wav"})

    def refused(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(ManifestError, match=re.escape(f"{path}: cannot be read (Permission denied); give a file that")):
        read_manifest(path)


def test_rows_of_data_sets_are_found_at_once(tmp_path):
    datasets = pytest.importorskip("datasets")
    good = str(tmp_path / "a.wav")
    written(tmp_path, {})
    rows = {"audio": [good, None, "gone.wav"], "id": ["a", "b", "c"]}
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "rows")
    source = f"hf:{tmp_path / 'rows'}"
    utterances, findings = check_source(source, 30.0)
    assert [one.id for one in utterances] == ["a"]
    assert [(one.file, one.line, one.id, one.field) for one in findings] == [
        (source, 1, "b", "audio"),
        (source, 2, "c", "audio"),
    ]
    (whole,) = check_source(f"{source}:train", 30.0)[1]
    assert "there is no split 'train' in the folder" in str(whole)
