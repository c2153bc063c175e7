"""Recordings that were cut, joined, or streamed by a writer that never learned their length.

What is right is known from how each file was made; nothing here asks the code under test where a file ends.
"""

import io
import os
import re
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distill.data.audio import AudioError, AudioWarning, duration, load_audio
from distill.data.manifest import Utterance
from distill.data.stored_audio import StoredAudio

RATE, SECONDS = 16000, 3
TIME = np.arange(SECONDS * RATE) / RATE
SPEECH = (0.4 * np.sin(2 * np.pi * (200 + 70 * TIME) * TIME) * np.sin(2 * np.pi * 0.7 * TIME)).astype(np.float32)

WITH_LENGTH = {
    "WAV": "PCM_16",
    "WAV of floats": "FLOAT",
    "WAV of GSM": "GSM610",
    "WAVEX": "PCM_24",
    "RF64": "PCM_16",
    "W64": "PCM_16",
    "AIFF": "PCM_16",
    "AU": "PCM_16",
    "NIST": "PCM_16",
    "FLAC": "PCM_16",
    "MP3": "MPEG_LAYER_III",
}
JOINED = {"OGG": "VORBIS", "OGG of Opus": "OPUS", "FLAC": "PCM_16", "MP3": "MPEG_LAYER_III"}


def recording(folder: Path, kind: str, subtype: str, samples: np.ndarray = SPEECH, rate: int = RATE, **options) -> Path:
    path = folder / "recording"
    kind = kind.split()[0]
    with soundfile.SoundFile(path, "w", rate, 1, format=kind, subtype=subtype, **options) as file:
        for start in range(0, len(samples), 4096):  # libsndfile's Vorbis encoder crashes on long writes
            file.write(samples[start : start + 4096])
    return path


def stored(path: Path) -> StoredAudio:
    """As a data set holds it."""
    content = path.read_bytes()
    return StoredAudio(f"{path} of {len(content)} bytes", len(content), lambda: io.BytesIO(content))


def heard(path: Path, **times: float) -> np.ndarray:
    """The samples, from a path and from bytes."""
    loaded = load_audio(Utterance("u", path, **times))
    np.testing.assert_array_equal(load_audio(Utterance("u", stored(path), **times)), loaded)
    assert duration(Utterance("u", path, **times)) == pytest.approx(len(loaded) / RATE, abs=1e-4)
    return loaded


def refused(path: Path, message: str, **times: float) -> None:
    """By whatever reads it or asks how long it is, with the name of the file."""
    for source in (path, stored(path)):
        with pytest.raises(AudioError, match=re.escape(f"utterance 'u' ({source}): ") + message):
            load_audio(Utterance("u", source, **times))
        if "end_time" not in times:
            with pytest.raises(AudioError, match=message):
                duration(Utterance("u", source, **times))


@pytest.mark.parametrize("kind", WITH_LENGTH)
def test_what_is_cut_short_is_refused_with_both_lengths_and_can_be_heard_up_to_the_cut(tmp_path, kind):
    path = recording(tmp_path, kind, WITH_LENGTH[kind])
    whole = heard(path)
    os.truncate(path, path.stat().st_size * 6 // 10)
    problem = (
        r"holds only 1\.[78]\d\d s of the (3\.0|2\.99)\d+ s that its header promises; copy or encode the file again"
    )
    refused(path, problem)
    refused(path, problem, begin_time=0.5)
    refused(path, problem, begin_time=1.2, end_time=2.5)
    refused(path, problem, begin_time=2.2, end_time=2.5)
    before = heard(path, begin_time=0.2, end_time=0.9)
    np.testing.assert_allclose(before, whole[3200:14400], atol=1e-4)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_cut_within_a_page_is_refused(tmp_path, subtype):
    path = recording(tmp_path, "OGG", subtype, np.tile(SPEECH, 6))
    whole = load_audio(Utterance("u", path))
    os.truncate(path, path.stat().st_size // 2)
    refused(path, r"holds only \d\.\d{3} s: it was cut short within a page; copy or encode the file again")
    np.testing.assert_allclose(heard(path, begin_time=0.5, end_time=1.5), whole[8000:24000], atol=1e-4)


def test_an_ogg_without_a_last_page_is_heard_and_said(tmp_path):
    path = recording(tmp_path, "OGG", "VORBIS", np.tile(SPEECH, 6))
    content = path.read_bytes()
    path.write_bytes(content[: content.rfind(b"OggS")])
    with pytest.warns(AudioWarning, match=rf"{re.escape(str(path))}: it has no last page: .*; it is decoded to"):
        assert 1 < len(load_audio(Utterance("u", path))) / RATE < 18


@pytest.mark.parametrize("kind", JOINED)
def test_files_that_were_joined_are_heard_one_after_another(tmp_path, kind):
    path = recording(tmp_path, kind, JOINED[kind])
    first = heard(path)
    content = path.read_bytes()
    other = recording(tmp_path, kind, JOINED[kind], SPEECH[::-1].copy())
    second = heard(other)
    other.write_bytes(content + other.read_bytes())
    both = heard(other)
    np.testing.assert_array_equal(both, np.concatenate([first, second]))
    np.testing.assert_array_equal(heard(other, begin_time=2.5, end_time=4.25), both[40000:68000])


@pytest.mark.parametrize("kind", ["OGG", "MP3"])
def test_joined_files_of_different_rates_are_refused(tmp_path, kind):
    first = recording(tmp_path, kind, JOINED[kind]).read_bytes()
    path = recording(tmp_path, kind, JOINED[kind], rate=24000)
    path.write_bytes(first + path.read_bytes())
    refused(path, "is joined from recordings of 16000 and 24000 Hz; join them again at one rate and number of channels")


@pytest.mark.parametrize("kind", ["WAV", "AIFF"])
def test_joined_files_that_cannot_be_read_are_refused(tmp_path, kind):
    path = recording(tmp_path, kind, "PCM_16")
    path.write_bytes(path.read_bytes() * 2)
    refused(path, "cannot be opened")


# An MP3's first frame is its encoder's header, which has a name, flags and a count; ID3 tags stand before and behind.
ID3_BEFORE = b"ID3\4\0\0\0\0\1\0" + b"\xff\xfb" * 64
ID3_BEHIND = b"TAG" + b"x" * 125


def first_frame_bytes(content: bytes) -> int:
    """Up to the next frame of MPEG-2, layer III, which all begin alike."""
    return content.index(b"\xff\xf3", 4)


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize(
    "without",
    {
        "name": lambda mp3: mp3.replace(b"Xing", bytes(4)).replace(b"Info", bytes(4)),
        "header": lambda mp3: mp3[first_frame_bytes(mp3) :],
        "header, with tags": lambda mp3: ID3_BEFORE + mp3[first_frame_bytes(mp3) :] + ID3_BEHIND,
    }.values(),
    ids=["name", "header", "header, with tags"],
)
def test_an_mp3_that_does_not_say_how_long_it_is_is_heard_to_its_end(tmp_path, mode, without: Callable[[bytes], bytes]):
    path = recording(tmp_path, "MP3", "MPEG_LAYER_III", bitrate_mode=mode, compression_level=0.7)
    path.write_bytes(without(path.read_bytes()))
    loaded = heard(path)
    assert SECONDS <= len(loaded) / RATE < SECONDS + 0.15  # encoders pad, and here nothing says by how much
    delay = int(np.argmax(np.correlate(loaded, SPEECH[:-2400])))
    assert np.corrcoef(loaded[delay : delay + len(SPEECH) - 2400], SPEECH[:-2400])[0, 1] > 0.99
    np.testing.assert_allclose(heard(path, begin_time=2.0, end_time=2.7), loaded[32000:43200], atol=1e-4)


def test_an_mp3_with_tags_before_and_behind_is_the_same(tmp_path):
    path = recording(tmp_path, "MP3", "MPEG_LAYER_III")
    plain = heard(path)
    path.write_bytes(ID3_BEFORE + path.read_bytes() + ID3_BEHIND)
    np.testing.assert_array_equal(heard(path), plain)


def test_an_mp3_that_ends_within_a_frame_is_heard_and_said(tmp_path):
    path = recording(tmp_path, "MP3", "MPEG_LAYER_III", bitrate_mode="VARIABLE")
    content = path.read_bytes()
    path.write_bytes(content[first_frame_bytes(content) : -20])
    with pytest.warns(AudioWarning, match="it ends within a frame; it is decoded to its end at"):
        assert len(load_audio(Utterance("u", path))) / RATE > SECONDS - 0.1


SIZES = {
    "zeros": (0, 0),
    "no samples yet": (36, 0),
    "largest": (2**32 - 1, 2**32 - 1),
    "largest less header": (2**32 - 1, 2**32 - 37),
    "sox": (0x7FFFF024, 0x7FFFF000),
    "arecord": (0x80000024, 0x80000000),
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=list(SIZES))
def test_a_wav_whose_size_was_never_written_is_heard_to_its_end(tmp_path, sizes):
    path = recording(tmp_path, "WAV", "PCM_16")
    whole = heard(path)
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, 4, sizes[0])
    struct.pack_into("<I", content, content.index(b"data") + 4, sizes[1])
    path.write_bytes(content)
    np.testing.assert_array_equal(heard(path), whole)
    np.testing.assert_array_equal(heard(path, begin_time=2.0, end_time=2.5), whole[32000:40000])
    refused(path, r"ends at 4\.000 s, but the file ends at 3\.000 s; correct end_time", begin_time=1, end_time=4)


def test_an_au_of_unknown_size_is_heard_to_its_end(tmp_path):
    path = recording(tmp_path, "AU", "PCM_16")
    whole = heard(path)
    content = bytearray(path.read_bytes())
    content[8:12] = b"\xff" * 4
    path.write_bytes(content)
    np.testing.assert_array_equal(heard(path), whole)


def test_a_flac_of_unknown_length_is_heard_to_its_end(tmp_path):
    path = recording(tmp_path, "FLAC", "PCM_16")
    whole = heard(path)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the low four of the 36 bits that hold the number of samples, and the other 32
    content[22:26] = bytes(4)
    path.write_bytes(content)
    np.testing.assert_array_equal(heard(path), whole)
    np.testing.assert_array_equal(heard(path, begin_time=2.0, end_time=2.5), whole[32000:40000])
    refused(path, r"ends at 4\.000 s, but the file ends at 3\.000 s", begin_time=1, end_time=4)


def test_a_wav_that_is_empty_by_its_own_word_is_no_stream(tmp_path):
    path = recording(tmp_path, "WAV", "PCM_16", SPEECH[:0])
    refused(path, "has no samples")
    path.write_bytes(path.read_bytes()[:44])
    refused(path, "has no samples")


def test_empty_files_and_pointers_are_told_apart_from_unknown_formats(tmp_path):
    empty, pointer = tmp_path / "empty.wav", tmp_path / "pointer.wav"
    empty.touch()
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    refused(empty, r"is an empty file \(0 bytes\); copy it again or leave it out")
    refused(pointer, r"is a pointer of Git LFS, not the audio; get its content with `git lfs pull`")


def test_samples_far_above_full_scale_are_said_with_file_and_peak_once(tmp_path):
    path = tmp_path / "loud.wav"
    soundfile.write(path, 20000 * SPEECH / np.abs(SPEECH).max(), RATE, subtype="FLOAT")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        for _ in range(2):
            load_audio(Utterance("u", path))
    assert [str(one.message) for one in said] == [
        f"{path}: its largest sample is 2e+04, where 1 is full scale; models get these samples unchanged. Divide the "
        "samples by their scale, such as 32768, and write the file again"
    ]
    soundfile.write(path, 1.5 * SPEECH / np.abs(SPEECH).max(), RATE, subtype="FLOAT")  # as decoders overshoot
    load_audio(Utterance("u", path))


def test_a_file_that_is_mended_is_looked_at_again(tmp_path):
    path = recording(tmp_path, "WAV", "PCM_16")
    content = path.read_bytes()
    path.write_bytes(content[:20000])
    with pytest.raises(AudioError, match="holds only"):
        load_audio(Utterance("u", path))
    path.write_bytes(content)
    assert len(load_audio(Utterance("u", path))) == len(SPEECH)
