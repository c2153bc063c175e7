"""The staged on-policy distillation trainer: SFT, then teacher data, then on-policy, under gates that read overlap.

>>> import distill
>>> recipe = distill.load_recipe("demo", ["total_steps=1000"])
>>> [stage.type for stage in recipe.stages], recipe.total_steps
(['sft', 'td', 'opd'], 1000)
>>> result = distill.train(recipe, "runs/demo")  # doctest: +SKIP

The run directory then holds metrics, probes, decisions, evaluations and checkpoints (see `distill.run.run_directory`).
The other verbs are functions too (see `distill.api`):

>>> pair = distill.load_pair("demo:student", "demo:teacher", k=8)  # doctest: +SKIP
>>> distill.probe(pair, "demo:corpus/probe.jsonl")  # doctest: +SKIP

Names are imported at first use, because PyTorch and transformers take seconds to import, and the command's help or a
report does not need them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import check, evaluate, load_pair, preflight, probe, score, show, transcribe
    from .checking.finding import CheckError
    from .data.extract import extract_audio
    from .data.hf.rows import utterances_from
    from .data.manifest import ManifestError, Utterance, read_manifest, write_manifest
    from .data.sources import read_utterances
    from .drafting import draft_recipe
    from .progress.observer import Observer
    from .recipe import Filters, NoSpeech, Recipe, RecipeError, Transcription, load_recipe
    from .recipe.paths import shipped_recipes
    from .scoring.scores import LogitsError
    from .teacher_data.making import TeacherData, TeacherDataError
    from .training.dry_run import dry_run
    from .training.errors import TrainingError
    from .training.launch import resume, train
    from .training.result import RunResult

__version__: str
"""As `overlap.version` reads it."""

__all__ = [
    "CheckError",
    "Filters",
    "LogitsError",
    "ManifestError",
    "NoSpeech",
    "Observer",
    "Recipe",
    "RecipeError",
    "RunResult",
    "TeacherData",
    "TeacherDataError",
    "TrainingError",
    "Transcription",
    "Utterance",
    "check",
    "draft_recipe",
    "dry_run",
    "evaluate",
    "extract_audio",
    "load_pair",
    "load_recipe",
    "preflight",
    "probe",
    "read_manifest",
    "read_utterances",
    "resume",
    "score",
    "shipped_recipes",
    "show",
    "train",
    "transcribe",
    "utterances_from",
    "write_manifest",
]

_MODULES = {
    "api": ("check", "evaluate", "load_pair", "preflight", "probe", "score", "show", "transcribe"),
    "checking.finding": ("CheckError",),
    "data.extract": ("extract_audio",),
    "data.hf.rows": ("utterances_from",),
    "data.manifest": ("ManifestError", "Utterance", "read_manifest", "write_manifest"),
    "data.sources": ("read_utterances",),
    "drafting": ("draft_recipe",),
    "scoring.scores": ("LogitsError",),
    "recipe": ("Filters", "NoSpeech", "Recipe", "RecipeError", "Transcription", "load_recipe"),
    "recipe.paths": ("shipped_recipes",),
    "teacher_data.making": ("TeacherData", "TeacherDataError"),
    "training.dry_run": ("dry_run",),
    "training.errors": ("TrainingError",),
    "training.launch": ("resume", "train"),
    "progress.observer": ("Observer",),
    "training.result": ("RunResult",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("overlap.version").__version__
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
