"""`distill.load_pair`: load two models to compare their distributions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from overlap.arguments import checked_arguments

from ..recipe import Server
from ..scoring.pair import Pair
from ..teacher import ServedTeacher
from .arguments import Dtype, Model, PromptFormat, loaded, loading, require_models, require_positive, served_teacher


@checked_arguments
def load_pair(
    student: Model,
    teacher: Model | ServedTeacher,
    *,
    k: int = 32,
    dtype: Dtype = "float32",
    device: torch.device | str | None = None,
    teacher_url: str | None = None,
    server: Server | None = None,
    trust_remote_code: bool = False,
    prompt_format: PromptFormat | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    timestamps: bool = False,
) -> Pair:
    """Load two models to compare their distributions.

    Args:
        student: The model that writes.
        teacher: The model that scores; with `teacher_url`, where its tokenizer is.
        k: Size of the supports.
        dtype: Type of the weights, for models that are given by name, like the next; statistics are in float32.
        device: Device, such as "cuda:1"; None uses an accelerator if there is one, else the CPU.
        teacher_url: A server (vLLM, SGLang) that runs the teacher.
        server: Settings of the server's requests.
        trust_remote_code: Run Python code of the checkpoints, as Ark-ASR needs; read it first.
        prompt_format: How text models read prompts; None uses the chat template if there is one.
        chat_template_kwargs: More variables of text models' chat templates.
        timestamps: Let Whisper write timestamps.

    Raises:
        FileNotFoundError: A folder or a model of the demo does not exist.
        ModelError, ServerError: A model that cannot be loaded or reached.
        PairError: They share no token, or k is larger than the tokens that a transcript can hold.
        UserError: A device that this machine lacks, or a setting out of its range.
    """
    require_models(student=student, teacher=teacher)
    require_positive(k=k)
    how = loading(dtype, device, trust_remote_code, prompt_format, chat_template_kwargs, timestamps)
    if teacher_url is None and server in (None, Server()):
        scorer = loaded(teacher, how)
    else:
        scorer = served_teacher(teacher, teacher_url, server, k)
    return Pair.from_models(loaded(student, how), scorer, k)
