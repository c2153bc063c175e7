"""Regions that quote the studies of gates that read the end of text first."""

from pathlib import Path
from typing import Any

import pandas as pd

from analysis.formatting import interval, markdown, number, signed
from distill import load_recipe
from tests.pages.text import span
from tests.studies.looping_limit import LIMIT

SETTINGS = {"demo": "`demo`", "matched": "`demo_matched`", "speech": "`whisper_tiny_en`, recorded speech"}
BROKEN = {
    "unending": "teacher data cut after eight tokens",
    "looping": "a teacher fine-tuned to loop",
}


def sound_runs(runs: Path, changes: Path) -> str:
    """Runs that no gate should stop: when gates opened, and what reading the end first cost."""
    frame, paired = pd.read_csv(runs), pd.read_csv(changes)
    rows = []
    for change in paired.to_dict("records"):
        own = frame[frame["setting"] == change["setting"]]
        refused, taken = int(own["refused steps"].sum()), int(own["n on-policy steps"].sum())
        points = (100 * change[name] for name in ("change", "low", "high"))
        rows.append(
            [
                SETTINGS[change["setting"]],
                str(len(own)),
                _steps(own["switch before"]),
                _steps(own["switch"]),
                str(int(own["alarms"].sum())),
                f"{number(refused, 0)} of {number(taken, 0)}",
                *(span(own[f"likely ends {when}"], 2) for when in ("at switch", "at most")),
                f"{number(100 * own['WER end'].mean(), 1)} ({span(100 * own['WER end'], 1)})",
                _points(*points),
                f"{change['same run']} of {change['seeds']}",
            ]
        )
    heading = ["recipe", "runs", "gate of before opens at step", "gate of now", "alarms", "steps refused"]
    heading += ["likely ends at the switch", "at most in the run"]
    heading += ["WER % at the end, mean (range)", "points of WER since before", "same run"]
    one = paired.iloc[0]
    return (
        f"{markdown(heading, rows)}\n\n"
        "*Likely ends* is the share of the teacher's ends, of "
        f"{' or '.join(f'{n}' for n in sorted(frame['n ends'].unique()))}, at which the student gives the end at least "
        "half: the range over the runs. "
        "*Points* is the change of the last WER against the same seeds under the gates of before: paired by utterance, "
        f"seeds pooled, 95 % interval over {one['over']}. *Same run*: for so many of these seeds both "
        "gates decide alike at every reading and no step was refused, so the change is exactly 0."
    )


def stopped_runs(alarms: Path) -> str:
    """Runs that do not end: what they read, and what either gates do."""
    frame = pd.read_csv(alarms)
    rows = []
    for row in frame.to_dict("records"):
        rows.append(
            [
                BROKEN[row["setting"]],
                str(row["seed"]),
                row["gates"],
                *(_estimate(row, f"{name} at end") for name in ("end_of_text", "top1_agreement", "student_mass")),
                _step(row["first alarm"]),
                _step(row["switch"]),
                f"{row['outcome']} at step {row['step']}",
            ]
        )
    heading = ["broken end", "seed", "gates", "transcripts that end", "top-1 agreement", "student's mass on T"]
    n = int(frame["n at end"].min())
    return (
        f"{markdown([*heading, 'first alarm at step', 'OPD from step', 'the run'], rows)}\n\n"
        f"The three statistics are those of the run's last probe, on {n} utterances; teacher data begins at step 300 "
        "and is first probed 100 steps later. *Cut after eight tokens*: the limit on the teacher's transcripts is "
        "lowered to 8, and the cut ones are kept. *Fine-tuned to loop*: the teacher is the demo's, fine-tuned for 120 "
        "steps on transcripts that loop; limits on length are the recipe's."
    )


def looping_students(path: Path) -> str:
    """Two copies of Whisper tiny.en that lack one decoder layer, before the gates of shipped recipes."""
    frame = pd.read_csv(path)
    shown = {
        "transcripts that end": ("end_of_text", 3),
        "repetition": ("repetition", 1),
        "top-1 agreement": ("top1_agreement", 3),
        "the same without repeats": ("top1_agreement.without_repeats", 3),
        "total variation": ("total_variation", 3),
        "p(end) ≥ 0.5 at the teacher's ends": ("teacher.student_end_likely.at_end", 3),
    }
    rows = [
        [label, *(_estimate(row, name, digits) for row in frame.to_dict("records"))]
        for label, (name, digits) in shown.items()
    ]
    for gates in ("before", "now"):
        for name in ("demo", "demo_matched", "whisper_tiny_en"):
            rows.append([f"gate of `{name}`, {gates}", *(f"{row}" for row in frame[f"{name} {gates}"])])
    table = markdown(["", *(f"*{name}*" for name in frame["student"])], rows)
    on_policy: Any = load_recipe("whisper_tiny_en").stages[-1]
    return (
        f"{table}\n\nOn {frame['n'].min()} utterances, with transcripts of at most {LIMIT} tokens: 20 a second, as in "
        f"a recipe without a limit. The limit of `whisper_tiny_en` is {on_policy.rollout.max_new_tokens}; it cuts "
        "loops shorter, so the numbers of *loops* are not those that the recipe would read."
    )


def _estimate(row: dict[Any, Any], name: str, digits: int = 3) -> str:
    return f"{number(row[name], digits)} {interval(row[f'{name}.low'], row[f'{name}.high'], digits)}"


def _points(value: float, low: float, high: float) -> str:
    return f"{signed(value, 1)} {interval(low, high, 1)}"


def _step(value: float) -> str:
    return "–" if pd.isna(value) else number(value, 0)


def _steps(values: pd.Series) -> str:
    """`600` where all are alike, else every one."""
    listed = [_step(value) for value in values]
    return listed[0] if len(set(listed)) == 1 else ", ".join(listed)
