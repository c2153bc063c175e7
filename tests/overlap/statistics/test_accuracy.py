"""How exact `measure` is, against float64: small divergences, near-certain models, excluded tokens, wide ranges."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap import Head, VocabularyMap, measure, measure_hidden, set_divergence, set_logprobs, sweep
from overlap.core import chunking
from overlap.statistics import full_vocabulary_gpu

DIVERGENCES = ("forward_kl", "reverse_kl", "jensen_shannon", "total_variation")


def kl(log_q, log_p):
    """KL(q‖p) of log-probabilities by its definition: +inf where p excludes what q does not."""
    here = log_q > -np.inf
    if (log_p[here] == -np.inf).any():
        return math.inf
    return math.fsum(np.exp(log_q[here]) * (log_q[here] - log_p[here]))


def log_sum(z):
    top = z.max(initial=-np.inf)
    return -math.inf if top == -np.inf else top + math.log(math.fsum(np.exp(z - top)))


def normalized(z):
    """Log-probabilities in float64; None where nothing is allowed."""
    total = log_sum(z)
    return None if total == -math.inf else z - total


def divergences(z_p, z_q):
    log_p, log_q = normalized(z_p), normalized(z_q)
    if log_p is None or log_q is None:
        return dict.fromkeys(DIVERGENCES, math.nan)
    log_m = np.logaddexp(log_p, log_q) - math.log(2)
    return {
        "forward_kl": kl(log_q, log_p),
        "reverse_kl": kl(log_p, log_q),
        "jensen_shannon": (kl(log_p, log_m) + kl(log_q, log_m)) / 2,
        "total_variation": math.fsum(np.abs(np.exp(log_p) - np.exp(log_q))) / 2,
    }


def shannon(z):
    log_p = normalized(z)
    here = log_p > -np.inf
    return math.fsum(-np.exp(log_p[here]) * log_p[here])


def student_of(kind, rng, size):
    """Scores of a kind of distribution."""
    z = rng.normal(size=size) * 2
    if kind == "sure":
        z[rng.integers(size)] = 16
    elif kind == "few":
        z[rng.permutation(size)[: rng.integers(2, 40)]] = 20 + 6 * rng.random()
    elif kind == "forty of equal weight":
        z[rng.permutation(size)[:40]] = 20
    elif kind == "uniform":
        z[:] = 0
    return z


def near(student, rng, wanted):
    """A teacher whose KL from the student is about as wanted."""
    noise, scale = rng.normal(size=len(student)), 1e-3
    for _ in range(8):
        found = kl(normalized(student + scale * noise), normalized(student))
        scale = min(scale * math.sqrt(wanted / max(found, 1e-30)), 3.0)
    return student + scale * noise


@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["random", "sure", "few", "forty of equal weight", "uniform"]),
    exponent=st.floats(-6, -1),
    offset=st.sampled_from([0.0, -37.0, 90.0]),
)
@settings(max_examples=80, deadline=None)
def test_small_divergences_keep_three_digits(seed, kind, exponent, offset):
    rng = np.random.default_rng(seed)
    student = student_of(kind, rng, 700).astype(np.float32)
    teacher = (near(student.astype(float), rng, 10**exponent) + offset).astype(np.float32)
    expected = divergences(student.astype(float), teacher.astype(float))
    received = measure(torch.from_numpy(student), torch.from_numpy(teacher), k=8)
    for name, value in expected.items():
        if min(expected["forward_kl"], expected["reverse_kl"]) >= 1e-6:
            # At an offset a float32 score itself is known to few digits; that is in the teacher, not in the result.
            assert getattr(received, name).item() == pytest.approx(value, rel=1e-3), name


@pytest.mark.parametrize("wanted", [7.5e-5, 2e-5, 1e-6])
@pytest.mark.parametrize("kind", ["sure", "few", "forty of equal weight", "random"])
def test_every_way_is_as_exact(monkeypatch, kind, wanted):
    """At a large vocabulary: measure, sweep, from hidden states, between permuted vocabularies, on an accelerator."""
    rng = np.random.default_rng(3)
    student = student_of(kind, rng, 20_000).astype(np.float32)
    teacher = near(student.astype(float), rng, wanted).astype(np.float32)
    expected = divergences(student.astype(float), teacher.astype(float))
    s, t = torch.from_numpy(student)[None], torch.from_numpy(teacher)[None]
    order = torch.from_numpy(rng.permutation(20_000))
    table = VocabularyMap.from_pairs(
        torch.stack([order, torch.arange(20_000)], 1), student_size=20_000, teacher_size=20_000
    )
    one = torch.ones(1, 1)
    ways = {
        "measure": measure(s, t, k=8),
        "sweep": sweep(s, t, ks=(4, 8))[8, 1.0],
        "hidden": measure_hidden(one, Head(s.T), one, Head(t.T), k=8),
        "mapped": measure(s, t[:, order], k=8, vocabulary=table),
    }
    monkeypatch.setattr(
        "overlap.statistics.full_vocabulary._sums",
        lambda p, q, maxima, pair, temperature, scratch: full_vocabulary_gpu.sums(
            p, q, maxima, pair, temperature, kernel=full_vocabulary_gpu.steps
        ).unbind(),
    )
    ways["accelerator"] = measure(s, t, k=8)
    for way, statistics in ways.items():
        for name, value in expected.items():
            assert getattr(statistics, name).item() == pytest.approx(value, rel=1e-3), (way, name)


@pytest.mark.parametrize("spread", [10, 20, 40, 80])
def test_entropies_of_the_nearly_certain(spread):
    z = np.random.default_rng(0).normal(size=(200, 900)) * spread
    z = z.astype(np.float32)
    received = measure(torch.from_numpy(z), torch.from_numpy(z[::-1].copy()), k=4)
    for row, value in enumerate(received.student_entropy.tolist()):
        expected = shannon(z[row].astype(float))
        assert value == pytest.approx(expected, rel=1e-4, abs=1e-12)
        assert received.teacher_entropy[len(z) - 1 - row].item() == pytest.approx(value, rel=1e-6, abs=1e-12)


@given(
    seed=st.integers(0, 2**32 - 1),
    temperature=st.sampled_from([0.01, 0.5, 1.0, 2.0]),
    scale=st.sampled_from([1.0, 5.0, 40.0, 300.0]),
    shares=st.tuples(st.sampled_from([0.0, 0.2, 0.8]), st.sampled_from([0.0, 0.2, 0.8])),
    mapped=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_excluded_tokens_and_wide_ranges(seed, temperature, scale, shares, mapped):
    """Scores of −inf, masses that no float holds, tokens that only one vocabulary has: each value by its definition."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(3, 25))
    sizes = size, int(rng.integers(3, 25)) if mapped else size
    z = [(rng.normal(size=n) * scale).astype(np.float32) for n in sizes]
    for scores, share in zip(z, shares, strict=True):
        scores[rng.random(len(scores)) < share] = -np.inf
    pairs = {i: i for i in range(size)}
    if mapped:
        n = int(rng.integers(0, min(sizes) + 1))
        pairs = dict(zip(rng.permutation(sizes[0])[:n].tolist(), rng.permutation(sizes[1])[:n].tolist(), strict=True))
    blocked = set(rng.permutation(size)[: rng.integers(0, 3)].tolist())
    shut = {pairs[i] for i in blocked if i in pairs}
    own, other = ([i for i in range(n) if i not in gone] for n, gone in zip(sizes, (blocked, shut), strict=True))
    if not np.isfinite(z[0][own]).any() or not np.isfinite(z[1][other]).any():
        return
    k, token = int(rng.integers(1, min(len(own), len(other)) + 1)), int(rng.integers(size))
    received = measure(
        *(torch.from_numpy(scores)[None] for scores in z),
        k=k,
        vocabulary=VocabularyMap.from_pairs(pairs.items(), student_size=sizes[0], teacher_size=sizes[1]),
        blocked=sorted(blocked),
        temperature=temperature,
        tokens=torch.tensor([token]),
    ).values()

    back = {t: s for s, t in pairs.items()}
    ranked_t = sorted(other, key=lambda i: (-z[1][i], i))
    s = [i for i in sorted(own, key=lambda i: (-z[0][i], i))[:k] if z[0][i] > -np.inf and i in pairs]
    t = [back[i] for i in ranked_t[:k] if z[1][i] > -np.inf and i in back]
    u = sorted({*s, *t})
    theirs = [pairs[i] for i in u]
    p_scores, q_scores = (scores.astype(float) / temperature for scores in z)
    log_p, log_q = p_scores - log_sum(p_scores[own]), q_scores - log_sum(q_scores[other])
    shared = [i for i in pairs if i in own]
    expected = divergences(p_scores[shared], q_scores[[pairs[i] for i in shared]])
    within = math.fsum(np.exp(log_q[[pairs[i] for i in s]]))
    forward = expected["forward_kl"]
    expected["learnable_kl"] = forward if math.isinf(forward) else forward * within
    expected["incompatible_kl"] = forward if math.isinf(forward) else forward * (1 - within)
    on_p, on_q = normalized(p_scores[u]), normalized(q_scores[theirs])
    if on_q is None:
        expected["union_kl"] = math.nan
    else:
        expected["union_kl"] = math.inf if on_p is None else kl(on_q, on_p)
    expected["union_kl_tail"] = math.nan
    if u:
        rest = [i for i in own if i not in u], [i for i in other if i not in theirs]
        ends = log_sum(log_p[rest[0]]), log_sum(log_q[rest[1]])
        expected["union_kl_tail"] = kl(np.append(log_q[theirs], ends[1]), np.append(log_p[u], ends[0]))
    there = pairs.get(token, -1) if token in own else -1
    expected["teacher_rank"] = 1 + ranked_t.index(there) if there in other else math.nan
    for name, value in expected.items():
        loose = 1e-3 if name == "union_kl_tail" else 2e-5
        np.testing.assert_allclose(received[name].item(), value, rtol=loose, atol=2e-5, err_msg=name)


def test_a_divergence_of_hardly_any_shared_probability():
    """Masses on the shared ids far below float32's range, and float64's: the scores there still say all."""
    student, teacher = torch.tensor([[0.0, 1.0, 900.0]]), torch.tensor([[1.0, 0.0, 2000.0]])
    table = VocabularyMap.from_pairs([(0, 0), (1, 1)], student_size=3, teacher_size=3)
    for temperature in (1.0, 0.1):
        received = measure(student, teacher, k=1, vocabulary=table, temperature=temperature)
        expected = divergences(np.array([0.0, 1.0]) / temperature, np.array([1.0, 0.0]) / temperature)
        for name, value in expected.items():
            assert getattr(received, name).item() == pytest.approx(value, rel=1e-6), name
        assert received.teacher_mapped_mass.item() == 0.0


@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 9), temperature=st.sampled_from([0.5, 1.0, 2.0]))
@settings(max_examples=40, deadline=None)
def test_the_tail_is_what_the_objective_integrates(seed, k, temperature):
    """`set_divergence` on `set_logprobs` with a tail, which is what training does, in float64."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (3 * torch.randn(5, 30, generator=generator) for _ in "st")
    statistics = measure(student, teacher, k=k, temperature=temperature)
    for row in range(5):
        u = sorted({*student[row].topk(k).indices.tolist(), *teacher[row].topk(k).indices.tolist()})
        ids, valid = torch.tensor([u]), torch.ones(1, len(u), dtype=torch.bool)
        log_p, log_q = (
            set_logprobs(x[row : row + 1].double(), ids, valid, tail=True, temperature=temperature)
            for x in (student, teacher)
        )
        loss = set_divergence(log_p, log_q, torch.ones(1, len(u) + 1, dtype=torch.bool))
        assert statistics.union_kl_tail[row].item() == pytest.approx(loss.item(), rel=1e-4, abs=1e-7)
    assert (statistics.union_kl_tail <= statistics.forward_kl * (1 + 1e-5) + 1e-6).all()  # a coarser partition
    if 2 * k >= 30:
        torch.testing.assert_close(statistics.union_kl_tail, statistics.forward_kl, rtol=1e-4, atol=1e-5)


def test_a_tail_of_hardly_anything():
    """Where 1 − Σ p leaves no digit of the student's tail, and the teacher is mostly there."""
    student = torch.tensor([[60.0, 0.0, 0.5, -1.0, -2.0, 0.1] + [-3.0] * 200])
    teacher = torch.tensor([[0.0, 0.1, 0.2, 0.3, 0.4, 0.5] + [0.0] * 200])
    log_p, log_q = (normalized(z[0].double().numpy()) for z in (student, teacher))
    u = [0, 2, 5, 4]  # the two best of each
    rest = [i for i in range(206) if i not in u]
    expected = kl(np.append(log_q[u], log_sum(log_q[rest])), np.append(log_p[u], log_sum(log_p[rest])))
    assert measure(student, teacher, k=2).union_kl_tail.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", ["student_logits", "teacher_logits"])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("size", [300, 9000])
def test_one_model_without_a_softmax_beside_a_flat_one_is_refused(bad, side, whole, size):
    """Rows of NaN, +inf or −inf, whole or at many tokens: named, not an error of the arithmetic."""
    flat = 1e-3 * torch.randn(3, size, generator=torch.Generator().manual_seed(0))
    broken = flat.clone()
    broken[1, :: 1 if whole or bad == -math.inf else 3] = bad
    student, teacher = (broken, flat) if side == "student_logits" else (flat, broken)
    message = rf"{side}: 1 of 3 unmasked positions hold NaN, \+inf .* the first at index \(1,\)"
    with pytest.raises(ValueError, match=message):
        measure(student, teacher, k=4)
    with pytest.raises(ValueError, match=message):
        sweep(student, teacher, ks=(2, 4), temperatures=(1.0, 2.0))
    head = Head(torch.eye(size)) if size == 300 else None
    if head is not None and not whole:
        with pytest.raises(ValueError, match=side):
            measure_hidden(student, head, teacher, head, k=4)


def test_overflowed_half_precision_is_refused():
    logits = 3 * torch.randn(2, 5, 2000, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="student_logits: 10 of 10 unmasked positions hold NaN"):
        measure((logits * 1e5).half(), logits.half(), k=8)


@pytest.mark.parametrize("elements", [1, 3 * 5000, 10**7])
def test_rows_do_not_disturb_each_other(monkeypatch, elements):
    """Near, far and certain pairs in one block of rows: each as if it were alone."""
    rng = np.random.default_rng(1)
    student = np.stack([student_of(kind, rng, 5000) for kind in ("random", "sure", "few", "uniform")] * 3)
    teacher = np.stack([near(z, rng, 10.0 ** -(i % 7)) for i, z in enumerate(student)])
    s, t = (torch.from_numpy(z.astype(np.float32)) for z in (student, teacher))
    alone = [measure(s[i], t[i], k=8).values() for i in range(len(s))]
    monkeypatch.setattr("overlap.core.chunking.ROW_ELEMENTS", elements)
    monkeypatch.setattr(chunking, "CHUNK_ELEMENTS", max(elements, 5000))
    together = measure(s, t, k=8).values()
    for name, values in together.items():
        for row, value in enumerate(values.tolist()):
            np.testing.assert_allclose(value, alone[row][name].item(), rtol=2e-4, atol=1e-9, err_msg=name)
