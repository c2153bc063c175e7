"""Clips without speech in the probes of a run."""

from __future__ import annotations

import math
from typing import Any

from ..data.audio import AudioCache
from ..data.batch import AudioSource
from ..probing.no_speech import no_speech_reading
from ..progress.observer import Observer
from ..recipe import Decoding
from .setup import Setup


class NoSpeechProbe:
    """Transcribes a run's clips without speech at each probe; the teacher, which stays as it is, only at the first."""

    def __init__(self, setup: Setup, observer: Observer) -> None:
        self.setup = setup
        self.observer = observer
        # Not the run's: its limit on seconds is of recordings, and clips would take the cache from them.
        self._source = AudioSource(AudioCache(max_mib=0.0, max_seconds=math.inf))
        self._teachers: list[dict[str, Any]] | None = None

    def rows(self, decoding: Decoding) -> list[dict[str, Any]]:
        """Return what both models write now, a row for each model and clip; none if the recipe asks for no clips.

        Args:
            decoding: Of the probe.
        """
        recipe, pair, clips = self.setup.recipe, self.setup.pair, self.setup.no_speech
        if not clips or pair is None or recipe.probe is None:
            return []
        found = no_speech_reading(
            pair,
            self._source,
            clips,
            decoding,
            recipe.probe_normalizer,
            teachers=self._teachers,
            batch_size=recipe.probe.batch_size,
            progress=lambda done, total: self.observer.work("clips without speech", done, total),
        )
        self._teachers = [row for row in found.rows if row["model"] == "teacher"]
        return list(found.rows)
