"""Tokens that a model wrote are handed over as they stand where the other has them; positions behind others told."""

import json

import pytest
import torch

from distill import Utterance
from distill.data.audio import AudioCache
from distill.data.batch import AudioSource
from distill.models import load_recognizer
from distill.models.base import pack
from distill.models.tokenizer_fits_model import TokenizerWarning
from distill.probing.probe import probe
from distill.recipe import Decoding, SupportSettings
from distill.scoring.local_or_served import compare
from distill.scoring.pair import Pair
from tests.distill.scoring.test_pair import shuffled
from tests.distill.small_models import save_llama, save_moonshine, save_qwen3, save_whisper

CHAIN = [("t", "h"), ("Ġ", "th"), ("Ġth", "e"), ("e", "r"), ("Ġ", "s")]
OTHER = [("h", "e"), ("Ġ", "t"), ("Ġ", "s"), ("he", "r")]
"""Another habit: `Ġt he` where the first writes `Ġthe`."""


def model(path, merges=CHAIN, seed=1):
    return load_recognizer(str(save_qwen3(path, seed=seed, merges=merges)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("handed over")


@pytest.fixture(scope="module")
def student(folder):
    return model(folder / "student")


@pytest.fixture(scope="module")
def same(student, folder):
    return Pair.from_models(student, model(folder / "same", seed=2), 4)


@pytest.fixture(scope="module")
def renumbered(student, folder):
    save_qwen3(folder / "source", seed=2, merges=CHAIN)
    return Pair.from_models(student, load_recognizer(str(shuffled(folder / "source", folder / "renumbered"))), 4)


@pytest.fixture(scope="module")
def another(student, folder):
    return Pair.from_models(student, model(folder / "another", OTHER, seed=2), 4)


def tokens(recognizer, *rows):
    """Transcripts by the names of their tokens; `.` at the end closes one."""
    end, convert = recognizer.tokens.end_of_text, recognizer.tokenizer.convert_tokens_to_ids
    return pack([[*convert([t for t in row if t != "."]), *([end] if row[-1] == "." else [])] for row in rows], end)


def names(recognizer, transcripts):
    return [recognizer.tokenizer.convert_ids_to_tokens(ids) for ids in transcripts.text_ids]


OWN = ["Ġthe", "Ġs", "er", "."]
NOT_OWN = ["Ġs", "Ġ", "th", "e", "r", "."]
"""Its tokenizer would write `Ġs`, `Ġthe`, `r`."""


def test_positions_behind_another_cut(same, renumbered):
    """Counted by hand: the position where the first other token is written has the same history still."""
    for pair in (same, renumbered):
        found = pair.recut(tokens(pair.student, OWN, NOT_OWN, ["Ġ", "."], ["."]))
        assert found.tolist() == [
            [False] * 6,
            [False, False, True, True, True, True],
            [False] * 6,
            [False] * 6,
        ]


def test_an_end_behind_a_space_that_texts_lose(folder, tmp_path):
    """Texts of speech models are stripped: the position of the end stands behind a token that no text gives."""
    whisper = load_recognizer(str(save_whisper(tmp_path / "one", merges=CHAIN)))
    pair = Pair.from_models(whisper, load_recognizer(str(save_whisper(tmp_path / "two", merges=CHAIN, seed=1))), 4)
    found = pair.recut(tokens(whisper, ["Ġthe", "Ġ", "."], ["Ġthe", "Ġs", "."]))
    assert found.tolist() == [[False, False, True], [False] * 3]


@pytest.mark.parametrize("row", [OWN, NOT_OWN, ["Ġ", "Ġ", "."], ["."], ["Ġ", "t"]])
def test_renumbered_tokens_are_handed_over_one_by_one(renumbered, row):
    assert renumbered.same_text
    transcripts = tokens(renumbered.student, row)
    view = renumbered.view(transcripts)
    assert names(renumbered.teacher, view.transcripts) == names(renumbered.student, transcripts)
    assert view.transcripts.finished.tolist() == transcripts.finished.tolist()
    assert not view.alignment.misaligned.any()
    assert view.alignment.teacher_index.tolist() == [list(range(transcripts.ids.shape[1]))]
    back = renumbered.in_students_ids(view.transcripts, renumbered.teacher)
    assert back.ids.tolist() == transcripts.ids.tolist()


def test_control_tokens_are_not_handed_over(renumbered):
    """A server writes them as it likes; the audio's placeholder among a transcript's tokens would ask for audio."""
    teacher = renumbered.teacher
    transcripts = tokens(teacher, ["Ġs", "<|im_start|>", "Ġ", "t", "."])
    back = renumbered.in_students_ids(transcripts, teacher)
    assert names(renumbered.student, back) == [["Ġs", "Ġ", "t"]]
    assert back.finished.tolist() == [True]


def test_renumbered_and_same_teacher_say_the_same_of_any_tokens(same, renumbered):
    """The oracle is the teacher with the student's own ids, which are never decoded."""
    batch = AudioSource(AudioCache()).batch([Utterance("u", prompt="say"), Utterance("v", prompt="say it")])
    results = []
    for pair in (same, renumbered):
        comparison = compare(pair, batch, tokens(pair.student, OWN, NOT_OWN), SupportSettings(k=4))
        assert comparison.funnel["misaligned"] == 0
        results.append(comparison.statistics()["total_variation"][comparison.used])
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


def test_a_teacher_with_other_tokens_cuts_the_text_itself(another):
    """Even where it has each of the student's tokens: it would never write them so."""
    assert not another.same_text
    transcripts = tokens(another.student, ["Ġs", "Ġ", "t", "h", "er", "."], ["Ġs", "."])
    view = another.view(transcripts)
    assert names(another.teacher, view.transcripts) == [["Ġs", "Ġt", "her"], ["Ġs"]]
    assert view.alignment.misaligned.tolist() == [[False, False, True, False, True, False], [False] * 6]
    assert another.recut(transcripts).tolist() == [[False, False, True, True, True, True], [False] * 6]


@pytest.fixture(scope="module")
def faulty(student, folder):
    """A teacher of more tokens, whose file lacks a merge, and two could make its token."""
    merges = [*CHAIN[:3], ("h", "e"), *CHAIN[3:], ("s", "s")]
    path = save_qwen3(folder / "faulty", seed=2, merges=merges)
    tree = json.loads((path / "tokenizer.json").read_text(encoding="utf-8"))
    tree["model"]["merges"] = [m for m in tree["model"]["merges"] if tuple(m) != ("Ġ", "th")]
    tree["model"]["merges"].insert(0, ["Ġ", "t"])
    tree["model"]["vocab"]["Ġt"] = tree["model"]["vocab"].pop("ss")
    tree["model"]["merges"].remove(["s", "s"])
    (path / "tokenizer.json").write_text(json.dumps(tree), encoding="utf-8")
    with pytest.warns(TokenizerWarning, match="'Ġth'"):
        return Pair.from_models(student, load_recognizer(str(path)), 4)


def test_tokens_that_a_teachers_tokenizer_cannot_write_are_handed_over(faulty):
    """Encoded, it reads what it was not trained to write; a text without such tokens it cuts itself."""
    assert not faulty.same_text
    transcripts = tokens(faulty.student, ["Ġthe", "Ġs", "."], ["h", "e", "."])
    view = faulty.view(transcripts)
    assert names(faulty.teacher, view.transcripts) == [["Ġthe", "Ġs"], ["he"]]
    assert faulty.recut(transcripts).tolist() == [[False, True, True], [False, True, True]]


def test_prefixes_that_one_side_writes(folder, tmp_path, student):
    """A space before every text is no other cut."""
    moonshine = load_recognizer(str(save_moonshine(tmp_path / "moonshine")))
    pair = Pair.from_models(moonshine, load_recognizer(str(save_moonshine(tmp_path / "too", seed=1))), 4)
    written = moonshine.encode(["the call", "caller"])
    assert not pair.recut(written).any()
    llama = load_recognizer(str(save_llama(tmp_path / "llama")))
    mixed = Pair.from_models(llama, student, 4)
    assert not mixed.same_text
    alone, joined = llama.encode(["er"]), llama.encode(["the"])
    assert names(llama, alone) == [["▁", "er"]]
    assert names(llama, joined) == [["▁the"]]
    assert not mixed.recut(alone).any()  # the other writes `er`
    assert mixed.recut(joined).tolist() == [[False, True]]  # the other writes `th`, `e`


def test_probes_tell_the_share(same, another):
    """The mean over utterances of each one's share, by recorded transcripts."""
    utterances = [Utterance("u", prompt="say"), Utterance("v", prompt="say it")]
    for pair, rows, expected in (
        (same, (OWN, NOT_OWN), (0 + 4 / 6) / 2),
        (another, (["Ġthe", "."], ["Ġs", "."]), (1 / 2 + 0) / 2),
    ):
        written = tokens(pair.student, *rows)
        ids = [row[keep].tolist() for row, keep in zip(written.ids, written.mask, strict=True)]
        recorded = {u.id: (row, True) for u, row in zip(utterances, ids, strict=True)}
        source = AudioSource(AudioCache())
        found = probe(pair, source, utterances, SupportSettings(k=4), Decoding(), states="fixed", recorded=recorded)
        assert found.estimates["recut"].value == pytest.approx(expected)
        assert found.readings["recut"].n_groups == 2
        assert found.rollouts == recorded
