"""Training batches with noise or masks in their audio, by audiomentations; a pure function of seed, stage and step."""

from __future__ import annotations

import hashlib
import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from overlap.errors import UserError
from overlap.extras import require

from ..data.backgrounds import background_files
from ..data.batch import Batch
from ..data.sampling import seed_of
from ..recipe.augmentation import AugmentationConfig, Noise, SpecAugment

SAMPLING_RATE = 16_000


class AugmentationError(UserError):
    """An augmentation that cannot be made; the message names the field and the remedy."""


@dataclass(frozen=True, eq=False)
class Augmentation:
    """The augmentation of a stage's training audio.

    Attributes:
        transforms: Of audiomentations, in order.
    """

    transforms: tuple[Any, ...]

    @classmethod
    def from_sections(cls, sections: Sequence[AugmentationConfig], where: str = "augment") -> Augmentation | None:
        """Return the augmentation of a stage's sections; None if there are none.

        Args:
            sections: Of the recipe.
            where: Their dotted key, for messages.

        Raises:
            MissingExtraError: audiomentations is not installed.
            AugmentationError: The background noise has no audio files, or some that cannot be used.
        """
        if not sections:
            return None
        library = require("audiomentations", extra="augment", purpose=where)
        return cls(tuple(_transform(library, section, f"{where}.{i}") for i, section in enumerate(sections)))

    def __call__(self, batch: Batch, *key: int) -> Batch:
        """The batch with augmented audio.

        The augmentation of an utterance depends only on its id and the key, not on the process or on the other
        utterances. A resumed run therefore has the same result as an uninterrupted one.

        Args:
            batch: Of utterances with audio.
            key: For instance (seed, stage, step).
        """
        waveforms = tuple(
            None if waveform is None else self._augmented(waveform, *key, _number(utterance.id))
            for utterance, waveform in zip(batch.utterances, batch.waveforms, strict=True)
        )
        return Batch(batch.utterances, waveforms)

    def _augmented(self, waveform: np.ndarray, *key: int) -> np.ndarray:
        with _seeded_generators(seed_of(*key)), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".* had to be resampled")
            warnings.simplefilter("ignore", DeprecationWarning)  # of librosa's readers, imported at the first file
            for transform in self.transforms:
                waveform = transform(waveform, sample_rate=SAMPLING_RATE)
        return waveform


def _transform(library: Any, section: AugmentationConfig, where: str) -> Any:
    chosen = _noise(library, section, where) if isinstance(section, Noise) else _masks(library, section)
    return library.Compose(chosen, p=section.probability)


def _noise(library: Any, section: Noise, where: str) -> list[Any]:
    levels = {"min_snr_db": section.min_snr_db, "max_snr_db": section.max_snr_db, "p": 1.0}
    if section.background is None:
        return [library.AddGaussianSNR(**levels)]
    files = background_files(section.background)
    if not files:
        raise AugmentationError(f"{where}.background: no audio files in {section.background}; give a file or a folder")
    for file in files:
        _check_background(file, f"{where}.background")
    return [library.AddBackgroundNoise(files, **levels)]


def _check_background(file: Path, where: str) -> None:
    """Refuse a recording that would end the run when it is first used as noise."""
    reader = require("audiomentations.core.audio_loading_utils", extra="augment", purpose=where)
    remedy = "encode it again, or remove it"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the readers that are tried one after another
            samples, _ = reader.load_sound_file(file, None)
    except Exception as error:  # whichever of the readers' own
        raise AugmentationError(
            f"{where}: {file} cannot be used ({error or type(error).__name__}); {remedy}"
        ) from error
    if not len(samples):
        raise AugmentationError(f"{where}: {file} has no samples; {remedy}")


def _masks(library: Any, section: SpecAugment) -> list[Any]:
    time = [library.TimeMask(min_band_part=0.0, max_band_part=section.max_time_share, p=1.0)] * section.time_masks
    band = library.BandStopFilter(
        min_center_freq=200.0,
        max_center_freq=7000.0,
        min_bandwidth_fraction=section.max_bandwidth / 10,
        max_bandwidth_fraction=section.max_bandwidth,
        min_rolloff=24,
        max_rolloff=24,
        p=1.0,
    )
    return time + [band] * section.frequency_masks


def _number(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


@contextmanager
def _seeded_generators(seed: int) -> Iterator[None]:
    """Seed the global generators that audiomentations uses, and restore them afterwards."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
