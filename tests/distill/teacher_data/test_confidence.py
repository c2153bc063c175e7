"""Transcripts with their confidence: how sure a teacher is of what it wrote, here and behind a server."""

import math

import pytest
import torch
from transformers import GenerationMixin

from distill import read_manifest
from distill.data.audio import AudioCache
from distill.data.batch import AudioSource
from distill.evaluation.transcribe import transcribe
from distill.models import load_recognizer
from distill.models.base import pack
from distill.models.seq2seq import DECODER_PROMPT
from distill.recipe import Decoding, Server, Teacher
from distill.scoring.local import mean_logprobs
from distill.scoring.scores import LogitsError
from distill.scoring.served import mean_topk_logprobs
from distill.teacher import load_served_teacher
from distill.teacher_data.confidence import transcripts
from tests.distill.small_models import save_glm_asr, save_whisper

DECODING = Decoding(max_new_tokens=6)


@pytest.fixture(scope="module")
def source():
    return AudioSource(AudioCache())


@pytest.fixture(scope="module")
def utterances(manifests):
    return read_manifest(manifests["pool"])[:5]


@pytest.fixture(scope="module", params=["qwen3-asr", "glm-asr", "whisper"])
def recognizer(request, teacher_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save = {"glm-asr": save_glm_asr, "whisper": save_whisper}.get(request.param)
    return load_recognizer(str(save(folder / "model", seed=3) if save else teacher_path))


def served(server, served_models, top_logprobs=None):
    """The demo's teacher, which has 76 tokens."""
    settings = Server(served_name="trained", top_logprobs=top_logprobs)
    return load_served_teacher(Teacher(model=str(served_models["trained"]), url=server.url, server=settings), k=1)


def test_texts_are_the_same_with_confidence_and_without(recognizer, source, utterances):
    alone = transcribe(recognizer, source, utterances, DECODING, batch_size=5)
    written = transcripts(recognizer, source.batch(utterances), DECODING)
    assert [transcript.text for transcript in written] == [one.text for one in alone.values()]


def test_confidence_is_the_mean_of_the_scores_without_blocked_tokens(recognizer, source, utterances):
    batch = source.batch(utterances)
    written = transcripts(recognizer, batch, Decoding(max_new_tokens=20))
    tokens = recognizer.rollout(batch.prompt(recognizer), max_new_tokens=20)
    with torch.no_grad():
        scores = recognizer.score(batch.prompt(recognizer), tokens).double()
    for row, transcript in enumerate(written):
        n = int(tokens.mask[row].sum())
        allowed = scores[row, :n].exp() * ~recognizer.tokens.blocked
        probabilities = allowed.gather(-1, tokens.ids[row, :n, None])[:, 0] / allowed.sum(-1)
        assert transcript.logprob == pytest.approx(float(probabilities.log().mean()), abs=1e-5)
        assert transcript.finished == bool(tokens.finished[row])
        assert transcript.n_tokens == n - transcript.finished


def test_end_of_text_counts_and_padding_does_not():
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    written = pack([[1, 2, 4], [3, 4]], end_of_text=4)
    blocked = torch.tensor([True, False, False, False, False])
    expected = [row[:, 1:].double().log_softmax(-1) for row in logits]
    assert mean_logprobs(logits, written, blocked) == pytest.approx(
        [
            float(expected[0][[0, 1, 2], [0, 1, 3]].mean()),
            float(expected[1][[0, 1], [2, 3]].mean()),
        ]
    )


def test_scores_that_are_no_numbers_are_named(recognizer, source, utterances, monkeypatch):
    original = type(recognizer).score

    def poisoned(self, prompt, written):
        scores = original(self, prompt, written).clone()
        scores[2, 0, 3] = math.nan
        return scores

    monkeypatch.setattr(type(recognizer), "score", poisoned)
    with pytest.raises(LogitsError, match=rf"NaN or infinite logits .*utterance '{utterances[2].id}'. Check"):
        transcripts(recognizer, source.batch(utterances), DECODING)


def test_confidence_of_a_pretrained_whisper_is_that_of_transformers(recorded_speech):
    """Scores of its own generation, by `compute_transition_scores`, in one batch of several lengths."""
    whisper = load_recognizer(str(recorded_speech / "models" / "whisper-tiny.en"), window_seconds=10)
    spoken = read_manifest(recorded_speech / "data" / "read" / "test.jsonl")
    batch = AudioSource(AudioCache()).batch([u for u in spoken if u.end_time - u.begin_time < 6][:4])
    written = transcripts(whisper, batch, Decoding(max_new_tokens=24))
    prompt = batch.prompt(whisper).inputs
    end = whisper.tokens.end_of_text
    generated = GenerationMixin.generate(
        whisper.generator,
        **prompt,
        attention_mask=torch.ones_like(prompt[DECODER_PROMPT]),
        max_length=prompt[DECODER_PROMPT].shape[1] + 24,
        suppress_tokens=whisper.tokens.suppressed(whisper.generator.config.vocab_size),
        begin_suppress_tokens=[],
        eos_token_id=end,
        pad_token_id=end,
        output_scores=True,
        return_dict_in_generate=True,
    )
    # In float32 it adds up 50,000 tokens across a strided axis, and is off by 4e-4.
    exact = tuple(step.double() for step in generated.scores)
    scores = whisper.generator.compute_transition_scores(generated.sequences, exact, normalize_logits=True)
    ids = generated.sequences[:, prompt[DECODER_PROMPT].shape[1] :]
    assert len({transcript.n_tokens for transcript in written}) > 1
    for row, transcript in enumerate(written):
        n = transcript.n_tokens + transcript.finished
        assert transcript.finished == (end in ids[row].tolist())
        assert transcript.logprob == pytest.approx(float(scores[row, :n].mean()), abs=1e-4)
        assert transcript.logprob > -1.5


class TestServed:
    """A server shows its best tokens, over its whole vocabulary."""

    @pytest.fixture
    def batch(self, source, utterances):
        return source.batch(utterances)

    def test_confidence_is_that_of_the_weights_it_runs(self, server, served_models, batch):
        teacher, local = served(server, served_models), load_recognizer(str(served_models["trained"]))
        written = transcripts(teacher, batch, Decoding(max_new_tokens=7))  # no cut falls on a space, which texts lose
        targets = local.encode([transcript.text for transcript in written])
        with torch.no_grad():
            scores = local.score(batch.prompt(local), targets).double().log_softmax(-1)
        own = scores.gather(-1, targets.ids.unsqueeze(-1))[..., 0]
        assert {transcript.finished for transcript in written} == {True, False}
        for row, transcript in enumerate(written):
            n = transcript.n_tokens + transcript.finished
            assert transcript.logprob == pytest.approx(float(own[row, :n].mean()), abs=1e-4)

    def test_it_is_unknown_where_a_token_is_not_among_the_best(self, server, served_models, batch):
        texts = ["qqqqqq"] * 5
        assert mean_topk_logprobs(served(server, served_models), batch, texts, [True] * 5) == [None] * 5
        assert all(
            value < 0 for value in mean_topk_logprobs(served(server, served_models, 76), batch, texts, [True] * 5)
        )

    def test_nothing_written_is_nothing_known(self, server, served_models, batch):
        teacher = served(server, served_models, 76)
        assert mean_topk_logprobs(teacher, batch, [""] * 5, [False] * 5) == [None] * 5
        assert None not in mean_topk_logprobs(teacher, batch, [""] * 5, [True] * 5)
