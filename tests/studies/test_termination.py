"""Do gates that read the end of text first stop what they should, and nothing else? Three recipes, several seeds.

    pytest -m slow tests/studies/test_termination.py -s

takes about four hours on one core, and two more with `$RECORDED_SPEECH` (see `test_recorded_speech`). Runs go to
`runs/termination` (or `$TERMINATION_STUDY`); finished ones are not run again. Tables are written beside them as
`termination.csv`, `termination_changes.csv` and `termination_alarms.csv`; those that pages quote are in
`tests/studies/results`. One run: `python -m tests.studies.test_termination demo 0`, `… unending 0 before`.

* `demo`, `matched`, `speech`: the shipped recipes. *Before* are their gates without the end of text: a threshold of
  plain agreement opens on-policy training, and nothing guards teacher data.
* `unending`: the demo with the teacher's transcripts cut after eight tokens and kept, so that none of them ends.
  The limit is `stages.1.transcription.max_new_tokens`; rollouts and probes keep that of the recipe, 48 tokens.
* `looping`: the demo with a teacher that repeats its last word and never ends: the demo's teacher, fine-tuned for 120
  steps on transcripts that run into such a loop, without their end. The student learns to agree. Limits on length are
  those that ship.

No position is masked.

Where the gates of before would have switched at the same step of a run, would have raised no alarm, and no step was
refused, the run under them is the same run: it is not trained again. The gates of before read the recorded probes.
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis import Run, load
from analysis.inference import error_rate_difference
from analysis.stages.error_rates import cluster_of, student_evaluations, transcripts_of
from distill import Recipe, load_recipe, write_manifest
from distill.data.audio import AudioCache
from distill.data.batch import AudioSource
from distill.data.data_sets import Purpose, read_for
from distill.models.base import pack
from distill.models.load import load_recognizer
from distill.recipe import OnPolicyStage
from distill.teacher_data.labels import described
from overlap import Action, Collapse, Estimate, Funnel, Gate, Threshold
from tests.studies.arms import run
from tests.studies.test_recorded_speech import SOURCE, arm_recipe
from tests.studies.test_recorded_speech import run_arm as run_speech

OUTPUT = Path(os.environ.get("TERMINATION_STUDY", "runs/termination"))
FIXTURE = Path(__file__).parent / "demo_before_termination.toml"
RESULTS = Path(__file__).parent / "results"
LOOPING = OUTPUT / "looping-teacher" / "checkpoints" / "step-000120"
SEEDS = (0, 1, 2)
SOUND = range(10)
"""Seeds of the demo that must pass without an alarm."""
BROKEN = ("unending", "looping")
FORM = ".without_repeats"
LONGEST = 48
"""Limit of the demo's transcripts, in tokens."""
CUT = ["stages.1.transcription.max_new_tokens=8", "stages.1.filters.unfinished=keep"]
UNFILTERED = [
    "stages.1.filters.unfinished=keep",
    "stages.1.filters.max_compression=off",
    "stages.1.filters.max_repeats=off",
]


def recipe_of(setting: str, seed: int) -> Recipe:
    """Return a shipped recipe, or the demo on transcripts without an end."""
    if setting == "speech":
        return arm_recipe("gated", seed)
    shipped = "demo_matched" if setting == "matched" else "demo"
    overrides = {"unending": CUT, "looping": [f"teacher.model={LOOPING.absolute()}", *UNFILTERED]}.get(setting, [])
    return load_recipe(shipped, [f"seed={seed}", f"name={setting}", *overrides])


def looping_transcripts() -> Path:
    """Write the pool's transcripts by the demo's teacher, each with its last word repeated up to the limit, no end."""
    teacher, source = load_recognizer("demo:teacher"), AudioSource(AudioCache())
    pool = read_for(Purpose(), "demo:corpus/pool.jsonl", max_seconds=30).checked_one(teacher, teacher)
    written = []
    for batch in source.batches(pool, 50):
        texts = teacher.decode(teacher.rollout(batch.prompt(teacher), max_new_tokens=LONGEST))
        for utterance, text in zip(batch.utterances, texts, strict=True):
            if words := text.split():
                encoded = teacher.encode([" ".join([*words, *[words[-1]] * LONGEST])])
                ids = encoded.ids[0, :LONGEST].tolist()
                loop = teacher.decode(pack([ids], teacher.tokens.end_of_text))[0]
                transcript = described(loop, ids, teacher.tokens) | {"finished": False}
                written.append(replace(utterance, text=loop, extra={**utterance.extra, "transcript": transcript}))
    path = OUTPUT / "looping.jsonl"
    write_manifest(path, written)
    return path


def looping_teacher() -> Path:
    """Train the demo's teacher for a short while on transcripts that loop, or keep what is there: its checkpoint."""
    if not LOOPING.exists():
        stage = {"type": "sft", "name": "looping", "manifest": str(looping_transcripts().absolute()), "steps": 120}
        stage |= {"lr": 1e-3, "schedule": "linear", "warmup_steps": 10, "betas": (0.9, 0.98)}
        recipe = {"name": "looping teacher", "threads": 1, "student": {"model": "demo:teacher"}, "stages": [stage]}
        run(Recipe.model_validate(recipe), LOOPING.parents[1])
    return LOOPING


def opening(recipe: Recipe) -> Threshold:
    """Return the gate that opened on-policy training before: the same level of plain agreement."""
    gate: Any = recipe.stages[1].gate
    level = gate.gates[0].then
    return Threshold(level.statistic.removesuffix(FORM), at_least=level.at_least)


def guard(recipe: Recipe) -> Collapse:
    """Return the gate that guarded on-policy training before: repetition and agreement, or mass."""
    gate: Any = recipe.stages[2].gate
    added = ("end_of_text", "empty")
    limits = {name.removesuffix(FORM): tuple(ends) for name, ends in gate.limits.items() if name not in added}
    return Collapse(limits)


def with_gates_of_before(recipe: Recipe) -> Recipe:
    """Return the recipe with the gates that it had before termination was read."""
    base, td, opd = recipe.stages
    assert isinstance(opd, OnPolicyStage)
    opens, guards = opening(recipe), guard(recipe)
    threshold = {"type": "threshold", "statistic": opens.statistic, "at_least": opens.at_least}
    limits = {name: ["off" if end is None else end for end in ends] for name, ends in guards.limits.items()}
    stages = [
        base.model_dump(exclude_unset=True) | {"gate": None},
        td.model_dump(exclude_unset=True) | {"gate": threshold},
        opd.model_dump(exclude_unset=True) | {"gate": {"type": "collapse", "limits": limits}, "reject": None},
    ]
    return Recipe.model_validate(recipe.model_dump(exclude_unset=True) | {"stages": stages})


def run_arm(setting: str, seed: int, *, before: bool = False) -> Path:
    """Train one run, or continue or keep what is there."""
    if setting == "looping":
        looping_teacher()
    recipe = recipe_of(setting, seed)
    if setting == "speech" and not before:
        return run_speech("gated", seed)
    name = f"{setting}-before-{seed}" if before else f"{setting}-{seed}"
    return run(with_gates_of_before(recipe) if before else recipe, OUTPUT / name, check=setting not in BROKEN)


def readings(probes: pd.DataFrame) -> dict[str, Estimate]:
    """Return the recorded estimates of one probe on the student's states, as its gate read them."""
    columns = ["value", "standard_error", "low", "high"]
    counts = ["n_positions", "n_groups", "n_undefined"]
    chosen = probes[(probes["states"] == "student") & ~probes["statistic"].str.startswith("funnel.")]
    rows = chosen.to_dict("records")
    return {
        row["statistic"]: Estimate(*(float(row[name]) for name in columns), *(int(row[name]) for name in counts))
        for row in rows
    }


def decisions(loaded: Run, stage: str, gate: Gate) -> Iterator[tuple[int, Action]]:
    """Let a gate read the recorded probes of a stage after its first step: step and action."""
    probes = loaded.probes[loaded.probes["stage"] == stage]
    first = int(probes["step"].min())
    for step, rows in probes.groupby("step"):
        if int(step) > first:
            yield int(step), gate.read(readings(rows), int(step) - first).action


def switch_of(loaded: Run) -> int | None:
    """Return the step at which on-policy training began."""
    rows = loaded.metrics[loaded.metrics["stage"] == "on-policy"]
    return int(rows.index[0]) if len(rows) else None


def row_of(setting: str, seed: int, path: Path) -> dict[str, Any]:
    """Describe one run: when its gates opened, when those of before would have, alarms, refused steps, error rates."""
    loaded, recipe = load(path), recipe_of(setting, seed)
    made = loaded.decisions
    refused = loaded.metrics.get("rejection.taken_on")
    rates = student_evaluations(loaded)
    opens = next(
        (s for s, action in decisions(loaded, "teacher data", opening(recipe)) if action is Action.advance), None
    )
    alarms = [s for s, action in decisions(loaded, "on-policy", guard(recipe)) if action is not Action.stay]
    row: dict[str, Any] = {"setting": setting, "seed": seed, "outcome": made["outcome"].dropna().iloc[-1]}
    row |= {"step": int(made["step"].iloc[-1]), "switch": switch_of(loaded), "switch before": opens}
    row |= {"alarms": int(made["decision"].isin(["fall_back", "abort"]).sum()), "alarms before": len(alarms)}
    row |= {"refused steps": 0 if refused is None else int(refused.isin(["teacher", "nothing"]).sum())}
    row |= likely_ends(loaded, row["switch"])
    row["n on-policy steps"] = int((loaded.metrics["stage"] == "on-policy").sum())
    for label, stage in (("Base", "base"), ("switch", "teacher data"), ("end", None)):
        chosen = rates if stage is None else rates[rates["stage"] == stage]
        for end in ("value", "low", "high") if len(chosen) else ():
            row[f"WER {label}{'' if end == 'value' else f'.{end}'}"] = float(chosen.iloc[-1][f"wer.{end}"])
    return row | {"over": rates["over"].iloc[-1], "n over": int(rates["n_over"].iloc[-1])}


def likely_ends(loaded: Run, switch: int | None) -> dict[str, Any]:
    """Return at which share of the teacher's ends the student finds the end likely: at the switch, and at most."""
    rows = loaded.probes
    rows = rows[(rows["states"] == "teacher") & (rows["statistic"] == "student_end_likely.at_end")]
    found: dict[str, Any] = {"likely ends at switch": float("nan")}
    if switch is not None:
        found["likely ends at switch"] = float(rows.loc[rows["step"] == switch, "value"].iloc[0])
    return found | {"likely ends at most": float(rows["value"].max()), "n ends": int(rows["n_positions"].max())}


def shipped_decisions(loaded: Run, recipe: Recipe) -> list[tuple[int, Action]]:
    """Return what the gates of the recipe as it is now make of the recorded probes: of each but the first of a stage.

    `used` is the funnel's share where a run was made before probes recorded it.
    """
    found = []
    for stage in recipe.stages:
        if stage.gate is None:
            continue
        gate = stage.gate.build()
        probes = loaded.probes[loaded.probes["stage"] == stage.name]
        first = int(probes["step"].min())
        for step, rows in probes.groupby("step"):
            if int(step) > first:
                found.append((int(step), gate.read(every_reading(rows), int(step) - first).action))
    return found


def every_reading(probes: pd.DataFrame) -> dict[str, Estimate]:
    """Return the readings of one probe on the student's states, and on the teacher's with these before the name."""
    teachers = probes[probes["states"] == "teacher"].assign(states="student")
    found = readings(probes) | {f"teacher.{name}": one for name, one in readings(teachers).items()}
    bins = probes[(probes["states"] == "student") & probes["statistic"].str.startswith("funnel.")]
    counts = dict(zip(bins["statistic"].str.removeprefix("funnel."), bins["value"].astype(int), strict=True))
    share = Funnel.from_dict(counts).share("used")
    return {"used": Estimate(share, share, share, share, sum(counts.values()), 2)} | found


def is_same_run(row: dict[str, Any]) -> bool:
    """Return whether the run would have been the same under the gates of before."""
    return row["switch"] == row["switch before"] and not (row["alarms"] + row["alarms before"] + row["refused steps"])


def alarm_of(setting: str, seed: int, before: bool, path: Path) -> dict[str, Any]:
    """Describe a run that should be stopped: what its first probe of teacher data and its last one read."""
    loaded = load(path)
    made = loaded.decisions
    stopped = made[made["decision"].isin(["fall_back", "abort"])]
    row: dict[str, Any] = {"setting": setting, "seed": seed, "gates": "before" if before else "now"}
    probes = loaded.probes
    steps = sorted(set(probes.loc[probes["stage"] == "teacher data", "step"]))
    places = {"first": steps[1], "end": probes["step"].max()}
    for label, step in places.items():
        there = probes[probes["step"] == step]
        # A fall back probes the same step again, with the weights that it returned to.
        visit = there["visit"].min() if label == "first" else there["visit"].max()
        found = readings(there[there["visit"] == visit])
        for name in ("end_of_text", "top1_agreement", "student_mass", "teacher_mass", "repetition"):
            one = found[name]
            row |= {
                f"{name} at {label}{end}": x for end, x in (("", one.value), (".low", one.low), (".high", one.high))
            }
        row[f"n at {label}"] = found["end_of_text"].n_groups
    row |= {"first probe": int(steps[1]), "first alarm": int(stopped["step"].iloc[0]) if len(stopped) else None}
    row |= {"switch": switch_of(loaded), "outcome": made["outcome"].dropna().iloc[-1]}
    return row | {"step": int(made["step"].iloc[-1])}


def change_of(setting: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how the last error rate differs from that under the gates of before: paired by utterance, seeds pooled."""
    same = [row["seed"] for row in rows if is_same_run(row) and row["seed"] in SEEDS]
    sides: list[list[pd.DataFrame]] = [[], []]
    for seed in SEEDS:
        now = run_arm(setting, seed)
        paths = (now if seed in same else run_arm(setting, seed, before=True), now)
        for side, path in zip(sides, paths, strict=True):
            loaded = load(path)
            chosen = transcripts_of(loaded, student_evaluations(loaded).iloc[-1].to_dict())
            side.append(chosen.assign(id=f"{seed} " + chosen["id"].astype(str)))
    first, second = (pd.concat(side, ignore_index=True) for side in sides)
    by = cluster_of(first, second)
    found = error_rate_difference(first, second, by=by).difference
    ends = (0.0, 0.0) if len(same) == len(SEEDS) else (found.low, found.high)  # the same runs: there is no chance
    row = {"setting": setting, "seeds": len(SEEDS), "same run": len(same), "change": found.value}
    row |= {"low": ends[0], "high": ends[1], "over": f"{by or 'utterance'}s", "n over": found.n_groups}
    return row | {"n utterances": len(first)}


@pytest.mark.slow
@pytest.mark.timeout(8 * 3600)
def test_gates_stop_what_does_not_end_and_nothing_else():
    shipped = ("demo", "matched", *(("speech",) if SOURCE else ()))
    sound = {(setting, seed): run_arm(setting, seed) for setting in shipped for seed in SEEDS}
    sound |= {("demo", seed): run_arm("demo", seed) for seed in SOUND}
    rows = [row_of(*key, path) for key, path in sound.items()]
    frame = pd.DataFrame(rows).sort_values(["setting", "seed"])
    frame.to_csv(OUTPUT / "termination.csv", index=False)
    print("\n" + frame.to_string(index=False))
    changes = [change_of(setting, [row for row in rows if row["setting"] == setting]) for setting in shipped]
    pd.DataFrame(changes).to_csv(OUTPUT / "termination_changes.csv", index=False)
    print("\n" + pd.DataFrame(changes).to_string(index=False))
    assert not frame["alarms"].any()
    assert (frame["outcome"] == "finished").all()
    assert all(change["high"] <= 0.02 for change in changes)
    arms = [(setting, seed, before) for setting in BROKEN for seed in SEEDS for before in (False, True)]
    found = pd.DataFrame([alarm_of(*arm, run_arm(*arm[:2], before=arm[2])) for arm in arms])
    found.to_csv(OUTPUT / "termination_alarms.csv", index=False)
    print("\n" + found.to_string(index=False))
    now, then = (found[found["gates"] == gates] for gates in ("now", "before"))
    assert (now["outcome"] == "aborted").all()
    assert (now["first alarm"] == now["first probe"]).all()
    assert (then["outcome"] != "aborted").all()
    agreeing = then[then["setting"] == "looping"]
    assert (agreeing["student_mass at end.low"] >= 0.98).all()
    assert (agreeing["end_of_text at end.high"] < 0.1).all()


def test_the_gates_of_before_are_those_of_the_kept_recipe():
    kept = load_recipe(FIXTURE, ["seed=0"])
    made = with_gates_of_before(recipe_of("demo", 0))
    assert [stage.gate for stage in made.stages] == [stage.gate for stage in kept.stages]
    assert made.model_dump(exclude={"stages"}) == kept.model_dump(exclude={"stages"})
    assert opening(recipe_of("matched", 0)).at_least == 0.85


if __name__ == "__main__":
    run_arm(sys.argv[1], int(sys.argv[2]), before=sys.argv[3:] == ["before"])
