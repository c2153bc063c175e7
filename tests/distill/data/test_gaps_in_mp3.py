"""MP3 files with a stretch that was lost, overwritten or filled: what is missing is known from how each was made."""

import re

import numpy as np
import pytest

from distill.data.audio import AudioWarning, load_audio
from distill.data.manifest import Utterance
from tests.distill.data.test_damaged_audio import (
    ID3_BEFORE,
    ID3_BEHIND,
    RATE,
    SPEECH,
    first_frame_bytes,
    heard,
    recording,
    refused,
)

LONG = np.tile(SPEECH, 4)  # 12 s
FRAME_BYTES = 400
"""A few more than a frame has here (360)."""
NOISE = np.random.default_rng(0)
FILLED = {"removed": lambda n: b"", "zeroed": bytes, "noise": NOISE.bytes}


def mp3(folder, mode="CONSTANT", samples=LONG) -> bytes:
    folder.mkdir(exist_ok=True)
    return recording(folder, "MP3", "MPEG_LAYER_III", samples, bitrate_mode=mode, compression_level=0.5).read_bytes()


def damaged(content: bytes, fill, begin=0.4, end=0.65) -> bytes:
    first, last = int(begin * len(content)) + 1, int(end * len(content)) + 1
    return content[:first] + fill(last - first) + content[last:]


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("fill", FILLED.values(), ids=list(FILLED))
def test_one_whose_header_promises_more_is_refused_up_to_the_gap(tmp_path, mode, fill):
    path = tmp_path / "a.mp3"
    content = mp3(tmp_path / "whole", mode)
    path.write_bytes(content)
    whole = heard(path)
    assert len(whole) == len(LONG)
    path = tmp_path / "b.mp3"
    path.write_bytes(damaged(content, fill))
    problem = r"holds only (4|5)\.\d\d\d s of the 12\.000 s that its header promises; copy or encode the file again"
    refused(path, problem)
    refused(path, problem, begin_time=9.0)
    refused(path, problem, begin_time=6.0, end_time=7.0)  # what stands there was said later
    np.testing.assert_allclose(heard(path, begin_time=1.0, end_time=4.0), whole[RATE : 4 * RATE], atol=1e-4)


def test_one_lost_frame(tmp_path):
    path = tmp_path / "a.mp3"
    content = mp3(tmp_path / "whole")
    path.write_bytes(damaged(content, bytes, 0.5, 0.5 + FRAME_BYTES / len(content)))
    refused(path, r"holds only \d\.\d\d\d s of the 12\.000 s")


def test_a_gap_larger_than_is_searched(tmp_path):
    content = mp3(tmp_path / "whole")
    path = tmp_path / "a.mp3"
    path.write_bytes(content[: len(content) // 2] + bytes(2**17) + content[len(content) // 2 :])
    refused(path, r"holds only \d\.\d\d\d s of the 12\.000 s")


@pytest.mark.parametrize("order", ["damaged first", "damaged last"])
def test_one_of_joined_files(tmp_path, order):
    """Whether or not the other says how long it is."""
    content = mp3(tmp_path / "whole")
    short = mp3(tmp_path / "other", samples=SPEECH)
    for other in (short, ID3_BEFORE + short[first_frame_bytes(short) :]):
        bad = damaged(content, bytes)
        path = tmp_path / "a.mp3"
        path.write_bytes(bad + ID3_BEHIND + other if order == "damaged first" else other + ID3_BEHIND + bad)
        refused(path, r"holds only \d\.\d\d\d s of the 15\.\d+ s that its header promises")


def test_bytes_between_joined_files_that_are_whole_are_no_gap(tmp_path):
    content = mp3(tmp_path / "whole")
    path = tmp_path / "a.mp3"
    path.write_bytes(content)
    whole = heard(path)
    path.write_bytes(content + bytes(3000) + content)
    np.testing.assert_array_equal(heard(path), np.concatenate([whole, whole]))


def without_header(folder) -> bytes:
    content = mp3(folder)
    return content[first_frame_bytes(content) :]


@pytest.mark.parametrize("fill", [bytes, NOISE.bytes], ids=["zeroed", "noise"])
def test_one_that_promises_nothing_is_heard_and_the_gap_said(tmp_path, fill):
    path = tmp_path / "a.mp3"
    path.write_bytes(damaged(without_header(tmp_path / "whole"), fill))
    with pytest.warns(
        AudioWarning, match=rf"{re.escape(str(path))}: \d+,\d{{3}} bytes within it are no frames of MPEG"
    ):
        assert 8 < len(load_audio(Utterance("u", path))) / RATE < 10


@pytest.mark.parametrize("n", [2**13, 2**17])
def test_an_end_of_something_else_is_said(tmp_path, n):
    path = tmp_path / "a.mp3"
    path.write_bytes(without_header(tmp_path / "whole") + bytes(n))
    with pytest.warns(AudioWarning, match=rf"its last {n:,} bytes are no frames of MPEG; it is decoded to its end at"):
        assert 12 <= len(load_audio(Utterance("u", path))) / RATE < 12.2


def test_padding_behind_a_file_whose_header_is_right_is_none_of_it(tmp_path):
    path = tmp_path / "a.mp3"
    path.write_bytes(mp3(tmp_path / "whole") + bytes(2**17))
    assert len(heard(path)) == len(LONG)
