import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap import VocabularyMap, measure, sweep


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 20), min_size=1, max_size=4),
    st.lists(st.sampled_from([0.3, 1.0, 2.5]), min_size=1, max_size=2),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_every_setting_is_what_measure_gives(seed, ks, temperatures, mapped):
    generator = torch.Generator().manual_seed(seed)
    student = (torch.randn(3, 4, 30, generator=generator) * 3).round(decimals=1)
    teacher = (torch.randn(3, 4, 33 if mapped else 30, generator=generator) * 3).round(decimals=1)
    options = {
        "mask": torch.rand(3, 4, generator=generator) < 0.8,
        "tokens": torch.randint(-1, 30, (3, 4), generator=generator),
        "blocked": [0, 4],
    }
    if mapped:
        options["vocabulary"] = VocabularyMap.from_pairs(
            zip(range(2, 30), range(30), strict=False), student_size=30, teacher_size=33
        )
    results = sweep(student, teacher, ks=ks, temperatures=temperatures, **options)
    assert set(results) == {(k, t) for k in ks for t in temperatures}
    for (k, temperature), statistics in results.items():
        assert (statistics.k, statistics.temperature) == (k, temperature)
        single = measure(student, teacher, k=k, temperature=temperature, **options)
        for name, value in single.values().items():
            torch.testing.assert_close(statistics.values()[name], value, rtol=0, atol=0, equal_nan=True, msg=name)


@pytest.mark.parametrize(("size", "ks"), [(9000, (1, 7, 40)), (3000, (5, 150))])
def test_a_large_vocabulary(size, ks):
    """Only the longest list is ranked; all smaller sets are taken from it."""
    generator = torch.Generator().manual_seed(1)
    student = 3 * torch.randn(4, size, generator=generator)
    teacher = student + torch.randn(4, size, generator=generator)
    results = sweep(student, teacher, ks=ks)
    for k in ks:
        single = measure(student, teacher, k=k).values()
        for name, value in results[k, 1.0].values().items():
            if name != "nucleus_overlap":  # from the list or from the vocabulary, as far as the list goes
                torch.testing.assert_close(value, single[name], rtol=0, atol=0, equal_nan=True, msg=name)
        torch.testing.assert_close(results[k, 1.0].nucleus_overlap, single["nucleus_overlap"], rtol=1e-5, atol=1e-5)


def test_the_sets_grow_with_k():
    results = sweep(torch.randn(5, 200), torch.randn(5, 200))
    sizes = torch.stack([statistics.union_size for statistics in results.values()])
    assert [k for k, _ in results] == [1, 2, 4, 8, 16, 32, 64]
    assert (sizes.diff(dim=0) > 0).all()


def test_no_setting_is_refused():
    with pytest.raises(ValueError, match="ks: expected a list of at least one number"):
        sweep(torch.zeros(2, 4), torch.zeros(2, 4), ks=())
    with pytest.raises(ValueError, match="k: received 5, but the student's logits have only 4"):
        sweep(torch.zeros(2, 4), torch.zeros(2, 4), ks=(1, 5))
