"""Converts labels of data sets to plain text that a recognizer can learn and score, without control tokens.

Fine-tuning data of recognizers is often written as the model writes it: `language English<asr_text>call four` for
Qwen3-ASR, `<|startoftranscript|><|en|><|transcribe|><|0.00|> call four<|2.00|>` for Whisper, followed by an end of
text. These forms are removed for every model, and the language that they name is kept for the prompt. Any other control
token is an error in the label. A transcript never contains one: training on it would teach the model a token that it
may not write, and scoring against it would count words that were not said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..normalize.plain import UNSPACED
from .base import Transcriber
from .whisper import TIMESTAMP

CHUNK = 1024
"""Number of labels to encode at once."""

_ENDS = ("<|endoftext|>", "<|im_end|>", "</s>")
_QWEN3_ASR = re.compile(r"\s*(?:language\s+([^<>\n]*?)\s*)?<asr_text>")
_WHISPER = re.compile(
    r"\s*(?:<\|startoftranscript\|>\s*)?(?:<\|([a-z]{2,3})\|>\s*)?(?:<\|transcribe\|>\s*)?(?:<\|notimestamps\|>)?"
)
_MARK = re.compile(r"<\|[^|<>\s]{1,40}\|>|<asr_text>")
_UNSPACED = re.compile(f"[{UNSPACED}]")


@dataclass(frozen=True)
class Label:
    """A label as it was read.

    Attributes:
        text: What is said.
        language: Language named in the label, by name or code; None if it names none.
        removed: Names of the forms that were removed.
        control: Remaining control tokens, as text; such a label cannot be used.
        barred: Number of its tokens that the model never writes because its generation settings suppress them.
    """

    text: str
    language: str | None = None
    removed: tuple[str, ...] = ()
    control: tuple[str, ...] = ()
    barred: int = 0


def read_labels(texts: Sequence[str], recognizer: Transcriber, *, timestamps: bool = False) -> list[Label]:
    """Return labels without known markup, and problems of those that have other control tokens.

    Args:
        texts: Labels as a manifest has them.
        recognizer: The model that learns them or is scored against them.
        timestamps: Keep timestamps that are tokens of the recognizer.

    Returns:
        One label for each text, in order.
    """
    tokenizer, tokens = recognizer.tokenizer, recognizer.tokens
    keep = timestamps and bool(tokens.times)
    labels = [plain(text, timestamps=keep) if recognizer.reads == "audio" else Label(text) for text in texts]
    control = set(tokenizer.added_tokens_decoder) | set(tokenizer.all_special_ids)
    blocked = set(tokens.blocked.nonzero().squeeze(-1).tolist())
    spelled = {tokens.strings[i] for i in tokens.times}
    found = []
    for start in range(0, len(labels), CHUNK):
        chunk = labels[start : start + CHUNK]
        written = recognizer.encode([label.text for label in chunk])
        rows = zip(written.ids.tolist(), written.lengths.tolist(), strict=True)
        for label, (ids, length) in zip(chunk, rows, strict=True):
            marks = _MARK.findall(label.text) if recognizer.reads == "audio" else []
            marks = [mark for mark in marks if not (keep and mark in spelled)]
            unwritable = [i for i in ids[:length] if i in blocked or i == tokens.end_of_text]
            marks += [tokens.strings[i] for i in unwritable if i in control]
            barred = sum(i not in control for i in unwritable)
            found.append(Label(label.text, label.language, label.removed, tuple(dict.fromkeys(marks)), barred))
    return found


def plain(text: str, *, timestamps: bool = False) -> Label:
    """Return a label without the forms of Qwen3-ASR and Whisper.

    Args:
        text: As a manifest has it.
        timestamps: Keep them.

    Examples:
        >>> plain("language English<asr_text>call four")
        Label(text='call four', language='English', removed=('language and <asr_text>',), control=(), barred=0)
        >>> plain("<|en|><|0.00|> call<|1.00|><|1.00|> four<|2.00|><|endoftext|>").text
        'call four'
    """
    removed, language, end = [], None, len(text.rstrip())
    while ending := next((mark for mark in _ENDS if text.endswith(mark, 0, end)), None):
        removed, end = ["an end of text"], len(text[: end - len(ending)].rstrip())
    if removed:
        text = text[:end]
    if found := _QWEN3_ASR.match(text):
        removed.append("language and <asr_text>")
        language, text = found[1], text[found.end() :]
    elif (found := _WHISPER.match(text)) and "<|" in found[0]:
        removed.append("Whisper's beginning")
        language, text = found[1], text[found.end() :]
    if not timestamps and TIMESTAMP.search(text):
        removed.append("timestamps")
        text = _without_timestamps(text)
    named = language if language and language.lower() != "none" else None
    return Label(text.strip() if removed else text, named, tuple(removed))


def _without_timestamps(text: str) -> str:
    """Return the pieces between timestamps, joined with spaces where needed, in scripts that use spaces."""
    joined = ""
    for piece in TIMESTAMP.split(text)[::2]:
        touching = joined and piece and not joined[-1].isspace() and not piece[0].isspace()
        spaced = touching and not _UNSPACED.match(joined[-1]) and not _UNSPACED.match(piece[0])
        joined += " " + piece if spaced else piece
    return joined
