"""Run directories: nothing overwritten, nothing half written, logs cut back exactly."""

import json

import pandas as pd
import pytest

from distill.run.run_directory import RunDirectory, RunDirectoryError

PLACE = {"visit": 0, "states": "student"}


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "a run", {"recipe": {}})


def test_refuses_a_directory_that_holds_a_run_or_anything_else(run, tmp_path):
    with pytest.raises(RunDirectoryError, match=r"already holds a run.*distill resume"):
        RunDirectory.create(run.path, {})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years of work")
    with pytest.raises(RunDirectoryError, match="not an empty directory"):
        RunDirectory.create(tmp_path / "other", {})
    assert (tmp_path / "other" / "thesis.tex").read_text() == "years of work"
    with pytest.raises(RunDirectoryError, match=r"holds no run: .* Give the --output of `distill train`"):
        RunDirectory.open(tmp_path / "other")


def test_a_run_without_checkpoints_is_not_said_to_continue(run):
    run.append("metrics", {"step": 1})
    (run.path / "checkpoints" / "step-000000").mkdir()
    with pytest.raises(RunDirectoryError, match="Continue it with"):
        RunDirectory.check_vacant(run.path)
    (run.path / "checkpoints" / "step-000000").rmdir()
    with pytest.raises(RunDirectoryError, match=r"already holds a run, and no checkpoint to continue it from\. Choose"):
        RunDirectory.check_vacant(run.path)


def test_nan_is_null_and_text_is_kept(run):
    run.append("metrics", {"loss": float("nan"), "nested": {"x": [float("inf"), 1.5]}, "text": "三五一"})
    assert json.loads((run.path / "metrics.jsonl").read_text()) == {
        "loss": None,
        "nested": {"x": ["inf", 1.5]},
        "text": "三五一",
    }


def test_rewind_cuts_every_log_back_and_drops_a_torn_line(run):
    for step in range(5):
        run.append("metrics", {"step": step})
        run.append_probes(f"step-{step:06d}", [{**PLACE, "step": step, "statistic": "union_size", "value": 1.0}])
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    reopened = RunDirectory.open(run.path)
    assert reopened.rows == {"visits": 0, "metrics": 5, "decisions": 0, "evaluations": 0, "probes": 5}
    reopened.rewind({"visits": 0, "metrics": 3, "decisions": 0, "evaluations": 0, "probes": 2}, until=(0, 2))
    assert [json.loads(line)["step"] for line in (run.path / "metrics.jsonl").read_text().splitlines()] == [0, 1, 2]
    assert (
        RunDirectory.open(run.path).rows
        == reopened.rows
        == {
            "visits": 0,
            "metrics": 3,
            "decisions": 0,
            "evaluations": 0,
            "probes": 2,
        }
    )


def test_rewind_refuses_logs_that_lost_rows(run):
    with pytest.raises(RunDirectoryError, match="has 0 rows, the checkpoint recorded 3"):
        run.rewind({"visits": 0, "metrics": 3, "decisions": 0, "evaluations": 0, "probes": 0}, until=(0, 3))


def test_probes_are_parts_that_are_never_written_again(run):
    for step in (0, 5, 999_999, 1_000_000):
        run.append_probes(f"step-{step:06d}-visit-000", [{**PLACE, "step": step, "statistic": name} for name in "ab"])
        (run.path / "traces" / f"step-{step:06d}-visit-000.parquet").touch()
    run.append_probes("step-000007-visit-000", [])
    assert run.probes()["step"].tolist() == [0, 0, 5, 5, 999_999, 999_999, 1_000_000, 1_000_000]
    first = run.path / "probes" / "step-000000-visit-000.parquet"
    written = first.stat().st_mtime_ns
    run.rewind({"visits": 0, "metrics": 0, "decisions": 0, "evaluations": 0, "probes": 4}, until=(0, 6))
    names = ["step-000000-visit-000.parquet", "step-000005-visit-000.parquet"]
    for folder in ("probes", "traces"):  # of probes that will be taken anew
        assert sorted(path.name for path in (run.path / folder).iterdir()) == names
    assert first.stat().st_mtime_ns == written
    assert len(RunDirectory.open(run.path).probes()) == 4


def test_rewind_refuses_probes_that_lost_a_part(run):
    for step in (0, 5):
        run.append_probes(f"step-{step:06d}", [{**PLACE, "step": step, "statistic": name} for name in "ab"])
    (run.path / "probes" / "step-000000.parquet").unlink()
    with pytest.raises(RunDirectoryError, match="probes has 2 rows, the checkpoint recorded 4"):
        run.rewind({"visits": 0, "metrics": 0, "decisions": 0, "evaluations": 0, "probes": 4}, until=(0, 6))


def four_probes(run):
    """Probes of steps 0, 4, 8 and 12, of which a checkpoint at step 8 has seen two; the last visit begins there."""
    for visit, step in ((0, 0), (0, 4), (0, 8), (1, 8), (1, 12)):
        rows = [{**PLACE, "visit": visit, "step": step, "statistic": name} for name in "ab"]
        run.append_probes(f"step-{step:06d}-visit-{visit:03d}", rows)
    return run.path / "probes", {"visits": 0, "metrics": 0, "decisions": 0, "evaluations": 0, "probes": 6}


def test_rewind_cuts_probes_by_their_own_step_and_visit(run):
    probes, rows = four_probes(run)
    (probes / "step-000012-visit-001.parquet").rename(probes / "a.parquet")  # which sorts first
    run.rewind(rows, until=(1, 8))
    assert sorted(part.name[:21] for part in probes.iterdir()) == [
        "step-000000-visit-000",
        "step-000004-visit-000",
        "step-000008-visit-000",
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda frame: frame, "step-000005-visit-000.parquet: of visit 0, step 4, as step-000004-visit-000.parquet"),
        (lambda frame: frame.assign(step=5), "probes has 8 rows, the checkpoint recorded 6; remove the files"),
        (lambda frame: frame.drop(columns="states"), "step-000005-visit-000.parquet: states missing among its columns"),
        (lambda frame: frame.assign(step="x"), "step-000005-visit-000.parquet: its rows are not of one visit and step"),
        (lambda frame: frame.assign(step=[5, 6]), "its rows are not of one visit and step"),
    ],
)
def test_rewind_refuses_probes_that_are_not_the_runs(run, change, words):
    probes, rows = four_probes(run)
    change(pd.read_parquet(probes / "step-000004-visit-000.parquet")).to_parquet(
        probes / "step-000005-visit-000.parquet"
    )
    with pytest.raises(RunDirectoryError, match=words):
        run.rewind(rows, until=(1, 8))
    assert len(list(probes.iterdir())) == 6


def test_rewind_refuses_lines_that_are_no_objects(run):
    (run.path / "decisions.jsonl").write_text("{}\n[1]\n")
    rows = {"visits": 0, "metrics": 0, "decisions": 2, "evaluations": 0, "probes": 0}
    with pytest.raises(RunDirectoryError, match=r"decisions\.jsonl:2: not an object; restore it from a copy"):
        run.rewind(rows, until=(0, 3))


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({}, "its recipe is missing"),
        ({"recipe": [1]}, "its manifest_sha256 is missing"),
        ({"recipe": [1], "manifest_sha256": {}}, "its recipe is no object"),
        ({"recipe": {}, "manifest_sha256": [1]}, "its manifest_sha256 is no object"),
        ({"recipe": {}, "manifest_sha256": {}, "background_sha256": 3}, "its background_sha256 is no object"),
    ],
)
def test_a_configuration_without_what_is_needed(tmp_path, tree, words):
    run = RunDirectory.create(tmp_path / "run", tree)
    with pytest.raises(RunDirectoryError, match=rf"resolved\.json: {words}; restore it from a copy"):
        _ = run.resolved
