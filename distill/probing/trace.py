"""Traces: a row an utterance, with both models' view of every position, for the utterance browser and for study."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from overlap.errors import UserError
from overlap.vocab.token_bytes import token_bytes

from ..data.manifest import Utterance
from ..models import Transcriber
from ..scoring.local import Comparison
from ..scoring.served import ListedComparison


def trace_rows(
    comparison: Comparison | ListedComparison,
    values: Mapping[str, Tensor],
    utterances: Sequence[Utterance],
    texts: Sequence[str],
    writer: Transcriber,
    states: str,
) -> list[dict[str, Any]]:
    """One row an utterance; per-position columns are lists as long as the transcript.

    RUN_DIRECTORY.md describes the columns; beside them one a statistic of `values`, [batch, length] each. A served
    teacher's log-probabilities are over its whole vocabulary, blocked tokens included, and NaN where it does not list
    the token. `writer` is the student, whose tokens the columns name.
    """
    strings, spelled = writer.tokens.strings, _spelling(writer.tokenizer, writer.tokens.times)
    temperature = comparison.support.temperature
    pair = comparison.pair
    log_p = _log_softmax(comparison.student_logits, pair.blocked, temperature)
    (student, teacher), unions = comparison.sets, comparison.union
    if isinstance(comparison, ListedComparison):
        log_q = comparison.teacher_logprobs_of(unions.ids)
    else:
        whole = _log_softmax(comparison.teacher_logits, pair.teacher_blocked, temperature)
        log_q = whole.gather(-1, pair.teacher_ids(unions.ids))
    rows = []
    for b, utterance in enumerate(utterances):
        keep = comparison.transcripts.mask[b]
        positions = keep.nonzero().squeeze(-1).tolist()
        ids = comparison.transcripts.ids[b][keep].tolist()
        row: dict[str, Any] = {
            "id": utterance.id,
            "states": states,
            "k": comparison.support.k,
            "temperature": temperature,
            "text": texts[b],
            "reference": utterance.text,
            "token_ids": ids,
            "tokens": [strings[i] for i in ids],
            "token_bytes": [spelled(i) for i in ids],
            "used": comparison.used[b][keep].tolist(),
            "finished": bool(comparison.transcripts.finished[b]),
        }
        columns: dict[str, list[list[Any]]] = {
            name: []
            for name in (
                "union_ids",
                "union_tokens",
                "union_bytes",
                "student_logprobs",
                "teacher_logprobs",
                "in_student",
                "in_teacher",
            )
        }
        for t in positions:
            valid = unions.valid[b, t]
            union = unions.ids[b, t][valid]
            columns["union_ids"].append(union.tolist())
            columns["union_tokens"].append([strings[i] for i in union.tolist()])
            columns["union_bytes"].append([spelled(i) for i in union.tolist()])
            columns["student_logprobs"].append(log_p[b, t, union].tolist())
            columns["teacher_logprobs"].append(log_q[b, t, valid].tolist())
            columns["in_student"].append(torch.isin(union, student.ids[b, t][student.valid[b, t]]).tolist())
            columns["in_teacher"].append(torch.isin(union, teacher.ids[b, t][teacher.valid[b, t]]).tolist())
        row |= columns
        row |= {name: tensor[b][keep].double().tolist() for name, tensor in values.items()}
        rows.append(row)
    return rows


@lru_cache(maxsize=4)
def _spelling(tokenizer: Any, times: range) -> Callable[[int], bytes | None]:
    """The bytes of a token id; None of control tokens and points in time.

    Where a tokenizer does not say which bytes its tokens hold, they are those of the text that it decodes one alone to.
    """
    try:
        table = token_bytes(tokenizer, control=times)
    except UserError:
        silent = {*tokenizer.all_special_ids, *times}
        return lambda i: None if i in silent else tokenizer.decode([i]).encode()
    return lambda i: table[i] if i < len(table) else None


def _log_softmax(logits: Tensor, blocked: Tensor, temperature: float) -> Tensor:
    floor = torch.finfo(torch.float32).min
    return torch.log_softmax((logits.detach().float() / temperature).masked_fill(blocked, floor), dim=-1)
