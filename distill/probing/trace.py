"""Traces: a row an utterance, with both models' view of every position, for the utterance browser and for study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..data.manifest import Utterance
from ..scoring.scores import Scores


def trace_rows(
    scores: Scores,
    utterances: Sequence[Utterance],
    texts: Sequence[str],
    token_strings: Sequence[str],
    states: str,
) -> list[dict[str, Any]]:
    """One row an utterance; per-position columns are lists as long as the transcript.

    Columns: id, states, k, temperature, text, reference, token_ids, tokens, used, finished; `union_ids`,
    `union_tokens`, `student_logprobs` and `teacher_logprobs` (lists of lists: log-probabilities of the union's tokens
    at the stated temperature), `in_student`, `in_teacher` (membership of each in the top-k sets); one column a
    statistic of `Scores.values`. A served teacher's log-probabilities are over its whole vocabulary, blocked tokens
    included, and NaN where the server did not return them.
    """
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
            "tokens": [token_strings[i] for i in ids],
            "used": scores.used[b][keep].tolist(),
            "finished": bool(scores.transcripts.finished[b]),
        }
        columns: dict[str, list[list[Any]]] = {
            name: []
            for name in (
                "union_ids",
                "union_tokens",
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
            columns["union_tokens"].append([token_strings[i] for i in union.tolist()])
            columns["student_logprobs"].append(log_p[b, t, valid].tolist())
            columns["teacher_logprobs"].append(log_q[b, t, valid].tolist())
            columns["in_student"].append(torch.isin(union, student.ids[b, t][student.valid[b, t]]).tolist())
            columns["in_teacher"].append(torch.isin(union, teacher.ids[b, t][teacher.valid[b, t]]).tolist())
        row |= columns
        row |= {name: tensor[b][keep].double().tolist() for name, tensor in values.items()}
        rows.append(row)
    return rows
