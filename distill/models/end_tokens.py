"""Selects the token that ends a text: the recipe's choice, or the first that tokenizer or checkpoint name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError

from .base import ModelError


def end_of_text(name: str, tokenizer: Any, wanted: str | None, *otherwise: int | None) -> int:
    """Return the id that closes a text.

    Args:
        name: Of the checkpoint, for messages.
        tokenizer: Its tokenizer.
        wanted: The token to use; None uses `otherwise`.
        otherwise: Candidate ids in order of preference; None entries are skipped.

    Raises:
        ModelError: The tokenizer has no such token, or there is no id at all.
    """
    if wanted is not None:
        found = tokenizer.convert_tokens_to_ids(wanted)
        if found is None or tokenizer.convert_ids_to_tokens(found) != wanted:
            raise ModelError(
                f"{name}: its tokenizer has no token {wanted!r} to end texts with; give end_of_text a token that it has"
            )
        return found
    for found in otherwise:
        if found is not None:
            return found
    raise ModelError(
        f"{name}: its tokenizer has no end of sequence, so texts have no end; name a token in the model's end_of_text"
    )


def generation_end(generator: Any) -> int | None:
    """Return the first id that the checkpoint's generation settings stop at."""
    ends = getattr(generator.generation_config, "eos_token_id", None)
    return ends[0] if isinstance(ends, list) else ends


def turn_end(tokenizer: Any, arguments: Mapping[str, Any]) -> int | None:
    """Return the special token that the chat template writes after the assistant's message; None if it writes none.

    Args:
        tokenizer: With a chat template.
        arguments: Further variables of the template.

    Raises:
        TemplateSyntaxError: The template is damaged.
    """
    said = "0123456789"
    chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": said}]
    try:
        after = tokenizer.apply_chat_template(chat, tokenize=False, **arguments).rpartition(said)[2]
    except TemplateSyntaxError:
        raise
    except TemplateError:  # a template for chats of another form
        return None
    special = set(tokenizer.all_special_ids) | {i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    return next((i for i in tokenizer(after, add_special_tokens=False)["input_ids"] if i in special), None)
