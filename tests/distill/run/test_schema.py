"""The page of a run directory says what its files hold, and `analysis` needs what the page says it needs."""

import json
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd

import distill.run
from analysis.run.kinds import check_record
from distill import train
from distill.recipe import Recipe
from distill.run import columns
from distill.run.page import columns_of, page
from overlap.definitions import TOKEN_STATISTICS


def test_the_page_is_up_to_date():
    kept = Path(distill.run.__file__).with_name("RUN_DIRECTORY.md").read_text("utf-8")
    assert kept == page(), "run `python -m distill.run > distill/run/RUN_DIRECTORY.md`"


def undescribed(run: Path) -> list[str]:
    """What a run directory holds that the page does not describe, and what the page describes that is not there."""
    problems, seen = [], set()
    for path in sorted(path for path in run.rglob("*") if path.is_file()):
        name = path.relative_to(run).as_posix()
        file = next((file for file in (*columns.RECORDS, *columns.OTHERS) if fnmatchcase(name, file)), None)
        if file is None:
            problems.append(f"{name} is no file of a run directory")
        elif file in columns.RECORDS:
            described = [column.name for column in columns_of(columns.RECORDS[file])]
            problems += [f"{name}: {problem}" for problem in wrong(described, found(path, described))]
            for row in objects(path):
                check_record(row, columns.RECORDS[file], name)
            seen.add(file)
    always = {*columns.RECORDS} - {"best/step-*/best.json", "probe_groups/*.parquet"}
    return problems + [f"there is no {path}" for path in sorted(always - seen)]


def objects(path: Path) -> list[dict]:
    if path.suffix == ".parquet":
        return []
    rows = path.read_text("utf-8").splitlines() if path.suffix == ".jsonl" else [path.read_text("utf-8")]
    return [json.loads(row) for row in rows]


def found(path: Path, described: list[str]) -> set[str]:
    if path.suffix == ".parquet":
        return set(map(str, pd.read_parquet(path).columns))
    stars = {name.removesuffix(".*") for name in described if name.endswith(".*")}
    whole = {name for name in described if not any(other.startswith(f"{name}.") for other in described)}
    return {name for row in objects(path) for name in flat(row, whole | stars, described)}


def flat(tree: dict, whole: set[str], described: list[str], before: str = ""):
    for key, value in tree.items():
        name = before + key
        yield f"{name}.*" if f"{name}.*" in described else name
        if isinstance(value, dict) and name not in whole:
            yield from flat(value, whole, described, f"{name}.")


def wrong(described: list[str], names: set[str]):
    if "<statistic>" in described:
        names = {"<statistic>" if name in TOKEN_STATISTICS else name for name in names}
    for name in sorted(names):
        if not any(fnmatchcase(name, pattern) for pattern in (*described, "recipe.*")):
            yield f"{name} is not described"
    for name in described:
        if "*" not in name and name not in names and name not in OPTIONAL:
            yield f"{name} is missing"


OPTIONAL = {"seen_in_training", "normalizer", "mer", "recording"}


def test_every_file_of_a_run_holds_the_columns_of_the_page_and_nothing_else(mini, tmp_path):
    mini["probe"] |= {"no_speech": {"noise": 1, "clip_seconds": 0.3}}
    mini["checkpoint"] |= {"best": "test"}
    mini["evaluation"] |= {"every": 2, "name": "test"}
    mini["stages"][2]["gate"] = {"type": "collapse", "limits": {"student_logprob": [0.0, None]}}
    result = train(Recipe.model_validate(mini), tmp_path / "run")
    assert undescribed(result.path) == []
    check_visits(result.path)
    check_indices(result.path)


def rows(run: Path, log: str) -> list[dict]:
    return [json.loads(line) for line in (run / f"{log}.jsonl").read_text("utf-8").splitlines()]


def check_visits(run: Path) -> None:
    """On-policy fell back twice, the second time in vain."""
    visits = rows(run, "visits")
    assert [(row["visit"], row["stage"], row["first_step"]) for row in visits] == [
        (0, "base", 0),
        (1, "teacher data", 4),
        (2, "on-policy", 8),
        (3, "teacher data", 8 + TAKEN),
        (4, "on-policy", 12 + TAKEN),
    ]
    assert [(row["started_from"], row["source_visit"], row["source_step"]) for row in visits] == [
        ("model", None, None),
        ("previous", 0, 4),
        ("previous", 1, 8),
        ("entry", 2, 8),
        ("previous", 3, 12 + TAKEN),
    ]
    for log in ("metrics", "decisions", "evaluations"):
        for row in rows(run, log):
            assert visits[row["visit"]]["stage"] == row["stage"]
            if "stage_step" in row:
                assert visits[row["visit"]]["first_step"] + row["stage_step"] == row["step"], log
    end = rows(run, "decisions")[-1]
    assert (end["decision"], end["outcome"]) == ("end", "aborted")
    assert end["reason"].endswith("(1 fallbacks already)")


TAKEN = 3
"""Steps of the on-policy stage before its gate reads."""


def check_indices(run: Path) -> None:
    """Transcripts are where evaluations say, and traces spell their transcripts."""
    paths = [row["transcripts"] for row in rows(run, "evaluations")]
    assert sorted(paths) == sorted(path.relative_to(run).as_posix() for path in (run / "transcripts").iterdir())
    probed = {path.name for path in (run / "probes").iterdir()}
    traced = {path.name for path in (run / "traces").iterdir()}
    assert traced <= probed
    levels = [row["levels"] for row in rows(run, "decisions") if row["gate"].startswith("threshold")]
    assert [level["statistic"] for (level,) in levels] == ["top1_agreement"] * len(levels)
    traces = pd.read_parquet(run / "traces")
    for row in traces.itertuples():
        assert (
            b"".join(piece or b"" for piece in row.token_bytes).decode("utf-8", "replace").strip() == row.text.strip()
        )
        assert (row.token_bytes[-1] is None) == row.finished
        assert list(map(len, row.union_bytes)) == list(map(len, row.union_ids))
