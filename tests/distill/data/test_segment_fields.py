"""Lines that say in other words which stretch is meant: heard as they say, or refused; never the whole file."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distill.data.audio import load_audio
from distill.data.manifest import ManifestError, Utterance, read_manifest

RAMP = np.arange(32000, dtype=np.float32) / 32000  # 2 s, in which every sample says where it stands


def only(folder: Path, **line: object) -> Utterance:
    soundfile.write(folder / "a.wav", RAMP, 16000, subtype="FLOAT")
    path = folder / "train.jsonl"
    path.write_text(json.dumps({"audio": "a.wav", "text": "one"} | line) + "\n", encoding="utf-8")
    (utterance,) = read_manifest(path)
    return utterance


def stretch(folder: Path, **line: object) -> tuple[float, float]:
    """First and last second that are heard."""
    heard = load_audio(only(folder, **line))
    return round(float(heard[0]) * 2, 3), round(float(heard[-1]) * 2 + 1 / 16000, 3)


def refused(folder: Path, message: str, **line: object) -> None:
    with pytest.raises(ManifestError, match=re.escape(f"{folder / 'train.jsonl'}:1: ") + f".*{message}"):
        only(folder, **line)


class TestHalfConverted:
    def test_a_begin_and_a_duration(self, tmp_path):
        message = 'field "duration" stands beside "begin_time" without "end_time", .*; write "end_time" instead'
        refused(tmp_path, message, begin_time=0.5, duration=0.5)
        refused(tmp_path, message, begin_time=0, duration=0.5)

    def test_an_end_and_a_duration(self, tmp_path):
        refused(
            tmp_path, 'beside "end_time" without "begin_time", .*; write "begin_time" instead', end_time=1, duration=0.5
        )

    @pytest.mark.parametrize("begin", [-1, 0])
    def test_an_unset_pair_beside_an_offset(self, tmp_path, begin):
        message = 'fields "offset" and "duration" say other times than "begin_time" and "end_time"; remove one pair'
        refused(tmp_path, message, begin_time=begin, end_time=-1, offset=0.5, duration=0.5)
        refused(tmp_path, message, begin_time=begin, end_time=-1, offset=0, duration=0.5)

    def test_one_that_agrees_is_completed(self, tmp_path):
        assert stretch(tmp_path, begin_time=0.5, offset=0.5, duration=0.5) == (0.5, 1.0)
        assert stretch(tmp_path, end_time=1.0, offset=0.5, duration=0.5) == (0.5, 1.0)
        assert stretch(tmp_path, begin_time=-1, offset=0, duration=0.5) == (0.0, 0.5)
        assert stretch(tmp_path, begin_time=0.5, offset=0.5) == (0.5, 2.0)

    def test_both_times_need_no_duration(self, tmp_path):
        assert stretch(tmp_path, begin_time=0.5, end_time=1.0, duration=2.0, duration_ms=2000, start=8000) == (0.5, 1.0)
        assert stretch(tmp_path, begin_time=-1, end_time=-1, duration=2.0) == (0.0, 2.0)


UNREAD = {
    "begin_time": [
        "start_sec", "begin_ms", "start_frame", "frame_offset", "t0", "from", "Start", "startTime", "begin_time_ms",
    ],
    "end_time": ["end_sec", "end_ms", "end_frame", "t1", "to", "END", "stop_sample"],
    "offset": ["offset_ms", "offset_sec", "Offset"],
    "duration": ["duration_ms", "durationSeconds", "Duration"],
}  # fmt: skip


class TestUnreadTimes:
    @pytest.mark.parametrize(("name", "meant"), [(name, meant) for meant, names in UNREAD.items() for name in names])
    def test_alone(self, tmp_path, name, meant):
        refused(tmp_path, f'field "{name}" (is not read|cannot be used, .*unit.*); write it as "{meant}"', **{name: 1})

    def test_a_name_in_other_letters_is_not_said_to_be_of_unknown_unit(self, tmp_path):
        refused(tmp_path, 'field "Offset" is not read; write it as "offset"', Offset=0.5)

    def test_a_length_may_be_the_files(self, tmp_path):
        refused(tmp_path, "in seconds, or remove it if it only says how long the file is", duration_ms=500)

    @pytest.mark.parametrize("value", [[0.5, 1.0], {"start": 0.5, "end": 1.0}])
    def test_pairs(self, tmp_path, value):
        refused(
            tmp_path, 'field "timestamp" is not read; write its numbers as "begin_time" and "end_time"', timestamp=value
        )
        assert stretch(tmp_path, timestamp=value, begin_time=0.5, end_time=1.0) == (0.5, 1.0)

    def test_segments(self, tmp_path):
        message = 'field "segments" is not read, .*; write a line with "begin_time", "end_time" and "text" for each'
        refused(tmp_path, message, segments=[[0.5, 1.0]])
        refused(tmp_path, message, text=None, segments=[{"start": 0, "end": 1, "text": "one"}])
        parts = [{"start": 0, "end": 1, "text": "one"}]
        assert stretch(tmp_path, text="one", segments=parts) == (0, 2.0)  # as Whisper writes them beside the whole text

    def test_what_is_no_time(self, tmp_path):
        extra = {
            "timestamp": "2024-05-01T10:00:00", "time": 1714550400, "from": "ann@example.org", "to": "everyone",
            "num_frames": 32000, "words": [[0, 1], [1, 2]], "times": [1, 2, 3], "segments": [], "ending": "er",
            "start": None, "range": ["a", "b"], "frame_rate": 50, "sampling_rate": 16000, "window": "hann",
        }  # fmt: skip
        kept = {name: value for name, value in extra.items() if value is not None}
        assert only(tmp_path, **extra).extra.items() >= kept.items()
        assert stretch(tmp_path, **extra) == (0, 2.0)

    def test_lines_of_text_models_keep_theirs(self, tmp_path):
        assert only(tmp_path, audio=None, prompt="p", start_sec=1, task="translate").extra == {
            "start_sec": 1,
            "task": "translate",
        }


class TestChannelsAndTasks:
    @pytest.mark.parametrize("name", ["channel", "channel_id", "Channel", "channelIndex", "channel_selector"])
    @pytest.mark.parametrize("value", [1, "1", "left", [1]])
    def test_one_channel_of_several(self, tmp_path, name, value):
        refused(tmp_path, f'field "{name}" cannot be taken: channels are averaged; write one channel', **{name: value})

    @pytest.mark.parametrize("line", [{"channel": 0}, {"channel": "0"}, {"channel_id": "telephone"}, {"channels": 1}])
    def test_what_is_none(self, tmp_path, line):
        assert only(tmp_path, **line).extra == line

    @pytest.mark.parametrize("line", [{"task": "translate"}, {"taskname": "s2t_translation"}, {"task_name": "ast"}])
    def test_translations(self, tmp_path, line):
        refused(tmp_path, "a translation; leave the line out; models learn what is said", **line)

    def test_transcriptions(self, tmp_path):
        assert only(tmp_path, task="transcribe").extra == {"task": "transcribe"}
