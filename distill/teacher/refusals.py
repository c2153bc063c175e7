"""Why a server refused, in its own words: what they say, the status that they name, the pause they ask for."""

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
"""Statuses below 500 that another attempt may not meet: too slow, too early, too many (RFC 9110, 8470, 6585)."""


def retry_after(value: str | None) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110, section 10.2.3: seconds or a date); 0 where it is neither.

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


def words_of(content: bytes) -> str:
    """What the body of a refusal says."""
    try:
        return detail_of(json.loads(content))
    except (ValueError, RecursionError):
        return quoted(content[: 4 * LONGEST_QUOTE].decode(errors="replace")) or "no words"


def detail_of(tree: Any) -> str:
    """What the server says is wrong, from the places where servers say it."""
    for key in ("error", "message", "detail"):
        if isinstance(tree, dict) and tree.get(key):
            tree = tree[key]
    return quoted(tree) or "no words"


def named_status(tree: Mapping[str, Any]) -> int | None:
    """The status that an error in an answer names."""
    inside = tree.get("error")
    places = [inside, tree] if isinstance(inside, dict) else [tree]
    codes = (_number(place.get(key)) for place in places for key in ("code", "status", "status_code"))
    return next((code for code in codes if code is not None and 400 <= code < 600), None)


def _number(code: Any) -> int | None:
    """A status that is written as a number, or as a string of three digits."""
    if isinstance(code, str) and re.fullmatch(r"[0-9]{3}", code.strip()):
        return int(code)
    return code if type(code) is int else None


def remedy_of(status: int) -> str:
    """What to do about a status that another attempt meets again."""
    if status in (401, 403):
        return "Name the environment variable that holds the server's key (key_variable, --key-variable)."
    if status == 404:
        return "Check the URL, the api (vllm or sglang) and the served model's name (served_name)."
    if status == 413:
        return "The audio is too long for the server's limit on requests; raise the limit there or split the utterance."
    return "The request will not do better a second time; change what the server objects to."
