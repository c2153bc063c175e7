"""The token ids of an adapter: names, end of text, and ids that no transcript contains."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from overlap.vocab.ends import merge_ends

from .tokenizer_fits_model import TokenizerCheck, check_tokenizer


@dataclass(frozen=True, eq=False)
class Tokens:
    """The ids that a model's transcripts are made of.

    Attributes:
        size: Number of token ids; logits of real checkpoints are often padded beyond it.
        end_of_text: The id that closes a transcript.
        blocked: [size] bool, ids that no transcript contains.
        strings: The tokenizer's own names of the ids.
        digest: Hash of the token of each id, without control tokens except the end of text. Models with the same digest
            can exchange token ids directly. 32 hexadecimal digits.
        check: Result of the tokenizer check.
        times: Ids of timestamps between pieces of text; empty if the model writes only text.
        further_ends: Other ids at which the model stops. They and `end_of_text` are one event, for which `end_of_text`
            stands: scores are merged (`overlap.merge_ends`), and no transcript contains them.
    """

    size: int
    end_of_text: int
    blocked: Tensor
    strings: tuple[str, ...]
    digest: str
    check: TokenizerCheck
    times: range = range(0)
    further_ends: tuple[int, ...] = ()

    @classmethod
    def from_tokenizer(
        cls,
        tokenizer: Any,
        width: int,
        end_of_text: int,
        device: torch.device,
        suppressed: Iterable[int] = (),
        *,
        added: bool = False,
        times: range = range(0),
        ends: Iterable[int | None] = (),
    ) -> Tokens:
        """Block added tokens (chat, audio, language and tool markers, other ends of text): transcripts hold none.

        Args:
            tokenizer: The model's; repaired in place if missing merges are certain (`check_tokenizer`).
            width: Of the model's logits.
            end_of_text: The id that is not blocked.
            device: Of `blocked`.
            suppressed: Further ids to block.
            added: Let added tokens that are not special be written, such as `<think>` in the texts of a chat model.
            times: Ids of timestamps that transcripts hold.
            ends: Ids at which the checkpoint says that texts end. Ids of ordinary tokens are not taken: a damaged
                configuration would end texts at words.
        """
        check, size = check_tokenizer(tokenizer), min(len(tokenizer), width)
        marks = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special or not added}
        control = {*marks, *tokenizer.all_special_ids, *suppressed} - {end_of_text, *times}
        blocked = torch.zeros(size, dtype=torch.bool, device=device)
        blocked[sorted(i for i in control if i < size)] = True
        strings = tuple(tokenizer.convert_ids_to_tokens(list(range(size))))
        digest = _digest(strings, {*marks, *tokenizer.all_special_ids}, end_of_text)
        others = {i for i in ends if i is not None and i in control and i < size} - {end_of_text}
        return cls(size, end_of_text, blocked, strings, digest, check, times, tuple(sorted(others)))

    def suppressed(self, width: int) -> list[int] | None:
        """Return the ids below `width` that generation must not write; None if there are none."""
        blocked = [i for i in self.blocked.nonzero().squeeze(-1).tolist() if i not in self.further_ends]
        return (blocked + list(range(self.size, width))) or None

    @property
    def ends(self) -> tuple[int, ...]:
        """All ids that end a text, `end_of_text` first."""
        return (self.end_of_text, *self.further_ends)

    def merged(self, logits: Tensor) -> Tensor:
        """Return [..., at least size] logits in which `end_of_text` stands for all ends."""
        return merge_ends(logits, self.ends)


def _digest(strings: tuple[str, ...], control: set[int], end_of_text: int) -> str:
    named = [[i, name] for i, name in enumerate(strings) if i not in control]
    written = json.dumps([end_of_text, named], ensure_ascii=True).encode()  # some names are lone surrogates
    return hashlib.blake2b(written, digest_size=16).hexdigest()


def added_space(tokenizer: Any) -> bytes:
    """Return the space that some sentencepiece tokenizers add before every text and remove when decoding; empty for
    others."""
    ids = tokenizer("a", add_special_tokens=False)["input_ids"]
    return b" " if tokenizer.convert_ids_to_tokens(ids)[0].startswith("▁") and tokenizer.decode(ids) == "a" else b""
