"""Transcripts that come back in other tokens: a tokenizer's fault, not that of a limit or of points in time."""

import dataclasses

import pytest

from distill import Transcription, read_manifest
from distill.data.audio import AudioCache
from distill.data.batch import AudioSource
from distill.models import load_recognizer
from distill.models.base import pack
from distill.models.retokenization import is_recut
from distill.probing.round_trip import round_trip
from distill.recipe import Decoding
from distill.recipe.paths import packaged
from distill.teacher_data.making import teacher_data
from tests.distill.small_models import save_glm_asr, save_moonshine, save_qwen3, save_voxtral, save_whisper
from tests.distill.teacher_data.test_teacher_data import ALL

SAVED = {
    "whisper": save_whisper,
    "moonshine": save_moonshine,
    "glm": save_glm_asr,
    "voxtral": save_voxtral,
    "chat": save_qwen3,
}


@pytest.fixture(scope="module", params=SAVED)
def model(request, tmp_path_factory):
    return load_recognizer(str(SAVED[request.param](tmp_path_factory.mktemp(request.param) / "model")))


def read_again(model, ids, *, finished):
    """Whether tokens that a model wrote come back otherwise."""
    end = model.tokens.end_of_text
    written = pack([[*ids, end] if finished else ids], end)
    texts = model.decode(written)
    again = model.encode(texts).text_ids[0]
    return is_recut(model, texts[0], ids, again, finished), ids == again


def test_a_cut_off_transcript_may_end_at_any_of_its_tokens(model):
    """Judged by what the tokenizer itself writes of a whole text: none of its beginnings is a fault."""
    whole = model.encode(["the third  other café 你好 thth"]).text_ids[0]
    assert read_again(model, whole, finished=True) == (False, True)
    found = {n: read_again(model, whole[:n], finished=False) for n in range(1, len(whole))}
    assert not any(recut for recut, _ in found.values())
    inside = [n for n, (recut, _) in found.items() if recut is None]
    assert len(inside) < len(whole) / 2


def test_beginnings_lose_their_last_space(tmp_path):
    model = load_recognizer(str(save_whisper(tmp_path / "model")))
    ids = model.encode(["call the  other"]).text_ids[0]
    lost = [n for n in range(1, len(ids)) if not read_again(model, ids[:n], finished=False)[1]]
    assert lost  # so that comparing ids alone would count them
    assert [read_again(model, ids[:n], finished=False)[0] for n in lost] == [False] * len(lost)
    assert all(read_again(model, ids[:n], finished=True)[0] for n in lost)  # its own choice: no text gives it back


def test_what_is_cut_otherwise_is_seen_whether_or_not_it_ended(tmp_path):
    model = load_recognizer(str(save_whisper(tmp_path / "model")))
    convert = model.tokenizer.convert_tokens_to_ids
    for spelled in (["Ġ", "t", "h"], ["Ġ", "t", "h", "Ġ"], ["Ġth", "e", "r", "Ġ", "s"]):  # Ġth, er and Ġs are tokens
        for finished in (True, False):
            assert read_again(model, convert(spelled), finished=finished)[0]
    assert read_again(model, convert(["Ġth", "Ã"]), finished=False)[0] is None


def test_points_in_time_are_no_other_tokens(tmp_path):
    model = load_recognizer(str(save_whisper(tmp_path / "model")), options={"timestamps": True})
    ids = model.encode(["<|0.00|> call the<|1.36|><|1.36|> other<|2.00|>"]).text_ids[0]
    assert any(i in model.tokens.times for i in ids)
    assert read_again(model, ids, finished=True) == (False, False)
    convert = model.tokenizer.convert_tokens_to_ids
    assert read_again(model, [ids[0], *convert(["Ġ", "t", "h"]), ids[-1]], finished=True)[0]


@pytest.mark.parametrize("limit", [3, 5, 8])
def test_a_short_limit_is_no_fault_of_the_demos_tokenizer(limit):
    teacher, source = load_recognizer(str(packaged("teacher"))), AudioSource(AudioCache())
    utterances = read_manifest(packaged("corpus/probe.jsonl"))[:16]
    prompt = source.batch(utterances).prompt(teacher)
    written = teacher.rollout(prompt, max_new_tokens=limit)
    again = teacher.encode(teacher.decode(written)).text_ids
    assert not written.finished.all()
    found = round_trip(teacher, source, utterances, Decoding(max_new_tokens=limit))
    assert (found.n, found.n_judged, found.n_recut) == (16, 16, 0)
    if limit == 5:
        assert written.text_ids != again  # spaces at the end are lost


def test_teacher_data_count_alike(tmp_path):
    model = load_recognizer(str(save_whisper(tmp_path / "model")))
    convert, end = model.tokenizer.convert_tokens_to_ids, model.tokens.end_of_text
    rows = [convert(["Ġth", "Ġ"]), convert(["Ġ", "t", "h", "Ġ"]), [*convert(["Ġth", "e"]), end]]

    class Writer:
        def __getattr__(self, name):
            return getattr(model, name)

        def rollout(self, prompt, **_):
            return dataclasses.replace(pack(rows, end))

    lines = read_manifest(packaged("corpus/probe.jsonl"))[:3]
    transcription = Transcription(max_new_tokens=8, batch_size=3)
    data = teacher_data(tmp_path / "out.jsonl", Writer(), AudioSource(AudioCache()), lines, transcription, ALL)
    assert (data.summary.n_ids_known, data.summary.n_recut) == (3, 1)
