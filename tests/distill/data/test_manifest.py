import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.data.manifest import FIELDS, ManifestError, Utterance, read_manifest, require_text, write_manifest


def write_lines(folder: Path, *lines: object, name: str = "train.jsonl") -> Path:
    for audio in ("a.wav", "b.wav"):
        (folder / audio).touch()
    path = folder / name
    path.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines) + "\n", encoding="utf-8")
    return path


def test_reads_every_field(tmp_path):
    record = {
        "id": "u1",
        "audio": "a.wav",
        "text": "你好 ok",
        "begin_time": 0.25,
        "end_time": 2,
        "language": "Chinese",
        "voice": "v3",
        "tags": [1, {"x": None}],
    }
    (utterance,) = read_manifest(write_lines(tmp_path, record))
    assert utterance == Utterance(
        "u1", tmp_path / "a.wav", "你好 ok", 0.25, 2.0, "Chinese", {"voice": "v3", "tags": [1, {"x": None}]}
    )
    assert isinstance(utterance.end_time, float)
    assert hash(utterance) == hash(Utterance("u1", tmp_path / "a.wav", "你好 ok", 0.25, 2.0, "Chinese"))


def test_prompts_stand_in_for_audio_or_beside_it(tmp_path):
    chat = [{"role": "user", "content": "How?", "name": "x"}]
    lines = ({"prompt": "Once", "text": "upon"}, {"prompt": chat}, {"prompt": "Hear", "audio": "a.wav"})
    once, how, hear = read_manifest(write_lines(tmp_path, *lines))
    assert once == Utterance("train-000001", prompt="Once", text="upon")
    assert how == Utterance("train-000002", prompt=tuple(chat))
    assert hear == Utterance("train-000003", tmp_path / "a.wav", prompt="Hear")
    assert len({once, how, hear}) == 3
    write_manifest(tmp_path / "again.jsonl", [once, how, hear])
    records = [json.loads(line) for line in (tmp_path / "again.jsonl").read_text().splitlines()]
    assert records[:2] == [{"id": "train-000001", "prompt": "Once", "text": "upon"}, {"id": how.id, "prompt": chat}]


def test_defaults_nulls_and_blank_lines(tmp_path):
    nulls = dict.fromkeys(("id", "text", "begin_time", "end_time", "language")) | {"audio": "b.wav"}
    read = read_manifest(write_lines(tmp_path, {"audio": "a.wav"}, "", "   ", nulls))
    assert read == [Utterance("train-000001", tmp_path / "a.wav"), Utterance("train-000004", tmp_path / "b.wav")]


def test_other_trainers_whole_file_times(tmp_path):
    line = {"audio": "a.wav", "text": "hello", "task": "asr", "begin_time": -1, "end_time": -1}
    (utterance,) = read_manifest(write_lines(tmp_path, line))
    assert (utterance.begin_time, utterance.end_time, utterance.extra) == (0.0, -1.0, {"task": "asr"})


def test_empty_text_is_a_label(tmp_path):
    read = read_manifest(write_lines(tmp_path, {"audio": "a.wav", "text": ""}))
    assert read[0].text == ""
    require_text(read, "scoring")


def test_byte_order_mark_carriage_returns_and_line_separators_within_text(tmp_path):
    path = write_lines(tmp_path, {"audio": "a.wav"})
    path.write_bytes('\ufeff{"audio": "a.wav", "text": "one\u2028two"}\r\n{"audio": "b.wav"}\r\n'.encode())
    read = read_manifest(path)
    assert [u.id for u in read] == ["train-000001", "train-000002"]
    assert read[0].text == "one\u2028two"


def test_audio_is_absolute_and_relative_to_the_manifest(tmp_path, monkeypatch):
    folder = tmp_path / "sets"
    folder.mkdir()
    write_lines(tmp_path)
    (folder / "m.jsonl").write_text(json.dumps({"audio": "../a.wav"}), encoding="utf-8")
    monkeypatch.chdir(folder)
    (utterance,) = read_manifest("m.jsonl")
    assert utterance.audio == tmp_path / "a.wav"
    absolute = write_lines(tmp_path, {"audio": str(tmp_path / "b.wav")})
    assert read_manifest(absolute)[0].audio == tmp_path / "b.wav"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"audio": "a.wav"', "column 18: malformed JSON (Expecting ',' delimiter); write one complete JSON object"),
        ('{"audio": "a.wav", "end_time": NaN}', "malformed JSON (NaN is not a JSON number; write null"),
        ('["a.wav"]', 'a JSON list, not an object; write {"audio": …, "text": …}'),
        ("null", "a JSON null, not an object"),
        ({"text": "x"}, 'field "audio" is missing; give the path of the audio file, relative to the manifest'),
        ({"audio": ""}, 'field "audio" is empty; give the path'),
        ({"text": "x", "prompt": None}, 'field "audio" is missing; give the path of the audio file, relative to the'),
        ({"audio": "", "prompt": "x"}, 'field "audio" is empty; give the path of the audio file, relative to the ma'),
        ({"prompt": ""}, 'field "prompt" is empty; write what the model is to read'),
        ({"prompt": 3}, 'field "prompt" is a number; write a string in double quotes, or a list of chat messages'),
        ({"prompt": []}, 'field "prompt" is an empty list; write at least one message {"role": "user", "content": "'),
        (
            {"prompt": [{"role": "user", "content": "?"}, {"role": "user", "content": None}]},
            'field "prompt" lacks role or content in message 2; write {"role": "user", "content": "…"}, both strings',
        ),
        ({"audio": "a.wav", "prompt": ["?"]}, 'field "prompt" lacks role or content in message 1; write {"role": '),
        ({"audio": 3}, 'field "audio" is a number, not a string; write it as text in double quotes'),
        ({"audio": "a.wav", "id": 7}, 'field "id" is a number, not a string; write it as text in double quotes'),
        ({"audio": "a.wav", "id": ""}, 'field "id" is empty; give the utterance a unique name or leave the field out'),
        ({"audio": "a.wav", "text": ["x"]}, 'field "text" is a list, not a string'),
        ({"audio": "a.wav", "language": {}}, 'field "language" is a object, not a string'),
        ({"audio": "a.wav", "begin_time": "1"}, 'field "begin_time" is a string, not a number; give seconds without'),
        ({"audio": "a.wav", "end_time": True}, 'field "end_time" is a boolean, not a number'),
        ({"audio": "a.wav", "begin_time": -0.5}, 'field "begin_time" is -0.5 s, before the start of the file; give 0'),
        ('{"audio": "a.wav", "end_time": 1e999}', 'field "end_time" is inf; give a finite number of seconds'),
        (
            {"audio": "a.wav", "begin_time": 2, "end_time": 2},
            'field "end_time" is 2 s, not after begin_time = 2 s; give a later time, or −1 for the end of the file',
        ),
        ({"audio": "a.wav", "end_time": -2}, 'field "end_time" is -2 s, not after begin_time = 0 s'),
    ],
)
def test_a_bad_line_is_named_with_its_field_and_remedy(tmp_path, line, message):
    path = write_lines(tmp_path, {"audio": "b.wav"}, "", line)
    with pytest.raises(ManifestError, match=f"^{re.escape(f'{path}:3: {message}')}") as error:
        read_manifest(path)
    assert "\n" not in str(error.value)


def test_missing_audio_is_named_unless_unchecked(tmp_path):
    path = write_lines(tmp_path, {"audio": "a.wav"}, {"audio": "c.wav"})
    message = f'{path}:2: field "audio" is {tmp_path / "c.wav"}, a file that does not exist; correct the path'
    with pytest.raises(ManifestError, match=re.escape(message)):
        read_manifest(path)
    assert len(read_manifest(path, check_audio=False)) == 2


def test_a_repeated_id_names_both_lines(tmp_path):
    path = write_lines(tmp_path, {"id": "u", "audio": "a.wav"}, "", {"id": "u", "audio": "b.wav"})
    with pytest.raises(ManifestError, match=re.escape(f"{path}:3: field \"id\" is 'u', already used on line 1; give")):
        read_manifest(path)


def test_a_given_id_may_not_equal_a_made_one(tmp_path):
    path = write_lines(tmp_path, {"audio": "a.wav"}, {"id": "train-000001", "audio": "b.wav"})
    with pytest.raises(ManifestError, match="already used on line 1"):
        read_manifest(path)


def test_not_utf8_names_the_line(tmp_path):
    path = write_lines(tmp_path)
    path.write_bytes(b'{"audio": "a.wav"}\n{"audio": "a.wav", "text": "caf\xe9"}\n')
    with pytest.raises(ManifestError, match=re.escape(f"{path}:2: byte 32 is not UTF-8; save the manifest as UTF-8")):
        read_manifest(path)


def test_problems_are_collected_up_to_ten(tmp_path):
    path = write_lines(tmp_path, {"id": 1, "text": 2}, *[{"audio": f"{i}.wav"} for i in range(20)])
    with pytest.raises(ManifestError) as error:
        read_manifest(path)
    head, *lines = str(error.value).split("\n  ")
    assert head == f"{path}: 23 problems"
    assert len(lines) == 11
    assert [line.split(":")[1] for line in lines[:5]] == ["1", "1", "1", "2", "3"]
    assert lines[-1] == "… and 13 more"


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_manifest_is_refused(tmp_path, content):
    path = tmp_path / "m.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(
        ManifestError, match=re.escape(f"{path}: the manifest has no utterances; write one JSON object")
    ):
        read_manifest(path)


def test_a_missing_manifest_and_a_folder_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.jsonl: the manifest does not exist; give the path of a JSON L"):
        read_manifest(tmp_path / "none.jsonl")
    with pytest.raises(FileNotFoundError, match="the manifest is a folder; give the path of a JSON Lines file"):
        read_manifest(tmp_path)


def test_an_utterance_checks_itself(tmp_path):
    with pytest.raises(ValueError, match='field "begin_time" is -1 s, before the start'):
        Utterance("u", tmp_path, begin_time=-1)
    with pytest.raises(ValueError, match='neither "audio" nor "prompt"; give an audio file, or a prompt for text mod'):
        Utterance("u", text="x")
    with pytest.raises(ValueError, match=r"extra fields \['text'\] have names that an utterance uses itself; rename"):
        Utterance("u", tmp_path, extra={"text": "x"})


def test_written_paths_are_relative_below_the_manifest_and_absolute_elsewhere(tmp_path):
    folder = tmp_path / "set"
    write_manifest(folder / "m.jsonl", [Utterance("a", folder / "x" / "a.wav"), Utterance("b", tmp_path / "b.wav")])
    records = [json.loads(line) for line in (folder / "m.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [r["audio"] for r in records] == ["x/a.wav", str(tmp_path / "b.wav")]
    folder.rename(tmp_path / "moved")
    moved = read_manifest(tmp_path / "moved" / "m.jsonl", check_audio=False)
    assert [u.audio for u in moved] == [tmp_path / "moved" / "x" / "a.wav", tmp_path / "b.wav"]


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path, monkeypatch):
    path = tmp_path / "m.jsonl"
    write_manifest(path, [Utterance("old", tmp_path / "a.wav")])
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_manifest(path, [Utterance("new", tmp_path / "a.wav")])
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.jsonl"]


def test_what_cannot_be_written_is_refused(tmp_path):
    path = tmp_path / "m.jsonl"
    utterance = Utterance("u", tmp_path / "a.wav")
    with pytest.raises(
        ManifestError, match=r"m\.jsonl: there are no utterances to write; a manifest holds at least one"
    ):
        write_manifest(path, [])
    with pytest.raises(ManifestError, match="utterance id 'u' occurs twice; give each utterance its own id"):
        write_manifest(path, [utterance, utterance])
    for value in (object(), float("nan")):
        with pytest.raises(
            ManifestError, match=r"utterance 'u': an extra field cannot be written as JSON .*; keep strings"
        ):
            write_manifest(path, [Utterance("u", tmp_path / "a.wav", extra={"x": value})])
    assert not path.exists()


def test_require_text_names_purpose_and_utterances(tmp_path):
    utterances = [Utterance(f"u{i}", tmp_path / "a.wav", None if i else "hello") for i in range(13)]
    require_text(utterances[:1], "sft")
    with pytest.raises(ManifestError) as error:
        require_text(utterances, "stage 1 (sft)")
    head, *lines = str(error.value).split("\n  ")
    assert head.startswith('stage 1 (sft) needs reference text and 12 utterances have none; add the field "text"')
    assert lines[0] == f"utterance 'u1' ({tmp_path / 'a.wav'})"
    assert lines[-1] == "… and 2 more"
    assert len(lines) == 11


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def utterances(draw):
    turns = st.lists(st.fixed_dictionaries({"role": texts, "content": texts}), min_size=1, max_size=3)
    prompt = draw(st.none() | texts.filter(bool) | turns.map(tuple))
    if prompt is not None and draw(st.booleans()):
        return Utterance(id=draw(texts.filter(bool)), prompt=prompt, text=draw(st.none() | texts))
    begin = draw(st.floats(0, 1e4))
    length = draw(st.none() | st.floats(1e-3, 100))
    return Utterance(
        id=draw(texts.filter(bool)),
        prompt=prompt,
        audio=Path("/data") / draw(st.from_regex(r"[a-z0-9 é']{1,8}\.wav", fullmatch=True)),
        text=draw(st.none() | texts),
        begin_time=begin,
        end_time=-1.0 if length is None else begin + length,
        language=draw(st.none() | texts),
        extra=draw(st.dictionaries(texts.filter(lambda k: k not in FIELDS), json_values, max_size=3)),
    )


@pytest.mark.filterwarnings("ignore:.* is not read; is .* meant:UserWarning")  # such as a field "WAV"
@settings(deadline=None)
@given(st.lists(utterances(), min_size=1, max_size=5, unique_by=lambda u: u.id))
def test_written_manifests_read_back_the_same(tmp_path_factory, items):
    path = tmp_path_factory.mktemp("round") / "m.jsonl"
    write_manifest(path, items)
    assert read_manifest(path, check_audio=False) == items
