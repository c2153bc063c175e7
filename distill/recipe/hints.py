"""Names of settings in other trainers. The error for an unknown key suggests the recipe's own key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from .schema_walk import places
from .section import Section

USUAL: dict[str, tuple[str, ...]] = {
    "student.model": ("model_name_or_path", "model_name", "model_id", "student_model", "pretrained_model"),
    "teacher.model": ("teacher_model_name_or_path", "teacher_model", "teacher_name"),
    "student.dtype": ("torch_dtype",),
    "teacher.quantize": ("quantise", "load_in_8bit", "quantization"),
    "student.lora": ("use_peft", "peft_config", "use_lora"),
    "student.lora.rank": ("lora_r", "r", "lora_rank"),
    "student.lora.alpha": ("lora_alpha",),
    "student.lora.dropout": ("lora_dropout",),
    "student.lora.target_modules": ("lora_target_modules",),
    "support.k": ("top_k", "topk", "vuss_k", "n_top"),
    "audio.max_seconds": ("max_duration", "max_audio_length", "max_length_seconds", "max_audio_seconds"),
    "evaluation.manifest": ("eval_dataset", "eval_manifest", "test_manifest", "validation_manifest", "test_dataset"),
    "evaluation.every": ("eval_steps", "eval_every", "eval_interval"),
    "evaluation.batch_size": ("per_device_eval_batch_size", "eval_batch_size"),
    "evaluation.normalizer": ("normaliser", "text_normalizer"),
    "checkpoint.every": ("save_steps", "save_every", "checkpoint_every", "save_interval"),
    "checkpoint.keep": ("save_total_limit",),
    "tracking.trackers": ("report_to", "loggers", "logger", "log_with"),
    "tracking.project": ("wandb_project", "project_name"),
    "precision": ("bf16", "mixed_precision", "fp16"),
    "seed": ("data_seed", "random_seed"),
    "total_steps": ("max_train_steps", "num_training_steps"),
    "threads": ("num_threads", "n_threads"),
    "stages.*.lr": ("learning_rate", "learning-rate", "base_lr", "max_lr"),
    "stages.*.steps": ("max_steps", "num_steps", "num_train_epochs", "epochs", "max_epochs", "num_epochs"),
    "stages.*.batch_size": ("per_device_train_batch_size", "train_batch_size", "batchsize", "bs"),
    "stages.*.micro_batch_size": ("gradient_accumulation_steps", "accumulate_grad_batches", "accumulation_steps"),
    "stages.*.schedule": ("lr_scheduler_type", "lr_scheduler", "scheduler", "lr_schedule"),
    "stages.*.warmup_steps": ("warmup", "warmup_ratio", "num_warmup_steps"),
    "stages.*.betas": ("adam_beta1", "adam_beta2", "adam_betas", "beta1", "beta2"),
    "stages.*.clip": ("max_grad_norm", "gradient_clipping", "gradient_clip_val", "grad_clip"),
    "stages.*.weight_decay": ("wd", "decay"),
    "stages.*.manifest": ("train_dataset", "dataset", "dataset_name", "train_manifest", "data", "train_file"),
    "stages.*.bucket_batches": ("group_by_length", "length_grouping"),
    "stages.*.objective": ("loss", "loss_type", "kl", "distillation_loss"),
    "stages.*.filters.max_compression": ("max_repetition", "compression_ratio_threshold", "max_compression_ratio"),
    "stages.*.filters.min_logprob": ("logprob_threshold", "min_confidence"),
    "stages.*.off_policy.fraction": ("lmbda", "lambda", "lam"),
    "stages.*.rollout.max_new_tokens": ("max_completion_length", "generation_max_length", "max_tokens"),
    "stages.*.rollout.sample": ("do_sample",),
    "stages.*.teacher_audio": ("teacher_hears",),
}
"""Keys of recipes, and their names in TRL, transformers, NeMo, Lightning, other trainers and earlier versions."""

BOUND = {"student", "teacher", "eval", "test", "validation", "train", "save", "checkpoint", "lora"}
"""Words in a name that say to which table it belongs; other names are looked up in their own table first."""

MOST = 3
"""Most places that an error names."""

ASIDE = {
    "num_train_epochs": "in steps: epochs × utterances / batch_size",
    "epochs": "in steps: epochs × utterances / batch_size",
    "gradient_accumulation_steps": "batch_size is that of the entire step",
    "accumulate_grad_batches": "batch_size is that of the entire step",
    "warmup_ratio": "in steps",
    "bf16": '"bf16" or "no"',
    "fp16": '"bf16" or "no"',
    "lmbda": "off-policy share = 1 − lmbda",
}
"""Notes for settings whose value also has another meaning."""


def usual_key(unknown: str, above: Sequence[str], sections: Sequence[type[Section]]) -> str:
    """Return the key of a setting that another trainer, or another table of the recipe, calls by this name; empty for
    none.

    Args:
        unknown: The key.
        above: Dotted parts before it; indices of arrays are among them.
        sections: What may stand there; what is in these comes first.
    """
    here = "".join(f"{'*' if part.isdigit() else part}." for part in above)
    inside = [place for section in sections for place in places(section, here)]
    renamed = [place for place, names in USUAL.items() if unknown.lower() in names]
    keys = {unknown}
    if above and BOUND.isdisjoint(re.split("[-_]", unknown.lower())):
        keys |= {_key(place) for place in renamed}
    found = [place for place in inside if place in renamed or _key(place) in keys]
    found = found or renamed or [place for place in _all_keys() if _key(place) == unknown]
    if not found:
        return ""
    least = min(place.count(".") for place in found)
    nearest = list(dict.fromkeys(place for place in found if place.count(".") == least))
    written = " or ".join(_numbered(place, above) for place in nearest[:MOST])
    aside = f" ({ASIDE[unknown.lower()]})" if unknown.lower() in ASIDE else ""
    return written + aside


def _key(place: str) -> str:
    return place.rpartition(".")[2]


def _numbered(place: str, above: Sequence[str]) -> str:
    """Return a place with the indices of the tables that the unknown key is in; N where it is in none of them."""
    parts = place.split(".")
    for i, part in enumerate(parts):
        if part == "*":
            parts[i] = above[i] if i < len(above) and parts[:i] == [*above[:i]] else "N"
    return ".".join(parts)


@cache
def _all_keys() -> tuple[str, ...]:
    return tuple(places())
