"""The picture of a run as text of a terminal's size."""

import io
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from analysis import gate_readings, load
from analysis.inference import contrast
from analysis.watching import picture, run_state, watch
from analysis.watching.plots import bar, columns, sparkline
from analysis.watching.view import duration
from tests.analysis.conftest import visit_row, write_transcripts


def shown(path, width=80, height=23, later=0.0) -> str:
    """What a terminal holds, some seconds after the run last wrote."""
    newest = max(p.stat().st_mtime for p in path.iterdir())
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(picture(run_state(path, newest + later), width, height))
    lines = console.export_text().splitlines()
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    return "\n".join(line.rstrip() for line in lines)


def rewrite(path, change) -> None:
    """Change the rows of a log; one that becomes None is dropped."""
    rows = [change(json.loads(line)) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows if row is not None))


def timed(path, seconds=2.0):
    """Steps whose phases take so many seconds together."""
    phases = {"student": seconds / 4, "teacher": 3 * seconds / 4}
    rewrite(path / "metrics.jsonl", lambda row: row | {"seconds": phases})
    return path


@pytest.fixture
def going(make_run):
    """In the middle of its second stage, whose gate last said stay."""
    path = timed(make_run([("base", (0, 50), "advance"), ("teacher data", (0, 50), "stay")]))
    resolved = json.loads((path / "resolved.json").read_text())
    for stage in resolved["recipe"]["stages"]:
        stage["steps"] = 200
    (path / "resolved.json").write_text(json.dumps(resolved))
    return path


@pytest.fixture
def ended(straight):
    resolved = json.loads((straight / "resolved.json").read_text())
    for stage in resolved["recipe"]["stages"]:
        stage["steps"] = 100
    (straight / "resolved.json").write_text(json.dumps(resolved))
    return timed(straight)


def test_a_running_run_says_where_it_is_and_how_long_the_stage_takes_at_most(going):
    text = shown(going, later=5)
    assert "running, last written 5 s ago" in text
    assert "teacher data (td), stage 2 of 3" in text
    assert "50 of at most 200 · run 100 steps" in text
    assert "at most 5 min 0 s left in this stage, at 2.00 s a step" in text  # 150 steps of 2 s
    assert re.search(r"gate +stay at step 100, teacher data: gate 1\n +reading 3\n", text)
    assert "2.00 s a step: teacher 1.50, student 0.50" in text


def test_plots_go_from_the_first_value_to_the_last_and_evaluations_have_intervals(going):
    text = shown(going)
    assert re.search(r"VUSS +[▁-█]+  60\.00 → 57\.00", text)
    assert re.search(r"top-1 +[▁-█]+  0\.500 → 0\.530", text)
    assert re.search(r"WER +50\.0 % \[48\.0, 52\.0\] +step 50 +student  500/1,000 words, 120 utterances", text)
    assert re.search(r"10\.0 % \[8\.0, 12\.0\] +step 0 +teacher", text)
    assert "student: 1,200 of 1,200 positions used (100.0 %)" in text


def test_error_rates_have_the_interval_over_speakers_that_tables_show(going):
    at = load(going).evaluations.query("model == 'student'").iloc[-1]
    errors = {f"u{i:02d}": 9 if i % 12 < 3 else 1 for i in range(36)}
    speakers = {name: f"s{i % 12:02d}" for i, name in enumerate(errors)}
    write_transcripts(going, int(at["step"]), at["stage"], errors, speakers=speakers)
    ends = contrast(np.array([27.0] * 3 + [3.0] * 9)[:, None], np.full((12, 1), 30.0))
    text = shown(going, width=100)
    assert f"30.0 % [{100 * ends.low:.1f}, {100 * ends.high:.1f}]" in text
    assert re.search(r"108/360 words, 12 speakers", text)
    assert re.search(r"teacher .* words, 120 utterances", text)  # no transcripts were kept of it


def test_names_of_stages_are_apart_without_color_and_stand_where_they_begin(going, make_run):
    plot = "[▁-█]"
    assert re.search(rf"stage +base +│teacher data +first → last\nVUSS +{plot}+", shown(going, width=100))
    (line,) = (line for line in shown(going, width=100).splitlines() if line.startswith("stage"))
    (below,) = (line for line in shown(going, width=100).splitlines() if line.startswith("VUSS"))
    room = len(re.search(f"{plot}+", below)[0])
    assert line.index("│") == line.index("base") + room // 2  # 50 of 100 steps


def test_a_run_that_grows_is_read_again_with_its_last_line_half_written(going):
    assert run_state(going).step == 100
    row = {"step": 101, "visit": 1, "stage": "teacher data", "stage_step": 51, "loss": 0.5, "seconds": {"student": 2.0}}
    with (going / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n" + json.dumps(row)[:20])
    state = run_state(going)
    assert (state.step, state.stage_step, state.stage_name) == (101, 51, "teacher data")


def test_total_steps_bound_what_the_stage_has_left(going):
    resolved = json.loads((going / "resolved.json").read_text())
    resolved["recipe"]["total_steps"] = 110
    (going / "resolved.json").write_text(json.dumps(resolved))
    assert "50 of at most 60 · run 100 of 110 steps" in shown(going)
    assert run_state(going).stage_seconds_left == pytest.approx(20)


def test_silence_is_a_stall_only_beyond_what_steps_take(going):
    assert "STALLED" not in shown(going, later=199)  # 100 steps of 2 s
    text = shown(going, later=3 * 3600 + 120)
    assert "STALLED: nothing written for 3 h 2 min" in text
    assert "`distill resume" in text
    assert "left in this stage" not in text


def test_quick_steps_do_not_make_a_probe_a_stall(going):
    timed(going, 0.1)
    assert not run_state(going, going.stat().st_mtime + 30).stalled


def test_an_ended_and_an_aborted_run_say_so(ended, tmp_path):
    text = shown(ended, later=9999)
    assert text.splitlines()[1] == "finished"
    assert "STALLED" not in text
    assert "100 of at most 100" in text
    aborted = shutil.copytree(ended, tmp_path / "aborted")
    end = {"outcome": "aborted", "reason": "why"}
    rewrite(aborted / "decisions.jsonl", lambda r: r | (end if r["decision"] == "end" else {}))
    assert shown(aborted).splitlines()[1] == "aborted: why"
    assert run_state(aborted).aborted


def test_after_a_fall_back_the_run_is_in_teacher_data_again(make_run):
    stays = [("base", (0, 50), "advance"), ("teacher data", (0, 50), "advance"), ("on-policy", (0, 50), "fall_back")]
    path = make_run(stays)
    resolved = json.loads((path / "resolved.json").read_text())
    for stage in resolved["recipe"]["stages"]:
        stage["steps"] = 200
    (path / "resolved.json").write_text(json.dumps(resolved))
    with (path / "visits.jsonl").open("a") as file:
        file.write(json.dumps(visit_row(3, "teacher data", "td", 150, "entry", 100)) + "\n")
    state = run_state(path)
    assert (state.stage_name, state.stage_step, state.step) == ("teacher data", 0, 150)


def level(statistic, side, value, states="student"):
    return {"statistic": statistic, "states": states, "side": side, "level": value, "bound": 0.61, "satisfied": True}


def probed(path, states, statistic, **numbers):
    """Replace a statistic in every probe of these states."""
    probes = pd.read_parquet(path / "probes/all.parquet")
    places = probes.loc[probes["states"] == states, ["step", "visit", "stage", "states"]].drop_duplicates()
    made = places.assign(statistic=statistic, **{"standard_error": 0.01, "n_undefined": 0} | numbers)
    kept = probes.loc[(probes["states"] != states) | (probes["statistic"] != statistic)]
    pd.concat([kept, made]).to_parquet(path / "probes/all.parquet", index=False)


HELD = {"value": 0.64, "low": 0.61, "high": 0.67, "n_positions": 1200, "n_groups": 80}


def test_a_gate_that_holds_limits_shows_them_with_the_numbers(going):
    levels = [level("repetition", "lowest", 0.0), level("repetition", "highest", 3.0)]
    levels += [level("top1_agreement", side, value, "fixed") for side, value in (("lowest", 0.4), ("highest", 1.0))]
    undefined = dict.fromkeys(("value", "low", "high"), np.nan) | {"n_positions": 0, "n_groups": 80}
    probed(going, "student", "repetition", **HELD)
    probed(going, "fixed", "top1_agreement", **undefined)
    rewrite(going / "decisions.jsonl", lambda row: row | {"levels": levels})
    text = shown(going)
    assert "repetition 0.640 [0.610, 0.670], limits 0 to 3, n = 1,200/80" in text
    assert "fixed.top1_agreement – –, limits 0.4 to 1, n = 0/80" in text


def test_a_side_that_a_gate_leaves_open_is_not_shown(going):
    levels = [level("repetition", "highest", 3.0), level("top1_agreement", "lowest", 0.4)]
    for name in ("repetition", "top1_agreement"):
        probed(going, "student", name, **HELD)
    rewrite(going / "decisions.jsonl", lambda row: row | {"levels": levels})
    text = shown(going)
    assert "repetition 0.640 [0.610, 0.670], limit at most 3, n = 1,200/80" in text
    assert "top1_agreement 0.640 [0.610, 0.670], limit at least 0.4, n = 1,200/80" in text
    levels = gate_readings(load(going))
    assert set(zip(levels["statistic"], levels["side"], strict=True)) == {
        ("repetition", "highest"),
        ("top1_agreement", "lowest"),
    }


def test_a_run_without_probes_gates_and_evaluations_and_one_that_has_not_begun(going):
    (going / "probes/all.parquet").unlink()
    (going / "decisions.jsonl").write_text("")
    (going / "evaluations.jsonl").write_text("")
    text = shown(going)
    assert "loss" in text
    assert "VUSS" not in text
    (going / "metrics.jsonl").write_text("")
    assert "base (sft), stage 1 of 3" in shown(going)


def test_overlap_of_steps_stands_in_for_that_of_probes(going):
    (going / "probes/all.parquet").unlink()
    rewrite(going / "metrics.jsonl", lambda row: row | {"overlap": {"union_size": 10.0 + row["step"]}})
    assert re.search(r"VUSS +[▁-█]+  11\.00 → 110\.00", shown(going))


def test_the_line_of_the_loss_leaves_out_cross_entropy_of_refused_steps(going):
    def change(row):
        refused = row["step"] % 10 == 0
        return row | {"loss": 9.0 if refused else 1.0, "rejection": {"taken_on": "teacher" if refused else "rollouts"}}

    rewrite(going / "metrics.jsonl", change)
    assert re.search(r"loss +▄+  1\.000 → 1\.000", shown(going))


def test_mixed_error_rates_are_called_so(mixed):
    resolved = json.loads((mixed / "resolved.json").read_text())
    for stage in resolved["recipe"]["stages"]:
        stage["steps"] = 100
    (mixed / "resolved.json").write_text(json.dumps(resolved))
    text = shown(mixed)
    assert "MER" in text
    assert "1,000 tokens" in text
    assert "WER" not in text


def test_teacher_data_while_it_is_written_and_after(going):
    base = going / "teacher-transcripts-teacher data"
    batch = [{"id": "a"}, {"id": "b"}]
    base.with_name(f"{base.name}.journal.jsonl").write_text('{"author": "t"}\n' + json.dumps(batch) + '\n[{"id"')
    assert "the teacher is writing, 2 transcripts so far" in shown(going)
    summary = {"n": 1000, "n_kept": 990, "filters": {"empty": {"n_dropped": 10}, "unfinished": {"n_dropped": 0}}}
    base.with_name(f"{base.name}.summary.json").write_text(json.dumps(summary))
    assert "teacher data: 990 of 1,000 transcripts kept (empty 10)" in shown(going)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ['{"author": "t"}', '[{"id": "a"', "[]"],
            r"journal\.jsonl, line 2: not JSON \(.*; restore the file from",
        ),
        (["\0\0", "[]"], r"journal\.jsonl, line 1: not JSON"),
        (
            ['{"author": "t"}', "[]", '{"id": "a"}'],
            r"journal\.jsonl, line 3: expected a list .*, found dict; restore",
        ),
    ],
)
def test_a_damaged_journal_is_named_with_its_line_and_the_remedy(going, lines, message):
    journal = going / "teacher-transcripts-teacher data.journal.jsonl"
    journal.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=message):
        run_state(going)


@pytest.mark.parametrize(("width", "height"), [(80, 23), (40, 10), (140, 39)])
def test_every_size_is_kept_and_the_head_is_always_there(ended, width, height):
    assert "finished" in shown(ended, width, height)


def test_without_a_terminal_there_is_one_picture(going):
    console = Console(file=io.StringIO(), width=80)
    watch(going, console=console)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().count("stage 2 of 3") == 1


def test_a_terminal_is_followed_until_the_run_ends_and_an_interruption_is_no_error(going, monkeypatch):
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True)
    naps = []

    def nap(seconds):
        naps.append(seconds)
        if len(naps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", nap)
    assert watch(going, every=0.5, console=console).outcome is None
    assert naps == [0.5] * 3
    end = {"step": 101, "visit": 1, "stage": "teacher data", "stage_step": 51, "gate": "run", "decision": "end"}
    end |= {"outcome": "finished", "reason": "", "numbers": {}, "levels": []}
    line = json.dumps(end) + "\n"
    log = going / "decisions.jsonl"
    monkeypatch.setattr("time.sleep", lambda _: log.write_text(log.read_text() + line))
    assert watch(going, console=console).outcome == "finished"


def test_mistakes_are_named(tmp_path, going):
    with pytest.raises(FileNotFoundError, match="holds no run"):
        watch(tmp_path / "nothing")
    with pytest.raises(ValueError, match="--every 0: seconds between pictures must be positive"):
        watch(going, every=0)


def test_columns_are_means_of_equal_spans_and_keep_the_value_before():
    assert columns([0, 1, 2, 5, 9], [1.0, 3.0, 4.0, float("nan"), 8.0], 10, 5) == [2.0, 4.0, 4.0, 4.0, 8.0]
    assert sparkline([float("nan"), 0.0, 3.5, 7.0]) == " ▁▅█"
    assert sparkline([2.0, 2.0]) == "▄▄"
    assert set(sparkline([0.9990, 0.9994, 0.9988], 0.01)) <= {"▄", "▅"}  # all are shown as 0.999
    assert sparkline([0.5, 0.9], 0.01) == "▁█"
    assert bar(0.5, 4) == "━━──"
    assert [duration(s) for s in (59.6, 61, 7300, 90000)] == ["1 min 0 s", "1 min 1 s", "2 h 1 min", "1 d 1 h"]


class TestHowItsProcessEnded:
    """The trainer's record of who works on a run, beside its logs."""

    @pytest.fixture
    def record(self, going):
        def write(left, **changes):
            row = {"host": "node7", "machine": "m", "pid": 42, "since": "2026-01-01T00:00:00+00:00", "beat": 3}
            (going / "process.json").write_text(json.dumps(row | {"left": left} | changes) + "\n")

        return write

    def test_one_that_said_how(self, going, record):
        record("interrupted")
        text = shown(going, later=75)
        assert "NOT RUNNING: interrupted, 1 min 15 s ago" in text
        assert f"`distill resume {going}"[:79] in text
        assert "running, last" not in text

    def test_one_that_is_at_work(self, going, record):
        record(None)
        assert "running, last written 5 s ago" in shown(going, later=5)

    def test_one_that_was_killed(self, going, record):
        record(None)
        assert "process 42 on node7 ended without notice: killed" in shown(going, width=100, later=90)

    def test_one_whose_run_came_to_its_end(self, ended, record, going):
        record("done")
        (ended / "process.json").write_bytes((going / "process.json").read_bytes())
        assert "NOT RUNNING" not in shown(ended)

    def test_a_damaged_record_is_named(self, going, record):
        record("x")
        (going / "process.json").write_text('{"host": ')
        with pytest.raises(ValueError, match=r"process\.json: not JSON"):
            run_state(going)
