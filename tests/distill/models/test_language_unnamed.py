"""Qwen3-ASR where the manifest names no language: the model names it, as under transformers' own generation."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from distill import Utterance
from distill.data.audio import AudioCache
from distill.data.batch import AudioSource, Batch
from distill.evaluation.evaluation import evaluate
from distill.models import InputError, load_recognizer
from distill.models.base import pack
from distill.models.language_prefix import LONGEST, Opening
from distill.recipe import Decoding, SupportSettings
from distill.scoring.local_or_served import compare
from distill.scoring.pair import Pair
from overlap.estimates.sequences import repetition
from tests.distill.small_models import save_whisper
from tests.distill.taught import LANGUAGES, SAID, WAVEFORMS, official, plainly_generated


@pytest.fixture(scope="module")
def taught(taught_path):
    return load_recognizer(str(taught_path))


@pytest.fixture(scope="module")
def untaught(student_path):
    return load_recognizer(str(student_path))


def batch(languages, contexts=None):
    contexts = contexts or [None] * len(languages)
    utterances = tuple(
        Utterance(f"u{i}", Path("not-read.wav"), language=language, context=context)
        for i, (language, context) in enumerate(zip(languages, contexts, strict=True))
    )
    return Batch(utterances, tuple(WAVEFORMS[: len(languages)]))


def written(recognizer, languages):
    prompt = recognizer.prepare(WAVEFORMS, languages)
    return recognizer.decode(recognizer.rollout(prompt, max_new_tokens=100))


def test_it_writes_what_transformers_own_generation_writes(taught_path, taught):
    alone = [plainly_generated(taught_path, waveform) for waveform in WAVEFORMS]
    assert alone == [official(*line) + "<|im_end|>" for line in zip(LANGUAGES, SAID, strict=True)]
    assert written(taught, [None] * 3) == SAID


def test_named_and_unnamed_utterances_share_a_batch_and_read_the_same_prompt(taught):
    named = taught.prepare(WAVEFORMS, LANGUAGES)
    for languages in ([None, None, None], ["English", None, "English"], [None, "German", None]):
        prompt = taught.prepare(WAVEFORMS, languages)
        assert prompt.inputs.keys() == named.inputs.keys()
        for name, value in named.inputs.items():
            kept = named.inputs["attention_mask"].bool() if name == "input_ids" else slice(None)
            assert torch.equal(prompt.inputs[name][kept], value[kept]), name
    assert taught.prompt_text(prompt, 1).endswith("<|im_start|>assistant\nlanguage German<asr_text>")


def test_transcripts_hold_no_marker_so_labels_need_none(taught):
    prompt = taught.prepare(WAVEFORMS, [None] * 3)
    ids = taught.rollout(prompt, max_new_tokens=100)
    marker = taught.tokenizer.convert_tokens_to_ids("<asr_text>")
    assert taught.tokens.blocked[marker]
    assert not (ids.ids == marker).any()
    labels = taught.encode(SAID)
    scores = taught.score(prompt, labels).log_softmax(-1)
    own = scores.gather(-1, labels.ids[..., None])[..., 0][labels.mask]
    assert own.exp().min() > 0.5  # what it was taught is likely where the label stands


def test_a_model_that_names_no_language_is_asked_nothing_more(untaught):
    prompt = untaught.prepare(WAVEFORMS, [None] * 3)
    assert untaught.prompt_text(prompt, 0).endswith("<|im_start|>assistant\n")
    assert torch.equal(prompt.inputs["input_ids"], untaught.request(WAVEFORMS, [None] * 3).inputs["input_ids"])


def test_student_and_teacher_each_read_the_text_behind_their_own_words(taught, untaught):
    """An untaught student writes none; the teacher does not have to score behind none."""
    pair, of = Pair.from_models(untaught, taught, 4), batch([None] * 3)
    comparison = compare(pair, of, untaught.encode(SAID), SupportSettings(k=4))
    prompts = [model.prompt_text(of.prompt(model), 1)[-30:] for model in (untaught, taught)]
    assert prompts[0].endswith("assistant\n")
    assert prompts[1].endswith("language German<asr_text>")
    direct = taught.score(taught.prepare(WAVEFORMS, LANGUAGES), untaught.encode(SAID))
    torch.testing.assert_close(comparison.teacher_logits, direct, atol=1e-5, rtol=1e-5)
    assert comparison.funnel.to_dict()["used"] == int(untaught.encode(SAID).mask.sum())  # the words are no positions


def test_with_named_languages_prompts_are_shared(taught, untaught):
    of = batch(LANGUAGES)
    assert of.prompt(taught) is of.prompt(untaught)


def test_multilingual_whispers_guess_for_themselves(tmp_path):
    """The same kind: the prompt of one was the other's guess, whichever came first."""
    models = [load_recognizer(str(save_whisper(tmp_path / str(s), multilingual=True, seed=s))) for s in range(6)]
    prompts, of = [], batch([None] * 3)
    for model in models:
        prompts.append(of.prompt(model).inputs["decoder_input_ids"])
        assert torch.equal(prompts[-1], model.prepare(WAVEFORMS, [None] * 3).inputs["decoder_input_ids"])
    assert any(not torch.equal(prompts[0], other) for other in prompts[1:])


NOT_NAMED = [["auto"] * 3, [""] * 3, ["und"] * 3, [" Unknown "] * 3, ["English", "auto", "English"]]


@pytest.mark.parametrize("languages", NOT_NAMED)
@pytest.mark.parametrize("taught_first", [True, False])
def test_fields_that_say_that_no_language_is_known_are_no_name(taught, untaught, languages, taught_first):
    of = batch(languages)
    for model in (taught, untaught) if taught_first else (untaught, taught):
        own = model.prepare(WAVEFORMS, [name if name == "English" else None for name in languages])
        assert torch.equal(of.prompt(model).inputs["input_ids"], own.inputs["input_ids"])
        assert of.prompt(model) is of.prompt(model)


def test_whispers_guess_for_themselves_where_the_field_says_that_nobody_knows(tmp_path):
    models = [load_recognizer(str(save_whisper(tmp_path / str(s), multilingual=True, seed=s))) for s in range(6)]
    for languages in NOT_NAMED:
        of = batch(languages)
        for model in models:
            own = model.prepare(WAVEFORMS, [name if name == "English" else None for name in languages])
            assert torch.equal(of.prompt(model).inputs["decoder_input_ids"], own.inputs["decoder_input_ids"])


def test_whisper_guesses_alike_while_it_is_trained(tmp_path):
    model = load_recognizer(str(save_whisper(tmp_path / "w", multilingual=True)))
    model.generator.config.dropout = 0.9
    for module in model.generator.modules():
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.9
    calm = model.prepare(WAVEFORMS, [None] * 3).inputs["decoder_input_ids"]
    model.generator.train()
    for seed in range(5):
        torch.manual_seed(seed)
        assert torch.equal(model.prepare(WAVEFORMS, [None] * 3).inputs["decoder_input_ids"], calm)
    assert model.generator.training


def test_loops_are_seen_as_they_were_written(taught):
    """transformers' `transcription_only` makes one word of 25."""
    looped = written(taught, ["English"] * 3)[2]
    assert looped == SAID[2]
    shortened = taught.processor.decode([taught.encode([SAID[2]]).ids[0].tolist()], return_format="transcription_only")
    assert len(shortened[0]) < len(looped) / 10
    assert repetition(looped) > 4 > repetition(shortened[0])


LOOPS = ["the " * 59 + "the", "one two three " * 25 + "four", "no " * 20 + "no", "a" * 40, "a  b"]


@pytest.mark.parametrize("text", LOOPS)
def test_decoding_is_the_tokens_own_text(untaught, text):
    assert untaught.decode(untaught.encode([text])) == [text]


def test_a_marker_in_a_transcript_is_cut_with_what_stands_before_it(untaught):
    tokenizer = untaught.tokenizer
    row = tokenizer("language English<asr_text>call four", add_special_tokens=False)["input_ids"]
    assert untaught.decode(pack([row], untaught.tokens.end_of_text)) == ["call four"]


def test_error_rates_without_a_language(taught, tmp_path):
    utterances = []
    for i, (waveform, text) in enumerate(zip(WAVEFORMS, SAID, strict=True)):
        soundfile.write(tmp_path / f"{i}.wav", waveform, 16_000, subtype="FLOAT")
        utterances.append(Utterance(f"u{i}", tmp_path / f"{i}.wav", text))
    source, decoding = AudioSource(AudioCache()), Decoding(max_new_tokens=100)
    score = evaluate(taught, source, utterances, normalizer="basic", decoding=decoding).score
    assert score.wer.errors == 0


def test_an_unknown_language_is_named_with_its_utterance(taught):
    message = r"Qwen3-ASR has no language 'Klingon'; give one of Arabic, .*leave it out"
    with pytest.raises(InputError, match=message) as error:
        taught.prepare(WAVEFORMS, [None, "Klingon", "English"])
    assert error.value.row == 1


def test_openings():
    opening = Opening("language ", "<asr_text>")
    assert [opening.may_begin(text) for text in ("", "lang", "language Ger", "language None", "languid", "call")] == [
        *[True] * 4,
        *[False] * 2,
    ]
    said = "language German<asr_text>halt <asr_text>"
    assert [opening.found_in(text) for text in (said, said[:15], "halt")] == [said[:25], "", ""]
    named = Opening("lang:", None, "[a-z]{2}")
    assert [named.found_in(text) for text in ("lang:en hi", "lang:e", "lang:EN", " lang:en")] == ["lang:en", "", "", ""]
    assert max(len(name) for name in ("Macedonian", "Vietnamese")) + len("language ") < LONGEST


PREFILLS = {"English": "language English<asr_text>", "de": "language German<asr_text>", None: ""}


@pytest.mark.parametrize("language", PREFILLS)
@pytest.mark.parametrize("context", [None, "call stop"])
def test_the_prompts_ids(untaught, language, context):
    """As Qwen3-ASR was trained (its own repository's form), whatever transformers is installed."""
    tokenizer = untaught.tokenizer

    def turn(role, said):
        return f"<|im_start|>{role}\n{said}<|im_end|>\n"

    audio = "<|audio_start|>" + "<|audio_pad|>" * 13 + "<|audio_end|>"  # a second: thirteen positions
    text = turn("system", context or "") + turn("user", audio) + "<|im_start|>assistant\n" + PREFILLS[language]
    found = untaught.request([np.zeros(16_000, np.float32)], [language], [context]).inputs["input_ids"]
    assert found[0].tolist() == tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("language", ["Filipino", "fil", "fil-PH", "tl", "Tagalog"])
def test_a_language_that_whispers_table_names_otherwise_is_asked_for(untaught, language):
    of = batch([language])
    assert untaught.prompt_text(of.prompt(untaught), 0).endswith("language Filipino<asr_text>")
