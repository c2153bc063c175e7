"""Top-k log-probabilities of a server at the positions of a transcript, checked, as arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overlap.errors import UserError

MASS_SLACK = 1e-3
"""Tolerance by which the sum of probabilities may exceed 1: servers compute in half precision and round the output."""


class ReplyError(UserError):
    """A server's reply that is not what was requested; the caller adds URL and utterance."""


@dataclass(frozen=True)
class Reply:
    """A server's scores of a prompt that ends in a transcript.

    Attributes:
        prompt_ids: The prompt as the server tokenized it, with the transcript at its end; None for tokens without an
            id.
        rows: Log-probabilities by id at each of the transcript's tokens and at the position after them. A row may hold
            the prompt's own token beside the best ones.
    """

    prompt_ids: list[int | None]
    rows: list[Mapping[int, float] | None]


@dataclass(frozen=True, eq=False)
class TopkLogprobs:
    """Top-k log-probabilities at each position of a transcript and at the one after it, best first.

    Attributes:
        ids: [n + 1, m] int64, in the teacher's vocabulary.
        logprobs: [n + 1, m] float64, natural logarithms over the full vocabulary at temperature 1.
    """

    ids: NDArray[np.int64]
    logprobs: NDArray[np.float64]

    def fits(self, n_tokens: int, m: int, size: int) -> bool:
        """Return whether it has m tokens of a vocabulary at each of a transcript's tokens and after them.

        Args:
            n_tokens: Of the transcript.
            m: Tokens at each position.
            size: Of the vocabulary.
        """
        shape = (n_tokens + 1, m)
        return self.ids.shape == self.logprobs.shape == shape and bool(((self.ids >= 0) & (self.ids < size)).all())

    @classmethod
    def from_reply(cls, reply: Reply, expected: Sequence[int], m: int, spelled: Sequence[str]) -> TopkLogprobs:
        """Check a reply and take its m most probable tokens.

        Args:
            reply: The server's.
            expected: The transcript in the tokens of the local tokenizer.
            m: Number of tokens requested at each position.
            spelled: The local tokenizer's names of the ids, for messages.

        Raises:
            ReplyError: Other tokens, a wrong number of them, or invalid log-probabilities.
        """
        n = len(expected)
        _check_tokens(reply.prompt_ids[len(reply.prompt_ids) - n :], expected, spelled)
        if len(reply.rows) != n + 1:
            raise ReplyError(f"log-probabilities of {len(reply.rows)} positions, not of {n + 1}")
        rows = [
            _best(row, m, own, f"position {position} of {n + 1}", len(spelled))
            for position, (row, own) in enumerate(zip(reply.rows, [*expected, None], strict=True))
        ]
        ids = np.array([[token for token, _ in row] for row in rows], dtype=np.int64)
        logprobs = np.array([[logprob for _, logprob in row] for row in rows], dtype=np.float64)
        return cls(ids, logprobs)


def _check_tokens(received: Sequence[int | None], expected: Sequence[int], spelled: Sequence[str]) -> None:
    def name(token: int | None) -> str:
        return repr(spelled[token]) if token is not None and 0 <= token < len(spelled) else "unknown"

    for position, wanted in enumerate(expected):
        token = received[position] if position < len(received) else None
        if token != wanted:
            raise ReplyError(
                f"token {position} of the transcript's {len(expected)} is {token} ({name(token)}) there and {wanted} "
                f"({name(wanted)}) in the local tokenizer: they tokenize the text differently. Name as teacher "
                "the tokenizer of the model that is served"
            )


def _best(row: Mapping[int, float] | None, m: int, own: int | None, where: str, size: int) -> list[tuple[int, float]]:
    """Return the m best of a row, best first, equal ones by id, without a less likely token of the prompt."""
    if row is None:
        raise ReplyError(
            f"no log-probabilities at {where}. Some servers have none for cached prefixes: start it without prefix "
            "caching (vllm serve --no-enable-prefix-caching)"
        )
    for token in row:
        if not 0 <= token < size:
            raise ReplyError(
                f"token {token} at {where} is none of the {size} of the local model (ids 0 to {size - 1}): the server "
                "has another model than the local tokenizer. Name as teacher the checkpoint that is served"
            )
    if any(math.isnan(logprob) for logprob in row.values()):
        raise ReplyError(f"a log-probability at {where} is not a number. Check the served weights and their dtype")
    ranked = sorted(row.items(), key=lambda item: (-item[1], item[0]))
    if own in row and len(row) == m + 1:
        if own is not None and row[own] > ranked[-1][1]:
            raise ReplyError(f"{len(row)} tokens at {where}, more than the {m} asked for and the prompt's own")
        ranked = [item for item in ranked if item[0] != own]
    if len(ranked) != m:
        few = "It has a limit: start it with more (vllm serve --max-logprobs), or ask for less (top_logprobs)"
        many = "It does not do what top_logprobs asks; check the api (vllm or sglang)"
        raise ReplyError(f"{len(row)} tokens at {where}, asked for {m}. {few if len(ranked) < m else many}")
    if not all(math.isfinite(logprob) for _, logprob in ranked):
        raise ReplyError(f"a log-probability at {where} is not finite. Check the served weights and their dtype")
    mass = math.fsum(math.exp(min(logprob, 1.0)) for _, logprob in ranked)
    if mass > 1 + MASS_SLACK:
        raise ReplyError(
            f"the probabilities at {where} add up to {mass:.4g}. It must return log-probabilities of the raw "
            "distribution (vllm serve --logprobs-mode raw_logprobs, its default)"
        )
    return ranked
