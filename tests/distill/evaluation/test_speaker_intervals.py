"""An error rate has one interval wherever it is shown: over speakers where ten or more are named, else utterances."""

import json

import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.report.browsable import groups, packed
from analysis.stages.error_rates import evaluated
from analysis.stats.error_rates import error_rate
from distill import train
from distill.data.manifest import read_manifest, write_manifest
from distill.evaluation.evaluation import counted
from distill.evaluation.scoring import score_transcripts
from distill.progress.bars import evaluation_line
from distill.recipe import Recipe
from tests.distill.test_cli import run as command


def _set(n_speakers, each=6):
    """References and transcripts in which the utterances of a speaker fail together."""
    rng = np.random.default_rng(0)
    rates = rng.uniform(0, 0.9, n_speakers)
    references, hypotheses, speakers = {}, {}, {}
    for speaker in range(n_speakers):
        for i in range(each):
            id_ = f"{i}-{speaker}"
            words = ["yes"] * 5
            references[id_], speakers[id_] = " ".join(words), f"speaker {speaker}"
            hypotheses[id_] = " ".join("no" if rng.random() < rates[speaker] else word for word in words)
    return references, hypotheses, speakers


def _rows(score, speakers):
    columns = {"id": score.ids, "speaker": [speakers[id_] for id_ in score.ids]}
    return pd.DataFrame(columns | {"words.errors": score.words.errors, "words.total": score.words.reference_lengths})


class TestRule:
    def test_over_speakers_as_reports_have_it(self):
        references, hypotheses, speakers = _set(20)
        score = score_transcripts(references, hypotheses, normalizer="basic", speakers=speakers)
        expected = error_rate(_rows(score, speakers), by="speaker")
        assert (score.over, score.n_over) == ("speakers", expected.n_groups) == ("speakers", 20)
        assert (score.wer.low, score.wer.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
        narrow = score_transcripts(references, hypotheses, normalizer="basic")
        assert narrow.wer.value == score.wer.value
        assert narrow.wer.high - narrow.wer.low < 0.8 * (score.wer.high - score.wer.low)

    @pytest.mark.parametrize(
        "change", [lambda s: None, lambda s: s | {"0-0": None}, lambda s: s | {"0-0": float("nan")}]
    )
    def test_over_utterances_where_not_all_are_named(self, change):
        references, hypotheses, speakers = _set(20)
        score = score_transcripts(references, hypotheses, normalizer="basic", speakers=change(speakers))
        assert (score.over, score.n_over) == ("utterances", 120)
        assert score.to_dict()["wer"] == score_transcripts(references, hypotheses, normalizer="basic").to_dict()["wer"]

    @pytest.mark.parametrize(("n", "over"), [(9, "utterances"), (10, "speakers")])
    def test_from_ten_on(self, n, over):
        references, hypotheses, speakers = _set(n)
        score = score_transcripts(references, hypotheses, normalizer="basic", speakers=speakers)
        assert score.over == over
        by = "speaker" if over == "speakers" else None
        expected = error_rate(_rows(score, speakers), by=by)
        assert (score.wer.low, score.wer.high) == pytest.approx((expected.low, expected.high), abs=1e-12)

    def test_in_order_and_of_any_type(self):
        references, hypotheses, speakers = _set(12)
        named = {id_: int(name.split()[1]) if name.endswith("3") else name for id_, name in speakers.items()}
        sides = [list(side.values()) for side in (references, hypotheses)]
        one = score_transcripts(*sides, normalizer="basic", speakers=list(named.values()))
        other = score_transcripts(references, hypotheses, normalizer="basic", speakers=named)
        assert one.over == other.over == "speakers"
        assert one.wer.value == other.wer.value
        with pytest.raises(ValueError, match="2 speakers and 72 utterances; give one for each"):
            score_transcripts(*sides, normalizer="basic", speakers=["a", "b"])

    def test_every_line_says_which(self):
        references, hypotheses, speakers = _set(20)
        score = score_transcripts(references, hypotheses, normalizer="basic", speakers=speakers)
        assert "% (95 % interval over 20 speakers " in str(score)
        row = {"step": 1, "stage": "s", "set": "test", "model": "student"} | score.to_dict()
        assert "] over 20 speakers (" in evaluation_line(row)
        assert evaluation_line(row).endswith("/600 words, 120 utterances)")
        plain = row | score_transcripts(references, hypotheses, normalizer="basic").to_dict()
        assert "] over 120 utterances (" in evaluation_line(plain)


@pytest.fixture(scope="module")
def trained(mini_of_session, tmp_path_factory):
    """A run whose test set names ten speakers and writes what it means in another way than the student."""
    folder = tmp_path_factory.mktemp("speakers")
    mini = json.loads(json.dumps(mini_of_session))
    for section in ("evaluation", "probe"):
        utterances = read_manifest(mini[section]["manifest"])
        for i, utterance in enumerate(utterances):
            utterance.extra["speaker"] = f"s{i}"
        mini[section]["manifest"] = str(folder / f"{section}.jsonl")
        write_manifest(folder / f"{section}.jsonl", utterances)
    mini["stages"] = [mini["stages"][0] | {"steps": 2, "gate": None}]
    train(Recipe.model_validate(mini), folder / "run", quiet=True)
    return folder / "run"


@pytest.fixture(scope="module")
def mini_of_session(manifests, student_path, teacher_path):
    return {
        "threads": 1,
        "student": {"model": str(student_path)},
        "teacher": {"model": str(teacher_path)},
        "support": {"k": 4},
        "probe": {"manifest": str(manifests["probe"]), "every": 2, "trace_utterances": 4, "states": ["student"]},
        "evaluation": {"manifest": str(manifests["test"]), "max_new_tokens": 8, "normalizer": "spoken_digits"},
        "stages": [{"type": "sft", "name": "base", "manifest": str(manifests["train"]), "steps": 2, "batch_size": 4}],
    }


class TestRuns:
    def test_transcripts_say_what_they_were_counted_under(self, trained):
        rows = [json.loads(line) for line in (trained / "evaluations.jsonl").read_text().splitlines()]
        (written,) = {row["normalizer_version"] for row in rows}
        for file in (trained / "transcripts").iterdir():
            assert set(pd.read_parquet(file)["normalizer"]) == {f"spoken_digits {written}"}

    def test_logs_and_reports_have_one_interval(self, trained):
        rows = [json.loads(line) for line in (trained / "evaluations.jsonl").read_text().splitlines()]
        found = evaluated(load(trained))
        assert all(row["interval"] == {"over": "speakers", "n": 10} for row in rows)
        for row, shown in zip(rows, found.to_dict("records"), strict=True):
            assert (shown["over"], shown["n_over"]) == ("speakers", 10)
            stored = (row["wer"]["low"], row["wer"]["high"])
            assert stored == pytest.approx((shown["wer.low"], shown["wer.high"]), abs=1e-12)

    def test_what_is_stored_stays_true_without_transcripts(self, trained, tmp_path):
        for path in trained.iterdir():
            if path.is_file():
                (tmp_path / path.name).write_bytes(path.read_bytes())
        found = evaluated(load(tmp_path))
        assert set(found["over"]) == {"speakers"}
        assert set(found["n_over"]) == {10}
        assert found["stored"].all()

    def test_traces_are_scored_as_evaluations_are(self, trained):
        run = load(trained)
        [chosen] = [group for group in groups(run) if group.what == "student"][:1]
        assert chosen.errors.startswith("words, normalizer spoken_digits ")
        rows = packed(run, chosen, candidates=4)["rows"]
        for row in rows:
            score = score_transcripts([row["ref"]], [row["text"]], normalizer="spoken_digits")
            assert row["err"] == [score.wer.errors, score.wer.total]

    def test_traces_without_references_are_browsed(self, trained):
        run = load(trained)
        run.__dict__["traces"] = run.traces.assign(reference=None, **{"words.errors": None, "words.total": None})
        chosen = next(group for group in groups(run) if group.traced)
        assert "without a normalizer" in chosen.errors
        assert {row["err"] for row in packed(run, chosen, candidates=4)["rows"]} == {None}

    def test_probabilities_have_the_digits_that_are_shown(self, trained):
        run = load(trained)
        chosen = next(group for group in groups(run) if group.traced)
        row = chosen.frame.iloc[0]
        flat = packed(run, chosen, candidates=100)["rows"][0]["top"][0]
        shown = sorted(p / 1e4 for p in flat[1::4] if p is not None)
        exact = sorted(np.exp([p for p in row["student_logprobs"][0] if np.isfinite(p)]))
        assert shown == pytest.approx(exact, abs=5.1e-5)

    def test_evaluate_shows_the_same(self, trained, capsys):
        recipe = json.loads((trained / "resolved.json").read_text())["recipe"]
        manifest = recipe["evaluation"]["manifest"]
        model = sorted((trained / "checkpoints").iterdir())[-1]
        arguments = ("--manifest", manifest, "--normalizer", "spoken_digits", "--max-new-tokens", "8", "--json")
        code, out, _ = command("evaluate", "--model", model, *arguments, capsys=capsys)
        last = json.loads((trained / "evaluations.jsonl").read_text().splitlines()[-1])
        assert code == 0
        assert json.loads(out)["interval"] == last["interval"]
        # Batches of another size may differ in a last bit of what is written, not in how it is scored.
        assert json.loads(out)["n_utterances"] == 10


def test_a_right_transcript_has_no_errors():
    rows = [{"reference": "ROOM 7", "text": "room seven"}, {"reference": None, "text": "room"}]
    right, without = counted(rows, "spoken_digits")
    assert (right["words.errors"], right["words.total"]) == (0, 2)
    assert right["normalizer"].startswith("spoken_digits ")
    assert (without["words.errors"], without["words.total"]) == (None, None)
    [mixed] = counted([{"reference": "你好", "text": "你"}], "mandarin")
    assert (mixed["tokens.errors"], mixed["tokens.total"]) == (1, 2)
