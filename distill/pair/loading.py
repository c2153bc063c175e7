"""The two models of a pair, as the sections of a recipe name them."""

from __future__ import annotations

from pathlib import Path

import torch

from ..models import Recogniser, load_recogniser
from ..recipe import Model, Teacher
from ..teacher import ServedTeacher, load_served_teacher


def load_teacher(section: Teacher, device: torch.device | str, *, k: int, seed: int = 0) -> Recogniser | ServedTeacher:
    """A teacher, here or behind its server; it is never trained.

    Args:
        section: Where it is.
        device: Where one goes that is here.
        k: Size of the top-k sets that a server must show.
        seed: Of weights drawn at random.

    Raises:
        ModelError, ServerError: It cannot be had.
    """
    if section.url is not None:
        return load_served_teacher(section, k)
    teacher = load_model(section, seed, device)
    teacher.generator.requires_grad_(False)
    teacher.freeze_encoder(section.encoder_cache_mib)
    return teacher


def load_model(
    model: Model, seed: int = 0, device: torch.device | str = "cpu", weights: Path | None = None
) -> Recogniser:
    """The model of a recipe's section.

    Args:
        model: The section.
        seed: Of weights drawn at random.
        device: Where the model goes.
        weights: A checkpoint of a run whose weights it takes instead.

    Raises:
        ModelError: As `load_recogniser`.
    """
    if weights is not None:
        return load_recogniser(
            str(weights),
            dtype=model.dtype,
            family=model.family,
            options=model.options,
            trust_remote_code=model.trust_remote_code,
            device=device,
        )
    return load_recogniser(
        model.model,
        revision=model.revision,
        from_scratch=model.from_scratch,
        dtype=model.dtype,
        family=model.family,
        seed=seed,
        window_seconds=model.window_seconds,
        keep_decoder_layers=model.keep_decoder_layers,
        options=model.options,
        trust_remote_code=model.trust_remote_code,
        device=device,
    )
