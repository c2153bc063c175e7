"""Error rates under several normalizers, of several evaluation sets, or of a run that spent no such steps."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from analysis import compare, load, load_many
from analysis.figures import overlap_over_training, wer_against_overlap
from analysis.inference import (
    error_rate_difference,
    gain_correlations,
    gap_recovery,
    recipe_differences,
    stage_gains,
)
from analysis.report import stage_facts, verdict, write_report
from analysis.report.headline import headline
from analysis.tables.paired import controls_of, paired_table
from analysis.tables.paper import error_rate_table
from tests.analysis.conftest import resolve, write_transcripts
from tests.analysis.report.test_verdict import change, on_policy

IDS = [f"u{i}" for i in range(40)]


def edit(path, **fields):
    """Change every evaluation of a run."""
    log = path / "evaluations.jsonl"
    rows = [json.loads(line) | fields for line in log.read_text(encoding="utf-8").splitlines()]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def two_runs(make_run, **options):
    """A run with OPD and a control, evaluated on the same utterances with as many words each."""
    staged = make_run([("base", (0, 100)), ("on-policy", (0, 100), "end")], name="staged")
    control = make_run([("base", (0, 100)), ("teacher data", (0, 100), "end")], name="control")
    for path, stage, wrong in ((staged, "on-policy", 2), (control, "teacher data", 8)):
        write_transcripts(path, 100, "base", {name: 8 + i % 2 for i, name in enumerate(IDS)}, **options)
        write_transcripts(path, 200, stage, {name: wrong + i % 3 for i, name in enumerate(IDS)}, **options)
    return staged, control


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"normalizer": "spoken_digits", "normalizer_version": "2"},
            "normalizer basic 1 in {}, spoken_digits 2 in control",
        ),
        ({"normalizer_version": "2"}, "normalizer basic 1 in {}, basic 2 in control"),
    ],
)
def test_what_was_counted_under_another_normalizer_is_not_paired(make_run, tmp_path, fields, said):
    staged, control = two_runs(make_run)
    assert paired_table(load_many([staged, control])).frame["p"].notna().all()
    runs = load_many([staged, edit(control, **fields)])
    table = paired_table(runs)
    assert table.frame.empty
    assert table.notes == [f"Not paired: staged against control ({said.format('staged')})."]
    for text in (str(compare(runs)), compare(runs).to_markdown()):
        assert said.format("staged") in " ".join(text.split())
        assert "These error rates are not comparable" in " ".join(text.split())
        assert "Paired comparison" not in text
    facts = stage_facts(runs["staged"], controls=controls_of(runs, "staged"))[-1]
    assert facts.controls == ()
    said_first = write_report(runs, tmp_path / "report.md").sections[0].headline
    assert f"needs a control run without it. Not compared with control ({said.format('this run')})" in said_first
    assert "against" not in said_first
    assert any(reason.startswith("Not compared with control (normalizer") for reason in verdict(facts).reasons)


def test_frames_of_other_normalizers_or_references_are_refused(make_run):
    staged, control = two_runs(make_run)
    one = load(staged).transcripts.query("step == 200")
    other = load(edit(control, normalizer="spoken_digits")).transcripts.query("step == 200")
    words = "normalizers differ: basic 1 in the first and spoken_digits 1 in the second.*distill evaluate --normalizer"
    with pytest.raises(ValueError, match=words):
        error_rate_difference(one, other)
    with pytest.raises(ValueError, match="normalizers differ"):
        gap_recovery(one, one, other)
    changed = one.assign(reference=["other words" if name == "u3" else "some words" for name in one["id"]])
    with pytest.raises(ValueError, match="'u3': its reference is 'some words' in the first and 'other words' in the"):
        error_rate_difference(one, changed)
    assert error_rate_difference(one, one.drop(columns=["normalizer", "reference"])).difference.value == 0


def test_recipes_are_not_compared_across_normalizers(make_run):
    staged, control = two_runs(make_run)
    resolve(control, name="other")
    assert len(recipe_differences(load_many([staged, control])).frame) == 1
    runs = load_many([staged, edit(control, normalizer="spoken_digits")])
    with pytest.raises(ValueError, match=r"run 'control': normalizers differ|run 'staged': normalizers differ"):
        recipe_differences(runs)
    table = error_rate_table(runs)
    assert set(table.frame["set"]) == {"test (basic 1)", "test (spoken_digits 1)"}
    students = table.frame.loc[table.frame["model"] == "student", ["recipe", "set"]]
    assert len(students.drop_duplicates()) == 2


def test_gains_under_several_normalizers_are_not_ranked_together(make_run):
    stays = [("base", (0, 50)), ("teacher data", (0, 50)), ("on-policy", (0, 50), "end")]
    paths = [make_run(stays, name=f"run-{i}") for i in range(6)]
    gains = stage_gains(load_many(paths))
    assert gain_correlations(gains).frame["n"].max() == 6
    edit(paths[0], normalizer_version="2")
    with pytest.raises(ValueError, match="gains: error rates were counted under basic 1 and under basic 2, which"):
        gain_correlations(stage_gains(load_many(paths)))


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (True, "evaluation set of 40 utterances in staged, 10 utterances in control (10 of them in both)"),
        (False, "evaluation set of 1,000 words in 120 utterances in staged, 1,000 words in 30 utterances in control"),
    ],
)
def test_error_rates_of_other_sets_share_no_axis(make_run, kept, said):
    staged, control = two_runs(make_run)
    edit(control, n_utterances=30)
    write_transcripts(control, 200, "teacher data", {name: 3 for name in IDS[:10]})
    if not kept:
        for path in (staged, control):
            for file in (path / "transcripts").iterdir():
                file.unlink()
    runs = load_many([staged, control])
    panels = overlap_over_training(runs)
    assert [text.get_text() for text in panels[-1].texts] == [f"not comparable: {said}"]
    assert not [line for line in panels[-1].lines if line.get_gid() in runs]
    assert [line.get_gid() for line in panels[0].lines if line.get_gid()] == ["staged", "control"]
    with pytest.raises(ValueError, match=r"^runs: evaluation set of .*, so their error rates are not comparable; draw"):
        wer_against_overlap(runs)
    assert paired_table(runs).notes[0].startswith("Not paired: staged against control (evaluation set of")


def test_a_set_of_as_many_other_words_is_another_set(make_run):
    staged, control = two_runs(make_run)
    path = write_transcripts(control, 200, "teacher data", {name: 3 for name in IDS})
    pd.read_parquet(path).assign(reference="other words").to_parquet(path, index=False)
    runs = load_many([staged, control])
    assert paired_table(runs).notes == [
        "Not paired: staged against control (the reference of 'u0' is not the same in staged and control)."
    ]


def test_a_run_that_spent_none_of_the_steps_is_no_control(make_run, tmp_path):
    staged, _ = two_runs(make_run)
    short = make_run([("base", (0, 4), "end")], name="short", outcome="stopped", reason="at step 4")
    write_transcripts(short, 4, "base", dict.fromkeys(IDS, 8))
    runs = load_many([staged, short])
    said = "short was last evaluated at step 4, and on-policy training of {} began at step 100: it took none of those"
    assert said.format("staged") in paired_table(runs).notes[0]
    said_first = write_report(runs, tmp_path / "report.md").sections[0].headline
    assert f"needs a control run without it. Not compared with short ({said.format('this run')} steps)" in said_first
    assert "of the control short" not in said_first
    later = make_run([("base", (0, 101), "end")], name="later")
    write_transcripts(later, 101, "base", dict.fromkeys(IDS, 8))
    assert paired_table(load_many([staged, later])).frame["step.against"].tolist() == [101]


def test_a_control_without_transcripts_or_evaluations_is_left_out_with_its_reason(make_run):
    staged, control = two_runs(make_run)
    for file in (control / "transcripts").iterdir():
        file.unlink()
    edit(control, n_utterances=120)
    assert "(no transcripts of control were kept)" in paired_table(load_many([staged, control])).notes[0]
    (control / "evaluations.jsonl").write_text("")
    assert "(control was not evaluated)" in paired_table(load_many([staged, control])).notes[0]


def test_a_run_that_went_on_under_another_version_says_so(make_run, tmp_path):
    staged, _ = two_runs(make_run)
    log = staged / "evaluations.jsonl"
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    rows[-1]["normalizer_version"] = "2"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    run = load(staged)
    assert stage_facts(run)[-1].errors is None
    (section,) = write_report(load_many([staged]), tmp_path / "report.md").sections
    assert any("counted under several normalizers (basic 1, basic 2)" in note for note in section.missing)


def test_what_was_left_out_stands_beside_what_was_compared():
    found = verdict(replace(on_policy(change(-0.3, -0.2)), left_out=("not compared with b (normalizer x 1 in b)",)))
    assert headline([found]).endswith("needs a control run without it. Not compared with b (normalizer x 1 in b).")
    assert "Not compared with b (normalizer x 1 in b)." in found.reasons
