"""A model's scores of each next token while another model writes."""

from __future__ import annotations

from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Self

import torch
from torch import Tensor
from transformers import LogitsProcessor

from .base import Prompt, Recognizer


class Follower:
    """A recognizer that is told which tokens it writes, and gives its scores before each.

    It runs the recognizer's own rollout, with its cache, in a second thread that waits whenever the writer's runs. So
    every family, whatever it must prepare for its forward passes, is led in the same way.
    """

    def __init__(self, recognizer: Recognizer, prompt: Prompt, max_new_tokens: int) -> None:
        """Prepare it; nothing is computed before the first scores.

        Args:
            recognizer: The model that follows.
            prompt: Its inputs.
            max_new_tokens: Most tokens that the writer may write.
        """
        self._recognizer, self._prompt, self._longest = recognizer, prompt, max_new_tokens
        self._chosen: SimpleQueue[Tensor | None] = SimpleQueue()
        self._scores: SimpleQueue[Tensor | BaseException] = SimpleQueue()
        self._thread: Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._chosen.put(None)
            self._thread.join()

    def scores(self, chosen: Tensor | None) -> Tensor:
        """Return [batch, width] logits of the next token, −inf for those that the recognizer never writes.

        Args:
            chosen: [batch] the token that was written after the scores before; None for the first ones.

        Raises:
            Exception: As the recognizer's rollout raises it.
        """
        if chosen is None:
            self._thread = Thread(target=self._follow, name=f"follows: {self._recognizer.name}", daemon=True)
            self._thread.start()
        else:
            self._chosen.put(chosen)
        found = self._scores.get()
        if isinstance(found, BaseException):
            raise found
        return found

    def _follow(self) -> None:
        try:
            self._recognizer.rollout(
                self._prompt, max_new_tokens=self._longest, logits_processor=_Led(self._scores, self._chosen)
            )
            self._scores.put(RuntimeError(f"{self._recognizer.name} wrote its last token before the writer did"))
        except _Left:
            pass
        except BaseException as error:  # is raised where its scores are awaited
            self._scores.put(error)


class _Left(Exception):
    """Nobody waits for further scores."""


class _Led(LogitsProcessor):
    """Hands the scores over, and lets only the token be written that comes back."""

    def __init__(self, scores: SimpleQueue[Tensor | BaseException], chosen: SimpleQueue[Tensor | None]) -> None:
        self._scores, self._chosen = scores, chosen

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._scores.put(scores)
        chosen = self._chosen.get()
        if chosen is None:
            raise _Left
        return torch.full_like(scores, -torch.inf).scatter_(-1, chosen.to(scores.device)[:, None], 0.0)
