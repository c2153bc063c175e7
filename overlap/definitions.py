"""Names, units and formulas of the statistics, in the order in which they are shown."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Definition:
    """What a statistic is.

    Attributes:
        unit: of one position's value.
        formula: p and S are the student's distribution and top-k set, q and T the teacher's; I = S∩T, U = S∪T, a bar
            renormalises on that set.
        alias: the name it goes by in the literature, if another.
    """

    unit: str
    formula: str
    alias: str | None = None


TOKEN_STATISTICS: dict[str, Definition] = {
    "student_size": Definition("tokens", "|S| after invalid mappings are dropped"),
    "teacher_size": Definition("tokens", "|T| after invalid mappings are dropped"),
    "union_size": Definition("tokens", "|U|", alias="VUSS"),
    "intersection_size": Definition("tokens", "|I|"),
    "overlap_ratio": Definition("share", "|I| / k"),
    "jaccard": Definition("share", "|I| / |U|; undefined where U is empty"),
    "top1_agreement": Definition("share", "argmax p = argmax q"),
    "student_mass": Definition("probability", "Σ_T p"),
    "teacher_mass": Definition("probability", "Σ_S q"),
    "student_intersection_mass": Definition("probability", "Σ_I p"),
    "teacher_intersection_mass": Definition("probability", "Σ_I q"),
    "student_entropy": Definition("nats", "H(p)"),
    "teacher_entropy": Definition("nats", "H(q)"),
    "entropy_gap": Definition("nats", "|H(q) − H(p)|"),
    "forward_kl": Definition("nats", "KL(q‖p)"),
    "reverse_kl": Definition("nats", "KL(p‖q)"),
    "jensen_shannon": Definition("nats", "½ KL(p‖m) + ½ KL(q‖m), m = ½ (p + q)"),
    "total_variation": Definition("probability", "½ Σ |p − q|"),
    "union_kl": Definition("nats", "KL(q̄‖p̄) on U; undefined where U is empty"),
    "overlap_advantage": Definition("nats", "Σ_I p̄ (log q̄ − log p̄); undefined where I is empty"),
    "student_logprob": Definition("nats", "log p of the generated token; undefined where it is blocked or not given"),
    "teacher_logprob": Definition(
        "nats", "log q of the generated token; undefined where it is blocked, unmapped or not given"
    ),
    "boundary_tie": Definition("share", "k-th and (k+1)-th scores equal, in S or in T"),
    "student_mapped_mass": Definition("probability", "Σ p over the ids that both vocabularies have"),
    "teacher_mapped_mass": Definition("probability", "Σ q over the ids that both vocabularies have"),
}
"""Statistics of one position, see `overlap.measure`."""

SEQUENCE_STATISTICS: dict[str, Definition] = {
    "repetition": Definition("ratio", "bytes of the transcript / bytes after zlib"),
    "length_ratio": Definition("ratio", "length of the hypothesis / length of the reference"),
    "n_tokens": Definition("tokens", "generated tokens"),
    "token_rate": Definition("tokens/s", "generated tokens / seconds of audio"),
    "end_of_text": Definition("share", "the rollout ended by itself"),
}
"""Statistics of one sequence, see `overlap.sequences`."""


_ALL = TOKEN_STATISTICS | SEQUENCE_STATISTICS


def unit_of(name: str) -> str:
    """Unit of a statistic, empty for a name that is not defined here."""
    return _ALL[name].unit if name in _ALL else ""


def label_of(name: str) -> str:
    """The name as it is printed: with its alias where it has one."""
    alias = _ALL[name].alias if name in _ALL else None
    return f"{name} ({alias})" if alias else name
