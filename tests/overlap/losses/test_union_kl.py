"""The union KL from hidden states against autograd through whole-vocabulary masked softmaxes, in float64."""

import functools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

import overlap.core.chunking
from overlap import Head, VocabularyMap, measure, support_kl, union_kl


def best(scores, k, blocked=()):
    """The k best ids by Python's sort of float32 scores, ties to the lower id."""
    allowed = [v for v in range(len(scores)) if v not in blocked]
    return set(sorted(allowed, key=lambda v: (-scores[v], v))[:k])


def oracle(z_s, z_t, k, *, temperature=1.0, mask=None, blocked=(), pairs=None, tail=False):
    """Sum of losses, and union sizes by position; the softmaxes run over the whole vocabulary with −inf outside U."""
    pairs = {v: v for v in range(z_s.shape[-1])} if pairs is None else pairs
    back = {teacher: student for student, teacher in pairs.items()}
    total, sizes = z_s.new_zeros(()).double(), []
    for n in range(z_s.shape[0]):
        if mask is not None and not mask[n]:
            sizes.append(math.nan)
            continue
        student = best(z_s[n].float().tolist(), k, blocked) & set(pairs)
        shut = {pairs[v] for v in blocked if v in pairs}
        teacher = {back[v] for v in best(z_t[n].float().tolist(), k, shut) if v in back}
        u = sorted(student | teacher)
        sizes.append(len(u))
        if len(u) < 2:
            continue
        if tail:
            total = total + temperature**2 * with_tail(z_s[n], z_t[n], u, temperature, blocked, pairs)
            continue
        inside = torch.full((z_s.shape[-1],), -torch.inf, dtype=torch.float64)
        inside[u] = 0.0
        outside = torch.full((z_t.shape[-1],), -torch.inf, dtype=torch.float64)
        outside[[pairs[v] for v in u]] = 0.0
        log_p = torch.log_softmax(z_s[n].double() / temperature + inside, -1)[u]
        log_q = torch.log_softmax(z_t[n].double() / temperature + outside, -1)[[pairs[v] for v in u]]
        total = total + temperature**2 * (log_q.exp() * (log_q - log_p)).sum()
    return total, torch.tensor(sizes)


def with_tail(z_s, z_t, u, temperature, blocked, pairs):
    """KL of the models' own probabilities, what is outside U summed to one."""
    shut = {pairs[v] for v in blocked if v in pairs}
    p, q = (
        torch.softmax(
            (z.double() / temperature).index_fill(0, torch.tensor(sorted(gone), dtype=torch.long), -torch.inf), 0
        )
        for z, gone in ((z_s, blocked), (z_t, shut))
    )
    theirs = [pairs[v] for v in u]
    kl = (q[theirs] * (q[theirs] / p[u]).log()).sum()
    rest = [[v for v in range(len(x)) if v not in inside] for x, inside in ((p, u), (q, theirs))]
    p_rest, q_rest = p[rest[0]].sum(), q[rest[1]].sum()
    return kl + (q_rest * (q_rest / p_rest).log() if q_rest > 0 else 0.0)


def case(n=6, v=23, v_teacher=None, h=5, h_teacher=7, *, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    draw = functools.partial(torch.randn, generator=generator, dtype=dtype)
    student = [draw(n, h), draw(v, h), draw(v)]
    teacher = [draw(n, h_teacher), draw(v_teacher or v, h_teacher), draw(v_teacher or v)]
    return [x.requires_grad_() for x in student], teacher


def both(student, teacher, **options):
    return union_kl(student[0], Head(*student[1:]), teacher[0], Head(*teacher[1:]), **options)


def logits(parts):
    return parts[0] @ parts[1].T + parts[2]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    """Several chunks even at these sizes: 2 rows of logits, 3 gathered rows."""
    monkeypatch.setattr(overlap.core.chunking, "SET_ELEMENTS", 50)
    monkeypatch.setattr(overlap.core.chunking, "TAIL_ELEMENTS", 50)
    monkeypatch.setattr(overlap.core.chunking, "CHUNK_ELEMENTS", 3 * 8 * 5)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**16),
    k=st.integers(1, 11),
    temperature=st.sampled_from([0.5, 1.0, 3.0]),
    blocked=st.sets(st.integers(0, 22), max_size=8),
    keep=st.lists(st.booleans(), min_size=6, max_size=6),
    tail=st.booleans(),
)
def test_value_and_gradients_equal_the_oracle(seed, k, temperature, blocked, keep, tail):
    student, teacher = case(seed=seed)
    mask = torch.tensor(keep)
    options = {"temperature": temperature, "mask": mask, "tail": tail}
    result = both(student, teacher, k=k, blocked=sorted(blocked), reduction="sum", **options)
    expected, sizes = oracle(logits(student), logits(teacher), k, blocked=blocked, pairs=None, **options)
    torch.testing.assert_close(result.loss, expected, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(result.union_size, sizes.float(), equal_nan=True)
    assert result.n_used == int((sizes >= 2).sum())
    if expected.requires_grad:
        ours, theirs = torch.autograd.grad(result.loss, student), torch.autograd.grad(expected, student)
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, other, atol=1e-10, rtol=1e-10)


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 2**16),
    k=st.integers(1, 9),
    blocked=st.sets(st.integers(0, 22), max_size=6),
    tail=st.booleans(),
)
def test_between_vocabularies(seed, k, blocked, tail):
    student, teacher = case(v_teacher=19, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.stack([torch.randperm(23, generator=generator)[:12], torch.randperm(19, generator=generator)[:12]], 1)
    table = VocabularyMap.from_pairs(pairs, student_size=23, teacher_size=19)
    result = both(student, teacher, k=k, vocabulary=table, blocked=sorted(blocked), tail=tail, reduction="sum")
    expected, sizes = oracle(
        logits(student), logits(teacher), k, blocked=blocked, pairs=dict(pairs.tolist()), tail=tail
    )
    torch.testing.assert_close(result.loss, expected, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(result.union_size, sizes.float())
    ours = torch.autograd.grad(result.loss, student)
    theirs = torch.autograd.grad(expected, student) if expected.requires_grad else map(torch.zeros_like, student)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("tail", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_gradcheck(reduction, tail):
    student, teacher = case()
    teacher_head = Head(*teacher[1:])

    def loss(hidden, weight, bias):
        return union_kl(
            hidden, Head(weight, bias), teacher[0], teacher_head, k=4, temperature=2.0, tail=tail, reduction=reduction
        ).loss

    assert torch.autograd.gradcheck(loss, student)


def test_float32_is_within_1e_5_of_the_float64_oracle():
    student, teacher = case(n=40, v=501, h=64, h_teacher=96, dtype=torch.float32)
    result = both(student, teacher, k=32)
    expected, _ = oracle(logits(student), logits(teacher), 32)
    torch.testing.assert_close(result.loss.double(), expected / 40, atol=1e-5, rtol=1e-5)
    ours, theirs = torch.autograd.grad(result.loss, student), torch.autograd.grad(expected / 40, student)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=0)


def test_the_value_is_that_of_measure():
    student, teacher = case(n=12, v=101, dtype=torch.float32)
    statistics = measure(logits(student), logits(teacher), k=8, temperature=2.0)
    result = both(student, teacher, k=8, temperature=2.0, reduction="none")
    torch.testing.assert_close(result.loss.detach(), 4 * statistics.union_kl, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(result.union_size, statistics.union_size)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_sums_in_float32(dtype):
    """With every position on one token, a gradient summed in half precision would stop growing early."""
    n, v, h = 3000, 12, 8
    student, teacher = case(n, v, h=h, dtype=torch.float32)
    halves = [x.detach().to(dtype).requires_grad_() for x in student]
    halves_teacher = [x.to(dtype) for x in teacher]
    wide = [x.detach().double().requires_grad_() for x in halves]
    result = both(halves, halves_teacher, k=v, reduction="sum")  # every token is in the union: no choice to differ in
    expected, _ = oracle(logits(wide), logits([x.double() for x in halves_teacher]), v)
    assert result.loss.dtype == torch.float32
    torch.testing.assert_close(result.loss.double(), expected, rtol=1e-5, atol=0)
    for mine, other in zip(torch.autograd.grad(result.loss, halves), torch.autograd.grad(expected, wide), strict=True):
        assert mine.dtype == dtype
        error = (mine.double() - other).abs() / other.abs().amax()
        assert error.max() < 2 * torch.finfo(dtype).eps


def test_autocast_changes_the_choice_of_the_sets_at_most():
    student, teacher = case(v=11, dtype=torch.float32)
    plain = both(student, teacher, k=11)
    with torch.autocast("cpu", torch.bfloat16):
        cast = both(student, teacher, k=11)
    torch.testing.assert_close(plain.loss, cast.loss, rtol=1e-6, atol=0)
    for a, b in zip(torch.autograd.grad(plain.loss, student), torch.autograd.grad(cast.loss, student), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_nothing_to_learn_from_oneself():
    student, _ = case(dtype=torch.float32)
    result = both(student, [x.detach() for x in student], k=3)
    assert result.loss.item() == 0.0
    for gradient in torch.autograd.grad(result.loss, student):
        assert gradient.abs().max() < 1e-6


def test_masked_positions_may_hold_anything_and_get_no_gradient():
    student, teacher = case()
    with torch.no_grad():
        student[0][2], teacher[0][3] = torch.nan, torch.inf
    mask = torch.tensor([True, True, False, False, True, True])
    result = both(student, teacher, k=3, mask=mask)
    gradients = torch.autograd.grad(result.loss, student)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert (gradients[0][~mask] == 0).all()
    assert result.union_size.isnan().tolist() == (~mask).tolist()


def test_thin_positions_are_in_no_mean():
    """With k = 1 a position where both prefer one token has a union of one."""
    student, teacher = case(n=30)
    result = both(student, teacher, k=1)
    with torch.no_grad():
        teacher[1][:], teacher[2][:] = 0.0, -torch.arange(23.0)  # the teacher always prefers token 0
        student[2][0] = 100.0
        student[2][1] = 99.0
    result = both(student, teacher, k=1)
    total, sizes = oracle(logits(student), logits(teacher), 1)
    assert 0 < result.n_used == int((sizes == 2).sum()) < 30
    torch.testing.assert_close(result.loss, total / result.n_used)


@pytest.mark.parametrize("mask", [torch.zeros(6, dtype=torch.bool), None])
def test_no_used_position_gives_zero_with_a_graph(mask):
    student, teacher = case()
    teacher = [x.detach() for x in student] if mask is None else teacher  # k = 1 and equal favorites: all thin
    result = both(student, teacher, k=1, mask=mask)
    assert (result.loss.item(), result.n_used) == (0.0, 0)
    for gradient in torch.autograd.grad(result.loss, student):
        assert (gradient == 0).all()


def test_reductions_and_leading_shapes():
    student, teacher = case(n=6)
    each = both(student, teacher, k=3, reduction="none")
    assert each.loss.shape == each.union_size.shape == (6,)
    torch.testing.assert_close(both(student, teacher, k=3, reduction="sum").loss, each.loss.sum())
    torch.testing.assert_close(both(student, teacher, k=3).loss, each.loss.sum() / each.n_used)
    grid = [student[0].reshape(2, 3, -1), *student[1:]], [teacher[0].reshape(2, 3, -1), *teacher[1:]]
    mask = torch.tensor([[True, False, True], [True, True, False]])
    shaped = both(*grid, k=3, reduction="none", mask=mask)
    torch.testing.assert_close(shaped.loss, torch.where(mask, each.loss.reshape(2, 3), 0.0))
    single = both([student[0][0], *student[1:]], [teacher[0][0], *teacher[1:]], k=3, reduction="none")
    assert single.loss.shape == ()
    torch.testing.assert_close(single.loss, each.loss[0])


def test_heads_of_every_kind_and_frozen_ones():
    student, teacher = case(dtype=torch.float32)
    linear = nn.Linear(5, 23)
    with torch.no_grad():
        linear.weight.copy_(student[1])
        linear.bias.copy_(student[2])
    expected = both(student, teacher, k=3).loss
    loss = union_kl(student[0], linear, teacher[0], Head(*teacher[1:]), k=3).loss
    assert torch.equal(loss, expected)
    loss.backward()
    assert linear.weight.grad.abs().sum() > 0
    assert linear.bias.grad.abs().sum() > 0
    frozen = union_kl(student[0], student[1].detach(), teacher[0], teacher[1], k=3).loss  # weights alone, no bias
    zero = [student[0], student[1], torch.zeros(23)], [teacher[0], teacher[1], torch.zeros(23)]
    torch.testing.assert_close(frozen, both(*zero, k=3).loss)
    (gradient,) = torch.autograd.grad(frozen, student[0])
    assert gradient.abs().sum() > 0


def test_the_teacher_gets_no_gradient():
    student, teacher = case()
    teacher = [x.requires_grad_() for x in teacher]
    both(student, teacher, k=3).loss.backward()
    assert all(x.grad is None for x in teacher)


@pytest.mark.parametrize("tail", [False, True])
def test_nothing_of_the_vocabulary_is_saved_for_backward(monkeypatch, tail):
    monkeypatch.undo()
    student, teacher = case(n=64, v=4096, h=8, dtype=torch.float32)
    saved = []
    with saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        both(student, teacher, k=8, tail=tail)
    assert saved
    assert max(x.numel() for x in saved) <= 4096 * 8  # the head itself; logits would be 64 × 4096


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_tail_in_half_precision(dtype):
    student, teacher = case(n=20, v=301, h=16, h_teacher=16, dtype=torch.float32)
    halves, halves_teacher = ([x.detach().to(dtype) for x in side] for side in (student, teacher))
    halves = [x.requires_grad_() for x in halves]
    wide = [x.detach().float().requires_grad_() for x in halves]
    low = both(halves, halves_teacher, k=8, tail=True)
    high = both(wide, [x.float() for x in halves_teacher], k=8, tail=True)
    torch.testing.assert_close(low.loss, high.loss, rtol=2e-2, atol=0)
    for mine, other in zip(torch.autograd.grad(low.loss, halves), torch.autograd.grad(high.loss, wide), strict=True):
        assert mine.dtype == dtype
        assert (mine.float() - other).norm() < 0.05 * other.norm()


def test_support_kl_where_a_model_excludes_a_token():
    student, teacher = torch.tensor([1.0, -torch.inf, 2.0]), torch.tensor([-torch.inf, 1.0, 2.0])
    valid = torch.tensor([True, True, True])
    assert support_kl(student, teacher, valid) == math.inf
    kept = torch.tensor([True, False, True])
    q = torch.tensor([0.0, 1.0])
    p = torch.softmax(torch.tensor([1.0, 2.0]), 0)
    torch.testing.assert_close(support_kl(student, teacher, kept), -(q[1] * p[1].log()))


def test_refusals():
    (hidden, weight, bias), teacher = case()
    head = Head(weight, bias)

    def refused(match, *arguments, **options):
        with pytest.raises(ValueError, match=match):
            union_kl(*arguments, **({"k": 3} | options))

    refused(
        r"student_head: expected a model, torch.nn.Linear, .* received Sequential",
        hidden,
        nn.Sequential(),
        hidden,
        head,
    )
    refused(r"head: expected a floating-point weight \[V, H\], received \[23\]", hidden, bias, hidden, head)
    with pytest.raises(ValueError, match=r"head: expected a bias \[23\] for the weight \[23, 5\], received \[5\]"):
        Head(weight, weight[0])
    refused(
        r"teacher_hidden: expected hidden states \[\.\.\., 5\] .* received \[6, 7\]", hidden, head, teacher[0], head
    )
    refused(r"student_hidden: expected a floating-point .* received torch.int64", hidden.long(), head, hidden, head)
    refused(r"teacher_hidden: expected a floating-point .* received list", hidden, head, [1.0], head)
    refused(
        r"teacher_hidden: expected the student's leading shape \[6\], received \[5\]", hidden, head, hidden[1:], head
    )
    refused("temperature: expected a finite number above 0, received 0", hidden, head, hidden, head, temperature=0)
    refused("temperature: expected a finite", hidden, head, hidden, head, temperature=math.inf)
    refused(
        'reduction: expected "mean", "sum" or "none", received \'avg\'', hidden, head, hidden, head, reduction="avg"
    )
    refused("k: received 24, but the student's logits have only 23", hidden, head, hidden, head, k=24)
    refused(r"mask: expected .* received \[5\]", hidden, head, hidden, head, mask=torch.ones(5, dtype=torch.bool))
    refused("vocabulary: the student's logits have 23 ids and the teacher's 19", hidden, head, hidden, weight[:19])
    broken = hidden.detach().clone()
    broken[4, 0] = torch.nan
    mask = torch.tensor([False, True, True, True, True, True])
    message = r"logits of teacher_hidden through teacher_head: 1 of 5 unmasked positions .* first at index \(4,\)"
    refused(message, hidden, head, broken, head, mask=mask)
    refused("logits of student_hidden through student_head: 1 of 6", broken, head, hidden, head)
