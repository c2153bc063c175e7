"""`distill.preflight`: check a teacher's server before a run."""

from __future__ import annotations

from pathlib import Path

import torch

from overlap.arguments import checked_arguments

from ..data.audio import AudioCache
from ..data.batch import AudioSource
from ..data.data_sets import Manifest, Purpose, read_for
from ..limits import token_limit
from ..probing import preflight as preflights
from ..progress.display import observed
from ..progress.observer import Observer
from ..recipe import Server
from .arguments import Dtype, require_models, require_positive, served_teacher, usable_device

PREFLIGHT_CLIPS = 8
"""Default number of utterances of a preflight."""


@checked_arguments
def preflight(
    teacher: str | Path,
    manifest: Manifest,
    *,
    teacher_url: str,
    server: Server | None = None,
    k: int = 32,
    dtype: Dtype = "float32",
    device: torch.device | str | None = None,
    max_new_tokens: int | None = None,
    max_utterances: int | None = None,
    max_seconds: float = 30.0,
    observer: Observer | None = None,
    quiet: bool = False,
) -> preflights.Preflight:
    """Check what a teacher's server supports, its speed, and how far it deviates from local weights.

    Args:
        teacher: The teacher's tokenizer, and for the comparison its weights.
        manifest: Utterances of the requests.
        teacher_url: The server (vLLM, SGLang).
        server: Settings of the requests.
        k: Size of the supports.
        dtype: Type of the local weights.
        device: Their device, such as "cuda:1"; None uses an accelerator if there is one, else the CPU.
        max_new_tokens: Longest transcript, in tokens; by default from the longest audio.
        max_utterances: Use only the first ones; the default is 8.
        max_seconds: Longer utterances are refused.
        observer: Is told of progress.
        quiet: Without an observer, show none.

    Raises:
        FileNotFoundError, ManifestError, ModelError, ServerError: Something cannot be read or reached.
        UserError: A device that this machine lacks, or a setting out of its range.
    """
    require_models(teacher=teacher)
    require_positive(k=k, max_new_tokens=max_new_tokens, max_utterances=max_utterances, max_seconds=max_seconds)
    place = usable_device(device)
    (utterances,) = read_for(Purpose(first=max_utterances or PREFLIGHT_CLIPS), manifest, max_seconds=max_seconds).sets
    served = served_teacher(teacher, teacher_url, server, k)
    with observed(observer, quiet=quiet) as watcher:
        return preflights.preflight(
            served,
            AudioSource(AudioCache(max_seconds=max_seconds)),
            utterances,
            k,
            max_new_tokens=max_new_tokens or token_limit(utterances),
            dtype=dtype,
            device=place,
            progress=lambda done, total: watcher.work("asking", done, total),
        )
