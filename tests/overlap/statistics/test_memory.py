"""Peak memory, as the rise of a fresh process's resident set: far below what is never held."""

import subprocess
import sys

import pytest

PREAMBLE = """
import resource, torch
from overlap import Head, measure, measure_hidden, union_kl
torch.set_num_threads(1)
def peak(call):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    call()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
def logits(n, v, dtype=torch.float32):
    return [torch.empty(n, v, dtype=dtype).normal_() for _ in range(2)]
def states(n, v, h=16, grad=False):
    return [torch.randn(size, h, requires_grad=grad) for size in (n, v, n, v)]
measure(*logits(4, 100), k=2)
union_kl(*states(4, 100, grad=True), k=2).loss.backward()
"""


def peak_mib(program: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", f"{PREAMBLE}\n{program}"], capture_output=True, text=True, timeout=300, check=True
    )
    return float(done.stdout)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("mask", ["None", "torch.arange(900) % 3 > 0"])
def test_measure_stays_within_64_mib(dtype, mask):
    """900 × 151,936 scores: 522 MiB of float32; one copy of either, or of what the mask keeps, would be seen."""
    assert peak_mib(f"x = logits(900, 151_936, torch.{dtype})\nprint(peak(lambda: measure(*x, mask={mask})))") < 64


def test_measure_hidden_holds_one_chunk_of_either_model():
    """8,000 × 20,000 logits are 610 MiB of each model, a chunk is 160."""
    assert peak_mib("x = states(8_000, 20_000)\nprint(peak(lambda: measure_hidden(*x, k=8)))") < 2 * 160 + 64


def test_union_kl_holds_no_logits():
    """6,000 × 20,000 logits are 458 MiB, a chunk is 64."""
    program = "x = states(6_000, 20_000, grad=True)\nprint(peak(lambda: union_kl(*x, k=8).loss.backward()))"
    assert peak_mib(program) < 200


def test_logits_at_holds_few_gathered_rows():
    """30,000 × 8 rows of 256 are 234 MiB, a chunk is 16."""
    program = """
head, hidden = Head(torch.randn(1_000, 256, requires_grad=True)), torch.randn(30_000, 256, requires_grad=True)
ids = torch.randint(1_000, (30_000, 8))
print(peak(lambda: head.logits_at(hidden, ids).sum().backward()))
"""
    assert peak_mib(program) < 160
