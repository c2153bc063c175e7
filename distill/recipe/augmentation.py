"""Augmentation of the audio of training batches, one section per kind; nothing else in a run uses augmented audio."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from overlap.errors import UserError

from .section import Count, Probability, Section

Share = Annotated[float, Field(gt=0.0, le=1.0)]


class Noise(Section):
    """Noise added to the waveform: white, or from recordings."""

    type: Literal["noise"]
    min_snr_db: float = 5.0
    """Lowest ratio of the utterance's power to the noise's, in dB."""
    max_snr_db: float = 30.0
    """Highest ratio; each utterance's is drawn uniformly between the two."""
    background: str | None = None
    """An audio file, or a folder of them, as the source of noise; None adds white noise. Files at 16 kHz are read
    fastest."""
    probability: Probability = 1.0
    """Share of the utterances with noise."""

    @model_validator(mode="after")
    def _check_snr_range(self) -> Noise:
        if self.min_snr_db > self.max_snr_db:
            raise UserError(f"min_snr_db = {self.min_snr_db:g} is above max_snr_db = {self.max_snr_db:g}; swap them")
        return self


class SpecAugment(Section):
    """The masks of SpecAugment (arXiv 1904.08779) applied to the waveform: they silence time spans and frequency bands.

    They work for models of every family, also those that take no spectrogram. There is no time warping.
    """

    type: Literal["spec_augment"]
    time_masks: Count = 2
    """Number of time spans."""
    max_time_share: Share = 0.1
    """Longest time span, as a share of the utterance; each length is drawn uniformly up to it."""
    frequency_masks: Count = 2
    """Number of bands; their centers are uniform on the mel scale between 200 and 7000 Hz."""
    max_bandwidth: Share = 0.5
    """Widest band, as a share of its center frequency; each width is drawn uniformly from a tenth of it up."""
    probability: Probability = 1.0
    """Share of the utterances that are masked."""

    @model_validator(mode="after")
    def _check_masks(self) -> SpecAugment:
        if not self.time_masks and not self.frequency_masks:
            raise UserError("time_masks = frequency_masks = 0 masks nothing; remove the table, or raise one of them")
        return self


AugmentationConfig = Annotated[Noise | SpecAugment, Field(discriminator="type")]
