"""Values in a server's responses, checked against the protocol."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .errors import quoted
from .topk_logprobs import ReplyError

WRITTEN_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,18})")
SHORT = 80


def token_id(value: Any) -> int:
    """Return a token's id: a whole number, or the key of an object that is one.

    Raises:
        ReplyError: Something else.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and WRITTEN_NUMBER.fullmatch(value):
        return int(value)
    raise ReplyError(f"{quoted(repr(value), SHORT)} where a token id belongs; check the server and its api")


def token_ids(value: Any) -> list[int]:
    """Return a list of them.

    Raises:
        ReplyError: Something else.
    """
    return [token_id(item) for item in array(value, "token ids")]


def log_probability(value: Any) -> float:
    """Return a number; its range is checked later, with all values of a position.

    Raises:
        ReplyError: Something else.
    """
    if isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53):
        return float(value)
    raise ReplyError(f"{quoted(repr(value), SHORT)} where a log-probability belongs; check the server and its api")


def written_text(value: Any) -> str:
    """Return text that can be written; null is empty.

    Raises:
        ReplyError: Something else, or half a character (a lone surrogate).
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ReplyError(f"{quoted(repr(value), SHORT)} where text belongs; check the server and its api")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ReplyError(f"{quoted(repr(value), SHORT)}: text with half a character; check the server") from error
    return value


def array(value: Any, what: str) -> list[Any]:
    """Return a list.

    Raises:
        ReplyError: Something else.
    """
    if not isinstance(value, list):
        raise ReplyError(f"{quoted(repr(value), SHORT)} where a list of {what} belongs; check the server and its api")
    return value


def mapping(value: Any, what: str) -> Mapping[Any, Any]:
    """Return an object.

    Raises:
        ReplyError: Something else.
    """
    if not isinstance(value, dict):
        raise ReplyError(f"{quoted(repr(value), SHORT)} where {what} belongs; check the server and its api")
    return value


def by_id(pairs: list[tuple[int, float]]) -> dict[int, float]:
    """Return log-probabilities by id.

    Raises:
        ReplyError: One id twice.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(token for i, (token, _) in enumerate(pairs) if token in {t for t, _ in pairs[:i]})
        raise ReplyError(f"token {twice} occurs twice at one position; check the server")
    return found
