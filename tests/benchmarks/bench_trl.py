"""Distillation of a text-only pair, against TRL's trainers: equal losses, and steps a second.

    python -m tests.benchmarks.bench_trl --threads 1

Teacher and student are Qwen2 models of 4 and 2 layers (the student is the teacher's first half) with a byte-level
tokenizer; `tests/distill/beside_trl.py` says what is made equal and how the divergences are called. Every way is a real
training loop, from the same weights over the same batches, optimizer, clipping and a logged row a step included:

* with statistics: `distill.train` as it is, every overlap statistic of every step in `metrics.jsonl`;
* without statistics: the same, with |U| as the only one;
* DistillationTrainer: TRL's stable trainer, that makes logits in tiles and again in backward;
* GKDTrainer: TRL's older trainer, from whole logits; on given states alone.

On *given* states all learn from the manifest's completions. On *written* ones the student writes greedily, so that all
still learn from the same tokens. A round is one run of each way, in rotating order; its time a step is the median over
the run's steps but the first. Ratios are taken round by round, by the wall clock and by the time that the processor
spent on the process, which other work on the machine disturbs less; with one thread on an idle machine they are one.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from distill.scoring import local
from overlap import TokenStatistics, top_k, union
from overlap.statistics.with_sets import MeasuredSets
from overlap.vocab.settings import ComparisonSettings
from tests.benchmarks.harness import pin_threads, show, spread
from tests.distill.training.beside_trl import (
    Comparison,
    Course,
    ours,
    save_manifest,
    save_pair,
    trl_distillation,
    trl_gkd,
)

CASES = [("given", "forward_kl"), ("given", "reverse_kl"), ("given", "jensen_shannon"), ("written", "forward_kl")]


def without_statistics(comparison: Comparison, output: Path) -> Course:
    """`distill.train` that measures nothing but what it has at hand."""

    def ranked(
        student: Tensor, teacher: Tensor, settings: ComparisonSettings, *, mask: Tensor, tokens: Tensor
    ) -> MeasuredSets:
        k, temperature = settings.k, settings.temperature
        sides = (student, cast("Tensor", settings.blocked)), (teacher, cast("Tensor", settings.teacher_blocked))
        sets = [top_k(logits, k, blocked=blocked, mask=mask) for logits, blocked in sides]
        log_z = [(logits / temperature).masked_fill(blocked, -torch.inf).logsumexp(-1) for logits, blocked in sides]
        size = union(*sets).size.float()
        known = SimpleNamespace(values=lambda: {"union_size": size})
        return MeasuredSets(cast("TokenStatistics", known), sets[0], sets[1], log_z[0], log_z[1])

    with mock.patch.object(local, "measure_with_sets", ranked):
        return ours(comparison, output)


WAYS: dict[str, Callable[[Comparison, Path], Course]] = {
    "with statistics": ours,
    "without statistics": without_statistics,
    "DistillationTrainer": trl_distillation,
    "GKDTrainer": trl_gkd,
}


def rounds_of(comparison: Comparison, rounds: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """[rounds, 2] seconds a step of every way, wall clock and processor, and every way's losses."""
    names = [name for name in WAYS if comparison.states == "given" or name != "GKDTrainer"]
    seconds: dict[str, np.ndarray] = {name: np.zeros((rounds, 2)) for name in names}
    losses = {}
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            with tempfile.TemporaryDirectory() as folder:
                course = WAYS[name](comparison, Path(folder) / "run")
            seconds[name][number] = np.median(course.step_seconds, axis=0)
            losses[name] = np.array(course.losses)
    return seconds, losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, default=32_768)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--completion", type=int, default=32, help="most tokens of a completion; half of it at least")
    parser.add_argument("--spread", type=float, default=4.0, help="standard deviation of the teacher's logits")
    parser.add_argument("--steps", type=int, default=4, help="of a run; the first is not timed")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", nargs="+", default=[":".join(case) for case in CASES], help="states:divergence")
    options = parser.parse_args()
    pin_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = {"vocabulary": options.vocabulary, "hidden": options.hidden, "layers": (4, 2)}
        teacher, student = save_pair(folder, **sizes, spread=options.spread)
        manifest = save_manifest(
            folder / "train.jsonl", options.steps * options.batch, prompt=16, completion=options.completion
        )
        for case in options.cases:
            states, divergence = case.split(":")
            comparison = Comparison(
                teacher, student, manifest, options.steps, options.batch, divergence, 0.5, states, options.completion
            )
            seconds, losses = rounds_of(comparison, options.rounds)
            rows = [
                [
                    way,
                    spread(1 / seconds[way][:, 0]),
                    *(
                        spread(seconds[way][:, clock] / seconds[of][:, clock])
                        for of in ("with statistics", "without statistics")
                        for clock in (0, 1)
                    ),
                    f"{np.abs(losses[way] - losses['with statistics']).max():.1e}",
                ]
                for way in seconds
            ]
            title = (
                f"{divergence} on {states} states, losses {losses['with statistics'].min():.3f} to "
                f"{losses['with statistics'].max():.3f} nats a token: V = {options.vocabulary:,}, "
                f"H = {options.hidden}, {options.batch} completions of {options.completion} tokens at most; "
                f"median [quartiles] of {options.rounds} rounds of {options.steps} steps"
            )
            header = ["way", "steps/s", "with statistics / way", "by CPU time", "without / way", "by CPU time"]
            header.append("largest difference of a loss")
            show(title, header, rows)
            print(flush=True)


if __name__ == "__main__":
    main()
