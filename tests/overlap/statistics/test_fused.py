"""The sums for accelerators against those over scratch memory, step by step and compiled."""

import shutil

import pytest
import torch

from overlap import VocabularyMap
from overlap.core.buffers import Scratch
from overlap.core.topk_kernel import block_maxima
from overlap.statistics import full_vocabulary, full_vocabulary_gpu
from overlap.vocab.vocab_pair import VocabularyPair

MAP = VocabularyMap.from_pairs([(i, 399 - i) for i in range(250)], student_size=300, teacher_size=400)


def both(mapped, blocked, dtype, temperature, kernel=None):
    generator = torch.Generator().manual_seed(0)
    student, teacher = (3 * torch.randn(7, n, generator=generator) for n in (300, 400 if mapped else 300))
    scores = student.to(dtype), teacher.to(dtype)
    pair = VocabularyPair.from_sizes(300, teacher.shape[1], MAP if mapped else None, blocked, None, torch.device("cpu"))
    maxima = tuple(
        block_maxima(z.float(), side.admissible, side.touched)
        for z, side in zip(scores, (pair.student, pair.teacher), strict=True)
    )
    scratch = Scratch(torch.device("cpu"))
    reference = full_vocabulary._sums(scores[0].float(), scores[1].float(), maxima, pair, temperature, scratch)
    reference = torch.stack([found.double() for found in reference])
    return full_vocabulary_gpu.sums(*scores, maxima, pair, temperature, kernel=kernel), reference


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("blocked", [None, [0, 7, 299]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_step_by_step(mapped, blocked, dtype, temperature):
    received, reference = both(mapped, blocked, dtype, temperature, kernel=full_vocabulary_gpu.steps)
    torch.testing.assert_close(received, reference, rtol=1e-5, atol=1e-5)


def test_measure_takes_them_on_an_accelerator(monkeypatch):
    """The same statistics, whichever way; the device is only said to be another."""
    from overlap import measure

    student, teacher = (3 * torch.randn(5, 300, generator=torch.Generator().manual_seed(i)) for i in (1, 2))
    expected = measure(student, teacher, k=8, blocked=[3]).values()
    monkeypatch.setattr(full_vocabulary_gpu, "_kernel", lambda: full_vocabulary_gpu.steps)
    monkeypatch.setattr(
        full_vocabulary,
        "_sums",
        lambda p, q, maxima, pair, temperature, scratch: full_vocabulary_gpu.sums(
            p, q, maxima, pair, temperature
        ).unbind(),
    )
    for name, value in measure(student, teacher, k=8, blocked=[3]).values().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-5, equal_nan=True, msg=name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, while it compiles
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("mapped", [False, True])
def test_compiled(mapped):
    received, reference = both(
        mapped, [5], torch.bfloat16, 1.0, kernel=torch.compile(full_vocabulary_gpu.steps, dynamic=True)
    )
    torch.testing.assert_close(received, reference, rtol=1e-5, atol=1e-5)
