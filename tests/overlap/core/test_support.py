import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap import top_k, union
from overlap.core import chunking
from overlap.core.topk import Support, intersection


def brute_top_k(row, k, blocked=()):
    """The k best admissible ids of a row of Python floats: by score, then by id."""
    order = sorted((i for i in range(len(row)) if i not in blocked), key=lambda i: (-row[i], i))
    scored = [i for i in order if row[i] != float("-inf")]
    tie = len(scored) > k and row[scored[k - 1]] == row[scored[k]]
    return scored[:k], tie


def members(support):
    """Sets of valid ids by position."""
    ids, valid = support.ids.flatten(0, -2), support.valid.flatten(0, -2)
    return [set(i[v].tolist()) for i, v in zip(ids, valid, strict=True)]


scores = st.sampled_from([-float("inf"), -3.0, -0.0, 0.0, 1.0, 1.5, 2.0, 1e4])


@given(st.data())
@settings(deadline=None)
def test_top_k_is_the_sorted_choice_under_heavy_ties(data):
    vocabulary = data.draw(st.integers(1, 12))
    rows = data.draw(st.lists(st.lists(scores, min_size=vocabulary, max_size=vocabulary), min_size=1, max_size=5))
    blocked = data.draw(st.sets(st.integers(0, vocabulary - 1), max_size=vocabulary - 1))
    for row in rows:
        admissible = next(i for i in range(vocabulary) if i not in blocked)
        row[admissible] = max(row[admissible], 0.0)  # a position needs one finite score
    k = data.draw(st.integers(1, vocabulary - len(blocked)))
    support = top_k(torch.tensor(rows), k, blocked=sorted(blocked))
    for n, row in enumerate(rows):
        wanted, tie = brute_top_k(row, k, blocked)
        assert support.ids[n][support.valid[n]].tolist() == wanted  # best first, equal scores by ascending id
        assert bool(support.boundary_tie[n]) == tie
    assert support.size.tolist() == [len(brute_top_k(row, k, blocked)[0]) for row in rows]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 32, 500, 1000])
def test_top_k_at_a_larger_vocabulary(dtype, k):
    logits = (torch.randn(3, 7, 1000, generator=torch.Generator().manual_seed(0)) * 3).to(dtype)
    support = top_k(logits, k)
    flat = logits.float().reshape(-1, 1000)
    for n, row in enumerate(flat.tolist()):
        wanted, tie = brute_top_k(row, k)
        assert support.ids.reshape(-1, k)[n].tolist() == wanted
        assert bool(support.boundary_tie.reshape(-1)[n]) == tie
    assert support.valid.all()


def test_constant_rows_give_the_lowest_ids():
    assert top_k(torch.zeros(2, 300), 5).ids.tolist() == [[0, 1, 2, 3, 4]] * 2
    assert top_k(torch.zeros(300), 3, blocked=[0, 2]).ids.tolist() == [1, 3, 4]


def test_chunks_change_nothing(monkeypatch):
    logits = torch.randint(0, 4, (4, 6, 50)).float()
    whole = top_k(logits, 5)
    monkeypatch.setattr(chunking, "CHUNK_ELEMENTS", 120)
    parts = top_k(logits, 5)
    assert torch.equal(whole.ids, parts.ids)
    assert torch.equal(whole.boundary_tie, parts.boundary_tie)


def test_leading_shapes_and_gradients():
    logits = torch.randn(2, 3, 4, 9, requires_grad=True)
    support = top_k(logits, 2)
    assert support.ids.shape == (2, 3, 4, 2)
    assert support.boundary_tie.shape == (2, 3, 4)
    logits.gather(-1, support.ids).sum().backward()  # what a training objective does
    assert logits.grad.sum() == 48
    assert top_k(torch.randn(9), 4).ids.shape == (4,)
    assert top_k(torch.zeros(0, 9), 4).ids.shape == (0, 4)


def test_masked_positions_are_not_looked_at():
    logits = torch.zeros(2, 5)
    logits[1] = torch.nan
    support = top_k(logits, 2, mask=torch.tensor([True, False]))
    assert support.size.tolist() == [2, 0]
    assert support.ids[1].tolist() == [0, 0]


def test_blocked_scores_may_be_anything():
    logits = torch.tensor([[torch.nan, 1.0, torch.inf, 0.0]])
    assert top_k(logits, 2, blocked=[0, 2]).ids.tolist() == [[1, 3]]
    mask = torch.tensor([True, False, True, False])
    assert top_k(logits, 2, blocked=mask).ids.tolist() == [[1, 3]]
    assert top_k(logits[:, 1:2], 1, blocked=torch.zeros(1, dtype=torch.bool)).ids.tolist() == [[0]]


@pytest.mark.parametrize(
    ("logits", "options", "message"),
    [
        ([1.0], {"k": 1}, "logits: expected a torch.Tensor of shape .*, received list"),
        (torch.zeros(2, 4, dtype=torch.long), {"k": 1}, "logits: expected floating-point logits, received torch.int64"),
        (torch.tensor(1.0), {"k": 1}, r"logits: expected shape \[\.\.\., V\] with V >= 1, received \[\]"),
        (torch.zeros(2, 0), {"k": 1}, r"received \[2, 0\]; the last axis is the vocabulary"),
        (torch.zeros(2, 4), {"k": 0}, "k: expected an integer of at least 1, received 0"),
        (torch.zeros(2, 4), {"k": 2.0}, "k: expected an integer of at least 1, received 2.0"),
        (torch.zeros(2, 4), {"k": 4, "blocked": [1]}, "k: received 4, but the logits have only 3 admissible tokens"),
        (torch.zeros(2, 4), {"k": 1, "blocked": [1, 7, -1]}, "2 of 3 ids are outside the student's vocabulary of 4"),
        (
            torch.zeros(2, 4),
            {"k": 1, "blocked": torch.ones(3, dtype=torch.bool)},
            r"or a bool mask \[4\] .* shape \[3\]",
        ),
        (torch.zeros(2, 4), {"k": 1, "blocked": [0.5]}, "blocked: expected a one-axis sequence of token ids"),
        (
            torch.zeros(2, 4),
            {"k": 1, "mask": torch.ones(2)},
            "mask: expected a torch.bool tensor, received torch.float32",
        ),
        (torch.zeros(2, 4), {"k": 1, "mask": [True, True]}, "mask: expected a torch.bool tensor, received list"),
        (
            torch.zeros(2, 4),
            {"k": 1, "mask": torch.ones(3, dtype=torch.bool)},
            r"mask: expected the logits' leading shape \[2\], received \[3\]",
        ),
        (
            torch.tensor([[[0.0, 1.0], [torch.nan, 0.0]], [[torch.inf, 0.0], [-torch.inf, -torch.inf]]]),
            {"k": 1},
            r"logits: 3 of 4 unmasked positions hold NaN, \+inf or no finite .* the first at index \(0, 1\)",
        ),
    ],
)
def test_errors_say_what_and_what_to_do(logits, options, message):
    with pytest.raises(ValueError, match=message):
        top_k(logits, **options)


def test_support_refuses_mismatched_tensors():
    with pytest.raises(ValueError, match=r"Support: expected ids .* torch.int64 and valid"):
        Support(torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool))


@given(st.data())
@settings(deadline=None)
def test_union_and_intersection_are_set_operations(data):
    n, vocabulary = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 15))
    logits = [np.array(data.draw(st.lists(scores, min_size=n * vocabulary, max_size=n * vocabulary))) for _ in "st"]
    sides = []
    for flat in logits:
        table = torch.tensor(flat, dtype=torch.float32).reshape(n, vocabulary)
        table[:, 0] = table[:, 0].clamp_min(0.0)
        sides.append(top_k(table, data.draw(st.integers(1, vocabulary))))
    s, t = sides
    u, i = union(s, t), intersection(s, t)
    assert u.ids.shape == (n, s.ids.shape[-1] + t.ids.shape[-1])
    for mine, other, joined, common in zip(members(s), members(t), members(u), members(i), strict=True):
        assert joined == mine | other
        assert common == mine & other
    assert torch.equal(u.size, s.size + t.size - i.size)  # distinct ids: every one is valid once
    assert torch.equal(u.boundary_tie, s.boundary_tie | t.boundary_tie)
    assert (u.ids[~u.valid] == 0).all()


def test_union_keeps_the_students_order_first():
    s, t = top_k(torch.tensor([3.0, 2.0, 1.0, 0.0]), 2), top_k(torch.tensor([0.0, 3.0, 1.0, 2.0]), 2)
    u = union(s, t)
    assert u.ids[u.valid].tolist() == [0, 1, 3]
    assert intersection(t, s).ids[intersection(t, s).valid].tolist() == [1]


def test_a_support_whose_ties_are_unknown_stays_so():
    known = top_k(torch.zeros(1, 4), 2)
    unknown = Support(known.ids, known.valid)
    assert union(known, unknown).boundary_tie is None


def test_supports_of_different_positions_are_refused():
    with pytest.raises(ValueError, match=r"supports: expected one leading shape, received \[2\] and \[3\]"):
        union(top_k(torch.zeros(2, 4), 2), top_k(torch.zeros(3, 4), 2))
