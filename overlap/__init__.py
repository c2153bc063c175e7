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

Names are imported at their first use: the gates and the definitions do not need PyTorch, whose import takes seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from overlap import other_trainers, strata
    from overlap.bounds import OverlapBounds, measure_bounds
    from overlap.core.lm_head import Head
    from overlap.core.topk import top_k, union
    from overlap.estimates.estimate import Estimate
    from overlap.estimates.first_reading import first_reading
    from overlap.estimates.funnel import Funnel, account
    from overlap.estimates.group_sums import packed_groups
    from overlap.estimates.sequences import sequence_estimates, utterance_estimates
    from overlap.estimates.summary import OverlapSummary
    from overlap.gates import (
        Action,
        AllOf,
        AnyOf,
        Collapse,
        Decision,
        EveryGroup,
        FixedSteps,
        Gate,
        Plateau,
        Precondition,
        Saturation,
        Threshold,
    )
    from overlap.losses.divergence_on_set import sampled_reverse_kl, set_divergence, set_logprobs, support_kl
    from overlap.losses.full_vocabulary import full_vocabulary_divergence
    from overlap.losses.union_kl import union_kl
    from overlap.statistics.from_hidden import measure_hidden
    from overlap.statistics.gain import fixed_context_gain
    from overlap.statistics.measure import TokenStatistics, measure
    from overlap.statistics.meter import OverlapMeter
    from overlap.statistics.sweep import sweep
    from overlap.version import __version__ as __version__
    from overlap.vocab.alignment import align
    from overlap.vocab.coverage import coverage
    from overlap.vocab.ends import merge_ends
    from overlap.vocab.vocabulary_map import VocabularyMap

__all__ = [
    "Action",
    "AllOf",
    "AnyOf",
    "Collapse",
    "Decision",
    "Estimate",
    "EveryGroup",
    "FixedSteps",
    "Funnel",
    "Gate",
    "Head",
    "OverlapBounds",
    "OverlapMeter",
    "OverlapSummary",
    "Plateau",
    "Precondition",
    "Saturation",
    "Threshold",
    "TokenStatistics",
    "VocabularyMap",
    "account",
    "align",
    "coverage",
    "first_reading",
    "fixed_context_gain",
    "full_vocabulary_divergence",
    "measure",
    "measure_bounds",
    "measure_hidden",
    "merge_ends",
    "other_trainers",
    "packed_groups",
    "sampled_reverse_kl",
    "sequence_estimates",
    "set_divergence",
    "set_logprobs",
    "strata",
    "support_kl",
    "sweep",
    "top_k",
    "union",
    "union_kl",
    "utterance_estimates",
]

_MODULES = {
    "bounds": (
        "OverlapBounds",
        "measure_bounds",
    ),
    "core.lm_head": ("Head",),
    "core.topk": (
        "top_k",
        "union",
    ),
    "estimates.estimate": ("Estimate",),
    "estimates.first_reading": ("first_reading",),
    "estimates.funnel": (
        "Funnel",
        "account",
    ),
    "estimates.group_sums": ("packed_groups",),
    "estimates.sequences": (
        "sequence_estimates",
        "utterance_estimates",
    ),
    "estimates.summary": ("OverlapSummary",),
    "gates": (
        "Action",
        "AllOf",
        "AnyOf",
        "Collapse",
        "Decision",
        "EveryGroup",
        "FixedSteps",
        "Gate",
        "Plateau",
        "Precondition",
        "Saturation",
        "Threshold",
    ),
    "losses.divergence_on_set": (
        "sampled_reverse_kl",
        "set_divergence",
        "set_logprobs",
        "support_kl",
    ),
    "losses.full_vocabulary": ("full_vocabulary_divergence",),
    "losses.union_kl": ("union_kl",),
    "statistics.from_hidden": ("measure_hidden",),
    "statistics.gain": ("fixed_context_gain",),
    "statistics.measure": (
        "TokenStatistics",
        "measure",
    ),
    "statistics.meter": ("OverlapMeter",),
    "statistics.sweep": ("sweep",),
    "version": ("__version__",),
    "vocab.alignment": ("align",),
    "vocab.coverage": ("coverage",),
    "vocab.ends": ("merge_ends",),
    "vocab.vocabulary_map": ("VocabularyMap",),
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
