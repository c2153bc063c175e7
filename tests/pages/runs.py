"""Regions that quote the committed run of the demo."""

import json
from pathlib import Path

from analysis import load, stage_table
from analysis.formatting import number
from analysis.stages.error_rates import evaluated
from tests.pages.text import rate


def demo_table(path: Path) -> str:
    """What `distill demo` prints."""
    return f"```text\n{stage_table(load(path)).to_text()}\n```"


def demo_in_words(path: Path) -> str:
    """What to read in the table and the picture of the first page."""
    run = load(path)
    frame = stage_table(run).frame.set_index("stage")
    base, td, opd = (frame.loc[stage] for stage in ("base", "teacher data", "on-policy"))
    rows = evaluated(run)
    worst = rows.loc[(rows["model"] == "student") & (rows["stage"] == "teacher data")].iloc[0]
    steps = int(worst["step"] - td["first_step"])
    return (
        f"WER first rises while the student learns the teacher's form: {number(100 * worst['wer.value'], 1)} % after "
        f"{steps} steps of teacher data, {number(100 * td['wer'], 1)} % at the switch. OPD then lowers it to "
        f"{number(100 * opd['wer'], 1)} %; base had {number(100 * base['wer'], 1)} %. "
        f"VUSS (the size of the union of both supports) hardly moves after the switch, {number(td['union_size'], 2)} → "
        f"{number(opd['union_size'], 2)}, while top-1 agreement and total variation improve."
    )


def demo_models(teacher: Path, path: Path) -> str:
    """Error rates of both models as they ship."""
    run, found = load(path), json.loads(teacher.read_text(encoding="utf-8"))
    rows = evaluated(run)
    first = rows.loc[rows["step"] == 0].set_index("model")
    said = {}
    for model, row in first.iterrows():
        value = rate(row["wer.value"], row["wer.low"], row["wer.high"])
        said[model] = f"{value} ({row['wer.errors']:.0f}/{row['wer.total']:.0f} words"
    row = first.loc["teacher"]
    how = f"{row['n_utterances']:.0f} utterances of {row['n_over']:.0f} speakers, normalizer `{row['normalizer']}`"
    pool, difference = (tuple(found[name][end] for end in ("value", "low", "high")) for name in ("pool", "difference"))
    return (
        f"The teacher's WER on `test.jsonl` is {said['teacher']}, {how} {row['normalizer_version']}). It is "
        f"{rate(*pool)} on the pool, also unseen in training. The difference from the test set is not significant "
        f"({rate(*difference).replace(' %', ' points')}, over speakers). The student's WER on `test.jsonl` is "
        f"{said['student']}). Tests check all of it. Utterances score the same alone and in any batch."
    )
