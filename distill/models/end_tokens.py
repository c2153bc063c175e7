"""The tokens that end a text: the one that closes it (the recipe's choice, or the first that tokenizer or checkpoint
name), and the others at which the checkpoint stops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jinja2 import TemplateError, TemplateSyntaxError
from transformers import LogitsProcessor, LogitsProcessorList

from .base import ModelError
from .vocabulary import Tokens


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


def generation_ends(generator: Any) -> list[int]:
    """Return the ids that the checkpoint's generation settings stop at."""
    ends = getattr(generator.generation_config, "eos_token_id", None)
    return [i for i in (ends if isinstance(ends, list) else [ends]) if isinstance(i, int)]


def merging(tokens: Tokens, *more: LogitsProcessor | None) -> LogitsProcessorList | None:
    """Return the processors for `generate`: one that makes all ends one event if there are several, then others; None
    if there is none.

    Rollouts then come from the distribution that is measured. Without it, greedy decoding would pass over an end whose
    probability is divided between two ids.
    """
    found = [*([_MergedEnds(tokens)] if tokens.further_ends else []), *(one for one in more if one is not None)]
    return LogitsProcessorList(found) if found else None


class _MergedEnds(LogitsProcessor):
    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return self._tokens.merged(scores)


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
