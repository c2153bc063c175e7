"""Recipes that pass the checks: the miniature recipe with the demo's trained models."""

import pytest

from distill.locations import packaged
from distill.training import quick_checks


@pytest.fixture(autouse=True)
def _with_the_check(monkeypatch):
    monkeypatch.setattr("distill.training.launch.quick_findings", quick_checks.quick_findings)


@pytest.fixture
def sound(mini) -> dict:
    """The miniature recipe on the demo's models, whose teacher ends its transcripts."""
    models = {"student": {"model": str(packaged("student"))}, "teacher": {"model": str(packaged("teacher"))}}
    base, td, opd = mini["stages"]
    stages = [base, td | {"transcription": {"max_new_tokens": 48}}, opd | {"rollout": {"max_new_tokens": 48}}]
    return mini | models | {"stages": stages}


@pytest.fixture
def supervised(sound) -> dict:
    """The same with two steps of supervised training alone, and no probe."""
    stage = sound["stages"][0] | {"steps": 2}
    return {key: value for key, value in sound.items() if key not in ("evaluation", "probe")} | {"stages": [stage]}
