# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How staging shifts overlap
#
# One run from **Base** (supervised training on labels) through **TD** (training on the teacher's transcripts) to
# **OPD** (on-policy distillation): what did each stage do to the overlap of student and teacher, on the student's own
# transcripts and on fixed ones, when and why did the gate switch, and what became of the error rate?
#
# The run here is the embedded demo, shortened to about a minute and a half on one core, one seed. It shows how to read
# a run; what the demo at full length does over three seeds is in the README (*What the switch decides*). To read a run
# of your own, give its directory to `load` below.

# %%
import itertools
import tempfile
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

import distill
from analysis import load, stage_table
from analysis.figures import overlap_over_training, vuss_decomposition, wer_against_overlap
from analysis.inference import error_rate_difference, gap_recovery, stage_changes
from analysis.report import stage_facts, verdict
from analysis.report.studies import staging
from distill import read_manifest, write_manifest
from distill.progress import NotebookProgress
from distill.recipe.paths import packaged

folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## The recipe, and how the short one differs
#
# Base learns labels in upper case and numerals (`CALL 351`), the teacher writes `call three five one`: between Base and
# the teacher there is next to nothing in common.

# %%
write_manifest(folder / "pool.jsonl", read_manifest(packaged("corpus/pool.jsonl"))[:320])
short = {
    "stages.0.steps": 40,
    "stages.0.warmup_steps": 10,
    "stages.1.manifest": str(folder / "pool.jsonl"),
    "stages.1.steps": 240,
    "stages.1.gate.at_least": 0.75,
    "stages.2.manifest": str(folder / "pool.jsonl"),
    "stages.2.steps": 90,
    "total_steps": 330,
    "probe.every": 40,
    "probe.max_utterances": 60,
    "probe.trace_utterances": 60,
    "evaluation.every": 1000,
}
full, recipe = (
    distill.load_recipe("demo"),
    distill.load_recipe("demo", [f"{key}={value}" for key, value in short.items()]),
)


def settings(recipe):
    base, td, opd = recipe.stages
    return {
        "Base, steps": base.steps,
        "TD, steps at most": td.steps,
        "gate: lower end of top-1 agreement at least": td.gate.at_least,
        "OPD, steps at most": opd.steps,
        "all steps": recipe.total_steps,
        "utterances in the pool of TD and OPD": len(read_manifest(td.manifest, check_audio=False)),
        "utterances probed": recipe.probe.max_utterances or len(read_manifest(recipe.probe.manifest)),
        "steps between probes": recipe.probe.every,
    }


pd.DataFrame({"demo": settings(full), "here": settings(recipe)}, dtype=object)

# %% [markdown]
# ## The run

# %%
result = distill.train(recipe, folder / "run", observer=NotebookProgress())
run = load(folder / "run")
print(result.outcome)

# %% [markdown]
# ## The central figure

# %%
overlap_over_training(run, width=9.0)
plt.show()

# %% [markdown]
# *Read:* the background says which stage the run was in; points are probes, shades their 95 % intervals over
# utterances. Where the gate read a statistic its level is the dashed line, and a filled triangle is the end of the
# interval that met it. Look at the three kinds of states apart: `student` (what it writes now), `fixed` (what Base
# wrote when it ended), `teacher` (what the teacher writes). *Do not conclude* from the error rate at the switch that TD
# did harm for good: look at where it ends.
#
# ## The central table

# %%
stage_table(run)

# %%
where = ["step", "states", "statistic"]
probes = run.probes.drop_duplicates(where).set_index(where)  # a switch is probed from both of its sides
ends = {row.stage: int(row.last_step) for row in stage_table(run).frame.itertuples() if row.model == "student"}


def at(stage, statistic, states="student"):
    return probes.loc[(ends[stage], states, statistic)]


def words(row, digits=2):
    return f"{row['value']:.{digits}f} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"


def moved(before, after):
    """What two intervals say by themselves; the paired change further down says more."""
    if before["low"] <= after["high"] and after["low"] <= before["high"]:
        return "the intervals overlap, see the paired change"
    return "rose" if after["value"] > before["value"] else "fell"


stages = list(ends)
for before, after in itertools.pairwise(stages):
    for statistic, name in (
        ("union_size", "VUSS"),
        ("top1_agreement", "top-1 agreement"),
        ("total_variation", "total variation"),
    ):
        pair = at(before, statistic), at(after, statistic)
        print(f"{before} → {after}: {name} {words(pair[0])} → {words(pair[1])}: {moved(*pair)}")

# %% [markdown]
# *Read:* each stage's last probe on the student's own transcripts. *Do not conclude* from VUSS alone: its parts follow.
#
# ## VUSS taken apart, on own and on fixed transcripts

# %%
vuss_decomposition(run, ("student", "fixed"), width=9.0)
plt.show()

# %%
k = recipe.support.k
for states in ("student", "fixed"):
    for before, after in itertools.pairwise(stages):
        if (ends[before], states, "union_size") not in probes.index:
            continue
        change = {
            n: at(after, n, states)["value"] - at(before, n, states)["value"]
            for n in ("union_size", "intersection_size", "student_size", "teacher_size")
        }
        sets = change["student_size"] + change["teacher_size"]
        print(
            f"{states}, {before} → {after}: VUSS {change['union_size']:+.2f} tokens (of at most {2 * k}), "
            f"of which |S| + |T| {sets:+.2f} and −|I| {-change['intersection_size']:+.2f}"
        )

# %% [markdown]
# *Read:* only what comes through $|I|$ is overlap; what comes through $|S| + |T|$ is sets that lost tokens. *Do not
# conclude* from low overlap on `fixed` transcripts that nothing was learned: those are what Base wrote, in a form that
# the student may no longer write.
#
# ## Is the change more than luck? Paired intervals
#
# The same recorded transcripts before and after, each utterance compared with itself; then each checkpoint's own.

# %%
KEY = (
    "union_size",
    "intersection_size",
    "top1_agreement",
    "student_mass",
    "teacher_mass",
    "total_variation",
    "forward_kl",
)
stage_changes(run, "fixed", KEY)

# %%
stage_changes(run, "teacher", KEY)

# %%
stage_changes(run, "student", KEY)

# %% [markdown]
# *Read:* the interval of the change, then its p-value corrected for the whole table. `fixed` and `teacher` say what was
# learned at the same contexts; `student` says what training was fed, and mixes learning with where the student now
# goes. *Do not conclude* over seeds: one run's intervals are over utterances. `analysis.inference.over_seeds` takes
# several.
#
# ## When and why did the gate switch?

# %%
decisions = run.decisions[["step", "stage", "decision", "reason"]]
decisions.style.hide(axis="index").set_properties(**{"text-align": "left"})

# %%
switch = run.decisions.query("stage == 'teacher data' and decision == 'advance' and gate != 'exhausted'")
if len(switch):
    row = switch.iloc[0]
    print(f"OPD began at step {row['step']}, after {row['stage_step']} steps of TD: {row['reason']}.")
else:
    print(f"The gate of TD never opened; the run ended as: {result.outcome}.")

# %% [markdown]
# ## What does it come to?
#
# The verdicts of `distill report`: after Base and TD whether the pair was ready for OPD, after OPD whether it paid.

# %%
for facts in stage_facts(run):
    found = verdict(facts)
    print(f"{found.stage}, steps {found.first_step} to {found.last_step}. {found.question} {found.headline}.")
    for reason in found.reasons:
        print(textwrap.fill(reason, 110, initial_indent="  • ", subsequent_indent="    "))

# %% [markdown]
# *Read:* the answer, then the numbers behind it. *Do not conclude* that a threshold is a law: each is a heuristic, see
# `analysis.report.Thresholds` for the evidence.
#
# ## And the error rate?

# %%
written = run.transcripts
students = {stage: written.query("model == 'student' and step == @step") for stage, step in ends.items()}
teacher = written.query("model == 'teacher'")
for before, after in itertools.pairwise(stages):
    print(f"{before} (first) against {after} (second)")
    print(error_rate_difference(students[before], students[after], by="speaker"), end="\n\n")
if len(stages) > 1:
    recovered = gap_recovery(students[stages[0]], students[stages[-1]], teacher, by="speaker")
    print(f"Gap recovery from {stages[0]} to {stages[-1]}: {recovered.shown(2)} (1 is the teacher's error rate)")

# %%
wer_against_overlap(run, width=6.0)
plt.show()

# %% [markdown]
# *Read:* paired differences, for both systems find the same speakers hard; over speakers, for utterances of one fail
# together. The figure asks whether the error rate
# followed the agreement. *Do not conclude* from a handful of points on one path that overlap causes the error rate, or
# from this short run whether OPD pays: it has a fraction of the demo's OPD steps.
#
# ## The same at full length
#
# `distill demo` takes 1,200 steps. Its study took them four ways over three seeds (README, *What the switch decides*):
# teacher data until the gate opens and then OPD (`gated`), a few steps of it (`early`), none (`direct`), and teacher
# data to the end (`td`). WER in % [95 % over speakers], VUSS (k = 8), top-1 agreement and total variation on the
# student's own transcripts, at the switch to OPD and at the end.

# %%
ways = staging().sort_values("arm", kind="stable")
shown = pd.DataFrame({"way": ways["arm"], "seed": ways["seed"], "switch at step": ways["switch"].map("{:,.0f}".format)})
shown["WER % of Base"] = (100 * ways["WER Base"]).map("{:.1f}".format)
shown["WER % at the end"] = [
    f"{100 * row['WER']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]" for _, row in ways.iterrows()
]
for name, digits in {"VUSS": 2, "top-1": 3, "TV": 3}.items():
    for when in ("at switch", "at end"):
        shown[f"{name} {when}"] = ways[f"{name} {when}"].map(f"{{:.{digits}f}}".format)
shown.replace("nan", "–").style.hide(axis="index")

# %% [markdown]
# *Read:* behind the gate VUSS hardly moves from the switch to the end, while agreement and total variation go on with
# the error rate: read the parts and the top of the distributions, not VUSS alone. OPD ends below Base on each seed
# behind the gate, above it without teacher data. *Do not conclude* that OPD beat teacher data: given the same steps,
# teacher data alone (`td`) ends close to it. The corpus is synthetic and small.
