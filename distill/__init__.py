"""The staged on-policy distillation trainer: SFT, then teacher data, then on-policy, under gates that read overlap.

>>> import distill
>>> recipe = distill.load_recipe("demo", ["total_steps=1000"])
>>> [stage.type for stage in recipe.stages], recipe.total_steps
(['sft', 'td', 'opd'], 1000)
>>> result = distill.train(recipe, "runs/demo")  # doctest: +SKIP

The run directory then holds metrics, probes, decisions, evaluations and checkpoints (see `distill.run.run_directory`).
"""

from .data.extract import extract_audio
from .data.hf import utterances_from
from .data.manifest import ManifestError, Utterance, read_manifest, write_manifest
from .data.sources import read_utterances
from .pair.comparison import LogitsError
from .recipe import Filters, Recipe, RecipeError, Transcription, load_recipe
from .teacher_data.making import TeacherData, TeacherDataError, transcribe_manifest
from .training.launch import resume, train
from .training.observer import Observer
from .training.trainer import RunResult, TrainingError

__all__ = [
    "Filters",
    "LogitsError",
    "ManifestError",
    "Observer",
    "Recipe",
    "RecipeError",
    "RunResult",
    "TeacherData",
    "TeacherDataError",
    "TrainingError",
    "Transcription",
    "Utterance",
    "extract_audio",
    "load_recipe",
    "read_manifest",
    "read_utterances",
    "resume",
    "train",
    "transcribe_manifest",
    "utterances_from",
    "write_manifest",
]
