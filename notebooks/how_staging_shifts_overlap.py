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
# **OPD** (on-policy distillation): what did each stage do to the overlap of student and teacher, on the student's
# rollouts and on fixed ones, when and why did the gate switch, and what became of the error rate?
#
# The run is the embedded demo at full length, one seed: 1,200 steps of a student of 0.17 million parameters on
# synthetic speech. It is kept beside this notebook in `runs/demo`, without checkpoints. To read a run of your own, give
# its directory to `load` below.

# %%
import itertools
import textwrap

import matplotlib.pyplot as plt
import pandas as pd

import distill
from analysis import load, stage_table
from analysis.figures import overlap_over_training, vuss_decomposition, wer_against_overlap
from analysis.inference import error_rate_difference, gap_recovery, stage_changes
from analysis.report import stage_facts, staging, verdict

# %% [markdown]
# ## The run
#
# Base learns labels in upper case and numerals (`CALL 351`), the teacher writes `call three five one`: when Base ends,
# the two have next to nothing in common. The gate of TD opens on-policy training once the lower bound of the interval
# of top-1 agreement reaches its level.

# %%
TRAIN_MY_OWN = False  # True: trains the demo here, which takes five to seven minutes on one core
if TRAIN_MY_OWN:
    distill.train("demo", "runs/mine")
run = load("runs/mine" if TRAIN_MY_OWN else "runs/demo")


def settings(recipe):
    base, td, opd = recipe["stages"]
    return {
        "Base, steps": base["steps"],
        "TD, steps at most": td["steps"],
        "gate: lower bound of top-1 agreement at least": td["gate"]["gates"][0]["then"]["at_least"],
        "OPD, steps at most": opd["steps"],
        "all steps": recipe["total_steps"],
        "k of the supports": recipe["support"]["k"],
        "steps between probes": recipe["probe"]["every"],
    }


outcome, why = run.ended
print(f"The run {outcome}: {why}.")
pd.Series(settings(run.resolved["recipe"]), dtype=object).to_frame("this run")

# %% [markdown]
# ## The central figure

# %%
overlap_over_training(run, width=9.0)
plt.show()

# %% [markdown]
# *Read:* the background says which stage the run was in; points are probes, shades their 95 % intervals over
# utterances. Where the gate read a statistic its level is the dashed line, and a filled triangle is the bound of
# the interval that reached it. Look at the three kinds of states apart: `student` (what it writes now), `fixed` (what
# Base wrote when it ended), `teacher` (what the teacher writes). *Do not conclude* from the error rate within TD that
# it did harm for good: the student is learning another written form, and OPD ends below Base.
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
# *Read:* each stage's last probe on the student's rollouts. *Do not conclude* from VUSS alone: its parts follow.
#
# ## VUSS and its parts, on the student's rollouts and on fixed ones

# %%
vuss_decomposition(run, ("student", "fixed"), width=9.0)
plt.show()

# %%
k = run.resolved["recipe"]["support"]["k"]
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
# The same recorded rollouts before and after, each utterance compared with itself; then each checkpoint's
# rollouts.

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
# *Read:* the interval of the change, then its p-value corrected for the whole table. `fixed` and `teacher` show what
# was learned at the same contexts; `student` shows each checkpoint's rollouts, which changed together with the student.
# *Do not conclude* over seeds: one run's intervals are over utterances. `analysis.inference.over_seeds` takes several.
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
    print("The gate of TD never opened.")

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
# *Read:* the answer, then the numbers behind it. *Do not conclude* that a level is a law: `overlap.gates.READINESS`
# says what each rests on.
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
# *Read:* the differences are paired, because both systems find the same speakers hard, and intervals are over speakers,
# because errors within a speaker are correlated. The figure asks whether the error rate followed the agreement. *Do not
# conclude* from a handful of points of one run that overlap causes the error rate, or from this run that OPD paid: the
# same steps of teacher data are the control that it lacks.
#
# ## Other schedules, other seeds
#
# The study of the demo compares four schedules of 1,200 steps over three seeds: teacher data until the gate opens and
# then OPD (`gated`, as above), 25 steps of teacher data and then OPD (`early`), OPD straight from Base (`direct`), and
# teacher data to the end (`td`). WER in % [95 % over speakers], VUSS (k = 8), top-1 agreement and total variation on
# the student's rollouts, at the switch to OPD and at the end.

# %%
study = staging().sort_values("arm", kind="stable")
shown = pd.DataFrame(
    {"schedule": study["arm"], "seed": study["seed"], "switch at step": study["switch"].map("{:,.0f}".format)}
)
shown["WER % of Base"] = (100 * study["WER Base"]).map("{:.1f}".format)
shown["WER % at the end"] = [
    f"{100 * row['WER']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]" for _, row in study.iterrows()
]
for name, digits in {"VUSS": 2, "top-1": 3, "TV": 3}.items():
    for when in ("at switch", "at end"):
        shown[f"{name} {when}"] = study[f"{name} {when}"].map(f"{{:.{digits}f}}".format)
shown.replace("nan", "–").style.hide(axis="index")

# %% [markdown]
# *Read:* behind the gate VUSS hardly moves from the switch to the end, while agreement and total variation improve with
# the error rate: read the parts and the top of the distributions, not VUSS alone. OPD ends below Base on each seed
# behind the gate, and above it without teacher data. *Do not conclude* that OPD beat teacher data: given the same
# steps, teacher data alone (`td`) ends close to it. The corpus is synthetic and small.
