"""Words that one transcript has right and another wrong, against cases that were worked out by hand."""

import pandas as pd
import pytest

from analysis import load
from analysis.stages.aligned_words import align, changed_words, checkpoints_with_transcripts, counted_texts
from analysis.tables.mended_words import between, mended_between, mended_words
from tests.analysis.conftest import evaluation_row, read_lines, write_lines, write_transcripts


def frame(texts, references=None, **columns):
    ids = [f"u{i}" for i in range(len(texts))]
    made = {"id": ids, "reference": references or ["call two five"] * len(texts), "text": texts}
    return pd.DataFrame(made | {"speaker": None} | columns)


def test_words_are_aligned_with_the_reference():
    (one,) = align(["call two five nine"], ["call two nine"])
    assert one.reference == ("call", "two", "five", "nine")
    assert one.right == (True, True, False, True)
    assert one.written == ("call", "two", "", "nine")
    assert one.n_inserted == 0
    (two,) = align(["call two five"], ["so call to the right five now"])
    assert two.written[0] == "call"
    assert two.right == (True, False, True)
    assert (two.inserted[0], two.inserted[-1]) == ("so", "now")
    assert two.n_inserted == 4
    (same,) = align(["call two"], ["call two two two"])
    assert (same.n_inserted, sum(same.right)) == (2, 2)
    empty, none = align(["", "call two"], ["a b", ""])
    assert (empty.right, empty.inserted, empty.n_inserted) == ((), ("a b",), 2)
    assert (none.written, none.n_inserted) == (("", ""), 0)


def test_errors_are_those_that_the_error_rate_counts():
    demo = load("notebooks/runs/demo")
    written = demo.transcripts.loc[demo.transcripts["model"] == "student"]
    references, texts, exact = counted_texts(written)
    assert exact
    counted = [sum(not right for right in one.right) + one.n_inserted for one in align(references, texts)]
    assert counted == written["words.errors"].tolist()


def test_mended_and_broken_words_are_counted():
    first = frame(["call two nine", "call to five", "two five"])
    second = frame(["call two five", "cold two five please", "two five"])
    rows, exact = changed_words(first, second)
    assert not exact
    assert rows[["mended", "broke", "inserted.first", "inserted.second", "n"]].to_numpy().tolist() == [
        [1, 0, 0, 0, 3], [1, 1, 0, 1, 3], [0, 0, 0, 0, 3],
    ]  # fmt: skip


def test_recorded_words_are_compared_if_both_runs_recorded_them():
    recorded = {"compared.reference": ["call 2 5"], "compared.text": ["call 2 5"]}
    one, two = frame(["call two nine"], **recorded), frame(["call two five"], **recorded)
    rows, exact = changed_words(one, two)
    assert exact
    assert rows["mended"].tolist() == [0]
    rows, exact = changed_words(one, two.drop(columns=list(recorded)))
    assert not exact
    assert rows["mended"].tolist() == [1]
    with pytest.raises(ValueError, match="utterances differ: 1 are in the first alone"):
        changed_words(frame(["a", "b"]), frame(["a"]))


def spoken(run, step, stage, texts, errors=1):
    file = write_transcripts(run, step, stage, {f"u{i}": errors for i in range(len(texts))}, total=3)
    frame = pd.read_parquet(file)
    frame.assign(reference="call two five", text=texts).to_parquet(file, index=False)


BASE, DATA, LAST = (
    ["call two nine"] * 4,
    ["call two five", "call two nine", "to five", "call two nine"],
    ["call two five"] * 4,
)


@pytest.fixture
def staged(straight):
    for step, stage, texts in ((100, "base", BASE), (200, "teacher data", DATA), (300, "on-policy", LAST)):
        spoken(straight, step, stage, texts)
    return load(straight)


def test_each_stage_is_compared_with_the_one_before(staged):
    assert [one.label for one in checkpoints_with_transcripts(staged)] == [
        "after base", "after teacher data", "after on-policy",
    ]  # fmt: skip
    table = mended_words(staged)
    assert table is not None
    assert table.frame["compared"].tolist() == [
        "teacher data: after base, step 100 → 200", "on-policy: after teacher data, step 200 → 300",
    ]  # fmt: skip
    first = table.frame.iloc[0]
    assert (first["n_mended"], first["n_broke"], first["n_words"]) == (2, 2, 12)  # u2: five mended, call and two broken
    assert first["mended"] == pytest.approx(2 / 12)
    assert first["mended.low"] < first["mended"] < first["mended.high"]
    assert first["n_differ"] == 2
    assert "16.7 [" in table.rows[0][1]
    assert "(2 words)" in table.rows[0][1]
    assert table.rows[0][-1] == "12 / 4"
    assert "without the normalizer" in table.notes[-1]


def test_two_runs_are_compared_after_each_stage_that_both_have(staged, make_run):
    path = make_run([("base", (0, 50, 100), "advance"), ("on-policy", (0, 50), "end")], "other")
    spoken(path, 100, "base", LAST)
    spoken(path, 150, "on-policy", BASE)
    other = load(path)
    table = mended_between("one", staged, "two", other)
    assert table is not None
    assert table.frame["compared"].tolist() == ["after base: one → two", "after on-policy: one → two"]
    assert table.frame["n_mended"].tolist() == [4, 0]
    assert table.frame["n_broke"].tolist() == [0, 4]
    assert [name for name, _ in between({"one": staged, "two": other})] == ["two"]


def test_runs_without_transcripts_have_no_table(straight):
    assert mended_words(load(straight)) is None
    rows = read_lines(straight / "evaluations.jsonl")
    write_lines(straight / "evaluations.jsonl", [*rows, evaluation_row(0, "base", "student", 0.5)])
    assert mended_words(load(straight)) is None
