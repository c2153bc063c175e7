"""What filters drop is told as a share with examples: in a run's log, in summaries, and in a dry run."""

import json

import pytest

from distill import train
from distill.progress.observer import Observer
from distill.recipe import Filters, Recipe
from distill.teacher_data.summary import N_EXAMPLES, Example, FilterCount, TeacherDataSummary
from distill.training.dry_run import dry_run


def summary(*counts, n=200):
    return TeacherDataSummary("the teacher", n, n - 6, float("nan"), float("nan"), counts, float("nan"), {})


def count(name, *dropped):
    return FilterCount.from_values(name, Filters(), [example.value for example in dropped] + [-0.1] * 3, dropped)


def test_the_worst_come_first_whichever_side_a_filter_drops():
    low = count("min_logprob", *(Example(str(i), -1.0 - i, "x") for i in range(1, 6)))
    high = count("max_repeats", *(Example(str(i), 10.0 + i, "x") for i in range(1, 6)))
    assert [e.id for e in low.examples] == [e.id for e in high.examples] == ["5", "4", "3"]
    assert len(low.examples) == N_EXAMPLES
    assert low.n_dropped == high.n_dropped == 5


def test_the_line_of_a_run_has_share_and_example():
    long = Example("utt-7", -1.534, "call four four " * 20)
    line = summary(count("min_logprob", Example("utt-3", -1.1, "stop"), long), count("empty")).line
    assert line == (
        "194 of 200 transcripts of the teacher kept; dropped: min_logprob 2 (1.0%, such as utt-7 (-1.53) "
        '"call four four call four four call four…")'
    )


def test_text_without_spaces_is_cut_and_audio_without_text_is_named_alone():
    assert str(Example("a", -2.0, "字" * 100)) == f'a (-2) "{"字" * 39}…"'
    assert str(Example("b", 1.0, None)) == "b (1)"


def test_summaries_hold_examples():
    found = summary(count("min_logprob", Example("utt-3", -1.1, "stop")))
    assert 'dropped by min_logprob: utt-3 (-1.1) "stop"' in str(found).splitlines()
    tree = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert tree["filters"]["min_logprob"]["examples"] == [{"id": "utt-3", "value": -1.1, "text": "stop"}]


class Heard(Observer):
    def __init__(self):
        self.summaries = []

    def teacher_data(self, stage, summary):
        self.summaries.append(summary)


@pytest.fixture
def unsure(texts):
    """Teacher data of which the likelihood that a random teacher gives its own transcripts drops some."""
    stage = texts["stages"][1] | {"steps": 2, "batch_size": 8}
    stage["filters"] = stage["filters"] | {"min_logprob": -2.2}
    return Recipe.model_validate(texts | {"stages": [stage]})


def test_a_run_tells_them(unsure, tmp_path):
    heard = Heard()
    train(unsure, tmp_path / "run", observer=heard)
    (summary,) = heard.summaries
    (dropping,) = [one for one in summary.filters if one.n_dropped]
    assert dropping.name == "min_logprob"
    written = json.loads((tmp_path / "run" / "teacher-transcripts-teacher data.summary.json").read_text())
    assert len(written["filters"]["min_logprob"]["examples"]) == min(N_EXAMPLES, dropping.n_dropped)


def test_a_dry_run_judges_what_it_had_written_without_dropping_any(unsure):
    found = dry_run(unsure)
    (cost,) = found.stages
    assert cost.teacher_data.n == 8
    assert cost.teacher_data.filters
    assert f"teacher data: of these, {cost.teacher_data.line}" in str(found)
    tree = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert tree["stages"][0]["teacher_data"]["n"] == 8
    nothing = unsure.stages[0].model_copy(update={"filters": Filters(min_logprob=0.0)})
    assert dry_run(unsure.model_copy(update={"stages": (nothing,)})).stages[0].teacher_data.n_kept == 0
