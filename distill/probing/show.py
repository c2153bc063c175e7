"""Both models' views of one utterance side by side, to find wrong prompts or tokenizers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from overlap.estimates.table_formatting import text_table
from overlap.vocab.alignment import Alignment

from ..data.batch import AudioSource, Batch
from ..data.manifest import Utterance
from ..limits import with_token_limit
from ..recipe import Decoding, SupportSettings
from ..scoring.local import LogitsScores
from ..scoring.pair import Pair
from ..scoring.scores import Scores, score
from .probe import write_transcripts

COLUMNS = {
    "position": "position",
    "student_token": "student",
    "teacher_token": "teacher",
    "bin": "bin",
    "student_probability": "p student",
    "teacher_probability": "p teacher",
    "student_best": "student's best",
    "teacher_best": "teacher's best",
}
"""Fields of a position, and their headings."""


@dataclass(frozen=True)
class View:
    """One utterance as both models read it.

    Attributes:
        utterance: Its id.
        prompts: The student's and the teacher's prompt, markers written out.
        text: The transcript.
        rows: One for each position, by `COLUMNS`: the token of each side, the funnel's bin, both probabilities of the
            student's token, and the most likely token of each model. The teacher's side is empty if it has no token
            boundary there.
    """

    utterance: Utterance
    prompts: tuple[str, str]
    text: str
    rows: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a tree that JSON can hold."""
        prompts = dict(zip(("student_prompt", "teacher_prompt"), self.prompts, strict=True))
        return {"id": self.utterance.id, "reference": self.utterance.text, "text": self.text, **prompts} | {
            "positions": list(self.rows)
        }

    def __str__(self) -> str:
        def cell(value: Any) -> str:
            return "–" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)

        head = [
            f"utterance  {self.utterance.id}",
            f"reference  {'–' if self.utterance.text is None else self.utterance.text}",
            f"text       {self.text}",
            f"student's prompt  {self.prompts[0]!r}",
            f"teacher's prompt  {self.prompts[1]!r}",
        ]
        body = [[cell(row[name]) for name in COLUMNS] for row in self.rows]
        return "\n".join([*head, "", text_table(list(COLUMNS.values()), body, left=(1, 2, 3, 6, 7))])


def show(
    pair: Pair,
    source: AudioSource,
    utterance: Utterance,
    support: SupportSettings,
    decoding: Decoding,
    *,
    states: str = "student",
) -> View:
    """Score one transcript with both models.

    Args:
        pair: The two recognizers.
        source: Reads the audio.
        utterance: The utterance; `reference` states need its text.
        support: k and temperature.
        decoding: How the transcript is written.
        states: Whose transcript: the student's, the teacher's, or the reference.
    """
    batch = source.batch([utterance])
    transcripts = write_transcripts(pair, batch, states, with_token_limit(decoding, batch.utterances))
    scores = score(LogitsScores, pair, batch, transcripts, support)
    view = pair.view(transcripts)
    statistics = scores.statistics()
    best = scores.student_logits[0].masked_fill(pair.blocked, -torch.inf).argmax(-1).tolist()
    teacher_best = scores.teacher_logits[0].masked_fill(pair.teacher_blocked, -torch.inf).argmax(-1).tolist()
    rows = []
    for t in range(int(transcripts.mask[0].sum())):
        there = view.alignment is None or bool(view.alignment.comparable[0, t])
        at = t if view.alignment is None else int(view.alignment.teacher_index[0, t])
        used = bool(scores.used[0, t])
        rows.append(
            {
                "position": t,
                "student_token": pair.student.tokens.strings[int(transcripts.ids[0, t])],
                "teacher_token": pair.teacher.tokens.strings[int(view.transcripts.ids[0, at])] if there else None,
                "bin": _bin(scores, view.alignment, t),
                "student_probability": _probability(statistics["student_logprob"][0, t]) if used else None,
                "teacher_probability": _probability(statistics["teacher_logprob"][0, t]) if used else None,
                "student_best": pair.student.tokens.strings[best[t]],
                "teacher_best": pair.teacher.tokens.strings[teacher_best[t]] if there else None,
            }
        )
    return View(utterance, prompts_of(pair, batch), pair.student.decode(transcripts)[0], tuple(rows))


def prompts_of(pair: Pair, batch: Batch) -> tuple[str, str]:
    """Return the student's and the teacher's prompt of a batch's first utterance, markers written out.

    Raises:
        ModelError: A prompt that cannot be made.
    """
    student, teacher = (model.prompt_text(batch.prompt(model), 0) for model in (pair.student, pair.teacher))
    return student, teacher


def _bin(scores: Scores, alignment: Alignment | None, position: int) -> str:
    """Return the funnel's bin of a position, in its order."""
    if scores.used[0, position]:
        return "used"
    if scores.pair.blocked[scores.transcripts.ids[0, position]]:
        return "blocked"
    return "misaligned" if alignment is not None and alignment.misaligned[0, position] else "low_support"


def _probability(logprob: torch.Tensor) -> float | None:
    return None if logprob.isnan() else float(logprob.exp())
