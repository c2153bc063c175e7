"""Noise and masks in training audio: what was asked for, the same in every process, and heard by nothing else."""

import json
import random
import re
import sys

import numpy as np
import pytest
import scipy.signal
import soundfile
import torch

from distill import Observer, Utterance, read_manifest, resume, train
from distill.data.audio import load_audio
from distill.data.backgrounds import background_sha256
from distill.data.batch import Batch
from distill.evaluation.evaluation import evaluate
from distill.models import load_recognizer
from distill.recipe import Decoding, Recipe, RecipeError, load_recipe
from distill.recipe.augmentation import Noise, SpecAugment
from distill.timing import Stopwatch
from distill.training.augmentation import Augmentation, AugmentationError
from distill.training.errors import TrainingError
from distill.training.setup import prepare_run
from distill.training.steps import training_step
from overlap.extras import MissingExtraError
from tests.distill.small_models import save_whisper
from tests.distill.test_recipe import STAGED, write

RNG = np.random.default_rng(7)
SPEECH = np.convolve(RNG.standard_normal(32_000), [0.3, 0.2, 0.1], "same").astype(np.float32) * 0.1
NOISE = {"type": "noise", "min_snr_db": 3.0, "max_snr_db": 8.0}
MASKS = {"type": "spec_augment", "max_time_share": 0.3}


def noise(**settings):
    return Augmentation.from_sections([Noise(type="noise", **settings)])


def masks(**settings):
    return Augmentation.from_sections([SpecAugment(type="spec_augment", **settings)])


def batch(*ids, waveform=SPEECH):
    return Batch(tuple(Utterance(id_, audio="unread.wav") for id_ in ids), tuple(waveform.copy() for _ in ids))


def decibels(clean, changed):
    return 10 * np.log10(np.mean(clean.astype(float) ** 2) / np.mean((changed.astype(float) - clean) ** 2))


@pytest.fixture
def sounds(tmp_path):
    """Two recordings of noise, one at another rate than speech is read at and shorter than it."""
    folder = tmp_path / "noises"
    (folder / "b").mkdir(parents=True)
    soundfile.write(folder / "b" / "long.wav", np.convolve(RNG.standard_normal(60_000), np.ones(8) / 8) * 0.2, 16_000)
    soundfile.write(folder / "short.flac", np.convolve(RNG.standard_normal(8_000), np.ones(4) / 4) * 0.01, 8_000)
    return folder


class TestNoise:
    @pytest.mark.parametrize("snr", [-5.0, 0.0, 10.0, 25.0])
    def test_its_level_is_what_was_asked(self, snr):
        changed = noise(min_snr_db=snr, max_snr_db=snr)(batch("a", "b"), 0)
        for waveform in changed.waveforms:
            assert decibels(SPEECH, waveform) == pytest.approx(snr, abs=0.5)
            assert waveform.dtype == np.float32

    def test_recorded_noise_has_the_level_too_and_is_the_recording(self, sounds):
        changed = noise(min_snr_db=6.0, max_snr_db=6.0, background=str(sounds))(batch(*"abcdefgh"), 0)
        added = [waveform - SPEECH for waveform in changed.waveforms]
        assert all(decibels(SPEECH, waveform) == pytest.approx(6.0, abs=0.5) for waveform in changed.waveforms)
        recorded = soundfile.read(sounds / "b" / "long.wav")[0]
        peaks = []
        for one in added:
            middle = one[8_000:24_000]
            norms = np.sqrt(scipy.signal.correlate(recorded**2, np.ones(16_000), "valid") * (middle**2).sum())
            peaks.append((scipy.signal.correlate(recorded, middle, "valid") / norms).max())
        assert 0 < sum(peak > 0.999 for peak in peaks) < len(peaks)

    def test_levels_are_drawn_between_the_ends(self):
        changed = noise(min_snr_db=5.0, max_snr_db=15.0)(batch(*map(str, range(60))), 0)
        levels = [decibels(SPEECH, waveform) for waveform in changed.waveforms]
        assert 4.5 < min(levels) < 6.5
        assert 13.5 < max(levels) < 15.5

    def test_some_utterances_stay_as_they_are(self):
        changed = noise(probability=0.5)(batch(*map(str, range(60))), 0)
        assert 15 < sum(np.array_equal(waveform, SPEECH) for waveform in changed.waveforms) < 45

    def test_silence_stays_silent(self):
        silence = np.zeros(4_000, np.float32)
        assert not noise()(batch("a", waveform=silence), 0).waveforms[0].any()


class TestMasks:
    def test_stretches_fall_silent(self):
        changed = masks(time_masks=2, frequency_masks=0, max_time_share=0.2)(batch(*map(str, range(40))), 0)
        silent = np.array([(waveform == 0).mean() for waveform in changed.waveforms])
        assert silent.max() <= 0.4
        assert 0.1 < silent.mean() < 0.25
        for waveform in changed.waveforms:
            assert np.isin(waveform != SPEECH, [False, True]).all()
            assert np.abs(waveform).max() <= np.abs(SPEECH).max()

    def test_bands_fall_silent_and_others_do_not(self):
        white = RNG.standard_normal(64_000).astype(np.float32)
        before = scipy.signal.welch(white, 16_000, nperseg=1024)[1]
        deepest, kept = [], []
        for waveform in masks(time_masks=0, frequency_masks=1)(batch(*"abcdefgh", waveform=white), 0).waveforms:
            gain = 10 * np.log10(scipy.signal.welch(waveform, 16_000, nperseg=1024)[1] / before)[2:-2]
            deepest.append(gain.min())
            kept.append((np.abs(gain) < 1).mean())
        assert np.median(deepest) < -20
        assert min(kept) > 0.4


@pytest.mark.parametrize("augmentation", [noise(), masks()], ids=["noise", "masks"])
class TestDraws:
    def test_what_an_utterance_gets_depends_on_it_and_the_key_alone(self, augmentation):
        together = augmentation(batch("a", "b", "c"), 1, 2, 3).waveforms
        random.random(), np.random.random()  # noqa: NPY002
        alone = augmentation(batch("c"), 1, 2, 3).waveforms[0]
        assert np.array_equal(together[2], alone)
        assert not np.array_equal(together[0], together[1])
        assert not np.array_equal(alone, augmentation(batch("c"), 1, 2, 4).waveforms[0])
        assert not np.array_equal(alone, augmentation(batch("c"), 9, 2, 3).waveforms[0])

    def test_other_draws_go_on_undisturbed(self, augmentation):
        def draws():
            return random.random(), np.random.random()  # noqa: NPY002

        random.seed(1), np.random.seed(1)  # noqa: NPY002
        expected = draws()
        random.seed(1), np.random.seed(1)  # noqa: NPY002
        augmentation(batch("a"), 0)
        assert draws() == expected

    def test_the_batch_itself_stays_as_it_was(self, augmentation):
        clean = batch("a")
        augmentation(clean, 0)
        assert np.array_equal(clean.waveforms[0], SPEECH)


class TestRuns:
    def test_interrupted_and_resumed_it_is_the_same_run(self, mini, tmp_path):
        kinds = ([NOISE], [MASKS], [MASKS, NOISE])
        stages = [
            stage | {"steps": 2, "augment": kind, "gate": None}
            for stage, kind in zip(mini["stages"], kinds, strict=True)
        ]
        recipe = Recipe.model_validate(mini | {"stages": stages, "probe": None, "evaluation": None})
        whole = train(recipe, tmp_path / "whole")

        class Stop(Observer):
            def step(self, row):
                if row["step"] == 5:
                    raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "cut", observer=Stop())
        again = resume(tmp_path / "cut")
        losses = [
            [json.loads(line)["loss"] for line in (result.path / "metrics.jsonl").read_text().splitlines()]
            for result in (whole, again)
        ]
        weights = [load_recognizer(str(result.model)).generator.state_dict() for result in (whole, again)]
        assert len(losses[0]) == 6
        assert losses[0] == losses[1]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])

    @pytest.mark.parametrize("change", ["content", "name", "added"])
    def test_with_other_noise_it_is_not_resumed(self, mini, sounds, tmp_path, change):
        stage = mini["stages"][0] | {"steps": 2, "augment": [NOISE | {"background": str(sounds)}], "gate": None}
        recipe = Recipe.model_validate(mini | {"stages": [stage], "probe": None, "evaluation": None})
        result = train(recipe, tmp_path / "run")
        (sounds / "notes.txt").write_text("no audio")
        for path in sounds.rglob("*.*"):
            path.touch()
        assert resume(tmp_path / "run").model == result.model
        long = sounds / "b" / "long.wav"
        if change == "content":  # of the same size
            long.write_bytes(long.read_bytes()[:-2] + b"\0\7")
        elif change == "name":
            long.rename(long.with_name("other.wav"))
        else:
            long.with_name("a.wav").write_bytes(long.read_bytes())
        with pytest.raises(TrainingError, match=re.escape(f"{sounds} (stages.0.augment.0.background) changed since")):
            resume(tmp_path / "run")

    def test_one_file_of_noise_may_be_named_itself(self, sounds):
        digest = background_sha256(str(sounds / "short.flac"))
        assert digest == background_sha256(str(sounds / "short.flac")) != background_sha256(str(sounds))
        assert background_sha256(str(sounds / ".." / sounds.name)) == background_sha256(str(sounds))

    def test_only_training_hears_it(self, mini, tmp_path):
        mini["stages"] = [stage | {"steps": 1} for stage in mini["stages"][:2]]
        mini["probe"] |= {"states": ["student"], "max_utterances": 2}
        mini["evaluation"] |= {"max_new_tokens": 4}
        plain = train(Recipe.model_validate(mini), tmp_path / "plain")
        mini["stages"] = [stage | {"augment": [NOISE, MASKS]} for stage in mini["stages"]]
        recipe = Recipe.model_validate(mini)
        augmented = train(recipe, tmp_path / "augmented")
        read = [(result.path / "metrics.jsonl").read_text() for result in (plain, augmented)]
        assert all(
            json.loads(one)["loss"] != json.loads(other)["loss"]
            for one, other in zip(*(text.splitlines() for text in read), strict=True)
        )
        taught = [(r.path / "teacher-transcripts-teacher data.jsonl").read_text() for r in (plain, augmented)]
        assert taught[0] == taught[1]
        setup = prepare_run(recipe, device="cpu")
        last = json.loads((augmented.path / "evaluations.jsonl").read_text().splitlines()[-1])
        expected = evaluate(
            load_recognizer(str(augmented.model)),
            setup.source,
            setup.evaluations[0],
            normalizer="spoken_digits",
            decoding=Decoding(max_new_tokens=4),
            batch_size=32,
        )
        assert last["cer"]["errors"] == expected.score.to_dict()["cer"]["errors"]
        probed = [
            (r.path / "decisions.jsonl").read_text().splitlines()[0] for r in (plain, augmented)
        ]  # read before the first step
        assert probed[0] == probed[1]

    @pytest.mark.parametrize("hears", ["clean", "augmented"])
    def test_who_hears_what_on_policy(self, mini, hears):
        mini["stages"][2] |= {"augment": [NOISE], "teacher_audio": hears}
        recipe = Recipe.model_validate(mini)
        setup, stage = prepare_run(recipe, device="cpu"), recipe.stages[2]
        clean = setup.source.batch(setup.stages[2][:3])
        noisy = setup.augmentations[2](clean, 0, 2, 5)
        heard = {}
        for role, model in (("student", setup.student), ("teacher", setup.teacher)):
            keep = lambda module, args, inputs, role=role: heard.setdefault(role, []).append(inputs)  # noqa: E731
            model.generator.register_forward_pre_hook(keep, with_kwargs=True)
        training_step(stage, setup.student, setup.pair, noisy, recipe.support, Stopwatch(), clean=clean)

        def features(of):
            languages = [utterance.language for utterance in of.utterances]
            return setup.student.prepare(list(of.waveforms), languages).inputs["input_features"]

        given = {role: [x["input_features"] for x in calls if x.get("input_features") is not None]
                 for role, calls in heard.items()}  # fmt: skip
        expected = features(noisy), features(clean if hears == "clean" else noisy)
        for role, audio in zip(("student", "teacher"), expected, strict=True):
            assert given[role]
            assert all(torch.equal(one, audio) for one in given[role])
        assert not torch.equal(features(noisy), features(clean))

    def test_a_frozen_encoders_cache_does_not_mistake_it_for_the_clean_audio(self, tmp_path):
        path = save_whisper(tmp_path / "whisper")
        cached, plain = load_recognizer(str(path)), load_recognizer(str(path))
        cached.freeze_encoder(cache_mib=10.0)
        plain.freeze_encoder(cache_mib=0.0)
        clean = batch("a", "b")
        first = clean.prompt(cached).inputs
        noisy = noise()(clean, 0)
        for name, value in noisy.prompt(cached).inputs.items():
            assert torch.equal(value, noisy.prompt(plain).inputs[name])
        again = batch("a", "b").prompt(cached).inputs
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert not torch.equal(first["encoder_outputs"], noisy.prompt(cached).inputs["encoder_outputs"])


class TestMistakes:
    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ('stages.0.augment=[{type="noise", min_snr_db=9, max_snr_db=3}]', "augment.0: min_snr_db = 9 is above"),
            ('stages.0.augment=[{type="spec_augment", time_masks=0, frequency_masks=0}]', "augment.0: time_masks = fr"),
            ('stages.0.augment=[{type="spec_augment", max_time_share=1.5}]', "stages.0.augment.0.max_time_share: "),
            ('stages.0.augment=[{type="noise", snr=3}]', "unknown key stages.0.augment.0.snr"),
            ('stages.0.augment=[{type="nois"}]', 'augment.0.type = "nois" is unknown; did you mean "noise"'),
            (
                'stages.0.augment=[{type="hum"}]',
                'augment.0.type = "hum" is unknown; write one of "noise", "spec_augment"',
            ),
            (
                'stages.0.augment=[{typ="noise"}]',
                'stages.0.augment.0.type is missing; write one of "noise", "spec_augment"',
            ),
            ('stages.2.teacher_audio="augmented"', "stages.2: teacher_audio = .augmented.: the stage augments nothing"),
        ],
    )
    def test_values(self, tmp_path, override, message):
        with pytest.raises(RecipeError, match=message):
            load_recipe(write(tmp_path, STAGED), [override])

    def test_background_noise_is_found_beside_the_recipe(self, tmp_path):
        recipe = load_recipe(write(tmp_path, STAGED), ['stages.0.augment=[{type="noise", background="noises"}]'])
        assert recipe.stages[0].augment[0].background == str(tmp_path / "noises")

    def test_no_background_noise_there(self, mini, tmp_path):
        mini["stages"][1]["augment"] = [{"type": "noise", "background": str(tmp_path)}]
        with pytest.raises(
            AugmentationError, match=re.escape(f"stages.1.augment.0.background: no audio files in {tmp_path}")
        ):
            train(Recipe.model_validate(mini), tmp_path / "run")

    def test_library_missing(self, mini, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "audiomentations", None)
        mini["stages"][0]["augment"] = [MASKS]
        message = "stages.0.augment needs the Python package audiomentations; install it with `pip install 'support-"
        with pytest.raises(MissingExtraError, match=re.escape(message)):
            train(Recipe.model_validate(mini), tmp_path / "run")

    def test_a_model_that_reads_prompts(self, mini_text, tmp_path):
        from tests.distill.small_models import save_gpt2

        path = str(save_gpt2(tmp_path / "gpt2"))
        mini_text |= {"student": {"model": path}, "teacher": {"model": path}}
        mini_text["stages"][1]["augment"] = [NOISE]
        with pytest.raises(AugmentationError, match=r"stages.1.augment changes audio, and .* reads prompts; remove it"):
            train(Recipe.model_validate(mini_text), tmp_path / "run")


def test_the_demo_corpus_is_heard_as_it_is_read(manifests):
    """`audiomentations` takes what `load_audio` gives: mono float32 at 16 kHz."""
    utterances = tuple(read_manifest(manifests["probe"]))[:2]
    clean = Batch(utterances, tuple(load_audio(utterance) for utterance in utterances))
    changed = noise(min_snr_db=12.0, max_snr_db=12.0)(clean, 0)
    for before, after in zip(clean.waveforms, changed.waveforms, strict=True):
        assert after.shape == before.shape
        assert decibels(before, after) == pytest.approx(12.0, abs=0.5)
