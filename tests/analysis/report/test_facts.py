import pytest

from analysis import load
from analysis.inference import error_rate_difference
from analysis.report import stage_facts
from tests.analysis.conftest import write_transcripts


def test_numbers_at_both_ends_of_a_stay(straight):
    base, data, opd = stage_facts(load(straight))
    assert (data.stage, data.kind, data.first_step, data.last_step, data.decision) == (
        "teacher data", "td", 100, 200, "advance",
    )  # fmt: skip
    # The n-th reading of a made-up run has top-1 agreement 0.5 + 0.01 n; a stay has three.
    assert data.before["top1_agreement"].value == pytest.approx(0.53)
    assert data.after["top1_agreement"].value == pytest.approx(0.55)
    assert (data.after["top1_agreement"].n, data.after["top1_agreement"].unit) == (1205, "position")
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
    assert (opd.errors.change.n, opd.errors.change.unit, opd.errors.total) == (4, "utterance", 40)
    assert opd.baseline.since == "base"
    assert opd.baseline.change.value == pytest.approx((8 - 18) / 40)


def test_many_speakers_are_what_intervals_are_over(straight):
    speakers = {f"u{i}": f"s{i % 11}" for i in range(33)}
    for step, stage in ((100, "base"), (200, "teacher data")):
        write_transcripts(straight, step, stage, {name: 3 for name in speakers}, speakers=speakers)
    change = stage_facts(load(straight))[1].errors.change
    assert (change.n, change.unit) == (11, "speaker")


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
