"""Labels are the tokens that a teacher wrote, where the student has the same; else the text, encoded, and counted."""

import json
from dataclasses import replace

import pytest
import torch

from distill import Transcription, Utterance, read_manifest, train, write_manifest
from distill.data.audio import AudioCache
from distill.data.batch import AudioSource
from distill.models import load_recognizer
from distill.models.base import pack
from distill.probing.probe import write_transcripts
from distill.progress.observer import Observer
from distill.recipe import Decoding, Recipe, SupportSettings
from distill.recipe.stages import OnPolicyStage
from distill.scoring.pair import Pair
from distill.teacher_data.confidence import Transcript
from distill.teacher_data.labels import described, label, label_counts, labels
from distill.teacher_data.making import journal_of, teacher_data
from distill.timing import Stopwatch
from distill.training.soft_switches import Mixture
from distill.training.steps import on_policy_step, supervised_step, write
from tests.distill.scoring.test_pair import shuffled
from tests.distill.small_models import save_qwen3, save_whisper
from tests.distill.teacher_data.test_teacher_data import ALL

TOKENS = ["Ġ", "t", "h", "e", "Ġs"]
"""` the s` as no tokenizer of these merges cuts it: it would begin with `Ġth`."""
TEXT = " the s"


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return load_recognizer(str(save_qwen3(tmp_path_factory.mktemp("labels") / "student")))


@pytest.fixture(scope="module")
def written(student):
    return student.tokenizer.convert_tokens_to_ids(TOKENS)


def line(student, ids, text=TEXT, **changes):
    about = {"teacher": "t", "finished": True} | described(TEXT, ids, student.tokens) | changes
    return Utterance("u", prompt="say", text=text, extra={"transcript": about})


def test_the_text_alone_would_be_other_tokens(student, written):
    assert student.decode(pack([written], student.tokens.end_of_text)) == [TEXT]
    assert student.encode([TEXT]).text_ids[0] != written


def test_labels_are_the_tokens_that_were_written(student, written):
    end = student.tokens.end_of_text
    plain = Utterance("v", prompt="say", text=TEXT)
    made = labels(student, [line(student, written), plain])
    assert made.text_ids == [written, student.encode([TEXT]).text_ids[0]]
    assert made.finished.tolist() == [True, True]
    cut_off = labels(student, [line(student, written, finished=False)])
    assert cut_off.ids.tolist() == [written]
    assert cut_off.finished.tolist() == [False]
    assert cut_off.ids[0, -1] != end


def edited(student, written):
    return line(student, written, text="the s!")


def emptied(student, written):
    return line(student, written, text="", finished=False)


def elsewhere(student, written):
    return line(student, written, tokenizer="0" * 32)


def beyond(student, written):
    return line(student, [*written, 10**6])


def negative(student, written):
    return line(student, [*written, -1])


def blocked(student, written):
    return line(student, [*written, int(student.tokens.blocked.nonzero()[0, 0])])


def ended(student, written):
    return line(student, [*written, student.tokens.end_of_text])


def no_list(student, written):
    return line(student, written, token_ids="1 2 3")


def unknown(student, written):
    return line(student, None)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (edited, "changed text"),
        (emptied, "changed text"),
        (elsewhere, "other vocabulary"),
        (beyond, "control tokens"),
        (negative, "control tokens"),
        (blocked, "control tokens"),
        (ended, "control tokens"),
        (no_list, "control tokens"),
        (unknown, "no ids"),
    ],
)
def test_what_cannot_be_used_is_encoded_and_counted(student, written, make, why):
    utterance = make(student, written)
    assert label(utterance, student.tokens) == (None, why)
    assert labels(student, [utterance]).ids.tolist() == student.encode([utterance.text]).ids.tolist()
    counts = label_counts([utterance, line(student, written), Utterance("v", prompt="p", text="x")], student.tokens)
    assert (counts.n_written, counts.n_encoded) == (1, 1)
    assert counts.line.startswith("1 labels by the tokens that the teacher wrote, 1 by their text encoded again (1: ")


def test_lines_that_no_teacher_wrote_are_not_counted(student):
    plain = [Utterance("v", prompt="p", text="x"), Utterance("w", prompt="p", text="x", extra={"transcript": "theirs"})]
    assert label_counts(plain, student.tokens).line == ""
    assert [label(u, student.tokens)[1] for u in plain] == ["text", "text"]


def test_the_tokens_survive_a_manifest(student, written, tmp_path):
    write_manifest(tmp_path / "m.jsonl", [line(student, written)])
    assert label(read_manifest(tmp_path / "m.jsonl")[0], student.tokens) == (written, "written")


def test_other_special_tokens_make_no_other_vocabulary(tmp_path, student):
    """As of the sizes of one family, which differ in languages and timestamps."""
    english = load_recognizer(str(save_whisper(tmp_path / "en")))
    several = load_recognizer(str(save_whisper(tmp_path / "several", multilingual=True)))
    fewer = load_recognizer(str(save_whisper(tmp_path / "fewer", merges=[("t", "h")])))
    assert english.tokens.strings != several.tokens.strings
    assert english.tokens.digest == several.tokens.digest
    assert len({english.tokens.digest, fewer.tokens.digest, student.tokens.digest}) == 3


def test_a_supervised_step_learns_the_tokens_written(student, written):
    batch = AudioSource(AudioCache()).batch([line(student, written)])
    end = student.tokens.end_of_text
    with torch.no_grad():
        outcome = supervised_step(student, batch, Stopwatch())
        target = pack([[*written, end]], end)
        logprobs = student.score(batch.prompt(student), target)[0].log_softmax(-1)
    expected = -logprobs[range(len(written) + 1), [*written, end]].sum()
    assert outcome.positions == len(written) + 1
    assert float(outcome.loss) == pytest.approx(float(expected), rel=1e-5)


def test_reference_and_off_policy_states_are_the_tokens_written(student, written, tmp_path):
    teacher = load_recognizer(str(save_qwen3(tmp_path / "teacher", seed=2)))
    pair, batch = Pair.from_models(student, teacher, 4), AudioSource(AudioCache()).batch([line(student, written)])
    assert write_transcripts(pair, batch, "reference", Decoding()).text_ids == [written]
    stage = OnPolicyStage.model_validate(
        {
            "type": "opd",
            "name": "s",
            "manifest": "m",
            "steps": 1,
            "batch_size": 1,
            "lr": 1.0,
            "off_policy": {"fraction": 1.0, "states": "reference"},
        }
    )
    transcripts = write(pair, batch, stage, Stopwatch(), Mixture(off_policy=True))
    outcome = on_policy_step(pair, batch, stage, SupportSettings(k=4), Stopwatch(), transcripts)
    assert outcome.seen.funnel.total == len(written) + 1


@pytest.fixture(scope="module")
def wild(student):
    """A teacher that writes what its tokenizer would not, on every prompt."""

    class Wild:
        def __getattr__(self, name):
            return getattr(student, name)

        def rollout(self, prompt, **_):
            end = student.tokens.end_of_text
            ids = student.tokenizer.convert_tokens_to_ids(TOKENS)
            return pack([[*ids, end]] * prompt.batch_size, end)

    return Wild()


PROMPTS = [Utterance(f"u{i}", prompt=f"say {i}") for i in range(3)]


def made(output, teacher):
    transcription = Transcription(max_new_tokens=8, batch_size=2)
    return teacher_data(output, teacher, AudioSource(AudioCache()), PROMPTS, transcription, ALL)


def test_teacher_data_hold_what_the_teacher_wrote(tmp_path, wild, student, written):
    output = tmp_path / "out.jsonl"
    data = made(output, wild)
    data.write(output)
    for utterance in read_manifest(output):
        assert utterance.text == TEXT
        about = utterance.extra["transcript"]
        assert (about["token_ids"], about["tokenizer"]) == (written, student.tokens.digest)
        assert label(utterance, student.tokens) == (written, "written")
    assert (data.summary.n_recut, data.summary.n_ids_known) == (3, 3)
    assert "3 of 3 of them are encoded to other tokens" in str(data.summary)
    assert json.loads((tmp_path / "out.summary.json").read_text())["round_trip"] == {"n_judged": 3, "n_recut": 3}


def test_a_journal_of_before_goes_on_without_ids(tmp_path, wild, student):
    """Rows that lack the field are read, and their labels are encoded and counted."""
    output = tmp_path / "out.jsonl"
    made(output, wild)
    journal = journal_of(output)
    head, first, _ = journal.read_text().splitlines()
    older = [{name: value for name, value in row.items() if name != "token_ids"} for row in json.loads(first)]
    journal.write_text(f"{head}\n{json.dumps(older)}\n")
    data = made(output, wild)
    assert [label(u, student.tokens)[1] for u in data.kept] == ["no ids", "no ids", "written"]
    assert (data.summary.n_recut, data.summary.n_ids_known) == (1, 1)
    assert "token_ids" not in data.kept[0].extra["transcript"]


def test_rows_of_before_are_transcripts():
    assert Transcript("a", -0.5, 1, True).token_ids is None


def test_a_run_says_which_labels_are_tokens_and_which_texts(texts, tmp_path, wild, student, written, text_manifests):
    """A stage on a teacher's file, one line of which somebody edited."""
    source = read_manifest(text_manifests["train"])
    taught = [replace(u, text=TEXT, extra=line(student, written).extra) if i < 8 else u for i, u in enumerate(source)]
    taught[0] = replace(taught[0], text="changed")
    write_manifest(tmp_path / "taught.jsonl", taught)
    recipe = texts | {"stages": [texts["stages"][0] | {"manifest": str(tmp_path / "taught.jsonl"), "steps": 1}]}
    recipe["student"] = recipe["student"] | {"from_scratch": False}
    said = []

    class Heard(Observer):
        def notice(self, text):
            said.append(text)

    train(Recipe.model_validate(recipe), tmp_path / "run", observer=Heard())
    assert (
        "base: 7 labels by the tokens that the teacher wrote, 1 by their text encoded again (1: the text was changed "
        "since)" in said
    )


def test_ids_of_another_order_are_no_labels(student, written, tmp_path):
    other = load_recognizer(str(shuffled(save_qwen3(tmp_path / "whole"), tmp_path / "other")))
    assert label(line(student, written), other.tokens) == (None, "other vocabulary")
