"""Statistics broken down by position, token class, correctness, length, language, or any two of them at once.

Functions such as `position_bins` and `token_classes` give every position a label; `by` averages within each label and
returns a tidy frame. A position without a label is in the stratum "unlabeled": no position is dropped, so the strata
always partition all positions.

>>> import torch
>>> from overlap import measure
>>> from overlap.strata import by, position_bins
>>> generator = torch.Generator().manual_seed(0)
>>> student = torch.randn(8, 4, 20, generator=generator)
>>> statistics = measure(student, student + torch.randn(8, 4, 20, generator=generator), k=4)
>>> frame = by(statistics, position_bins(statistics.mask, edges=(0, 1)), states="fixed")
>>> frame = frame.query("statistic == 'overlap_ratio'")[["position", "value", "n_positions", "n_groups"]]
>>> print(frame.round(2).to_string(index=False))
position  value  n_positions  n_groups
       0   0.62            8         8
      1+   0.55           24         8

pandas is imported when a frame is made and jiwer when texts are aligned, so that measuring needs neither.
"""

from overlap.strata.averages import StratumSums, by
from overlap.strata.bins import length_bins, position_bins, relative_position_bins
from overlap.strata.classes import TOKEN_CLASSES, token_classes
from overlap.strata.correctness import CORRECTNESS, EditAlignment, align_to_reference, correctness
from overlap.strata.labels import UNLABELED, Labels
from overlap.strata.windows import WINDOWS, windows

__all__ = [
    "CORRECTNESS",
    "TOKEN_CLASSES",
    "UNLABELED",
    "WINDOWS",
    "EditAlignment",
    "Labels",
    "StratumSums",
    "align_to_reference",
    "by",
    "correctness",
    "length_bins",
    "position_bins",
    "relative_position_bins",
    "token_classes",
    "windows",
]
