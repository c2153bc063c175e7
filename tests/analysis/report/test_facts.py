import json
import math

import numpy as np
import pandas as pd
import pytest

from analysis import compare, load, load_many, stage_table
from analysis.figures.error_against_overlap import checkpoints
from analysis.inference import error_rate, error_rate_difference
from analysis.report import Thresholds, stage_facts
from analysis.report.evidence import positions_of
from analysis.report.section import section
from analysis.tables.paper import error_rate_table
from tests.analysis.conftest import evaluation_row, write_transcripts


def test_numbers_at_both_ends_of_a_stay(straight):
    base, data, opd = stage_facts(load(straight))
    assert (data.stage, data.kind, data.first_step, data.last_step, data.decision) == (
        "teacher data", "td", 100, 200, "advance",
    )  # fmt: skip
    # The n-th reading of a made-up run has top-1 agreement 0.5 + 0.01 n; a stay has three.
    assert data.before["top1_agreement"].value == pytest.approx(0.53)
    assert data.after["top1_agreement"].value == pytest.approx(0.55)
    assert data.after["top1_agreement"].n_positions == 1205
    assert positions_of("top1_agreement", data.after["top1_agreement"]).startswith("1,205 positions in ")
    assert data.fixed_after["top1_agreement"].value == pytest.approx(0.55)
    assert not base.fixed_after
    assert "funnel.used" not in data.after
    assert opd.decision == "advance"  # its gate said so before the run ended


def test_without_transcripts_both_intervals_add_up(straight):
    base, data, opd = stage_facts(load(straight))
    assert base.errors is None  # nothing was evaluated at step 0
    assert not data.errors.paired
    assert data.errors.change.value == pytest.approx(-0.05)
    assert (data.errors.change.low, data.errors.change.high) == pytest.approx((-0.09, -0.01))
    assert data.baseline is None
    assert opd.baseline is None  # the best end of an earlier stage is its own start


def test_with_transcripts_differences_are_paired(straight):
    errors = {"base": [4, 5, 6, 3], "teacher data": [5, 6, 6, 4], "on-policy": [1, 2, 2, 3]}
    for step, (stage, wrong) in zip((100, 200, 300), errors.items(), strict=True):
        write_transcripts(straight, step, stage, {f"u{i}": n for i, n in enumerate(wrong)})
    log = straight / "evaluations.jsonl"
    log.write_text(log.read_text().replace('"value": 0.45', '"value": 0.55'))  # of teacher data: worse than base's
    run = load(straight)
    opd = stage_facts(run)[-1]
    one, two = (run.transcripts.query("stage == @stage") for stage in ("teacher data", "on-policy"))
    expected = error_rate_difference(one, two)
    assert opd.errors.paired
    assert opd.errors.change.low == pytest.approx(expected.difference.low)
    assert (opd.errors.change.n_groups, opd.errors.unit, opd.errors.total) == (4, "utterance", 40)
    assert opd.baseline.since == "the end of base"
    assert opd.baseline.change.value == pytest.approx((8 - 18) / 40)


def test_many_speakers_are_what_intervals_are_over(straight):
    speakers = {f"u{i}": f"s{i % 11}" for i in range(33)}
    for step, stage in ((100, "base"), (200, "teacher data")):
        write_transcripts(straight, step, stage, {name: 3 for name in speakers}, speakers=speakers)
    errors = stage_facts(load(straight))[1].errors
    assert (errors.change.n_groups, errors.unit) == (11, "speaker")


def test_one_interval_for_one_error_rate(straight):
    speakers = {f"u{i}": f"s{i % 11}" for i in range(33)}
    generator = np.random.default_rng(0)
    for step, stage in ((100, "base"), (200, "teacher data"), (300, "on-policy")):
        errors = {name: int(generator.integers(0, 2 + int(spoken[1:]))) for name, spoken in speakers.items()}
        write_transcripts(straight, step, stage, errors, speakers=speakers)
    run = load(straight)
    ends = error_rate(run.transcripts.query("step == 300"), by="speaker")
    others = error_rate(run.transcripts.query("step == 300"))
    assert not math.isclose(ends.low, others.low)
    verdicts = stage_facts(run)[-1].errors.after
    last = stage_table(run).frame.iloc[-1]
    paper = error_rate_table(load_many([straight])).frame.query("model == 'student' and rate == 'wer'").iloc[0]
    side_by_side = compare({"one": run}).frame.iloc[0]
    points = checkpoints(run, "top1_agreement", "student").iloc[-1]
    for low, high in (
        (verdicts.low, verdicts.high),
        (last["wer.low"], last["wer.high"]),
        (paper["low"], paper["high"]),
        (side_by_side["wer.low"], side_by_side["wer.high"]),
        (points["rate_low"] / 100, points["rate_high"] / 100),
    ):
        assert (low, high) == (pytest.approx(ends.low), pytest.approx(ends.high))
    shown = section("run", run, Thresholds())
    tile = next(tile for tile in shown.tiles if tile.label == "WER at step 300")
    assert tile.value == f"{100 * ends.value:.1f} %"
    assert tile.detail.startswith(f"[{100 * ends.low:.1f}, {100 * ends.high:.1f}], 95 % over 11 speakers; 1,000 words")
    assert "over 11 speakers or over 120 utterances (stored: no transcripts were kept)" in " ".join(shown.stages.notes)


def test_a_probe_of_one_utterance_has_numbers_without_intervals(straight):
    probes = pd.read_parquet(straight / "probes/all.parquet")
    nothing = dict.fromkeys(("standard_error", "low", "high"), math.nan)
    probes.assign(n_groups=1, **nothing).to_parquet(straight / "probes/all.parquet")
    after = stage_facts(load(straight))[1].after
    assert after["top1_agreement"].value == pytest.approx(0.55)
    assert positions_of("top1_agreement", after["top1_agreement"]) == "1,205 positions in 1 utterance"
    assert math.isnan(after["top1_agreement"].low)
    assert "funnel.used" not in after


def test_a_stage_that_goes_on_is_taken_at_its_latest_evaluation(make_run):
    stays = [("base", (0, 50)), ("on-policy", (0, 50, 100), "stay")]
    path = make_run(stays)
    (*_, going) = stage_facts(load(path))
    assert (going.errors, going.start_evaluated) == (None, True)
    with (path / "evaluations.jsonl").open("a") as log:
        for step, value in ((80, 0.48), (120, 0.4)):
            log.write(json.dumps(evaluation_row(step, "on-policy", "student", value, 1)) + "\n")
    (*_, going) = stage_facts(load(path))
    assert going.errors.change.value == pytest.approx(-0.1)
    assert going.errors.short() == "WER 50.0 → 40.0 % at step 120"


def test_after_a_fall_back_the_start_was_not_evaluated(fell_back):
    facts = stage_facts(load(fell_back))
    assert [fact.decision for fact in facts] == ["advance", "advance", "fall_back", "advance", "advance"]
    assert facts[3].errors is None
    assert facts[4].errors is not None


def test_mixed_error_rates(mixed):
    assert stage_facts(load(mixed))[1].errors.rate == "MER"


def test_a_run_that_has_only_begun(make_run):
    path = make_run([("base", (0,), "stay")])
    (fact,) = stage_facts(load(path))
    assert (fact.decision, fact.errors) == ("stay", None)
    (path / "decisions.jsonl").unlink()
    assert stage_facts(load(path)) == []
