"""The numbers of other trainers against the systems' formulas, written again with Python sets and float64 loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, logsumexp

from overlap import measure, other_trainers
from overlap.core import chunking

SYSTEMS = {
    "paper": other_trainers.paper,
    "verl": other_trainers.verl,
    "thunlp": other_trainers.thunlp,
    "ark": other_trainers.ark,
}


def pair(kind, shape=(3, 5, 40), seed=1):
    """Two sets of logits without ties, as float32."""
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(*shape, generator=generator)
    teacher = student + 0.8 * torch.randn(*shape, generator=generator)
    if kind == "peaked":
        return student * 12, teacher * 12
    if kind == "apart":  # the favorites of one are the last choices of the other
        return student * 2, -student * 2
    if kind == "half apart":
        return student * 2, torch.where(torch.arange(shape[-2])[:, None] < 2, -student * 2, teacher * 2)
    return student * 2, teacher * 2


def some(shape, seed=3):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.7
    mask.view(-1)[0] = True
    return mask


def rows(student, teacher, mask):
    keep = torch.ones(student.shape[:-1], dtype=torch.bool) if mask is None else mask
    return student[keep].double().numpy(), teacher[keep].double().numpy()


def top(scores, k):
    return sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k]


def mean(values):
    return float(np.mean(values)) if len(values) else math.nan


def bf16(value):
    return torch.tensor(value).bfloat16().double().numpy()


def paper_oracle(student, teacher, k):
    ratio, advantage, mass_p, mass_q, gap = [], [], [], [], []
    for z_s, z_t in zip(student, teacher, strict=True):
        p, q = np.exp(log_softmax(z_s)), np.exp(log_softmax(z_t))
        shared = set(top(z_s, k)) & set(top(z_t, k))
        ratio.append(len(shared) / k)
        mass_p.append(sum(p[v] for v in shared))
        mass_q.append(sum(q[v] for v in shared))
        gap.append(abs(-(q * np.log(q)).sum() + (p * np.log(p)).sum()))
        if shared:
            total = sum(p[v] / mass_p[-1] * math.log((q[v] / mass_q[-1]) / (p[v] / mass_p[-1])) for v in shared)
            advantage.append(total / len(shared))
    names = ("overlap_ratio", "overlap_token_advantage", "student_overlap_mass", "teacher_overlap_mass", "entropy_gap")
    return dict(zip(names, map(mean, (ratio, advantage, mass_p, mass_q, gap)), strict=True))


def verl_oracle(student, teacher, k, low=-10.0, high=10.0, half=False):
    """`half`: student log-probabilities and masses, and the mean of these, rounded to bfloat16."""
    cut = bf16 if half else (lambda value: value)
    count, advantage, mass_p, mass_q, losses = [], [], [], [], []
    for z_s, z_t in zip(student, teacher, strict=True):
        s, t = top(z_s, k), top(z_t, k)
        log_p, log_q = cut(log_softmax(z_s)), log_softmax(z_t)
        mass_p.append(float(cut(sum(cut(np.exp(log_p[v])) for v in t))))
        mass_q.append(sum(math.exp(log_q[v]) for v in t))
        terms = {v: math.exp(max(log_q[v], low)) * (max(log_q[v], low) - max(log_p[v], low)) for v in t}
        losses.append(max(0.0, sum(terms.values())))
        shared = set(s) & set(t)
        count.append(len(shared))
        if shared:
            advantage.append(mean([-terms[v] for v in shared]))
    return {
        "distillation/overlap_ratio": mean(count) / k,
        "distillation/overlap_token_advantage": mean(advantage) if advantage else 0.0,
        "distillation/student_mass": float(cut(mean(mass_p))),
        "distillation/student_mass_min": min(mass_p),
        "distillation/student_mass_max": max(mass_p),
        "distillation/teacher_mass": mean(mass_q),
        "distillation/teacher_mass_min": min(mass_q),
        "distillation/teacher_mass_max": max(mass_q),
        "distillation/loss": mean([min(loss, high) for loss in losses]),
        "distillation/loss_min": min(losses),
        "distillation/loss_max": max(losses),
    }


def thunlp_oracle(student, teacher, k, strategy):
    shared_rewards, student_rewards, teacher_rewards = [], [], []
    n_shared, mass_p, mass_q, h_p, h_q = 0, [], [], [], []
    for z_s, z_t in zip(student, teacher, strict=True):
        s, t = set(top(z_s, k)), set(top(z_t, k))
        log_p, log_q = log_softmax(z_s), log_softmax(z_t)
        support = sorted(s | t if strategy == "union" else s)
        weights = dict(zip(support, np.exp(log_softmax(log_p[support])), strict=True))
        reward = {v: -(log_p[v] - log_q[v]) * weights[v] for v in support}
        n_shared += len(s & t)
        shared_rewards += [reward[v] for v in s & t]
        student_rewards += [reward[v] for v in s - t]
        teacher_rewards += [reward[v] for v in set(support) - s]
        if s & t:
            mass_p.append(sum(math.exp(log_p[v]) for v in s & t))
            mass_q.append(sum(math.exp(log_q[v]) for v in s & t))
        h_p.append(-(np.exp(log_p) * log_p).sum())
        h_q.append(-(np.exp(log_q) * log_q).sum())
    wanted = {
        "val-topk/overlap_ratio": n_shared / (len(student) * k),
        "val-topk/adv_intersection": mean(shared_rewards),
        "val-topk/adv_only_stu": mean(student_rewards),
        "val-topk/adv_only_tch": mean(teacher_rewards),
        "val-topk/student_p_sum_intersection": mean(mass_p),
        "val-topk/teacher_p_sum_intersection": mean(mass_q),
        "actor/entropy": mean(h_p),
        "teacher/entropy": mean(h_q),
    }
    return {name: value for name, value in wanted.items() if not math.isnan(value)}


def ark_oracle(student, teacher, k, tokens=None, blocked=(), stop=(), temperature=1.0, half=None):
    """Lists and dictionaries, as the trainer builds them; `half` rounds to the dtype of the student's logits."""
    losses, right, sizes, kept, with_t, with_s = [], [], [], 0, 0, 0
    for n, (z_s, z_t) in enumerate(zip(student, teacher, strict=True)):
        usable = [v for v in range(len(z_s)) if v not in blocked]
        normalizer = logsumexp(z_t[usable])
        s = [usable[i] for i in top(z_s[usable], k)]
        t = [usable[i] for i in top(z_t[usable], k)]
        s = [v for v in s if v not in stop]
        if tokens is not None and tokens[n] >= 0 and tokens[n] not in s:
            s.insert(0, int(tokens[n]))
        s = s[:k]
        t = t if len(t) >= 2 else []
        union = list(dict.fromkeys(s + t))
        if len(union) < 2:
            continue
        kept += 1
        with_t += len(t) >= 2
        with_s += len(s) >= 2
        valid = [v for v in union if v in usable]
        sizes.append(len(valid))
        mixed = np.array([z_t[v] if v in t else z_t[v] - normalizer for v in valid])
        log_q, exact = log_softmax(mixed / temperature), log_softmax(z_t[valid] / temperature)
        scores = z_s[valid] / temperature
        log_p = half(log_softmax(half(scores))) if half else log_softmax(scores)
        losses.append((np.exp(log_q) * (log_q - log_p)).sum() * temperature**2)
        right.append((np.exp(exact) * (exact - log_softmax(scores))).sum() * temperature**2)
    return {
        "opd_loss": mean(losses) if kept else 0.0,
        "opd_valid_topk_mean": mean(sizes) if kept else 0.0,
        "opd_positions": kept,
        "opd_valid_rows": kept,
        "opd_teacher_support_rows": with_t,
        "opd_student_support_rows": with_s,
        "opd_union_support_rows": kept,
        "eq1_loss": mean(right) if kept else 0.0,
    }


def agree(got, wanted, rtol=2e-5):
    assert list(got) == list(wanted)
    for name, value in wanted.items():
        np.testing.assert_allclose(got[name], value, rtol=rtol, atol=1e-5, err_msg=name)


def check_all(student, teacher, k, mask=None, half=False):
    z_s, z_t = rows(student, teacher, mask)
    agree(other_trainers.paper(student, teacher, k=k, mask=mask), paper_oracle(z_s, z_t, k))
    # one unit in the last place of a bfloat16 mean is 0.4 %
    agree(
        other_trainers.verl(student, teacher, k=k, mask=mask),
        verl_oracle(z_s, z_t, k, half=half),
        4e-3 if half else 2e-5,
    )
    for strategy in ("only_stu", "union"):
        got = other_trainers.thunlp(student, teacher, k=k, mask=mask, top_k_strategy=strategy)
        agree(got, thunlp_oracle(z_s, z_t, k, strategy))
    agree(
        other_trainers.ark(student, teacher, k=k, mask=mask),
        ark_oracle(z_s, z_t, k, half=bf16 if half else None),
        1e-3 if half else 2e-5,
    )


@pytest.mark.parametrize("k", [1, 2, 7, 40])
@pytest.mark.parametrize("kind", ["random", "peaked", "apart", "half apart"])
def test_kinds(kind, k):
    student, teacher = pair(kind)
    check_all(student, teacher, k)
    check_all(student, teacher, k, mask=some((3, 5)))


@pytest.mark.parametrize("kind", ["random", "peaked", "half apart"])
def test_bfloat16(kind):
    student, teacher = (z.bfloat16() for z in pair(kind))
    check_all(student, teacher, 6, half=True)


def test_bfloat16_costs_verl_its_digits():
    student, teacher = pair("random", (40, 200))
    exact, rounded = (
        other_trainers.verl(student, teacher, k=8),
        other_trainers.verl(student.bfloat16(), teacher.bfloat16(), k=8),
    )
    mass = rounded["distillation/student_mass"]
    assert mass == float(torch.tensor(mass).bfloat16())
    assert mass != exact["distillation/student_mass"]


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.sampled_from([0.3, 1.0, 4.0]))
@settings(max_examples=40, deadline=None)
def test_random(seed, k, scale):
    rng = np.random.default_rng(seed)
    student, teacher = (torch.from_numpy((rng.normal(size=(6, 12)) * scale).astype(np.float32)) for _ in "st")
    mask = torch.from_numpy(rng.random(6) < 0.8)
    mask[int(rng.integers(6))] = True
    check_all(student, teacher, k, mask)


@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.sampled_from([0.5, 1.0, 2.0]))
@settings(max_examples=60, deadline=None)
def test_ark_with_generated_blocked_and_stop_ids(seed, k, temperature):
    rng = np.random.default_rng(seed)
    student, teacher = (torch.from_numpy((rng.normal(size=(8, 12)) * 2).astype(np.float32)) for _ in "st")
    tokens = torch.from_numpy(rng.integers(-1, 12, size=8))
    blocked, stop = [2, 9], [0, 5]
    student[:, 0] += 3 * torch.from_numpy(rng.random(8) < 0.5)
    teacher[:, 0] += 3
    got = other_trainers.ark(
        student, teacher, k=k, tokens=tokens, blocked=blocked, stop=torch.tensor(stop), temperature=temperature
    )
    agree(got, ark_oracle(*rows(student, teacher, None), k, tokens.numpy(), blocked, stop, temperature))


def test_verl_clamps():
    student, teacher = pair("peaked")
    z_s, z_t = rows(student, teacher, None)
    for low, high in ((-2.0, 0.5), (-math.inf, math.inf)):
        arguments = {"log_prob_min_clamp": low, "loss_max_clamp": high}
        if math.isinf(low):
            arguments = dict.fromkeys(arguments)
        agree(other_trainers.verl(student, teacher, k=5, **arguments), verl_oracle(z_s, z_t, 5, low, high), 1e-4)


def test_nothing_shared():
    student, teacher = pair("apart")
    assert math.isnan(other_trainers.paper(student, teacher, k=4)["overlap_token_advantage"])
    assert other_trainers.verl(student, teacher, k=4)["distillation/overlap_token_advantage"] == 0.0
    assert "val-topk/adv_intersection" not in other_trainers.thunlp(student, teacher, k=4)
    assert measure(student, teacher, k=4).summary()["overlap_advantage"].n_undefined == 15


def test_mixed_scales_starve_tokens_that_only_the_student_has():
    """The trained loss charges the student for its own tokens as if the teacher had ruled them out."""
    generator = torch.Generator().manual_seed(0)
    student = 2 * torch.randn(200, 500, generator=generator) + 8  # a partition function far from 1, as models have
    teacher = student + 0.3 * torch.randn(200, 500, generator=generator)
    logged = other_trainers.ark(student, teacher, k=16)
    assert logged["opd_loss"] > 2 * logged["eq1_loss"]
    np.testing.assert_allclose(logged["eq1_loss"], measure(student, teacher, k=16).union_kl.mean(), rtol=1e-5)
    same = other_trainers.ark(student, student, k=16)
    assert same["opd_loss"] == pytest.approx(0, abs=1e-6)  # without student-only tokens the scales do not meet


@given(
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from([torch.bfloat16, torch.float16, torch.float32]),
    offsets=st.tuples(st.sampled_from([0.0, 64.0, 300.0, -1000.0]), st.sampled_from([0.0, 64.0, 2000.0])),
    temperature=st.sampled_from([0.5, 1.0, 2.0]),
)
@settings(max_examples=60, deadline=None)
def test_ark_on_ties_and_offsets_of_half_precision(seed, dtype, offsets, temperature):
    """Scores far from 0, of which half precision keeps so few digits that many are equal."""
    rng = np.random.default_rng(seed)
    student, teacher = (torch.from_numpy(rng.normal(size=(3, 20)) * 3 + offset).to(dtype) for offset in offsets)
    k, tokens = int(rng.integers(1, 18)), torch.from_numpy(rng.integers(-1, 20, size=3))
    blocked, stop = (rng.permutation(20)[: rng.integers(0, 3)].tolist() for _ in range(2))
    options = {"tokens": tokens, "blocked": blocked, "stop": stop, "temperature": temperature}
    got = other_trainers.ark(student, teacher, k=k, **options)
    z_s, z_t = rows(student, teacher, None)
    wanted = ark_oracle(
        z_s, z_t, k, tokens.numpy(), blocked, stop, temperature,
        half=lambda value: torch.tensor(value).to(dtype).double().numpy(),
    )  # fmt: skip
    agree(got, wanted, 1e-3)


def test_k_of_one_leaves_ark_nothing():
    logged = other_trainers.ark(*pair("random"), k=1)
    assert set(logged.values()) == {0.0}


@pytest.mark.parametrize("system", SYSTEMS)
def test_chunks_and_shapes_change_nothing(system, monkeypatch):
    student, teacher = pair("random")
    mask = some((3, 5))
    whole = SYSTEMS[system](student, teacher, k=4, mask=mask)
    monkeypatch.setattr(chunking, "CHUNK_ELEMENTS", 100)
    agree(SYSTEMS[system](student, teacher, k=4, mask=mask), whole)
    agree(SYSTEMS[system](student[mask], teacher[mask], k=4), whole)
    single = SYSTEMS[system](student[0, 0], teacher[0, 0], k=4)
    agree(single, SYSTEMS[system](student[:1, :1], teacher[:1, :1], k=4))


@pytest.mark.parametrize("system", SYSTEMS)
def test_no_temporary_grows_with_the_number_of_positions(system, monkeypatch):
    largest = 0

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.dtype == torch.float32:
                largest = max(largest, result.numel())
            return result

    monkeypatch.setattr(chunking, "CHUNK_ELEMENTS", 4 * 500)
    student, teacher = (z.bfloat16() for z in pair("random", (30, 500)))
    with Watch():
        SYSTEMS[system](student, teacher, k=5)
    assert 0 < largest <= 4 * 500


@pytest.mark.parametrize("system", SYSTEMS)
def test_masked_positions_are_not_looked_at(system):
    student, teacher = pair("random")
    mask = some((3, 5))
    wanted = SYSTEMS[system](student, teacher, k=4, mask=mask)
    student[~mask], teacher[~mask] = torch.nan, torch.inf
    assert SYSTEMS[system](student, teacher, k=4, mask=mask) == wanted


ZEROS = torch.zeros(2, 3, 8)
NOTHING = torch.zeros(2, 3, dtype=torch.bool)


@pytest.mark.parametrize(
    ("system", "arguments", "options", "message"),
    [
        ("verl", (ZEROS.long(), ZEROS), {}, "student_logits: expected floating-point logits, received torch.int64"),
        ("thunlp", (ZEROS, ZEROS[..., :7]), {}, r"student's shape \[2, 3, 8\], received \[2, 3, 7\]; the systems"),
        ("verl", (ZEROS, ZEROS), {"k": 9}, "student_logits: k: received 9, but the logits have only 8 admissible"),
        ("ark", (ZEROS, ZEROS * torch.nan), {}, r"teacher_logits: logits: 6 of 6 unmasked positions hold NaN"),
        ("verl", (ZEROS, ZEROS), {"mask": NOTHING}, "mask: no position is left, and this system defines no value"),
        ("thunlp", (ZEROS, ZEROS), {"mask": NOTHING}, "mask: no position is left"),
        ("thunlp", (ZEROS, ZEROS), {"top_k_strategy": "only_tch"}, "expected 'only_stu' or 'union', received 'only_tc"),
        ("ark", (ZEROS, ZEROS), {"temperature": 0.0}, "temperature: expected a finite number above 0, received 0.0"),
        ("ark", (ZEROS, ZEROS), {"tokens": torch.zeros(2, 3)}, r"int64 tensor of shape \[2, 3\], received torch.float"),
        ("ark", (ZEROS, ZEROS), {"tokens": [1]}, "tokens: expected a torch.int64 tensor .* received list"),
        ("ark", (ZEROS, ZEROS), {"tokens": torch.full((2, 3), 8)}, "tokens: id 8 is outside the vocabulary of 8 ids"),
    ],
)
def test_errors(system, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        SYSTEMS[system](*arguments, **({"k": 2} | options))
