"""Files whose header says less, or more, than there is: heard as it says with a word, or refused."""

import re
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest

from distill.data.audio import AudioWarning, load_audio
from distill.data.manifest import Utterance
from tests.distill.data.test_damaged_audio import RATE, SPEECH, heard, recording, refused, stored

STALE = RATE // 2  # samples, of 3 s
LIST = b"LIST" + struct.pack("<I", 20) + b"INFOISFT" + struct.pack("<I", 8) + b"Lavf5800"


def wav(folder: Path, *, riff: int | None = None, data: int | None = None, behind: bytes = b"") -> Path:
    """A recording of 3 s with other sizes in its header."""
    path = recording(folder, "WAV", "PCM_16")
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    if riff is not None:
        struct.pack_into("<I", content, 4, riff)
    if data is not None:
        struct.pack_into("<I", content, at, data)
    path.write_bytes(content + behind)
    return path


def said(path: Path, n: int) -> None:
    """Half a second is heard, and how much was not is said."""
    for source in (path, stored(path)):
        words = f"{source}: {n:,} bytes follow the samples that its header promises"
        with pytest.warns(AudioWarning, match=re.escape(words) + r".*-ignore_length 1.*at 0\.500 s"):
            loaded = load_audio(Utterance("u", source))
        assert len(loaded) == STALE
        np.testing.assert_allclose(loaded, SPEECH[:STALE], atol=1e-4)


@pytest.mark.parametrize("riff", [36 + 2 * STALE, None, 2**32 - 1, 0], ids=["stale", "right", "unknown", "zero"])
def test_a_wav_of_a_recorder_that_was_stopped(tmp_path, riff):
    said(wav(tmp_path, riff=riff, data=2 * STALE), 2 * (len(SPEECH) - STALE))


def test_an_au_of_one(tmp_path):
    path = recording(tmp_path, "AU", "PCM_16")
    content = bytearray(path.read_bytes())
    content[8:12] = struct.pack(">I", 2 * STALE)
    path.write_bytes(content)
    said(path, 2 * (len(SPEECH) - STALE))


def test_an_aiff_of_one(tmp_path):
    path = recording(tmp_path, "AIFF", "PCM_16")
    content = bytearray(path.read_bytes())
    at = content.index(b"COMM")
    struct.pack_into(">I", content, at + 10, STALE)
    struct.pack_into(">I", content, content.index(b"SSND") + 4, 8 + 2 * STALE)
    path.write_bytes(content)
    said(path, 2 * (len(SPEECH) - STALE))


def test_an_rf64_of_one(tmp_path):
    path = recording(tmp_path, "RF64", "PCM_16")
    content = bytearray(path.read_bytes())
    at = content.index(b"ds64")
    assert struct.unpack_from("<Q", content, at + 16)[0] == 2 * len(SPEECH)
    struct.pack_into("<Q", content, at + 16, 2 * STALE)
    path.write_bytes(content)
    said(path, 2 * (len(SPEECH) - STALE))


@pytest.mark.parametrize(
    "behind",
    [
        LIST,
        LIST + LIST,
        b"id3 " + struct.pack("<I", 9000) + b"\xff" * 9000,
        bytes(20000),
        LIST + bytes(9000),
        b"\xff" * 99,
    ],
    ids=["list", "lists", "id3", "padding", "list and padding", "a few bytes"],
)
def test_what_stands_behind_the_samples_by_right(tmp_path, behind):
    whole = heard(wav(tmp_path))
    path = wav(tmp_path, behind=behind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(load_audio(Utterance("u", path)), whole)


def test_a_chunk_behind_an_odd_number_of_bytes_that_was_not_padded(tmp_path):
    path = recording(tmp_path, "WAV", "PCM_U8", SPEECH[:-1])
    content = path.read_bytes()
    content = content[: content.index(b"data") + 8 + len(SPEECH) - 1]
    for behind in (LIST, b"\0" + LIST):
        path.write_bytes(content + behind)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert len(load_audio(Utterance("u", path))) == len(SPEECH) - 1


@pytest.mark.parametrize("riff", [None, 36 + 4 * len(SPEECH)], ids=["right", "as long"])
def test_a_wav_that_promises_twice_what_it_holds(tmp_path, riff):
    refused(
        wav(tmp_path, riff=riff, data=4 * len(SPEECH)), r"holds only 3\.000 s of the 6\.000 s that its header promises"
    )


@pytest.mark.parametrize("kind", ["WAV", "AIFF"])
def test_joined_files_are_named_as_such_with_their_remedy(tmp_path, kind):
    path = recording(tmp_path, kind, "PCM_16")
    path.write_bytes(path.read_bytes() * 2)
    refused(path, r"cannot be opened \(.*\): it is several files, one behind another; join their samples, as in `sox")


def test_what_is_no_audio_is_not_called_joined(tmp_path):
    path = tmp_path / "recording"
    path.write_bytes(b"RIFF" + struct.pack("<I", 4) + b"AVI ")
    refused(path, r"cannot be opened \([^)]*\); give a readable file")
