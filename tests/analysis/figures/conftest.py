"""A run with everything that figures show, made up."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import load
from tests.analysis.conftest import write_run

TEXTS = {
    "u0": ("two five", "two five"),
    "u1": ("two six", "two five"),
    "u2": ("call nine", "call nine now"),
    "u3": ("7 five", "seven five"),
    "u4": ("two two five", "two five"),
    "u5": ("five", "five"),
    "u6": ("call two", "call two"),
    "u7": ("nine nine", "nine nine"),
    "u8": ("call five two", "call five two"),
    "u9": ("six two", "six two"),
}
MOMENTS = ((0, 0, "base"), (100, 0, "base"), (200, 1, "teacher data"), (300, 2, "on-policy"))
K = 4


def tokens_of(text):
    """As a byte-level tokenizer might cut it: long words in two, a space before each but the first."""
    tokens = []
    for number, word in enumerate(text.split()):
        lead = "Ġ" if number else ""
        tokens += [lead + word[:3], word[3:]] if len(word) > 3 else [lead + word]
    return [*tokens, "<|end|>"]


def spelled(tokens):
    return [None if token.startswith("<|") else token.replace("Ġ", " ").encode() for token in tokens]


def trace(step, visit, stage, states, name, generator, progress):
    text, reference = TEXTS[name]
    tokens = tokens_of(text)
    n = len(tokens)
    used = [True] * n
    used[0] = name != "u9"
    unions, logs, members = [], [], []
    for position in range(n):
        shared = int(generator.integers(0, K + 1))
        ids = [1000 + position, *generator.choice(900, 2 * K - shared - 1, replace=False).tolist()]
        unions.append(ids)
        logs.append(np.log(generator.dirichlet(np.full(len(ids), 0.4), 2).clip(1e-9)).tolist())
        members.append(([i < K for i in range(len(ids))], [i < shared or i >= K for i in range(len(ids))]))
    values = {
        "union_size": [float(len(ids)) for ids in unions],
        "top1_agreement": (generator.random(n) < progress).astype(float).tolist(),
        "student_mass": generator.beta(5 * progress, 1, n).tolist(),
        "teacher_mass": generator.beta(5 * progress, 1, n).tolist(),
        "student_entropy": generator.gamma(1.0, 1 - progress, n).tolist(),
        "teacher_entropy": generator.gamma(1.0, 0.2, n).tolist(),
    }
    return {
        "step": step,
        "visit": visit,
        "stage": stage,
        "id": name,
        "states": states,
        "k": K,
        "temperature": 1.0,
        "text": text,
        "reference": reference,
        "finished": True,
        "used": used,
        "token_ids": [1000 + position for position in range(n)],
        "tokens": tokens,
        "token_bytes": spelled(tokens),
        "union_ids": unions,
        "union_tokens": [[f"Ġt{i}" for i in ids] for ids in unions],
        "union_bytes": [[f" t{i}".encode() for i in ids] for ids in unions],
        "student_logprobs": [pair[0] for pair in logs],
        "teacher_logprobs": [pair[1] for pair in logs],
        "in_student": [student for student, _ in members],
        "in_teacher": [teacher for _, teacher in members],
        **{key: [v if u else math.nan for v, u in zip(row, used, strict=True)] for key, row in values.items()},
    }


ENDINGS = (
    ("end_of_text", "student", lambda n: 1.0 - 0.05 * n, 0.04),
    ("student_end_likely.at_end", "student", lambda n: 0.9 - 0.02 * n, 0.05),
    ("student_end_likely.at_end", "teacher", lambda n: 0.3 + 0.06 * n, 0.08),
    ("student_end_mass", "student", lambda n: 0.2 - 0.02 * n, 0.01),
    ("teacher_end_mass", "student", lambda n: 0.1, 0.01),
    ("stop_density", "student", lambda n: 200.0 / (1 + n), 8.0),
    ("stop_density", "teacher", lambda n: 60.0, 3.0),
    ("repetition", "student", lambda n: 0.7 + 0.2 * n, 0.1),
    ("repetition", "teacher", lambda n: 0.7, 0.02),
)
"""Statistics of the end: name, states, value at the n-th probe, half of the interval."""
RULES = ("prune", "selectkd", "iw")


def ending(probes, statistic, states, value, half):
    """Rows of one statistic of the end, at each probe."""
    rows = probes.loc[(probes["statistic"] == "union_size") & (probes["states"] == states)].reset_index(drop=True)
    values = np.array([value(n) for n in range(len(rows))])
    return rows.assign(statistic=statistic, value=values, low=values - half, high=values + half, n_positions=40)


def rule_rows(step, visit, stage):
    """A shadow panel of three rules."""
    common = {"step": step, "visit": visit, "stage": stage, "states": "student", "standard_error": 0.01}
    common |= {"n_positions": 1200, "n_groups": 40, "n_undefined": 0}
    rows = []
    for i, rule in enumerate(RULES):
        for quantity, value in (("kept", 0.9 - 0.3 * i), ("weight", 0.8 - 0.1 * i)):
            ends = {"value": value, "low": value - 0.05, "high": value + 0.05}
            rows.append(common | {"rule": rule, "other": None, "quantity": quantity} | ends)
        for j, other in enumerate(RULES[i + 1 :], start=i + 1):
            for quantity, value in (("jaccard", 0.5 + 0.1 * j), ("spearman", -0.5 + 0.25 * (i + j))):
                value = math.nan if (i, j, quantity) == (0, 2, "spearman") else value
                ends = {"value": value, "low": value - 0.1, "high": value + 0.1}
                rows.append(common | {"rule": rule, "other": other, "quantity": quantity} | ends)
    return rows


def apart(used, generator, number):
    """How far the models are apart at each token, less from moment to moment."""
    kl, ratio = generator.exponential(2.0 / (1 + number), len(used)), generator.integers(0, K + 1, len(used)) / K
    values = {"forward_kl": kl, "overlap_ratio": ratio}
    return {name: np.where(used, row, math.nan).tolist() for name, row in values.items()}


def write_full_run(path):
    """A straight run with traces, a funnel that is not trivial, and gates that say what they read."""
    write_run(path)
    probes = pd.read_parquet(path / "probes/all.parquet")
    lost = probes.loc[probes["statistic"] == "funnel.used"].assign(statistic="funnel.truncated", value=5.0)
    lost = lost.loc[lost["step"] != 0]
    ends = [ending(probes, *one) for one in ENDINGS]
    pd.concat([probes, lost, *ends], ignore_index=True).to_parquet(path / "probes/all.parquet", index=False)
    (path / "token_rules").mkdir()
    pd.DataFrame(rule_rows(300, 2, "on-policy")).to_parquet(path / "token_rules/step-000300.parquet", index=False)
    generator = np.random.default_rng(0)
    (path / "traces").mkdir()
    for number, (step, visit, stage) in enumerate(MOMENTS):
        rows = [
            trace(step, visit, stage, states, name, generator, 0.2 + 0.2 * number)
            for states in ("student", "teacher")
            for name in TEXTS
        ]
        for row in rows:  # from a generator of their own: what is drawn above stays as it was
            row |= apart(row["used"], np.random.default_rng([number, len(row["id"]), len(row["used"])]), number)
        pd.DataFrame(rows).to_parquet(path / "traces" / f"step-{step:06d}-{stage}.parquet", index=False)
    log = path / "decisions.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    for row in rows[3:6]:
        bound = {100: 0.51, 150: 0.52, 200: 0.56}[row["step"]]
        level = {"statistic": "top1_agreement", "states": "student", "side": "at_least", "level": 0.55}
        level |= {"bound": bound, "satisfied": bound >= 0.55}
        row |= {"gate": "threshold(top1_agreement)", "levels": [level]}
    for row in rows[6:9]:
        levels = [
            {"statistic": "top1_agreement", "states": "student", "side": side, "level": limit, "bound": bound}
            for side, limit, bound in (("lowest", 0.525, 0.6), ("highest", 1.1, 0.5))
        ]
        row |= {"gate": "collapse(top1_agreement)", "levels": [level | {"satisfied": True} for level in levels]}
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def full(tmp_path_factory):
    return load(write_full_run(tmp_path_factory.mktemp("figures") / "full"))


@pytest.fixture(scope="session")
def begun(tmp_path_factory):
    """A run that has written nothing but its recipe yet."""
    path = write_run(tmp_path_factory.mktemp("figures") / "begun")
    for log in ("decisions", "evaluations", "metrics"):
        (path / f"{log}.jsonl").write_text("")
    (path / "probes/all.parquet").unlink()
    return load(path)


@pytest.fixture(scope="session")
def demo():
    """The run that the pages show."""
    return load(Path(__file__).parents[3] / "notebooks" / "runs" / "demo")
