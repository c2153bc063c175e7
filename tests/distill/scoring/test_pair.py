"""Models of different vocabularies: a teacher whose ids were shuffled, with its weights, is the same teacher."""

import json
import shutil

import pytest
import torch
from pydantic import TypeAdapter

from distill import read_manifest
from distill.data.audio import AudioCache
from distill.data.batch import AudioSource
from distill.models import load_recognizer
from distill.models.base import pack
from distill.models.tokenizer_fits_model import TokenizerWarning
from distill.probing.probe import probe
from distill.recipe import Decoding, Objective, SupportSettings
from distill.scoring.local_or_served import compare
from distill.scoring.pair import Pair, PairError
from distill.training.objectives import on_policy_objective

SOURCE, SUPPORT = AudioSource(AudioCache()), SupportSettings(k=5)
SHORT = Decoding(max_new_tokens=5)
"""None of the student's texts of this length ends in a space, which would be misaligned: decoded texts are stripped."""


def shuffled(source, target, *, seed=0):
    """A copy of a checkpoint whose ordinary tokens have other ids."""
    shutil.copytree(source, target)
    tokenizer = json.loads((target / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    fixed = {token["content"] for token in tokenizer["added_tokens"]}
    ordinary = sorted(set(vocabulary) - fixed, key=vocabulary.get)
    ids = torch.tensor([vocabulary[token] for token in ordinary])
    order = ids[torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed))]
    for token, new in zip(ordinary, order.tolist(), strict=True):
        vocabulary[token] = new
    (target / "tokenizer.json").write_text(json.dumps(tokenizer))
    model = load_recognizer(str(source)).generator
    with torch.no_grad():
        layers = {id(layer.weight): layer for layer in (model.get_input_embeddings(), model.get_output_embeddings())}
        for layer in layers.values():
            layer.weight[order] = layer.weight[ids].clone()
    model.save_pretrained(target)
    return target


@pytest.fixture(scope="module")
def utterances(manifests):
    return read_manifest(manifests["probe"])


@pytest.fixture(scope="module")
def pairs(student_path, teacher_path, tmp_path_factory):
    other = shuffled(teacher_path, tmp_path_factory.mktemp("shuffled") / "teacher")
    student = load_recognizer(str(student_path))
    return [Pair.from_models(student, load_recognizer(str(path)), SUPPORT.k) for path in (teacher_path, other)]


def test_the_map_follows_the_bytes(pairs):
    same, mapped = pairs
    assert same.vocabulary is None
    assert mapped.vocabulary is not None
    assert not mapped.vocabulary.is_identity
    assert torch.equal(mapped.blocked, same.blocked)
    assert (~mapped.teacher_blocked).sum() == (~mapped.blocked).sum()
    ours, theirs = mapped.student.tokens, mapped.teacher.tokens
    for i, j in zip(*(ids.tolist() for ids in mapped.vocabulary.shared()), strict=True):
        assert ours.strings[i] == theirs.strings[j]


@pytest.mark.parametrize("states", ["student", "teacher", "reference"])
def test_statistics_and_funnel_are_the_same(pairs, utterances, states):
    first, second = (probe(pair, SOURCE, utterances, SUPPORT, SHORT, states=states, traced=2) for pair in pairs)
    assert first.funnel == second.funnel
    assert first.rollouts == second.rollouts
    assert first.coverage is None
    assert second.coverage is not None
    assert second.coverage.student.mapped["text"] == second.coverage.student.ids["text"] > 50
    assert second.coverage.student.mass is second.estimates["student_mapped_mass"]
    for name, estimate in first.estimates.items():
        if name not in ("student_mapped_mass", "teacher_mapped_mass"):
            assert second.estimates[name].value == pytest.approx(estimate.value, rel=1e-4, abs=1e-5, nan_ok=True), name
    for row, other in zip(first.traces, second.traces, strict=True):
        assert row["union_ids"] == other["union_ids"]
        assert row["in_teacher"] == other["in_teacher"]
        for mine, theirs in zip(row["teacher_logprobs"], other["teacher_logprobs"], strict=True):
            assert mine == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize("objective", ["union", "teacher", "vocabulary", "tail", "policy_gradient"])
def test_loss_and_gradients_are_the_same(pairs, utterances, objective):
    kind = "policy_gradient" if objective == "policy_gradient" else "divergence"
    options = {"tail": True} if objective == "tail" else {} if kind == "policy_gradient" else {"support": objective}
    chosen = TypeAdapter(Objective).validate_python({"type": kind} | options)
    batch, results = SOURCE.batch(utterances[:3]), []
    for pair in pairs:
        pair.student.generator.zero_grad()
        end = pair.student.tokens.end_of_text
        comparison = compare(pair, batch, pack([[end], [1, 2, end], [3, 4]], end), SUPPORT, gradients=True)
        loss = on_policy_objective(comparison, chosen).loss
        loss.backward()
        gradient = pair.student.generator.get_output_embeddings().weight.grad.clone()
        results.append((loss.detach(), gradient))
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


def test_a_transcript_that_was_cut_off_has_no_end_on_either_side(pairs):
    for pair in pairs:
        end = pair.student.tokens.end_of_text
        view = pair.view(pack([[1, 2], [3, end]], end))
        assert view.transcripts.finished.tolist() == [False, True]
        assert view.transcripts.mask.sum(-1).tolist() == [2, 2]
        if view.alignment is not None:
            assert not view.alignment.misaligned.any()
            assert view.alignment.same_token[view.alignment.comparable].all()


def test_nothing_in_common(student_path, tmp_path):
    other = shutil.copytree(student_path, tmp_path / "other")
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    fixed = {token["content"] for token in tokenizer["added_tokens"]}
    # Every spelling of a byte stands for the next one's.
    for token in tokenizer["added_tokens"]:
        token["content"] = f"{token['content']}x" if token["content"] != "<|im_end|>" else token["content"]
    vocabulary = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {
        token if token in fixed else f"Ġ{token}{token}": i for token, i in vocabulary.items()
    }
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.warns(TokenizerWarning, match="never encodes to 64 of its 64 text tokens"):
        student, teacher = load_recognizer(str(student_path)), load_recognizer(str(other))
    with pytest.raises(
        PairError, match="share no token but the end of text; choose a teacher with a similar tokenizer"
    ):
        Pair.from_models(student, teacher, 4)


def test_k_beyond_what_can_be_written(pairs):
    for pair in pairs:
        with pytest.raises(PairError, match=r"k = 500 \(support\.k of a recipe\) is larger than the \d+ tokens"):
            Pair.from_models(pair.student, pair.teacher, 500)
