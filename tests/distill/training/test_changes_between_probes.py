"""What gates read of the change since the probe before, in a whole run, after a resume, and when data changed."""

import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest

from distill import read_manifest, resume, train, write_manifest
from distill.recipe import Recipe
from distill.run import probe_sums
from distill.run.run_directory import RunDirectoryError
from overlap.estimates.bootstrap import studentized
from tests.distill.training.test_trainer import _Interrupt

STATISTIC = "fixed.total_variation"
GATE = {"type": "saturation", "statistic": STATISTIC, "mode": "min", "min_delta": 0.0, "patience": 9}


def decisions(run):
    return [json.loads(line) for line in (run / "decisions.jsonl").read_text().splitlines()]


def readings(run, stage):
    """Steps of a stage with what its gate read there."""
    rows = (row for row in decisions(run) if row["stage"] == stage and row["gate"] not in ("entry", "exhausted", "run"))
    return {row["stage_step"]: row for row in rows}


def sums(run, visit, step):
    return pd.read_parquet(run / "probe_sums" / f"step-{step:06d}-visit-{visit:03d}.parquet")


@pytest.fixture
def staged(texts, text_manifests):
    """Teacher data and on-policy steps whose gates read changes; probes every second step."""
    probe = {"manifest": str(text_manifests["probe"]), "every": 2, "states": ["student", "fixed", "teacher"]}
    first, second = (stage | {"when_exhausted": "advance", "steps": 6} for stage in texts["stages"][1:])
    own = GATE | {"statistic": "top1_agreement.without_repeats", "mode": "max"}
    stages = [first | {"gate": GATE, "gate_at_entry": True}, second | {"gate": {"type": "any", "gates": [GATE, own]}}]
    return texts | {"probe": probe, "stages": stages, "checkpoint": {"every": 1}}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return {"folder": tmp_path_factory.mktemp("changes")}


@pytest.fixture
def whole(staged, kept):
    if "run" not in kept:
        kept["run"] = train(Recipe.model_validate(staged), kept["folder"] / "run").path
    return kept["run"]


def test_sums_are_what_every_average_of_a_probe_is_made_of(whole):
    probes = pd.read_parquet(whole / "probes")
    probes = probes[~probes["statistic"].str.startswith("funnel.")]
    kept = pd.read_parquet(whole / "probe_sums")
    assert kept["sum"].dtype == np.float32
    of_errors = kept["statistic"] == "error_rate"  # which gates do not read from probes
    assert set(kept.loc[of_errors, "states"]) == {"student"}
    kept = kept.loc[~of_errors]
    key = ["step", "visit", "states", "statistic"]
    total = kept.groupby(key, observed=True)[["sum", "count", "undefined"]].sum()
    assert len(total) == len(probes)
    for row in probes.to_dict("records"):
        mine = total.loc[tuple(row[name] for name in key)]
        assert (mine["count"], mine["undefined"]) == (row["n_positions"], row["n_undefined"])
        value = mine["sum"] / mine["count"] if mine["count"] else math.nan
        assert value == pytest.approx(row["value"], rel=1e-4, abs=1e-6, nan_ok=True)
    per_states = kept.groupby(["step", "visit", "states"], observed=True)["id"].nunique()
    assert len(set(per_states)) == 1  # every utterance, whether it has positions or not
    assert {path.name for path in (whole / "probe_sums").iterdir()} == {p.name for p in (whole / "probes").iterdir()}


def test_a_gate_reads_the_paired_change_since_the_probe_before(whole):
    read = readings(whole, "teacher data")
    assert read[0]["reason"] == f"{STATISTIC}.change is missing from the reading, as from the first one of a visit"
    visit, first = (decisions(whole)[0][name] for name in ("visit", "step"))
    for step in (2, 4, 6):
        pair = [
            rows[(rows["states"] == "fixed") & (rows["statistic"] == "total_variation")].set_index("id")
            for rows in (sums(whole, visit, first + step), sums(whole, visit, first + step - 2))
        ]
        assert pair[0]["count"].equals(pair[1]["count"])  # the same positions
        tables = (np.stack([one[name].to_numpy(float) for one in pair], axis=1)[:, None] for name in ("sum", "count"))
        (theirs,) = studentized(*tables, (1.0, -1.0))
        numbers = read[step]["numbers"]
        assert numbers["value"] == pytest.approx(theirs.value, abs=1e-12)
        assert (numbers["low"], numbers["high"]) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
        assert numbers["n_positions"] == pair[0]["count"].sum()
        assert read[step]["levels"][0]["statistic"] == "total_variation.change"


def test_the_first_probe_of_a_visit_is_not_compared_with_another_visits(whole):
    # The gate of the second stage reads from its second probe on, whose change is since the visit's first.
    steps = readings(whole, "on-policy")
    assert list(steps) == [2, 4, 6]
    assert all(member["numbers"]["value"] is not None for row in steps.values() for member in row["numbers"]["members"])
    assert probe_sums.last_sums(whole, visit=1, before=6) is None


@pytest.mark.parametrize("at", [2, 3, 9])
def test_resuming_changes_nothing(staged, whole, tmp_path, at):
    with pytest.raises(KeyboardInterrupt):
        train(Recipe.model_validate(staged), tmp_path / "cut", observer=_Interrupt(at))
    again = resume(tmp_path / "cut").path
    assert decisions(again) == decisions(whole)
    for path in (whole / "probe_sums").iterdir():
        pd.testing.assert_frame_equal(pd.read_parquet(again / "probe_sums" / path.name), pd.read_parquet(path))


def test_sums_of_a_probe_that_is_taken_again_are_removed(staged, tmp_path):
    staged["checkpoint"] = {"every": 3}
    with pytest.raises(KeyboardInterrupt):
        train(Recipe.model_validate(staged), tmp_path / "run", observer=_Interrupt(5))
    stray = tmp_path / "run/probe_sums/step-000004-visit-000.parquet"
    stray.write_bytes(b"what a crash left")
    assert resume(tmp_path / "run").path
    assert len(pd.read_parquet(stray)) > 0


def test_sums_that_are_damaged_are_named(staged, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(Recipe.model_validate(staged), tmp_path / "run", observer=_Interrupt(4))
    file = tmp_path / "run/probe_sums/step-000002-visit-000.parquet"
    whole = pd.read_parquet(file)
    file.write_bytes(file.read_bytes()[:100])
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    with pytest.raises(RunDirectoryError, match=r"step-000002-visit-000\.parquet is cut short or damaged .*; restore"):
        resume(tmp_path / "run")
    pd.concat([whole, whole.head(1)]).to_parquet(tmp_path / "copy/probe_sums" / file.name)
    with pytest.raises(RunDirectoryError, match=r"damaged \(sums: .* is there twice; keep one row for each"):
        resume(tmp_path / "copy")


def test_sums_that_are_gone_are_no_change(staged, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(Recipe.model_validate(staged), tmp_path / "run", observer=_Interrupt(4))
    shutil.rmtree(tmp_path / "run/probe_sums")
    resumed = resume(tmp_path / "run").path
    read = readings(resumed, "teacher data")
    assert "is missing from the reading" in read[4]["reason"]
    assert read[6]["numbers"]["value"] is not None


def test_a_changed_probe_set_is_not_compared_with_the_old_one(staged, tmp_path):
    """The same ids with other texts: the utterances look the same and are not."""
    utterances = read_manifest(staged["probe"]["manifest"])
    mine = tmp_path / "probe.jsonl"
    write_manifest(mine, utterances)
    staged["probe"] |= {"manifest": str(mine), "states": ["student"]}
    own = GATE | {"statistic": "total_variation"}
    staged["stages"] = [stage | {"gate": own} for stage in staged["stages"]]
    with pytest.raises(KeyboardInterrupt):
        train(Recipe.model_validate(staged), tmp_path / "run", observer=_Interrupt(4))
    lines = [json.loads(line) for line in mine.read_text().splitlines()]
    lines[0], lines[1] = lines[0] | {"id": lines[1]["id"]}, lines[1] | {"id": lines[0]["id"]}
    mine.write_text("".join(json.dumps(line) + "\n" for line in lines))
    resumed = resume(tmp_path / "run", accept_changed_data=True).path
    read = readings(resumed, "teacher data")
    assert "is missing from the reading" in read[4]["reason"]
    assert read[6]["numbers"]["value"] is not None
