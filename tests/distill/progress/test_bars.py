"""What a run looks like to whoever watches it, in a terminal and in a notebook."""

import io
import math
import re

import pytest
from rich.console import Console

from distill.progress.bars import NotebookProgress, TerminalProgress

ESTIMATES = {
    "union_size": (53.06, 52.38, 54.2),
    "intersection_size": (10.94, 9.8, 11.62),
    "top1_agreement": (0.753, 0.721, 0.784),
    "total_variation": (0.281, 0.262, 0.301),
    "forward_kl": (1.4, 1.2, 1.7),
}
DECISION = {
    "step": 250,
    "stage": "teacher data",
    "stage_step": 150,
    "gate": "threshold(top1_agreement)",
    "decision": "advance",
    "reason": "top1_agreement 0.753 [0.721, 0.784] over 80 utterances, 3210 positions: at least 0.7",
    "numbers": {},
}
RATE = {"value": 0.123, "low": 0.1, "high": 0.15, "errors": 123, "total": 1000}
EVALUATION = {
    "step": 1900,
    "stage": "teacher data",
    "set": "test",
    "model": "student",
    "wer": RATE,
    "cer": RATE,
    "interval": {"over": "utterances", "n": 200},
    "n_utterances": 200,
}


def probe_rows(*states: str, **values: tuple[float, float, float]) -> list[dict]:
    return [
        {"step": 250, "stage": "teacher data", "states": s, "statistic": name, "n_positions": 12345, "n_groups": 1000}
        | {"value": value, "standard_error": 0.1, "low": low, "high": high, "n_undefined": 0}
        for s in states
        for name, (value, low, high) in (ESTIMATES | values).items()
    ]


def shown(width: int, tell) -> list[str]:
    """Lines that a terminal of some width holds after a run that told its display something."""
    console = Console(file=io.StringIO(), width=width, record=True)
    with TerminalProgress(console) as progress:
        tell(progress)
    text = console.export_text()
    assert all(len(line) <= width for line in text.splitlines())
    return [line.rstrip() for line in text.splitlines()]


def whole_run(progress) -> None:
    progress.work("evaluating teacher", 200, 200)
    progress.stage("teacher data", "td", 100, 1100)
    progress.step({"step": 250, "stage_step": 150, "loss": 1.25})
    progress.probe(probe_rows("student", "fixed", "teacher", "reference"))
    progress.decision(DECISION | {"decision": "stay", "reason": "not yet"})
    progress.decision(DECISION)
    progress.evaluation(EVALUATION)


TABLE = [
    "probe at step 250: mean and 95 % interval; n = positions/utterances",
    "states VUSS |I| top-1 TV n",
    "student 53.1 52.4–54.2 10.9 9.8–11.6 0.75 0.72–0.78 0.28 0.26–0.30 12345/1000",
    "fixed 53.1 52.4–54.2 10.9 9.8–11.6 0.75 0.72–0.78 0.28 0.26–0.30 12345/1000",
    "teacher 53.1 52.4–54.2 10.9 9.8–11.6 0.75 0.72–0.78 0.28 0.26–0.30 12345/1000",
    "reference 53.1 52.4–54.2 10.9 9.8–11.6 0.75 0.72–0.78 0.28 0.26–0.30 12345/1000",
]


def test_at_120_columns_every_event_is_a_line():
    lines = shown(120, whole_run)
    assert f"step 250 · teacher data · advance: {DECISION['reason']}" in lines
    evaluation = (
        "step 1900 · teacher data · student on test: WER 12.30 % [10.00, 15.00] over 200 utterances (123/1000 words)"
    )
    assert evaluation in lines
    squeezed = [" ".join(line.split()) for line in lines]
    assert [line for line in squeezed if line in TABLE] == TABLE
    (bar,) = [line for line in lines if line.startswith("teacher data (td)")]
    assert "150/1100" in bar
    assert bar.endswith("loss 1.250")
    assert not any("not yet" in line or "evaluating" in line for line in lines)


def test_mixed_error_rates_are_named():
    row = {name: value for name, value in EVALUATION.items() if name != "wer"} | {"mer": RATE}
    line = (
        "step 1900 · teacher data · student on test: MER 12.30 % [10.00, 15.00] over 200 utterances (123/1000 tokens)"
    )
    assert line in shown(120, lambda progress: progress.evaluation(row))


def test_at_80_columns_table_and_bar_still_fit():
    lines = shown(80, whole_run)
    squeezed = [" ".join(line.split()) for line in lines]
    assert [line for line in squeezed if line in TABLE] == TABLE
    (bar,) = [line for line in lines if line.startswith("teacher data (td)")]
    assert bar.endswith("loss 1.250")


def test_without_probes_there_is_no_table():
    def tell(progress):
        progress.stage("words", "sft", 0, 5000)
        progress.step({"step": 1, "stage_step": 1, "loss": 3.5})
        progress.probe([])

    (bar,) = shown(80, tell)
    assert re.fullmatch(r"words \(sft\) .*1/5000 [\d:]+ [-\d:]+ loss 3\.500", " ".join(bar.split()))


def test_work_outside_a_run_shows_no_stage():
    def tell(progress):
        progress.work("transcribing", 3, 10)
        progress.console.print(progress._bars)

    (line,) = [line for line in shown(80, tell) if line]
    assert line.startswith("transcribing")
    assert "3/10" in line


def test_undefined_numbers_and_text_in_brackets_are_shown_as_they_are():
    undefined = {"value": None, "low": None, "high": None, "errors": 0, "total": 0}

    def tell(progress):
        progress.stage("[base]", "sft", 0, 10)
        progress.decision(DECISION | {"stage": "[base]", "decision": "abort", "reason": "union_kl nan [nan, nan]"})
        progress.evaluation(EVALUATION | {"stage": "[base]", "wer": undefined})
        progress.probe(probe_rows("student", total_variation=(math.nan, math.nan, math.nan)))

    text = "\n".join(shown(100, tell))
    assert "step 250 · [base] · abort: union_kl nan [nan, nan]" in text
    assert "step 1900 · [base] · student on test: WER nan % [nan, nan] over 200 utterances (0/0 words)" in text
    assert "nan nan–nan" in text
    assert "[base] (sft)" in text


@pytest.mark.parametrize(
    ("estimate", "cell"),
    [((8.25, 8.0, 8.5), "8.25 8.00–8.50"), ((103.4, 99.6, 110.0), "103 100–110"), ((0.0, 0.0, 0.0), "0.00 0.00–0.00")],
)
def test_cells_have_three_digits_or_two_decimals(estimate, cell):
    lines = shown(80, lambda progress: progress.probe(probe_rows("student", union_size=estimate)))
    assert any(" ".join(line.split()).startswith(f"student {cell} 10.9 ") for line in lines)


def test_a_notebook_gets_a_bar_a_stage_and_lines(capsys):
    progress = NotebookProgress()
    progress.stage("teacher data", "td", 100, 1100)
    progress.step({"step": 101, "stage_step": 150, "loss": 1.25})
    progress.probe(probe_rows("student"))
    progress.decision(DECISION | {"decision": "stay"})
    progress.decision(DECISION)
    progress.evaluation(EVALUATION)
    progress.stage("on-policy", "opd", 250, 10)
    progress.decision(DECISION | {"decision": "end", "reason": "finished"})
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"step 250 · teacher data · advance: {DECISION['reason']}",
        "step 1900 · teacher data · student on test: WER 12.30 % [10.00, 15.00] over 200 utterances (123/1000 words)",
        "step 250 · teacher data · end: finished",
    ]
    assert re.search(r"teacher data \(td\):\s+14%.*150/1100.*loss=1\.250", err)
    assert "on-policy (opd)" in err
