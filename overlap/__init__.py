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

Names are imported when they are first asked for: the gates and the definitions need no PyTorch, which takes seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from overlap import presets, strata
    from overlap.bounds import BoundsSummary, OverlapBounds, measure_bounds
    from overlap.core.lm_head import Head
    from overlap.core.topk import Support, intersection, top_k, union
    from overlap.definitions import (
        BOUNDED_STATISTICS,
        CHECKPOINT_STATISTICS,
        DECIDED_BY_TOP_K,
        SEQUENCE_STATISTICS,
        TOKEN_STATISTICS,
        Definition,
    )
    from overlap.estimates.distributed import gathered, reduce_funnel
    from overlap.estimates.estimate import Estimate
    from overlap.estimates.first_reading import FirstReading, first_reading
    from overlap.estimates.funnel import BINS, Funnel, account, assign_bins
    from overlap.estimates.group_sums import GroupSums, packed_groups
    from overlap.estimates.sequences import (
        length_ratio,
        repetition,
        sequence_estimates,
        sequence_values,
        token_rate,
        utterance_estimates,
    )
    from overlap.estimates.summary import OverlapSummary
    from overlap.gates import Action, AllOf, AnyOf, Collapse, Decision, FixedSteps, Gate, Plateau, Threshold
    from overlap.losses.divergence_on_set import sampled_reverse_kl, set_divergence, set_logprobs, set_mass, support_kl
    from overlap.losses.full_vocabulary import vocabulary_divergence
    from overlap.losses.union_kl import UnionKL, union_kl
    from overlap.statistics.from_hidden import measure_hidden
    from overlap.statistics.gain import FixedContextGain, fixed_context_gain, gain_correlations
    from overlap.statistics.measure import TokenStatistics, measure
    from overlap.statistics.meter import OverlapMeter
    from overlap.statistics.sweep import sweep
    from overlap.version import __version__ as __version__
    from overlap.vocab.alignment import Alignment, align, match
    from overlap.vocab.coverage import Coverage, coverage
    from overlap.vocab.token_bytes import TokenBytes, token_bytes
    from overlap.vocab.vocabulary_map import UNMAPPED, VocabularyMap

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
    "AllOf",
    "AnyOf",
    "BoundsSummary",
    "Collapse",
    "Coverage",
    "Decision",
    "Definition",
    "Estimate",
    "FirstReading",
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
    "first_reading",
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

_MODULES = {
    "vocab.alignment": ("Alignment", "align", "match"),
    "bounds": ("BoundsSummary", "OverlapBounds", "measure_bounds"),
    "vocab.coverage": ("Coverage", "coverage"),
    "definitions": (
        "BOUNDED_STATISTICS",
        "DECIDED_BY_TOP_K",
        "CHECKPOINT_STATISTICS",
        "SEQUENCE_STATISTICS",
        "TOKEN_STATISTICS",
        "Definition",
    ),
    "estimates.distributed": ("gathered", "reduce_funnel"),
    "estimates.first_reading": ("FirstReading", "first_reading"),
    "estimates.funnel": ("BINS", "Funnel", "account", "assign_bins"),
    "statistics.gain": ("FixedContextGain", "fixed_context_gain", "gain_correlations"),
    "gates": ("Action", "AllOf", "AnyOf", "Collapse", "Decision", "FixedSteps", "Gate", "Plateau", "Threshold"),
    "estimates.group_sums": ("GroupSums", "packed_groups"),
    "core.lm_head": ("Head",),
    "statistics.from_hidden": ("measure_hidden",),
    "losses.union_kl": ("UnionKL", "union_kl"),
    "statistics.meter": ("OverlapMeter",),
    "losses.divergence_on_set": ("sampled_reverse_kl", "set_divergence", "set_logprobs", "set_mass", "support_kl"),
    "estimates.sequences": (
        "length_ratio",
        "repetition",
        "sequence_estimates",
        "sequence_values",
        "token_rate",
        "utterance_estimates",
    ),
    "statistics.measure": ("TokenStatistics", "measure"),
    "estimates.estimate": ("Estimate",),
    "estimates.summary": ("OverlapSummary",),
    "core.topk": ("Support", "intersection", "top_k", "union"),
    "statistics.sweep": ("sweep",),
    "vocab.token_bytes": ("TokenBytes", "token_bytes"),
    "version": ("__version__",),
    "vocab.vocabulary_map": ("UNMAPPED", "VocabularyMap"),
    "losses.full_vocabulary": ("vocabulary_divergence",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        value = getattr(import_module(f"overlap.{_HOMES[name]}"), name)
    elif name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    else:
        try:
            value = import_module(f"overlap.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"overlap.{name}":
                raise
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
