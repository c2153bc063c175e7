"""Forms of a statistic: its mean over some of the positions, as a reading names them behind the statistic."""

_COMPARED = (
    "union_size",
    "overlap_ratio",
    "jaccard",
    "rank_biased_overlap",
    "nucleus_overlap",
    "top1_agreement",
    "student_mass",
    "teacher_mass",
    "entropy_gap",
    "forward_kl",
    "reverse_kl",
    "jensen_shannon",
    "total_variation",
    "union_kl",
    "union_kl_tail",
)
_ENDING = ("student_end_mass", "teacher_end_mass", "end_gap", "student_end_likely")

PAST_TEACHER = "past_teacher"
"""The form that needs the teacher's transcripts of the same audio."""

FORMS: dict[str, tuple[str, ...]] = {
    "before_repeats": _COMPARED,
    "without_repeats": _COMPARED,
    "at_end": _ENDING,
    PAST_TEACHER: _ENDING,
}
"""Statistics of each form, as in ``top1_agreement.without_repeats``.

* ``before_repeats``: positions before the first sequence of tokens that a rollout writes again;
* ``without_repeats``: positions in no such sequence; see `overlap.statistics.repeats`;
* ``at_end``: the positions of the end of text, one in each transcript that ended;
* ``past_teacher``: positions past the length of the teacher's transcript of the same audio.
"""
