"""One pair of models, all definitions side by side: who computes the same number, and who another under its name."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from overlap import measure, other_trainers
from overlap.estimates.table_formatting import text_table

K, STOP = 16, 0


def pair():
    """Recognizer-like logits: sure and unsure positions, a long tail, some where the models part ways or one stops."""
    generator = torch.Generator().manual_seed(20)
    n, v = 300, 2000
    common = torch.randn(n, v, generator=generator)
    best = torch.rand(n, v, generator=generator).topk(3, dim=-1).indices
    sure = 0.2 + torch.rand(n, 1, generator=generator)
    common.scatter_add_(-1, best, sure * torch.tensor([9.0, 6.0, 5.0]))
    student = 1.5 * common + 0.9 * torch.randn(n, v, generator=generator)
    teacher = 1.9 * common + 0.5 * torch.randn(n, v, generator=generator) + 4.0
    student[::5, STOP] = student[::5].amax(-1) - 1.0
    apart = torch.arange(n) % 25 == 3
    teacher[apart] = teacher[apart].roll(900, dims=-1)
    return student, teacher, student.argmax(-1)


def oracle(student, teacher):
    """Our definitions with Python sets, in float64."""
    columns = {name: [] for name in ("ratio", "advantage", "p_t", "q_s", "p_i", "q_i", "gap", "union", "loss")}
    for z_s, z_t in zip(student.double().numpy(), teacher.double().numpy(), strict=True):
        log_p, log_q = log_softmax(z_s), log_softmax(z_t)
        s, t = (set(np.argsort(-z, kind="stable")[:K].tolist()) for z in (z_s, z_t))
        p, q = np.exp(log_p), np.exp(log_q)
        shared, both = sorted(s & t), sorted(s | t)
        columns["ratio"].append(len(shared) / K)
        columns["union"].append(len(both))
        columns["p_t"].append(p[sorted(t)].sum())
        columns["q_s"].append(q[sorted(s)].sum())
        columns["p_i"].append(p[shared].sum())
        columns["q_i"].append(q[shared].sum())
        columns["gap"].append(abs((p * log_p).sum() - (q * log_q).sum()))
        on_p, on_q = log_softmax(z_s[both]), log_softmax(z_t[both])
        columns["loss"].append((np.exp(on_q) * (on_q - on_p)).sum())
        if shared:
            on_p, on_q = log_softmax(z_s[shared]), log_softmax(z_t[shared])
            columns["advantage"].append((np.exp(on_p) * (on_q - on_p)).sum())
    return {name: float(np.mean(values)) for name, values in columns.items()}


def rows():
    """Quantity, unit, our value, the oracle's, and by system its value and whether it is to be ours."""
    student, teacher, tokens = pair()
    ours = {name: estimate.value for name, estimate in measure(student, teacher, k=K).summary(draws=2).items()}
    true = oracle(student, teacher)
    paper, verl = other_trainers.paper(student, teacher, k=K), other_trainers.verl(student, teacher, k=K)
    thunlp, ark = other_trainers.thunlp(student, teacher, k=K), other_trainers.ark(student, teacher, k=K)
    stopped = other_trainers.ark(student, teacher, k=K, tokens=tokens, stop=[STOP])
    gap = abs(thunlp["actor/entropy"] - thunlp["teacher/entropy"])
    same, other = True, False
    return [
        (
            "overlap ratio, |I|/k",
            "share",
            ours["overlap_ratio"],
            true["ratio"],
            {
                "paper": (paper["overlap_ratio"], same),
                "verl": (verl["distillation/overlap_ratio"], same),
                "thunlp": (thunlp["val-topk/overlap_ratio"], same),
            },
        ),
        (
            "overlap-token advantage",
            "nats",
            ours["overlap_advantage"],
            true["advantage"],
            {
                "paper": (paper["overlap_token_advantage"], other),
                "verl": (verl["distillation/overlap_token_advantage"], other),
                "thunlp": (thunlp["val-topk/adv_intersection"], other),
            },
        ),
        (
            "student's mass on T",
            "probability",
            ours["student_mass"],
            true["p_t"],
            {"verl": (verl["distillation/student_mass"], same)},
        ),
        (
            "teacher's mass on S",
            "probability",
            ours["teacher_mass"],
            true["q_s"],
            {"verl": (verl["distillation/teacher_mass"], other)},
        ),
        (
            "student's mass on I",
            "probability",
            ours["student_intersection_mass"],
            true["p_i"],
            {
                "paper": (paper["student_overlap_mass"], same),
                "thunlp": (thunlp["val-topk/student_p_sum_intersection"], other),
            },
        ),
        (
            "teacher's mass on I",
            "probability",
            ours["teacher_intersection_mass"],
            true["q_i"],
            {
                "paper": (paper["teacher_overlap_mass"], same),
                "thunlp": (thunlp["val-topk/teacher_p_sum_intersection"], other),
            },
        ),
        (
            "entropy gap",
            "nats",
            ours["entropy_gap"],
            true["gap"],
            {"paper": (paper["entropy_gap"], same), "thunlp": (gap, other)},
        ),
        (
            "VUSS, |U|, without stop ids",
            "tokens",
            ours["union_size"],
            true["union"],
            {"ark": (ark["opd_valid_topk_mean"], same)},
        ),
        (
            "VUSS, |U|, as trained",
            "tokens",
            ours["union_size"],
            true["union"],
            {"ark": (stopped["opd_valid_topk_mean"], other)},
        ),
        (
            "loss, Eq. 1 as printed",
            "nats",
            ours["union_kl"],
            true["loss"],
            {"ark": (ark["eq1_loss"], same)},
        ),
        (
            "loss, as trained",
            "nats",
            ours["union_kl"],
            true["loss"],
            {"verl": (verl["distillation/loss"], other), "ark": (ark["opd_loss"], other)},
        ),
    ]


@pytest.fixture(scope="module")
def conformance(leave_table):
    table = rows()
    systems = ("paper", "verl", "thunlp", "ark")
    text = text_table(
        ["quantity", "unit", "ours", "oracle", *systems],
        [
            [
                name,
                unit,
                f"{value:.6f}",
                f"{true:.6f}",
                *(f"{'=' if theirs[s][1] else '≠'} {theirs[s][0]:.6f}" if s in theirs else "–" for s in systems),
            ]
            for name, unit, value, true, theirs in table
        ],
        left=(0, 1),
    )
    note = "300 positions, 2,000 tokens, k = 16; = the same quantity as ours, ≠ another one under a like name, – none"
    leave_table("conformance of overlap statistics", f"{text}\n{note}")
    return table


def test_ours_is_the_oracle(conformance):
    for name, _, value, true, _ in conformance:
        assert value == pytest.approx(true, rel=1e-5, abs=1e-7), name


def test_systems_with_the_same_definition_agree(conformance):
    seen = 0
    for name, _, value, _, theirs in conformance:
        for system, (number, same) in theirs.items():
            if same:
                assert number == pytest.approx(value, rel=1e-5, abs=1e-7), (name, system)
                seen += 1
    assert seen == 9


def test_systems_with_another_definition_do_not(conformance):
    seen = 0
    for name, _, value, _, theirs in conformance:
        for system, (number, same) in theirs.items():
            if not same:
                assert math.isfinite(number)
                assert number != pytest.approx(value, rel=1e-3), (name, system)
                seen += 1
    assert seen == 10
