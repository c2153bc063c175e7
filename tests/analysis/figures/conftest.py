"""A run with everything that figures show, made up."""

import json
import math

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


def write_full_run(path):
    """A straight run with traces, a funnel that is not trivial, and gates that say what they read."""
    write_run(path)
    probes = pd.read_parquet(path / "probes/all.parquet")
    lost = probes.loc[probes["statistic"] == "funnel.used"].assign(statistic="funnel.truncated", value=5.0)
    lost = lost.loc[lost["step"] != 0]
    pd.concat([probes, lost], ignore_index=True).to_parquet(path / "probes/all.parquet", index=False)
    generator = np.random.default_rng(0)
    (path / "traces").mkdir()
    for number, (step, visit, stage) in enumerate(MOMENTS):
        rows = [
            trace(step, visit, stage, states, name, generator, 0.2 + 0.2 * number)
            for states in ("student", "teacher")
            for name in TEXTS
        ]
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
