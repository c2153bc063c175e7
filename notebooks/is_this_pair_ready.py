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
# # Is this pair ready?
#
# On-policy distillation has a student write transcripts and a teacher score them token by token. Its scores help
# where both models find the same tokens likely. This study measures
# that for any two models, reads the numbers in a fixed order, and ends in a go or a wait with its reasons.
#
# The executed pair is the embedded demo's: a student of 0.17 million parameters that writes `CALL 351` and a teacher of
# 1.1 million that writes `call three five one`, on 80 held-out utterances of synthetic speech. Half a minute on one
# core. Statistics and their formulas: `overlap/STATISTICS.md`.

# %% [markdown]
# ## The pair: put yours in here
#
# Hub names or directories, such as `"Qwen/Qwen3-ASR-0.6B-hf", "Qwen/Qwen3-ASR-1.7B-hf"`, and your own manifest. The two
# may have different tokenizers. k is 8 because the demo has 65 tokens that a transcript can hold; 16 to 64 suit a
# vocabulary of 150,000.

# %%
import distill

pair = distill.load_pair("demo:student", "demo:teacher", k=8)
probed = distill.probe(pair, "demo:corpus/probe.jsonl", max_new_tokens=48, quiet=True)
print(probed.first_reading)

# %% [markdown]
# *Read:* from the top; each number makes sense only if those above it are in order. The rest of this notebook shows
# what stands behind them. It reads all logits at once, from `distill.score`, which holds those of all utterances in
# memory where `distill.probe` holds those of one batch: with many utterances, score the first hundred
# (`max_utterances=100`).
#
# **Two tensors of logits instead of two models?** Replace the next cell: `student_logits`, `teacher_logits` of shape
# `[utterances, positions, vocabulary]` at the same tokens; `used`, bool `[utterances, positions]`, False at padding;
# `tokens`, the ids written there, or None; `funnel = overlap.account(used, {})[0]`; `names`, one an utterance;
# `shape = {}`; `vocabulary = None`; `blocked = {"blocked": [...], "teacher_blocked": [...]}`, ids of control tokens.

# %%
import matplotlib.pyplot as plt
import pandas as pd
import torch

import overlap
from analysis.figures import k_sweep, temperature_sweep
from analysis.report import Recommendation, StageFacts, Thresholds, verdict
from overlap.definitions import SEQUENCE_STATISTICS, TOKEN_STATISTICS
from overlap.gates import READINESS

torch.set_num_threads(1)
K = 8
own = distill.score(pair, "demo:corpus/probe.jsonl", max_new_tokens=48)

student_logits, teacher_logits, used = own.student_logits, own.teacher_logits, own.used
tokens, funnel = own.transcripts.ids, own.funnel
vocabulary, blocked = pair.vocabulary, {"blocked": pair.blocked, "teacher_blocked": pair.teacher_blocked}
shape = {name: item for name, item in probed.summary.items() if name in SEQUENCE_STATISTICS}
transcripts = pd.DataFrame(probed.transcripts).set_index("id")
names = list(transcripts.index)
transcripts.head(6)

# %% [markdown]
# *Read:* a few transcripts before any number. Do both models write the same language, case, numerals and punctuation?
#
# ## 1. The position funnel
#
# A position counts if both models have a distribution there that can be compared. The funnel counts every other
# position in one bin, with its reason.

# %%
funnel

# %%
share, enough = funnel.share("used"), READINESS.level("used", "comparable")
state = "nothing to repair" if share >= enough else "repair this first; the numbers below mean nothing yet"
print(f"{share:.1%} of {funnel.total:,} positions used (rule of thumb: {enough:.0%} or more): {state}.")

# %% [markdown]
# *Read:* `misaligned` means tokenizers or prompts that do not fit, `blocked` control tokens inside transcripts;
# `unfinished` are used positions of rollouts that ran into the length limit. *Do not conclude* anything from statistics
# over the used if they are a minority: they are not a random sample of positions.
#
# ## 2. Every statistic

# %%
statistics = overlap.measure(
    student_logits, teacher_logits, k=K, mask=used, tokens=tokens, vocabulary=vocabulary, **blocked
)
summary = statistics.summary(names, states="student").extended(shape)
DEFINED = TOKEN_STATISTICS | SEQUENCE_STATISTICS
rows = {
    name: {
        "value [95 %], unit": f"{item.value:.3g} [{item.low:.3g}, {item.high:.3g}] {DEFINED[name].unit}",
        "n": f"{item.n_positions:,} / {item.n_groups}",
        "undefined": f"{item.n_undefined:,}",
        "how to read it": DEFINED[name].reading.replace("`", ""),
    }
    for name, item in summary.items()
}
print(f"On the student's rollouts; k = {K}, temperature 1; n positions / utterances (of sequences, utterances).")
numbers = ["value [95 %], unit", "n", "undefined"]
left = pd.DataFrame(rows).T.style.format(escape="html").set_properties(**{"text-align": "left"})
left = left.set_properties(subset=numbers, **{"white-space": "nowrap", "vertical-align": "top"})
left.set_table_styles([{"selector": "th", "props": "text-align: left; vertical-align: top"}])

# %% [markdown]
# *Read:* the interval resamples utterances, because tokens of one utterance are not independent; `undefined` counts
# positions where a statistic has no value (`overlap advantage` where nothing is shared): those are in no average. *Do
# not conclude* from a mean whose `undefined` outnumbers its `positions`: it describes the easy ones only.
#
# ## 3. Five numbers, between chance and ceiling
#
# A number alone says little. Two anchors from the same logits: **chance** pairs the student with the teacher's
# distributions of *other* positions (drawn once), and **ceiling** pairs the teacher with itself in bfloat16, as much
# agreement as that arithmetic allows.

# %%
FIVE = {
    "student_size": "1  |S|, tokens",
    "teacher_size": "1  |T|, tokens",
    "top1_agreement": "2  top-1 agreement, share",
    "total_variation": "2  total variation, probability",
    "student_mass": "3  student's mass on T, probability",
    "teacher_mass": "3  teacher's mass on S, probability",
    "overlap_ratio": "4  overlap ratio, share of k",
}
settings = {"k": K, "mask": used, **blocked}
elsewhere = teacher_logits.clone()
elsewhere[used] = teacher_logits[used][torch.randperm(int(used.sum()), generator=torch.Generator().manual_seed(0))]
anchors = {
    "chance": overlap.measure(student_logits, elsewhere, vocabulary=vocabulary, **settings),
    "this pair": statistics,
    "ceiling": overlap.measure(
        teacher_logits, teacher_logits.bfloat16(), k=K, mask=used, blocked=blocked["teacher_blocked"]
    ),
}
anchors = {name: found.summary(names) for name, found in anchors.items()}


def cell(item):
    return f"{item.value:.3f} [{item.low:.3f}, {item.high:.3f}]"


table = pd.DataFrame(
    {name: [cell(found[statistic]) for statistic in FIVE] for name, found in anchors.items()}, index=list(FIVE.values())
)
for name, label in (
    ("end_of_text", "5  transcripts that end, share"),
    ("repetition", "5  bytes / bytes zipped, ratio"),
):
    table.loc[label] = ["", cell(shape[name]) if name in shape else "not measured", ""]
n = summary["top1_agreement"]
print(f"Means with 95 % intervals over {n.n_groups} utterances, {n.n_positions:,} positions; the student's own states.")
table

# %% [markdown]
# *Read:* from the top; a line makes sense only if those above it are in order. Compare a line with its own anchors, not
# with another line. *Do not conclude* accuracy from agreement: two models may agree on the spelling inside a wrong
# word.
#
# ## 4. What VUSS alone hides
#
# VUSS is the mean size of the union, $|U| = |S| + |T| - |I|$. It falls when the sets share more, and it falls just as
# well when they lose tokens. To show it, the same logits once more with a vocabulary map that has lost every third
# token. Nothing has been learned in between.

# %%
complete = vocabulary or overlap.VocabularyMap.identity(student_logits.shape[-1])
kept = torch.stack(complete.shared(), dim=1)[torch.arange(complete.n_shared) % 3 > 0]
widths = {"student_size": student_logits.shape[-1], "teacher_size": teacher_logits.shape[-1]}
poorer = overlap.VocabularyMap.from_pairs(kept, **widths)
hidden = overlap.measure(student_logits, teacher_logits, vocabulary=poorer, **settings).summary(names)
LETTERS = {"S": "student", "T": "teacher", "I": "intersection", "U": "union"}


def parts(found):
    """The sizes that VUSS is made of, in words."""
    sizes = {letter: found[f"{name}_size"] for letter, name in LETTERS.items()}
    row = {
        f"|{letter}|, tokens": f"{item.value:.2f} [{item.low:.2f}, {item.high:.2f}]" for letter, item in sizes.items()
    }
    row["invalid, share of 2k"] = f"{1 - (sizes['S'].value + sizes['T'].value) / (2 * K):.1%}"
    return row | {"n positions / utterances": f"{sizes['U'].n_positions:,} / {sizes['U'].n_groups}"}


pd.DataFrame({"this pair": parts(summary), "with the poorer map": parts(hidden)}).T

# %%
fall = summary["union_size"].value - hidden["union_size"].value
shared = hidden["intersection_size"].value - summary["intersection_size"].value
print(
    f"VUSS {'fell' if fall > 0 else 'rose'} by {abs(fall):.2f} tokens with the poorer map, "
    f"while |I| {'rose' if shared > 0 else 'fell'} by {abs(shared):.2f}."
)
print(
    "Read as overlap, that would be progress without any." if fall > 0 >= shared else "Look at the parts, not at VUSS."
)

# %% [markdown]
# *Read:* $|S|$, $|T|$, $|I|$, $|U|$ and the invalid share together, always. *Do not conclude* from VUSS across pairs
# with different maps, different $k$ or different blocked tokens.
#
# ## 5. Every k, and temperature
#
# One pass ranks the tokens for the largest k, so six sizes cost little more than one.

# %%
ks = [k for k in (1, 2, 4, 8, 16, 32) if k <= student_logits.shape[-1] // 2]
swept = overlap.sweep(
    student_logits, teacher_logits, ks=ks, temperatures=(0.5, 1.0, 2.0), mask=used, vocabulary=vocabulary, **blocked
)
figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
k_sweep(swept, "overlap_ratio", axes[0], groups=names)
k_sweep(swept, "teacher_mass", axes[1], groups=names)
temperature_sweep({s: found for s, found in swept.items() if s[0] == K}, "total_variation", axes[2], groups=names)
plt.show()

# %%
at = {k: swept[k, 1.0].summary(names)["overlap_ratio"] for k in ks}
low, high = min(at, key=lambda k: at[k].value), max(at, key=lambda k: at[k].value)
print(f"Overlap ratio: lowest at k = {low}, {cell(at[low])}, highest at k = {high}, {cell(at[high])}.")
print("With k as large as a shared vocabulary it is 1 for any two models.")

# %% [markdown]
# *Read:* the small k. A pair that agrees on the first few tokens and differs in its tails shares what matters; the mass
# panel says how much probability is at stake. The sets do not depend on the temperature, every probability does. *Do
# not conclude* that overlap grows with k because the models agree: in a small vocabulary large sets must share tokens.
#
# ## 6. Go or wait
#
# The verdict that `distill report` gives after a stage, here of the pair as it is. Each number is compared with a level
# by the conservative bound of its interval. The second table has every level of this project, with the little evidence
# for it.

# %%
found = verdict(StageFacts("as it is", "td", first_step=0, last_step=0, after=summary), Thresholds())
go = found.recommendation is Recommendation.GO
print(found.headline if share >= enough else "Repair first: too few positions could be compared", end="\n\n")
for reason in found.reasons:
    print("•", reason)
evidence = [
    {"number": row.name, "value [95 %]": row.shown, "n": row.counted, "threshold": row.threshold}
    | {"it is": str(row.standing), "why there": row.source}
    for row in found.evidence
]
left = pd.DataFrame(evidence).style.hide(axis="index").set_properties(**{"text-align": "left"})
left.set_table_styles([{"selector": "th", "props": "text-align: left"}])

# %%
READINESS

# %%
if go:
    print("Next: begin on-policy distillation, and keep reading these numbers.")
else:
    print(
        "Next: STATISTICS.md says what to do about the first number that missed; most often it is more training on the"
    )
    print("teacher's transcripts, or one written form for labels and teacher.")

# %% [markdown]
# *Read:* the first number that missed, from the top. *Do not conclude* that a pair below a level must fail, or that one
# above must gain: the evidence beside each level is small, and one of the two studies is synthetic. The verdict asks
# for the level of the question `least`; a cautious gate waits for that of `switch`. Levels are arguments:
# `Thresholds(top1_agreement=…)`.
#
# **Next.** `how_staging_shifts_overlap` follows this pair from here through teacher data to on-policy training,
# `where_the_teacher_disagrees` looks at single tokens, `gates_in_your_trainer` puts gates into your own loop.
