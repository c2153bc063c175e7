"""Clips without speech: silence and noise, generated or drawn from recordings, as a pure function of a seed."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from overlap.errors import UserError

from ..models.base import SAMPLING_RATE
from .audio import duration, load_audio
from .backgrounds import background_files
from .manifest import Utterance
from .stored_audio import StoredAudio

Kind = Literal["silence", "noise"]
SILENCE_DB, NOISE_DB = (-90.0, -70.0), (-50.0, -20.0)
"""Levels of generated clips, root mean square relative to full scale; each clip's is drawn uniformly."""
LOWEST_HZ = 20.0
"""Pink noise is flat below."""
_BYTES_PER_SAMPLE = 4


@dataclass(frozen=True)
class NoSpeechClip:
    """A clip in which nobody speaks.

    Attributes:
        kind: What is heard.
        utterance: The clip, for models.
        seconds: Its duration.
    """

    kind: Kind
    utterance: Utterance
    seconds: float


def no_speech_clips(
    silence: int,
    noise: int,
    seconds: float,
    *,
    background: str | None = None,
    seed: int = 0,
    languages: Sequence[str | None] = (None,),
) -> tuple[NoSpeechClip, ...]:
    """Return clips of silence, then of noise; more of a kind leave the first ones as they are.

    Args:
        silence: Clips of silence. The first is all zeros; others have faint white noise, because equal clips have equal
            transcripts.
        noise: Clips of noise: white and pink in turn, or drawn from the recordings.
        seconds: Duration of each.
        background: An audio file or a folder of them; shorter recordings are repeated. None generates noise.
        seed: Of levels, samples and the choice of segments.
        languages: Of the clips, in turn; models that are asked in a language need one.

    Raises:
        MissingExtraError: Recordings, and the extra `augment` is not installed.
        UserError: No recordings there, or clips shorter than a sample.
        AudioError: A recording that cannot be read.
    """
    n_samples = round(seconds * SAMPLING_RATE)
    if n_samples < 1:
        raise UserError(f"clip_seconds = {seconds:g}: shorter than a sample; give a tenth of a second or more")
    makers: dict[Kind, list[Callable[[], NDArray[np.float32]]]] = {
        "silence": [partial(_silence, n_samples, seed, i) for i in range(silence)],
        "noise": [partial(_noise, n_samples, seed, i) for i in range(noise)],
    }
    if noise and background is not None:
        files = [_recording(path) for path in background_files(background)]
        if not files:
            raise UserError(f"background = {background!r}: no audio files there; give a file or a folder of them")
        lengths = [duration(file) for file in files]
        makers["noise"] = [partial(_drawn, files, lengths, seconds, seed, i) for i in range(noise)]
    size = _encoded(lambda: np.zeros(0, np.float32)).seek(0, io.SEEK_END) + n_samples * _BYTES_PER_SAMPLE
    clips: list[NoSpeechClip] = []
    for kind, of_kind in makers.items():
        for i, make in enumerate(of_kind):
            name = f"{kind}-{i:03d}"
            audio = StoredAudio(f"{name} of {seconds:g} s, seed {seed}, {background}", size, partial(_encoded, make))
            language = languages[i % len(languages)] if languages else None
            utterance = Utterance(id=name, audio=audio, language=language)
            clips.append(NoSpeechClip(kind, utterance, n_samples / SAMPLING_RATE))
    return tuple(clips)


def _encoded(make: Callable[[], NDArray[np.float32]]) -> BinaryIO:
    file = io.BytesIO()
    soundfile.write(file, make(), SAMPLING_RATE, format="WAV", subtype="FLOAT")
    file.seek(0)
    return file


def _generator(kind: str, seed: int, i: int) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(kind.encode()), seed, i])


def _silence(n: int, seed: int, i: int) -> NDArray[np.float32]:
    if i == 0:
        return np.zeros(n, np.float32)
    generator = _generator("silence", seed, i)
    return _at_level(generator.standard_normal(n), generator.uniform(*SILENCE_DB))


def _noise(n: int, seed: int, i: int) -> NDArray[np.float32]:
    generator = _generator("noise", seed, i)
    samples = generator.standard_normal(n)
    if i % 2:
        # Equal power in every octave: amplitudes fall with the root of the frequency.
        hertz = np.fft.rfftfreq(n, 1 / SAMPLING_RATE)
        samples = np.fft.irfft(np.fft.rfft(samples) / np.sqrt(np.maximum(hertz, LOWEST_HZ)), n)
    return _at_level(samples, generator.uniform(*NOISE_DB))


def _at_level(samples: NDArray[np.float64], decibels: float) -> NDArray[np.float32]:
    size = math.sqrt(float(np.square(samples).mean()))
    scale = 10 ** (decibels / 20) / size if size else 0.0
    return (samples * scale).clip(-1.0, 1.0).astype(np.float32)


def _recording(path: Path) -> Utterance:
    return Utterance(id=path.name, audio=Path(path))


def _drawn(
    files: Sequence[Utterance], lengths: Sequence[float], seconds: float, seed: int, i: int
) -> NDArray[np.float32]:
    """Return a segment of a recording; all are used once before any is used twice."""
    n_samples = round(seconds * SAMPLING_RATE)
    order = _generator("files", seed, i // len(files)).permutation(len(files))
    which = int(order[i % len(files)])
    file, spare = files[which], lengths[which] - seconds
    if spare <= 0:
        samples = load_audio(file, sampling_rate=SAMPLING_RATE, max_seconds=math.inf)
        return np.resize(samples, n_samples)
    begin = _generator("segments", seed, i).uniform(0.0, spare)
    cut = Utterance(id=file.id, audio=file.audio, begin_time=begin, end_time=begin + seconds)
    return np.resize(load_audio(cut, sampling_rate=SAMPLING_RATE, max_seconds=math.inf), n_samples)
