"""Recipes: one TOML file says what to train, on what, through which stages, under which gates.

>>> from distill.recipe import load_recipe
>>> recipe = load_recipe("demo", ["seed=3", "stages.1.lr=1e-4"])
>>> [stage.type for stage in recipe.stages], recipe.seed, recipe.stages[1].lr
(['sft', 'td', 'opd'], 3, 0.0001)
"""

from .decoding import Decoding, Rollout, Transcription, TrustRegion
from .filters import Filters
from .gates import GateConfig
from .loading import RecipeError, load_recipe
from .models import Model, Student, Teacher
from .no_speech import NoSpeech
from .off_policy import OffPolicy, Reject
from .schema import Evaluation, Recipe, SupportSettings, TrackerName
from .server import Server
from .stages import (
    DivergenceObjective,
    Objective,
    OnPolicyStage,
    PolicyGradientObjective,
    StageConfig,
    TeacherDataStage,
)

__all__ = [
    "Decoding",
    "DivergenceObjective",
    "Evaluation",
    "Filters",
    "GateConfig",
    "Model",
    "NoSpeech",
    "Objective",
    "OffPolicy",
    "OnPolicyStage",
    "PolicyGradientObjective",
    "Recipe",
    "RecipeError",
    "Reject",
    "Rollout",
    "Server",
    "StageConfig",
    "Student",
    "SupportSettings",
    "Teacher",
    "TeacherDataStage",
    "TrackerName",
    "Transcription",
    "TrustRegion",
    "load_recipe",
]
