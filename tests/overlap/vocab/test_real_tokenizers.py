"""Token bytes, maps and alignment on the tokenizers of Qwen3, Whisper, Gemma 3 and Llama 2.

``python tests/overlap/fetch_tokenizers.py`` fetches them. Without them these tests are skipped, except where
CI_TOKENIZERS is set: there they fail.
"""

import base64
import functools
import importlib
import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from overlap.vocab.alignment import align
from overlap.vocab.coverage import coverage
from overlap.vocab.token_bytes import token_bytes
from overlap.vocab.vocabulary_map import VocabularyMap

FOLDER = Path(os.environ.get("SUPPORT_OVERLAP_TOKENIZERS") or Path(__file__).parents[3] / "build" / "tokenizers")
FILES = {
    "qwen3": "qwen3.json",
    "gemma3": "gemma3.json",
    "llama2": "llama2.json",
    "whisper-multilingual": "whisper-multilingual.tiktoken",
    "whisper-en": "whisper-en.tiktoken",
}
END = {"qwen3": 151645, "gemma3": 1, "llama2": 2, "whisper-multilingual": 50257, "whisper-en": 50256}
PREFIX = {"llama2": b" "}

TEXTS = {
    "English": [
        "The quick brown fox doesn't jump over Schrödinger's sleeping dog.",
        "Well, I paid twenty-three dollars for it, didn't I?",
        "Supercalifragilisticexpialidocious pharmacokinetics",
    ],
    "Mandarin": [
        "你好，世界！今天的天气很好，我们去公园散步吧。",
        "语音识别系统把声音转换成文字，准确率已经达到百分之九十八。",
        "饕餮、魑魅魍魉、𠮷野家",
    ],
    "accents": [
        "Déjà vu à l'hôtel où naïveté et œuvres cohabitent: Łódź, Ångström, Việt Nam.",
        "Größe, Straße, mañana, coração, čeština, ğüşıöç",
    ],
    "decomposed accents": [
        unicodedata.normalize("NFD", "Déjà vu à l'hôtel, mañana, Việt Nam, Ångström"),
        "e\u0301\u0323 o\u0308\u0304 n\u0303",
    ],
    "emoji": [
        "👍🏽 👩🏽\u200d🚀👨\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈🇳🇿 ❤️\u200d🔥",
        "ok 😀!! 🤷🏿\u200d♀️ yes",
    ],
    "digits": ["1234567890 3.14159 12,345.67 2024-06-30 +44 20 7946 0958", "１２３４ ٣٤٥ ½ ² Ⅳ"],
    "spaces": ["  leading", " one", "a  b   c\td\n\n e ", "\n"],
}


@dataclass(frozen=True)
class Real:
    """A tokenizer with its bytes, how it encodes, and what it does to a text before."""

    name: str
    library: Any
    table: tuple[bytes | None, ...]

    def encode(self, text: str) -> list[int]:
        if self.name.startswith("whisper"):
            return self.library.encode_ordinary(text)
        return self.library.encode(text, add_special_tokens=False).ids

    def normalized(self, text: str) -> bytes:
        """Written from the documents of each tokenizer, not with the code under test."""
        if self.name == "qwen3":
            text = unicodedata.normalize("NFC", text)
        if self.name in ("gemma3", "llama2"):
            text = text.replace("▁", " ")
        return PREFIX.get(self.name, b"") * bool(text) + text.encode()


@functools.cache
def real(name: str) -> Real:
    path = FOLDER / FILES[name]
    if not path.exists():
        message = f"{path.name} is not in {FOLDER}; run `python tests/overlap/fetch_tokenizers.py`"
        (pytest.fail if os.environ.get("CI_TOKENIZERS") else pytest.skip)(message)
    if path.suffix == ".json":
        library: Any = Tokenizer.from_file(str(path))
        return Real(name, library, token_bytes(library))
    if os.environ.get("CI_TOKENIZERS"):
        tiktoken = importlib.import_module("tiktoken")
    else:
        tiktoken = pytest.importorskip("tiktoken")
    pattern = importlib.import_module("tiktoken_ext.openai_public").r50k_pat_str
    ranks = ranks_of(path)
    ranks.pop(b"", None)  # a hole of the multilingual table, written as a token without bytes
    library = tiktoken.Encoding(
        name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": END[name]}
    )
    return Real(name, library, token_bytes(library))


def ranks_of(path: Path) -> dict[bytes, int]:
    lines = (line.split() for line in path.read_text().splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in lines}


def every_text() -> list[str]:
    return [text for texts in TEXTS.values() for text in texts]


def units() -> st.SearchStrategy[str]:
    """Pieces of text that tokenizers are known to treat in ways of their own, and any assigned character."""
    words = [word for text in every_text() for word in text.split(" ")]
    return st.one_of(
        st.sampled_from([*words, " ", "  ", "\n", "\u0301", "\u200d", "\ufe0f", "🏽", "你", "▁", "<0x41>", "1"]),
        st.characters(exclude_categories=["Cs", "Cn"]),
    )


RANDOM_TEXT = st.lists(units(), max_size=12).map("".join)


@pytest.mark.parametrize("name", FILES)
def test_tokens_add_up_to_the_text(name):
    tokenizer = real(name)

    @given(RANDOM_TEXT)
    @settings(deadline=None, max_examples=150, database=None)
    def check(text: str) -> None:
        ids = tokenizer.encode(text)
        assert b"".join(tokenizer.table[i] or b"<control>" for i in ids) == tokenizer.normalized(text)

    for text in every_text():
        check.hypothesis.inner_test(text)
    check()


@pytest.mark.parametrize("name", ["qwen3", "gemma3", "llama2"])
def test_every_id_against_the_tokenizers_own_decoder(name):
    """The library decodes each id behind a letter; a token that is valid UTF-8 must come back as its bytes."""
    tokenizer = real(name)
    (letter,) = [i for i, spelled in enumerate(tokenizer.table) if spelled == b"x" and i not in tokenizer.table.spare]
    written = tokenizer.library.decode_batch([[letter, i] for i in range(len(tokenizer.table))])
    n_text = n_broken = 0
    for spelled, text in zip(tokenizer.table, written, strict=True):
        if spelled is None:
            assert text == "x"
            continue
        try:
            assert text == "x" + spelled.decode()
            n_text += 1
        except UnicodeDecodeError:
            assert "\ufffd" in text
            n_broken += 1
    assert n_text > 30_000
    assert n_broken > 100


@pytest.mark.parametrize("name", ["whisper-multilingual", "whisper-en"])
def test_tables_against_tiktoken(name):
    tokenizer = real(name)
    ranks = ranks_of(FOLDER / FILES[name])
    table = token_bytes(ranks)
    for i, spelled in enumerate(table):
        if spelled is not None:
            assert spelled == tokenizer.library.decode_single_token_bytes(i)
    assert len(table) >= 50_256
    assert tokenizer.table[: END[name]] == table[: END[name]]
    assert tokenizer.table[END[name]] is None


PAIRS = [
    ("qwen3", "whisper-multilingual"),
    ("qwen3", "whisper-en"),
    ("qwen3", "gemma3"),
    ("qwen3", "llama2"),
    ("whisper-multilingual", "whisper-en"),
    ("gemma3", "llama2"),
]
LOGITS = {"qwen3": 151_936, "gemma3": 262_208, "llama2": 32_000, "whisper-multilingual": 51_865, "whisper-en": 51_864}


@functools.cache
def map_of(student: str, teacher: str) -> VocabularyMap:
    return VocabularyMap.from_bytes(
        real(student).table,
        real(teacher).table,
        roles={"end_of_text": (END[student], END[teacher])},
        student_size=LOGITS[student],
        teacher_size=LOGITS[teacher],
    )


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_maps(student, teacher):
    made, ours, theirs = map_of(student, teacher), real(student).table, real(teacher).table
    pairs = list(zip(*(side.tolist() for side in made.shared()), strict=True))
    assert (END[student], END[teacher]) in pairs
    text = [(s, t) for s, t in pairs if s != END[student]]
    assert all(ours[s] is not None and ours[s] == theirs[t] for s, t in text)
    assert len(text) == len({b for b in ours if b} & {b for b in theirs if b})
    found = coverage(made, ours, theirs)
    print(f"\n{student} → {teacher}: {made}\n{found}")
    assert found.student.mapped["text"] == found.teacher.mapped["text"] == len(text)
    assert found.student.mapped["special"] == found.teacher.mapped["special"] == 1
    assert found.student.mapped["padding"] == found.teacher.mapped["padding"] == 0


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
@pytest.mark.parametrize("word", [" the", "a", "e", "1", ".", "\n", "你", "é", " "])
def test_the_ids_that_are_written_are_the_ids_that_meet(student, teacher, word):
    """Where both tokenizers write a string as one token inside a text, those two ids are the pair."""

    def one(tokenizer: Real) -> int | None:
        # Behind a letter that merges with none of these, so that no leading space is added.
        before, whole = tokenizer.encode("ж"), tokenizer.encode("ж" + word)
        rest = whole[len(before) :]
        return rest[0] if whole[: len(before)] == before and len(rest) == 1 else None

    ours, theirs = one(real(student)), one(real(teacher))
    if ours is None or theirs is None:
        assert word in ("你", "\n")  # the words that some of these tokenizers split
    else:
        assert int(map_of(student, teacher).student_to_teacher[ours]) == theirs


def aligned(student: Real, teacher: Real, texts: list[str], *, told: bool = False):
    """Both tokenizations of the same texts, closed by the end of text, and their alignment.

    With ``told`` the teacher is given what the student's tokens decode to, as in a training step.
    """

    def pack(tokenizer: Real, texts: list[str]) -> tuple[list[list[int]], torch.Tensor, torch.Tensor]:
        rows = [[*tokenizer.encode(text), END[tokenizer.name]] for text in texts]
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        return rows, ids, torch.arange(width) < torch.tensor([len(row) for row in rows])[:, None]

    ours = pack(student, texts)
    if told:
        led = PREFIX.get(student.name, b"")
        texts = [b"".join(student.table[i] or b"" for i in row).removeprefix(led).decode() for row in ours[0]]
    theirs = pack(teacher, texts)
    found = align(
        ours[1],
        theirs[1],
        student_bytes=student.table,
        teacher_bytes=teacher.table,
        end_of_text=(END[student.name], END[teacher.name]),
        student_mask=ours[2],
        teacher_mask=theirs[2],
        student_prefix=PREFIX.get(student.name, b""),
        teacher_prefix=PREFIX.get(teacher.name, b""),
    )
    return found, ours[0], theirs[0]


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_alignment_against_brute_force(student, teacher):
    ours, theirs = real(student), real(teacher)

    def prefixes(tokenizer: Real, ids: list[int]) -> list[bytes | None]:
        """What stands before each position once the space that the tokenizer adds is taken off; None inside it."""
        led = len(PREFIX.get(tokenizer.name, b"")) * (len(ids) > 1)
        texts = [b"".join(tokenizer.table[i] or b"" for i in ids[:n]) for n in range(len(ids))]
        return [text[led:] if len(text) >= led else None for text in texts]

    @given(st.lists(RANDOM_TEXT, min_size=1, max_size=3))
    @settings(deadline=None, max_examples=40, database=None)
    def check(texts: list[str]) -> None:
        found, our_rows, their_rows = aligned(ours, theirs, texts)
        for row, (a, b) in enumerate(zip(our_rows, their_rows, strict=True)):
            wanted, offered = prefixes(ours, a), prefixes(theirs, b)
            expected = [(i, j) for i, x in enumerate(wanted) for j, y in enumerate(offered) if x is not None and x == y]
            got = [(i, int(found.teacher_index[row, i])) for i in found.comparable[row].nonzero().flatten().tolist()]
            assert got == expected
            same = [
                i for i, j in expected if (i, j) == (len(a) - 1, len(b) - 1) or ours.table[a[i]] == theirs.table[b[j]]
            ]
            assert found.same_token[row].nonzero().flatten().tolist() == same
            assert int(found.misaligned[row].sum()) == len(a) - len(expected)

    check.hypothesis.inner_test(every_text())
    check()


@pytest.mark.parametrize(("student", "teacher"), [*PAIRS, ("whisper-multilingual", "qwen3"), ("llama2", "gemma3")])
def test_share_of_positions_aligned(student, teacher):
    print(f"\n{student} → {teacher}")
    for kind, texts in TEXTS.items():
        found, ours, _ = aligned(real(student), real(teacher), texts, told=True)
        n = sum(map(len, ours))
        comparable, drifted, same = (int(x.sum()) for x in (found.comparable, found.drifted, found.same_token))
        shares = (f"{share / n:7.1%} {name}" for share, name in ((comparable, "comparable"), (same, "same token")))
        print(f"{kind:20}{n:5} positions{''.join(shares)}{drifted / n:7.1%} drifted")
        assert comparable + int(found.misaligned.sum()) == n
        if kind == "decomposed accents" and (student, teacher) == ("whisper-multilingual", "qwen3"):
            assert drifted > n / 2  # Qwen composes what it reads
        else:
            # The text is the same, so nothing drifts and every text's end can be compared.
            assert drifted == 0
            assert all(found.comparable[row, len(ids) - 1] for row, ids in enumerate(ours))
