"""Synthetic speakers of the demonstration, drawn for one split of one corpus each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distill.demo.sentences import SPLITS, Split

ACCENTS = (
    *("en-us", "en-gb", "en-us-nyc", "en-gb-x-rp"),
    *("en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029"),
)
FORMANTS = 9

# Least and greatest value of what is drawn evenly between them.
_RANGES = {
    "pitch_hz": (70.0, 200.0),
    "pitch_range": (1.25, 1.6),
    "tract": (0.9, 1.12),
    "rate": (0.78, 1.13),
    "tilt": (-6.0, 6.0),
    "width": (80.0, 150.0),
    "voicing": (60.0, 140.0),
    "consonants": (60.0, 130.0),
    "roughness": (0.0, 4.0),
    "flutter": (0.0, 8.0),
    "breath": (0.0, 4.0),
}
_FORMANT_SPREAD = 0.08
_KLATT_SHARE = 0.2
_KLATT_KINDS = 5


@dataclass(frozen=True)
class Voice:
    """A synthetic speaker.

    Attributes:
        name: Name in the manifests and of the audio file.
        accent: eSpeak NG language.
        variant: Contents of its eSpeak NG voice variant: pitch, formants, phonation.
        tract: Vocal tract scaling: above 1, every formant and the pitch rise by this factor.
        rate: Speaking rate against the engine's default.
    """

    name: str
    accent: str
    variant: str
    tract: float
    rate: float


def draw_voices(split: Split, n: int, seed: int) -> list[Voice]:
    """Draw the voices of a split; no other split and no other seed has any of them.

    Every split draws from the same distribution. Each property is stratified over the split's voices (a Latin
    hypercube), so that splits are alike in it as far as their numbers of voices allow.

    Args:
        split: Whose voices.
        n: How many.
        seed: Seed of the corpus.

    Returns:
        Voices, in no order of any property.
    """
    rng = np.random.default_rng([seed, SPLITS.index(split), 0])

    def stratified_draws() -> np.ndarray:
        return (rng.permutation(n) + rng.random(n)) / n

    drawn = {name: low + (high - low) * stratified_draws() for name, (low, high) in _RANGES.items()}
    accents = rng.permutation(np.arange(n) % len(ACCENTS))
    klatt = np.floor(stratified_draws() / _KLATT_SHARE * _KLATT_KINDS).astype(int) + 1  # beyond the last kind: none
    formants = 1 + _FORMANT_SPREAD * (2 * np.stack([stratified_draws() for _ in range(FORMANTS)], axis=1) - 1)
    voices: list[Voice] = []
    for i in range(n):
        numbers = {name: float(values[i]) for name, values in drawn.items()}
        kind = int(klatt[i]) if klatt[i] <= _KLATT_KINDS else None
        voices.append(
            Voice(
                name=f"{split}-{i:03d}",
                accent=ACCENTS[accents[i]],
                variant=_variant(numbers, formants[i].tolist(), kind),
                tract=round(numbers["tract"], 4),
                rate=round(numbers["rate"], 4),
            )
        )
    return voices


def _variant(numbers: dict[str, float], formants: Sequence[float], klatt: int | None) -> str:
    """Return an eSpeak NG voice variant; formants are scaled in frequency, strength and width, in percent."""
    low = numbers["pitch_hz"]
    lines = ["language variant", f"pitch {low:.0f} {low * numbers['pitch_range']:.0f}"]
    if klatt is not None:
        lines.append(f"klatt {klatt}")
    for i, scale in enumerate(formants):
        strength = 100 + numbers["tilt"] * (i - 2)
        lines.append(f"formant {i} {100 * scale:.0f} {strength:.0f} {numbers['width']:.0f}")
    lines += [f"{name} {numbers[name]:.0f}" for name in ("voicing", "roughness", "flutter")]
    lines.append(f"consonants {numbers['consonants']:.0f} {numbers['consonants']:.0f}")
    lines.append("breath " + " ".join([f"{numbers['breath']:.0f}"] * 8))
    return "\n".join(lines) + "\n"
