"""Clips without speech: the same for the same seed, at the levels that are stated, of the colors that are stated."""

import numpy as np
import pytest
import soundfile
from scipy import signal

from distill.data.audio import duration, load_audio
from distill.data.no_speech import NOISE_DB, SILENCE_DB, no_speech_clips
from overlap.errors import UserError


def samples(clips):
    return [load_audio(clip.utterance, max_seconds=60.0) for clip in clips]


def decibels(wave):
    return 20 * np.log10(np.sqrt(np.square(wave.astype(np.float64)).mean()))


def test_clips_have_names_kinds_durations_and_the_languages_in_turn():
    clips = no_speech_clips(2, 2, 1.5, languages=["English", None])
    assert [clip.utterance.id for clip in clips] == ["silence-000", "silence-001", "noise-000", "noise-001"]
    assert [clip.kind for clip in clips] == ["silence", "silence", "noise", "noise"]
    assert [clip.utterance.language for clip in clips] == ["English", None, "English", None]
    assert {duration(clip.utterance) for clip in clips} == {clip.seconds for clip in clips} == {1.5}
    assert {len(wave) for wave in samples(clips)} == {24_000}


def test_a_seed_makes_the_same_clips_and_more_clips_keep_the_first():
    few, many, other = no_speech_clips(3, 3, 0.5), no_speech_clips(5, 9, 0.5), no_speech_clips(3, 3, 0.5, seed=1)
    named = {clip.utterance.id: wave for clip, wave in zip(many, samples(many), strict=True)}
    for clip, wave in zip(few, samples(few), strict=True):
        np.testing.assert_array_equal(wave, named[clip.utterance.id])
    pairs = list(zip(samples(few), samples(other), strict=True))
    assert all((a != b).any() for a, b in pairs[1:])
    assert not np.concatenate(pairs[0]).any()  # the first silence is zeros
    said = [no_speech_clips(n, 2, 0.5, languages=["German", "English"])[-1].utterance.language for n in (0, 1, 2)]
    assert said == ["English"] * 3  # of the second noise, however many silences there are


def test_levels_are_within_what_is_stated():
    waves = samples(no_speech_clips(20, 20, 1.0))
    silence, noise = ([decibels(wave) for wave in part] for part in (waves[1:20], waves[20:]))
    assert SILENCE_DB[0] <= min(silence) < max(silence) <= SILENCE_DB[1]
    assert NOISE_DB[0] - 0.01 <= min(noise) < max(noise) <= NOISE_DB[1] + 0.01
    assert len({wave.tobytes() for wave in waves}) == 40


def test_noise_is_white_and_pink_in_turn():
    """Pink noise loses 3 dB an octave; Welch's estimate is scipy's."""
    white, pink = samples(no_speech_clips(0, 2, 20.0))
    for wave, slope in ((white, 0.0), (pink, -1.0)):
        hertz, power = signal.welch(wave, 16_000, nperseg=4096)
        inside = (hertz > 50) & (hertz < 7000)
        assert np.polyfit(np.log(hertz[inside]), np.log(power[inside]), 1)[0] == pytest.approx(slope, abs=0.06)


def test_recordings_are_drawn_in_turn_and_repeated_where_they_are_short(tmp_path):
    long, short = np.linspace(0.1, 0.2, 48_000), np.full(4000, -0.3)
    soundfile.write(tmp_path / "long.wav", long, 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", short, 16_000, subtype="FLOAT")
    waves = samples(no_speech_clips(0, 4, 1.0, background=str(tmp_path)))
    signs = [bool((wave > 0).all()) for wave in waves]
    assert sorted(signs[:2]) == sorted(signs[2:]) == [False, True]
    assert all(len(wave) == 16_000 for wave in waves)
    segments = [wave for wave, positive in zip(waves, signs, strict=True) if positive]
    assert all((np.diff(wave) > 0).all() for wave in segments)  # consecutive samples of the recording
    assert segments[0][0] != segments[1][0]


def test_what_cannot_be_made_is_refused(tmp_path):
    with pytest.raises(UserError, match="clip_seconds = 1e-05: shorter than a sample"):
        no_speech_clips(1, 0, 1e-5)
    with pytest.raises(UserError, match=f"background = '{tmp_path}': no audio files there; give a file or a folder"):
        no_speech_clips(0, 1, 1.0, background=str(tmp_path))
