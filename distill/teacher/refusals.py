"""Reads a server's refusal: its message, status, and requested pause."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from .errors import LONGEST_QUOTE, quoted

PASSING = (408, 425, 429)
"""Statuses below 500 for which another attempt may succeed: too slow, too early, too many (RFC 9110, 8470, 6585)."""


def retry_after(value: str | None) -> float:
    """Return seconds requested by a Retry-After header (RFC 9110, section 10.2.3: seconds or a date); 0 if it is
    neither.

    >>> [retry_after(value) for value in ("2", "0.5", "inf", "nan", "-3", "soon", None)]
    [2.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    if not value:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (IndexError, OverflowError, TypeError, ValueError):
            return 0.0
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0


def refusal_message(content: bytes) -> str:
    """Return the message in the body of a refusal."""
    try:
        return detail_of(json.loads(content))
    except (ValueError, RecursionError):
        return quoted(content[: 4 * LONGEST_QUOTE].decode(errors="replace")) or "no words"


def detail_of(tree: Any) -> str:
    """Return the server's error message, from the fields that servers use."""
    for key in ("error", "message", "detail"):
        if isinstance(tree, dict) and tree.get(key):
            tree = tree[key]
    return quoted(tree) or "no words"


def named_status(tree: Mapping[str, Any]) -> int | None:
    """Return the status in the error of an answer."""
    inside = tree.get("error")
    places = [inside, tree] if isinstance(inside, dict) else [tree]
    codes = (_number(place.get(key)) for place in places for key in ("code", "status", "status_code"))
    return next((code for code in codes if code is not None and 400 <= code < 600), None)


def _number(code: Any) -> int | None:
    """Return a status that is written as a number, or as a string of three digits."""
    if isinstance(code, str) and re.fullmatch(r"[0-9]{3}", code.strip()):
        return int(code)
    return code if type(code) is int else None


def remedy_of(status: int) -> str:
    """Return the remedy for a status that would occur again."""
    if status in (401, 403):
        return "Name the environment variable that holds the server's key (key_variable, --key-variable)."
    if status == 404:
        return "Check the URL, the api (vllm or sglang) and the served model's name (served_name)."
    if status == 413:
        return "The audio is too long for the server's limit on requests; raise the limit there or split the utterance."
    return "Repeating the request will not help; change what the server objects to."
