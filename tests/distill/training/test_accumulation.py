"""Gradient accumulation: a step in parts is the step, whatever the lengths of its utterances."""

import json
import math

import pytest
import torch
import torch.nn.functional as F

from distill import TrainingError, resume, train
from distill.data.manifest import read_manifest
from distill.data.sampling import micro_batches
from distill.models import load_recognizer
from distill.recipe import Recipe
from distill.training import launch
from distill.training.optimization import Optimization
from distill.training.stage_data import stage_sampler
from tests.distill.training.test_trainer import _Interrupt


def first_step(recipe, index, path, monkeypatch, **changes):
    """Gradients before clipping, and the row, of the first step of one stage alone."""
    stage = recipe["stages"][index] | {"steps": 1, "batch_size": 6, "clip": 1e9} | changes
    taken = {}

    def spy(self, **options):
        taken.update({n: p.grad.clone() for n, p in self._model.named_parameters() if p.grad is not None})
        return original(self, **options)

    original = Optimization.step
    monkeypatch.setattr(Optimization, "step", spy)
    train(Recipe.model_validate(recipe | {"stages": [stage]}), path)
    monkeypatch.undo()
    (row,) = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    row.pop("seconds")
    return taken, row


@pytest.mark.parametrize("index", [0, 2], ids=["sft", "opd"])
@pytest.mark.parametrize("size", [1, 4])
def test_gradient_loss_and_metrics_are_those_of_the_whole_batch(texts, index, size, tmp_path, monkeypatch):
    whole, row = first_step(texts, index, tmp_path / "whole", monkeypatch)
    parts, same = first_step(texts, index, tmp_path / "parts", monkeypatch, micro_batch_size=size)
    assert whole.keys() == parts.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, atol=1e-6, rtol=1e-4, msg=name)
    flat, expected = (json.loads(json.dumps(r), parse_float=lambda x: round(float(x), 4)) for r in (same, row))
    assert flat == expected


def test_the_loss_is_the_mean_over_positions_and_not_over_parts(texts, tmp_path, monkeypatch):
    _, row = first_step(texts, 0, tmp_path / "run", monkeypatch, micro_batch_size=1)
    student = load_recognizer(texts["student"]["model"])
    by_text = {}
    for utterance in read_manifest(texts["stages"][0]["manifest"]):
        ids = student.tokenizer(utterance.text)["input_ids"] + [student.tokens.end_of_text]
        prompt = student.prepare([utterance.prompt], [None]).inputs["input_ids"]
        with torch.no_grad():
            logits = student.generator(torch.cat([prompt, torch.tensor([ids])], 1)).logits[0, :, : student.tokens.size]
            logits = student.tokens.merged(logits)
        width = prompt.shape[1]
        by_text[utterance.id] = F.cross_entropy(logits[width - 1 : -1], torch.tensor(ids), reduction="none")
    chosen = first_batch(texts)
    losses = [by_text[name] for name in chosen]
    assert row["n_positions"] == sum(map(len, losses))
    assert row["loss"] == pytest.approx(float(torch.cat(losses).mean()), rel=1e-5)
    of_means = float(torch.stack([loss.mean() for loss in losses]).mean())
    assert not math.isclose(row["loss"], of_means, rel_tol=1e-3)


def first_batch(recipe):
    """Ids of the first batch of the first stage."""
    stage = Recipe.model_validate(recipe).stages[0].model_copy(update={"batch_size": 6})
    utterances = read_manifest(stage.manifest)
    return [utterances[i].id for i in stage_sampler(stage, utterances, (0, 0, 0)).batch(0)]


def test_an_interrupted_run_in_parts_ends_as_if_it_had_not_been(texts, tmp_path):
    for stage in texts["stages"]:
        stage["micro_batch_size"] = 3
    recipe = Recipe.model_validate(texts)
    whole = train(recipe, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "cut", observer=_Interrupt(11))
    again = resume(tmp_path / "cut")
    assert (again.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()


@pytest.mark.parametrize(("n", "size", "processes"), [(5, 2, 2), (7, 3, 2), (16, 4, 4), (9, 1, 1), (6, None, 4)])
def test_parts_cover_the_batch_and_are_as_many_in_every_process(n, size, processes):
    shares = [micro_batches(range(n), size, rank, processes) for rank in range(processes)]
    assert sorted(i for share in shares for part in share for i in part) == list(range(n))
    assert len({len(share) for share in shares}) == 1
    assert all(1 <= len(part) <= (size or n) for share in shares for part in share)


def test_parts_that_some_process_could_not_fill_are_refused_before_the_run(texts, tmp_path, monkeypatch):
    texts["stages"][0] |= {"batch_size": 3, "micro_batch_size": 1}
    monkeypatch.setattr("accelerate.Accelerator.num_processes", 2)
    with pytest.raises(TrainingError, match=r"stage 'base': micro_batch_size = 1 cuts .* make batch_size a multiple"):
        launch.train(Recipe.model_validate(texts), tmp_path / "run")
