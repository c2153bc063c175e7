"""Rollouts within a trust region, on the demo's models, against plain rollouts and a loop in float64."""

import dataclasses
import threading

import numpy as np
import pytest
import torch
from scipy.special import rel_entr

from distill import read_manifest
from distill.data.audio import AudioCache
from distill.data.batch import AudioSource
from distill.models import load_recognizer
from distill.recipe import OnPolicyStage, Recipe, Rollout
from distill.recipe.paths import packaged
from distill.scoring.pair import Pair, PairError
from distill.timing import Stopwatch
from distill.training.setup import prepare_run
from distill.training.soft_switches import Mixture
from distill.training.steps import write
from distill.training.trust_region import blended_rollout
from tests.distill.small_models import save_glm_asr

LONGEST = 12
SAMPLED = Rollout(sample=True, temperature=0.7, max_new_tokens=LONGEST)
GREEDY = Rollout(max_new_tokens=LONGEST)


@pytest.fixture(scope="module")
def pair():
    return Pair.from_models(*(load_recognizer(str(packaged(name))) for name in ("student", "teacher")), 8)


@pytest.fixture(scope="module")
def batch():
    utterances = read_manifest(packaged("corpus/probe.jsonl"))[:4]
    return AudioSource(AudioCache(max_mib=64, max_seconds=30)).batch(utterances)


def plain(recognizer, batch, rollout):
    torch.manual_seed(5)
    return recognizer.rollout(
        batch.prompt(recognizer), max_new_tokens=LONGEST, sample=rollout.sample, temperature=rollout.temperature
    )


def blended(pair, batch, rollout, radius, theirs=None):
    torch.manual_seed(5)
    return blended_rollout(pair, batch, rollout, radius, theirs)


@pytest.mark.parametrize("rollout", [SAMPLED, GREEDY], ids=["sampled", "greedy"])
def test_no_radius_is_the_student_and_a_large_one_the_teacher(pair, batch, rollout):
    """With the same seed, token by token."""
    student, teacher = (plain(model, batch, rollout) for model in (pair.student, pair.teacher))
    assert student.text_ids != teacher.text_ids
    nearly, weights = blended(pair, batch, rollout, 1e-15)
    assert nearly.text_ids == student.text_ids
    assert weights[:, 0].max() < 1e-3
    assert len(weights) == int(student.mask.sum())
    whole, weights = blended(pair, batch, rollout, 1e6)
    assert whole.text_ids == teacher.text_ids
    assert torch.equal(whole.finished, teacher.finished)
    assert (weights[:, 0] == 1).all()
    other = dataclasses.replace(batch, waveforms=tuple(np.flip(wave).copy() for wave in batch.waveforms))
    assert blended(pair, batch, rollout, 1e6, other)[0].text_ids == plain(pair.teacher, other, rollout).text_ids


def test_each_token_is_drawn_within_the_ball(pair, batch):
    """β and KL at each token, from both models' scores of the written text in one pass, by the definitions."""
    radius = 0.3
    written, measured = blended(pair, batch, SAMPLED, radius)
    both = []
    for model in (pair.student, pair.teacher):
        with torch.no_grad():
            logits = model.score(batch.prompt(model), written).double().masked_fill(pair.blocked, -torch.inf)
        both.append((logits / SAMPLED.temperature).softmax(-1).numpy())
    place = 0
    for position in range(written.ids.shape[1]):  # in the order in which they were written
        for row in written.mask[:, position].nonzero().squeeze(-1).tolist():
            p, q = (side[row, position] for side in both)
            beta, divergence = (float(number) for number in measured[place])
            mean = np.where(p > 0, p ** (1 - beta) * q**beta, 0.0)
            found = rel_entr(mean / mean.sum(), p).sum()
            assert found == pytest.approx(divergence, rel=1e-3, abs=1e-5)
            assert divergence <= radius + 1e-12
            assert beta == 1 or divergence == pytest.approx(radius, rel=1e-6)
            place += 1
    assert place == len(measured)
    assert 0 < measured[:, 0].min() < 1


def test_without_a_radius_the_teacher_is_not_asked(pair, batch, monkeypatch):
    stage = OnPolicyStage(type="opd", name="a", manifest="a", steps=1, rollout=SAMPLED)
    expected = plain(pair.student, batch, SAMPLED)
    monkeypatch.setattr(pair.teacher, "rollout", None)
    torch.manual_seed(5)
    found = write(pair, batch, stage, Stopwatch(), Mixture(radius=0.0))
    assert (found.states, found.transcripts.text_ids, found.blend) == ("student", expected.text_ids, None)


def test_an_error_on_either_side_is_raised_and_leaves_no_thread(pair, batch, monkeypatch):
    before = threading.active_count()

    def broken(*_, **__):
        raise ValueError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(pair.teacher, "rollout", broken)
        with pytest.raises(ValueError, match="broken"):
            blended(pair, batch, SAMPLED, 0.3)
    with monkeypatch.context() as patch:
        patch.setattr("distill.training.trust_region.blend", broken)
        with pytest.raises(ValueError, match="broken"):
            blended(pair, batch, SAMPLED, 0.3)
    assert threading.active_count() == before


def test_a_teacher_with_fewer_positions_limits_the_text(pair, batch, monkeypatch):
    monkeypatch.setattr(type(pair.teacher), "room", lambda self, prompt: 3 if self is pair.teacher else None)
    assert blended(pair, batch, GREEDY, 1e-15)[0].ids.shape[1] <= 3


def test_two_vocabularies_are_refused_before_the_first_step(mini, tmp_path):
    mini["teacher"] = {"model": str(save_glm_asr(tmp_path / "glm"))}
    mini["stages"] = [mini["stages"][2] | {"rollout": {"max_new_tokens": 8, "trust_region": {"radius": 0.5}}}]
    with pytest.raises(
        PairError, match=r"stages\.0\.rollout\.trust_region: .* different vocabularies; remove it, choose"
    ):
        prepare_run(Recipe.model_validate(mini), device="cpu")
