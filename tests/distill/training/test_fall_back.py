"""Where a fall back leads: to teacher data, to the best end of a visit, or nowhere, with the reason."""

import json
import math

import pytest

from distill import train
from distill.recipe import Recipe
from distill.run.checkpoint import BestEnd, TrainingState
from distill.training.fall_back import Return, return_of, with_reading
from distill.training.probes_and_evaluations import Monitor
from overlap import Estimate


def ended(share):
    return {"end_of_text": Estimate(share, 0.01, max(0.0, share - 0.01), min(1.0, share + 0.01), 60, 60, 0)}


def test_the_best_end_is_the_latest_among_equal_ones_with_a_checkpoint():
    best = None
    for step, share, kept in [(10, 0.9, True), (11, 1.0, False), (12, 0.9, True), (14, 0.8, True), (15, 0.7, False)]:
        best = with_reading(best, ended(share), step, kept)
    assert best == BestEnd(12, 0.9, 0.7)
    assert with_reading(best, {}, 16, True) is best
    assert with_reading(best, ended(math.nan), 16, True) is best
    assert with_reading(None, ended(0.5), 3, False) is None


@pytest.mark.parametrize(
    ("stage", "state", "target"),
    [
        (2, {"entries": {"1": 4, "2": 8}}, Return(1, 8, "entry")),
        (1, {"best_end": BestEnd(6, 1.0, 0.4), "step": 8}, Return(1, 6, "best_end")),
        (1, {"best_end": BestEnd(8, 1.0, 1.0), "step": 8}, "no checkpoint of this visit"),
        (1, {"best_end": BestEnd(6, 0.4, 0.4), "step": 8}, "no checkpoint of this visit"),
        (1, {"step": 8}, "no checkpoint of this visit"),
        (0, {}, "no teacher-data stage to return to"),
        (2, {"fallbacks": 1, "entries": {"2": 8}}, "1 fallbacks already"),
        (1, {"fallbacks": 1, "best_end": BestEnd(6, 1.0, 0.4), "step": 8}, "1 fallbacks already"),
    ],
)
def test_where_it_leads(mini, stage, state, target):
    found = return_of(TrainingState(stage=stage, **state), Recipe.model_validate(mini))
    assert found.startswith(target) if isinstance(target, str) else found == target


@pytest.fixture
def unlearning(mini, monkeypatch):
    """Teacher data under a gate on the end of text; what probes say of it is told, by step."""
    mini["stages"][1] |= {
        "steps": 8,
        "gate": {"type": "collapse", "limits": {"end_of_text": [0.9, None]}},
    }
    mini["probe"]["every"] = 2
    mini["checkpoint"]["keep"] = 20
    original = Monitor.probe

    def say(shares):
        def probe(self, place, **options):
            readings = original(self, place, **options)
            return readings | ended(shares.get((place.visit, place.step), 1.0))

        monkeypatch.setattr(Monitor, "probe", probe)

    return mini, say


def rows(run, log):
    return [json.loads(line) for line in (run / f"{log}.jsonl").read_text().splitlines()]


def test_a_collapse_in_teacher_data_returns_to_the_best_end_once_and_then_aborts(unlearning, tmp_path):
    mini, say = unlearning
    say({(1, 8): 0.95, (1, 10): 0.5, (2, 14): 0.3})
    result = train(Recipe.model_validate(mini), tmp_path / "run")
    visits = rows(result.path, "visits")
    assert [(v["stage"], v["started_from"], v["source_step"]) for v in visits] == [
        ("base", "model", None),
        ("teacher data", "previous", 4),
        ("teacher data", "best_end", 6),
    ]
    one, again = (result.path / "checkpoints" / f"step-{step:06d}" / "model.safetensors" for step in (6, 10))
    assert one.read_bytes() == again.read_bytes()
    assert result.aborted
    assert "1 fallbacks already" in result.reason


def test_a_collapse_without_a_better_end_aborts(unlearning, tmp_path):
    mini, say = unlearning
    say({(1, 4): 0.3, (1, 6): 0.3})
    result = train(Recipe.model_validate(mini), tmp_path / "run")
    assert result.aborted
    assert result.step == 6
    assert "end_of_text 0.3" in result.reason


def test_a_collapse_in_supervised_training_aborts(unlearning, tmp_path):
    mini, say = unlearning
    limits = {"end_of_text": [0.9, None]}
    mini["stages"][0]["gate"] = {
        "type": "any",
        "gates": [{"type": "fixed_steps", "steps": 4}, {"type": "collapse", "limits": limits}],
    }
    say({(0, 2): 0.2})
    result = train(Recipe.model_validate(mini), tmp_path / "run")
    assert result.aborted
    assert result.step == 2
    assert "no teacher-data stage to return to" in result.reason
