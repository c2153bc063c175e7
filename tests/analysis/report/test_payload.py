import base64
import gzip
import json

import jiwer
import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.report.browser_rows import groups, packed
from analysis.report.payload import compressed, payload
from tests.analysis.conftest import write_traces
from tests.analysis.report.conftest import trace_frame, write_traced


@pytest.fixture
def traced(tmp_path):
    return write_traced(tmp_path / "traced", states=("student", "fixed"))


def opened(chunk):
    return json.loads(gzip.decompress(base64.b64decode(chunk.data)))


def test_groups_come_most_telling_first(traced):
    found = groups(load(traced))
    assert [(group.what, group.step) for group in found] == [
        ("student", 300), ("student", 200),
        ("test/student", 300), ("test/student", 200), ("test/student", 100),
        ("fixed", 300), ("fixed", 200),
    ]  # fmt: skip
    assert found[0].errors == "words, ignoring case and punctuation, without a normalizer"
    assert found[2].errors == "words, normalizer basic 1"


def test_a_position_keeps_its_numbers(traced):
    run = load(traced)
    frame = trace_frame(300, "on-policy", "student", 12, 6, 4, seed=300)
    data = packed(run, groups(run)[0], candidates=8)
    for row, truth in zip(data["rows"], frame.to_dict("records"), strict=True):
        read = [token.replace("␣", " ") for token in data["strings"]]
        assert [read[i] for i in row["tok"]] == truth["tokens"]
        assert np.array(row["forward_kl"]) / 1e3 == pytest.approx(truth["forward_kl"], abs=5.1e-4)
        assert row["mean"]["overlap_ratio"] == pytest.approx(truth["overlap_ratio"].mean(), abs=1e-4)
        for flat, tokens, p, q, in_s, in_t in zip(
            row["top"], *(truth[n] for n in ("union_tokens", "student_logprobs", "teacher_logprobs")),
            truth["in_student"], truth["in_teacher"], strict=True,
        ):  # fmt: skip
            four = np.array(flat).reshape(-1, 4)
            assert len(four) == len(tokens)  # k = 4: all are kept
            found = {(read[t], a, b, f) for t, a, b, f in four.tolist()}
            expected = zip(tokens, np.round(1e4 * np.exp(p)), np.round(1e4 * np.exp(q)), in_s + 2 * in_t, strict=True)
            assert found == {(t, a, b, f) for t, a, b, f in expected}


def test_candidates_are_the_best_of_each_side(traced):
    run = load(traced)
    truth = trace_frame(300, "on-policy", "student", 12, 6, 4, seed=300).iloc[0]
    data = packed(run, groups(run)[0], candidates=1)
    for place, flat in enumerate(data["rows"][0]["top"]):
        best = {
            truth["union_tokens"][place][max(np.flatnonzero(truth[f"in_{side}"][place]), key=lambda i: scores[i])]
            for side, scores in ((s, truth[f"{s}_logprobs"][place]) for s in ("student", "teacher"))
        }
        assert {data["strings"][i] for i in flat[::4]} == best


def test_undefined_is_null_and_left_out_of_means(straight):
    write_traces(straight, 300, "on-policy", {"a": 3, "b": 2})
    file = straight / "traces" / "step-000300-on-policy.parquet"
    frame = pd.read_parquet(file)
    frame["forward_kl"] = [np.array([1.0, np.nan, 3.0]), np.array([np.nan, np.nan])]
    frame["used"] = [np.array([True, True, False]), np.array([True, True])]
    frame["reference"] = ["ab", None]
    frame.to_parquet(file, index=False)
    run = load(straight)
    a, b = packed(run, groups(run)[0], 8)["rows"]
    assert a["forward_kl"] == [1000, None, None]
    assert (a["mean"]["forward_kl"], b["mean"]["forward_kl"]) == (1.0, None)
    assert (a["err"], b["err"], b["ref"]) == ([0, 1], None, None)
    assert "student_mass" not in a  # these traces do not have it
    assert a["top"] == []


def test_errors_of_traces_are_counted_as_written(traced):
    run = load(traced)
    row = packed(run, groups(run)[0], 8)["rows"][0]
    found = jiwer.process_words("word0 two four", "word0 two three")
    assert row["err"] == [found.substitutions + found.insertions + found.deletions, 3]


def test_errors_of_evaluations_are_those_of_the_evaluation(traced):
    run = load(traced)
    rows = packed(run, groups(run)[2], 8)["rows"]
    assert [row["err"] for row in rows[:2]] == [[3, 10], [2, 10]]
    assert rows[0]["sec"] == 1.5


def test_everything_fits_into_a_large_budget(traced):
    found = payload(load(traced), 10**6)
    assert [(chunk.about["what"], chunk.about["step"]) for chunk in found.chunks] == [
        ("test/student", 100), ("student", 200), ("test/student", 200), ("fixed", 200),
        ("student", 300), ("test/student", 300), ("fixed", 300),
    ]  # fmt: skip
    assert all(chunk.about["n"] == 12 for chunk in found.chunks)
    assert (found.notes, found.left_out) == ((), ())
    assert opened(found.chunks[1])["rows"][0]["id"] == "u0000"


def test_what_does_not_fit_is_left_out_and_said(traced):
    run = load(traced)
    first = len(compressed(packed(run, groups(run)[0], 3)))
    found = payload(run, first + 100)
    assert found.size <= first + 100
    assert found.candidates == 3
    assert "fixed" not in {chunk.about["what"] for chunk in found.chunks}
    assert "step 300 on-policy, student's rollouts, fixed" in found.left_out[0]
    assert found.notes[0].startswith("Of each model's supports (k = 4) the 3 most probable")


def test_one_group_that_is_too_large_is_cut(traced):
    run = load(traced)
    found = payload(run, len(compressed(packed(run, groups(run)[0], 3))) // 2)
    (chunk,) = (chunk for chunk in found.chunks if chunk.about["what"] == "student")
    assert 0 < chunk.about["n"] < 12
    assert len(opened(chunk)["rows"]) == chunk.about["n"]
    assert f"{12 - chunk.about['n']} of 12 utterances at step 300" in found.left_out[0]


def test_nothing_to_browse(straight):
    assert payload(load(straight), 10**6).chunks == ()


def test_tokens_are_read_by_the_bytes_that_they_stand_for(straight):
    file = write_traces(straight, 300, "on-policy", {"a": 4})
    frame = pd.read_parquet(file)
    frame["tokens"] = [["Ġthe", "ä", "½ł", "<|im_end|>"]]
    frame["token_bytes"] = [[b" the", b"\xe4", b"\xbd\xa0", None]]
    frame.to_parquet(file, index=False)
    run = load(straight)
    data = packed(run, groups(run)[0], 8)
    assert [data["strings"][i] for i in data["rows"][0]["tok"]] == ["␣the", "⟨E4⟩", "⟨BD A0⟩", "<|im_end|>"]
