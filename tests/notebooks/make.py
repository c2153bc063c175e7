"""Makes what the notebooks show: `python -m tests.notebooks.make [--run DIR] [--only-run] [NAME …]`.

Trains the demo with more traces (five to seven minutes), keeps what a report reads of its run directory as
`notebooks/runs/demo`, draws the pictures of the READMEs from it, and executes the named notebooks, without names all of
them. `--run` takes a finished run instead of training one; `--only-run` executes no notebook. `python -m tests.pages`
then fills the pages that quote the run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import distill
from analysis import load
from distill.locations import PACKAGED, packaged
from distill.run.provenance import resolved_configuration
from tests.notebooks import executed
from tests.pages import pictures

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "notebooks" / "runs" / "demo"
LARGEST = 3_500_000
"""Bytes of the run that is kept, at most."""

FILES = ("visits.jsonl", "decisions.jsonl", "evaluations.jsonl", "round_trip.json")
FOLDERS = ("probes", "signal", "calibration", "token_rules", "traces", "transcripts")
CHANGED = ("probe.trace_utterances=40",)
"""How the recipe differs from the demo's: views position by position need more than its 16 utterances."""

EVERY = 10
"""Of which training steps the overlap of the batch is kept; all else of a step is kept of each."""


def portable(resolved: dict[str, Any]) -> dict[str, Any]:
    """The contents of `resolved.json` with the demo's files as `demo:…`, so that they are the same on every machine."""
    tree = json.loads(json.dumps(resolved).replace(f"{packaged('').as_posix()}/", PACKAGED))
    text = json.dumps(tree["recipe"], sort_keys=True)
    return tree | {"recipe_sha256": hashlib.sha256(text.encode()).hexdigest()}


def recipe() -> distill.Recipe:
    """The recipe of the run that the notebooks show."""
    return distill.load_recipe("demo", CHANGED)


def expected() -> dict[str, Any]:
    """What the kept run's `resolved.json` says of recipe and data, if it is of today's."""
    return portable(resolved_configuration(recipe()))


def keep(run: Path, kept: Path = KEPT) -> None:
    """Put what a report reads of a finished run of the demo where the notebooks look for it."""
    if (ended := load(run).ended) is None or ended[0] != "finished":
        raise SystemExit(f"{run}: the run has not finished; give one that has, made with --set {' '.join(CHANGED)}")
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for name in FOLDERS:
        (kept / name).mkdir()
        for path in sorted((run / name).glob("*.parquet")):
            # Numbers that hardly repeat: better compressed and without a dictionary, files are a third smaller.
            smallest = {"compression": "zstd", "compression_level": 19, "use_dictionary": False}
            pq.write_table(pq.read_table(path), kept / name / path.name, **smallest)
    for name in FILES:
        shutil.copy(run / name, kept / name)
    resolved = portable(json.loads((run / "resolved.json").read_text(encoding="utf-8")))
    (kept / "resolved.json").write_text(json.dumps(resolved, indent=1) + "\n", encoding="utf-8")
    with (kept / "metrics.jsonl").open("w", encoding="utf-8") as file:
        for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["step"] % EVERY:
                row.pop("overlap", None)
            file.write(json.dumps(row) + "\n")


def size(kept: Path = KEPT) -> int:
    """Bytes of all files of the kept run."""
    return sum(path.stat().st_size for path in kept.rglob("*") if path.is_file())


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="notebooks to execute, all without names")
    parser.add_argument("--run", type=Path, help="a finished run of the demo, instead of training one")
    parser.add_argument("--only-run", action="store_true", help="execute no notebook")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = given.run
        if run is None:
            run = Path(folder) / "demo"
            distill.train(recipe(), run)
        keep(run)
    print(f"{KEPT.relative_to(ROOT)}: {size() / 1e6:.2f} MB")
    pictures.main()
    if not given.only_run:
        executed.main(given.names)


if __name__ == "__main__":
    main()
