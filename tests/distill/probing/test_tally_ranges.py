"""Intervals of a probe with a served teacher stay within what k and the vocabulary allow."""

import math
from types import SimpleNamespace

import torch

import overlap
from distill.probing.tally import ListTally
from distill.recipe import Support


class Listed:
    """The parts of a comparison that a tally reads."""

    def __init__(self, student, teacher):
        self.student, self.listed = student, teacher.log_softmax(-1).topk(8, -1)

    def bounds(self):
        return overlap.measure_bounds(self.student, self.listed.indices, self.listed.values, k=4)

    def own_statistics(self):
        sizes = torch.full(self.student.shape[:2], 4.0, dtype=torch.float64)
        return {
            "student_size": sizes,
            "student_entropy": overlap.measure(self.student, self.student, k=1).student_entropy,
        }


def test_no_interval_leaves_its_range(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    tally, support = ListTally(), Support(k=4)
    for i in range(3):
        student, teacher = torch.zeros(1, 3, 60), torch.zeros(1, 3, 60)
        student[..., :4] = 5 + torch.randn(3, 4, generator=generator).abs()
        teacher[..., 10:14] = 5 + torch.randn(3, 4, generator=generator).abs()
        if i == 0:
            student, teacher = teacher, teacher
        if i == 2:
            teacher = torch.zeros(1, 3, 60)
        monkeypatch.setattr("distill.probing.tally.compare_lists", lambda *_, s=student, t=teacher: Listed(s, t))
        tally.add(None, SimpleNamespace(utterances=[SimpleNamespace(id=f"u{i}")]), None, support)
    ranges = overlap.definitions.Ranges(4, 60)
    bounds = tally.bounds(support, "student")
    assert {"union_size", "student_size", "student_entropy"} <= set(tally.estimates())
    for name, item in {**tally.estimates(), **bounds.ends()}.items():
        least, most = ranges.limits(name)
        assert math.isnan(item.low) or least <= item.low <= item.high <= most, (name, item)
    assert tally.estimates()["union_size"].high <= 8.0
    assert bounds["teacher_entropy"][1].high <= math.log(60)
