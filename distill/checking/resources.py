"""Whether the disk holds the checkpoints that a run will write, and memory its largest batch."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from ..recipe.schema import Checkpoints
from .finding import CheckFinding
from .memory import MemoryNeed

DISK = "free disk"
MEMORY = "memory of the largest batch"
FULL = 0.9
"""Share of the memory from which on a run that just fitted may not fit again."""

GIB = 2**30


@dataclass(frozen=True)
class CheckpointSize:
    """Bytes of a checkpoint.

    Attributes:
        weights: Of the model, as `from_pretrained` reads it.
        optimizer: Of both moments of every weight that is trained.
    """

    weights: int
    optimizer: int

    @classmethod
    def from_network(cls, network: nn.Module) -> CheckpointSize:
        """Return the size of the checkpoints of a model; weights that are tied are written once."""
        trained = (parameter for parameter in network.parameters() if parameter.requires_grad)
        return cls(_bytes(network.state_dict().values()), 2 * _bytes(trained))


def most_bytes(size: CheckpointSize, section: Checkpoints, stages: int) -> int:
    """Return the most bytes of checkpoints that stand in a run directory at once.

    Kept are the entries of all stages, the one to which teacher data would return, the newest ones, and `best/`; a new
    one is complete before an old one is deleted. At the entry of a stage there is no optimizer.

    Args:
        size: Of one checkpoint.
        section: Of the recipe.
        stages: Number of stages.
    """
    whole = size.weights + size.optimizer
    best = 0 if section.best is None else 2 * size.weights
    return stages * size.weights + (section.keep + 2) * whole + best


def check_disk(place: Path, needed: int) -> list[CheckFinding]:
    """Return whether the disk of a folder has room for checkpoints; traces and transcripts are small beside them.

    Args:
        place: The run directory; the folder may be missing.
        needed: Bytes.
    """
    folder = place.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    found = f"{_gib(free)} are free in {folder}, checkpoints take up to {_gib(needed)} at once"
    if free < needed:
        remedy = "free some, give another --output, or lower checkpoint.keep"
        return [CheckFinding("error", DISK, found, remedy)]
    return [CheckFinding("ok", DISK, found)]


def check_measured_memory(peaks: Mapping[str, float], total: float, device: str) -> list[CheckFinding]:
    """Return whether the steps of a dry run on the longest utterances came close to all memory.

    Args:
        peaks: GiB of each stage.
        total: Bytes of the device.
        device: Its name.
    """
    stage, peak = max(peaks.items(), key=lambda item: item[1])
    found = (
        f"measured: at most {peak:.2f} GiB of {_gib(total)} of {device}, in stage {stage!r} (2 steps on the longest "
        "utterances)"
    )
    return [_of_memory(peak * GIB, total, found)]


def check_estimated_memory(
    needs: Mapping[str, tuple[MemoryNeed, int]], total: float, device: str
) -> list[CheckFinding]:
    """Return whether training probably fits into memory, where nothing was measured.

    Args:
        needs: What each stage takes, and its utterances in a backward pass.
        total: Bytes of the device.
        device: Its name.
    """
    stage, (need, n) = max(needs.items(), key=lambda item: item[1][0].of(item[1][1]))
    found = (
        f"estimated roughly: {_gib(need.of(n))} of {_gib(total)} of {device}, in stage {stage!r} with {n} "
        "utterances at once"
    )
    return [_of_memory(need.of(n), total, found)]


def _of_memory(needed: float, total: float, found: str) -> CheckFinding:
    if needed > FULL * total:
        remedy = "lower the stage's micro_batch_size, or set student.gradient_checkpointing = true"
        return CheckFinding("warning", MEMORY, found, remedy)
    return CheckFinding("ok", MEMORY, found)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values())


def _gib(n: float) -> str:
    return f"{n / GIB:.2f} GiB" if n >= GIB / 100 else f"{n / 2**20:.2f} MiB"
