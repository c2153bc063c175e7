import pytest
import torch
from torch import nn

import overlap.core.chunking
import overlap.core.threads
from overlap import Head, VocabularyMap, measure, measure_hidden


def pair(*, bias=True, seed=0, widths=(60, 60)):
    torch.manual_seed(seed)
    heads = nn.Linear(8, widths[0], bias=bias), nn.Linear(16, widths[1], bias=bias)
    return (torch.randn(3, 7, 8) * 4, heads[0], torch.randn(3, 7, 16) * 4, heads[1])


def same(first, second, **tolerance):
    for name, value in second.values().items():
        torch.testing.assert_close(first.values()[name], value, equal_nan=True, msg=name, **tolerance)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("elements", [1, 200, 2**22])
def test_it_is_measure_on_the_logits(monkeypatch, bias, elements):
    monkeypatch.setattr(overlap.core.chunking, "HEAD_ELEMENTS", elements)
    student_hidden, student_head, teacher_hidden, teacher_head = pair(bias=bias)
    options = {
        "k": 5,
        "mask": torch.rand(3, 7) < 0.7,
        "tokens": torch.randint(0, 60, (3, 7)),
        "blocked": [3],
        "temperature": 0.7,
    }
    with torch.no_grad():
        whole = measure(student_head(student_hidden), teacher_head(teacher_hidden), **options)
    same(
        measure_hidden(student_hidden, student_head, teacher_hidden, teacher_head, **options),
        whole,
        rtol=1e-4,
        atol=1e-5,
    )


def test_weights_and_heads_and_maps():
    student_hidden, student_head, teacher_hidden, teacher_head = pair(bias=False, widths=(60, 50))
    vocabulary = VocabularyMap.from_pairs(((i, i) for i in range(10, 40)), student_size=60, teacher_size=50)
    by_layer = measure_hidden(student_hidden, student_head, teacher_hidden, teacher_head, k=5, vocabulary=vocabulary)
    by_weight = measure_hidden(
        student_hidden, student_head.weight, teacher_hidden, Head(teacher_head.weight), k=5, vocabulary=vocabulary
    )
    same(by_weight, by_layer, rtol=0, atol=0)
    assert not by_layer.forward_kl.requires_grad


def test_only_a_chunk_of_logits_exists(monkeypatch):
    """No tensor has the size of all positions' logits."""
    largest = 0

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and not isinstance(result, nn.Parameter):
                largest = max(largest, result.numel())
            return result

    monkeypatch.setattr(overlap.core.threads, "MOST", 1)  # watched is the calling thread
    monkeypatch.setattr(overlap.core.chunking, "HEAD_ELEMENTS", 3 * 400)
    torch.manual_seed(1)
    weights = torch.randn(400, 4), torch.randn(400, 4)
    student, teacher = torch.randn(50, 4), torch.randn(50, 4)
    with Watch():
        measure_hidden(student, weights[0], teacher, weights[1], k=3)
    assert 3 * 400 <= largest < 5 * 400


def test_errors():
    student_hidden, student_head, teacher_hidden, teacher_head = pair()
    with pytest.raises(ValueError, match=r"teacher_hidden: expected the student's leading shape \[3, 7\]"):
        measure_hidden(student_hidden, student_head, teacher_hidden[:, :6], teacher_head)
    with pytest.raises(ValueError, match=r"student_hidden: expected hidden states \[\.\.\., 8\]"):
        measure_hidden(teacher_hidden, student_head, teacher_hidden, teacher_head)
    with pytest.raises(ValueError, match=r"teacher_head: expected a model, torch\.nn\.Linear"):
        measure_hidden(student_hidden, student_head, teacher_hidden, "head")
    student_hidden[1, 2] = torch.nan
    with pytest.raises(ValueError, match=r"student_logits: 1 of 21 unmasked positions .* the first at index \(1, 2\)"):
        measure_hidden(student_hidden, student_head, teacher_hidden, teacher_head)
