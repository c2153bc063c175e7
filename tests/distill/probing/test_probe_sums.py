"""Intervals of a probe with a served teacher stay within what k and the vocabulary allow."""

import math
from types import SimpleNamespace

import torch

import overlap
from distill.models.base import Transcripts
from distill.probing.probe_sums import ProbeSums
from distill.recipe import SupportSettings
from distill.scoring.pair import Pair
from distill.scoring.positions import Positions
from distill.scoring.served import TopkScores


def served(student, teacher):
    """Scores where a server returns the 8 best tokens of these logits."""
    here = torch.ones(student.shape[:2], dtype=torch.bool)
    transcripts = Transcripts(torch.zeros_like(here, dtype=torch.long), here, torch.zeros(len(here), dtype=torch.bool))
    nobody = torch.zeros(student.shape[-1], dtype=torch.bool)
    pair = Pair(SimpleNamespace(), SimpleNamespace(), None, nobody, nobody, None)
    best = teacher.log_softmax(-1).topk(8, -1)
    given = Positions(pair, transcripts, student, ~here, SupportSettings(k=4))
    return TopkScores.from_answer(given, [best.indices, best.values])


def test_no_interval_leaves_its_range():
    generator = torch.Generator().manual_seed(0)
    sums = ProbeSums(4, "student")
    for i in range(3):
        student, teacher = torch.zeros(1, 3, 60), torch.zeros(1, 3, 60)
        student[..., :4] = 5 + torch.randn(3, 4, generator=generator).abs()
        teacher[..., 10:14] = 5 + torch.randn(3, 4, generator=generator).abs()
        if i == 0:
            student, teacher = teacher, teacher
        if i == 2:
            teacher = torch.zeros(1, 3, 60)
        sums.add(served(student, teacher), [f"u{i}"])
    ranges = overlap.definitions.Ranges(4, 60)
    bounds = sums.bounds()
    assert {"union_size", "student_size", "student_entropy"} <= set(sums.estimates())
    for name, item in {**sums.estimates(), **bounds.ends()}.items():
        least, most = ranges.limits(name)
        assert math.isnan(item.low) or least <= item.low <= item.high <= most, (name, item)
    assert sums.estimates()["union_size"].high <= 8.0
    assert bounds["teacher_entropy"][1].high <= math.log(60)
