"""From a checkpoint's configuration to the adapter of its family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForMultimodalLM, AutoModelForSpeechSeq2Seq, AutoProcessor

from . import glm_asr, qwen3_asr, surgery
from .base import ModelError, Recogniser, quiet
from .speech_lm import SpeechLM
from .whisper import Whisper

FAMILIES: dict[str, tuple[Callable[..., Recogniser], Any]] = {
    "glmasr": (partial(SpeechLM, kind=glm_asr.FAMILY), AutoModelForMultimodalLM),
    "qwen3_asr": (partial(SpeechLM, kind=qwen3_asr.FAMILY), AutoModelForMultimodalLM),
    "whisper": (Whisper, AutoModelForSpeechSeq2Seq),
}
"""By `model_type`: the adapter, and the class of transformers that loads its weights."""


def load_recogniser(
    model: str,
    *,
    revision: str | None = None,
    from_scratch: bool = False,
    dtype: str = "float32",
    family: str | None = None,
    seed: int = 0,
    window_seconds: int | None = None,
    keep_decoder_layers: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
) -> Recogniser:
    """Load a checkpoint and its processor, and put the family's adapter around it.

    Args:
        model: Directory or Hub name.
        revision: Hub revision.
        from_scratch: Read the configuration only and draw the weights at random.
        dtype: Weight type, a torch dtype's name.
        family: Adapter name; None takes it from the configuration's `model_type`.
        seed: Seed of random weights.
        window_seconds: A shorter audio window (Whisper).
        keep_decoder_layers: Which layers of the text decoder to keep, all if None.
        device: Where the model goes.

    Raises:
        ModelError: Nothing loadable there, or a family without an adapter.
    """
    try:
        config = AutoConfig.from_pretrained(model, revision=revision)
        processor = AutoProcessor.from_pretrained(model, revision=revision)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"cannot load {model!r}: {_first_line(error)} Give a directory with config.json and the processor's files, "
            "or a Hub name; original Qwen3-ASR repositories need their transformers version (names ending in -hf)."
        ) from error
    kind = family or config.model_type
    if kind not in FAMILIES:
        raise ModelError(f"{model!r} is a {kind!r} model; there are adapters for {sorted(FAMILIES)}")
    adapter, architecture = FAMILIES[kind]
    weights = getattr(torch, dtype)
    if from_scratch:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = architecture.from_config(config, dtype=weights)
    else:
        try:
            with quiet():
                network = architecture.from_pretrained(model, revision=revision, dtype=weights)
        except (OSError, ValueError) as error:
            raise ModelError(f"cannot load the weights of {model!r}: {_first_line(error)}") from error
    if window_seconds is not None:
        surgery.shorten_window(network, processor, window_seconds, model)
    if keep_decoder_layers is not None:
        surgery.keep_decoder_layers(network, keep_decoder_layers, model)
    network = network.to(device).eval()
    return adapter(name=model, model=network, generator=network, processor=processor)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
