"""A run directory as the trainer writes it, made up row by row."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from overlap.version import SCHEMA

mpl.use("Agg")

KINDS = {"base": "sft", "teacher data": "td", "on-policy": "opd"}
SIZES = {"student_size": 32.0, "teacher_size": 31.5}


@dataclass(frozen=True)
class Stay:
    """A stay in a stage: steps at which its gate read, counted from its start, and the decision at the last of them."""

    stage: str
    readings: Sequence[int]
    decision: str = "advance"


STRAIGHT = (
    Stay("base", (0, 50, 100)),
    Stay("teacher data", (0, 50, 100)),
    Stay("on-policy", (0, 50, 100), "end"),
)
FELL_BACK = (
    Stay("base", (0, 100)),
    Stay("teacher data", (0, 50, 100)),
    Stay("on-policy", (0, 50), "fall_back"),
    Stay("teacher data", (0, 50)),
    Stay("on-policy", (0, 50, 100), "end"),
)


def union_size(reading: int) -> float:
    """What the n-th reading of a made-up run gives."""
    return 60.0 - reading


def error_rate(stay: int) -> float:
    return 0.5 - 0.05 * stay


def write_lines(path: Path, rows: Sequence[dict]) -> None:
    path.write_text("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows), encoding="utf-8")


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def probe_rows(step: int, stage: str, states: str, reading: int, visit: int = 0) -> list[dict]:
    union = union_size(reading)
    measured = {
        **SIZES,
        "union_size": union,
        "intersection_size": sum(SIZES.values()) - union,
        "top1_agreement": 0.5 + 0.01 * reading,
        "total_variation": 0.4 - 0.01 * reading,
    }
    common = {"step": step, "visit": visit, "stage": stage, "states": states}
    counts = {"n_positions": 1200 + reading, "n_groups": 40, "n_undefined": 0}
    rows = [
        {**common, "statistic": name, "value": value, "standard_error": 0.1, "low": value - 0.2, "high": value + 0.2}
        | counts
        for name, value in measured.items()
    ]
    nothing = dict.fromkeys(("standard_error", "low", "high"), math.nan)
    return [*rows, {**common, "statistic": "funnel.used", "value": 1200.0, **nothing, **counts}]


def evaluation_row(step: int, stage: str, model: str, value: float, visit: int = 0, name: str = "test") -> dict:
    rate = {"value": value, "low": value - 0.02, "high": value + 0.02, "errors": int(1000 * value), "total": 1000}
    about = {"normalizer": "basic", "normalizer_version": "1", "n_utterances": 120}
    place = {"step": step, "visit": visit, "stage": stage, "set": name, "model": model}
    file = f"transcripts/step-{step:06d}-visit-{visit:03d}-{name}-{model}.parquet"
    return {**place, "wer": rate, "cer": rate, **about, "transcripts": file}


def visit_row(visit: int, stage: str, kind: str, step: int, started_from: str | None = None, entry: int = 0) -> dict:
    """A row of `visits.jsonl`; `entry` is the step at which a stay that a gate fell back from had begun."""
    started_from = started_from or ("previous" if visit else "model")
    source = {"model": (None, None), "previous": (visit - 1, step), "entry": (visit - 1, entry)}[started_from]
    row = {"visit": visit, "stage": stage, "type": kind, "first_step": step, "started_from": started_from}
    return row | dict(zip(("source_visit", "source_step"), source, strict=True))


def visit_at(run: Path, step: int, stage: str) -> int:
    """The last stay in a stage that had begun at a step."""
    rows = read_lines(run / "visits.jsonl")
    return max(row["visit"] for row in rows if row["stage"] == stage and row["first_step"] <= step)


def write_run(
    path: Path,
    stays: Sequence[Stay] = STRAIGHT,
    *,
    states: Sequence[str] = ("student", "fixed", "teacher"),
    evaluated: bool = True,
    outcome: str = "finished",
    reason: str = "",
) -> Path:
    """Write a run; a last stay whose decision is `stay` is still going on."""
    path.mkdir()
    stages = [{"name": name, "type": kind} for name, kind in KINDS.items()]
    recipe = {"name": "made up", "support": {"k": 32, "temperature": 1.0}, "stages": stages}
    (path / "resolved.json").write_text(json.dumps({"schema": SCHEMA, "recipe": recipe}), encoding="utf-8")
    begun, metrics, decisions, probes = [], [], [], []
    evaluations = [evaluation_row(0, "base", "teacher", 0.1)]
    start = reading = before = 0
    for number, stay in enumerate(stays):
        fell = number > 0 and stays[number - 1].decision == "fall_back"
        begun.append(visit_row(number, stay.stage, KINDS[stay.stage], start, "entry" if fell else None, before))
        before = start
        for stage_step in stay.readings:
            step, last = start + stage_step, stage_step == stay.readings[-1]
            for kind in states:
                if kind != "fixed" or stay.stage != "base":
                    probes += probe_rows(step, stay.stage, kind, reading, number)
            decision = stay.decision if last and stay.decision != "end" else "advance" if last else "stay"
            row = {"step": step, "visit": number, "stage": stay.stage, "stage_step": stage_step}
            row |= {"gate": f"gate {number}", "decision": decision, "outcome": None, "reason": f"reading {reading}"}
            decisions.append({**row, "numbers": {"n": reading}, "levels": []})
            reading += 1
            if last and decision != "stay":
                evaluations.append(evaluation_row(step, stay.stage, "student", error_rate(number), number))
            if last and stay.decision == "end":
                end = {"gate": "run", "decision": "end", "outcome": outcome, "reason": reason}
                decisions.append({**row, **end, "numbers": {}, "levels": []})
        for stage_step in range(1, stay.readings[-1] + 1):
            row = {"step": start + stage_step, "visit": number, "stage": stay.stage, "stage_step": stage_step}
            metrics.append({**row, "loss": 1.0, "overlap": {"union_size": None}})
        start += stay.readings[-1]
    write_lines(path / "visits.jsonl", begun)
    write_lines(path / "metrics.jsonl", metrics)
    write_lines(path / "decisions.jsonl", decisions)
    write_lines(path / "evaluations.jsonl", evaluations if evaluated else [])
    if probes:
        (path / "probes").mkdir()
        pd.DataFrame(probes).to_parquet(path / "probes/all.parquet", index=False)
    return path


def resolve(path: Path, **changes) -> Path:
    """Change the recipe of a run; `seed` and digests are beside it."""
    resolved = json.loads((path / "resolved.json").read_text())
    beside = {key: changes.pop(key) for key in ("seed", "manifest_sha256", "background_sha256") if key in changes}
    resolved = resolved | beside | {"recipe": resolved["recipe"] | changes}
    (path / "resolved.json").write_text(json.dumps(resolved))
    return path


def transcript_rows(
    errors: Mapping[str, int], total: int = 10, speakers: Mapping[str, str] | None = None
) -> list[dict]:
    """What an evaluation wrote: a row an utterance with that many words wrong, and twice as many characters."""
    rows = []
    for name, wrong in errors.items():
        row = {"id": name, "reference": "some words", "text": "words", "seconds": 1.5, "language": "English"}
        row["speaker"] = (speakers or {}).get(name)
        for unit, times in (("words", 1), ("characters", 2)):
            row |= {f"{unit}.errors": times * wrong, f"{unit}.total": 4 * times * total if times > 1 else total}
        rows.append(row)
    return rows


def write_transcripts(run: Path, step: int, stage: str, errors: Mapping[str, int], model="student", **options) -> Path:
    (run / "transcripts").mkdir(exist_ok=True)
    place = {"step": step, "stage": stage, "set": "test", "model": model}
    evaluations = [row for row in read_lines(run / "evaluations.jsonl") if place.items() <= row.items()]
    path = run / (evaluations[-1]["transcripts"] if evaluations else "transcripts/left-over.parquet")
    pd.DataFrame(transcript_rows(errors, **options)).to_parquet(path, index=False)
    return path


def trace_rows(
    step: int, stage: str, states: str, lengths: Mapping[str, int], seed: int = 0, visit: int = 0, **values
) -> list[dict]:
    """Traces of utterances of the given lengths; statistics that are not given are drawn."""
    generator, rows = np.random.default_rng(seed), []
    for name, length in lengths.items():
        row = {"step": step, "visit": visit, "stage": stage, "id": name, "states": states, "k": 8, "temperature": 1.0}
        row |= {"text": "ab", "reference": "ab", "finished": True, "used": [True] * length}
        row |= {"token_ids": list(range(length)), "tokens": [chr(97 + i) for i in range(length)]}
        row |= {"token_bytes": [bytes([97 + i]) for i in range(length)]}
        row |= {"union_ids": [[1, 2]] * length}
        row |= {s: generator.random(length).tolist() for s in ("union_size", "forward_kl", "teacher_entropy")}
        rows.append(row | {s: v[name] for s, v in values.items()})
    return rows


def write_traces(run: Path, step: int, stage: str, lengths: Mapping[str, int], states=("student",), **options) -> Path:
    (run / "traces").mkdir(exist_ok=True)
    path = run / "traces" / f"step-{step:06d}-{stage}.parquet"
    options = {"visit": visit_at(run, step, stage)} | options
    rows = [row for name in states for row in trace_rows(step, stage, name, lengths, **options)]
    pd.DataFrame(rows).to_parquet(path, index=False)
    return path


@pytest.fixture
def straight(tmp_path):
    return write_run(tmp_path / "straight")


@pytest.fixture
def mixed(tmp_path):
    """A run whose normalizer counts mixed tokens."""
    path = write_run(tmp_path / "mixed")
    log = path / "evaluations.jsonl"
    log.write_text(log.read_text(encoding="utf-8").replace('"wer"', '"mer"'), encoding="utf-8")
    return path


@pytest.fixture
def fell_back(tmp_path):
    return write_run(tmp_path / "fell back", FELL_BACK)


@pytest.fixture
def make_run(tmp_path):
    """Write a run of the given stays, such as `[("base", (0, 50), "advance")]`."""

    def make(stays, name="made", **options):
        return write_run(tmp_path / name, [Stay(*stay) for stay in stays], **options)

    return make


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")
