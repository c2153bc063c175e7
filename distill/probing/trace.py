"""Traces: one row per utterance, with both models' view of every position, for the utterance browser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch

from overlap.errors import UserError
from overlap.vocab.token_bytes import token_bytes

from ..data.manifest import Utterance
from ..models import Transcriber
from ..scoring.scores import Scores


def trace_rows(
    scores: Scores,
    utterances: Sequence[Utterance],
    texts: Sequence[str],
    writer: Transcriber,
    states: str,
) -> list[dict[str, Any]]:
    """Return one row per utterance; per-position columns are lists as long as the transcript.

    RUN_DIRECTORY.md describes the columns; there is also one per statistic of `Scores.values`, [batch, length] each. A
    served teacher's log-probabilities are over its full vocabulary, blocked tokens included, and NaN where the server
    did not return them. `writer` is the student, whose tokens the columns name.
    """
    strings, spelled = writer.tokens.strings, spelling(writer.tokenizer, writer.tokens.times)
    (student, teacher), unions, values = scores.sets, scores.union, scores.values()
    log_p, log_q = scores.student_logprobs(unions.ids), scores.teacher_logprobs(unions.ids)
    rows = []
    for b, utterance in enumerate(utterances):
        keep = scores.transcripts.mask[b]
        positions = keep.nonzero().squeeze(-1).tolist()
        ids = scores.transcripts.ids[b][keep].tolist()
        row: dict[str, Any] = {
            "id": utterance.id,
            "states": states,
            "k": scores.support.k,
            "temperature": scores.support.temperature,
            "text": texts[b],
            "reference": utterance.text,
            "token_ids": ids,
            "tokens": [strings[i] for i in ids],
            "token_bytes": [spelled(i) for i in ids],
            "used": scores.used[b][keep].tolist(),
            "finished": bool(scores.transcripts.finished[b]),
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
            columns["student_logprobs"].append(log_p[b, t, valid].tolist())
            columns["teacher_logprobs"].append(log_q[b, t, valid].tolist())
            columns["in_student"].append(torch.isin(union, student.ids[b, t][student.valid[b, t]]).tolist())
            columns["in_teacher"].append(torch.isin(union, teacher.ids[b, t][teacher.valid[b, t]]).tolist())
        row |= columns
        row |= {name: tensor[b][keep].double().tolist() for name, tensor in values.items()}
        rows.append(row)
    return rows


@lru_cache(maxsize=4)
def spelling(tokenizer: Any, times: range) -> Callable[[int], bytes | None]:
    """Return the bytes of a token id; None for control tokens and timestamps.

    If a tokenizer does not give the bytes of its tokens, they are those of the decoded single token.
    """
    try:
        table = token_bytes(tokenizer, control=times)
    except UserError:
        silent = {*tokenizer.all_special_ids, *times}
        return lambda i: None if i in silent else tokenizer.decode([i]).encode()
    return lambda i: table[i] if i < len(table) else None
