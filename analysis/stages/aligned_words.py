"""Transcripts of an evaluation aligned with their references, word by word, and the words that differ between two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jiwer
import pandas as pd

from ..run.display_text import plain
from ..run.load import Run
from ..stats.error_rates import paired
from .ends import rows_at_end, rows_at_start
from .error_rates import student_evaluations, transcripts_of

COMPARED = ("compared.reference", "compared.text")


@dataclass(frozen=True)
class Aligned:
    """A transcript aligned with its reference at minimum edit distance.

    Attributes:
        reference: Its words.
        written: What stands for each of them; empty where it was left out.
        inserted: What stands before each of them, and last what follows the last; empty where nothing does.
    """

    reference: tuple[str, ...]
    written: tuple[str, ...]
    inserted: tuple[str, ...]

    @property
    def right(self) -> tuple[bool, ...]:
        """Whether each word of the reference was written."""
        return tuple(one == other for one, other in zip(self.reference, self.written, strict=True))

    @property
    def n_inserted(self) -> int:
        """Words without a counterpart in the reference."""
        return sum(len(words.split()) for words in self.inserted)


def align(references: Sequence[str], texts: Sequence[str]) -> list[Aligned]:
    """Align transcripts with their references at minimum edit distance, as jiwer counts errors.

    Args:
        references: Words separated by spaces.
        texts: As many.
    """
    found = []
    for reference, text in zip(references, texts, strict=True):
        words, others = reference.split(), text.split()
        written, inserted = [""] * len(words), [""] * (len(words) + 1)
        (chunks,) = jiwer.process_words(reference, text).alignments
        for chunk in chunks:
            place, other = chunk.ref_start_idx, chunk.hyp_start_idx
            if chunk.type == "insert":
                inserted[place] = " ".join(others[other : chunk.hyp_end_idx])
            elif chunk.type != "delete":
                n = chunk.ref_end_idx - place
                written[place : chunk.ref_end_idx] = others[other : other + n]
        found.append(Aligned(tuple(words), tuple(written), tuple(inserted)))
    return found


def counted_texts(transcripts: pd.DataFrame) -> tuple[list[str], list[str], bool]:
    """Return references and texts as their errors were counted.

    Args:
        transcripts: Of one evaluation.

    Returns:
        References, texts, and whether they are those that were counted; False where the run did not record them: they
        are then compared ignoring case and punctuation, without the evaluation's normalizer.
    """
    recorded = all(name in transcripts and bool(transcripts[name].notna().all()) for name in COMPARED)
    names = COMPARED if recorded else ("reference", "text")
    references, texts = (transcripts[name].astype(str).tolist() for name in names)
    if not recorded:
        references, texts = list(map(plain, references)), list(map(plain, texts))
    return references, texts, recorded


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The student's transcripts at the start of a run or at the end of a stage.

    Attributes:
        label: Such as `start` or `after base`.
        stage: The stage that ended; empty for the start.
        visit: Its visit; -1 for the start.
        step: Training steps taken.
        transcripts: Rows of `Run.transcripts`.
    """

    label: str
    stage: str
    visit: int
    step: int
    transcripts: pd.DataFrame


def checkpoints_with_transcripts(run: Run) -> list[Checkpoint]:
    """Return the start of a run and the ends of its stages whose transcripts on the main set were kept, in order."""
    students = student_evaluations(run)
    found = []
    for visit in run.visits:
        ends = [] if visit.number else [("start", "", -1, rows_at_start(students, visit))]
        if visit.steps:
            label = f"{visit.stage} so far" if visit.ongoing else f"after {visit.stage}"
            ends.append((label, visit.stage, visit.number, rows_at_end(run, students, visit, latest=True)))
        for label, stage, number, rows in ends:
            for row in rows.tail(1).to_dict("records"):
                if len(written := transcripts_of(run, row)):
                    found.append(Checkpoint(label, stage, number, int(row["step"]), written))
    return found


def changed_words(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    """Compare two evaluations of the same utterances word by word.

    Args:
        first: Transcripts of the first, one row for each utterance.
        second: Of the second.

    Returns:
        One row for each utterance: `id`, `speaker`, `n` words of the reference, how many of them the second `mended`
        (wrong in the first alone) and `broke` (wrong in the second alone), `inserted.first` and `inserted.second`
        words; and whether words are those that error rates count, see `counted_texts`.

    Raises:
        UserError: They are of other utterances, references or normalizers; names one.
    """
    one, two = paired(first, second)
    (references, texts, exact), (_, others, other_exact) = counted_texts(one), counted_texts(two)
    if exact != other_exact:  # one of the two runs is older
        both = [side.drop(columns=list(COMPARED), errors="ignore") for side in (one, two)]
        (references, texts, exact), (_, others, _) = counted_texts(both[0]), counted_texts(both[1])
    rows = []
    for before, after in zip(align(references, texts), align(references, others), strict=True):
        pairs = list(zip(before.right, after.right, strict=True))
        rows.append(
            {
                "n": len(pairs),
                "mended": sum(now and not then for then, now in pairs),
                "broke": sum(then and not now for then, now in pairs),
                "inserted.first": before.n_inserted,
                "inserted.second": after.n_inserted,
            }
        )
    frame = pd.DataFrame(rows, columns=["n", "mended", "broke", "inserted.first", "inserted.second"])
    frame.insert(0, "id", one.index.to_numpy())
    frame.insert(1, "speaker", one["speaker"].to_numpy() if "speaker" in one else None)
    return frame, exact
