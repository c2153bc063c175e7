"""`measure_hidden` against the two matrix products that it cannot do without.

    python -m tests.benchmarks.bench_hidden --threads 1

* products: both models' logits of all positions, nothing else;
* products + measure: the same and `measure` on them, for who can hold them;
* measure_hidden: `overlap.measure_hidden`.

Two kinds of states, as in `bench_measure`: *peaked*, which point at 40 candidates, as a recognizer's do, and *flat*,
random ones, whose nuclei hold thousands of tokens.
"""

import argparse
import functools

import torch
import torch.nn.functional as F
from torch import Tensor

import overlap
from tests.benchmarks.harness import in_fresh_process, interleaved, peak_extra_mib, pin_threads, show, spread

MODULE = "tests.benchmarks.bench_hidden"


def inputs(kind: str, positions: int, vocabulary: int, hidden: int) -> tuple[Tensor, ...]:
    """Student's hidden states and head, teacher's hidden states and head; a teacher near the student."""
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(positions, hidden, generator=generator)
    head = torch.randn(vocabulary, hidden, generator=generator).mul_(4 / hidden**0.5)
    if kind == "peaked":
        best = torch.randint(vocabulary, (positions, 40), generator=generator)
        scores = 10 + 14 * torch.rand(positions, 1, 40, generator=generator)
        student = (scores @ head[best] / 16)[:, 0]  # a row of the head has a squared norm of 16
    teacher = student + 0.3 * torch.randn(positions, hidden, generator=generator)
    return student, head, teacher, head.clone()


def products(tensors: tuple[Tensor, ...], _: int) -> object:
    """The floor."""
    return F.linear(tensors[0], tensors[1]), F.linear(tensors[2], tensors[3])


def products_and_measure(tensors: tuple[Tensor, ...], k: int) -> object:
    """All logits at once."""
    return overlap.measure(F.linear(tensors[0], tensors[1]), F.linear(tensors[2], tensors[3]), k=k)


def from_hidden(tensors: tuple[Tensor, ...], k: int) -> object:
    """The library's way."""
    return overlap.measure_hidden(*tensors, k=k)


WAYS = {"products": products, "products + measure": products_and_measure, "measure_hidden": from_hidden}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--positions", type=int, default=1024)
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kind", nargs="+", default=["peaked", "flat"])
    parser.add_argument("--memory-of", choices=list(WAYS), help="print the peak of this way in MiB and do nothing else")
    options = parser.parse_args()
    pin_threads(options.threads)
    sizes = (options.positions, options.vocabulary, options.hidden)
    if options.memory_of:
        WAYS[options.memory_of](inputs("peaked", 8, 5003, 64), options.k)  # what loads on first use does not count
        tensors = inputs(options.kind[0], *sizes)
        print(peak_extra_mib(lambda: WAYS[options.memory_of](tensors, options.k)))
        return
    shared = [f"--{name}={getattr(options, name)}" for name in ("positions", "vocabulary", "hidden", "k", "threads")]
    for kind in options.kind:
        peaks = {way: float(in_fresh_process(MODULE, *shared, "--kind", kind, f"--memory-of={way}")) for way in WAYS}
        tensors = inputs(kind, *sizes)
        seconds = interleaved({way: functools.partial(WAYS[way], tensors, options.k) for way in WAYS}, options.rounds)
        rows = [
            [way, spread(seconds[way]), spread(seconds[way] / seconds["products"]), f"{peaks[way]:,.0f}"]
            for way in WAYS
        ]
        title = (
            f"Statistics from {kind} hidden states: N = {options.positions:,}, V = {options.vocabulary:,}, "
            f"H = {options.hidden:,}, k = {options.k}, float32; median [quartiles] of {options.rounds} rounds"
        )
        show(title, ["way", "seconds", "time / products", "peak extra MiB"], rows)
        print()


if __name__ == "__main__":
    main()
