"""Clips without speech that a probe has transcribed: whatever a model writes there is invented."""

from __future__ import annotations

from pydantic import model_validator

from overlap.errors import UserError

from .section import Count, Positive, Section, Seed


class NoSpeech(Section):
    """Clips of silence and of noise alone, generated or from recordings; student and teacher transcribe them.

    The same settings give the same clips in every run and at every probe.
    """

    silence: Count = 0
    """Clips of silence: the first is all zeros, others have faint white noise, at −90 to −70 dB of full scale."""
    noise: Count = 0
    """Clips of noise: white and pink in turn at −50 to −20 dB of full scale, or drawn from `background`."""
    clip_seconds: Positive = 10.0
    """Duration of each clip."""
    background: str | None = None
    """An audio file, or a folder of them, without speech; noise is drawn from it as it is, instead of generated. It
    needs the extra `augment`."""
    clip_seed: Seed = 0
    """Seed of the clips; not that of the run, so that runs are compared on the same clips."""

    @model_validator(mode="after")
    def _check_clips(self) -> NoSpeech:
        if self.background is not None and not self.noise:
            raise UserError(f"background = {self.background!r}: no noise is drawn from it; set noise to 1 or more")
        return self

    @property
    def n_clips(self) -> int:
        """Clips in all; none turns the readings off."""
        return self.silence + self.noise
