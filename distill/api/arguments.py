"""Resolves and checks arguments of the API: models, servers, settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from overlap.arguments import require_kind
from overlap.errors import UserError

from .. import models
from ..data.data_sets import Manifest
from ..locations import require_places
from ..models import Recognizer
from ..recipe import Server, Teacher
from ..scoring.pair import Pair
from ..teacher import ServedTeacher, load_served_teacher

Model = str | Path | Recognizer
"""A directory, a Hub name, `demo:student` or `demo:teacher`, or a model that is loaded."""

PromptFormat = Literal["auto", "chat", "plain"]
Dtype = Literal["float32", "bfloat16", "float16"]
States = Literal["student", "teacher", "reference"]
"""Whose transcripts are scored."""
Loaded = TypeVar("Loaded")


def require_models(**given: object) -> None:
    """Refuse names of missing model folders; loaded models are passed over.

    Raises:
        FileNotFoundError: Names every argument, its location and the remedy.
    """
    require_places(manifests={}, models={key: str(it) for key, it in given.items() if isinstance(it, str | Path)})


def require_positive(**given: float | None) -> None:
    """Refuse numbers that are not positive; None is passed over.

    Raises:
        UserError: Names the argument.
    """
    for key, value in given.items():
        if value is not None and not value > 0:
            raise UserError(f"{key} = {value}: must be above 0")


def loading(
    dtype: Dtype,
    device: torch.device | str | None,
    trust_remote_code: bool,
    prompt_format: PromptFormat | None,
    chat_template_kwargs: Mapping[str, Any] | None,
    timestamps: bool,
) -> dict[str, Any]:
    """Return options for `load_recognizer`.

    Raises:
        UserError: A device that this machine lacks.
    """
    options: dict[str, Any] = {"prompt_format": prompt_format, "timestamps": timestamps or None}
    options["chat_template_kwargs"] = None if chat_template_kwargs is None else dict(chat_template_kwargs)
    said = {name: value for name, value in options.items() if value is not None}
    about = {"dtype": dtype, "device": usable_device(device)}
    return {"options": said, "trust_remote_code": trust_remote_code} | about


def loaded(model: str | Path | Loaded, how: Mapping[str, Any]) -> Recognizer | Loaded:
    """Load a model by name; a loaded one is returned unchanged.

    Raises:
        ModelError: It cannot be loaded.
    """
    return models.load_recognizer(str(model), **how) if isinstance(model, str | Path) else model


def served_teacher(teacher: object, url: str | None, server: Server | None, k: int) -> ServedTeacher:
    """Return the teacher behind a server.

    Raises:
        ModelError, ServerError: It cannot be reached.
        UserError: A server's settings without its URL, or a URL for a teacher that is loaded.
    """
    if not isinstance(teacher, str | Path):
        raise UserError("teacher_url: the teacher is loaded; give the name of its tokenizer, or leave the URL out")
    return load_served_teacher(Teacher(model=str(teacher), url=url, server=server or Server()), k)


def name_of(manifest: Manifest) -> str:
    """Return the name of a manifest in messages and files: its location, or for a list the origin of its utterances."""
    if isinstance(manifest, str | Path):
        return str(manifest)
    files = dict.fromkeys(utterance.place[0] for utterance in manifest if utterance.place)
    return ", ".join(files) or "a list of utterances"


def usable_device(device: torch.device | str | None, key: str = "device") -> torch.device:
    """Return a device of this machine.

    Args:
        device: Its name; None takes an accelerator if there is one, else the CPU. Apple's GPUs are passed over: they
            lack float64, which statistics need.
        key: What names it in the message.

    Raises:
        UserError: It cannot be used.
    """
    if device is None:
        found = torch.accelerator.current_accelerator(check_available=True)
        return torch.device("cpu") if found is None or found.type == "mps" else found
    try:
        place = torch.zeros(1, device=device)
        place.item()  # the meta device holds no values
        return place.device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"{key} {device} cannot be used: {reason}") from error


def resolve_pair(pair: Pair | Callable[[], Pair]) -> Pair:
    """Return the pair, loaded if it is a function."""
    if isinstance(pair, Pair):
        return pair
    found = pair()
    require_kind("pair, from the function given", found, Pair)
    return found


def resolve_local_pair(pair: Pair | Callable[[], Pair]) -> Pair:
    """Return the pair, loaded if it is a function.

    Raises:
        UserError: Its teacher is behind a server.
    """
    pair = resolve_pair(pair)
    if pair.server is not None:
        raise UserError(
            f"the teacher {pair.teacher.name!r} is behind a server, which returns only top-k log-probabilities; load "
            "its weights, or probe the pair"
        )
    return pair
