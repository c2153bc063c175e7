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

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from overlap import presets, strata
    from overlap.vocab.alignment import Alignment, align, match
    from overlap.bounds import BoundsSummary, OverlapBounds, measure_bounds
    from overlap.vocab.coverage import Coverage, coverage
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
    from overlap.statistics.gain import FixedContextGain, fixed_context_gain, gain_correlations
    from overlap.gates import Action, All, Any, Collapse, Decision, FixedSteps, Gate, Plateau, Threshold
    from overlap.estimates.group_sums import GroupSums, packed_groups
    from overlap.core.lm_head import Head
    from overlap.statistics.from_hidden import measure_hidden
    from overlap.losses.union_kl import UnionKL, union_kl
    from overlap.statistics.meter import OverlapMeter
    from overlap.losses.divergence_on_set import sampled_reverse_kl, set_divergence, set_logprobs, set_mass, support_kl
    from overlap.estimates.sequences import (
        length_ratio,
        repetition,
        sequence_estimates,
        sequence_values,
        token_rate,
        utterance_estimates,
    )
    from overlap.statistics.measure import TokenStatistics, measure
    from overlap.estimates.summary import OverlapSummary
    from overlap.core.topk import Support, intersection, top_k, union
    from overlap.statistics.sweep import sweep
    from overlap.vocab.token_bytes import TokenBytes, token_bytes
    from overlap.version import __version__ as __version__
    from overlap.vocab.vocabulary_map import UNMAPPED, VocabularyMap
    from overlap.losses.full_vocabulary import vocabulary_divergence

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
    "alignment": ("Alignment", "align", "match"),
    "bounds": ("BoundsSummary", "OverlapBounds", "measure_bounds"),
    "coverage": ("Coverage", "coverage"),
    "definitions": (
        "BOUNDED_STATISTICS",
        "DECIDED_BY_TOP_K",
        "CHECKPOINT_STATISTICS",
        "SEQUENCE_STATISTICS",
        "TOKEN_STATISTICS",
        "Definition",
    ),
    "distributed": ("gathered", "reduce_funnel"),
    "first_reading": ("FirstReading", "first_reading"),
    "funnel": ("BINS", "Funnel", "account", "assign_bins"),
    "gain": ("FixedContextGain", "fixed_context_gain", "gain_correlations"),
    "gates": ("Action", "All", "Any", "Collapse", "Decision", "FixedSteps", "Gate", "Plateau", "Threshold"),
    "groups": ("GroupSums", "packed_groups"),
    "heads": ("Head",),
    "hidden": ("measure_hidden",),
    "losses": ("UnionKL", "union_kl"),
    "meter": ("OverlapMeter",),
    "objectives": ("sampled_reverse_kl", "set_divergence", "set_logprobs", "set_mass", "support_kl"),
    "sequences": (
        "length_ratio",
        "repetition",
        "sequence_estimates",
        "sequence_values",
        "token_rate",
        "utterance_estimates",
    ),
    "statistics": ("TokenStatistics", "measure"),
    "estimate": ("Estimate",),
    "summary": ("OverlapSummary",),
    "support": ("Support", "intersection", "top_k", "union"),
    "sweep": ("sweep",),
    "token_bytes": ("TokenBytes", "token_bytes"),
    "version": ("__version__",),
    "vocabulary": ("UNMAPPED", "VocabularyMap"),
    "vocabulary_objective": ("vocabulary_divergence",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


class _Package(ModuleType):
    """This package, in which `coverage`, `sweep` and `token_bytes` are functions and not the files that hold them."""

    def __getattr__(self, name: str) -> object:
        if name in _HOMES:
            value = getattr(import_module(f"overlap.{_HOMES[name]}"), name)
            setattr(self, name, value)
            return value
        if not name.startswith("_"):
            try:
                return import_module(f"overlap.{name}")
            except ModuleNotFoundError as error:
                if error.name != f"overlap.{name}":
                    raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __setattr__(self, name: str, value: object) -> None:
        # Whenever a file is imported, Python sets it as an attribute of its package.
        if isinstance(value, ModuleType) and name in _HOMES:
            value = getattr(value, name)
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
