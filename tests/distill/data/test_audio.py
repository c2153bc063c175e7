import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.data.audio import AudioCache, AudioError, duration, load_audio
from distill.data.manifest import Utterance


def noise(seconds: float, rate: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    shape = (round(seconds * rate), channels) if channels > 1 else round(seconds * rate)
    return np.random.default_rng(seed).uniform(-0.5, 0.5, shape).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate: int = 16000, subtype: str = "FLOAT") -> Path:
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def refused(utterance: Utterance, problem: str):
    return pytest.raises(
        AudioError, match=f"^{re.escape(f'utterance {utterance.id!r} ({utterance.audio}): ')}{problem}"
    )


def test_a_whole_file_is_returned_exactly(tmp_path):
    samples = noise(0.5, 16000)
    loaded = load_audio(Utterance("u", write(tmp_path / "a.wav", samples)))
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, samples)


@settings(deadline=None)
@given(st.integers(0, 7999), st.integers(1, 8000))
def test_a_segment_is_the_slice_of_the_file(tmp_path_factory, begin, length):
    path = tmp_path_factory.getbasetemp() / "slices.wav"
    samples = noise(1, 16000)
    if not path.exists():
        write(path, samples)
    end = min(begin + length, 16000)
    utterance = Utterance("u", path, begin_time=begin / 16000, end_time=end / 16000)
    np.testing.assert_array_equal(load_audio(utterance), samples[begin:end])
    assert duration(utterance) == pytest.approx((end - begin) / 16000)


def test_a_segment_to_the_end(tmp_path):
    samples = noise(1, 16000)
    utterance = Utterance("u", write(tmp_path / "a.wav", samples), begin_time=0.75)
    np.testing.assert_array_equal(load_audio(utterance), samples[12000:])
    assert duration(utterance) == 0.25


def test_channels_are_averaged(tmp_path):
    samples = noise(0.1, 16000, channels=3)
    loaded = load_audio(Utterance("u", write(tmp_path / "a.wav", samples)))
    np.testing.assert_allclose(loaded, samples.astype(np.float64).mean(axis=1), atol=1e-7)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_resampling_keeps_a_tone_and_its_length(tmp_path, rate):
    # A 440 Hz tone has a closed form at every rate, so no resampler is needed to check one.
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    loaded = load_audio(Utterance("u", write(tmp_path / "a.wav", tone, rate)))
    assert abs(len(loaded) - 16000) <= 1
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(loaded)) / 16000)
    np.testing.assert_allclose(loaded[400:-400], expected[400:-400], atol=2e-4)


def test_resampling_removes_what_the_new_rate_cannot_hold(tmp_path):
    tone = 0.5 * np.sin(2 * np.pi * 11000 * np.arange(44100) / 44100)
    loaded = load_audio(Utterance("u", write(tmp_path / "a.wav", tone, 44100)))
    interpolated = np.interp(np.arange(16000) / 16000, np.arange(44100) / 44100, tone)
    assert np.sqrt(np.mean(interpolated**2)) > 0.1  # folded back to 5 kHz
    assert np.sqrt(np.mean(loaded[400:-400] ** 2)) < 1e-3


@pytest.mark.parametrize(("name", "subtype"), [("a.flac", "PCM_16"), ("a.ogg", "VORBIS"), ("a.mp3", "MPEG_LAYER_III")])
def test_compressed_files(tmp_path, name, subtype):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    utterance = Utterance("u", write(tmp_path / name, tone, subtype=subtype), begin_time=0.25, end_time=0.75)
    loaded = load_audio(utterance)
    assert len(loaded) == 8000
    assert np.corrcoef(loaded, tone[4000:12000])[0, 1] > 0.99


CODECS = {
    "FLAC": ("FLAC", "PCM_16", (44100,)),
    "MP3": ("MP3", "MPEG_LAYER_III", (8000, 44100)),
    "Vorbis": ("OGG", "VORBIS", (11025, 16000)),
    "Opus": ("OGG", "OPUS", (8000, 16000)),
    "mu-law": ("WAV", "ULAW", (8000,)),
    "GSM": ("WAV", "GSM610", (8000,)),  # libsndfile cannot seek there
    "AIFF": ("AIFF", "PCM_24", (32000,)),
}


def speech_like(seconds: float, rate: int, channels: int) -> np.ndarray:
    """A rising tone that comes and goes, so that no stretch is like another, with bursts of noise."""
    time = np.arange(round(seconds * rate)) / rate
    tone = 0.4 * np.sin(2 * np.pi * (200 + 70 * time) * time) * np.sin(2 * np.pi * 0.7 * time)
    mono = tone + np.where(time % 0.7 < 0.05, 0.1, 1e-3) * np.random.default_rng(0).uniform(-0.5, 0.5, len(time))
    return np.stack([(1 - 0.3 * channel) * mono for channel in range(channels)], axis=1)


@pytest.mark.parametrize(
    ("codec", "rate", "channels"),
    [(c, rate, n) for c, (*_, rates) in CODECS.items() for rate in rates for n in (1, 2) if (c, n) != ("GSM", 2)],
)
def test_segments_of_every_format_are_those_of_a_wav(tmp_path, codec, rate, channels):
    container, subtype, _ = CODECS[codec]
    samples = speech_like(12, rate, channels)
    with soundfile.SoundFile(tmp_path / "a", "w", rate, channels, format=container, subtype=subtype) as file:
        for start in range(0, len(samples), 4096):  # libsndfile's Vorbis encoder crashes on long writes
            file.write(samples[start : start + 4096])
    write(tmp_path / "a.wav", samples, rate)
    whole = soundfile.read(tmp_path / "a", always_2d=True)[0].mean(axis=1)
    for begin in (0.0, 0.3, 1.77, 4.9, 9.43, 11.6):
        times = {"begin_time": begin, "end_time": begin + 0.3}
        found = load_audio(Utterance("u", tmp_path / "a", **times), sampling_rate=rate)
        first = math.floor(begin * rate + 0.5)
        np.testing.assert_allclose(found, whole[first : first + len(found)], atol=2e-4)
        wav = load_audio(Utterance("u", tmp_path / "a.wav", **times), sampling_rate=rate)
        assert len(found) == len(wav)
        lags = np.correlate(found, wav[100:-100])
        assert np.argmax(lags) == 100
        assert lags[100] > 0.8 * np.sum(wav[100:-100] ** 2)


@pytest.mark.parametrize("bitrate_mode", ["CONSTANT", "VARIABLE"])
def test_a_segment_of_an_mp3_is_the_slice_of_the_decoded_file(tmp_path, bitrate_mode):
    # Sparse clicks fill the bit reservoir, on which later frames depend.
    time = np.arange(5 * 16000) / 16000
    clicks = np.where(time % 0.7 < 0.05, 0.4, 1e-4) * noise(5, 16000) + 0.3 * np.sin(2 * np.pi * 440 * time)
    path = tmp_path / "a.mp3"
    soundfile.write(path, clicks, 16000, bitrate_mode=bitrate_mode, compression_level=0.8)
    whole = load_audio(Utterance("u", path))
    for begin in np.arange(0.1, 4.5, 0.17):
        loaded = load_audio(Utterance("u", path, begin_time=begin, end_time=begin + 0.4))
        first = round(begin * 16000)
        np.testing.assert_allclose(loaded, whole[first : first + 6400], atol=1e-4)


def test_an_end_within_ten_milliseconds_of_the_file_end_is_allowed(tmp_path):
    path = write(tmp_path / "a.wav", noise(1, 16000))
    assert len(load_audio(Utterance("u", path, end_time=1.0099))) == 16000
    beyond = Utterance("u", path, end_time=1.011)
    with refused(
        beyond, r"ends at 1\.011 s, but the file ends at 1\.000 s; correct end_time in the manifest \(−1 means"
    ):
        load_audio(beyond)


@pytest.mark.parametrize("measure", [load_audio, duration])
def test_a_begin_beyond_the_file_end_is_refused(tmp_path, measure):
    utterance = Utterance("u", write(tmp_path / "a.wav", noise(1, 16000)), begin_time=1.0)
    with refused(utterance, r"begins at 1\.000 s, but the file ends at 1\.000 s; correct begin_time in the manifest"):
        measure(utterance)


@pytest.mark.parametrize("measure", [load_audio, duration])
def test_missing_unreadable_and_empty_files_are_refused(tmp_path, measure):
    missing = Utterance("m", tmp_path / "m.wav")
    with refused(missing, "the audio file does not exist; correct the path in the manifest or remove the line"):
        measure(missing)
    (tmp_path / "text.wav").write_text("not audio", encoding="utf-8")
    unreadable = Utterance("t", tmp_path / "text.wav")
    remedy = (
        r"give a readable file in a format of libsndfile \(.*\), and convert any other \(M4A, WebM …\), as in `ffmpeg"
    )
    with refused(unreadable, rf"cannot be opened \(.*\); {remedy} -i in\.m4a out\.flac`"):
        measure(unreadable)
    empty = Utterance("e", write(tmp_path / "e.wav", np.zeros(0)))
    with refused(empty, "has no samples; correct the times in the manifest or leave it out"):
        measure(empty)


def test_a_stretch_too_short_for_a_sample_is_refused(tmp_path):
    path = write(tmp_path / "a.wav", noise(1, 44100), 44100)
    for utterance in (Utterance("u", path, end_time=1e-6), Utterance("u", path, begin_time=1 - 1.01 / 44100)):
        with refused(utterance, "has no samples"):
            load_audio(utterance)


def test_a_file_cut_short_is_refused(tmp_path):
    problem = r"holds only \d\.\d{3} s of the 3\.000 s that its header promises; copy or encode"
    for name, subtype in (("a.flac", "PCM_16"), ("a.mp3", "MPEG_LAYER_III")):
        path = write(tmp_path / name, noise(3, 16000), subtype=subtype)
        os.truncate(path, path.stat().st_size // 2)
        utterance = Utterance("u", path)
        with refused(utterance, problem):
            load_audio(utterance)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_samples_that_are_not_finite_are_refused(tmp_path, value):
    samples = noise(0.1, 16000)
    samples[[3, 70]] = value
    utterance = Utterance("u", write(tmp_path / "a.wav", samples))
    with refused(utterance, "has 2 samples that are NaN or infinite; encode the file again or leave it out"):
        load_audio(utterance)
    assert len(load_audio(Utterance("u", utterance.audio, begin_time=0.05))) == 800


def test_long_audio_is_refused_and_never_cut(tmp_path):
    path = write(tmp_path / "a.wav", noise(3.5, 8000), 8000)
    whole = Utterance("u", path)
    with refused(
        whole, r"lasts 3\.500 s, longer than the limit of 3 s; split it by begin_time and end_time, leave it out"
    ):
        load_audio(whole, max_seconds=3)
    assert len(load_audio(whole, max_seconds=3.5)) == 56000
    assert len(load_audio(whole, max_seconds=math.inf)) == 56000


@settings(deadline=None)
@given(begin=st.floats(0, 0.4))
def test_exactly_the_limit_is_allowed_wherever_it_begins(tmp_path_factory, begin):
    path = tmp_path_factory.getbasetemp() / "limit.wav"
    if not path.exists():
        write(path, noise(1, 16000))
    assert len(load_audio(Utterance("u", path, begin_time=begin, end_time=begin + 0.5), max_seconds=0.5)) == 8000


def test_options_are_checked(tmp_path):
    utterance = Utterance("u", write(tmp_path / "a.wav", noise(0.1, 16000)))
    with pytest.raises(
        ValueError, match="sampling_rate = 0; give a positive number of samples a second, such as 16000"
    ):
        load_audio(utterance, sampling_rate=0)
    with pytest.raises(ValueError, match=r"max_seconds = nan; give a positive number of seconds, or math\.inf"):
        load_audio(utterance, max_seconds=math.nan)
    with pytest.raises(ValueError, match="max_mib = -1; give the memory for decoded audio in MiB, 0 or more"):
        AudioCache(max_mib=-1)
    with pytest.raises(ValueError, match="sampling_rate = -8000"):
        AudioCache(sampling_rate=-8000)


def test_duration_believes_the_times_of_the_manifest(tmp_path):
    path = write(tmp_path / "a.flac", noise(3, 22050), 22050, subtype="PCM_16")
    assert duration(Utterance("u", path, begin_time=1)) == pytest.approx(2)
    path.unlink()
    assert duration(Utterance("u", path, begin_time=1, end_time=2.5)) == 1.5


@pytest.fixture
def quarter_mib_files(tmp_path) -> list[Utterance]:
    samples = 2**18 // 4
    return [Utterance(f"u{i}", write(tmp_path / f"{i}.wav", noise(samples / 16000, 16000, seed=i))) for i in range(5)]


def test_the_cache_returns_what_decoding_returns(quarter_mib_files):
    cache = AudioCache(max_mib=4)
    for _ in range(2):
        for utterance in quarter_mib_files:
            np.testing.assert_array_equal(cache.load(utterance), load_audio(utterance))
    assert (cache.hits, cache.misses, len(cache)) == (5, 5, 5)


def test_the_cache_gives_up_the_least_recently_used_first(quarter_mib_files):
    a, b, c, d, _ = quarter_mib_files
    cache = AudioCache(max_mib=0.75)
    for utterance in (a, b, c, a, d):  # d drives out b, not the older a
        cache.load(utterance)
    assert (cache.misses, len(cache)) == (4, 3)
    cache.load(a)
    assert cache.misses == 4
    cache.load(b)
    assert cache.misses == 5


def test_the_cache_is_not_changed_by_its_users(quarter_mib_files):
    cache = AudioCache(max_mib=4)
    for _ in range(3):
        loaded = cache.load(quarter_mib_files[0])
        np.testing.assert_array_equal(loaded, load_audio(quarter_mib_files[0]))
        loaded[:] = 0


def test_the_cache_knows_segments_apart_and_labels_not(quarter_mib_files):
    path = quarter_mib_files[0].audio
    cache = AudioCache(max_mib=4)
    first = cache.load(Utterance("u", path, text="one", end_time=1))
    same = cache.load(Utterance("v", path, text="two", end_time=1))
    other = cache.load(Utterance("u", path, text="one", end_time=2))
    np.testing.assert_array_equal(first, same)
    assert (len(first), len(other), cache.hits) == (16000, 32000, 1)


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), max_size=30), st.sampled_from([0, 0.3, 0.5, 1.0]))
def test_the_cache_never_exceeds_its_memory(tmp_path_factory, visits, max_mib):
    folder = tmp_path_factory.getbasetemp()
    cache = AudioCache(max_mib=max_mib)
    for i in visits:
        path = folder / f"cached{i}.wav"
        if not path.exists():
            write(path, noise(2**16 * (i + 1) / 4 / 16000, 16000))
        assert len(cache.load(Utterance("u", path))) == 2**14 * (i + 1)
        assert cache._kept.currsize <= max_mib * 2**20
    assert cache.hits + cache.misses == len(visits)
    assert (max_mib > 0) or not len(cache)


def test_the_cache_limits_length(quarter_mib_files):
    cache = AudioCache(max_mib=1, max_seconds=1)
    with pytest.raises(AudioError, match=r"lasts 4\.096 s, longer than the limit of 1 s"):
        cache.load(quarter_mib_files[0])
    assert (cache.misses, len(cache)) == (0, 0)
