"""Loads a served teacher from a recipe's settings: reads its tokenizer here, and finds the model at its server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..models.base import ModelError
from ..recipe import Teacher
from .api import value_at
from .cache import TopkCache
from .errors import ServerError, quoted
from .json_client import JsonClient
from .local_tokenizer import load_reader
from .served import ServedTeacher
from .sglang import Sglang
from .vllm import Vllm

MORE = 8
"""Number of tokens requested beyond k, because control tokens among the best are in no set."""


def load_served_teacher(teacher: Teacher, k: int) -> ServedTeacher:
    """Read a teacher's tokenizer, and find the model at its server.

    Args:
        teacher: With the server's `url`. Its `model` names the tokenizer, and also the served model unless
            `server.served_name` does.
        k: Size of the supports; `MORE` tokens beyond it are requested unless the server settings give a number.

    Raises:
        ModelError: No tokenizer there, or a family that servers cannot score.
        ServerError: No server there, or it does not serve the model.
    """
    assert teacher.url is not None
    server, key = teacher.server, None
    if server.key_variable is not None and not (key := os.environ.get(server.key_variable)):
        raise ServerError(f"the environment variable {server.key_variable} (key_variable) is not set")
    reader = load_reader(teacher.model, revision=teacher.revision, family=teacher.family)
    client = JsonClient(
        teacher.url,
        timeout_seconds=server.timeout_seconds,
        retries=server.retries,
        concurrency=server.concurrency,
        key=key,
    )
    name, cards = server.served_name or teacher.model, served_models(client)
    if name not in cards:
        raise ServerError(
            f"{client.url} does not serve {name!r} but {quoted(sorted(cards))}; name one of these "
            "(served_name, --served-name)"
        )
    if server.top_logprobs is not None and server.top_logprobs < k:
        raise ModelError(f"top_logprobs = {server.top_logprobs} is fewer than support.k = {k}; raise it, or lower k")
    length = cards[name].get("max_model_len")
    if length is not None and not (type(length) is int and length > 0):
        raise ServerError(
            f"GET {client.url}/v1/models: max_model_len of {name!r} is {quoted(length, 80)}, not a number of tokens. "
            "Check that this is an inference server."
        )
    return ServedTeacher(
        reader,
        client,
        Vllm() if server.api == "vllm" else Sglang(reader.processor),
        name,
        str(cards[name].get("root") or name),
        server.top_logprobs or k + MORE,
        None if server.cache is None else TopkCache(Path(server.cache)),
        length,
    )


def served_models(client: JsonClient) -> dict[str, dict[str, Any]]:
    """Return the server's description of each model that it serves, by name.

    Raises:
        ServerError: No list of models.
    """
    cards = client.get("/v1/models").get("data")
    if not isinstance(cards, list) or not all(isinstance(value_at(card, "id"), str) for card in cards):
        raise ServerError(f"GET {client.url}/v1/models: no list of models. Check that this is an inference server.")
    return {card["id"]: card for card in cards}
