"""Tests and intervals for results of runs, one file per topic.

* `error_rate_difference`, `gap_recovery`, `mapsswe`: two systems on the same utterances.
* `evaluated`: a run's evaluations with the intervals used everywhere.
* `recipe_differences`, `mixed_model`: recipes over several seeds.
* `stage_changes`, `overlap_change`: how overlap changed over a stage on the same recorded rollouts.
* `switch_changes`, `change_at`: a jump or bend at a stage switch.
* `stage_gains` with `gain_correlations`, `stage_ends` with `token_gains`: which statistic predicts the gain, over runs
  and over tokens.
* `contrast`, `over_seeds`, `swap_test`, `paired_effect`, `corrected`: building blocks of these, for your own numbers.

Everything is a pure function of frames; the same input and seed give the same numbers.
"""

from ..stages.ends import stage_ends
from ..stages.error_rates import evaluated
from ..stats.bootstrap import contrast
from ..stats.effects import PairedEffect, paired_effect
from ..stats.error_rates import ErrorRateDifference, error_rate, error_rate_difference, gap_recovery
from ..stats.mapsswe import Mapsswe, mapsswe
from ..stats.multiple_testing import corrected
from ..stats.permutation import swap_test
from ..stats.seeds import OverSeeds, Side, over_seeds
from .mixed import mixed_model
from .overlap_change import overlap_change, stage_changes
from .recipes import last_transcripts, recipe_differences
from .run_gains import gain_correlations, stage_gains
from .stage_switches import SwitchChange, change_at, switch_changes
from .token_gains import token_gains

__all__ = [
    "ErrorRateDifference",
    "Mapsswe",
    "OverSeeds",
    "PairedEffect",
    "Side",
    "SwitchChange",
    "change_at",
    "contrast",
    "corrected",
    "error_rate",
    "error_rate_difference",
    "evaluated",
    "gain_correlations",
    "gap_recovery",
    "last_transcripts",
    "mapsswe",
    "mixed_model",
    "over_seeds",
    "overlap_change",
    "paired_effect",
    "recipe_differences",
    "stage_changes",
    "stage_ends",
    "stage_gains",
    "swap_test",
    "switch_changes",
    "token_gains",
]
