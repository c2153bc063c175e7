"""Loads the two models of a pair from the sections of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..models import ModelError, Recognizer, load_recognizer, weights_digest
from ..models.lora import FOLDER, add_adapters, load_adapters
from ..models.surgery import checkpoint_gradients
from ..recipe import Model, Student, Teacher
from ..teacher import ServedTeacher, load_served_teacher


def load_teacher(section: Teacher, device: torch.device | str, *, k: int, seed: int = 0) -> Recognizer | ServedTeacher:
    """Return a teacher, local or behind its server; it is never trained.

    Args:
        section: Of the recipe.
        device: Device of a local teacher, unless its section has one.
        k: Size of the supports that a server must return.
        seed: Of weights drawn at random.

    Raises:
        ModelError, ServerError: It cannot be loaded.
    """
    if section.url is not None:
        return load_served_teacher(section, k)
    place = device if section.device is None else _check_device(section.device)
    teacher = load_model(section, seed, place, quantize=section.quantize)
    teacher.generator.requires_grad_(False)
    teacher.freeze_encoder(section.encoder_cache_mib)
    return teacher


def load_student(
    section: Student, seed: int = 0, device: torch.device | str = "cpu", weights: Path | None = None
) -> Recognizer:
    """Return a student that is ready for training, with frozen parts and adapters.

    Args:
        section: Of the recipe.
        seed: Of random weights and adapters.
        device: Where it goes.
        weights: A checkpoint of a run whose weights it takes instead.

    Raises:
        ModelError: It cannot be loaded, or not be trained with these settings.
        MissingExtraError: Adapters without peft.
    """
    adapted = section.lora is not None
    # Adapters continue from their saved state, on the weights that they were trained for.
    student = load_model(section, seed, device, None if adapted else weights)
    if section.freeze_encoder:
        student.freeze_encoder(section.encoder_cache_mib)
    if section.lora is not None:
        add_adapters(student, **section.lora.model_dump(), seed=seed)
        if weights is not None:
            load_adapters(student.generator, weights / FOLDER)
    if section.gradient_checkpointing:
        checkpoint_gradients(student.generator, student.name)
    return student


def identity(teacher: Recognizer | ServedTeacher) -> dict[str, Any]:
    """Return the identity of a teacher: its name, its revision if it is from the Hub, and a digest of its weights.

    Of weights behind a server only the name and source that the server reports are known.
    """
    if isinstance(teacher, ServedTeacher):
        weights = f"served as {teacher.served_name} from {teacher.root}"
        return {"teacher": teacher.name, "revision": None, "weights": weights}
    revision = getattr(teacher.generator.config, "_commit_hash", None)
    return {"teacher": teacher.name, "revision": revision, "weights": weights_digest(teacher.generator)}


def load_model(
    model: Model,
    seed: int = 0,
    device: torch.device | str = "cpu",
    weights: Path | None = None,
    quantize: str | None = None,
) -> Recognizer:
    """Return the model of a recipe's section.

    Args:
        model: The section.
        seed: Of weights drawn at random.
        device: Where the model goes.
        weights: A checkpoint of a run whose weights it takes instead.
        quantize: Read the weights in 8 bits, with `int8`.

    Raises:
        ModelError, MissingExtraError: As `load_recognizer`.
    """
    if weights is not None:
        return load_recognizer(
            str(weights),
            dtype=model.dtype,
            family=model.family,
            options=model.options,
            trust_remote_code=model.trust_remote_code,
            device=device,
        )
    return load_recognizer(
        model.model,
        revision=model.revision,
        from_scratch=model.from_scratch,
        dtype=model.dtype,
        family=model.family,
        seed=seed,
        quantize=quantize,
        window_seconds=model.window_seconds,
        keep_decoder_layers=model.keep_decoder_layers,
        options=model.options,
        trust_remote_code=model.trust_remote_code,
        device=device,
    )


def _check_device(name: str) -> torch.device:
    """Return the device of that name.

    Raises:
        ModelError: This machine has none.
    """
    accelerators = torch.accelerator.device_count()
    current = torch.accelerator.current_accelerator()
    kind = current.type if accelerators and current is not None else None
    present = ["cpu", *([] if kind is None else [f"{kind}:{i}" for i in range(accelerators)])]
    if name not in present and name != kind:
        raise ModelError(f"teacher.device = {name!r}: this machine has {', '.join(present)}; name one, or remove it")
    return torch.device(name)
