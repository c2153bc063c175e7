"""The plan of one pass over all positions: checked settings, processed in chunks of bounded memory."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from overlap.core import chunking, threads
from overlap.core.buffers import Scratch
from overlap.core.checks import (
    TensorLike,
    as_tensor,
    check_leading,
    check_logits,
    check_mask,
    refuse_undefined,
)
from overlap.definitions import TOKEN_STATISTICS
from overlap.errors import UserError
from overlap.statistics.chunk_statistics import Basis, Setting, measure_chunk
from overlap.statistics.full_vocabulary import Columns
from overlap.vocab.ends import merge_ends
from overlap.vocab.settings import ComparisonSettings
from overlap.vocab.vocab_pair import VocabularyPair
from overlap.vocab.vocabulary_map import UNMAPPED

Rows = Callable[[Tensor, Scratch], tuple[Tensor, Tensor]]
"""From flat positions ``[n]``, ascending, to both models' scores ``[n, V]`` there, of any floating type; they may be in
the scratch memory. Called from several threads."""

Watch = Callable[[Tensor, Basis], None]
"""Receives flat positions ``[n]`` and the basis of their statistics; called from several threads."""


@dataclass(frozen=True, eq=False)
class Measurement:
    """A measurement to run.

    Attributes:
        pair: both vocabularies.
        mask: ``[...]`` bool, True where a position counts.
        tokens: ``[...]`` long, negative where there is none.
        ks: sizes of the sets, ascending.
        temperatures: dividing the scores.
        top_p: mass of the nuclei.
    """

    pair: VocabularyPair
    mask: Tensor
    tokens: Tensor
    ks: tuple[int, ...]
    temperatures: tuple[float, ...]
    top_p: float

    @classmethod
    def from_settings(
        cls,
        sizes: tuple[int, int],
        shape: torch.Size,
        device: torch.device,
        points: Sequence[ComparisonSettings],
        mask: TensorLike | None,
        tokens: TensorLike | None,
    ) -> "Measurement":
        """Check everything against the widths of both models' logits and the leading shape.

        Args:
            sizes: widths of the student's and the teacher's logits.
            shape: the leading shape.
            device: the student's.
            points: settings of the measurement; they differ only in k and temperature.
            mask: positions that count.
            tokens: the generated ids.

        Raises:
            UserError: on what does not fit; says what was received, what is expected and what to do.
        """
        pair = points[0].pair(*sizes, device)
        for point in points:
            point.check_k(pair)
        checked = check_mask(None if mask is None else as_tensor(mask, "mask"), shape, device)
        return cls(
            pair,
            checked,
            _check_tokens(tokens, checked, sizes[0]),
            tuple(sorted({point.k for point in points})),
            tuple(dict.fromkeys(float(point.temperature) for point in points)),
            float(points[0].top_p),
        )

    @property
    def where(self) -> Tensor:
        """``[n]`` the flat positions that count, ascending."""
        return self.mask.reshape(-1).nonzero()[:, 0]

    @torch.no_grad()
    def run(self, portions: Iterable[tuple[Tensor, Rows]], watch: Watch | None = None) -> dict[Setting, Columns]:
        """Measure at every position of the mask.

        Args:
            portions: flat positions that count, and a function for their scores; each position is in one portion. A
                portion is completed before the next is requested.
            watch: called with every chunk of positions.

        Returns:
            By setting, every statistic of `overlap.definitions.TOKEN_STATISTICS`, of the leading shape.

        Raises:
            UserError: if a position has no softmax; names the model and the first such position.
        """
        n, device = self.mask.numel(), self.mask.device
        settings = [(k, temperature) for temperature in self.temperatures for k in self.ks]
        results = {
            setting: {name: torch.full((n,), torch.nan, device=device) for name in TOKEN_STATISTICS}
            for setting in settings
        }
        peaks = torch.zeros(n, device=device), torch.zeros(n, device=device)
        n_threads = threads.count(device)
        idle = [Scratch(device) for _ in range(n_threads)]
        for where, rows in portions:

            def work(chunk: Tensor, rows: Rows = rows) -> None:
                scratch = idle.pop()
                try:
                    basis = self._measure(chunk, rows, scratch, results, peaks)
                    if watch is not None:
                        watch(chunk, basis)
                finally:
                    idle.append(scratch)

            threads.each(work, [where[part] for part in self._parts(where.numel(), n_threads)], device)
        where = self.where
        index = self.mask.reshape(self.mask.shape or (1,)).nonzero(as_tuple=True)
        refuse_undefined(peaks[0][where], index, "student_logits")
        refuse_undefined(peaks[1][where], index, "teacher_logits")
        shape = self.mask.shape
        return {s: {name: values.reshape(shape) for name, values in columns.items()} for s, columns in results.items()}

    def _measure(
        self,
        chunk: Tensor,
        rows: Rows,
        scratch: Scratch,
        results: dict[Setting, Columns],
        peaks: tuple[Tensor, Tensor],
    ) -> Basis:
        """Measure at a few positions and write the results to their places."""
        student, teacher = rows(chunk, scratch)
        measured, basis = measure_chunk(
            merge_ends(student, self.pair.student.ends),
            merge_ends(teacher.to(self.mask.device), self.pair.teacher.ends),
            self.tokens.reshape(-1)[chunk],
            self.pair,
            ks=self.ks,
            temperatures=self.temperatures,
            top_p=self.top_p,
            scratch=scratch,
        )
        for setting, columns in results.items():
            for name, values in columns.items():
                values[chunk] = measured[setting][name].float()
        peaks[0][chunk], peaks[1][chunk] = basis.peaks
        return basis

    def _parts(self, n: int, n_threads: int) -> list[slice]:
        """Return slices of n positions for `_measure`; all threads together keep no more scores than a single thread
        would. Few rows get only one thread.


        """
        width = max(self.pair.student.size, self.pair.teacher.size)
        share = max(-(-n // n_threads), chunking.ROW_ELEMENTS // width)
        most = min(chunking.CHUNK_ELEMENTS // (width * n_threads), chunking.SLOTS // self.ks[-1], share)
        return chunking.even_parts(n, max(1, most))


def of_logits(
    student_logits: TensorLike,
    teacher_logits: TensorLike,
    points: Sequence[ComparisonSettings],
    mask: TensorLike | None,
    tokens: TensorLike | None,
) -> tuple[Measurement, Rows]:
    """Return the measurement on ``[..., V]`` logits of both models, and the function for its rows; see `Measurement`.

    Raises:
        UserError: on what does not fit; says what was received, what is expected and what to do.
    """
    student, teacher = as_tensor(student_logits, "student_logits"), as_tensor(teacher_logits, "teacher_logits")
    check_logits(student, "student_logits")
    check_logits(teacher, "teacher_logits")
    check_leading(teacher, "teacher_logits", student.shape[:-1])
    sizes = student.shape[-1], teacher.shape[-1]
    measurement = Measurement.from_settings(sizes, student.shape[:-1], student.device, points, mask, tokens)
    return measurement, _rows_of_logits(student, teacher)


def _rows_of_logits(student: Tensor, teacher: Tensor) -> Rows:
    """Return rows of ``[..., V]`` logits, without a copy if they are contiguous."""
    student_rows, teacher_rows = _flat(student.detach(), "student rows"), _flat(teacher.detach(), "teacher rows")
    return lambda chunk, scratch: (student_rows(chunk, scratch), teacher_rows(chunk, scratch))


def _flat(logits: Tensor, name: str) -> Callable[[Tensor, Scratch], Tensor]:
    shape, width = logits.shape[:-1], logits.shape[-1]
    try:
        flat = logits.view(-1, width) if logits.numel() else logits.reshape(-1, width)
    except RuntimeError:  # the leading axes cannot be merged: gather, because reshape would copy everything
        return lambda chunk, _: logits[torch.unravel_index(chunk.to(logits.device), shape)]

    def rows(chunk: Tensor, scratch: Scratch) -> Tensor:
        first, n = int(chunk[0]), chunk.numel()
        if int(chunk[-1]) - first == n - 1:
            return flat[first : first + n]
        if flat.device != scratch.device:
            return flat[chunk.to(flat.device)]
        return torch.index_select(flat, 0, chunk, out=scratch(name, n, width, dtype=flat.dtype))

    return rows


def _check_tokens(tokens: TensorLike | None, mask: Tensor, vocabulary: int) -> Tensor:
    if tokens is None:
        return torch.full(mask.shape, UNMAPPED, device=mask.device)
    ids = as_tensor(tokens, "tokens")
    if ids.dtype not in (torch.int64, torch.int32):
        raise UserError(f"tokens: expected a torch.int64 tensor of generated ids, received {ids.dtype}")
    if ids.shape != mask.shape:
        raise UserError(
            f"tokens: expected the logits' leading shape {list(mask.shape)}, received {list(ids.shape)}; "
            "give one id for each position, negative where there is none"
        )
    ids = ids.to(mask.device, torch.long)
    outside = ids[mask & (ids >= vocabulary)]
    if outside.numel():
        raise UserError(
            f"tokens: id {int(outside[0])} is outside the student's vocabulary of {vocabulary}; ids must be in the "
            "student's vocabulary"
        )
    return torch.where(mask, ids, UNMAPPED)
