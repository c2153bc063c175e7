"""What is done to the audio of training batches, one section a kind; nothing else in a run hears it."""

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
    """Least ratio of the utterance's power to the noise's, in dB."""
    max_snr_db: float = 30.0
    """Greatest; each utterance's is drawn evenly between the two."""
    background: str | None = None
    """An audio file, or a folder of them, that the noise is taken from; white noise without one. Files at 16 kHz are
    read fastest."""
    probability: Probability = 1.0
    """Share of the utterances that get any."""

    @model_validator(mode="after")
    def _a_range(self) -> Noise:
        if self.min_snr_db > self.max_snr_db:
            raise UserError(f"min_snr_db = {self.min_snr_db:g} is above max_snr_db = {self.max_snr_db:g}; swap them")
        return self


class SpecAugment(Section):
    """The masks of SpecAugment (arXiv 1904.08779) laid on the waveform: stretches and frequency bands fall silent.

    Models of every family hear them so, also those that take no spectrogram. There is no warping of time.
    """

    type: Literal["spec_augment"]
    time_masks: Count = 2
    """Stretches."""
    max_time_share: Share = 0.1
    """Longest of them, as a share of the utterance; each is drawn evenly up to it."""
    frequency_masks: Count = 2
    """Bands, centered evenly on the mel scale between 200 and 7000 Hz."""
    max_bandwidth: Share = 0.5
    """Broadest of them, as a share of the frequency in its middle; each is drawn evenly from a tenth of it up."""
    probability: Probability = 1.0
    """Share of the utterances that are masked."""

    @model_validator(mode="after")
    def _masks_something(self) -> SpecAugment:
        if not self.time_masks and not self.frequency_masks:
            raise UserError("time_masks = frequency_masks = 0 masks nothing; remove the table, or raise one of them")
        return self


AugmentationConfig = Annotated[Noise | SpecAugment, Field(discriminator="type")]
