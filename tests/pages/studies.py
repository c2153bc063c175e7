"""Regions that quote the results of studies."""

from pathlib import Path

import pandas as pd

from analysis.formatting import count, interval, markdown, number, signed
from tests.pages.text import rate, span

SCHEDULES = {
    "gated": "Base → TD until the gate opens → OPD",
    "early": "Base → 25 steps of TD → OPD",
    "direct": "Base → OPD",
    "td": "Base → TD to the end",
}
STAGES = {"base": "Base", "teacher data": "TD", "on-policy": "OPD"}


def schedules(staging: Path) -> str:
    """How each schedule ended, seed by seed."""
    frame = pd.read_csv(staging)
    seeds = sorted(set(frame["seed"]))
    rows = []
    for arm, label in SCHEDULES.items():
        ends = frame.loc[frame["arm"] == arm].sort_values("seed")
        listed = [
            ", ".join(number(value, digits) for value in ends[column])
            for column, digits in (("switch", 0), ("top-1 at switch", 2), ("top-1 at end", 2), ("TV at end", 2))
        ]
        rates = [
            f"{number(100 * one['WER'], 1)} {interval(100 * one['low'], 100 * one['high'], 1)}"
            for one in ends.to_dict("records")
        ]
        rows.append([label, *(cell if "–" not in cell else "–" for cell in listed[:2]), *rates, *listed[2:]])
    heading = ["schedule", "switch to OPD at step", "top-1 agreement there"]
    heading += [f"WER % at the end, seed {seed}" for seed in seeds]
    table = markdown([*heading, "top-1 at the end", "total variation at the end"], rows)
    first = frame.iloc[0]
    return (
        f"{table}\n\nWER in % [95 % interval over {first['n over']} {first['over']}] on {first['utterances']} "
        f"utterances; lists are of seeds {', '.join(map(str, seeds))}; overlap on the student's rollouts."
    )


def stages(path: Path, arm: str = "gated") -> str:
    """Error rate and overlap after each stage."""
    frame = pd.read_csv(path)
    teacher = frame.loc[frame["model"] == "teacher"].iloc[0]
    frame = frame.loc[(frame["arm"] == arm) & (frame["model"] == "student")]
    rows = []
    for row in frame.to_dict("records"):
        cells = [f"{number(row[n], d)} {interval(row[f'{n}.low'], row[f'{n}.high'], d)}" for n, d in OVERLAP]
        wer = f"{number(100 * row['wer'], 1)} {interval(100 * row['wer.low'], 100 * row['wer.high'], 1)}"
        rows.append([STAGES[row["stage"]], str(row["seed"]), count(row["steps"]), wer, *cells])
    table = markdown(["after", "seed", "steps", "WER %", "VUSS", "top-1 agreement", "total variation"], rows)
    return (
        f"{table}\n\nThe teacher's WER is {rate(teacher['wer'], teacher['wer.low'], teacher['wer.high'])} on the same "
        f"{count(teacher['n_words'])} words."
    )


OVERLAP = (("union_size", 2), ("top1_agreement", 3), ("total_variation", 3))


def matched(path: Path) -> str:
    """The demo whose Base learns the teacher's form."""
    frame = pd.read_csv(path)
    base, data = (frame.loc[frame["stage"] == stage].iloc[0] for stage in ("base", "teacher data"))
    return (
        f"In the recipe `demo_matched`, Base learns the teacher's own form. One seed. Base ends with top-1 agreement "
        f"{number(base['top1_agreement'], 2)}. The gate opens after {count(data['steps'])} steps of TD, at "
        f"{number(data['top1_agreement'], 2)}. OPD straight from this Base was not run.\n\n"
        f"{stages(path)}"
    )


def in_short(staging: Path, differences: Path) -> str:
    """What the staging study found, for the first page."""
    frame, paired = pd.read_csv(staging), pd.read_csv(differences)
    gained = 100 * (frame["WER Base"] - frame["WER"])
    by = {arm: gained[frame["arm"] == arm] for arm in SCHEDULES}
    alone = _pairs(paired, "td", "gated")
    return (
        f"Over {len(by['gated'])} seeds, OPD behind the gate ended {span(by['gated'], 1)} points of word error rate "
        f"(WER) below base. OPD without teacher data ended {span(-by['direct'], 1)} points above it. Agreement is not "
        f"accuracy: at the switch most agreeing positions are letters inside words. Teacher data to the end was about "
        f"as good as the gated schedule ({_joined(alone)} points, {_verdict(alone)})."
    )


def switch_findings(staging: Path, differences: Path, stage_ends: Path) -> str:
    """The same at length."""
    frame, paired, ends = pd.read_csv(staging), pd.read_csv(differences), pd.read_csv(stage_ends)
    arm = {name: frame.loc[frame["arm"] == name] for name in SCHEDULES}
    cost = ends.loc[(ends["arm"] == "gated") & (ends["model"] == "student")].pivot_table(
        index="seed", columns="stage", values="seconds_a_step"
    )
    ratio = cost["on-policy"] / cost["teacher data"]

    def wer(rows: pd.DataFrame, column: str = "WER") -> str:
        return f"{span(100 * rows[column], 0)} %"

    def changes(first: str, second: str) -> str:
        return _joined(_pairs(paired, first, second))

    return (
        f"- Direct OPD ends at {wer(arm['direct'])}, from {wer(arm['direct'], 'WER Base')} after Base: "
        f"{changes('base', 'direct')} points.\n"
        f"- An early switch ends at {wer(arm['early'])}: {changes('base', 'early')} points since Base.\n"
        f"- The gated schedule ends at {wer(arm['gated'])}: {changes('base', 'gated')} points since Base, and "
        f"{changes('early', 'gated')} against the early switch.\n"
        f"- Against teacher data to the end the gated schedule differs by {changes('td', 'gated')} points: "
        f"{_verdict(_pairs(paired, 'td', 'gated'))}. Unlabeled audio is plentiful here, and a step of OPD takes as "
        f"long as {span(ratio, 1)} steps of TD.\n"
        "- In this study overlap decides when OPD may begin, not whether it pays. The corpus is synthetic and small."
        "\n\n"
        "Differences are paired over speakers, seed by seed, with 95 % intervals."
    )


def saturation(path: Path) -> str:
    """How overlap and the error rate of the demo moved over its stages."""
    frame = pd.read_csv(path)
    run = frame.loc[(frame["arm"] == "gated") & (frame["seed"] == 0) & (frame["model"] == "student")]

    def along(column: str, digits: int, scale: float = 1) -> str:
        return " → ".join(number(scale * value, digits) for value in run[column])

    first = run.iloc[0]
    return (
        f"It also saturates. On this project's demo pair (k = {first['student_size']:.0f}, one seed, the student's "
        f"rollouts), VUSS was {along('union_size', 1)} after Base, at the switch and at the end, of at most "
        f"{2 * first['student_size']:.0f}. Top-1 agreement was {along('top1_agreement', 2)}, total variation "
        f"{along('total_variation', 3)}, and the word error rate {along('wer', 0, 100)} %. After the switch, VUSS "
        f"hardly moved while the other three improved."
    )


def recorded_speech(path: Path, differences: Path) -> str:
    """Whisper tiny.en into half its decoder."""
    frame, paired = pd.read_csv(path), pd.read_csv(differences)
    columns = [("VUSS", 1), ("top-1", 2), ("TV", 2), ("mass", 2), ("forward KL", 2)]
    heading = ["machine", "schedule", "seed", "WER %", "VUSS", "top-1 agreement", "total variation"]
    rows = []
    for row in frame.to_dict("records"):
        wer = f"{number(row['WER'], 1)} {interval(row['low'], row['high'], 1)}"
        cells = ["" if pd.isna(row[name]) else number(row[name], digits) for name, digits in columns]
        rows.append([row["machine"], row["schedule"], str(row["seed"]), wer, *cells])
    table = markdown([*heading, "student's mass on T", "forward KL, nats"], rows, left=2)
    changes = [
        [r["machine"], f"{r['first']} below {r['second']}", str(r["seed"]), _points(r)]
        for r in paired.to_dict("records")
    ]
    return f"{table}\n\n{markdown(['machine', 'compared', 'seed', 'points of WER [95 %]'], changes, left=2)}"


def _points(row: dict) -> str:
    return f"{signed(row['difference'], 1)} {interval(row['low'], row['high'], 1)}"


def tail(path: Path) -> str:
    """OPD with and without the tail from one checkpoint."""
    frame = pd.read_csv(path)
    digits = {"union KL": 2, "VUSS": 1, "top-1": 2, "mass": 2, "entropy": 1, "TV": 2}
    rows = [
        [row["objective"], *("" if pd.isna(row[name]) else number(row[name], d) for name, d in digits.items())]
        for row in frame.to_dict("records")
    ]
    heading = ["", "union KL, nats", "VUSS", "top-1 agreement", "student's mass on T", "student's entropy, nats"]
    return markdown([*heading, "total variation"], rows)


def coverage(path: Path) -> str:
    """Every kind of interval."""
    frame = pd.read_csv(path)
    table = frame.pivot_table(index="interval of", columns="n", values="ours", sort=False)
    sizes = [n for n in (25, 60, 200) if n in table]
    means = table.dropna(subset=sizes)
    rows = [[str(kind), *(number(100 * row[n], 1) for n in sizes)] for kind, row in means.iterrows()]
    jumps = frame.loc[frame["interval of"].str.startswith("jump"), "ours"]
    return (
        f"{markdown(['coverage in % of the interval of', *(f'{n} utterances' for n in sizes)], rows)}\n\n"
        f"Jumps at a switch: {span(100 * jumps, 0)} %, from 5 probes a side on."
    )


def interval_coverage(path: Path) -> str:
    """The same in two sentences."""
    frame = pd.read_csv(path)
    special = ("jump", "rank correlation", "agreement, rare failures", "transcripts that end")
    usual = frame.loc[~frame["interval of"].str.startswith(special), "ours"]
    rare = frame.loc[(frame["interval of"] == "agreement, rare failures") & (frame["n"] == 60), "ours"]
    return (
        f"In simulations with 25 or more utterances, 95 % intervals cover the true value in {span(100 * usual, 0)} % "
        f"of the cases, but in only {number(100 * rare.iloc[0], 0)} % if a few of 60 utterances contain nearly all "
        "errors (`tests/studies/test_coverage.py`)."
    )


def _pairs(paired: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    return paired.loc[(paired["first"] == first) & (paired["second"] == second)].sort_values("seed")


def _joined(pairs: pd.DataFrame) -> str:
    """Differences in points, seed by seed."""
    return ", ".join(
        f"{signed(100 * one['difference'], 1)} {interval(100 * one['low'], 100 * one['high'], 1)}"
        for one in pairs.to_dict("records")
    )


def _verdict(pairs: pd.DataFrame) -> str:
    """Whether intervals leave out 0."""
    significant = ((pairs["low"] > 0) | (pairs["high"] < 0)).sum()
    return "not significantly different" if not significant else f"significant on {significant} of {len(pairs)} seeds"
