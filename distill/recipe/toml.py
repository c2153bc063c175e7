"""Values as TOML writes them, for messages and for recipes that are written here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any


def in_toml(value: Any) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key} = {in_toml(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(in_toml(item) for item in value)}]"
    if isinstance(value, float):
        return repr(value)
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)


def described(text: str | None) -> str:
    """Return a description on one line, in TOML's words: what is left out is unset, and not None."""
    line = " ".join((text or "").split())
    return re.sub(r"\bNone\b", "unset", re.sub(r"(^|[.] )None\b", r"\1Unset", line))
