"""Opening of the answer if no language was given: some models then write a language name and a marker before the text.

These words become part of the prompt, as if the language had been given. The model reads the sequence that it would
write itself, and transcripts contain only text, with or without a given language: labels, decoded text, the teacher's
scores and the measured positions have the same form.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList

from . import causal
from .base import Prompt, without_generation_settings
from .vocabulary import Tokens

LONGEST = 32
"""Maximum number of tokens of an opening; a longer beginning is not one."""


@dataclass(frozen=True)
class Opening:
    """The words with which a model names a language.

    Attributes:
        words: What they begin with.
        marker: The control token that ends them; None if the name ends them.
        name: How languages are named, as a regular expression.
    """

    words: str
    marker: str | None
    name: str = ".*?"

    def may_begin(self, text: str) -> bool:
        """Return whether a text is an opening or could still become one."""
        return self.words.startswith(text) or text.startswith(self.words)

    def found_in(self, text: str) -> str:
        """Return the opening of a text with its marker; empty if there is none."""
        found = re.match(f"{re.escape(self.words)}{self.name}{re.escape(self.marker or '')}", text)
        return found[0] if found else ""


class _StopAfterOpening(StoppingCriteria):
    """Stops rows that have written an opening, and rows that write something else."""

    def __init__(self, opening: Opening, tokenizer: Any, start: int) -> None:
        self.opening, self.tokenizer, self.start = opening, tokenizer, start

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Any:
        del scores, kwargs
        texts = self.tokenizer.batch_decode(input_ids[:, self.start :], clean_up_tokenization_spaces=False)
        stops = [bool(self.opening.found_in(text)) or not self.opening.may_begin(text) for text in texts]
        return torch.tensor(stops, device=input_ids.device)


@torch.no_grad()
def opened(
    generator: Any, prompt: Prompt, tokens: Tokens, tokenizer: Any, opening: Opening, rows: list[int], width: int
) -> Prompt:
    """Return the prompt, extended for some utterances by the opening that the model writes by greedy decoding.

    An utterance whose answer begins otherwise is unchanged: a model that was not trained to name languages writes its
    text at once.

    Args:
        generator: The model, unwrapped.
        prompt: Its inputs, `input_ids` left-padded.
        tokens: Its tokens.
        tokenizer: Spells them.
        opening: The words.
        rows: Of which utterances of the batch.
        width: Of the model's logits.
    """
    ends = {tokens.end_of_text} | ({tokenizer.convert_tokens_to_ids(opening.marker)} if opening.marker else set())
    length = prompt.inputs["input_ids"].shape[1]
    # Inputs that are not rows, such as windows of long audio, cannot be selected by utterance: then all utterances are
    # generated.
    apart = all(len(value) == prompt.batch_size for value in prompt.inputs.values())
    asked = rows if apart else list(range(prompt.batch_size))
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    barred = special | set(tokenizer.all_special_ids) | set(range(tokens.size, width))
    with without_generation_settings(generator):
        written = generator.generate(
            **{name: value[asked] if apart else value for name, value in prompt.inputs.items()},
            max_new_tokens=LONGEST,
            use_cache=causal.accepts_cache(generator),
            do_sample=False,
            suppress_tokens=sorted(barred - ends) or None,
            eos_token_id=sorted(ends),
            pad_token_id=tokens.end_of_text,
            stopping_criteria=StoppingCriteriaList([_StopAfterOpening(opening, tokenizer, length)]),
        )[:, length:].tolist()
    begun = {row: _words(ids, tokenizer, opening) for row, ids in zip(asked, written, strict=True) if row in rows}
    return _extended(prompt, {row: ids for row, ids in begun.items() if ids}, tokens.end_of_text)


def _words(ids: list[int], tokenizer: Any, opening: Opening) -> list[int]:
    """Return the tokens that spell exactly the opening; empty if there are none."""
    for n in range(1, len(ids) + 1):
        text = tokenizer.decode(ids[:n], clean_up_tokenization_spaces=False)
        if text and opening.found_in(text) == text:
            return ids[:n]
    return []


def _extended(prompt: Prompt, added: dict[int, list[int]], padding: int) -> Prompt:
    """Return the prompt with ids at the end of some rows, padded on the left again."""
    if not added:
        return prompt
    ids, mask = prompt.inputs["input_ids"], prompt.inputs["attention_mask"]
    kept = [row[keep.bool()].tolist() for row, keep in zip(ids, mask, strict=True)]
    rows = [[*row, *added.get(i, [])] for i, row in enumerate(kept)]
    width = max(map(len, rows))
    made = {
        "input_ids": [[padding] * (width - len(row)) + row for row in rows],
        "attention_mask": [[0] * (width - len(row)) + [1] * len(row) for row in rows],
    }
    tensors = {name: torch.tensor(values, device=ids.device, dtype=ids.dtype) for name, values in made.items()}
    return Prompt(prompt.inputs | tensors, prompt.utterances)
