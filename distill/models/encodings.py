"""What frozen audio encoders made of utterances, and which weights made it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor


@dataclass
class EncoderCache:
    """What a frozen encoder made of utterances, the least recently used given up first.

    Training comes back to each utterance many times, and the encoder of a small recognizer costs more than its decoder.

    Attributes:
        max_mib: Memory for hidden states, in MiB; 0 keeps nothing.
    """

    max_mib: float = 0.0
    _kept: OrderedDict[bytes, Tensor] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def encoded(
        self, waveforms: Sequence[np.ndarray], encode: Callable[[Sequence[np.ndarray]], Sequence[Tensor] | Tensor]
    ) -> list[Tensor]:
        """[frames, hidden] of each waveform, computing only what is not kept."""
        keys = [hashlib.blake2b(waveform.tobytes(), digest_size=16).digest() for waveform in waveforms]
        new = [i for i, key in enumerate(keys) if key not in self._kept]
        fresh = dict(zip(new, encode([waveforms[i] for i in new]), strict=True)) if new else {}
        rows = [fresh[i] if i in fresh else self._kept[key] for i, key in enumerate(keys)]
        for key, row in zip(keys, rows, strict=True):
            self._keep(key, row)
        return rows

    def _keep(self, key: bytes, hidden: Tensor) -> None:
        limit = self.max_mib * 2**20
        if key in self._kept:
            self._kept.move_to_end(key)
            return
        if hidden.nbytes > limit:
            return
        self._kept[key] = hidden.clone()
        self._bytes += hidden.nbytes
        while self._bytes > limit:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
