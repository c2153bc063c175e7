"""A rough estimate of the memory of training, and the memory that there is."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from ..models.model_size import Shape

POSITIONS_PER_SECOND = 25
"""Positions per second of audio in a decoder that reads audio as tokens; most have 12.5 to 25."""


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes that training takes, by a rough estimate.

    Attributes:
        fixed: Weights, gradients and both moments of the student, and the teacher's weights.
        per_utterance: Logits and activations of each utterance in a backward pass.
    """

    fixed: float
    per_utterance: float

    def of(self, n: int) -> float:
        """Bytes with n utterances at once."""
        return self.fixed + n * self.per_utterance


def training_memory(student: Shape, teacher: Shape | None, seconds: float, tokens: int) -> MemoryNeed:
    """Return what training takes with float32 weights and AdamW.

    Args:
        student: Its sizes.
        teacher: Its sizes; None without one, or behind a server.
        seconds: Longest audio.
        tokens: Longest transcript.
    """
    fixed = 16 * student.parameters + (0 if teacher is None else 4 * teacher.parameters)
    vocabulary = max(student.vocabulary, 0 if teacher is None else teacher.vocabulary)
    logits = 4 * 6 * tokens * vocabulary  # float32: both models', their gradients, sums
    activations = 4 * 16 * (POSITIONS_PER_SECOND * seconds + tokens) * (student.hidden * student.layers)
    return MemoryNeed(float(fixed), float(logits + activations))


def memory_bytes(device: torch.device | str | None = None) -> float:
    """Return bytes of a device; by default of the accelerator, or of the machine where there is none."""
    place = torch.device("cuda" if torch.cuda.is_available() else "cpu") if device is None else torch.device(device)
    if place.type == "cuda":
        return float(torch.cuda.get_device_properties(place).total_memory)
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
