"""Bounds from a teacher's list: they hold for every completion of it, and the tight ones are reached by some."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import log_softmax, rel_entr
from scipy.stats import entropy

from overlap import VocabularyMap, measure
from overlap.bounds import BOUNDED_STATISTICS, DECIDED_BY_TOP_K, BoundsSummary, measure_bounds
from overlap.core import chunking
from overlap.definitions import TOKEN_STATISTICS
from overlap.estimates.group_sums import GroupSums

BOUNDED = tuple(name for name in BOUNDED_STATISTICS if name != "teacher_end_mass")
"""Without end ids."""
SETS = ("union_size", "intersection_size", "overlap_ratio", "jaccard", "top1_agreement")
KNOWN_WITH_T = (*SETS, "student_mass", "student_intersection_mass", "teacher_intersection_mass")
TIGHT = ("teacher_mass", "teacher_entropy", "entropy_gap", "union_kl", "union_kl_tail")
DIVERGENCES = ("forward_kl", "reverse_kl", "jensen_shannon", "total_variation")


def normal(seed, *shape, scale=2.0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy((rng.normal(size=shape) * scale).astype(np.float32))


def listed(teacher, m):
    """What a server would return: the m best ids and their log-probabilities."""
    log_q, ids = teacher.double().log_softmax(-1).topk(m)
    return ids, log_q


def assert_inside(bounds, truth, slack=2e-5):
    """Bounds are undefined where the truth is, unless a list shorter than k leaves that open."""
    decided = bounds.topk_size - bounds.blocked >= bounds.k
    assert tuple(bounds.lower) == tuple(bounds.upper) == BOUNDED
    for name in BOUNDED:
        low, true, high = bounds.lower[name], getattr(truth, name).double(), bounds.upper[name]
        assert (low.isnan() == high.isnan()).all(), name
        assert (~low.isnan() | true.isnan()).all(), name
        assert (~true.isnan() | low.isnan() | ~decided).all(), name
        kept = 2e-4 if name == "union_kl_tail" else slack  # what `measure` keeps of it where a model is peaked
        margin = kept * (1 + true.abs().nan_to_num())
        wrong = (low > true + margin) | (true > high + margin)
        assert not wrong.any(), (name, low[wrong], true[wrong], high[wrong])
        assert (low <= high).logical_or(low.isnan()).all(), name


def test_a_probability_that_underflows_is_one_that_the_teacher_excludes():
    """A finite mask leaves the student e⁻²⁰⁰⁰, which float64 does not hold: the KL is infinite, not NaN."""
    student = torch.tensor([[2.0, 1.0, -2000.0, -2000.0]])
    ids, log_q = torch.tensor([[0, 1, 2]]), torch.tensor([[0.6, 0.4, 0.0]]).log()
    bounds = measure_bounds(student, ids, log_q, k=2)
    assert bounds.lower["reverse_kl"].tolist() == bounds.upper["reverse_kl"].tolist() == [math.inf]
    teacher = torch.tensor([[0.6, 0.4, 0.0, 0.0]]).log()
    assert measure(student, teacher, k=2).reverse_kl.tolist() == [math.inf]


@given(
    seed=st.integers(0, 2**32 - 1),
    m=st.integers(1, 14),
    k=st.integers(1, 14),
    scales=st.tuples(st.sampled_from([0.1, 1.0, 3.0, 10.0]), st.sampled_from([0.1, 1.0, 3.0, 10.0])),
    near=st.booleans(),
)
@settings(max_examples=80, deadline=None)
@example(seed=223305, m=11, k=9, scales=(10.0, 1.0), near=False)
@example(seed=39909961, m=1, k=1, scales=(10.0, 10.0), near=True)
def test_any_teacher_lies_between_the_ends(seed, m, k, scales, near):
    student = normal(seed, 6, 14, scale=scales[0])
    teacher = normal(seed + 1, 6, 14, scale=scales[1]) + (student if near else 0)
    bounds = measure_bounds(student, *listed(teacher, m), k=k, tolerance=0.0)
    assert_inside(bounds, measure(student, teacher, k=k))
    if m >= k:
        for name in KNOWN_WITH_T:
            torch.testing.assert_close(bounds.lower[name], bounds.upper[name], rtol=0, atol=1e-11, msg=name)


@given(
    seed=st.integers(0, 2**32 - 1),
    m=st.integers(1, 12),
    k=st.integers(1, 9),
    decimals=st.sampled_from([1, 2, 4]),
    blocked=st.lists(st.integers(0, 13), max_size=4),
)
@settings(max_examples=80, deadline=None)
def test_rounded_lists_and_blocked_ids(seed, m, k, decimals, blocked):
    student, teacher = normal(seed, 4, 14), normal(seed + 1, 4, 14)
    tolerance = 0.5 * 10.0**-decimals
    ids, log_q = listed(teacher, m)
    ranked = listed(teacher.index_fill(-1, torch.tensor(blocked, dtype=torch.long), -torch.inf), k + 1)[1]
    if m > k:  # rounding must not hide who belongs to T
        assume(bool(((ranked[:, :-1] - ranked[:, 1:]).amin(-1) > 4 * tolerance).all()))
    rounded = (log_q * 10**decimals).round() / 10**decimals
    bounds = measure_bounds(student, ids, rounded, k=k, blocked=blocked, tolerance=tolerance + 1e-9)
    assert_inside(bounds, measure(student, teacher, k=k, blocked=blocked))


@given(
    seed=st.integers(0, 2**32 - 1),
    m=st.integers(1, 17),
    k=st.integers(1, 9),
    n=st.integers(0, 12),
    blocked=st.lists(st.integers(0, 11), max_size=3),
)
@settings(max_examples=80, deadline=None)
def test_different_vocabularies(seed, m, k, n, blocked):
    rng = np.random.default_rng(seed)
    student, teacher = normal(seed, 4, 12), normal(seed + 1, 4, 17)
    pairs = np.stack([rng.permutation(12)[:n], rng.permutation(17)[:n]], 1)
    vocabulary = VocabularyMap.from_pairs(torch.from_numpy(pairs), student_size=12, teacher_size=17)
    ids, log_q = listed(teacher, m)
    options = {"k": k, "vocabulary": vocabulary, "blocked": blocked}
    bounds = measure_bounds(student, ids, log_q, tolerance=0.0, **options)
    assert_inside(bounds, measure(student, teacher, **options))
    mapped = torch.isin(ids, torch.from_numpy(pairs[:, 1]))
    assert bounds.unmapped.tolist() == (~mapped).sum(-1).tolist()
    gone = torch.from_numpy(pairs[np.isin(pairs[:, 0], blocked), 1])
    assert bounds.blocked.tolist() == torch.isin(ids, gone).sum(-1).tolist()
    assert bounds.topk_size.tolist() == [m] * 4


@given(
    seed=st.integers(0, 2**32 - 1),
    m=st.integers(1, 15),
    k=st.integers(1, 6),
    n=st.integers(0, 12),
    blocked=st.lists(st.integers(0, 11), max_size=3),
    teacher_blocked=st.lists(st.integers(0, 14), max_size=5),
)
@settings(max_examples=80, deadline=None)
def test_ids_that_only_the_teacher_has_can_be_blocked(seed, m, k, n, blocked, teacher_blocked):
    rng = np.random.default_rng(seed)
    student, teacher = normal(seed, 4, 12), normal(seed + 1, 4, 15)
    pairs = np.stack([rng.permutation(12)[:n], rng.permutation(15)[:n]], 1)
    vocabulary = VocabularyMap.from_pairs(torch.from_numpy(pairs), student_size=12, teacher_size=15)
    options = {"k": k, "vocabulary": vocabulary, "blocked": blocked, "teacher_blocked": teacher_blocked}
    try:
        truth = measure(student, teacher, **options)
    except ValueError:  # more than there is
        assume(False)
    ids, log_q = listed(teacher, m)
    bounds = measure_bounds(student, ids, log_q, tolerance=0.0, **options)
    assert_inside(bounds, truth)
    there = dict(pairs.tolist())
    gone = {*teacher_blocked, *(there[i] for i in blocked if i in there)}
    assert bounds.blocked.tolist() == torch.isin(ids, torch.tensor(sorted(gone), dtype=torch.long)).sum(-1).tolist()
    if m == 15:
        # What rounding leaves of the list's mass, relative to the mass that divergences are renormalized by.
        shared = [i for i in there.values() if i not in gone]
        slack = 1e-9 + 1e-11 / teacher.double().softmax(-1)[:, shared].sum(-1)
        for name in BOUNDED:
            low, high = bounds.lower[name], bounds.upper[name]
            assert (low.isnan() == high.isnan()).all(), name
            assert ((high - low <= slack) | low.isnan()).all(), (name, low, high)


def test_what_a_list_decides_has_values_and_the_rest_none():
    student, teacher = normal(0, 6, 14), normal(1, 6, 14)
    blocked = [int(teacher[0].argmax())]
    bounds = measure_bounds(student, *listed(teacher, 4), k=4, blocked=blocked)
    truth, decided = measure(student, teacher, k=4, blocked=blocked), bounds.decided()
    assert tuple(decided) == DECIDED_BY_TOP_K
    short = bounds.blocked > 0  # there a member of T is not known
    assert short[0]
    assert not short.all()
    for name, values in decided.items():
        exact = getattr(truth, name).double()
        torch.testing.assert_close(values[~short], exact[~short], atol=1e-5, rtol=0, msg=name)
    assert decided["union_size"][short].isnan().all()


def test_sums_of_batches_give_the_summary_of_all_at_once():
    student, teacher = normal(0, 6, 5, 14), normal(1, 6, 5, 14)
    names = [f"utterance {i}" for i in range(6)]
    whole = measure_bounds(student, *listed(teacher, 5), k=4)
    parts = [measure_bounds(student[i], *listed(teacher[i], 5), k=4) for i in (slice(0, 2), slice(2, 6))]
    sides = [
        GroupSums.merged(
            [
                GroupSums.from_values(getattr(part, side), names[start : start + len(part.mask)], mask=part.mask)
                for part, start in zip(parts, (0, 2), strict=True)
            ]
        )
        for side in ("lower", "upper")
    ]
    expected, summary = whole.summary(names), BoundsSummary.from_group_sums(*sides, k=4)
    assert str(summary) == str(expected)
    ends = summary.ends()
    assert ends["forward_kl.lower"] == summary["forward_kl"][0]
    assert ends["forward_kl.upper"] == summary["forward_kl"][1]
    assert summary.to_summary().to_dict()["estimates"]["reverse_kl.upper"]["value"] == "inf"


@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 10), scale=st.sampled_from([0.3, 2.0, 8.0]))
@settings(max_examples=60, deadline=None)
@example(seed=1130, k=4, scale=8.0)
def test_a_complete_list_decides_everything(seed, k, scale):
    student, teacher = normal(seed, 5, 10, scale=scale), normal(seed + 1, 5, 10, scale=scale)
    bounds, truth = measure_bounds(student, *listed(teacher, 10), k=k, tolerance=0.0), measure(student, teacher, k=k)
    for name in BOUNDED:
        torch.testing.assert_close(bounds.lower[name], bounds.upper[name], rtol=1e-9, atol=1e-9, msg=name)
        loose = 1e-3 if name == "union_kl_tail" else 2e-5  # as its definition promises of `measure`
        torch.testing.assert_close(bounds.lower[name], getattr(truth, name).double(), rtol=loose, atol=2e-5, msg=name)


@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([0.3, 2.0, 6.0]))
@settings(max_examples=40, deadline=None)
def test_longer_lists_say_more(seed, scale):
    student, teacher = normal(seed, 5, 12, scale=scale), normal(seed + 1, 5, 12, scale=scale)
    previous = None
    for m in range(1, 13):
        bounds = measure_bounds(student, *listed(teacher, m), k=4, tolerance=0.0)
        if previous is not None:
            for name in BOUNDED:
                assert (bounds.lower[name] >= previous.lower[name] - 1e-9).all(), (name, m)
                assert (bounds.upper[name] <= previous.upper[name] + 1e-9).all(), (name, m)
        previous = bounds


# --- by brute force: one position of 6 tokens, all corners of what agrees with the list ---


def best(q, k):
    return set(np.argsort(-q, kind="stable")[:k].tolist())


def truths(log_p, q, t):
    """The statistics of one position, from a student's log-probabilities, a teacher's probabilities and its top-k."""
    p, k = np.exp(log_p), len(t)
    s = best(p, k)
    u = sorted(s | t)
    with np.errstate(divide="ignore"):
        return {
            "teacher_mass": sum(q[v] for v in s),
            "teacher_entropy": entropy(q),
            "entropy_gap": abs(entropy(q) - entropy(p)),
            "forward_kl": rel_entr(q, p).sum(),
            "reverse_kl": rel_entr(p, q).sum(),
            "jensen_shannon": (rel_entr(p, (p + q) / 2).sum() + rel_entr(q, (p + q) / 2).sum()) / 2,
            "total_variation": np.abs(p - q).sum() / 2,
            "union_kl": rel_entr(q[u] / q[u].sum(), p[u] / p[u].sum()).sum(),
            "union_kl_tail": rel_entr(q[u], p[u]).sum() + rel_entr(*(np.delete(x, u).sum() for x in (q, p))),
            "union_size": len(s | t),
            "intersection_size": len(s & t),
            "overlap_ratio": len(s & t) / k,
            "jaccard": len(s & t) / len(s | t),
            "top1_agreement": float(np.argmax(p) == np.argmax(q)),
            "student_mass": sum(p[v] for v in t),
            "student_intersection_mass": sum(p[v] for v in s & t),
            "teacher_intersection_mass": sum(q[v] for v in s & t),
        }


def corners(q, m):
    """Every way to put the missing mass on the unlisted tokens up to the cap, one of them with the remainder."""
    order = np.argsort(-q, kind="stable")
    known, hidden = order[:m], order[m:]
    cap, rest = q[known].min(), 1 - q[known].sum()
    full = min(int(rest / cap), len(hidden))
    for order in itertools.permutations(hidden, min(full + 1, len(hidden))):
        corner = np.zeros_like(q)
        corner[known] = q[known]
        corner[list(order[:full])] = cap
        if full < len(hidden):
            corner[order[full]] = rest - full * cap
        yield corner


def inner(q, m, rng, n):
    """Random points between the corners, many of them close to one."""
    ends = np.array(list(corners(q, m)))
    for _ in range(n):
        chosen = ends[rng.integers(len(ends), size=min(4, len(ends)))]
        yield rng.dirichlet(np.full(len(chosen), 0.5)) @ chosen


def proportional(log_p, q, m):
    """Completions that follow the student wherever the cap allows: any tokens capped, the others in proportion to p."""
    order = np.argsort(-q, kind="stable")
    hidden, cap, rest = order[m:], q[order[:m]].min(), 1 - q[order[:m]].sum()
    for n in range(len(hidden) + 1):
        for capped in itertools.combinations(hidden, n):
            free = [v for v in hidden if v not in capped]
            left, p = rest - n * cap, np.exp(log_p)
            if left >= 0 and free and left * p[free].max() / p[free].sum() <= cap:
                complete = q.copy()
                complete[list(capped)] = cap
                complete[free] = left * p[free] / p[free].sum()
                yield complete


def smallest(name, log_p, q, m, t):
    """The least value that scipy's optimizer finds among the admissible completions."""
    order = np.argsort(-q, kind="stable")
    hidden, cap, rest = order[m:], q[order[:m]].min(), 1 - q[order[:m]].sum()

    def value(x):
        complete = q.copy()
        complete[hidden] = np.clip(x, 1e-15, None)
        return truths(log_p, complete, t)[name]

    start = np.full(len(hidden), rest / len(hidden))
    limits = [(1e-15, cap)] * len(hidden)
    sums = {"type": "eq", "fun": lambda x: x.sum() - rest}
    return minimize(value, start, bounds=limits, constraints=[sums], method="SLSQP", tol=1e-14).fun


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("m", "k"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 2)])
def test_tight_ends_are_reached(seed, m, k):
    rng = np.random.default_rng(seed)
    student, teacher = normal(seed, 1, 6, scale=1 + seed % 3), normal(seed + 100, 1, 6, scale=0.5 + seed % 4)
    log_p, q = log_softmax(student[0].double().numpy()), np.exp(log_softmax(teacher[0].double().numpy()))
    bounds = measure_bounds(student, *listed(teacher, m), k=k, tolerance=0.0)
    t = best(q, k)
    ends = [truths(log_p, corner, t) for corner in corners(q, m)]
    between = [truths(log_p, point, t) for point in inner(q, m, rng, 200)]
    near = [truths(log_p, point, t) for point in proportional(log_p, q, m)]
    for name in (*TIGHT, *DIVERGENCES):
        low, high = bounds.lower[name].item(), bounds.upper[name].item()
        for values in ends + between + near:
            assert low - 1e-6 <= values[name] <= high + 1e-6, name
        if name in DIVERGENCES or name.startswith("union_kl"):
            assert max(values[name] for values in ends) == pytest.approx(high, abs=1e-6), name
        if name in DIVERGENCES:
            assert min(values[name] for values in near) == pytest.approx(low, abs=1e-6), name
    for name in ("union_kl", "union_kl_tail"):
        assert smallest(name, log_p, q, m, t) == pytest.approx(bounds.lower[name].item(), abs=1e-6), name
    for name in ("teacher_mass", "teacher_entropy"):
        values = [values[name] for values in ends]
        assert min(values) == pytest.approx(bounds.lower[name].item(), abs=1e-9)
    assert max(v["teacher_mass"] for v in ends) == pytest.approx(bounds.upper["teacher_mass"].item(), abs=1e-9)
    even = np.where(q >= np.sort(q)[-m], q, (1 - np.sort(q)[-m:].sum()) / max(6 - m, 1))
    assert entropy(even) == pytest.approx(bounds.upper["teacher_entropy"].item(), abs=1e-9)
    gaps = [values["entropy_gap"] for values in [*ends, *between, truths(log_p, even, t)]]
    assert max(gaps) == pytest.approx(bounds.upper["entropy_gap"].item(), abs=1e-9)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("m", "k"), [(1, 2), (1, 4), (2, 3), (2, 5), (3, 6)])
def test_sets_of_a_list_shorter_than_k(seed, m, k):
    student, teacher = normal(seed, 1, 6), normal(seed + 100, 1, 6, scale=0.7)
    log_p, q = log_softmax(student[0].double().numpy()), np.exp(log_softmax(teacher[0].double().numpy()))
    bounds = measure_bounds(student, *listed(teacher, m), k=k, tolerance=0.0)
    order = np.argsort(-q, kind="stable")
    values = []
    for ranking in itertools.permutations(order[m:]):
        complete = q.copy()
        complete[list(ranking)] = np.sort(q[order[m:]])[::-1]
        values.append(truths(log_p, complete, best(complete, k)))
    for name in (*SETS, "student_mass", "student_intersection_mass"):
        assert min(v[name] for v in values) == pytest.approx(bounds.lower[name].item(), abs=1e-9), name
        assert max(v[name] for v in values) == pytest.approx(bounds.upper[name].item(), abs=1e-9), name
    for name in ("teacher_intersection_mass", "union_kl", "union_kl_tail"):
        assert all(bounds.lower[name] - 1e-9 <= v[name] <= bounds.upper[name] + 1e-9 for v in values), name
    if k < 6:
        assert bounds.upper["union_kl"].item() == bounds.upper["union_kl_tail"].item() == math.inf


def test_the_order_of_the_list_and_its_padding_change_nothing():
    student, teacher = normal(0, 3, 4, 20), normal(1, 3, 4, 20)
    ids, log_q = listed(teacher, 6)
    plain = measure_bounds(student, ids, log_q, k=4)
    order = torch.from_numpy(np.random.default_rng(2).permutation(8))
    padded_ids = torch.nn.functional.pad(ids, (0, 2), value=-1)[..., order]
    padded = torch.nn.functional.pad(log_q, (0, 2), value=math.nan)[..., order]
    shuffled = measure_bounds(student, padded_ids, padded, k=4)
    for name in BOUNDED:
        torch.testing.assert_close(shuffled.lower[name], plain.lower[name], rtol=0, atol=1e-12)
        torch.testing.assert_close(shuffled.upper[name], plain.upper[name], rtol=0, atol=1e-12)


def test_ragged_lists_and_positions_without_one():
    student, teacher = normal(3, 5, 12), normal(4, 5, 12)
    ids, log_q = listed(teacher, 7)
    lengths = torch.tensor([7, 4, 2, 1, 0])
    ids = torch.where(torch.arange(7) < lengths[:, None], ids, -1)
    bounds = measure_bounds(student, ids, log_q, k=3, tolerance=0.0)
    assert_inside(bounds, measure(student, teacher, k=3))
    assert bounds.topk_size.tolist() == lengths.tolist()
    for row, length in enumerate(lengths.tolist()[:-1]):
        alone = measure_bounds(student[row], ids[row, :length], log_q[row, :length], k=3, tolerance=0.0)
        for name in BOUNDED:
            torch.testing.assert_close(bounds.lower[name][row], alone.lower[name], rtol=1e-9, atol=1e-12)
    nothing = {name: (bounds.lower[name][4].item(), bounds.upper[name][4].item()) for name in BOUNDED}
    assert nothing["union_size"] == (3, 6)
    assert nothing["top1_agreement"] == (0, 1)
    assert nothing["teacher_entropy"] == (0, pytest.approx(math.log(12)))
    assert nothing["forward_kl"][0] == pytest.approx(0, abs=1e-12)


def test_unlikely_students_and_impossible_tokens():
    """Tokens that the student rules out: a listed one makes forward KL infinite, an unlisted one may."""
    student = torch.tensor([[0.0, 1.0, 2.0, -torch.inf], [0.0, 1.0, -torch.inf, 3.0], [0.0, -torch.inf, 1.0, 2.0]])
    teacher = torch.tensor([[0.0, 2.0, 3.0, 1.0]] * 3)
    bounds = measure_bounds(student, *listed(teacher, 2), k=2, tolerance=0.0)
    assert bounds.upper["forward_kl"].tolist() == [math.inf] * 3
    assert bounds.lower["forward_kl"].isfinite().tolist() == [True, False, False]
    assert_inside(bounds, measure(student, teacher, k=2))
    # With 3 of 4 listed all that is missing is on the fourth.
    complete = measure_bounds(student, *listed(teacher, 3), k=2, tolerance=0.0)
    assert_inside(complete, measure(student, teacher, k=2))
    assert complete.lower["forward_kl"].tolist() == [math.inf] * 3


def test_mass_that_only_impossible_tokens_can_take():
    """The cap leaves mass over: it must go to tokens that the student rules out."""
    student = torch.tensor([[2.0, 1.0, 0.0, -torch.inf, -torch.inf]])
    teacher = torch.tensor([[0.25, 0.25, 0.2, 0.2, 0.1]]).log()
    bounds = measure_bounds(student, *listed(teacher, 2), k=2, tolerance=0.0)
    assert_inside(bounds, measure(student, teacher, k=2))
    log_p, closest = log_softmax(student[0].double().numpy()), np.array([0.25, 0.25, 0.25, 0.25, 0.0])
    wanted = truths(log_p, closest, {0, 1})
    for name in DIVERGENCES:
        assert bounds.lower[name].item() == pytest.approx(wanted[name], abs=1e-6), name
    assert bounds.lower["forward_kl"].item() == math.inf


def test_a_confident_student_off_the_list_is_bounded_from_below():
    """What the cap gives: the student's favorite, unlisted, has at most the least listed probability."""
    student = torch.linspace(0, 1, 1000)[None]
    student[0, 999] = 12.0
    teacher = torch.zeros(1, 1000)
    teacher[0, :4] = torch.tensor([14.0, 13.0, 12.0, 11.0])
    bounds, truth = measure_bounds(student, *listed(teacher, 4), k=4, tolerance=0.0), measure(student, teacher, k=4)
    assert_inside(bounds, truth)
    cap = listed(teacher, 4)[1][0, -1].item()
    assert bounds.lower["reverse_kl"].item() > 0.99 * -cap - 1
    assert bounds.upper["union_size"].item() == bounds.lower["union_size"].item() == 8


def test_masked_positions_are_nan_and_not_looked_at():
    student, teacher = normal(5, 3, 4, 12), normal(6, 3, 4, 12)
    mask = torch.from_numpy(np.random.default_rng(7).random((3, 4)) < 0.5)
    ids, log_q = listed(teacher, 5)
    whole = measure_bounds(student, ids, log_q, k=3)
    student[~mask], log_q[~mask], ids[~mask] = torch.nan, 5.0, 10**6
    bounds = measure_bounds(student, ids, log_q, k=3, mask=mask)
    for name in BOUNDED:
        assert bounds.lower[name][~mask].isnan().all()
        torch.testing.assert_close(bounds.upper[name][mask], whole.upper[name][mask], rtol=0, atol=0)
    assert bounds.topk_size[~mask].sum() == 0
    assert bounds.topk_mass[~mask].isnan().all()
    nothing = measure_bounds(student, ids, log_q, k=3, mask=torch.zeros_like(mask))
    assert nothing.lower["union_size"].isnan().all()
    assert nothing.summary()["union_size"][0].n_positions == 0


def test_leading_shapes_dtypes_and_chunks(monkeypatch):
    student, teacher = normal(8, 4, 3, 30), normal(9, 4, 3, 30)
    ids, log_q = listed(teacher, 6)
    whole = measure_bounds(student, ids, log_q, k=4, blocked=[3])
    single = measure_bounds(student[1, 2], ids[1, 2], log_q[1, 2], k=4, blocked=[3])
    assert single.lower["union_kl"].shape == ()
    half = measure_bounds(student.bfloat16(), ids, log_q.float(), k=4)
    assert half.lower["forward_kl"].dtype == torch.float64
    monkeypatch.setattr(chunking, "CHUNK_ELEMENTS", 100)
    parts = measure_bounds(student, ids, log_q, k=4, blocked=[3])
    for name in BOUNDED:
        torch.testing.assert_close(parts.lower[name], whole.lower[name], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(single.upper[name], whole.upper[name][1, 2], rtol=1e-9, atol=1e-12)


def test_no_temporary_grows_with_the_number_of_positions(monkeypatch):
    largest = 0

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.dtype in (torch.float32, torch.float64):
                largest = max(largest, result.nbytes)
            return result

    student, teacher = normal(12, 60, 500).bfloat16(), normal(13, 60, 500)
    ids, log_q = listed(teacher, 5)
    monkeypatch.setattr(chunking, "CHUNK_ELEMENTS", 4 * 500)
    with Watch():
        measure_bounds(student, ids, log_q, k=5)
    assert 0 < largest <= 8 * 2 * 501  # float64, two positions, one column more than tokens


def test_names_are_those_of_measure():
    assert set(BOUNDED) <= set(TOKEN_STATISTICS)


def test_summary_says_what_it_shows():
    student, teacher = normal(10, 6, 5, 40), normal(11, 6, 5, 40)
    bounds = measure_bounds(student, *listed(teacher, 8), k=8)
    summary = bounds.summary(states="student", seed=3)
    low, high = summary["teacher_entropy"]
    assert low.value == pytest.approx(bounds.lower["teacher_entropy"].mean().item())
    assert high.value == pytest.approx(bounds.upper["teacher_entropy"].mean().item())
    assert (low.n_positions, low.n_groups) == (30, 6)
    assert low.low < low.value < high.value < high.high
    truth = measure(student, teacher, k=8).summary()["teacher_entropy"].value
    assert low.value < truth < high.value
    text = str(summary)
    assert text.startswith("states: student, k = 8, temperature = 1; [lower, upper] are bounds")
    assert "not a confidence interval" in text
    assert f"[{low.value:.5g}, {high.value:.5g}]" in text
    assert f"{low.low:.5g} … {high.high:.5g}" in text
    assert "inf]" in text
    assert "<table>" in summary._repr_html_()
    assert list(summary) == list(BOUNDED)
    assert len(summary) == 17
    with pytest.raises(KeyError, match="'wer' is not bounded; there are union_size, "):
        summary["wer"]
    again = bounds.summary(["a", "a", "b", "b", "c", "c"])
    assert again["union_kl"][0].n_groups == 3


ZEROS = torch.zeros(2, 3, 8)
IDS = torch.arange(3).expand(2, 3, 3).contiguous()
LOGS = torch.full((2, 3, 3), -math.log(8.0))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((ZEROS.long(), IDS, LOGS), {}, "student_logits: expected floating-point logits"),
        ((ZEROS, IDS.float(), LOGS), {}, r"teacher_ids: expected a torch.int64 tensor of shape \[2, 3, 'm'\]"),
        ((ZEROS, IDS[0], LOGS), {}, r"received torch.int64 \[3, 3\]; pad shorter ones with id -1"),
        ((ZEROS, IDS.tolist(), LOGS), {}, "teacher_ids: expected a torch.int64 tensor .* received list"),
        ((ZEROS, IDS, IDS), {}, "teacher_logprobs: expected a floating-point tensor"),
        ((ZEROS, IDS, LOGS[..., :2]), {}, r"teacher_logprobs: expected the shape of teacher_ids \[2, 3, 3\]"),
        ((ZEROS, IDS[..., :0], LOGS[..., :0]), {}, "with m >= 1 slots for each position"),
        ((ZEROS, IDS + 6, LOGS), {}, "ids must be below 8, the width of the teacher's vocabulary; 6 positions, the fi"),
        ((ZEROS, IDS * 0, LOGS), {}, "a token is there twice; keep it once; 6 positions"),
        ((ZEROS, IDS, LOGS * math.nan), {}, "NaN or above 0; pass natural log-probabilities"),
        ((ZEROS, IDS, -LOGS), {}, "NaN or above 0"),
        ((ZEROS, IDS, LOGS / 3), {}, r"add up to more than 1 \(tolerance 1e-05 nats\); pass log-probabilities over"),
        (
            (ZEROS, IDS, LOGS - torch.tensor([0.0, 0.0, 5.0])),
            {},
            "cannot have the missing mass .* pass only the server's top-k log-probabilities",
        ),
        ((ZEROS, IDS, LOGS), {"tolerance": -1.0}, "tolerance: expected nats from 0 to below 1, received -1.0"),
        ((ZEROS, IDS, LOGS), {"k": 9}, "k: received 9, but the student's logits have only 8 admissible"),
        ((ZEROS, IDS, LOGS), {"mask": torch.ones(2, 3)}, "mask: expected a torch.bool tensor"),
        ((ZEROS, IDS, LOGS), {"blocked": [8]}, "blocked: 1 of 1 ids are outside"),
        (
            (ZEROS, IDS, LOGS),
            {"vocabulary": VocabularyMap.identity(9)},
            "the map is for 9 student and 9 teacher ids, the logits have 8 and 9",
        ),
        (
            (ZEROS, IDS[..., :1], LOGS[..., :1] * 0),
            {"vocabulary": VocabularyMap.from_pairs([(0, 0)], student_size=8, teacher_size=1)},
            "k: received 2, but the teacher's vocabulary have only 1 admissible",
        ),
    ],
)
def test_errors_say_what_and_what_to_do(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        measure_bounds(*arguments, **({"k": 2} | options))
