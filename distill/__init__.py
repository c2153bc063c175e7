"""The staged on-policy distillation trainer: SFT, then teacher data, then on-policy, under gates that read overlap."""

from .comparison import LogitsError
from .launch import resume, train
from .manifest import ManifestError, Utterance, read_manifest, write_manifest
from .observer import Observer
from .recipe import Recipe, RecipeError, load_recipe
from .trainer import RunResult, TrainingError

__all__ = [
    "LogitsError",
    "ManifestError",
    "Observer",
    "Recipe",
    "RecipeError",
    "RunResult",
    "TrainingError",
    "Utterance",
    "load_recipe",
    "read_manifest",
    "resume",
    "train",
    "write_manifest",
]
