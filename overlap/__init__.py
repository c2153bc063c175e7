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

from overlap import presets, strata
from overlap.alignment import Alignment, align, match
from overlap.bounds import BOUNDED_STATISTICS, DECIDED_BY_TOP_K, BoundsSummary, OverlapBounds, measure_bounds
from overlap.coverage import Coverage, coverage
from overlap.definitions import CHECKPOINT_STATISTICS, SEQUENCE_STATISTICS, TOKEN_STATISTICS, Definition
from overlap.distributed import gathered, reduce_funnel
from overlap.funnel import BINS, Funnel, account, assign_bins
from overlap.gain import FixedContextGain, fixed_context_gain, gain_correlations
from overlap.gates import Action, All, Any, Collapse, Decision, FixedSteps, Gate, Plateau, Threshold
from overlap.groups import GroupSums, packed_groups
from overlap.heads import Head
from overlap.hidden import measure_hidden
from overlap.losses import UnionKL, union_kl
from overlap.meter import OverlapMeter
from overlap.objectives import sampled_reverse_kl, set_divergence, set_logprobs, set_mass, support_kl
from overlap.sequences import (
    length_ratio,
    repetition,
    sequence_estimates,
    sequence_values,
    token_rate,
    utterance_estimates,
)
from overlap.statistics import TokenStatistics, measure
from overlap.summary import Estimate, OverlapSummary
from overlap.support import Support, intersection, top_k, union
from overlap.sweep import sweep
from overlap.token_bytes import TokenBytes, token_bytes
from overlap.vocabulary import UNMAPPED, VocabularyMap
from overlap.vocabulary_objective import vocabulary_divergence

__all__ = [
    "BINS",
    "BOUNDED_STATISTICS",
    "CHECKPOINT_STATISTICS",
    "DECIDED_BY_TOP_K",
    "SEQUENCE_STATISTICS",
    "TOKEN_STATISTICS",
    "UNMAPPED",
    "Action",
    "Alignment",
    "All",
    "Any",
    "BoundsSummary",
    "Collapse",
    "Coverage",
    "Decision",
    "Definition",
    "Estimate",
    "FixedContextGain",
    "FixedSteps",
    "Funnel",
    "Gate",
    "GroupSums",
    "Head",
    "OverlapBounds",
    "OverlapMeter",
    "OverlapSummary",
    "Plateau",
    "Support",
    "Threshold",
    "TokenBytes",
    "TokenStatistics",
    "UnionKL",
    "VocabularyMap",
    "account",
    "align",
    "assign_bins",
    "coverage",
    "fixed_context_gain",
    "gain_correlations",
    "gathered",
    "intersection",
    "length_ratio",
    "match",
    "measure",
    "measure_bounds",
    "measure_hidden",
    "packed_groups",
    "presets",
    "reduce_funnel",
    "repetition",
    "sampled_reverse_kl",
    "sequence_estimates",
    "sequence_values",
    "set_divergence",
    "set_logprobs",
    "set_mass",
    "strata",
    "support_kl",
    "sweep",
    "token_bytes",
    "token_rate",
    "top_k",
    "union",
    "union_kl",
    "utterance_estimates",
    "vocabulary_divergence",
]
