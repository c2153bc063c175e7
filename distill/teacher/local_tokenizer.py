"""The local part of a served teacher: its tokenizer and processor in the model class of its family, without weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoProcessor, GenerationConfig

from ..locations import located
from ..models.base import ModelError
from ..models.load import FAMILIES, check_settings, loading
from ..models.speech_lm import SpeechLM
from ..models.tokenizing import check_vocabulary
from ..models.vocabulary import Tokens
from .conversation import REQUESTS

LOCAL_HALF = (
    "Give a served teacher as a directory with config.json and the processor's files, or as a Hub name; only its "
    "weights are on the server."
)


class Weightless(nn.Module):
    """Stand-in for a model, with its configurations, type and device."""

    def __init__(self, config: Any, generation_config: GenerationConfig) -> None:
        super().__init__()
        self.config, self.generation_config = config, generation_config
        self.place = nn.Parameter(torch.zeros(()), requires_grad=False)


def load_reader(model: str, *, revision: str | None = None, family: str | None = None) -> SpeechLM:
    """Return the model class of a checkpoint's family with its processor; reads the configuration and the tokenizer's
    files.

    Args:
        model: Directory or Hub name; its weights are not read and need not be there.
        revision: Hub revision.
        family: Family name; None takes it from the configuration's `model_type`.

    Raises:
        ModelError: Nothing loadable there, or a family that servers cannot score.
    """
    place = located(model)
    with loading(place, revision, "cannot load the tokenizer of", LOCAL_HALF, weights=False):
        config = AutoConfig.from_pretrained(place, revision=revision)
        check_settings(place, revision)
        processor = AutoProcessor.from_pretrained(place, revision=revision)
    kind = family or config.model_type
    if kind not in REQUESTS:
        raise ModelError(
            f"{model!r} is a {kind!r} model; servers return log-probabilities of transcripts only for chat models: "
            f"{sorted(REQUESTS)}. Use it as a local teacher (without url)."
        )
    check_vocabulary(model, getattr(processor, "tokenizer", processor))
    stand_in = Weightless(config, _generation_config(place, revision))
    with loading(place, revision, "cannot use", LOCAL_HALF, weights=False):
        reader = FAMILIES[kind].build(name=model, model=stand_in, generator=stand_in, processor=processor)
    assert isinstance(reader, SpeechLM)
    return reader


def _generation_config(place: str, revision: str | None) -> GenerationConfig:
    """Return the generation settings, which name the ends of a text; those by default if the checkpoint has none."""
    try:
        return GenerationConfig.from_pretrained(place, revision=revision or "main")
    except OSError:
        return GenerationConfig()


def served_tokens(reader: SpeechLM) -> Tokens:
    """Return its tokens with the padding ids of its logits blocked: a server's probabilities include them."""
    tokens, width = reader.tokens, reader.generator.config.text_config.vocab_size
    padding = width - tokens.size
    blocked = torch.cat([tokens.blocked, torch.ones(padding, dtype=torch.bool)])
    return replace(tokens, size=width, blocked=blocked, strings=tokens.strings + ("",) * padding)
