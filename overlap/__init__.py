"""Statistics of teacher-student support overlap, and the gates that read them.

>>> import torch
>>> from overlap import measure
>>> student = torch.tensor([[[4.0, 3.0, 2.0, 0.0], [0.0, 1.0, 2.0, 3.0]]])  # one utterance, two positions, four tokens
>>> teacher = torch.tensor([[[4.0, 3.0, 0.0, 2.0], [3.0, 2.0, 1.0, 0.0]]])
>>> statistics = measure(student, teacher, k=2)
>>> statistics.overlap_ratio
tensor([[1., 0.]])
>>> statistics.summary(states="student")["union_size"].value  # VUSS
3.0
"""

from overlap.definitions import SEQUENCE_STATISTICS, TOKEN_STATISTICS, Definition
from overlap.funnel import BINS, Funnel, account, assign_bins
from overlap.gates import Action, All, Any, Collapse, Decision, FixedSteps, Gate, Plateau, Threshold
from overlap.groups import GroupSums
from overlap.heads import Head
from overlap.hidden import measure_hidden
from overlap.losses import UnionKL, support_kl, union_kl
from overlap.meter import OverlapMeter
from overlap.sequences import length_ratio, repetition, sequence_estimates, token_rate, utterance_estimates
from overlap.statistics import TokenStatistics, measure
from overlap.summary import Estimate, OverlapSummary
from overlap.support import Support, intersection, top_k, union
from overlap.sweep import sweep
from overlap.vocabulary import UNMAPPED, VocabularyMap

__all__ = [
    "BINS",
    "SEQUENCE_STATISTICS",
    "TOKEN_STATISTICS",
    "UNMAPPED",
    "Action",
    "All",
    "Any",
    "Collapse",
    "Decision",
    "Definition",
    "Estimate",
    "FixedSteps",
    "Funnel",
    "Gate",
    "GroupSums",
    "Head",
    "OverlapMeter",
    "OverlapSummary",
    "Plateau",
    "Support",
    "Threshold",
    "TokenStatistics",
    "UnionKL",
    "VocabularyMap",
    "account",
    "assign_bins",
    "intersection",
    "length_ratio",
    "measure",
    "measure_hidden",
    "repetition",
    "sequence_estimates",
    "support_kl",
    "sweep",
    "token_rate",
    "top_k",
    "union",
    "union_kl",
    "utterance_estimates",
]
