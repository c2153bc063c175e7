"""Runs with traces and transcripts for the report, made up: numbers are drawn, texts are nasty on purpose."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.analysis.conftest import STRAIGHT, resolve, write_run, write_transcripts

SCRIPT = "</script><script>window.pwned = 1</script>"
IMAGE = "<img src=x onerror='window.pwned = 2'>"
STATISTICS = ("overlap_ratio", "student_mass", "teacher_mass", "forward_kl", "student_entropy", "teacher_entropy")


def trace_frame(step: int, stage: str, states: str, n: int, length: int, k: int, seed: int = 0) -> pd.DataFrame:
    """Traces of n utterances, with both models' top-k on its union at every position."""
    generator = np.random.default_rng(seed)
    vocabulary = [SCRIPT, "<|im_end|>", *(f"t{i}" for i in range(5001))]  # 5,003 of them, a prime
    spelled = [None if token == "<|im_end|>" else token.encode() for token in vocabulary]
    written = np.random.default_rng(0 if states == "fixed" else seed + 1)  # fixed transcripts stay the same
    rows = []
    for number in range(n):
        shared = generator.integers(k // 2, k + 1, length)
        rank = generator.integers(1, 2 * k, length)
        unions, logprobs, members = [], [[], []], [[], []]
        for both in shared:
            size = int(2 * k - both)
            first, distance = written.integers(0, 30), generator.integers(1, len(vocabulary))
            unions.append((first + distance * np.arange(size)) % len(vocabulary))
            for side in (0, 1):
                logprobs[side].append(-np.sort(generator.exponential(4.0, size)))
                own = np.zeros(size, dtype=bool)
                own[:both] = True
                own[both + side * (k - both) : both + side * (k - both) + k - both] = True
                members[side].append(own)
        tokens = [int(ids[0]) for ids in unions]
        row = {"step": step, "visit": 2, "stage": stage, "id": f"u{number:04d}"}
        row |= {"states": states, "k": k, "temperature": 1.0}
        row |= {"text": f"word{number} two three", "reference": f"word{number} two four", "finished": True}
        row |= {"token_ids": tokens, "tokens": [vocabulary[i] for i in tokens], "used": [True] * length}
        row |= {"token_bytes": [spelled[i] for i in tokens]}
        row |= {"union_bytes": [[spelled[i] for i in ids] for ids in unions]}
        row |= {"union_ids": unions, "union_tokens": [[vocabulary[i] for i in ids] for ids in unions]}
        row |= {"student_logprobs": logprobs[0], "teacher_logprobs": logprobs[1]}
        row |= {"in_student": members[0], "in_teacher": members[1]}
        row |= {"overlap_ratio": shared / k, "union_size": 2.0 * k - shared, "teacher_rank": rank.astype(float)}
        row |= {"top1_agreement": (rank == 1).astype(float)}
        row |= {name: generator.random(length) for name in STATISTICS if name not in row}
        rows.append(row)
    return pd.DataFrame(rows)


def write_traced(path: Path, n: int = 12, length: int = 6, k: int = 4, states: Sequence[str] = ("student",)) -> Path:
    """A straight run with traces at the start and the end of its last stage, and transcripts of its evaluations."""
    write_run(path, STRAIGHT)
    resolve(path, seed=3, evaluation={"manifest": "test.jsonl"}, probe={"manifest": "probe.jsonl"})
    (path / "traces").mkdir()
    for step in (200, 300):
        frames = [trace_frame(step, "on-policy", name, n, length, k, seed=step + i) for i, name in enumerate(states)]
        pd.concat(frames).to_parquet(path / "traces" / f"step-{step:06d}-on-policy.parquet", index=False)
    for step, stage, wrong in ((100, "base", 5), (200, "teacher data", 6), (300, "on-policy", 3)):
        write_transcripts(path, step, stage, {f"u{i:04d}": wrong - i % (1 + step // 100) for i in range(n)})
    return path


def set_probe(path: Path, statistic: str, value: float, *, step: int | None = None, half: float = 0.01) -> None:
    """Add a statistic on the student's rollouts to every probe of a run, or to those of one step."""
    probes = pd.read_parquet(path / "probes/all.parquet")
    here = (probes["states"] == "student") & ((probes["step"] == step) | (step is None))
    made = probes.loc[here & (probes["statistic"] == "union_size")]
    made = made.assign(statistic=statistic, value=value, low=value - half, high=value + half)
    kept = probes.loc[~(here & (probes["statistic"] == statistic))]
    pd.concat([kept, made]).sort_index(kind="stable").to_parquet(path / "probes/all.parquet", index=False)


@pytest.fixture
def traced(tmp_path):
    return write_traced(tmp_path / "traced")


@pytest.fixture
def nasty(tmp_path):
    """A run whose every text would be markup if it were not escaped."""
    path = write_traced(tmp_path / f"run {IMAGE.replace('/', '')}")
    decisions = (path / "decisions.jsonl").read_text(encoding="utf-8")
    (path / "decisions.jsonl").write_text(decisions.replace("reading 0", json.dumps(SCRIPT)[1:-1]), encoding="utf-8")
    resolve(path, name=SCRIPT, student={"model": IMAGE})
    for file in (path / "traces").glob("*.parquet"):
        frame = pd.read_parquet(file)
        frame.assign(id=frame["id"] + SCRIPT, text=SCRIPT, reference=IMAGE).to_parquet(file, index=False)
    return path


ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def chromium():
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        message = "no Chromium: install it (apt-get install chromium) to test the report in a browser"
        pytest.fail(message) if os.environ.get("CI_BROWSER") == "1" else pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def view(chromium):
    """Open a page and watch it: whatever it complains about or asks for fails the test at its end."""
    seen, contexts = [], []

    def go(path, **options):
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: seen.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: seen.append(f"error: {error}"))
        page.on("request", lambda request: seen.append(f"request: {request.url[:80]}") if asks(request) else None)
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]")
        return page

    def asks(request):
        return not request.url.startswith(("file:", "data:"))

    yield go
    for context in contexts:
        context.close()
    assert seen == []


@pytest.fixture
def no_pictures(monkeypatch):
    """Figures take most of the time of writing, and the pages of these tests are not about them."""
    monkeypatch.setattr("analysis.report.html.pictures", lambda run: [])
