"""`measure` against the ways it is usually done, at Qwen's vocabulary.

    python -m tests.benchmarks.bench_measure --threads 1

Each row computes at least what it says; `measure` computes everything it always does:

* plain: both log-softmaxes, both supports, every product written out: entropies, KL both ways, Jensen-Shannon, total
  variation, sets and masses. All positions at once, as most trainers have it;
* plain + nuclei: the same and the top-p sets, by sorting, which `measure` has too;
* verl: overlap, masses and top-k forward KL, from all positions at once;
* verl, chunked: the same 4,096 rows at a time;
* floor: the two exponentials and the sums of a softmax, in chunks, nothing else: no exact way can be faster in eager
  PyTorch.

Then, with as many busy processes beside it as the machine has processors, `measure` on one thread and on torch's
default number of threads, for calls of a few positions and of many: however many threads there are, it should take at
most 1.2 times what one takes.

Two kinds of logits: *peaked*, a few dozen candidates stand out as in a recognizer's states, and *flat*, random normal
scores, whose nuclei hold tens of thousands of tokens. Memory is the rise of a fresh process's resident set over its
inputs.
"""

import argparse
import functools
import os
from collections.abc import Callable

import torch
from torch import Tensor

import overlap
from tests.benchmarks.harness import busy, in_fresh_process, interleaved, peak_extra_mib, pin_threads, show, spread

MODULE = "tests.benchmarks.bench_measure"
Logits = tuple[Tensor, Tensor, Tensor]


def inputs(kind: str, positions: int, vocabulary: int, dtype: torch.dtype) -> Logits:
    """Student's and teacher's logits, the teacher near the student, and the tokens that the student wrote."""
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(positions, vocabulary, generator=generator).mul_(2.0)
    if kind == "peaked":
        best = torch.randint(vocabulary, (positions, 40), generator=generator)
        student.scatter_(1, best, 10 + 14 * torch.rand(positions, 40, generator=generator))
    teacher = torch.randn(positions, vocabulary, generator=generator).mul_(0.7).add_(student)
    return student.to(dtype), teacher.to(dtype), student.argmax(-1)


def plain(logits: Logits, k: int) -> dict[str, Tensor]:
    """The definitions, written out."""
    log_p, log_q = (torch.log_softmax(z.float(), -1) for z in logits[:2])
    p, q = log_p.exp(), log_q.exp()
    middle = (p + q) / 2
    student, teacher = (z.topk(k).indices for z in logits[:2])
    same = (student[:, :, None] == teacher[:, None, :]).any(-1)
    return {
        "overlap_ratio": same.float().mean(-1),
        "top1_agreement": (student[:, 0] == teacher[:, 0]).float(),
        "student_mass": p.gather(-1, teacher).sum(-1),
        "teacher_mass": q.gather(-1, student).sum(-1),
        "student_intersection_mass": (p.gather(-1, student) * same).sum(-1),
        "teacher_intersection_mass": (q.gather(-1, student) * same).sum(-1),
        "student_entropy": -(p * log_p).sum(-1),
        "teacher_entropy": -(q * log_q).sum(-1),
        "forward_kl": (q * (log_q - log_p)).sum(-1),
        "reverse_kl": (p * (log_p - log_q)).sum(-1),
        "jensen_shannon": ((p * (log_p - middle.log())).sum(-1) + (q * (log_q - middle.log())).sum(-1)) / 2,
        "total_variation": (p - q).abs().sum(-1) / 2,
    }


def plain_with_nuclei(logits: Logits, k: int) -> dict[str, Tensor]:
    """`plain` and the overlap of the top-p sets."""
    result = plain(logits, k)
    members = []
    for z in logits[:2]:
        mass, order = torch.softmax(z.float(), -1).sort(dim=-1, descending=True)
        members.append(torch.zeros_like(mass, dtype=torch.bool).scatter_(-1, order, mass.cumsum(-1) - mass < 0.95))
    student, teacher = members
    result["nucleus_overlap"] = (student & teacher).sum(-1) / (student | teacher).sum(-1)
    return result


def verl(logits: Logits, k: int) -> dict[str, Tensor]:
    """Overlap ratio, masses and forward KL on the teacher's top-k, raw and not renormalized."""
    log_p, log_q = (torch.log_softmax(z.float(), -1) for z in logits[:2])
    student, (best, teacher) = log_p.topk(k).indices, log_q.topk(k)
    mine = log_p.gather(-1, teacher)
    return {
        "overlap_ratio": (student[:, :, None] == teacher[:, None, :]).any(-1).float().mean(-1),
        "student_mass": mine.exp().sum(-1),
        "kl": (best.exp() * (best - mine)).sum(-1),
    }


def chunked(way: Callable[[Logits, int], dict[str, Tensor]], logits: Logits, k: int) -> dict[str, Tensor]:
    """4,096 rows at a time."""
    parts = [way((s, t, i), k) for s, t, i in zip(*(tensor.split(4096) for tensor in logits), strict=True)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def floor(logits: Logits, _: int) -> dict[str, Tensor]:
    """Two exponentials a token and their sums."""
    sums: list[Tensor] = []
    buffer = torch.empty(3, logits[0].shape[1])
    for z in logits[:2]:
        for rows in z.split(3):
            scores = buffer[: rows.shape[0]].copy_(rows)
            sums.append(scores.sub_(scores.amax(-1, keepdim=True)).exp_().sum(-1))
    return {"z": torch.cat(sums)}


def measured(logits: Logits, k: int) -> dict[str, Tensor]:
    """The library's way."""
    return overlap.measure(*logits[:2], k=k, tokens=logits[2]).values()


WAYS = {
    "measure": measured,
    "plain": plain,
    "plain + nuclei": plain_with_nuclei,
    "verl": verl,
    "verl, chunked": functools.partial(chunked, verl),
    "floor": floor,
}


def check(kind: str, k: int) -> None:
    """The ways agree where they compute the same."""
    logits = inputs(kind, 64, 5003, torch.float32)
    expected = measured(logits, k)
    for way in ("plain", "plain + nuclei", "verl"):
        for name, value in WAYS[way](logits, k).items():
            if name in expected and (way, name) != ("verl", "kl"):
                torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=2e-5, msg=f"{way}: {name}")


def on_threads(n: int, logits: Logits, k: int) -> dict[str, Tensor]:
    """`measured` with torch on n threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        return measured(logits, k)
    finally:
        torch.set_num_threads(before)


def under_load(kind: str, positions: int, vocabulary: int, k: int, rounds: int) -> None:
    """One thread and torch's default number side by side, while every processor has other work."""
    logits, n = inputs(kind, positions, vocabulary, torch.float32), os.cpu_count() or 1
    ways = {
        f"{threads} threads": functools.partial(on_threads, threads, logits, k) for threads in sorted({1, n, 2 * n})
    }
    with busy(n):
        seconds = interleaved(ways, rounds)
    rows = [
        [way, spread(1000 * taken / positions), spread(taken / seconds["1 threads"]), f"{ratio:.3g}"]
        for way, taken in seconds.items()
        for ratio in [taken.sum() / seconds["1 threads"].sum()]
    ]
    title = (
        f"measure under load, {n} busy processes, {kind} float32 logits: N = {positions:,}, V = {vocabulary:,}, "
        f"k = {k}; median [quartiles] of {rounds} rounds"
    )
    show(title, ["way", "ms a position", "time / one thread", "of all rounds"], rows)
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--positions", type=int, default=1024)
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--kind", nargs="+", default=["peaked", "flat"])
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument(
        "--load", type=int, nargs="*", default=[4, 64], metavar="N", help="positions of calls under load"
    )
    parser.add_argument("--memory-of", choices=list(WAYS), help="print the peak of this way in MiB and do nothing else")
    options = parser.parse_args()
    pin_threads(options.threads)
    if options.memory_of:
        dtype = getattr(torch, options.dtype[0])
        WAYS[options.memory_of](inputs(options.kind[0], 8, 5003, dtype), options.k)  # what loads on first use
        logits = inputs(options.kind[0], options.positions, options.vocabulary, dtype)
        print(peak_extra_mib(lambda: WAYS[options.memory_of](logits, options.k)))
        return

    for kind in options.kind:
        check(kind, options.k)
        for dtype in options.dtype:
            sizes = [f"--{name}={getattr(options, name)}" for name in ("positions", "vocabulary", "k", "threads")]
            peaks = {
                way: float(in_fresh_process(MODULE, *sizes, "--kind", kind, "--dtype", dtype, f"--memory-of={way}"))
                for way in options.ways
            }
            logits = inputs(kind, options.positions, options.vocabulary, getattr(torch, dtype))
            ways = {way: functools.partial(WAYS[way], logits, options.k) for way in options.ways}
            seconds = interleaved(ways, options.rounds)
            rows = [
                [
                    way,
                    spread(1000 * seconds[way] / options.positions),
                    spread(seconds[way] / seconds["measure"]),
                    f"{peaks[way]:,.0f}",
                ]
                for way in options.ways
            ]
            title = (
                f"Overlap statistics, {kind} {dtype} logits: N = {options.positions:,}, V = {options.vocabulary:,}, "
                f"k = {options.k}; median [quartiles] of {options.rounds} rounds"
            )
            show(title, ["way", "ms a position", "time / measure", "peak extra MiB"], rows)
            print()
        for positions in options.load:
            under_load(kind, positions, options.vocabulary, options.k, 4 * options.rounds)


if __name__ == "__main__":
    main()
