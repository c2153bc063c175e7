"""All ids at which a checkpoint stops are one event: in scores, in rollouts and in pairs."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from distill.models import load_recognizer
from distill.models.end_tokens import generation_ends, merging
from distill.scoring.pair import Pair
from distill.training.objectives import cross_entropy
from tests.distill.small_models import save_gpt2, save_qwen3


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory):
    return str(save_qwen3(tmp_path_factory.mktemp("ends") / "qwen3"))


def likely_ends(path, target, bias):
    """A copy of a checkpoint in which both ends are likely: the weight of each in the output layer grows."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    ends = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    with torch.no_grad():
        rows = model.get_output_embeddings().weight
        rows[ends[1]] = rows[ends[0]]  # equally likely everywhere
        rows[ends] *= bias
    model.generation_config.eos_token_id = ends
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    return str(target)


def test_the_checkpoints_other_end_is_the_same_event(qwen3):
    recognizer, model = load_recognizer(qwen3), AutoModelForCausalLM.from_pretrained(qwen3)
    tokens = recognizer.tokens
    assert [tokens.strings[i] for i in tokens.ends] == ["<|im_end|>", "<|endoftext|>"]
    assert tokens.blocked[list(tokens.further_ends)].all()
    assert not set(tokens.further_ends) & set(tokens.suppressed(model.config.vocab_size) or ())
    prompt, targets = recognizer.prepare(["call"], [None]), recognizer.encode(["x y"])
    scores = recognizer.score(prompt, targets).softmax(-1)[0]
    ids = torch.cat([prompt.inputs["input_ids"], targets.ids], 1)
    plain = model(input_ids=ids).logits[0, -targets.ids.shape[1] - 1 : -1, : tokens.size].softmax(-1)
    torch.testing.assert_close(scores[:, tokens.end_of_text], plain[:, list(tokens.ends)].sum(-1))
    assert (scores[:, list(tokens.further_ends)] == 0).all()
    others = [i for i in range(tokens.size) if i not in tokens.ends]
    torch.testing.assert_close(scores[:, others], plain[:, others])


@torch.no_grad()
def greedy_by_hand(model, ids, ends, blocked, most):
    """Greedy decoding that compares the sum of all ends with every other token, a forward pass each."""
    written = []
    for _ in range(most):
        p = model(input_ids=torch.tensor([[*ids, *written]])).logits[0, -1].softmax(-1)
        p[blocked] = 0.0
        together = float(p[ends].sum())
        p[ends] = 0.0
        if together > float(p.max()):
            return [*written, ends[0]]
        written.append(int(p.argmax()))
    return written


@pytest.mark.parametrize("bias", [0.5, 1.5, 3.0, 6.0])
def test_greedy_decoding_ends_where_all_ends_together_are_likeliest(qwen3, tmp_path, bias):
    path = likely_ends(qwen3, tmp_path / "ends", bias)
    recognizer, model = load_recognizer(path), AutoModelForCausalLM.from_pretrained(path)
    tokens, width = recognizer.tokens, model.config.vocab_size
    prompts = ["call", "stop the train", "x", "eight nine"]
    prompt = recognizer.prepare(prompts, [None] * 4)
    found = recognizer.rollout(prompt, max_new_tokens=8)
    for row in range(4):
        ids = prompt.inputs["input_ids"][row][prompt.inputs["attention_mask"][row].bool()].tolist()
        by_hand = greedy_by_hand(model, ids, list(tokens.ends), tokens.suppressed(width), 8)
        assert found.ids[row][found.mask[row]].tolist() == by_hand
        assert bool(found.finished[row]) is (by_hand[-1] == tokens.end_of_text)
    assert not torch.isin(found.ids[found.mask], torch.tensor(tokens.further_ends)).any()


def test_samples_come_from_the_merged_distribution(qwen3, tmp_path):
    recognizer = load_recognizer(likely_ends(qwen3, tmp_path / "ends", 2.0))
    prompt = recognizer.prepare(["call"] * 600, [None] * 600)
    torch.manual_seed(0)
    first = recognizer.rollout(prompt, max_new_tokens=1, sample=True).ids[:, 0]
    one = recognizer.score(recognizer.prepare(["call"], [None]), recognizer.encode([""]))[0, 0]
    one[recognizer.tokens.blocked] = -torch.inf
    expected = float(one.detach().softmax(-1)[recognizer.tokens.end_of_text])
    share = float((first == recognizer.tokens.end_of_text).double().mean())
    assert share == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 600) ** 0.5)


def test_cross_entropy_rewards_either_end(qwen3):
    recognizer = load_recognizer(qwen3)
    prompt, targets = recognizer.prepare(["call"], [None]), recognizer.encode([""])
    rows = recognizer.model.get_output_embeddings().weight
    cross_entropy(recognizer.score(prompt, targets), targets.ids, targets.mask).backward()
    assert rows.grad is not None
    for end in recognizer.tokens.ends:
        assert rows.grad[end].abs().sum() > 0
    assert rows.grad.isfinite().all()


def test_an_ordinary_token_in_the_generation_settings_ends_nothing(qwen3, tmp_path):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(qwen3), AutoTokenizer.from_pretrained(qwen3)
    word, end = tokenizer.convert_tokens_to_ids(["a", "<|im_end|>"])
    model.generation_config.eos_token_id = [end, word]
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    recognizer = load_recognizer(str(tmp_path))
    assert word in generation_ends(recognizer.generator)
    assert word not in recognizer.tokens.ends
    assert not recognizer.tokens.blocked[word]


def test_one_end_changes_nothing(tmp_path):
    recognizer = load_recognizer(str(save_gpt2(tmp_path)))
    assert recognizer.tokens.further_ends == ()
    assert merging(recognizer.tokens) is None
    logits = torch.randn(2, 3, recognizer.tokens.size)
    assert recognizer.tokens.merged(logits) is logits


def test_a_pair_compares_the_events_of_both_models(qwen3, tmp_path):
    """The student stops at one id and the teacher at another: with one vocabulary, the map pairs the two."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(qwen3), AutoTokenizer.from_pretrained(qwen3)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "generation_config.json").read_text()) | {"eos_token_id": None}
    (tmp_path / "generation_config.json").write_text(json.dumps(settings))
    student, teacher = load_recognizer(qwen3), load_recognizer(str(tmp_path), options={"end_of_text": "<|endoftext|>"})
    pair = Pair.from_models(student, teacher, 4)
    assert pair.ends == (student.tokens.end_of_text, teacher.tokens.end_of_text)
    assert pair.vocabulary is not None
    assert int(pair.vocabulary.student_to_teacher[pair.ends[0]]) == pair.ends[1]
