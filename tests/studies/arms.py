"""What the studies share: arms of one recipe, each a run, and a table of how they ended."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis import load, stage_table
from analysis.inference import error_rate_difference
from analysis.stages.error_rates import cluster_of, student_evaluations, transcripts_of
from distill import Recipe, resume, train


def run(recipe: Recipe, path: Path, *, check: bool = True) -> Path:
    """Train a recipe there, or continue or keep what is there; without a check also on what is broken on purpose."""
    if (path / "resolved.json").exists():
        resume(path)
    else:
        train(recipe, path, check=check)
    return path


def results(paths: dict[tuple[str, int], Path]) -> pd.DataFrame:
    """A row an arm and seed: error rates after Base and after the run, overlap at the switch and at the end.

    `low` and `high` are ends of the final error rate's 95 % interval, over as many speakers or utterances as it says.
    """
    rows = []
    for (arm, seed), path in paths.items():
        loaded = load(path)
        evaluations = student_evaluations(loaded)
        base, last = evaluations[evaluations["stage"] == "base"].iloc[-1], evaluations.iloc[-1]
        probes = loaded.probes[loaded.probes["states"] == "student"]

        def overlap(step: int, statistic: str, probes: pd.DataFrame = probes) -> float:
            chosen = probes[(probes["step"] == step) & (probes["statistic"] == statistic)]
            return float(chosen["value"].iloc[-1])

        opd = loaded.metrics.index[loaded.metrics["stage"] == "on-policy"]
        switch = int(opd[0]) if len(opd) else None
        row = {"arm": arm, "seed": seed, "switch": switch, "WER Base": base["wer.value"], "WER": last["wer.value"]}
        row |= {"low": last["wer.low"], "high": last["wer.high"]}
        row |= {"over": last["over"], "n over": last["n_over"], "utterances": last["n_utterances"]}
        columns = {
            "union_size": "VUSS",
            "top1_agreement": "top-1",
            "total_variation": "TV",
            "student_mass": "mass",
            "student_entropy": "entropy",
        }
        for label, step in (("at switch", switch), ("at end", int(last["step"]))):
            for statistic, short in columns.items():
                row[f"{short} {label}"] = overlap(step, statistic) if step is not None else float("nan")
        rows.append(row)
    return pd.DataFrame(rows)


def stage_ends(paths: dict[tuple[str, int], Path]) -> pd.DataFrame:
    """A row a stage of each arm and seed, after the teacher's: error rate and overlap where it was left.

    `seconds_a_step` is the median over the stage's steps.
    """
    frames = []
    for (arm, seed), path in paths.items():
        loaded = load(path)
        frame = stage_table(loaded).frame.drop(columns=["reason", "gate", "stored"])
        seconds = loaded.metrics.filter(like="seconds.").sum(axis=1).groupby(loaded.metrics["stage"]).median()
        frame["seconds_a_step"] = frame["stage"].map(seconds.round(4))
        frame.insert(0, "arm", arm)
        frame.insert(1, "seed", seed)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def differences(paths: dict[tuple[str, int], Path], pairs: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """A row a pair and seed: how the second's final error rate differs from the first's, paired.

    Args:
        paths: Runs by arm and seed.
        pairs: Arms to compare; `base` is what an arm had when its first stage ended, compared with its own end.
    """
    rows = []
    for first, second in pairs:
        for seed in sorted({seed for _, seed in paths}):
            sides = []
            for arm in (first, second):
                loaded = load(paths[second if arm == "base" else arm, seed])
                evaluations = student_evaluations(loaded)
                chosen = evaluations[evaluations["stage"] == "base"] if arm == "base" else evaluations
                sides.append(transcripts_of(loaded, chosen.iloc[-1].to_dict()))
            by = cluster_of(*sides)
            found = error_rate_difference(*sides, by=by).difference
            row = {"first": first, "second": second, "seed": seed, "difference": found.value}
            row |= {"low": found.low, "high": found.high, "over": f"{by or 'utterance'}s", "n over": found.n_groups}
            rows.append(row)
    return pd.DataFrame(rows)


def markdown(frame: pd.DataFrame) -> str:
    """A pipe table with three decimals."""
    cells = [[f"{v:.3f}" if isinstance(v, float) else str(v) for v in row] for row in frame.itertuples(index=False)]
    lines = [list(map(str, frame.columns)), ["---"] * len(frame.columns), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
