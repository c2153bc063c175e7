"""Cached responses of a server on disk, by the content of the request."""

from __future__ import annotations

import hashlib
import json
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from overlap.files import replacing

from .topk_logprobs import TopkLogprobs


@dataclass
class TopkCache:
    """A directory of `TopkLogprobs`; several processes may use it at once.

    Entries are written atomically. One that cannot be read (after a power cut) is replaced.

    Attributes:
        directory: The folder, created when needed.
        hits: Answers read from it.
        misses: Answers that were not there.
    """

    directory: Path
    hits: int = 0
    misses: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def load(self, key: str) -> TopkLogprobs | None:
        """Return what is kept under a key."""
        try:
            with self._path(key).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                kept = TopkLogprobs(arrays["ids"], arrays["logprobs"])
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
            kept = None
        with self._lock:
            self.hits, self.misses = self.hits + (kept is not None), self.misses + (kept is None)
        return kept

    def save(self, key: str, tokens: TopkLogprobs) -> None:
        """Keep top-k log-probabilities under a key."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, sync=False) as temporary, temporary.open("wb") as file:
            np.savez(file, ids=tokens.ids, logprobs=tokens.logprobs)

    def _path(self, key: str) -> Path:
        return self.directory / key[:2] / f"{key}.npz"


def key_of(settings: Mapping[str, Any], waveform: np.ndarray) -> str:
    """Return the digest of everything that an answer depends on."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, ensure_ascii=False).encode())
    digest.update(str(waveform.dtype).encode() + waveform.tobytes())
    return digest.hexdigest()
