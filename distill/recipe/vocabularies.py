"""Whether the vocabularies are large enough for a recipe's supports, before any model is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .schema import Recipe


def larger_than_vocabulary(recipe: Recipe) -> str:
    """Return what is wrong with `support.k`, with the remedy; empty where it may be right.

    Fewer tokens than these can be in a transcript; their number is known once the models are loaded.

    Args:
        recipe: With absolute paths; models of the Hub are passed over.
    """
    k = recipe.support.k
    for section in filter(None, (recipe.student, recipe.teacher)):
        tokens = _tokens(Path(section.model) / "config.json")
        if tokens and k > tokens:
            return f"support.k = {k}: {section.model} has a vocabulary of {tokens:,} tokens; lower it"
    return ""


def _tokens(path: Path) -> int:
    """Return the largest vocabulary that a configuration names; 0 without one, which is not an error of the recipe."""
    try:
        tree = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return 0
    return max(_sizes(tree), default=0)


def _sizes(tree: Any) -> Iterator[int]:
    if isinstance(tree, dict):
        size = tree.get("vocab_size")
        if isinstance(size, int):
            yield size
        for value in tree.values():
            yield from _sizes(value)
