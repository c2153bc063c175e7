"""A cache of the outputs of frozen audio encoders."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from cachetools import LRUCache
from torch import Tensor


class EncoderCache:
    """Outputs of a frozen encoder; the least recently used are dropped first.

    Training uses each utterance many times, and the encoder of a small recognizer costs more than its decoder.

    Args:
        max_mib: Memory for hidden states, in MiB; 0 keeps nothing.
    """

    def __init__(self, max_mib: float = 0.0) -> None:
        self._kept: LRUCache[bytes, Tensor] = LRUCache(max_mib * 2**20, getsizeof=lambda hidden: hidden.nbytes)

    def encoded(
        self, waveforms: Sequence[np.ndarray], encode: Callable[[Sequence[np.ndarray]], Sequence[Tensor] | Tensor]
    ) -> list[Tensor]:
        """Return [frames, hidden] of each waveform, computing only what is not kept."""
        keys = [hashlib.blake2b(waveform.tobytes(), digest_size=16).digest() for waveform in waveforms]
        new = [i for i, key in enumerate(keys) if key not in self._kept]
        fresh = dict(zip(new, encode([waveforms[i] for i in new]), strict=True)) if new else {}
        rows = [fresh[i] if i in fresh else self._kept[key] for i, key in enumerate(keys)]
        for key, row in zip(keys, rows, strict=True):
            if row.nbytes <= self._kept.maxsize and self._kept.get(key) is None:  # marks it as the most recently used
                self._kept[key] = row.clone()
        return rows


@contextmanager
def without_encoder_cache(*models: Any) -> Iterator[None]:
    """Keep no encoder outputs until the end of the block, so that later ones do not depend on its batches.

    Args:
        models: Of any family; those without such a cache are passed over.
    """
    kept = [(model, model.encodings) for model in models if hasattr(model, "encodings")]
    for model, _ in kept:
        model.encodings = EncoderCache()
    try:
        yield
    finally:
        for model, cache in kept:
            model.encodings = cache
