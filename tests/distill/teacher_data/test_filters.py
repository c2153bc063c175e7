"""The filters of teacher data: each against cases made by hand, its limit, its switch, and what it cannot judge."""

import math
import unicodedata
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from distill.recipe import Filters, RecipeError, load_recipe
from distill.teacher_data.confidence import Transcript
from distill.teacher_data.filters import dropped_by, measures, repeats
from distill.teacher_data.languages import script_share, scripts
from overlap.errors import UserError
from overlap.estimates.sequences import repetition

SENTENCE = "the committee will meet again on the second of march to look at what was found"


def judged(text=SENTENCE, *, logprob=-0.1, finished=True, seconds=6.0, language="English", **settings):
    transcript = Transcript(text, logprob, 12, finished)
    return dropped_by(measures(transcript, seconds, language), Filters(**settings))


def test_an_ordinary_transcript_passes_every_filter():
    assert judged() == {}


class TestEach:
    """One case a filter that this filter alone drops, and its switch."""

    @pytest.mark.parametrize(
        ("name", "case", "value", "off"),
        [
            ("empty", {"text": ""}, 1.0, "keep"),
            ("empty", {"text": " … ! "}, 1.0, "keep"),
            ("unfinished", {"finished": False}, 1.0, "keep"),
            ("max_repeats", {"text": f"{SENTENCE} {'thank you ' * 11}".strip(), "seconds": 12.0}, 11, "off"),
            ("max_repeats", {"text": "no" + "o" * 11, "seconds": 2.0}, 12, "off"),
            ("min_characters_per_second", {"text": "Thank you.", "seconds": 20.0}, 8 / 20, "off"),
            ("max_characters_per_second", {"seconds": 1.5}, sum(map(str.isalpha, SENTENCE)) / 1.5, "off"),
            ("max_tokens_per_second", {"max_tokens_per_second": 1.9}, 2.0, "off"),
            ("min_logprob", {"logprob": -1.25}, -1.25, "off"),
            ("min_script_share", {"text": "你好世界这是一个测试"}, 0.0, "off"),
            ("min_script_share", {"text": "hello world", "language": "Chinese"}, 0.0, "off"),
        ],
    )
    def test_drops_alone_and_can_be_turned_off(self, name, case, value, off):
        assert judged(**case) == {name: pytest.approx(value)}
        assert judged(**case | {name: off}) == {}

    def test_a_loop_that_runs_to_the_end(self):
        text = " ".join(["like the white"] * 30)
        ratio = len(text) / len(zlib.compress(text.encode()))
        assert judged(text, seconds=30.0) == {"max_compression": pytest.approx(ratio), "max_repeats": 30}
        assert judged(text, seconds=30.0, max_repeats="off") == {"max_compression": pytest.approx(ratio)}

    @pytest.mark.parametrize(
        ("case", "at", "beyond"),
        [
            ({"text": "ja " * 4}, {"max_repeats": 4}, {"max_repeats": 3}),
            ({"text": "abcdef", "seconds": 3}, {"min_characters_per_second": 2.0}, {"min_characters_per_second": 2.1}),
            ({"text": "abcdef", "seconds": 3}, {"max_characters_per_second": 2.0}, {"max_characters_per_second": 1.9}),
            ({"seconds": 4.0}, {"max_tokens_per_second": 3.0}, {"max_tokens_per_second": 2.99}),
            ({"logprob": -0.5}, {"min_logprob": -0.5}, {"min_logprob": -0.49}),
            ({"text": "да yes"}, {"min_script_share": 0.5}, {"min_script_share": 0.51}),
        ],
    )
    def test_a_limit_itself_is_kept(self, case, at, beyond):
        assert judged(**case, **at) == {}
        assert list(judged(**case, **beyond)) == list(beyond)

    def test_a_loop_of_tokens_that_the_text_does_not_show(self):
        blanks = Transcript(SENTENCE, -0.1, 200, True)
        values = measures(blanks, 6.0, "English")
        assert dropped_by(values, Filters()) == {}
        assert dropped_by(values, Filters(max_tokens_per_second=25.0)) == {"max_tokens_per_second": 200 / 6}

    def test_a_filter_by_the_statistic_of_loops_is_that_of_probes(self):
        text = "so it goes and goes and goes " * 6
        assert judged(text, seconds=30.0)["max_compression"] == repetition(text)

    def test_several_at_once(self):
        dropped = judged("ha" * 100, logprob=-2.0, finished=False, seconds=1.0, language="Russian")
        assert set(dropped) == {
            "unfinished",
            "max_compression",
            "max_repeats",
            "max_characters_per_second",
            "min_logprob",
            "min_script_share",
        }


class TestUndefined:
    """What a filter cannot judge it keeps."""

    def test_an_empty_text_has_no_rates_and_no_script(self):
        values = measures(Transcript("", -0.3, 0, True), 20.0, "English")
        assert {name for name, value in values.items() if math.isnan(value)} == {
            "max_compression",
            "max_repeats",
            "min_characters_per_second",
            "max_characters_per_second",
            "min_script_share",
        }
        assert judged("", seconds=20.0, empty="keep") == {}

    @pytest.mark.parametrize(("text", "language"), [("351", "English"), ("hello", None), ("hello", "Klingon")])
    def test_no_letters_or_no_known_language(self, text, language):
        assert math.isnan(measures(Transcript(text, -0.1, 3, True), 1.0, language)["min_script_share"])
        assert judged(text, language=language, seconds=1.0) == {}

    def test_audio_that_cannot_be_used_is_nothing_else(self):
        values = measures(None, math.nan, "English")
        assert [name for name, value in values.items() if not math.isnan(value)] == ["unusable_audio"]
        assert dropped_by(values, Filters(unusable_audio="drop")) == {"unusable_audio": 1.0}


class TestRepeats:
    @given(st.text("ab ", max_size=40))
    def test_equals_a_search_by_hand(self, text):
        padded = " ".join(text.split()) + " "
        most = 1
        for start in range(len(padded)):
            for length in range(1, len(padded) - start + 1):
                unit, count = padded[start : start + length], 1
                while padded.startswith(unit, start + count * length):
                    count += 1
                most = max(most, count)
        assert repeats(text) == most

    @pytest.mark.parametrize(
        ("text", "most"),
        [
            ("Ja! Ja, ja... JA", 4),
            ("谢谢谢谢谢谢", 6),
            ("我的我的我的", 3),
            ("one two four", 1),
            ("three", 2),
            ("zero zero seven", 2),
            ("", 1),
        ],
    )
    def test_words_letters_and_characters(self, text, most):
        assert repeats(text) == most


class TestScripts:
    def test_every_language_of_whisper_has_one(self):
        assert all(scripts(code) for code in LANGUAGES)
        assert all(scripts(name) == scripts(code) for name, code in TO_LANGUAGE_CODE.items())

    @pytest.mark.parametrize(
        ("language", "expected"),
        [
            ("Japanese", {"Han", "Hiragana", "Katakana"}),
            ("zh-CN", {"Han", "Bopomofo"}),
            ("pt_BR", {"Latin"}),
            ("Filipino", {"Latin"}),
            (" GERMAN ", {"Latin"}),
            ("sr", {"Latin", "Cyrillic"}),
            ("Klingon", set()),
        ],
    )
    def test_by_name_code_and_tag(self, language, expected):
        assert set(scripts(language)) == expected

    @pytest.mark.parametrize(
        ("text", "language", "share"),
        [
            ("guten Tag", "English", 1.0),  # what it cannot see
            ("我用 iPhone 打电话", "Chinese", 5 / 6),
            ("コーヒー", "Japanese", 1.0),  # the lengthening mark is of no script
            ("咖啡", "Japanese", 1.0),  # nor this
            ("コーヒー", "Chinese", 0.0),
            ("안녕 world", "Korean", 0.5),
            ("नमस्ते दुनिया", "Hindi", 1.0),
            (unicodedata.normalize("NFD", "café naïve"), "French", 1.0),
            ("ผมใช้ iPhone", "Thai", 5 / 6),
            ("hello Привет", "Russian", 0.5),
        ],
    )
    def test_shares(self, text, language, share):
        assert script_share(text, language) == pytest.approx(share)


class TestSettings:
    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ({"max_compression": False}, 'max_compression: must be a number or "off", not false'),
            ({"max_compression": -1.0}, 'max_compression: must be at least 1 or "off", not -1.0'),
            ({"max_repeats": 2.5}, 'max_repeats: must be a whole number or "off", not 2.5'),
            ({"max_tokens_per_second": 0}, 'max_tokens_per_second: must be above 0 or "off", not 0'),
            ({"min_logprob": 0.5}, 'min_logprob: must be at most 0 or "off", not 0.5'),
            ({"min_script_share": 2.0}, 'min_script_share: must be at most 1 or "off", not 2.0'),
            ({"empty": "off"}, 'empty: must be one of "drop", "keep", not "off"'),
            (
                {"min_characters_per_second": 9.0, "max_characters_per_second": 3.0},
                r"min_characters_per_second = 9 is above max_characters_per_second = 3: nothing is left",
            ),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, setting, message):
        with pytest.raises(UserError, match=message):
            Filters(**setting)

    def test_off_survives_a_recipe_and_its_copy_in_json(self):
        recipe = load_recipe("demo", ["stages.1.filters.max_repeats=off", "stages.1.filters.min_logprob=-0.5"])
        filters = recipe.stages[1].filters
        assert (filters.max_repeats, filters.min_logprob, filters.max_compression) == (None, -0.5, 2.4)
        assert type(recipe).model_validate_json(recipe.model_dump_json()) == recipe

    def test_a_recipe_names_the_key(self):
        with pytest.raises(RecipeError, match=r"unknown key stages\.1\.filters\.max_repeat; .*max_repeats\?"):
            load_recipe("demo", ["stages.1.filters.max_repeat=3"])
        with pytest.raises(RecipeError, match=r'stages\.1\.filters\.max_repeats: must be a number or "off", not false'):
            load_recipe("demo", ["stages.1.filters.max_repeats=false"])
