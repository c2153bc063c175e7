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
# # Where the teacher disagrees
#
# A mean over positions says that two models differ, not where. This study takes the disagreement apart: by position, by
# class of token, by whether the token is right; into what the student can learn from the teacher and what is out of its
# reach; and asks which statistic predicted the gain of on-policy training. It ends at single utterances and at the
# kinds of errors that are left.
#
# The run is the embedded demo at full length, one seed, kept beside this notebook in `runs/demo`; 40 utterances were
# traced. Everything below works on any run directory with traces (`trace_utterances` in the recipe's `[probe]`).

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import distill
from analysis import load, load_many
from analysis.figures import (
    choose_trace,
    entropy_density,
    position_profile,
    strata,
    strata_frames,
    support_membership,
)
from analysis.inference import contrast, stage_ends, token_gains
from analysis.report import write_report

# %%
TRAIN_MY_OWN = False  # True: trains the demo here, which takes five to seven minutes on one core
RUN = "runs/mine" if TRAIN_MY_OWN else "runs/demo"
if TRAIN_MY_OWN:
    distill.train("demo", RUN, overrides=["probe.trace_utterances=40"])
run, runs = load(RUN), load_many([RUN])
STAGES = [stage["name"] for stage in run.stages]
by_probe = run.positions.groupby(["stage", "step", "states"], sort=False)
traced = by_probe.agg(positions=("used", "sum"), utterances=("id", "nunique"))
traced

# %% [markdown]
# *Read:* how many positions and utterances each view below rests on: the student's rollouts (`student`), those
# that it wrote when Base ended (`fixed`) and the teacher's (`teacher`), where each stage began and where the run ended.
#
# ## 1. Along the utterance

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
position_profile(run, "total_variation", ax=axes[0], relative=True)
position_profile(run, "teacher_mass", ax=axes[1], relative=True)
plt.show()

# %% [markdown]
# *Read:* flat or rising? Rising disagreement means that early mistakes lead the student to prefixes that the teacher
# would not write. *Do not conclude* across the lines that the same tokens got better: each checkpoint writes its own.
#
# ## 2. By class of token, and by whether it is right

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 6), layout="constrained")
strata(run, "token_class", "total_variation", ax=axes[0])
strata(run, "correctness", "total_variation", ax=axes[1])
plt.show()


# %%
moment, by_label = strata_frames(run, "correctness", "total_variation", "student")[-1]
shown = by_label.query("n_groups > 1").sort_values("value", ascending=False)
print(f"Total variation (probability) on the student's rollouts {moment.name}, 95 % intervals over utterances")
shown[["correctness", "value", "low", "high", "n_positions", "n_groups"]].style.hide(axis="index").format(precision=3)


# %%
def word(row):
    return row["correctness"].replace("_", " ")


inside = shown.query("correctness != 'unlabeled'")
most, least = inside.iloc[0], inside.iloc[-1]
apart = "the intervals are apart" if most["low"] > least["high"] else "but the intervals overlap"
print(
    f"After {STAGES[-1]}, the disagreement is largest on {word(most)} tokens, total variation "
    f"{most['value']:.2f} [{most['low']:.2f}, {most['high']:.2f}], and least on {word(least)} ones, "
    f"{least['value']:.2f} [{least['low']:.2f}, {least['high']:.2f}]; {apart}."
)

# %% [markdown]
# *Read:* disagreement on `substituted` and `inserted` tokens is the signal that on-policy training wants; on `correct`
# ones it is mostly style or doubt. What was left out has no token, so deletions are not here, only what stands beside
# them; spaces belong to no word and are `unlabeled`. *Do not conclude* that the teacher is right wherever it
# disagrees: it makes errors of its own (section 6).
#
# ## 3. What can be learned, and what is out of reach
#
# The forward KL of a position splits into `learnable_kl`, the share that lies on tokens which the student holds in its
# set (KL × teacher's mass on it), and `incompatible_kl`, the rest.

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 6), layout="constrained", sharey=True)
strata(run, "correctness", "learnable_kl", ax=axes[0])
strata(run, "correctness", "incompatible_kl", ax=axes[1])
plt.show()

# %%
for stage in STAGES:
    found = stage_ends(runs, stage, "student")[1].query("used")
    sums = found.groupby("id")[["incompatible_kl", "forward_kl"]].sum().to_numpy()
    ratio = contrast(sums[:, :1], sums[:, 1:], limits=(0, 1))
    print(
        f"After {stage}: {ratio.shown(1, 100)} % of the forward KL on its rollouts is out of the student's "
        f"reach ({len(found):,} positions, {found['id'].nunique()} utterances, 95 % interval over utterances)"
    )

# %%
entropy_density(run, "student", width=10.0)
plt.show()

# %% [markdown]
# *Read:* a large share out of reach calls for more teacher data, not for more on-policy steps: with its set as the
# support, the student is never asked about those tokens. The densities show where the two are sure: above the diagonal
# the student is less sure than the teacher. *Do not conclude* from the split that learnable divergence will be learned;
# the next section looks.
#
# ## 4. The gain of on-policy training, and which statistic predicted it
#
# At the *same* recorded contexts, the teacher's transcripts, before and after the on-policy stage: the fall of the
# forward KL is the fixed-context gain.

# %%
before, after = stage_ends(runs, STAGES[-1], "teacher")
PREDICTORS = [
    "top1_agreement", "overlap_ratio", "teacher_mass", "student_mass", "total_variation", "forward_kl", "learnable_kl",
    "incompatible_kl", "student_entropy", "teacher_entropy", "entropy_gap",
]  # fmt: skip
gains = token_gains(before, after, statistics=PREDICTORS, draws=1000)
gains

# %%
frame = gains.frame
made_of_it = ["forward_kl", "learnable_kl", "incompatible_kl"]
others = frame.loc[~frame["statistic"].isin(made_of_it)].iloc[0]
ceiling = frame.set_index("statistic").loc["forward_kl"]
print(
    f"Of what is not made of the divergence itself, {others['statistic']} ranks the gains best: ρ {others['rho']:+.2f} "
    f"[{others['rho.low']:+.2f}, {others['rho.high']:+.2f}] over {others['n_positions']:,} positions, "
    f"{others['n_groups']} utterances; forward_kl itself {ceiling['rho']:+.2f} "
    f"[{ceiling['rho.low']:+.2f}, {ceiling['rho.high']:+.2f}]."
)
held = frame.loc[frame["matched.p.corrected"] < 0.05, "statistic"].tolist()
print("After matching, significantly different from zero:", ", ".join(held) or "none", f"(of {len(frame)})")
few = frame.loc[frame["n_pairs"] < 20, "statistic"].tolist()
print("Fewer than 20 pairs, so that the matched difference says nothing:", ", ".join(few) or "none")

# %% [markdown]
# *Read:* ρ first, then whether it persists in the matched difference, which compares positions of one transcript with
# similar entropy, divergence and place. *Do not conclude* from a large ρ of `forward_kl` or of what is computed from
# it: a large divergence has more room to fall. And a gain at the teacher's contexts is not a gain in words.
#
# ## 5. Utterance by utterance

# %%
own = run.positions.query("states == 'student' and stage == @STAGES[-1] and used")
own = own.loc[own["step"] == own["step"].max()]
texts = run.traces.query("states == 'student' and stage == @STAGES[-1] and step == @own.step.max()").set_index("id")
means = own.groupby("id").agg(
    tokens=("used", "sum"), total_variation=("total_variation", "mean"), top1_agreement=("top1_agreement", "mean"),
    forward_kl=("forward_kl", "mean"),
)  # fmt: skip
worst = means.sort_values("total_variation", ascending=False).head(8)
print(f"Means over an utterance's tokens; forward KL in nats; the worst {len(worst)} of {len(means)} traced utterances")
worst.join(texts[["reference", "text"]]).style.format(precision=3)

# %%
support_membership(choose_trace(run, worst.index[0]), width=10.0)
plt.show()

# %% [markdown]
# *Read:* a column is a position, the most probable tokens on top, the framed one was written; color says in whose set
# a token is. The first column without a shared token near the top is where the two part. *Do not conclude* from one
# utterance, least of all from the worst of a list: it is chosen for being extreme. Every traced utterance has a row
# here, so look at ordinary ones too: `choose_trace(run, ID)`. The report's utterance browser has all of them on one
# page that opens offline: sort by error rate, overlap or divergence, and see both models' supports at every token.

# %%
report = write_report(RUN, Path(tempfile.mkdtemp()) / "report.html")
print(f"{report.path.name}, {report.size / 1e6:.1f} MB: open it in a browser")
for section in report.sections:
    print(section.headline)

# %% [markdown]
# ## 6. The errors that are left

# %%
KINDS = ("substitutions", "deletions", "insertions", "errors")
systems = {"teacher": run.transcripts.query("model == 'teacher'")}
systems |= {
    f"after {s}": run.transcripts.query("model == 'student' and stage == @s").pipe(
        lambda rows: rows.loc[rows["step"] == rows["step"].max()]
    )
    for s in STAGES
}
speakers = {name: rows.groupby("speaker").sum(numeric_only=True) for name, rows in systems.items()}
rates = {
    name: {
        kind: contrast(
            spoken[[f"words.{kind}"]].to_numpy(float), spoken[["words.total"]].to_numpy(float), limits=(0, np.inf)
        ).shown(1, 100)
        for kind in KINDS
    }
    | {"n words / utterances": f"{int(rows['words.total'].sum()):,} / {len(rows)}"}
    for (name, rows), spoken in zip(systems.items(), speakers.values(), strict=True)
}
n = len(speakers["teacher"])
print(f"Errors in % of the reference's words, with 95 % intervals over {n} speakers.")
pd.DataFrame(rates).T.rename(columns={"errors": "all (WER)"})

# %%
final, teachers = systems[f"after {STAGES[-1]}"].set_index("id"), systems["teacher"].set_index("id")
wrong = final["words.errors"] > 0
both = wrong & (teachers["words.errors"].reindex(final.index) > 0)
print(
    f"The student is wrong in {int(wrong.sum())} of {len(final)} utterances; in {int(both.sum())} of these the teacher "
    f"is wrong too: what it has to teach there is its own error."
)
columns = {"reference": final["reference"], "student": final["text"], "teacher": teachers["text"].reindex(final.index)}
errors = pd.DataFrame(columns | {"student's errors": final["words.errors"], "words": final["words.total"]})
errors.sort_values("student's errors", ascending=False).head(8)

# %% [markdown]
# *Read:* which kind of error went, which stayed, and how many of those that stayed are the teacher's too. *Do not
# conclude* anything about natural speech: the corpus is synthetic, the test set small, the seed one.
