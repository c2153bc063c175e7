"""Forward and backward of the union KL: from hidden states, against autograd through all logits.

    python -m tests.benchmarks.bench_union_kl --threads 2

Four ways to one loss and the same gradients (of the student's hidden states and head), sets by `overlap.top_k` in all:

* masked softmax: both models' logits of all positions, log-softmaxes over the whole vocabulary with −inf outside the
  union, autograd. The formula as it is written; needs some 10 GiB at the default sizes;
* gathered: both models' logits of all positions, the loss on the gathered union, autograd;
* checkpointed: the same in chunks of positions, logits recomputed in backward;
* union_kl: `overlap.union_kl`.

Memory is the rise of a fresh process's resident set over its inputs: once with a head that is trained, where every way
also makes the head's gradient ``[V, H]``, which the optimizer needs however it came, and once with a frozen head, where
what is left is what the loss itself takes.
"""

import argparse
import functools

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import overlap
from overlap.core.chunking import SET_ELEMENTS
from overlap.core.topk import Support
from tests.benchmarks.harness import in_fresh_process, interleaved, peak_extra_mib, pin_threads, show, spread

MODULE = "tests.benchmarks.bench_union_kl"


def inputs(positions: int, vocabulary: int, hidden: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Student's hidden states and head, teacher's hidden states and head; a teacher near the student."""
    torch.manual_seed(0)
    student, head = torch.randn(positions, hidden, dtype=dtype), torch.randn(vocabulary, hidden, dtype=dtype)
    head *= 3 / hidden**0.5
    teacher = student + 0.3 * torch.randn(positions, hidden, dtype=dtype)
    return student.requires_grad_(), head.requires_grad_(), teacher, head.detach()


def unions(z_s: Tensor, z_t: Tensor, k: int) -> Support:
    """The tokens on which the loss is taken."""
    return overlap.union(overlap.top_k(z_s.detach(), k), overlap.top_k(z_t, k))


def masked_softmax(tensors: tuple[Tensor, ...], k: int) -> Tensor:
    """The formula as it is written."""
    student, head, teacher, teacher_head = tensors
    z_s = F.linear(student, head)
    with torch.no_grad():
        z_t = F.linear(teacher, teacher_head)
        u = unions(z_s, z_t, k)
        outside = torch.zeros(z_s.shape, dtype=torch.int8).scatter_add_(-1, u.ids, u.valid.to(torch.int8)) == 0
        log_q = torch.log_softmax(z_t.masked_fill(outside, -torch.inf).float(), -1)
    log_p = torch.log_softmax(z_s.masked_fill(outside, -torch.inf).float(), -1)
    terms = torch.where(outside, 0.0, log_q.exp() * (log_q - log_p))
    return terms.sum() / student.shape[0]


def from_logits(student: Tensor, head: Tensor, teacher: Tensor, teacher_head: Tensor, k: int) -> Tensor:
    """Sum of the losses, by autograd through gathered logits."""
    z_s = F.linear(student, head)
    with torch.no_grad():
        z_t = F.linear(teacher, teacher_head)
        u = unions(z_s, z_t, k)
    return overlap.support_kl(z_s.gather(-1, u.ids), z_t.gather(-1, u.ids), u.valid).sum()


def gathered(tensors: tuple[Tensor, ...], k: int) -> Tensor:
    """All logits, the loss on a few of them."""
    return from_logits(*tensors, k) / tensors[0].shape[0]


def checkpointed(tensors: tuple[Tensor, ...], k: int) -> Tensor:
    """In chunks, each computed again in backward."""
    student, head, teacher, teacher_head = tensors
    size = max(1, SET_ELEMENTS // head.shape[0])
    total = student.new_zeros((), dtype=torch.float32)
    for mine, other in zip(student.split(size), teacher.split(size), strict=True):
        total = total + checkpoint(from_logits, mine, head, other, teacher_head, k, use_reentrant=False)
    return total / student.shape[0]


def from_hidden(tensors: tuple[Tensor, ...], k: int) -> Tensor:
    """The library's way."""
    return overlap.union_kl(*tensors, k=k).loss


WAYS = {"masked softmax": masked_softmax, "gathered": gathered, "checkpointed": checkpointed, "union_kl": from_hidden}
BASE = "masked softmax"


def step(way: str, tensors: tuple[Tensor, ...], k: int) -> list[Tensor]:
    """Loss and gradients."""
    loss = WAYS[way](tensors, k)
    return [loss.detach(), *torch.autograd.grad(loss, [tensor for tensor in tensors if tensor.requires_grad])]


def check(k: int) -> None:
    """All ways give the same loss and gradients."""
    tensors = inputs(64, 5003, 128, torch.float32)
    expected = step(BASE, tensors, k)
    for way in WAYS:
        for mine, other in zip(step(way, tensors, k), expected, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--positions", type=int, default=2048)
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-of", choices=list(WAYS), help="print the peak of this way in MiB and do nothing else")
    parser.add_argument("--frozen", action="store_true", help="with --memory-of: the head is not trained")
    options = parser.parse_args()
    pin_threads(options.threads)
    sizes = (options.positions, options.vocabulary, options.hidden, getattr(torch, options.dtype))
    if options.memory_of:
        step(options.memory_of, inputs(64, 512, 64, sizes[-1]), options.k)  # what loads on first use does not count
        tensors = inputs(*sizes)
        tensors[1].requires_grad_(not options.frozen)
        print(peak_extra_mib(lambda: step(options.memory_of, tensors, options.k)))
        return

    check(options.k)
    shared = [f"--{name}={getattr(options, name)}" for name in ("positions", "vocabulary", "hidden", "k", "dtype")]
    shared.append(f"--threads={options.threads}")
    peaks = {
        way: [float(in_fresh_process(MODULE, *shared, f"--memory-of={way}", *frozen)) for frozen in ([], ["--frozen"])]
        for way in WAYS
    }
    tensors = inputs(*sizes)
    seconds = interleaved({way: functools.partial(step, way, tensors, options.k) for way in WAYS}, options.rounds)
    rows = [
        [
            way,
            spread(seconds[way]),
            spread(seconds[way] / seconds[BASE]),
            spread(seconds[way] / seconds["gathered"]),
            *(f"{peak:,.0f} ({base / peak:.1f}×)" for peak, base in zip(peaks[way], peaks[BASE], strict=True)),
        ]
        for way in WAYS
    ]
    header = ["way", "seconds", f"time / {BASE}", "time / gathered", "peak MiB (smaller by)", "head frozen"]
    title = (
        f"Union KL, forward and backward: N = {options.positions:,}, V = {options.vocabulary:,}, H = {options.hidden:,}"
        f", k = {options.k}, {options.dtype}; median [quartiles] of {options.rounds} rounds"
    )
    show(title, header, rows)


if __name__ == "__main__":
    main()
