"""`measure` against a float64 brute force written with Python sets and scipy."""

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, rel_entr
from scipy.stats import entropy

from overlap import VocabularyMap, measure
from overlap.core import chunking, threads
from overlap.definitions import TOKEN_STATISTICS
from overlap.errors import UserError

NAN = math.nan
EXACT = ("overlap_ratio", "nucleus_overlap", "top1_agreement", "teacher_rank", "boundary_tie")


def top(scores, k):
    return sorted(scores, key=lambda i: (-scores[i], i))[:k]


def tied(scores, k):
    ordered = sorted(scores.values(), reverse=True)
    return len(ordered) > k and ordered[k - 1] == ordered[k]


def on(scores, ids, temperature):
    """Probabilities renormalized on some ids, in their order."""
    return np.exp(log_softmax(np.array([scores[i] for i in ids]) / temperature))


def nucleus(distribution, p=0.95):
    """The smallest set of most probable ids that reaches p; None where rounding would decide."""
    chosen, mass = set(), 0.0
    for i in sorted(distribution, key=lambda i: (-distribution[i], i)):
        if abs(mass - p) < 1e-6:
            return None
        if mass >= p:
            break
        chosen.add(i)
        mass += distribution[i]
    return chosen


def rank_biased(first, second, persistence=0.9):
    """Equation 32 of Webber, Moffat and Zobel by counting common prefixes."""
    short, long = sorted((first, second), key=len)
    s, n = len(short), len(long)
    if not s:
        return NAN

    def common(d):
        return len(set(short[:d]) & set(long[:d]))

    total = sum(common(d) / d * persistence**d for d in range(1, n + 1))
    total += sum(common(s) * (d - s) / (s * d) * persistence**d for d in range(s + 1, n + 1))
    return (1 - persistence) / persistence * total + ((common(n) - common(s)) / n + common(s) / s) * persistence**n


def jaccard(first, second):
    """Of two sets; None where one is None."""
    if first is None or second is None:
        return None
    return len(first & second) / len(first | second) if first | second else NAN


def with_tail(p, q, u, pairs):
    """KL over the ids of the union and, summed term by term, over the others as one."""
    theirs = {pairs[n] for n in u}
    rest = math.fsum(x for n, x in p.items() if n not in u), math.fsum(x for n, x in q.items() if n not in theirs)
    return sum(rel_entr(q[pairs[n]], p[n]) for n in u) + rel_entr(*rest[::-1])


def ending(p, q, end):
    """What both models say of the end of text, whose student and teacher id `end` names."""
    if end is None:
        return dict.fromkeys(("student_end_mass", "teacher_end_mass", "end_gap", "student_end_likely"), NAN)
    here, there = p[end[0]], q[end[1]]
    gap = math.log(there) - math.log(here) if here > 0 and there > 0 else NAN
    return {
        "student_end_mass": here,
        "teacher_end_mass": there,
        "end_gap": gap,
        "student_end_likely": float(here >= 0.5),
    }


def brute_force(student, teacher, k, temperature=1.0, blocked=(), token=-1, pairs=None, end=None):
    """All statistics of one position in float64; `pairs` maps student ids to teacher ids."""
    pairs = {i: i for i in range(len(student))} if pairs is None else pairs
    back = {t: s for s, t in pairs.items()}
    gone = {pairs[b] for b in blocked if b in pairs}
    z_s = {i: float(z) for i, z in enumerate(student) if i not in blocked}
    z_t = {i: float(z) for i, z in enumerate(teacher) if i not in gone}
    p = dict(zip(z_s, on(z_s, z_s, temperature), strict=True))
    q = dict(zip(z_t, on(z_t, z_t, temperature), strict=True))
    ranked_s = [i for i in top(z_s, k) if i in pairs]
    ranked_t = [back[i] for i in top(z_t, k) if i in back]
    s, t = set(ranked_s), set(ranked_t)
    u, i = s | t, s & t
    nuclei = nucleus(p), nucleus(q)
    if None not in nuclei:
        nuclei = {n for n in nuclei[0] if n in pairs}, {back[n] for n in nuclei[1] if n in back}
    best_s, best_t = top(z_s, 1)[0], top(z_t, 1)[0]
    shared = [n for n in pairs if n in z_s]
    p_shared, q_shared = on(z_s, shared, temperature), on(z_t, [pairs[n] for n in shared], temperature)

    def both(ids):
        ids = sorted(ids)
        return on(z_s, ids, temperature), on(z_t, [pairs[n] for n in ids], temperature)

    h_p, h_q = entropy(list(p.values())), entropy(list(q.values()))
    token_t = pairs.get(token, -1)
    forward, teacher_mass = rel_entr(q_shared, p_shared).sum(), sum(q[pairs[n]] for n in s)
    middle = (p_shared + q_shared) / 2  # scipy's jensenshannon takes the root of what rounding leaves below zero
    log_p = math.log(p[token]) if token in p else NAN
    log_q = math.log(q[token_t]) if token_t in q else NAN
    return {
        "student_size": len(s),
        "teacher_size": len(t),
        "union_size": len(u),
        "intersection_size": len(i),
        "overlap_ratio": len(i) / k,
        "jaccard": len(i) / len(u) if u else NAN,
        "rank_biased_overlap": rank_biased(ranked_s, ranked_t),
        "nucleus_overlap": jaccard(*nuclei),
        "top1_agreement": float(back.get(best_t) == best_s),
        "student_mass": sum(p[n] for n in t),
        "teacher_mass": teacher_mass,
        "student_intersection_mass": sum(p[n] for n in i),
        "teacher_intersection_mass": sum(q[pairs[n]] for n in i),
        "student_entropy": h_p,
        "teacher_entropy": h_q,
        "entropy_gap": abs(h_q - h_p),
        "forward_kl": forward,
        "reverse_kl": rel_entr(p_shared, q_shared).sum(),
        "jensen_shannon": (rel_entr(p_shared, middle).sum() + rel_entr(q_shared, middle).sum()) / 2,
        "total_variation": np.abs(p_shared - q_shared).sum() / 2,
        "learnable_kl": forward * teacher_mass,
        "incompatible_kl": forward * (1 - teacher_mass),
        "union_kl": rel_entr(*both(u)[::-1]).sum() if u else NAN,
        "union_kl_tail": with_tail(p, q, u, pairs) if u else NAN,
        "overlap_advantage": -rel_entr(*both(i)).sum() if i else NAN,
        "student_logprob": log_p,
        "teacher_logprob": log_q,
        "teacher_rank": 1 + top(z_t, len(z_t)).index(token_t) if token_t in z_t else NAN,
        "reverse_kl_k1": log_p - log_q,
        "reverse_kl_k3": math.exp(log_q - log_p) - 1 - (log_q - log_p),
        **ending(p, q, end),
        "boundary_tie": float(tied(z_s, k) or tied(z_t, k)),
        "student_mapped_mass": sum(p[n] for n in shared),
        "teacher_mapped_mass": sum(q[pairs[n]] for n in shared),
    }


def compare(student, teacher, statistics, *, mask=None, tokens=None, **options):
    """Every field at every position against the brute force; sets must be equal, numbers closer than 1e-5."""
    leading = student.shape[:-1]
    z_s, z_t = student.float().double().numpy(), teacher.float().double().numpy()
    values = statistics.values()
    assert list(values) == list(TOKEN_STATISTICS)
    for where in np.ndindex(*leading):
        if mask is not None and not mask[where]:
            assert all(math.isnan(value[where]) for value in values.values())
            continue
        token = -1 if tokens is None else int(tokens[where])
        expected = brute_force(z_s[where], z_t[where], token=token, **options)
        assert list(expected) == list(TOKEN_STATISTICS)
        for name, wanted in expected.items():
            got = values[name][where].item()
            if wanted is None:
                continue
            if name.endswith("_size") or name in EXACT:
                np.testing.assert_equal(np.float32(got), np.float32(wanted), err_msg=f"{name} at {where}")
            else:
                loose = 2e-4 if name == "union_kl_tail" else 1e-5  # which allows itself 1e-4
                np.testing.assert_allclose(got, wanted, rtol=loose, atol=1e-5, err_msg=f"{name} at {where}")


def pair(kind, shape, seed):
    """Two sets of logits of a kind."""
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(*shape, generator=generator)
    teacher = student + 0.7 * torch.randn(*shape, generator=generator)
    if kind == "peaked":
        return student * 12, teacher * 12
    if kind == "ties":
        return student.round(), teacher.round()
    if kind == "constant":
        return torch.zeros(shape), teacher.round() * 0 + 3
    return student * 2, teacher * 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", ["random", "peaked", "ties", "constant"])
def test_kinds_and_dtypes(kind, dtype):
    student, teacher = (z.to(dtype) for z in pair(kind, (3, 5, 40), seed=1))
    tokens = torch.randint(-2, 40, (3, 5), generator=torch.Generator().manual_seed(2))
    for k in (1, 7, 40):
        compare(student, teacher, measure(student, teacher, k=k, tokens=tokens), k=k, tokens=tokens)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0, 10.0])
@pytest.mark.parametrize("kind", ["random", "ties"])
def test_temperatures(kind, temperature):
    student, teacher = pair(kind, (4, 30), seed=3)
    statistics = measure(student, teacher, k=6, temperature=temperature)
    compare(student, teacher, statistics, k=6, temperature=temperature)
    plain = measure(student, teacher, k=6)
    for name in ("union_size", "intersection_size", "top1_agreement", "boundary_tie"):
        assert torch.equal(getattr(statistics, name), getattr(plain, name))  # the sets do not depend on it


@pytest.mark.parametrize("blocked", [[0], [3, 3, 29], torch.tensor([1, 2, 28]), range(5, 24)])
def test_blocked_ids(blocked):
    student, teacher = pair("random", (2, 4, 30), seed=4)
    for z in (student, teacher):
        z[..., [int(b) for b in blocked]] += 8.0  # they would be in every set
    tokens = torch.arange(8).reshape(2, 4)
    statistics = measure(student, teacher, k=5, blocked=blocked, tokens=tokens, temperature=0.8)
    compare(student, teacher, statistics, k=5, blocked=set(map(int, blocked)), tokens=tokens, temperature=0.8)
    member = torch.zeros(30, dtype=torch.bool)
    member[[int(b) for b in blocked]] = True
    same = measure(student, teacher, k=5, blocked=member, tokens=tokens, temperature=0.8)
    torch.testing.assert_close(same.forward_kl, statistics.forward_kl, rtol=0, atol=0)
    student[..., member], teacher[..., member] = torch.nan, torch.inf  # whatever a model puts there
    broken = measure(student, teacher, k=5, blocked=blocked, tokens=tokens, temperature=0.8)
    for name, value in statistics.values().items():
        torch.testing.assert_close(broken.values()[name], value, rtol=0, atol=0, equal_nan=True)


def test_masked_positions_are_nan_and_not_looked_at():
    student, teacher = pair("random", (3, 4, 20), seed=5)
    mask = torch.rand(3, 4, generator=torch.Generator().manual_seed(6)) < 0.5
    student[~mask], teacher[~mask] = torch.nan, torch.inf
    tokens = torch.full((3, 4), 10**9)
    tokens[mask] = 3
    statistics = measure(student, teacher, k=4, mask=mask, tokens=tokens)
    compare(student, teacher, statistics, k=4, mask=mask, tokens=tokens)
    nothing = measure(student, teacher, k=4, mask=torch.zeros(3, 4, dtype=torch.bool))
    assert all(value.isnan().all() for value in nothing.values().values())


@pytest.mark.parametrize("seed", range(4))
def test_different_vocabularies(seed):
    rng = np.random.default_rng(seed)
    student, _ = pair("random", (5, 24), seed=seed)
    teacher, _ = pair("ties" if seed % 2 else "random", (5, 31), seed=seed + 100)
    n = int(rng.integers(3, 24))
    pairs = dict(zip(rng.permutation(24)[:n].tolist(), rng.permutation(31)[:n].tolist(), strict=True))
    vocabulary = VocabularyMap.from_pairs(pairs.items(), student_size=24, teacher_size=31)
    tokens = torch.arange(5)
    blocked = {0, 7}
    statistics = measure(
        student, teacher, k=6, vocabulary=vocabulary, tokens=tokens, temperature=1.5, blocked=sorted(blocked)
    )
    compare(student, teacher, statistics, k=6, pairs=pairs, tokens=tokens, temperature=1.5, blocked=blocked)


@pytest.mark.parametrize("seed", range(3))
def test_blocked_ids_of_the_teacher_are_as_if_they_were_not_there(seed):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (3 * torch.randn(6, n, generator=generator) for n in (25, 31))
    chosen = torch.randperm(31, generator=generator)
    lost, kept = chosen[:9].sort().values, chosen[9:].sort().values
    pairs = [(i, int(j)) for i, j in enumerate(torch.randperm(31, generator=generator)[:20])]
    tokens = torch.randint(0, 25, (6,), generator=generator)
    options = {"k": 5, "tokens": tokens}
    whole = VocabularyMap.from_pairs(pairs, student_size=25, teacher_size=31)
    place = {int(j): n for n, j in enumerate(kept)}
    cut = VocabularyMap.from_pairs([(i, place[j]) for i, j in pairs if j in place], student_size=25, teacher_size=22)
    # A student's id whose counterpart the teacher may not write is blocked on both sides.
    orphans = [i for i, j in pairs if j not in place]
    expected = measure(student, teacher[:, kept], vocabulary=cut, blocked=orphans, **options)
    for ids in (lost, torch.zeros(31, dtype=torch.bool).index_fill(0, lost, True)):
        received = measure(student, teacher, vocabulary=whole, teacher_blocked=ids, **options)
        for name, value in expected.values().items():
            torch.testing.assert_close(received.values()[name], value, equal_nan=True, msg=name)
    same = measure(student, student.flip(0), k=5, teacher_blocked=[3, 4])
    for name, value in measure(student, student.flip(0), k=5, blocked=[3, 4]).values().items():
        torch.testing.assert_close(same.values()[name], value, equal_nan=True, msg=name)
    with pytest.raises(ValueError, match="teacher_blocked: 1 of 1 ids are outside the teacher's vocabulary of 31"):
        measure(student, teacher, vocabulary=whole, teacher_blocked=[31], **options)


def test_vocabularies_without_a_shared_id():
    vocabulary = VocabularyMap.from_pairs([], student_size=4, teacher_size=5)
    statistics = measure(torch.randn(2, 4), torch.randn(2, 5), k=2, vocabulary=vocabulary)
    assert statistics.union_size.tolist() == [0, 0]
    for name in ("jaccard", "union_kl", "overlap_advantage", "forward_kl", "jensen_shannon", "total_variation"):
        assert getattr(statistics, name).isnan().all(), name
    assert statistics.teacher_mapped_mass.tolist() == [0, 0]


def test_an_identity_map_is_no_map():
    student, teacher = pair("random", (4, 10), seed=7)
    plain = measure(student, teacher, k=3).values()
    mapped = measure(student, teacher, k=3, vocabulary=VocabularyMap.identity(10)).values()
    for name in plain:
        torch.testing.assert_close(mapped[name], plain[name], rtol=0, atol=0, equal_nan=True)
    assert plain["student_mapped_mass"].tolist() == [1.0] * 4


def test_a_permuted_teacher_is_the_same_teacher():
    student, teacher = pair("random", (6, 15), seed=8)
    order = torch.randperm(15, generator=torch.Generator().manual_seed(9))
    vocabulary = VocabularyMap.from_pairs(torch.stack([order, torch.arange(15)], 1), student_size=15, teacher_size=15)
    plain, mapped = measure(student, teacher, k=4), measure(student, teacher[:, order], k=4, vocabulary=vocabulary)
    for name, value in plain.values().items():
        torch.testing.assert_close(mapped.values()[name], value, rtol=1e-5, atol=1e-6, equal_nan=True, msg=name)


def test_divergences_of_almost_equal_models_are_not_negative():
    """Where rounding is larger than they are, and at the other end for disjoint models."""
    student = 3 * torch.randn(2000, 40, generator=torch.Generator().manual_seed(0))
    near = measure(
        student, student + 1e-6 * torch.randn(student.shape, generator=torch.Generator().manual_seed(1)), k=4
    )
    for name in ("forward_kl", "reverse_kl", "jensen_shannon", "total_variation", "student_entropy"):
        assert (getattr(near, name) >= 0).all(), name
    favorite = torch.nn.functional.one_hot(torch.arange(40)).float() * 60
    far = measure(favorite, favorite.roll(1, 0), k=4)
    assert (far.jensen_shannon <= torch.tensor(math.log(2.0))).all()
    assert (far.total_variation <= 1).all()


def test_mapped_mass_is_a_share():
    """Sums in two orders can differ by their rounding; a share is never above 1."""
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(9))
    vocabulary = VocabularyMap.from_pairs(
        torch.stack([order, torch.arange(5000)], 1), student_size=5000, teacher_size=5000
    )
    student, teacher = pair("random", (64, 5000), seed=8)
    mapped = measure(student / 4, teacher[:, order] / 4, k=4, vocabulary=vocabulary)
    for mass in (mapped.student_mapped_mass, mapped.teacher_mapped_mass):
        assert (mass <= 1).all()
        assert (mass > 1 - 1e-5).all()


def test_hardly_any_mass_on_the_shared_ids():
    """Of one model alone: its distribution on them is what it is without the token that has all the mass."""
    student, teacher = (torch.randn(4, 10, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    both = VocabularyMap.from_pairs([(i, i) for i in range(10)], student_size=10, teacher_size=11)
    confident = torch.cat([teacher, torch.full((4, 1), 80.0)], -1)
    expected, received = measure(student, teacher, k=3), measure(student, confident, k=3, vocabulary=both)
    for name in ("forward_kl", "reverse_kl", "jensen_shannon", "total_variation"):
        torch.testing.assert_close(getattr(received, name), getattr(expected, name), rtol=1e-5, atol=1e-6, msg=name)
    assert (received.teacher_mapped_mass < 1e-30).all()


@pytest.mark.parametrize("mapped", [9, 12])
def test_minus_infinity_with_a_map(mapped):
    """Rows that leave the fast arithmetic give the same masses and divergences, here those of a very low score."""
    generator = torch.Generator().manual_seed(3)
    student, teacher = (2 * torch.randn(5, n, generator=generator) for n in (12, 14))
    vocabulary = VocabularyMap.from_pairs([(i, 13 - i) for i in range(mapped)], student_size=12, teacher_size=14)
    gone = torch.rand(5, 14, generator=generator) < 0.3
    gone[:, 5:] = False  # of ids 0 to 4 the student has none
    low, never = (
        measure(student, teacher.masked_fill(gone, x), k=3, vocabulary=vocabulary) for x in (-90.0, -torch.inf)
    )
    assert gone.any()
    for name in ("teacher_mapped_mass", "student_mapped_mass", "forward_kl", "jensen_shannon", "teacher_entropy"):
        torch.testing.assert_close(getattr(never, name), getattr(low, name), rtol=1e-5, atol=1e-6, msg=name)


def test_minus_infinity_is_probability_zero():
    student = torch.tensor([[0.0, 1.0, -torch.inf, -torch.inf], [0.0, 1.0, 2.0, 3.0]])
    teacher = torch.tensor([[0.0, 1.0, -torch.inf, -torch.inf], [0.0, -torch.inf, 2.0, 3.0]])
    statistics = measure(student, teacher, k=3, tokens=torch.tensor([2, 1]))
    assert statistics.student_size.tolist() == [2, 3]
    assert statistics.forward_kl[0] == statistics.jensen_shannon[0] == statistics.union_kl[0] == 0
    assert statistics.reverse_kl[1] == torch.inf
    assert statistics.forward_kl[1].isfinite()
    assert statistics.student_logprob[0] == -torch.inf
    summary = statistics.summary()  # infinity is a value: it shows, without an interval
    assert summary["reverse_kl"].value == math.inf
    assert math.isnan(summary["reverse_kl"].low)


@pytest.mark.parametrize("elements", [1, 45, 100, 10**6])
def test_chunks_change_nothing(monkeypatch, elements):
    student, teacher = pair("ties", (4, 6, 20), seed=10)
    mask = torch.rand(4, 6, generator=torch.Generator().manual_seed(1)) < 0.8
    whole = measure(student, teacher, k=3, mask=mask).values()
    monkeypatch.setattr(chunking, "CHUNK_ELEMENTS", elements)
    parts = measure(student, teacher, k=3, mask=mask).values()
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-6, atol=1e-6, equal_nan=True)


def test_no_temporary_grows_with_the_number_of_positions(monkeypatch):
    """Nothing of float32 larger than a chunk is made, whatever the number of positions."""
    largest = 0

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.dtype == torch.float32:
                largest = max(largest, result.numel())
            return result

    monkeypatch.setattr(threads, "MOST", 1)  # watched is the calling thread
    monkeypatch.setattr(chunking, "CHUNK_ELEMENTS", 4 * 500)
    student, teacher = (z.bfloat16() for z in pair("random", (30, 500), seed=11))
    with Watch():
        measure(student, teacher, k=5)
    assert 0 < largest <= 4 * 500


def test_logits_need_not_be_contiguous():
    student, teacher = pair("random", (3, 6, 20), seed=12)
    shifted = measure(student[:, :-1], teacher[:, 1:], k=3)
    copied = measure(student[:, :-1].contiguous(), teacher[:, 1:].contiguous(), k=3)
    torch.testing.assert_close(shifted.forward_kl, copied.forward_kl, rtol=0, atol=0)


def test_leading_shapes_and_gradients():
    student, teacher = torch.randn(8, requires_grad=True), torch.randn(8)
    single = measure(student, teacher, k=2, tokens=torch.tensor(3))
    assert single.mask.shape == single.forward_kl.shape == ()
    assert not single.forward_kl.requires_grad
    assert single.summary()["forward_kl"].value == single.forward_kl.item()
    assert measure(torch.randn(2, 1, 3, 8), torch.randn(2, 1, 3, 8), k=2).jaccard.shape == (2, 1, 3)
    none = measure(torch.zeros(0, 4, 8), torch.zeros(0, 4, 8), k=2)
    assert none.summary()["forward_kl"].n_positions == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", ["random", "ties"])
def test_a_gpu_agrees_with_the_cpu(kind):
    student, teacher = (z.bfloat16() for z in pair(kind, (4, 10, 3000), seed=13))
    here = measure(student, teacher, k=32, blocked=[5]).values()
    there = measure(student.cuda(), teacher.cuda(), k=32, blocked=[5]).values()
    for name, value in here.items():
        torch.testing.assert_close(there[name].cpu(), value, rtol=1e-5, atol=1e-5, equal_nan=True, msg=name)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.sampled_from([0.3, 1.0, 3.0]))
@settings(max_examples=60, deadline=None)
def test_properties(seed, k, scale):
    rng = np.random.default_rng(seed)
    student, teacher = (torch.from_numpy((rng.normal(size=(6, 12)) * 4).round(1).astype(np.float32)) for _ in "st")
    student, teacher = student * scale, teacher * scale
    a, b = measure(student, teacher, k=k), measure(teacher, student, k=k)
    own = measure(student, student.clone(), k=k)

    # the two sides change places
    for name, other in (
        *(
            (n, n)
            for n in ("union_size", "overlap_ratio", "jaccard", "top1_agreement", "jensen_shannon", "boundary_tie")
        ),
        *((n, n) for n in ("total_variation", "entropy_gap", "intersection_size")),
        ("forward_kl", "reverse_kl"),
        ("student_mass", "teacher_mass"),
        ("student_entropy", "teacher_entropy"),
        ("student_intersection_mass", "teacher_intersection_mass"),
    ):
        torch.testing.assert_close(getattr(a, name), getattr(b, other), rtol=1e-6, atol=5e-7)

    # a model overlaps with itself completely, and exactly
    assert (own.overlap_ratio == 1).all()
    for name in ("forward_kl", "reverse_kl", "jensen_shannon", "total_variation", "union_kl", "overlap_advantage"):
        assert (getattr(own, name) == 0).all(), name
    assert (own.entropy_gap == 0).all()

    # counting and bounds
    assert torch.equal(a.union_size + a.intersection_size, a.student_size + a.teacher_size)
    assert ((a.union_size >= k) & (a.union_size <= 2 * k)).all()
    for name in ("overlap_ratio", "jaccard", "student_mass", "teacher_mass", "total_variation"):
        assert ((getattr(a, name) >= 0) & (getattr(a, name) <= 1)).all(), name
    assert (a.student_intersection_mass <= a.student_mass + 1e-6).all()
    assert (a.jensen_shannon <= math.log(2) + 1e-7).all()
    assert (a.overlap_advantage.nan_to_num() <= 0).all()
    assert (a.union_kl >= 0).all()
    assert (a.total_variation <= (a.forward_kl / 2).sqrt() + 1e-4).all()  # Pinsker
    assert (a.total_variation <= (a.reverse_kl / 2).sqrt() + 1e-4).all()
    if k == 12:
        torch.testing.assert_close(a.union_kl, a.forward_kl, rtol=1e-4, atol=1e-5)

    # a constant on all logits of a position is no information
    moved = measure(student + 8.0, teacher - 16.0, k=k)
    torch.testing.assert_close(moved.forward_kl, a.forward_kl, rtol=1e-4, atol=1e-4)

    # positions are independent of each other
    order = torch.from_numpy(rng.permutation(6))
    permuted = measure(student[order], teacher[order], k=k)
    for name, value in a.values().items():
        torch.testing.assert_close(permuted.values()[name], value[order], rtol=1e-6, atol=1e-6, equal_nan=True)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_renaming_all_tokens_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    student, teacher = (torch.from_numpy(rng.normal(size=(4, 20)).astype(np.float32)) for _ in "st")  # no ties
    order = torch.from_numpy(rng.permutation(20))
    a, b = measure(student, teacher, k=5), measure(student[:, order], teacher[:, order], k=5)
    for name, value in a.values().items():
        torch.testing.assert_close(b.values()[name], value, rtol=1e-5, atol=1e-6, equal_nan=True, msg=name)


ZEROS = torch.zeros(2, 3, 8)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((ZEROS.long(), ZEROS), {}, "student_logits: expected floating-point logits, received torch.int64"),
        ((ZEROS, ZEROS.int()), {}, "teacher_logits: expected floating-point logits, received torch.int32"),
        ((ZEROS, ZEROS[:1]), {}, r"expected the student's leading shape \[2, 3\], received \[1, 3\]; score the same"),
        (
            (ZEROS, ZEROS[..., :7]),
            {},
            r"student's logits have 8 ids and the teacher's 7; pass vocabulary=VocabularyMap",
        ),
        (
            (ZEROS, ZEROS),
            {"vocabulary": VocabularyMap.identity(9)},
            "the map is for 9 student and 9 teacher ids, the logits have 8 and 8; build the map with the widths",
        ),
        ((ZEROS, ZEROS), {"k": 0}, "k: expected an integer of at least 1, received 0"),
        ((ZEROS, ZEROS), {"k": 9}, "k: received 9, but the student's logits have only 8 admissible tokens"),
        ((ZEROS, ZEROS), {"k": 8, "blocked": [0]}, "k: received 8, but the student's logits have only 7 admissible"),
        (
            (ZEROS, ZEROS[..., :3]),
            {"k": 4, "vocabulary": VocabularyMap.from_pairs([(0, 0)], student_size=8, teacher_size=3)},
            "k: received 4, but the teacher's logits have only 3 admissible tokens",
        ),
        ((ZEROS, ZEROS), {"k": 2, "blocked": [8]}, r"1 of 1 ids are outside .* vocabulary of 8 \(valid: 0 to 7\)"),
        ((ZEROS, ZEROS), {"k": 2, "temperature": 0.0}, "temperature: expected a finite number above 0, received 0.0"),
        ((ZEROS, ZEROS), {"k": 2, "temperature": -1.0}, "temperature: expected a finite number above 0, received -1.0"),
        ((ZEROS, ZEROS), {"k": 2, "temperature": NAN}, "temperature: expected a finite number above 0, received nan"),
        (
            (ZEROS, ZEROS),
            {"k": 2, "mask": torch.ones(2, 3)},
            "mask: expected a torch.bool tensor, received torch.float32",
        ),
        (
            (ZEROS, ZEROS),
            {"k": 2, "mask": torch.ones(2, dtype=torch.bool)},
            r"mask: expected the logits' leading shape \[2, 3\], received \[2\]",
        ),
        (
            (ZEROS, ZEROS),
            {"k": 2, "tokens": torch.zeros(2, 3)},
            "tokens: expected a torch.int64 tensor of generated ids",
        ),
        (
            (ZEROS, ZEROS),
            {"k": 2, "tokens": torch.zeros(3, dtype=torch.long)},
            r"tokens: expected the logits' leading shape \[2, 3\], received \[3\]",
        ),
        (
            (ZEROS, ZEROS),
            {"k": 2, "tokens": torch.full((2, 3), 8)},
            "tokens: id 8 is outside the student's vocabulary of 8",
        ),
        (
            (ZEROS, torch.where(torch.arange(6).reshape(2, 3, 1) >= 4, NAN, ZEROS)),
            {"k": 2},
            r"teacher_logits: 2 of 6 unmasked positions hold NaN, \+inf .* the first at index \(1, 1\); mask these",
        ),
        (
            (torch.where(torch.arange(8) == 3, math.inf, ZEROS), ZEROS),
            {"k": 2},
            r"student_logits: 6 of 6 unmasked positions .* the first at index \(0, 0\)",
        ),
    ],
)
def test_errors_say_what_and_what_to_do(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        measure(*arguments, **({"k": 2} | options))


def merged(scores, ends):
    """Scores in which the first end has the log-sum-exp of all; the others are taken out by blocking them."""
    scores = scores.double().clone()
    scores[..., ends[0]] = torch.logsumexp(scores[..., list(ends)], -1)
    return scores


@pytest.mark.parametrize(("ends", "teacher_ends"), [((5,), ()), ((5, 2, 9), ()), ((5,), (5, 1)), ((5, 2), (5, 7, 0))])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_several_ends_are_one_event(ends, teacher_ends, temperature):
    student, teacher = pair("random", (4, 6, 24), seed=31)
    options = {"k": 5, "temperature": temperature}
    found = measure(student, teacher, ends=ends, teacher_ends=teacher_ends, **options)
    theirs = teacher_ends or ends
    gone = sorted({*ends[1:], *theirs[1:]})
    compare(merged(student, ends), merged(teacher, theirs), found, blocked=gone, end=(5, 5), **options)


def test_ends_of_two_vocabularies_are_paired_by_the_map():
    student, teacher = pair("random", (3, 4, 12), seed=32)
    pairs = {i: 11 - i for i in range(12)}
    vocabulary = VocabularyMap.from_pairs(list(pairs.items()), student_size=12, teacher_size=12)
    found = measure(student, teacher, k=3, vocabulary=vocabulary, ends=[4, 6], teacher_ends=[7, 0])
    gone = [6, 11]  # 11 is the teacher's 0
    options = {"k": 3, "blocked": gone, "pairs": {s: t for s, t in pairs.items() if s not in gone}}
    compare(merged(student, (4, 6)), without(merged(teacher, (7, 0)), [5, 0]), found, end=(4, 7), **options)


FOUR_TO_THREE = VocabularyMap.from_pairs([(4, 3)], student_size=12, teacher_size=12)


def without(scores, ids):
    scores = scores.clone()
    scores[..., ids] = -torch.inf
    return scores


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ends": [40]}, "ends: id 40 is outside the vocabulary of 12 (valid: 0 to 11)"),
        ({"ends": [4, 4]}, "ends: expected different token ids, received [4, 4]"),
        ({"teacher_ends": [4]}, "teacher_ends: given without ends"),
        ({"ends": [4], "teacher_ends": [5]}, "where ids agree, both name the same id first"),
        ({"ends": [4], "blocked": [4, 5]}, "ends: id 4 ends a text and is blocked; take it out of the blocked ids"),
        (
            {"ends": [4], "vocabulary": FOUR_TO_THREE},
            "with a map, give the teacher's ids",
        ),
    ],
)
def test_ends_that_do_not_fit(options, message):
    logits = torch.zeros(2, 12)
    with pytest.raises(UserError, match=re.escape(message)):
        measure(logits, logits, k=2, **options)
