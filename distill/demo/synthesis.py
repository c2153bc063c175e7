"""Speak a text with eSpeak NG in one of the demonstration's synthetic voices."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr

from distill.demo.voices import Voice

SAMPLE_RATE = 16_000


def require_engine() -> None:
    """Check that the speech synthesizer can be run.

    Raises:
        FileNotFoundError: If it is not on PATH; the message names its Debian package.
    """
    if shutil.which("espeak-ng") is None:
        raise FileNotFoundError(
            "espeak-ng not found on PATH: the corpus is spoken by it. On Debian or Ubuntu: apt install espeak-ng"
        )


@contextmanager
def data_with_voices(voices: Iterable[Voice]) -> Iterator[Path]:
    """Lay out the synthesizer's data with the voices' variants in it.

    Args:
        voices: Voices that are to speak.

    Yields:
        A folder for `speak`, gone afterwards.

    Raises:
        RuntimeError: If the synthesizer does not say where its data lie.
    """
    about = subprocess.run(["espeak-ng", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"Data at: (.+)", about)
    if found is None:
        raise RuntimeError(f"espeak-ng --version names no data folder: {about!r}; use eSpeak NG 1.50 or newer")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "espeak-ng-data"
        variants = data / "voices" / "!v"
        variants.mkdir(parents=True)
        for path in Path(found[1].strip()).iterdir():
            if path.name != "voices":
                (data / path.name).symlink_to(path)
        for voice in voices:
            (variants / voice.name).write_text(voice.variant, encoding="utf-8")
        yield Path(folder)


def trim_silence(samples: np.ndarray, *, floor_db: float = -40.0, keep_s: float = 0.02) -> np.ndarray:
    """Cut leading and trailing silence.

    Args:
        samples: Mono samples `[time]` at `SAMPLE_RATE`.
        floor_db: A 10 ms frame this far below the loudest is silence.
        keep_s: Seconds kept on either side.

    Returns:
        The part from the first to the last frame that is not silent.
    """
    hop = SAMPLE_RATE // 100
    frames = samples[: len(samples) // hop * hop].reshape(-1, hop)
    power = np.square(frames).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (floor_db / 10))
    keep = round(keep_s * SAMPLE_RATE)
    return samples[max(0, loud[0] * hop - keep) : (loud[-1] + 1) * hop + keep]


def speak(voice: Voice, text: str, data: Path, *, rate: float = 1.0) -> np.ndarray:
    """Synthesize a text without noise.

    Args:
        voice: Who speaks.
        text: Words to speak.
        data: Folder from `data_with_voices` that holds the voice.
        rate: Speaking rate against the voice's own.

    Returns:
        Mono float64 samples `[time]` at `SAMPLE_RATE`, silence trimmed, with a root mean square of 1.

    Raises:
        FileNotFoundError: If the voice is not in `data`.
        RuntimeError: If the synthesizer fails or returns silence.
    """
    # The synthesizer takes its default voice, without a word, for one that it does not find.
    if not (data / "espeak-ng-data" / "voices" / "!v" / voice.name).is_file():
        raise FileNotFoundError(f"{data} does not hold the voice {voice.name}; make the folder with it")
    # Resampling by `tract` also changes the tempo, which the synthesizer's own rate takes back.
    words_per_minute = round(170 * voice.rate * rate / voice.tract)
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "speech.wav"
        command = ["espeak-ng", "-v", f"{voice.accent}+{voice.name}", "-s", str(words_per_minute), "-w", str(wav), text]
        environment = {**os.environ, "ESPEAK_DATA_PATH": str(data)}
        outcome = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if outcome.returncode != 0 or not wav.is_file():
            raise RuntimeError(f"{' '.join(command)} failed ({outcome.returncode}): {outcome.stderr.strip()}")
        samples, rate_hz = sf.read(wav)
    samples = soxr.resample(samples, rate_hz * voice.tract, SAMPLE_RATE)
    if not np.any(samples):
        raise RuntimeError(f"{voice.name} returned silence for {text!r}")
    samples = trim_silence(samples)
    return samples / np.sqrt(np.square(samples).mean())
