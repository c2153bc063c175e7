"""What `measure` takes besides torch tensors."""

import numpy as np
import pytest
import torch

from overlap import measure


class Foreign:
    """An array of another library: nothing but the DLPack protocol."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


@pytest.fixture
def logits():
    rng = np.random.default_rng(0)
    return rng.normal(size=(4, 3, 20)).astype(np.float32), rng.normal(size=(4, 3, 20)).astype(np.float32)


def same(first, second):
    for name, value in second.values().items():
        torch.testing.assert_close(first.values()[name], value, rtol=0, atol=0, equal_nan=True, msg=name)


@pytest.mark.parametrize(
    "form",
    [
        lambda array: array,
        lambda array: array.astype(np.float64),
        lambda array: array[..., ::-1][..., ::-1],  # strides that torch has not
        lambda array: array.astype(">f4"),
        lambda array: np.asfortranarray(array),
        Foreign,
    ],
)
def test_numpy_and_dlpack(logits, form):
    expected = measure(*map(torch.from_numpy, logits), k=4)
    same(measure(*map(form, logits), k=4), expected)


def test_read_only_arrays_do_not_warn_and_are_not_written(logits):
    student, teacher = logits
    student.flags.writeable = False
    before = student.copy()
    mask, tokens = np.arange(12).reshape(4, 3) % 3 > 0, np.arange(12, dtype=np.int32).reshape(4, 3)
    blocked = np.array([1, 2])
    statistics = measure(student, teacher, k=4, mask=mask, tokens=tokens, blocked=blocked)
    expected = measure(
        torch.tensor(student),
        torch.tensor(teacher),
        k=4,
        mask=torch.tensor(mask),
        tokens=torch.tensor(tokens).long(),
        blocked=[1, 2],
    )
    same(statistics, expected)
    assert (student == before).all()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[1.0]], "student_logits: expected a torch.Tensor of shape .* or a DLPack object, received list"),
        (np.array([["a"]]), "student_logits: expected an array of numbers, received numpy dtype <U1"),
        (np.array([[1, 2]]), "student_logits: expected floating-point logits, received torch.int64"),
        (np.array([[1j]]), "student_logits: expected an array of numbers, received numpy dtype complex128"),
    ],
)
def test_errors(value, message):
    with pytest.raises(ValueError, match=message):
        measure(value, torch.zeros(1, 2), k=1)
