"""Every family at small size: written, scored, saved, and taken through a run that is interrupted and resumed.

Qwen3-ASR, which the demo is made of, has files of its own.
"""

import json
import re

import numpy as np
import pytest
import torch

from distill import resume, train
from distill.models import load_recognizer
from distill.models.lockstep import Follower
from distill.models.seq2seq import DECODER_PROMPT
from distill.recipe import Recipe
from tests.distill.small_models import (
    save_ark_asr,
    save_glm_asr,
    save_gpt2,
    save_llama,
    save_moonshine,
    save_qwen3,
    save_voxtral,
    save_whisper,
)

# Code that a checkpoint brings is as old as the checkpoint.
pytestmark = pytest.mark.filterwarnings("ignore:.*`past_key_values`:FutureWarning")


RNG = np.random.default_rng(0)
WAVEFORMS = [RNG.standard_normal(n).astype(np.float32) * 0.1 for n in (9_000, 16_000, 30_000)]
PROMPTS = ["call", "stop the train, please", "the"]
FAMILIES = {
    "ark-asr": lambda path, seed: save_ark_asr(path, seed=seed),
    "whisper": lambda path, seed: save_whisper(path, seed=seed),
    "whisper multilingual": lambda path, seed: save_whisper(path, multilingual=True, seed=seed),
    "glm-asr": lambda path, seed: save_glm_asr(path, seed=seed),
    "moonshine": lambda path, seed: save_moonshine(path, seed=seed),
    "voxtral": lambda path, seed: save_voxtral(path, seed=seed),
    "qwen3": lambda path, seed: save_qwen3(path, seed=seed),
    "gpt2": lambda path, seed: save_gpt2(path, seed=seed),
    "llama": lambda path, seed: save_llama(path, seed=seed),
}


@pytest.fixture(scope="module", params=FAMILIES)
def paths(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return [FAMILIES[request.param](folder / name, seed) for seed, name in enumerate(("student", "teacher"))]


def trusting(path):
    """A recipe's model section; code that a checkpoint brings is trusted where there is some."""
    return {"model": str(path)} | ({"trust_remote_code": True} if list(path.glob("*.py")) else {})


def load(path):
    section = trusting(path)
    return load_recognizer(section["model"], trust_remote_code=section.get("trust_remote_code", False))


def prepared(recognizer, rows=slice(None)):
    inputs = {"audio": WAVEFORMS, "prompt": PROMPTS}[recognizer.reads][rows]
    return recognizer.prepare(inputs, ["English"] * len(inputs))


def test_rollouts_and_scores_agree(paths):
    recognizer = load(paths[0])
    prompt = prepared(recognizer)
    written = recognizer.rollout(prompt, max_new_tokens=15)
    scores = recognizer.score(prompt, written)
    assert not recognizer.tokens.blocked[written.ids[written.mask]].any()
    assert (scores.masked_fill(recognizer.tokens.blocked, -torch.inf).argmax(-1) == written.ids)[written.mask].all()


def test_a_row_scores_as_it_does_alone(paths):
    """Padding of prompts and transcripts changes nothing."""
    recognizer = load(paths[0])
    texts = ["call three", "x", "stop the train"]
    together = recognizer.encode(texts)
    scores = recognizer.score(prepared(recognizer), together)
    for row, text in enumerate(texts):
        alone = recognizer.score(prepared(recognizer, slice(row, row + 1)), recognizer.encode([text]))
        torch.testing.assert_close(scores[row, : alone.shape[1]], alone[0], atol=2e-4, rtol=2e-4)


def test_an_utterance_has_the_features_that_it_has_alone(paths):
    """To the last bit, with nothing but zeros behind them, whatever is longer in its batch."""
    recognizer = load(paths[0])
    together = prepared(recognizer).inputs
    features = together.keys() - {"input_ids", "attention_mask", DECODER_PROMPT}
    assert bool(features) == (recognizer.reads == "audio")
    for row in range(len(WAVEFORMS)):
        alone = prepared(recognizer, slice(row, row + 1)).inputs
        for name in features:
            ours, n = together[name][row], alone[name].shape[-1]
            own = ours if ours.dim() == 0 else ours[..., :n]
            assert torch.equal(own, alone[name][0]), name
            assert ours.dim() == 0 or not ours[..., n:].any(), name


def test_texts_come_back(paths):
    recognizer = load(paths[0])
    texts = ["the caf\u00e9", "\u4f60\u597d", "a b"]
    written = recognizer.encode(texts)
    assert written.finished.all()
    assert recognizer.decode(written) == texts


def test_a_frozen_encoder_is_all_that_is_frozen(paths):
    recognizer = load(paths[0])
    recognizer.freeze_encoder(cache_mib=10.0)
    frozen = {name for name, p in recognizer.generator.named_parameters() if not p.requires_grad}
    towers = re.compile(r"(^|\.)(encoder|audio_tower|whisper)\.")
    assert frozen == {name for name, _ in recognizer.generator.named_parameters() if towers.search(name)}
    assert bool(frozen) == (recognizer.reads == "audio")
    logits = recognizer.score(prepared(recognizer), recognizer.encode(["a", "b", "c"]))
    logits.sum().backward()
    assert recognizer.generator.get_output_embeddings().weight.grad.abs().sum() > 0


def test_two_steps_of_every_stage_interrupted_and_resumed(paths, mini, mini_text, tmp_path):
    if load(paths[0]).reads == "prompt":
        mini = mini_text
    mini |= {"student": trusting(paths[0]) | {"freeze_encoder": True}, "teacher": trusting(paths[1])}
    mini["stages"] = [stage | {"steps": 2} for stage in mini["stages"]]
    mini["evaluation"] = mini["evaluation"] | {"max_new_tokens": 4}
    recipe = Recipe.model_validate(mini)
    whole = train(recipe, tmp_path / "whole")
    assert whole.outcome == "finished"

    class Interrupted(Exception):
        pass

    from distill import Observer

    class Stop(Observer):
        def step(self, row):
            if row["step"] == 5:
                raise Interrupted

    with pytest.raises(Interrupted):
        train(recipe, tmp_path / "cut", observer=Stop())
    again = resume(tmp_path / "cut")
    weights = [load(result.model).generator.state_dict() for result in (whole, again)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    rows = [(result.path / "metrics.jsonl").read_text().splitlines() for result in (whole, again)]
    losses = [[json.loads(line)["loss"] for line in lines] for lines in rows]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 6


def test_teachers_of_another_family(tmp_path, mini):
    """English Whisper from multilingual Whisper with other merges, and from GLM-ASR: maps, alignment, funnel."""
    student = save_whisper(tmp_path / "student", seed=0)
    others = [("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("s", "t")]
    teachers = [
        save_whisper(tmp_path / "multilingual", multilingual=True, seed=1, merges=others),
        save_glm_asr(tmp_path / "glm", seed=2),
    ]
    for teacher in teachers:
        mini |= {"student": {"model": str(student)}, "teacher": {"model": str(teacher)}}
        mini["stages"] = [stage | {"steps": 2} for stage in mini["stages"]]
        mini["stages"][1]["filters"] = mini["stages"][1]["filters"] | {"empty": "keep"}  # it writes no letters
        result = train(Recipe.model_validate(mini), tmp_path / f"from {teacher.name}")
        assert result.outcome == "finished"
        rows = [json.loads(line) for line in (result.path / "metrics.jsonl").read_text().splitlines()]
        row = rows[-1]
        assert row["n_positions"] == row["funnel"]["used"] > 0
        assert 0 < row["overlap"]["teacher_mapped_mass"] <= 1
        assert np.isfinite(row["loss"])


def test_a_follower_scores_what_is_written_as_in_one_pass(paths):
    """Led by tokens that another model wrote, also after an end; and left before it is through."""
    writer, recognizer = map(load, paths)
    written = writer.rollout(prepared(writer), max_new_tokens=6, sample=True)
    prompt, blocked = prepared(recognizer), recognizer.tokens.blocked
    expected = recognizer.score(prompt, written).masked_fill(blocked, -torch.inf).log_softmax(-1)
    with Follower(recognizer, prompt, 6) as follower:
        for position in range(written.ids.shape[1]):
            found = follower.scores(None if position == 0 else written.ids[:, position - 1])
            kept, size = written.mask[:, position], recognizer.tokens.size
            found = found[:, :size].log_softmax(-1)[kept]
            torch.testing.assert_close(found.exp(), expected[kept, position].exp(), atol=1e-5, rtol=1e-3)
