import importlib
import io
import json
import os
import pickle
import string
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.tokenization_python import PreTrainedTokenizer

from overlap.vocab.token_bytes import TokenBytes, token_bytes

CORPUS = [
    "the quick brown fox jumps over the lazy dog, and the dog sleeps",
    "naïve café, 12 345 items; it's the other one's",
    "你好，世界。今天的天气很好，我们去公园。",
    "line one\nline two\t\ttabs   spaces",
] * 4
TEXT = st.text(
    st.one_of(
        st.sampled_from("the dog 你好世界é\u0301 \n\t12👩🏽\u200d🚀" + string.ascii_letters),
        st.characters(exclude_categories=["Cs", "Cn"]),
    ),
    max_size=30,
)


def needed(name):
    """A library that is an extra of the tests: without it a test is skipped, except where CI_TOKENIZERS is set."""
    return importlib.import_module(name) if os.environ.get("CI_TOKENIZERS") else pytest.importorskip(name)


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens(["<think>", "ünïcode é", "Ġplain"])
    tokenizer.add_special_tokens([AddedToken("<|pad|>", special=True)])
    return tokenizer


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tree = json.loads(tokenizer.to_str())
    tree["model"]["byte_fallback"] = True
    tree["model"]["vocab"] += [[f"<0x{byte:02X}>", -50.0] for byte in range(256)]
    tree["decoder"] = {
        "type": "Sequence",
        "decoders": [
            {"type": "ByteFallback"},
            {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        ],
    }
    return Tokenizer.from_str(json.dumps(tree))


def fallback_bpe():
    """As Llama and Gemma have it: spaces are replaced by the normalizer, unknown characters by byte pieces."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    pieces = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=pieces, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tree = json.loads(tokenizer.to_str())
    # Byte pieces belong to the model alone; runs of spaces are added tokens and pieces at once.
    tree["model"]["vocab"]["▁▁"] = len(tree["model"]["vocab"])
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    tree["added_tokens"] = [t for t in tree["added_tokens"] if not t["content"].startswith("<0x")] + [
        {"id": tree["model"]["vocab"]["▁▁"], "content": "▁▁", **plain}
    ]
    return Tokenizer.from_str(json.dumps(tree))


BYTE_LEVEL, UNIGRAM, FALLBACK = byte_level(), unigram(), fallback_bpe()


@given(TEXT)
@settings(deadline=None, max_examples=200)
def test_tokens_add_up_to_the_text(text):
    spaced = text.replace("▁", " ")
    # Metaspace puts a space in front of a text that has none there.
    led = spaced if not text or spaced.startswith(" ") else " " + spaced
    for tokenizer, expected in (
        (BYTE_LEVEL, unicodedata.normalize("NFC", text)),
        (UNIGRAM, led),
        (FALLBACK, spaced),
    ):
        table = TABLES[id(tokenizer)]
        assert b"".join(table[i] for i in tokenizer.encode(text).ids) == expected.encode()


TABLES = {id(tokenizer): token_bytes(tokenizer) for tokenizer in (BYTE_LEVEL, UNIGRAM, FALLBACK)}


@pytest.mark.parametrize("tokenizer", [BYTE_LEVEL, UNIGRAM, FALLBACK], ids=["byte level", "unigram", "fallback"])
def test_every_id_is_what_its_decoder_writes(tokenizer):
    table = TABLES[id(tokenizer)]
    assert len(table) == tokenizer.get_vocab_size(with_added_tokens=True)
    # Behind a letter, so that no decoder takes a leading space for one that the tokenizer added.
    letter = tokenizer.encode("the").ids[-1]
    start = table[letter]
    assert start
    checked = 0
    for i, spelled in enumerate(table):
        if spelled is None:
            assert tokenizer.decode([letter, i]) == start.decode().lstrip(), "a control token is not text"
            continue
        if any(token.content == tokenizer.id_to_token(i) for token in tokenizer.get_added_tokens_decoder().values()):
            continue  # byte-level decoders do not give the text of every added token back
        written = tokenizer.decode([letter, i])
        try:
            assert written == (start + spelled).decode().removeprefix(" " if tokenizer is UNIGRAM else "")
            checked += 1
        except UnicodeDecodeError:
            assert "\ufffd" in written
    assert checked > 150


def test_byte_level_alphabet():
    alphabet = bytes_to_unicode()
    table = token_bytes(BYTE_LEVEL)
    for byte, character in alphabet.items():
        i = BYTE_LEVEL.token_to_id(character)
        assert table[i] == bytes([byte])


def test_added_tokens_keep_their_text_and_control_tokens_have_none():
    table = token_bytes(BYTE_LEVEL)
    assert table[BYTE_LEVEL.token_to_id("<|end|>")] is None
    assert table[BYTE_LEVEL.token_to_id("<|pad|>")] is None
    assert table[BYTE_LEVEL.token_to_id("<think>")] == b"<think>"
    assert table[BYTE_LEVEL.token_to_id("ünïcode é")] == "ünïcode é".encode()
    assert table[BYTE_LEVEL.token_to_id("Ġplain")] == "Ġplain".encode()
    think = BYTE_LEVEL.token_to_id("<think>")
    assert token_bytes(BYTE_LEVEL, control=[think, len(table) + 1]) == (
        *(None if i == think else spelled for i, spelled in enumerate(table)),
        None,
        None,
    )
    assert TABLES[id(FALLBACK)][FALLBACK.token_to_id("▁▁")] == b"  "
    for tokenizer in (UNIGRAM, FALLBACK):
        assert TABLES[id(tokenizer)][tokenizer.token_to_id("<unk>")] is None


@pytest.mark.parametrize("tokenizer", [UNIGRAM, FALLBACK])
def test_byte_pieces_of_characters_with_a_piece_are_spare(tokenizer):
    table = TABLES[id(tokenizer)]
    assert table[tokenizer.token_to_id("<0xE4>")] == b"\xe4"
    assert tokenizer.token_to_id("<0xE4>") not in table.spare
    assert table[tokenizer.token_to_id("<0x65>")] == b"e"
    assert tokenizer.token_to_id("<0x65>") in table.spare
    assert tokenizer.token_to_id("e") not in table.spare
    kept = [spelled for i, spelled in enumerate(table) if spelled is not None and i not in table.spare]
    assert len(set(kept)) == len(kept)
    again = pickle.loads(pickle.dumps(table))
    assert (again, again.spare) == (table, table.spare)


def test_wrapped_in_transformers():
    wrapped = PreTrainedTokenizerFast(tokenizer_object=BYTE_LEVEL, eos_token="<|end|>", pad_token="<think>")
    table = token_bytes(wrapped)
    assert table[wrapped.eos_token_id] is None
    # A special token of the wrapper alone is a control token as well.
    assert table[wrapped.convert_tokens_to_ids("<think>")] is None


def test_without_a_decoder_the_pre_tokenizer_tells():
    for tokenizer in (BYTE_LEVEL, UNIGRAM):
        tree = json.loads(tokenizer.to_str())
        tree["decoder"] = None
        assert token_bytes(Tokenizer.from_str(json.dumps(tree))) == TABLES[id(tokenizer)]


class Slow(PreTrainedTokenizer):
    """A byte-level tokenizer in plain Python, as older ones of transformers are."""

    def __init__(self, vocabulary, **options):
        self.vocabulary = vocabulary
        self.byte_encoder = bytes_to_unicode()
        self.byte_decoder = {character: byte for byte, character in self.byte_encoder.items()}
        super().__init__(**options)

    @property
    def vocab_size(self):
        return len(self.vocabulary)

    def get_vocab(self):
        return self.vocabulary | self.added_tokens_encoder

    def _tokenize(self, text, **_):
        return [self.byte_encoder[byte] for byte in text.encode()]

    def _convert_token_to_id(self, token):
        return self.vocabulary.get(token)

    def _convert_id_to_token(self, index):
        return {i: token for token, i in self.vocabulary.items()}.get(index)


def test_the_unknown_token_has_no_bytes_even_where_it_is_not_listed_as_special():
    for tokenizer in (UNIGRAM, FALLBACK):
        table = token_bytes(_changed(tokenizer, added_tokens=[]))
        assert table[tokenizer.token_to_id("<unk>")] is None
        assert table[tokenizer.token_to_id("</s>")] == b"</s>"


def test_byte_level_pieces_outside_the_alphabet_are_their_text():
    vocabulary = json.loads(BYTE_LEVEL.to_str())["model"]["vocab"]
    table = token_bytes(_changed(BYTE_LEVEL, model={"vocab": {**vocabulary, "你": 500, "Ġ你": 501}}))
    assert table[500:] == ("你".encode(), "Ġ你".encode())
    assert decoders.ByteLevel().decode(["Ġ你"]) == "Ġ你"


def test_slow_byte_level():
    tree = json.loads(BYTE_LEVEL.to_str())
    slow = Slow(tree["model"]["vocab"], eos_token="<|end|>")
    slow.add_tokens(["<think>", "ünïcode é", "Ġplain"])
    slow.add_special_tokens({"pad_token": "<|pad|>"})
    assert token_bytes(slow) == token_bytes(BYTE_LEVEL)


RANKS = {bytes([byte]): byte for byte in range(256)} | {b" the": 256, "你".encode(): 257, b"\xe4\xbd": 258}


def test_ranks():
    table = token_bytes(RANKS | {b"": 259, b"far": 261})
    assert table[256:] == (b" the", "你".encode(), b"\xe4\xbd", None, None, b"far")
    assert table.spare == frozenset()
    assert token_bytes({}) == ()


def test_tiktoken():
    tiktoken = needed("tiktoken")
    encoding = tiktoken.Encoding(
        "small", pat_str=r"\S+|\s+", mergeable_ranks=RANKS, special_tokens={"<|end|>": 300, "<|start|>": 302}
    )
    table = token_bytes(encoding)
    assert table[:259] == token_bytes(RANKS)
    assert table[259:] == (None,) * 44


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_sentencepiece(kind):
    sentencepiece = needed("sentencepiece")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=model,
        vocab_size=380,
        model_type=kind,
        byte_fallback=True,
        user_defined_symbols=["<sep>", "▁▁"],
        control_symbols=["<ctl>"],
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    table = token_bytes(processor)
    assert len(table) == processor.get_piece_size()
    for text in [*CORPUS[:4], "👩🏽\u200d🚀 e\u0301", "  two  spaces ", ""]:
        ids = processor.encode(text)
        assert b"".join(table[i] for i in ids) == (f" {text}".encode() if text else b"")
        assert processor.decode(ids) == text
    for name in ("<unk>", "<s>", "</s>", "<ctl>"):
        assert table[processor.piece_to_id(name)] is None
    assert table[processor.piece_to_id("<sep>")] == b"<sep>"
    assert table[processor.piece_to_id("<0x65>")] == b"e"
    assert processor.piece_to_id("<0x65>") in table.spare

    class Wrapper:
        """Ids shifted by one against the model's, as some tokenizers of transformers have them, and added tokens."""

        sp_model = processor
        added_tokens_decoder = {  # noqa: RUF012
            0: AddedToken("<pad>", special=True),
            len(table) + 1: AddedToken("<extra>"),
            len(table) + 2: AddedToken("<named>"),
        }
        all_special_ids = (len(table) + 2,)

        def get_vocab(self):
            own = {processor.id_to_piece(i): i + 1 for i in range(processor.get_piece_size())}
            return own | {token.content: i for i, token in self.added_tokens_decoder.items()}

    wrapped = token_bytes(Wrapper())
    assert wrapped == (None, *table, b"<extra>", None)
    assert wrapped.spare == {i + 1 for i in table.spare}


def _changed(tokenizer, **parts):
    tree = json.loads(tokenizer.to_str())
    model = parts.pop("model", {})
    tree |= parts
    tree["model"] |= model

    class Described:
        def to_str(self):
            return json.dumps(tree)

    return Described()


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        (object(), "tokenizer: object is not a known kind; pass the table of bytes instead: a list of the bytes"),
        (
            {"the": 0},
            "tokenizer: a mapping must go from the bytes of each token to its id; strings do not determine bytes",
        ),
        ({b"a": -1}, "expected token ids that are integers of at least 0, received -1"),
        ({b"a": 0.0}, "expected token ids that are integers of at least 0, received 0.0"),
        ({b"a": 3, b"b": 3}, "tokenizer: id 3 has 2 tokens; pass the table of bytes"),
        (Tokenizer(models.WordPiece()), "tokenizer: WordPiece models do not say which bytes their tokens hold; pass"),
        (Tokenizer(models.WordLevel()), "tokenizer: WordLevel models"),
        (Tokenizer(models.BPE()), r"tokenizer: its decoder \(none\) is of no known kind; pass"),
        (_changed(BYTE_LEVEL, model={"end_of_word_suffix": "</w>"}), "marks words by prefixes or suffixes; pass"),
        (_changed(BYTE_LEVEL, decoder={"type": "CTC"}), r"its decoder \(CTC\) is of no known kind"),
        (
            _changed(FALLBACK, decoder={"type": "Replace", "pattern": {"Regex": "_"}, "content": " "}),
            r"its decoder \(Replace\) is of no known kind",
        ),
        (
            _changed(
                FALLBACK,
                decoder={
                    "type": "Sequence",
                    "decoders": [
                        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                        {"type": "Replace", "pattern": {"String": "_"}, "content": "-"},
                    ],
                },
            ),
            r"its decoder \(Replace, Replace\) is of no known kind",
        ),
    ],
)
def test_unknown_kinds_are_refused_with_a_remedy(tokenizer, message):
    with pytest.raises(ValueError, match=message):
        token_bytes(tokenizer)


def test_a_table_is_a_tuple():
    assert TokenBytes([b"a", None]) == (b"a", None)
