"""One distillation of a text-only pair by this trainer and by TRL's two, on the same batches from the same weights.

Whose tokens a step is taken on (the states) is *given*, the manifest's completions, or *written*: the student's own
greedy completions. Conventions:

* divergence: TRL's beta = 0 is our `forward_kl`, 1 our `reverse_kl`; in between it is our `jensen_shannon` with the
  same beta (beta weighs the teacher, in the mixture and in front of its term, in both);
* loss: mean over completion tokens, the end of text among them, in both;
* given states: `off_policy = { fraction = 1, states = "reference" }` here, `lmbda = 0` in GKDTrainer.
  DistillationTrainer is always on-policy; it is handed the completions where it would generate them.

Both pad prompts on the left and completions on the right. The tokenizer has no token that is blocked here, or the
whole vocabulary would not be the same one. All of TRL's defaults that make a step another or a slower one are off:
gradient checkpointing, bfloat16, weight decay, dropout, learning-rate decay, the fused optimizer.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM, TrainerCallback
from transformers.trainer_callback import PrinterCallback
from trl import DistillationConfig, DistillationTrainer
from trl.experimental.gkd import GKDConfig, GKDTrainer

from distill import Observer, Utterance, read_manifest, train, write_manifest
from distill.recipe import Recipe
from distill.training.stage_data import stage_sampler
from tests.distill.small_models import byte_level_tokenizer

States = Literal["given", "written"]
BETAS = {"forward_kl": 0.0, "reverse_kl": 1.0, "jensen_shannon": 0.5}
ALPHABET = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Comparison:
    """What is trained, the same for all trainers."""

    teacher: Path
    student: Path
    manifest: Path
    steps: int
    batch_size: int
    divergence: str = "forward_kl"
    beta: float = 0.5
    states: States = "given"
    max_new_tokens: int = 32
    lr: float = 1e-4

    @property
    def trl_beta(self) -> float:
        """The divergence by TRL's name."""
        return self.beta if self.divergence == "jensen_shannon" else BETAS[self.divergence]


@dataclass(frozen=True)
class Course:
    """Loss of every step in nats a token, and when each step ended.

    Attributes:
        losses: A step each.
        ends: Wall clock and processor time of this process, in seconds, a pair a step.
    """

    losses: list[float] = field(default_factory=list)
    ends: list[tuple[float, float]] = field(default_factory=list)

    @property
    def step_seconds(self) -> np.ndarray:
        """[steps - 1, 2] from the end of a step to the end of the next; the first step warms up and does not count."""
        return np.diff(np.array(self.ends), axis=0)

    def step_ended(self) -> None:
        """Take the time."""
        self.ends.append((time.perf_counter(), time.process_time()))


def save_pair(
    folder: Path, *, vocabulary: int, hidden: int, layers: tuple[int, int], spread: float = 4.0
) -> tuple[Path, Path]:
    """Teacher and student: a random model of `layers[0]` layers, and a copy of it with the first `layers[1]` alone.

    Logits have the standard deviation `spread`: at 4 and 32,768 tokens their entropy is about that of a language model.
    """
    pairs = [(a, b) for a in ALPHABET for b in ALPHABET]
    words = [a + b for a, b in pairs]
    quadruples = [(a, b) for a in words for b in words][: max(0, vocabulary - 257 - len(pairs))]
    merges = (pairs + quadruples)[: vocabulary - 257]
    tokenizer = byte_level_tokenizer([], merges, eos_token="<|endoftext|>")
    assert len(tokenizer) == vocabulary
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=layers[0],
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        initializer_range=0.2,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    torch.manual_seed(0)
    teacher = Qwen2ForCausalLM(config)
    torch.nn.init.normal_(teacher.lm_head.weight, std=spread / hidden**0.5)
    torch.nn.init.normal_(teacher.model.embed_tokens.weight, std=1.0)
    student = Qwen2ForCausalLM(Qwen2Config(**config.to_dict() | {"num_hidden_layers": layers[1], "layer_types": None}))
    student.load_state_dict(teacher.state_dict(), strict=False)
    paths = folder / "teacher", folder / "student"
    for path, model in zip(paths, (teacher, student), strict=True):
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
    return paths


def save_manifest(path: Path, utterances: int, *, prompt: int, completion: int, seed: int = 0) -> Path:
    """Prompts and completions of random letters, two for each of `prompt` and `completion` tokens or half of them."""
    generator = np.random.default_rng(seed)

    def text(tokens: int) -> str:
        return "".join(generator.choice(list(ALPHABET), 2 * int(generator.integers(tokens // 2, tokens + 1))))

    write_manifest(path, [Utterance(id=f"u{i}", prompt=text(prompt), text=text(completion)) for i in range(utterances)])
    return path


def ours(comparison: Comparison, output: Path) -> Course:
    """`distill.train`: one stage, no probe, no evaluation, a row of metrics with every overlap statistic a step."""
    watch = _Watch()
    train(recipe(comparison), output, observer=watch)
    return watch.course


def recipe(comparison: Comparison) -> Recipe:
    """The comparison as a recipe."""
    stage = {
        "name": "opd",
        "type": "opd",
        "manifest": str(comparison.manifest),
        "steps": comparison.steps,
        "batch_size": comparison.batch_size,
        "lr": comparison.lr,
        "schedule": "constant",
        "rollout": {"max_new_tokens": comparison.max_new_tokens},
        "objective": {"type": "divergence", "support": "vocabulary", "divergence": comparison.divergence}
        | {"beta": comparison.beta},
    }
    if comparison.states == "given":
        stage["off_policy"] = {"fraction": 1.0, "states": "reference"}
    models = {"student": {"model": str(comparison.student)}, "teacher": {"model": str(comparison.teacher)}}
    return Recipe.model_validate(models | {"stages": [stage]})


def trl_distillation(comparison: Comparison, output: Path) -> Course:
    """`trl.DistillationTrainer`, its stable trainer."""
    batches, tokenizer = _batches(comparison), _tokenizer(comparison)
    config = DistillationConfig(
        **_arguments(comparison, output),
        beta=comparison.trl_beta,
        shuffle_dataset=False,
        max_completion_length=comparison.max_new_tokens,
        generation_kwargs={"do_sample": False, "temperature": None, "top_p": None, "top_k": None},
    )
    trainer = _Given if comparison.states == "given" else DistillationTrainer
    made = trainer(
        model=_model(comparison.student),
        teacher_model=_model(comparison.teacher),
        args=config,
        train_dataset=Dataset.from_list([{"prompt": u.prompt} for u in batches]),
        processing_class=tokenizer,
    )
    if isinstance(made, _Given):
        ids = (_ids(tokenizer, u.prompt, u.text) for u in batches)
        made.given = {tuple(prompt): completion for prompt, completion in ids}
    return _course(made)


class _Given(DistillationTrainer):
    """DistillationTrainer whose completions are given."""

    given: dict[tuple[int, ...], list[int]]

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, has_tool_images=False):
        return [self.given[tuple(ids)] for ids in prompt_ids]


def trl_gkd(comparison: Comparison, output: Path) -> Course:
    """`trl.experimental.gkd.GKDTrainer` on given states."""
    assert comparison.states == "given"
    tokenizer = _tokenizer(comparison)
    config = GKDConfig(
        **_arguments(comparison, output),
        beta=comparison.trl_beta,
        lmbda=0.0,
        max_length=None,
        train_sampling_strategy="sequential",
    )
    rows = [
        dict(zip(("prompt", "completion"), _ids(tokenizer, u.prompt, u.text), strict=True))
        for u in _batches(comparison)
    ]
    trainer = GKDTrainer(
        model=_model(comparison.student),
        teacher_model=_model(comparison.teacher),
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        data_collator=lambda batch: _padded(batch, tokenizer.eos_token_id),
    )
    return _course(trainer)


def _padded(batch: list[dict[str, list[int]]], end: int) -> dict[str, torch.Tensor]:
    """Prompts padded on the left, completions on the right."""
    widths = [max(len(row[name]) for row in batch) for name in ("prompt", "completion")]
    ids, mask, labels = [], [], []
    for row in batch:
        left, right = widths[0] - len(row["prompt"]), widths[1] - len(row["completion"])
        ids.append([end] * left + row["prompt"] + row["completion"] + [end] * right)
        mask.append([0] * left + [1] * (len(row["prompt"]) + len(row["completion"])) + [0] * right)
        labels.append([-100] * widths[0] + row["completion"] + [-100] * right)
    return {n: torch.tensor(v) for n, v in (("input_ids", ids), ("attention_mask", mask), ("labels", labels))}


def _batches(comparison: Comparison) -> list[Utterance]:
    """The manifest in the order in which our sampler visits it, batch after batch."""
    settings, utterances = recipe(comparison), read_manifest(comparison.manifest)
    sampler = stage_sampler(settings.stages[0], utterances, (settings.seed, 0, 0))
    return [utterances[i] for step in range(comparison.steps) for i in sampler.batch(step)]


def _ids(tokenizer: Any, prompt: str, completion: str) -> tuple[list[int], list[int]]:
    return tokenizer(prompt)["input_ids"], [*tokenizer(completion)["input_ids"], tokenizer.eos_token_id]


def _tokenizer(comparison: Comparison) -> Any:
    return AutoTokenizer.from_pretrained(comparison.student, padding_side="left")


def _model(path: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)


def _arguments(comparison: Comparison, output: Path) -> dict[str, Any]:
    return {
        "output_dir": str(output),
        "max_steps": comparison.steps,
        "per_device_train_batch_size": comparison.batch_size,
        "learning_rate": comparison.lr,
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch",
        "adam_beta1": 0.9,
        "adam_beta2": 0.95,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": True,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def _course(trainer: Any) -> Course:
    watch = _Callback()
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(watch)
    trainer.train()
    return watch.course


class _Watch(Observer):
    def __init__(self) -> None:
        self.course = Course()

    def step(self, row) -> None:
        self.course.step_ended()
        self.course.losses.append(row["loss"])


class _Callback(TrainerCallback):
    def __init__(self) -> None:
        self.course = Course()

    def on_step_end(self, args, state, control, **_) -> None:
        self.course.step_ended()

    def on_log(self, args, state, control, logs=None, **_) -> None:
        if logs and "loss" in logs:
            self.course.losses.append(logs["loss"])
