"""Manifests of other tools: what decides which audio is heard is taken or refused, never left unread."""

import json
import math
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distill.data.audio import load_audio
from distill.data.manifest import ManifestError, Utterance, read_manifest

RAMP = np.arange(32000, dtype=np.float32) / 32000


def manifest(folder: Path, *lines: dict, name: str = "train.jsonl") -> Path:
    soundfile.write(folder / "a.wav", RAMP, 16000, subtype="FLOAT")
    path = folder / name
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def only(folder: Path, **line: object) -> Utterance:
    (utterance,) = read_manifest(manifest(folder, line))
    return utterance


@pytest.mark.parametrize("audio", ["audio", "audio_filepath"])
def test_offset_and_duration_of_nemo_are_the_stretch_that_is_heard(tmp_path, audio):
    line = {audio: "a.wav", "text": "one", "offset": 0.5, "duration": 0.25, "lang": "en", "speaker": "s"}
    utterance = only(tmp_path, **line)
    assert (utterance.begin_time, utterance.end_time, utterance.language) == (0.5, 0.75, "en")
    assert utterance.extra == {"speaker": "s"}
    np.testing.assert_array_equal(load_audio(utterance), RAMP[8000:12000])


def test_one_of_offset_and_duration_alone(tmp_path):
    assert load_audio(only(tmp_path, audio="a.wav", duration=0.5)).tolist() == RAMP[:8000].tolist()
    assert load_audio(only(tmp_path, audio="a.wav", offset=1.5)).tolist() == RAMP[24000:].tolist()
    assert only(tmp_path, audio="a.wav", offset=None, duration=None).end_time == -1


def test_a_duration_beside_times_is_left_alone_and_other_times_are_refused(tmp_path):
    times = {"audio": "a.wav", "begin_time": 0.5, "end_time": 1.0}
    utterance = only(tmp_path, **times, duration=2.0)
    assert (utterance.begin_time, utterance.end_time, utterance.extra) == (0.5, 1.0, {"duration": 2.0})
    assert only(tmp_path, **times, offset=0.5, duration=0.5).end_time == 1.0
    with pytest.raises(ManifestError, match=r'train\.jsonl:1: fields "offset" and "duration" say other times than'):
        only(tmp_path, **times, offset=0.25, duration=0.5)


@pytest.mark.parametrize(
    ("name", "value"), [("offset", "0.5"), ("offset", -1), ("duration", True), ("duration", math.inf)]
)
def test_offsets_that_are_no_seconds_are_refused(tmp_path, name, value):
    path = manifest(tmp_path, {"audio": "a.wav", name: value} if value != math.inf else {"audio": "a.wav"})
    if value == math.inf:
        path.write_text('{"audio": "a.wav", "duration": 1e999}\n')
    with pytest.raises(ManifestError, match=rf'train\.jsonl:1: field "{name}" is .*; give seconds, 0 or more'):
        read_manifest(path)


@pytest.mark.parametrize(
    ("name", "meant"), [("start", "begin_time"), ("end", "end_time"), ("start_time", "begin_time")]
)
def test_times_of_unknown_units_are_refused(tmp_path, name, meant):
    with pytest.raises(ManifestError, match=rf'field "{name}" cannot be used, .*; write it as "{meant}", in seconds'):
        only(tmp_path, audio="a.wav", **{name: 500})
    assert only(tmp_path, audio="a.wav", **{meant: 0.5, name: 500}).extra == {name: 500}


@pytest.mark.parametrize("audio", ["path", "file", "file_name", "audio_path"])
@pytest.mark.parametrize("text", ["sentence", "transcription", "transcript"])
def test_columns_of_hugging_face_data_sets(tmp_path, audio, text):
    utterance = only(tmp_path, **{audio: "a.wav", text: "one", "locale": "zh-CN", "age": "twenties"})
    assert (utterance.audio, utterance.text, utterance.language) == (tmp_path / "a.wav", "one", "zh-CN")
    assert utterance.extra == {"age": "twenties"}


def test_own_names_go_before_those_of_others(tmp_path):
    utterance = only(tmp_path, audio="a.wav", path="elsewhere", text="one", sentence="One.", language="English")
    assert (utterance.audio, utterance.text) == (tmp_path / "a.wav", "one")
    assert utterance.extra == {"path": "elsewhere", "sentence": "One."}


def test_audio_as_an_object_with_a_path(tmp_path):
    assert only(tmp_path, audio={"path": "a.wav", "bytes": None}).audio == tmp_path / "a.wav"
    with pytest.raises(ManifestError, match='field "audio" holds the audio itself; give a path, or read the data set'):
        only(tmp_path, audio={"path": "a.wav", "array": [0.1, 0.2]})


def test_several_texts_are_refused_unless_they_agree(tmp_path):
    with pytest.raises(ManifestError, match='field "text" is missing, and may be sentence or transcription; rename'):
        only(tmp_path, audio="a.wav", sentence="One.", transcription="one")
    assert only(tmp_path, audio="a.wav", sentence="one", transcription="one").text == "one"


def test_translations_and_single_channels_are_refused(tmp_path):
    assert only(tmp_path, audio="a.wav", source_lang="en", target_lang="en").language == "en"
    with pytest.raises(ManifestError, match="\"target_lang\" is 'de' and \"source_lang\" 'en': a translation; leave"):
        only(tmp_path, audio="a.wav", text="eins", source_lang="en", target_lang="de")
    with pytest.raises(ManifestError, match='field "channel" cannot be taken: channels are averaged; write one'):
        only(tmp_path, audio="a.wav", channel=1)
    assert only(tmp_path, audio="a.wav", channel="telephone").extra == {"channel": "telephone"}


@pytest.mark.parametrize(
    "line",
    [
        {"id": "c", "start": 0, "duration": 1, "supervisions": [], "recording": {"id": "r"}},
        {"id": "s", "recording_id": "r", "start": 0, "duration": 1, "text": "one"},
        {"id": "r", "sources": [{"type": "file", "source": "a.wav"}], "sampling_rate": 16000},
    ],
    ids=["cuts", "supervisions", "recordings"],
)
def test_manifests_of_lhotse_are_refused_with_the_way_to_convert_them(tmp_path, line):
    with pytest.raises(ManifestError, match=r"is of lhotse; write a line .*trim_to_supervisions"):
        read_manifest(manifest(tmp_path, line))


def test_lines_of_text_models_keep_their_fields(tmp_path):
    utterance = only(tmp_path, prompt="p", text="t", path="x.py", start=3, duration=2.5, sources=["a"])
    assert utterance.audio is None
    assert utterance.extra == {"path": "x.py", "start": 3, "duration": 2.5, "sources": ["a"]}


def test_misspelled_fields_are_said_once_and_others_pass(tmp_path):
    lines = [{"audio": "a.wav", "langauge": "English", "speaker": "s", "snr": 3, "id": str(i)} for i in range(3)]
    path = manifest(tmp_path, *lines)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        read_manifest(path)
    assert [str(one.message) for one in said] == [f'{path}: the field "langauge" is not read; is "language" meant?']


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ({"audio": "a.wav", "text": "call \ud83d four"}, "text"),
        ({"audio": "a.wav", "id": "\udc00"}, "id"),
        ({"prompt": [{"role": "user", "content": "a\ud800"}]}, "prompt"),
        ({"audio": "a.wav", "note": {"by": ["x\udfff"]}}, "note"),
    ],
)
def test_half_characters_are_refused(tmp_path, line, field):
    with pytest.raises(
        ManifestError,
        match=rf'train\.jsonl:1: field "{field}" has half a character \(\\u[0-9a-f]{{4}}\) at position \d+',
    ):
        read_manifest(manifest(tmp_path, line))
    whole = json.loads(json.dumps(line).replace("\\ud83d", "\\ud83d\\ude00")) if field == "text" else None
    if whole is not None:
        assert read_manifest(manifest(tmp_path, whole))[0].text == "call 😀 four"


class TestLinks:
    @pytest.fixture
    def snapshot(self, tmp_path) -> Path:
        """As the Hub's cache lays data out."""
        blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "rev"
        (snapshot / "audio").mkdir(parents=True)
        blobs.mkdir()
        soundfile.write(blobs / "0a1b", RAMP, 16000, format="FLAC")
        soundfile.write(blobs / "4d5e", RAMP, 16000, format="MP3")
        (blobs / "2c3d").write_text('{"audio": "audio/one.flac"}\n{"audio": "audio/two.mp3"}\n')
        (snapshot / "audio/one.flac").symlink_to("../../../blobs/0a1b")
        (snapshot / "audio/two.mp3").symlink_to("../../../blobs/4d5e")
        (snapshot / "train.jsonl").symlink_to("../../blobs/2c3d")
        return snapshot

    def test_audio_is_beside_the_link_and_names_are_the_links(self, snapshot):
        one, two = read_manifest(snapshot / "train.jsonl")
        assert (one.id, one.audio) == ("train-000001", snapshot / "audio/one.flac")
        assert len(load_audio(one)) == len(load_audio(two)) == len(RAMP)

    def test_a_blob_without_extension_is_audio_like_any_other(self, snapshot):
        for blob in ("0a1b", "4d5e"):
            assert len(load_audio(Utterance("u", snapshot / "../../blobs" / blob))) == len(RAMP)

    def test_audio_beside_the_target_is_found_where_none_is_beside_the_link(self, tmp_path):
        (tmp_path / "data").mkdir()
        (tmp_path / "here").mkdir()
        target = manifest(tmp_path / "data", {"audio": "a.wav"}, {"audio": "b.wav"})
        soundfile.write(tmp_path / "data/b.wav", RAMP, 16000)
        soundfile.write(tmp_path / "here/b.wav", RAMP, 16000)
        link = tmp_path / "here" / "mine.jsonl"
        link.symlink_to(target)
        a, b = read_manifest(link)
        assert (a.audio, b.audio) == (tmp_path / "data/a.wav", tmp_path / "here/b.wav")
        assert a.id == "mine-000001"

    def test_a_link_to_nothing_says_so(self, snapshot):
        (snapshot.parent.parent / "blobs/0a1b").unlink()
        with pytest.raises(ManifestError, match=re.escape("is a link to ../../../blobs/0a1b, which does not exist")):
            read_manifest(snapshot / "train.jsonl")

    def test_a_recipe_names_the_link(self, snapshot):
        from distill.recipe.paths import resolve

        assert resolve("train.jsonl", snapshot) == str(snapshot / "train.jsonl")
        assert resolve("../rev/train.jsonl", snapshot) == str(snapshot / "train.jsonl")
