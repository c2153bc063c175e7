import pytest

from analysis import load


def ways(run):
    return [(v.number, v.stage, v.first_step, v.last_step, v.decision) for v in run.visits]


def test_stages_in_order(straight):
    run = load(straight)
    assert ways(run) == [
        (0, "base", 0, 100, "advance"),
        (1, "teacher data", 100, 200, "advance"),
        (2, "on-policy", 200, 300, "advance"),
    ]
    assert [v.kind for v in run.visits] == ["sft", "td", "opd"]
    assert [v.steps for v in run.visits] == [100, 100, 100]
    assert run.visits[1].reason == "reading 5"
    assert run.visits[1].gate == "gate 1"


def test_a_stage_fallen_back_to_is_visited_twice(fell_back):
    assert ways(load(fell_back)) == [
        (0, "base", 0, 100, "advance"),
        (1, "teacher data", 100, 200, "advance"),
        (2, "on-policy", 200, 250, "fall_back"),
        (3, "teacher data", 250, 300, "advance"),
        (4, "on-policy", 300, 400, "advance"),
    ]


def test_a_stage_left_before_its_first_step(make_run):
    stays = [
        ("base", (0, 50)),
        ("teacher data", (0,)),
        ("on-policy", (0,), "fall_back"),
        ("teacher data", (0, 10), "end"),
    ]
    assert ways(load(make_run(stays))) == [
        (0, "base", 0, 50, "advance"),
        (1, "teacher data", 50, 50, "advance"),
        (2, "on-policy", 50, 50, "fall_back"),
        (3, "teacher data", 50, 60, "advance"),
    ]


def test_a_stage_that_goes_on_ends_at_its_last_reading(make_run):
    run = load(make_run([("base", (0, 50)), ("teacher data", (0, 20, 40), "stay")]))
    last = run.visits[-1]
    assert (last.decision, last.last_step, last.reason) == ("stay", 90, "reading 4")


def test_a_run_without_readings(straight):
    (straight / "decisions.jsonl").write_text("")
    assert load(straight).visits == ()


@pytest.mark.parametrize(
    ("outcome", "ended", "reason"),
    [
        ("finished", "", "reading 1"),
        ("stopped", "the run's 50 steps are spent", "reading 1; stopped: the run's 50 steps are spent"),
        ("aborted", "reading 1 (2 fallbacks already)", "aborted: reading 1 (2 fallbacks already)"),
    ],
)
def test_the_end_of_a_run_adds_to_the_gates_reason(make_run, outcome, ended, reason):
    run = load(make_run([("base", (0, 50), "end")], outcome=outcome, reason=ended))
    assert run.visits[0].why == reason
    assert run.visits[0].outcome == run.ended[0] == outcome


def test_where_the_weights_of_a_stay_come_from(fell_back):
    found = [(v.started_from, v.source_visit, v.source_step) for v in load(fell_back).visits]
    assert found == [
        ("model", None, None),
        ("previous", 0, 100),
        ("previous", 1, 200),
        ("entry", 2, 200),
        ("previous", 3, 300),
    ]


def test_a_refused_fall_back_is_an_abort(fell_back):
    log = fell_back / "decisions.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    lines[-2] = lines[-2].replace("advance", "fall_back")
    lines[-1] = lines[-1].replace("finished", "aborted")
    lines[-1] = lines[-1].replace('"reason": ""', '"reason": "reading 11 (1 fallbacks already)"')
    log.write_text("".join(lines))
    last = load(fell_back).visits[-1]
    assert (last.decision, last.why) == ("abort", "aborted: reading 11 (1 fallbacks already)")
