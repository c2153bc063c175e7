"""Buffers that are allocated once and reused."""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(eq=False)
class Scratch:
    """Named buffers, allocated at their first use."""

    device: torch.device
    _buffers: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, name: str, rows: int, width: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """An uninitialized buffer ``[rows, width]``; a name keeps its dtype."""
        if name not in self._buffers or self._buffers[name].numel() < rows * width:
            self._buffers[name] = torch.empty(rows * width, dtype=dtype, device=self.device)
        return self._buffers[name][: rows * width].view(rows, width)
