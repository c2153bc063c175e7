"""Which statistics have bounds if a server returns only top-k log-probabilities."""

BOUNDED_STATISTICS = (
    "union_size",
    "intersection_size",
    "overlap_ratio",
    "jaccard",
    "top1_agreement",
    "student_mass",
    "teacher_mass",
    "student_intersection_mass",
    "teacher_intersection_mass",
    "teacher_entropy",
    "entropy_gap",
    "forward_kl",
    "reverse_kl",
    "jensen_shannon",
    "total_variation",
    "union_kl",
    "union_kl_tail",
    "teacher_end_mass",
)
"""Names of the statistics that `measure_bounds` bounds, as in `overlap.definitions.TOKEN_STATISTICS`."""

DECIDED_BY_TOP_K = (
    "union_size",
    "intersection_size",
    "overlap_ratio",
    "jaccard",
    "top1_agreement",
    "student_mass",
    "student_intersection_mass",
)
"""Statistics whose two bounds coincide if the server returns k tokens that are not blocked."""
