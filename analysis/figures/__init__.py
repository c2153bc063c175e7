"""Figures of runs. Each function returns matplotlib Axes; the caller saves them and sets the style."""

from .dashboard import dashboard
from .decomposition import vuss_decomposition
from .distributions import entropy_density, mass_distribution
from .error_against_overlap import wer_against_overlap
from .funnel import funnel
from .membership import choose_trace, support_membership
from .overlap_over_training import overlap_over_training
from .profiles import position_profile
from .reliability import reliability
from .signal_over_training import signal_over_training
from .strata import strata, strata_frames
from .sweeps import k_sweep, temperature_sweep
from .termination import termination
from .token_heat_map import token_heat_map
from .token_rules import shadow_rules

__all__ = [
    "choose_trace",
    "dashboard",
    "entropy_density",
    "funnel",
    "k_sweep",
    "mass_distribution",
    "overlap_over_training",
    "position_profile",
    "reliability",
    "shadow_rules",
    "signal_over_training",
    "strata",
    "strata_frames",
    "support_membership",
    "temperature_sweep",
    "termination",
    "token_heat_map",
    "vuss_decomposition",
    "wer_against_overlap",
]
