"""`distill.evaluate`: error rates of a model on a manifest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from overlap.arguments import checked_arguments

from ..data.audio import AudioCache
from ..data.batch import AudioSource
from ..data.data_sets import Manifest, Purpose, read_for
from ..data.long_recordings import in_pieces, longest_piece
from ..evaluation.evaluation import Evaluation
from ..evaluation.evaluation import evaluate as evaluate_utterances
from ..normalize import normalizer as find_normalizer
from ..progress.display import observed
from ..progress.observer import Observer
from ..recipe import Decoding
from ..teacher import ServedTeacher
from .arguments import Dtype, Model, PromptFormat, loaded, loading, require_models, require_positive


@checked_arguments
def evaluate(
    model: Model | ServedTeacher,
    manifest: Manifest,
    *,
    normalizer: str = "basic",
    batch_size: int = 16,
    max_new_tokens: int | None = None,
    max_seconds: float = 30.0,
    long: bool = False,
    dtype: Dtype = "float32",
    device: torch.device | str | None = None,
    trust_remote_code: bool = False,
    prompt_format: PromptFormat | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    timestamps: bool = False,
    observer: Observer | None = None,
    quiet: bool = False,
) -> Evaluation:
    """Return the word and character error rate of a model on a manifest, with intervals.

    Args:
        model: The model.
        manifest: Audio, or prompts for a text model, with texts.
        normalizer: Text normalizer applied to both sides; its name and version are part of the result.
        batch_size: Utterances in a batch.
        max_new_tokens: Longest transcript, in tokens; by default from the longest audio.
        max_seconds: Longer utterances are refused.
        long: Cut recordings that are longer than `max_seconds` or a model's window at pauses (extra `long`) and score
            the joined transcripts, instead of refusing them.
        dtype: As for `load_pair`, like the next five.
        device: Device; None uses an accelerator if there is one, else the CPU.
        trust_remote_code: Run Python code of the checkpoint.
        prompt_format: How text models read prompts.
        chat_template_kwargs: More variables of text models' chat templates.
        timestamps: Let Whisper write timestamps; error rates ignore them.
        observer: Is told of progress.
        quiet: Without an observer, show none.

    Raises:
        FileNotFoundError, ManifestError: A manifest or lines that cannot be used; the message says why and what to do.
        ModelError: A model that cannot be loaded.
        UserError: A device that this machine lacks, an unknown normalizer, or a setting out of its range.
    """
    require_models(model=model)
    find_normalizer(normalizer)
    require_positive(batch_size=batch_size, max_seconds=max_seconds)
    decoding = Decoding(max_new_tokens=max_new_tokens)
    how = loading(dtype, device, trust_remote_code, prompt_format, chat_template_kwargs, timestamps)
    data = read_for(Purpose("evaluation"), manifest, max_seconds=math.inf if long else max_seconds)
    recognizer = loaded(model, how)
    with observed(observer, quiet=quiet) as watcher:
        pieces = None
        utterances = data.sets[0]
        if long:
            pieces = in_pieces(
                utterances,
                longest_piece([recognizer], max_seconds),
                progress=lambda done, total: watcher.work("finding pauses", done, total),
            )
            read = replace(data, purposes=(Purpose(),), sets=(pieces.utterances,)).checked_one(recognizer)
            pieces = replace(pieces, utterances=tuple(read))
        else:
            utterances = data.checked_one(recognizer)
        return evaluate_utterances(
            recognizer,
            AudioSource(AudioCache(max_seconds=max_seconds)),
            utterances,
            normalizer=normalizer,
            decoding=decoding,
            batch_size=batch_size,
            progress=lambda done, total: watcher.work("transcribing", done, total),
            checked=not long,
            pieces=pieces,
        )
