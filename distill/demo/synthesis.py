"""Speak a text with eSpeak NG or Flite in one of the demonstration's synthetic voices."""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile as sf
import soxr

SAMPLE_RATE = 16_000

Engine = Literal["espeak-ng", "flite"]
Split = Literal["train", "probe", "test"]


@dataclass(frozen=True)
class Voice:
    """A synthetic speaker.

    Attributes:
        name: Name in the manifests and of the audio file.
        engine: Program that speaks.
        speaker: eSpeak NG `accent+variant`, or a Flite voice.
        pitch: eSpeak NG pitch setting, 0 to 99 (unused by Flite).
        tract: Vocal tract scaling: above 1, every formant and the pitch rise by this factor.
        rate: Speaking rate against the engine's default.
    """

    name: str
    engine: Engine
    speaker: str
    pitch: int = 50
    tract: float = 1.0
    rate: float = 1.0


ACCENTS = ("en-us", "en-gb", "en-us-nyc", "en-gb-x-rp")

# Variants that whisper, croak, echo strongly or imitate robots are left out; near-copies of one variant share a split.
_VARIANTS: dict[Split, tuple[str, ...]] = {
    "train": (
        *("m1", "m2", "m4", "m5", "m6", "m8", "f1", "f2", "f4", "f5", "Alicia", "Denis", "Diogo", "Jacky", "Lee"),
        *("Michael", "Nguyen", "adam", "antonio", "aunty", "belinda", "benjamin", "david", "ed", "gustave", "iven"),
        *("linda", "paul", "rob", "shelby", "travis"),
    ),
    "probe": ("m7", "Mike", "quincy", "Andrea", "boris", "klatt3", "max", "anika"),
    "test": ("m3", "f3", "Alex", "Annie", "Gene", "robert", "edward", "pedro", "Andy", "steph", "victor"),
}
_FLITE: dict[Split, tuple[tuple[str, float], ...]] = {
    "train": (("slt", 1.0), ("slt", 0.92), ("rms", 1.0), ("rms", 1.12), ("kal16", 1.0)),
    "probe": (),
    "test": (("awb", 1.0),),
}


def voices(split: Split) -> list[Voice]:
    """List the voices of a split; no engine's speaker serves two splits."""
    cast: list[Voice] = []
    for i, variant in enumerate(_VARIANTS[split]):
        accent = ACCENTS[i % len(ACCENTS)]
        cast.append(
            Voice(
                name=f"{split}-{variant.lower()}",
                engine="espeak-ng",
                speaker=f"{accent}+{variant}",
                pitch=30 + (i * 17) % 41,
                tract=0.92 + 0.03 * ((i * 5) % 7),
                rate=0.78 + 0.05 * ((3 * i + i // 8) % 8),
            )
        )
    for i, (speaker, tract) in enumerate(_FLITE[split]):
        cast.append(Voice(f"{split}-{speaker}-{i}", "flite", speaker, tract=tract, rate=0.95 + 0.1 * (i % 3)))
    return cast


def require_engines() -> None:
    """Check that both speech synthesisers can be run.

    Raises:
        FileNotFoundError: If one is not on PATH; the message names its Debian package.
    """
    missing = [engine for engine in ("espeak-ng", "flite") if shutil.which(engine) is None]
    if missing:
        raise FileNotFoundError(
            f"{' and '.join(missing)} not found on PATH: the corpus is spoken by them. "
            f"On Debian or Ubuntu: apt install {' '.join(missing)}"
        )


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


def speak(voice: Voice, text: str, *, rate: float = 1.0) -> np.ndarray:
    """Synthesise a text without noise.

    Args:
        voice: Who speaks.
        text: Words to speak.
        rate: Speaking rate against the voice's own.

    Returns:
        Mono float64 samples `[time]` at `SAMPLE_RATE`, silence trimmed, with a root mean square of 1.

    Raises:
        RuntimeError: If the engine fails or returns silence.
    """
    # Resampling by `tract` also changes the tempo, which the engine's own rate takes back.
    tempo = voice.rate * rate / voice.tract
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "speech.wav"
        if voice.engine == "espeak-ng":
            words_per_minute = str(round(170 * tempo))
            command = ["espeak-ng", "-v", voice.speaker, "-p", str(voice.pitch), "-s", words_per_minute, "-w", str(wav)]
            command.append(text)
        else:
            stretch = f"duration_stretch={1 / tempo:.4f}"
            command = ["flite", "-voice", voice.speaker, "--setf", stretch, "-t", text, "-o", str(wav)]
        outcome = subprocess.run(command, capture_output=True, text=True, check=False)
        if outcome.returncode != 0 or not wav.is_file():
            raise RuntimeError(f"{' '.join(command)} failed ({outcome.returncode}): {outcome.stderr.strip()}")
        samples, rate_hz = sf.read(wav)
    samples = soxr.resample(samples, rate_hz * voice.tract, SAMPLE_RATE)
    if not np.any(samples):
        raise RuntimeError(f"{voice.name} returned silence for {text!r}")
    samples = trim_silence(samples)
    return samples / np.sqrt(np.square(samples).mean())
