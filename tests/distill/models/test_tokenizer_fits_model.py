"""Tokenizers that cannot write what their models write: found at load, mended where that is certain, else said."""

import base64
import json
import os
import warnings
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, WhisperTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from distill.models import load_recognizer
from distill.models.tokenizer_fits_model import TokenizerWarning, check_tokenizer
from tests.distill.small_models import (
    save_glm_asr,
    save_gpt2,
    save_llama,
    save_moonshine,
    save_qwen3,
    save_voxtral,
    save_whisper,
    sentencepiece_tokenizer,
)

SAID = [
    "the cat that sat there took the other path to town",
    "this is a test of the thing that they thought to tell the team today",
    "three of the ten tigers then turned to their den, though the rest waited",
    "naïve café, größer als ein Haus, 12 o'clock; the weather tonight 你好 世界",
]
FAULT = ("Ġ", "t")
REAL = Path(os.environ.get("SUPPORT_OVERLAP_TOKENIZERS") or Path(__file__).parents[3] / "build" / "tokenizers")


def trained(size=360, *, looked_up=False):
    """A byte-level BPE, trained here, whose tokens are numbered as GPT-2's: bytes, then merges in their order.

    With `looked_up` whole words are looked up before they are merged, as in Llama 3.
    """
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend.train_from_iterator(
        SAID * 3, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    )
    backend.model.ignore_merges = looked_up
    return backend


def listed_by_pairs(backend):
    """Every pair of tokens that makes one, as files are written that come from a table of tokens (Llama 3, Voxtral)."""
    tree = json.loads(backend.to_str())
    ids = tree["model"]["vocab"]
    pairs = [
        (token[:i], token[i:]) for token in sorted(ids, key=ids.get) for i in range(1, len(token)) if token[:i] in ids
    ]
    tree["model"]["merges"] = [pair for pair in pairs if pair[1] in ids]
    return Tokenizer.from_str(json.dumps(tree))


def merges_of(backend):
    return [tuple(merge) for merge in json.loads(backend.to_str())["model"]["merges"]]


def without(backend, *lost):
    """The same tokenizer less some merges; the vocabulary keeps their tokens."""
    tree = json.loads(backend.to_str())
    tree["model"]["merges"] = [merge for merge in tree["model"]["merges"] if tuple(merge) not in lost]
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(tree)), eos_token="<end>")


def ways(backend, merge):
    vocabulary, token = backend.get_vocab(), "".join(merge)
    return sum(token[:i] in vocabulary and token[i:] in vocabulary for i in range(1, len(token)))


def silently(tokenizer):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return check_tokenizer(tokenizer)


def test_a_missing_merge_is_put_back_where_it_was():
    whole = trained()
    tokenizer = without(whole, FAULT)
    assert tokenizer(" the", add_special_tokens=False)["input_ids"] != whole.encode(" the").ids
    with pytest.warns(TokenizerWarning, match=r"lacked 1 of its merges \(Ġ t\), so that [0-9]+ of its 360 text tokens"):
        found = check_tokenizer(tokenizer)
    assert found.merges == (FAULT,)
    assert not found.is_faulty
    assert merges_of(tokenizer.backend_tokenizer) == merges_of(whole)
    for text in (*SAID, " the", "the tt ttt\n t", "", " Ġt", "тест 测试 🙂"):
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == whole.encode(text).ids
    assert silently(tokenizer).merges == ()


@pytest.mark.parametrize("looked_up", [False, True])
def test_every_merge_that_may_be_missing_is_put_back_or_told(looked_up):
    """Put back where one pair makes the token, and then to the very list that the trainer wrote."""
    whole = trained(looked_up=looked_up)
    all_merges, counts = merges_of(whole), {True: 0, False: 0}
    for merge in all_merges:
        tokenizer = without(whole, merge)
        certain = ways(whole, merge) == 1
        with pytest.warns(TokenizerWarning, match="were put back" if certain else "what its file lacks is not certain"):
            found = check_tokenizer(tokenizer)
        counts[certain] += 1
        assert merges_of(tokenizer.backend_tokenizer) == (
            all_merges if certain else [other for other in all_merges if other != merge]
        )
        token = whole.token_to_id("".join(merge))
        assert found.unmade == (() if certain else (token,))
        assert found.is_faulty != certain
        assert certain or token in found.unreachable
    assert counts[True] > 50
    assert counts[False] > 2


def test_several_missing_merges_are_put_back_together():
    whole = trained()
    lost = [merge for merge in merges_of(whole) if ways(whole, merge) == 1][:3]
    tokenizer = without(whole, *lost)
    with pytest.warns(TokenizerWarning, match="lacked 3 of its merges"):
        assert check_tokenizer(tokenizer).merges == tuple(lost)
    assert merges_of(tokenizer.backend_tokenizer) == merges_of(whole)


def test_whole_words_that_are_looked_up_do_not_hide_a_missing_merge():
    whole = trained(looked_up=True)
    tokenizer = without(whole, FAULT)
    assert tokenizer(" the", add_special_tokens=False)["input_ids"] == whole.encode(" the").ids  # looked up
    assert tokenizer(" ttt", add_special_tokens=False)["input_ids"] != whole.encode(" ttt").ids
    with pytest.warns(TokenizerWarning, match=r"\(Ġ t\), .* never encoded to inside longer words; they were put back"):
        assert check_tokenizer(tokenizer).merges == (FAULT,)
    assert tokenizer.backend_tokenizer.model.ignore_merges
    for text in (*SAID, " the", " ttt", "the tt ttt\n t", " that's theirs"):
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == whole.encode(text).ids


@pytest.mark.parametrize("looked_up", [False, True])
def test_a_list_of_every_pair_is_whole_and_is_mended_where_one_pair_makes_the_token(looked_up):
    whole = listed_by_pairs(trained(looked_up=looked_up))
    tokens = ["".join(merge) for merge in merges_of(whole)]
    once, twice = (next(token for token in tokens if tokens.count(token) == n) for n in (1, 2))
    assert len(tokens) > len(set(tokens))
    assert silently(without(whole)).to_dict()["unreachable"] == 0
    tokenizer = without(whole, *(merge for merge in merges_of(whole) if "".join(merge) == once))
    with pytest.warns(TokenizerWarning, match="lacked 1 of its merges"):
        check_tokenizer(tokenizer)
    assert merges_of(tokenizer.backend_tokenizer) == merges_of(whole)
    tokenizer = without(whole, *(merge for merge in merges_of(whole) if "".join(merge) == twice))
    with pytest.warns(TokenizerWarning, match="what its file lacks is not certain"):
        assert check_tokenizer(tokenizer).unmade == (whole.token_to_id(twice),)


def test_few_tokens_that_only_a_look_up_finds_are_no_fault():
    """Llama 3 has 588 of 128,000: other merges preempt theirs, and whole words are found without any."""
    tree = json.loads(trained(looked_up=True).to_str())
    ids, merges = tree["model"]["vocab"], tree["model"]["merges"]
    first, second = merges[0]  # merged before all others
    halves = next((first, b) for b in ids if len(b) > 1 and b[0] == second and first + b not in ids)
    preempted = "".join(halves)
    ids[preempted] = len(ids)
    merges.append(list(halves))
    backend = Tokenizer.from_str(json.dumps(tree))
    assert len(backend.model.tokenize(preempted)) == 1
    tree["model"]["ignore_merges"] = False
    by_merges = Tokenizer.from_str(json.dumps(tree))
    assert len(by_merges.model.tokenize(preempted)) > 1
    found = silently(PreTrainedTokenizerFast(tokenizer_object=backend))
    assert (found.n_tokens, found.unreachable, found.is_faulty) == (361, (), False)


def test_unreachable_tokens_are_those_that_their_text_does_not_encode_to():
    """Counted by the tokenizer itself, of tokens that are whole words to the pre-tokenizer."""
    whole = trained()
    (ambiguous, *_) = (m for m in merges_of(whole) if ways(whole, m) > 1 and "".join(m) == "Ġthe")
    tokenizer = without(whole, ambiguous)
    with pytest.warns(TokenizerWarning, match="'Ġthe'"):
        found = check_tokenizer(tokenizer)
    plain = {
        i
        for token, i in whole.get_vocab().items()
        if (text := whole.decode([i])) and "\ufffd" not in text and token != "<end>"
        if tokenizer(text, add_special_tokens=False)["input_ids"] != [i]
    }
    assert set(found.unreachable) == plain
    assert found.to_dict() == {
        "text_tokens": 360,
        "unreachable": len(plain),
        "share_unreachable": len(plain) / 360,
        "merges_put_back": [],
    }


def test_tokens_in_another_order_are_not_mended_but_told():
    """The place of a merge is known by its token's id alone."""
    tree = json.loads(trained().to_str())
    tree["model"]["merges"] = [m for m in tree["model"]["merges"] if tuple(m) != FAULT]
    vocabulary = tree["model"]["vocab"]
    vocabulary["Ġthe"], vocabulary["Ġto"] = vocabulary["Ġto"], vocabulary["Ġthe"]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(tree)))
    with pytest.warns(TokenizerWarning, match="not certain"):
        assert check_tokenizer(tokenizer).is_faulty


@pytest.mark.parametrize("looked_up", [False, True])
def test_merges_in_a_wrong_order_are_told(looked_up):
    tree = json.loads(trained(looked_up=looked_up).to_str())
    tree["model"]["merges"].reverse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(tree)))
    with pytest.warns(TokenizerWarning, match=r"never encodes to [0-9]+ of its 360"):
        found = check_tokenizer(tokenizer)
    assert found.is_faulty
    assert found.unmade == ()


def test_pieces_that_a_unigram_model_writes_as_two_are_no_fault():
    pieces = [("<unk>", 0.0), ("▁", -1.0), ("a", -1.0), ("b", -1.0), ("ab", -9.0), ("▁a", -1.5)]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.Unigram(pieces, unk_id=0)), unk_token="<unk>")
    found = silently(tokenizer)
    assert (found.n_tokens, found.unreachable, found.is_faulty) == (5, (4,), False)
    prefixed = silently(sentencepiece_tokenizer(["▁the", "▁call", "ing"]))
    assert prefixed.n_tokens > 20
    assert prefixed.unreachable == ()


def test_kinds_that_cannot_be_judged_are_left_alone():
    words = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    assert silently(PreTrainedTokenizerFast(tokenizer_object=words)).to_dict()["share_unreachable"] is None
    assert silently(object()).n_tokens == 0


SAVED = {
    "whisper": save_whisper,
    "moonshine": save_moonshine,
    "glm": save_glm_asr,
    "voxtral": save_voxtral,
    "chat": save_qwen3,
    "plain": save_gpt2,
    "llama": save_llama,
}


@pytest.mark.parametrize("family", SAVED)
def test_whole_tokenizers_of_every_family_load_without_a_word(family, tmp_path):
    recognizer = load_recognizer(str(SAVED[family](tmp_path / "model")))
    check = recognizer.tokens.check
    assert check.n_tokens > 30
    assert (check.unreachable, check.merges) == ((), ())


def faulty(path):
    """Take `Ġ t` out of the merges of a checkpoint's tokenizer file."""
    file = path / "tokenizer.json"
    tree = json.loads(file.read_text(encoding="utf-8"))
    before = len(tree["model"]["merges"])
    tree["model"]["merges"] = [m for m in tree["model"]["merges"] if tuple(m) != FAULT]
    assert len(tree["model"]["merges"]) == before - 1
    file.write_text(json.dumps(tree), encoding="utf-8")
    return path


@pytest.mark.parametrize("family", ["whisper", "chat", "plain"])
def test_checkpoints_save_the_mended_tokenizer(family, tmp_path):
    merges = [("Ġ", "t"), ("Ġt", "h"), ("Ġth", "e"), ("e", "r")]
    whole = load_recognizer(str(SAVED[family](tmp_path / "whole", merges=merges)))
    path = faulty(SAVED[family](tmp_path / "faulty", merges=merges))
    with pytest.warns(TokenizerWarning, match=f"{path}.*Ġ t"):
        mended = load_recognizer(str(path))
    texts = ["call the other", "then the thing"]
    assert mended.encode(texts).ids.tolist() == whole.encode(texts).ids.tolist()
    assert mended.tokens.digest == whole.tokens.digest
    mended.save(tmp_path / "saved")
    again = load_recognizer(str(tmp_path / "saved"))  # warnings are errors here
    assert again.encode(texts).ids.tolist() == whole.encode(texts).ids.tolist()
    plain = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert (
        plain(texts, add_special_tokens=False)["input_ids"]
        == whole.tokenizer(texts, add_special_tokens=False)["input_ids"]
    )


def test_the_real_recognizer_less_one_merge(recorded_speech, tmp_path):
    """tiny.en's own file is whole; without `Ġ t` it is mended to the same merges."""
    whole = AutoTokenizer.from_pretrained(recorded_speech / "models" / "whisper-tiny.en")
    assert silently(whole).to_dict() == {
        "text_tokens": 50256,
        "unreachable": 0,
        "share_unreachable": 0.0,
        "merges_put_back": [],
    }
    whole.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(faulty(tmp_path))
    with pytest.warns(TokenizerWarning, match="were put back"):
        check_tokenizer(tokenizer)
    assert merges_of(tokenizer.backend_tokenizer) == merges_of(whole.backend_tokenizer)


def test_the_multilingual_table_is_mended_to_what_tiktoken_writes():
    """The published ranks, as merges, less `Ġ t` as in the checkpoints' files; compared with another implementation."""
    file = REAL / "whisper-multilingual.tiktoken"
    if not file.exists():
        message = f"{file.name} is not in {REAL}; run `python tests/overlap/fetch_tokenizers.py`"
        (pytest.fail if os.environ.get("CI_TOKENIZERS") else pytest.skip)(message)
    tiktoken = pytest.importorskip("tiktoken")
    pattern = pytest.importorskip("tiktoken_ext.openai_public").r50k_pat_str
    lines = [line.split() for line in file.read_text().splitlines()]
    ranks = {base64.b64decode(line[0]): int(line[1]) for line in lines if len(line) == 2}
    oracle = tiktoken.Encoding("oracle", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    spelled, merges = bytes_to_unicode(), []
    for token in sorted((token for token in ranks if len(token) > 1), key=ranks.__getitem__):
        parts = [bytes([byte]) for byte in token]
        while len(parts) > 2:
            at = min(range(len(parts) - 1), key=lambda i: ranks.get(parts[i] + parts[i + 1], len(ranks)))
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        merges.append(tuple("".join(spelled[byte] for byte in part) for part in parts))
    vocabulary = {"".join(spelled[byte] for byte in token): rank for token, rank in ranks.items()}
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=[merge for merge in merges if merge != FAULT])
    texts = [*SAID, "Then the others thought that this was it, though.", "Dann trafen tausend Tiere 他们 то что"]
    differ = [tokenizer(text, add_special_tokens=False)["input_ids"] != oracle.encode(text) for text in texts]
    assert all(differ)
    with pytest.warns(TokenizerWarning, match=r"\(Ġ t\), so that 1,1[0-9]{2} of its"):
        check_tokenizer(tokenizer)
    for text in texts:
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == oracle.encode(text)
