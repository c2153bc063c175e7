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
# # Gates in your own trainer
#
# A staged distillation asks twice: may on-policy training begin, and should it continue? A *gate* answers from overlap
# and its interval. Gates and statistics are in the package `overlap`, which knows no trainer. Here they drive two
# trainers of other projects:
#
# 1. a plain PyTorch loop over a pair of speech recognizers: teacher data until the gate opens, then on-policy, with an
#    interruption in between and a collapse that is provoked;
# 2. TRL: `SFTTrainer`, then `DistillationTrainer`, both stopped by one callback.
#
# All data and models are small and embedded, so the numbers speak of this machinery, not of speech. About a minute and
# a half on one CPU core. Needs the extra `notebooks` (`pip install '.[notebooks]'`), which brings TRL; part 1 does
# without.

# %%
import json
import random
import tempfile
import warnings
from pathlib import Path

import pandas as pd
import torch
from tqdm.auto import tqdm

import overlap
from overlap import Action, AnyOf, Collapse, OverlapMeter, Threshold, measure
from overlap.gates import READINESS

torch.set_num_threads(1)
folder = Path(tempfile.mkdtemp())  # checkpoints

# %% [markdown]
# ## 1. A plain PyTorch loop
#
# The pair is the demo's: a student of 0.17 million parameters that writes `CALL 351`, a teacher of 1.1 million that
# writes `call three five one`. The loop needs four things of a model, which yours has under some name: `rollout`
# (transcribe), `encode` (text to tokens), `score` (logits at given tokens), `decode`.

# %%
import distill
from distill.data.audio import AudioCache
from distill.data.batch import AudioSource

K = 8
pair = distill.load_pair("demo:student", "demo:teacher", k=K)
student, teacher = pair.student, pair.teacher
source = AudioSource(AudioCache(max_seconds=30))
pool = distill.read_manifest("demo:corpus/pool.jsonl")[:240]  # audio without text
held_out = distill.read_manifest("demo:corpus/probe.jsonl")  # other voices and sentences

# The teacher transcribes the pool once: the teacher data (TD).
teacher_texts = {}
for batch in source.batches(sorted(pool, key=lambda u: u.end_time - u.begin_time), 40):
    texts = teacher.decode(teacher.rollout(batch.prompt(teacher), max_new_tokens=48))
    teacher_texts |= {utterance.id: text for utterance, text in zip(batch.utterances, texts, strict=True)}
print(f"{len(teacher_texts)} transcripts by the teacher, such as {teacher_texts[pool[0].id]!r}")

# %% [markdown]
# ### The reading
#
# Every so many steps the student transcribes the held-out set, both models score what it wrote, and an `OverlapMeter`
# adds up the batches. It keeps sums by utterance, so the interval resamples utterances and not tokens. What the meter
# cannot know, the shape of the transcripts, comes from `sequence_estimates`: a student that repeats itself may agree
# with its teacher perfectly.


# %%
@torch.no_grad()
def reading() -> overlap.OverlapSummary:
    meter, written = OverlapMeter(k=K, states="student"), {"texts": [], "n_tokens": [], "finished": []}
    for batch in source.batches(held_out, 40):
        rollout = student.rollout(batch.prompt(student), max_new_tokens=48)
        logits = [model.score(batch.prompt(model), rollout) for model in (student, teacher)]
        statistics = measure(*logits, k=K, mask=rollout.mask, tokens=rollout.ids, blocked=student.tokens.blocked)
        meter.update(statistics)
        written["texts"] += student.decode(rollout)
        written["n_tokens"] += rollout.lengths.tolist()
        written["finished"] += rollout.finished.tolist()
    return meter.compute().extended(overlap.sequence_estimates(**written))


SHOWN = ("union_size", "intersection_size", "top1_agreement", "student_mass", "total_variation", "repetition")


def chosen(summary, names=SHOWN):
    return overlap.OverlapSummary(
        {name: summary[name] for name in names}, k=summary.k, temperature=summary.temperature, states=summary.states
    )


chosen(reading())

# %% [markdown]
# *Read:* `top-1 agreement` and `student mass` (the student's probability of the tokens in the teacher's support, k = 8)
# before any training. *Do not conclude* that the student is bad: it writes another form, and form affects overlap
# before words do.
#
# ### The gates
#
# `Threshold` opens when the *conservative bound* of the 95 % interval reaches its level. `patience=2` asks for two
# readings in a row. `Collapse` only guards: it never opens a stage, it ends one. `AnyOf` lets each of its members act.

# %%
AGREEMENT = READINESS.level("top1_agreement", "least")
LOOPS, LEAST_MASS = (READINESS.level(name, "collapse") for name in ("repetition", "student_mass"))


def gates() -> list[overlap.Gate]:
    guard = {"repetition": (None, LOOPS), "empty": (None, 0.5), "student_mass": (LEAST_MASS, None)}
    return [
        Threshold("top1_agreement", at_least=AGREEMENT, patience=2),
        AnyOf(Threshold("total_variation", at_most=0.3), Collapse(guard)),
    ]


STAGES = ("teacher data", "on-policy")
EVERY, LAST_STEP = 20, 300  # steps between readings, and the budget if no gate ever opens
gates()

# %% [markdown]
# ### The loop
#
# The two losses are the ones of the two stages: cross-entropy on the teacher's text, and the forward KL on the union of
# both supports at the positions of the student's rollouts, with the mass outside as one more token. The
# lines about gates are marked. The gate's state goes into the checkpoint with the weights: a streak of readings must
# survive an interruption.


# %%
def teacher_data_loss(batch):
    target = student.encode([teacher_texts[utterance.id] for utterance in batch.utterances])
    logits = student.score(batch.prompt(student), target)
    return torch.nn.functional.cross_entropy(logits[target.mask], target.ids[target.mask])


def on_policy_loss(batch):
    rollout, blocked = student.rollout(batch.prompt(student), max_new_tokens=48), student.tokens.blocked
    student_logits = student.score(batch.prompt(student), rollout)[rollout.mask]
    with torch.no_grad():
        teacher_logits = teacher.score(batch.prompt(teacher), rollout)[rollout.mask]
    both = overlap.union(
        *(overlap.top_k(logits.detach(), K, blocked=blocked) for logits in (student_logits, teacher_logits))
    )
    log_p, log_q = (
        overlap.set_logprobs(logits, both.ids, both.valid, tail=True, admissible=~blocked)
        for logits in (student_logits, teacher_logits)
    )
    counted = torch.cat([both.valid, torch.ones(len(both.valid), 1, dtype=torch.bool)], -1)
    return overlap.set_divergence(log_p, log_q, counted).mean()


LOSSES = (teacher_data_loss, on_policy_loss)


def train(checkpoint: Path, *, last_step: int = LAST_STEP, lr: float = 1.5e-3) -> list[dict]:
    """Go on from the checkpoint if there is one; returns all decisions."""
    optimizer = torch.optim.AdamW(student.model.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0)
    stage, step, began, log, mine = 0, 0, 0, [], gates()
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        stage, step, began, log = saved["stage"], saved["step"], saved["began"], saved["log"]
        student.generator.load_state_dict(saved["weights"])
        optimizer.load_state_dict(saved["optimizer"])
        for gate, state in zip(mine, saved["gates"], strict=True):
            gate.load_state_dict(state)  # <- refuses the state of another gate
    with tqdm(total=last_step, initial=step, unit="step") as bar:
        while stage < len(STAGES) and step < last_step:
            bar.set_description(STAGES[stage])
            batch = source.batch(random.Random(step).sample(pool, 16))
            loss = LOSSES[stage](batch)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(student.model.parameters(), 1.0)
            optimizer.param_groups[0]["lr"] = lr * min(1.0, (step + 1) / 30)
            optimizer.step()
            step += 1
            bar.update()
            if step % EVERY == 0:
                decision = mine[stage].read(reading(), step - began)  # <- the gate reads
                log.append({"step": step, "stage": STAGES[stage], "says": str(decision.action), "why": decision.reason})
                if decision.action is Action.advance:  # <- and the loop obeys
                    stage, began = stage + 1, step
                elif decision.action in (Action.fall_back, Action.abort):
                    break
                saved = {"stage": stage, "step": step, "began": began, "log": log}
                saved |= {"weights": student.generator.state_dict(), "optimizer": optimizer.state_dict()}
                torch.save(saved | {"gates": [gate.state_dict() for gate in mine]}, checkpoint)  # <- its state is kept
    return log


def table(log):
    left = pd.DataFrame(log).style.hide(axis="index").set_properties(**{"text-align": "left"})
    return left.set_table_styles([{"selector": "th", "props": "text-align: left"}])


# %% [markdown]
# To show that a streak survives, the loop runs in pieces of `EVERY` steps until the gate has counted its first good
# reading, and then as if the machine had gone down and come back: a new optimizer, new gates, everything from the file.

# %%
checkpoint, step = folder / "loop.pt", 0
while step < LAST_STEP:
    step += EVERY
    log = train(checkpoint, last_step=step)
    streak = torch.load(checkpoint)["gates"][0]["state"]["streak"]
    if streak:
        break
print(f"Interrupted at step {step}; the saved gate holds a streak of {streak} of {gates()[0].patience} readings.")

# %%
log = train(checkpoint)
table(log)

# %%
switch = next((row for row in log if row["says"] == "advance" and row["stage"] == STAGES[0]), None)
if switch is None:
    print(f"The gate stayed shut for all {LAST_STEP} steps; the last reading: {log[-1]['why']}.")
else:
    late = "one reading after the interruption: the streak was kept" if switch["step"] == step + EVERY else "later"
    print(f"On-policy training began at step {switch['step']}, {late}.")
    print(f"It ended at step {log[-1]['step']}: {log[-1]['says']}, for {log[-1]['why']}.")
chosen(reading())

# %% [markdown]
# *Read:* in the table, which bound of which interval decided, and over how many utterances. In the last table, what
# moved since the first: $|I|$, the agreement and the mass beside VUSS (`union_size`). *Do not conclude* that this level
# fits your pair. It is the least in `READINESS`, which keeps the notebook short; the demo waits for
# `READINESS.level("top1_agreement")`. And do not read success from overlap alone: evaluate the error rate as well.
#
# ### A collapse
#
# On-policy training feeds on what the student writes, so a bad step makes the next batch worse. Here a learning rate
# that is far too high does the damage, and `Collapse` aborts before the steps are used up. What to do then is for the
# loop to decide: this one returns to the weights before the damage.

# %%
before = {name: weight.clone() for name, weight in student.generator.state_dict().items()}
optimizer = torch.optim.AdamW(student.model.parameters(), lr=0.1)
guard = gates()[1]
for damage in tqdm(range(1, 21), desc="on-policy, lr 0.1", unit="step"):
    loss = on_policy_loss(source.batch(random.Random(damage).sample(pool, 16)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if damage % 5 == 0:
        decision = guard.read(reading(), damage)
        if decision.action is not Action.stay:
            break
print(f"After {damage} steps the gate says {decision.action}: {decision.reason}.")
if decision.action is Action.fall_back:
    student.generator.load_state_dict(before)
    print("The weights from before are back.")

# %% [markdown]
# ## 2. TRL
#
# TRL's trainers take text models and have their own loop, so the gate comes in as a callback of `transformers`. The
# same class drives any `Trainer`. It reads every so many steps, stops the training when the gate says so, and keeps the
# gate's state beside the checkpoints that the trainer writes.
#
# The task is small and real: write a label of the demo's corpus (`CALL 351`) in words (`call three five one`). Both
# models are `Qwen3ForCausalLM` over the demo's tokenizer, made here.

# %%
from transformers import AutoTokenizer, PrinterCallback, Qwen3Config, Qwen3ForCausalLM, TrainerCallback

from distill.locations import packaged

tokenizer = AutoTokenizer.from_pretrained(packaged("teacher"), padding_side="left")
labels, words = (distill.read_manifest(f"demo:corpus/{name}.jsonl") for name in ("base", "base_matched"))
pairs = sorted({(label.text + "\n", word.text) for label, word in zip(labels, words, strict=True)})
random.Random(0).shuffle(pairs)
held_out_pairs, pairs = pairs[:100], pairs[100:]


def text_model(width: int, seed: int) -> Qwen3ForCausalLM:
    torch.manual_seed(seed)
    heads = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": width // 4}
    sizes = {"vocab_size": len(tokenizer), "hidden_size": width, "intermediate_size": 2 * width, **heads}
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    return Qwen3ForCausalLM(Qwen3Config(**sizes, **ends, max_position_embeddings=64, tie_word_embeddings=False))


speller, pupil = text_model(64, seed=0), text_model(32, seed=1)
print(f"{len(pairs)} pairs to learn from, such as {pairs[0]}; {len(held_out_pairs)} held out")
for name, model in (("teacher", speller), ("student", pupil)):
    print(f"{name}: {model.num_parameters():,} parameters")

# %% [markdown]
# ### The reading and the callback
#
# `written` generates greedily and `reading_of_texts` scores what the student wrote with both models: `transformers` and
# `measure`, nothing else.


# %%
@torch.no_grad()
def written(model, prompts: list[str], longest: int = 32) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Prompts and completions in one tensor of ids, a mask of the completions' tokens, and where they begin."""
    model.eval()
    inputs = tokenizer(prompts, return_tensors="pt", padding=True)
    ids = model.generate(**inputs, max_new_tokens=longest, do_sample=False)
    start = inputs["input_ids"].shape[1]
    ended = (ids[:, start:] == tokenizer.eos_token_id).cumsum(-1) - (ids[:, start:] == tokenizer.eos_token_id).long()
    return ids, ended == 0, start


@torch.no_grad()
def reading_of_texts(model, prompts: list[str]) -> overlap.OverlapSummary:
    was_training = model.training
    ids, mask, start = written(model, prompts)
    seen = (ids != tokenizer.pad_token_id).long()
    places = {"attention_mask": seen, "position_ids": (seen.cumsum(-1) - 1).clamp_min(0)}
    logits = [one(input_ids=ids, **places).logits[:, start - 1 : -1] for one in (model, speller)]
    model.train(was_training)
    statistics = measure(*logits, k=K, mask=mask, tokens=ids[:, start:], blocked=[tokenizer.pad_token_id])
    texts = tokenizer.batch_decode(ids[:, start:], skip_special_tokens=True)
    ends = (ids[:, start:] == tokenizer.eos_token_id).any(-1)
    lengths = (mask.sum(-1) - ends.long()).tolist()
    shape = overlap.sequence_estimates(texts=texts, n_tokens=lengths, finished=ends.tolist())
    return statistics.summary(states="student").extended(shape)


class GateCallback(TrainerCallback):
    """Lets a gate stop a Trainer."""

    def __init__(self, gate: overlap.Gate, read, every: int) -> None:
        self.gate, self.read, self.every, self.log = gate, read, every, []

    def on_train_begin(self, args, state, control, **_):
        saved = Path(args.output_dir) / f"checkpoint-{state.global_step}" / "gate.json"
        if saved.exists():  # the trainer resumes from that checkpoint
            self.gate.load_state_dict(json.loads(saved.read_text()))
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, unit="step", desc=Path(args.output_dir).name)

    def on_step_end(self, args, state, control, model=None, **_):
        self.bar.update()
        if state.global_step % self.every == 0:
            decision = self.gate.read(self.read(model), state.global_step)
            self.log.append({"step": state.global_step, "says": str(decision.action), "why": decision.reason})
            if decision.action is not Action.stay:
                control.should_training_stop = control.should_save = True

    def on_save(self, args, state, control, **_):
        saved = Path(args.output_dir) / f"checkpoint-{state.global_step}" / "gate.json"
        saved.write_text(json.dumps(self.gate.state_dict()))

    def on_train_end(self, args, state, control, **_):
        self.bar.close()


# %% [markdown]
# ### The teacher, then the student's warm-up
#
# The teacher learns the task from the references and then writes the student's data. The student's warm-up ends when
# the gate says so, not when its 300 steps are spent; it is interrupted once, to see the gate's streak come back from
# the checkpoint.

# %%
from datasets import Dataset, disable_progress_bars
from transformers.utils import logging
from trl import DistillationConfig, DistillationTrainer, SFTConfig, SFTTrainer

warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # of an argument that TRL sets
disable_progress_bars()
logging.disable_progress_bar()

COMMON = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": "none",
    "disable_tqdm": True,
    "logging_strategy": "no",
    "save_strategy": "no",  # the gate asks for a checkpoint where it stops
    "per_device_train_batch_size": 64,
    "lr_scheduler_type": "constant_with_warmup",
    "warmup_steps": 20,
}


def supervised(model, rows, name: str, steps: int, lr: float, *callbacks, resume: bool = False) -> None:
    saves = {"save_strategy": "steps", "save_steps": 20, "save_total_limit": 1} if callbacks else {}
    arguments = SFTConfig(output_dir=str(folder / name), max_steps=steps, learning_rate=lr, **COMMON | saves)
    data = Dataset.from_list([{"prompt": prompt, "completion": completion} for prompt, completion in rows])
    trainer = SFTTrainer(model, arguments, train_dataset=data, processing_class=tokenizer, callbacks=list(callbacks))
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=resume)


supervised(speller, pairs, "teacher", 140, 4e-3)
prompts = [prompt for prompt, _ in pairs]
ids, mask, start = written(speller, prompts)
lessons = list(zip(prompts, tokenizer.batch_decode(ids[:, start:], skip_special_tokens=True), strict=True))
right = sum(lesson == pair for lesson, pair in zip(lessons, pairs, strict=True))
print(f"The teacher wrote {right} of {len(pairs)} as the reference has them; such as {lessons[0]}")


# %%
def read(model):
    return reading_of_texts(model, [prompt for prompt, _ in held_out_pairs])


def opening():
    return Threshold("top1_agreement", at_least=AGREEMENT, patience=2)


interrupted = GateCallback(opening(), read, every=20)
supervised(pupil, lessons, "warm-up", 40, 4e-3, interrupted)  # as if the machine had gone down at step 40
warm_up = GateCallback(opening(), read, every=20)
supervised(pupil, lessons, "warm-up", 300, 4e-3, warm_up, resume=True)  # the trainer's state and the gate's come back
print(f"Interrupted with a streak of {interrupted.gate.streak} of {warm_up.gate.patience} readings, then resumed.")
table(interrupted.log + warm_up.log)

# %% [markdown]
# ### On-policy, by TRL's DistillationTrainer
#
# `beta=0` is the forward KL over the full vocabulary on sampled completions. The gate ends it when the entire interval
# of the total variation lies below 0.2, and guards against collapse.

# %%
on_policy = GateCallback(
    AnyOf(
        Threshold("total_variation", at_most=0.2),
        Collapse({"repetition": (None, LOOPS), "student_mass": (LEAST_MASS, None)}),
    ),
    read,
    every=20,
)
arguments = DistillationConfig(
    output_dir=str(folder / "on-policy"),
    max_steps=200,
    learning_rate=3e-3,
    beta=0.0,
    max_completion_length=32,
    **COMMON,
)
trainer = DistillationTrainer(
    pupil,
    speller,
    arguments,
    train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts]),
    processing_class=tokenizer,
    callbacks=[on_policy],
)
trainer.remove_callback(PrinterCallback)
trainer.train()
table(on_policy.log)

# %%
for name, callback, budget in (("warm-up", warm_up, 300), ("on-policy", on_policy, 200)):
    last = callback.log[-1]
    how = "its budget was spent and the gate said stay" if last["says"] == "stay" else f"the gate said {last['says']}"
    print(f"{name}: ended at step {last['step']} of {budget}, {how}: {last['why']}.")
saved = json.loads((folder / "on-policy" / f"checkpoint-{on_policy.log[-1]['step']}" / "gate.json").read_text())
print("In its checkpoint:", json.dumps(saved)[:120], "…")
try:
    opening().load_state_dict(saved)
except ValueError as refusal:
    print("Given to the warm-up's gate:", str(refusal)[:120], "…")

# %% [markdown]
# *Read:* both trainers ended where their gate said so, or said that they did not. *Do not conclude* from the number of
# steps that one stage is cheaper: an on-policy step generates first.
#
# **To take away.** A gate needs a mapping from names to estimates and the number of steps done in the stage. Where they
# come from is yours: `measure(…).summary()`, `OverlapMeter`, `measure_hidden`, or numbers of your own as
# `overlap.Estimate`. Decide on the interval, keep the state in the checkpoint, keep the reason in the log.
