"""Statistics of one position."""

from overlap.definitions.definition import Definition
from overlap.definitions.readiness import READINESS

_RETHINKING = "arXiv 2604.13016"
_DATA_EFFICIENT = "arXiv 2605.28139"
_KULLBACK = "Kullback and Leibler 1951"
_NEVER = "never"
_TEACHABILITY = "arXiv 2605.26844"
_SCHULMAN = "Schulman 2020, “Approximating KL Divergence”"
_NO_ENDS = "where the end ids are not given"
_NO_TOKEN = "where the generated token is blocked, unmapped or not given"
_NOT_SHARED = "between different vocabularies, where a side excludes every shared id (scores of −∞)"

TOKEN_STATISTICS: dict[str, Definition] = {
    "student_size": Definition(
        unit="tokens",
        formula="|S| after invalid mappings are dropped",
        range="0 … k",
        undefined=_NEVER,
        source="this library",
        reading="The normal value is k. Below k, the vocabulary map has no teacher token for some of the student's "
        "k most probable tokens; every count based on S shrinks as well.",
    ),
    "teacher_size": Definition(
        unit="tokens",
        formula="|T| after invalid mappings are dropped",
        range="0 … k",
        undefined=_NEVER,
        source="this library",
        reading="As `student_size`, for tokens that the student lacks and therefore can never learn to write.",
    ),
    "union_size": Definition(
        unit="tokens",
        formula="|U|",
        range="0 … 2k",
        undefined=_NEVER,
        source=f"valid union support size, {_DATA_EFFICIENT}",
        reading="At equal k and equal set sizes, smaller means more overlap: k when the sets are the same, 2k when "
        "they are disjoint. It also falls when sets lose invalid tokens, so always report both sizes with it. "
        f"Published, k = 32, during on-policy distillation: 53.06 without and 51.61 with adaptation to teacher "
        f"transcripts ({_DATA_EFFICIENT}).",
        alias="VUSS",
    ),
    "intersection_size": Definition(
        unit="tokens",
        formula="|I|",
        range="0 … k",
        undefined=_NEVER,
        source=f"{_RETHINKING}, numerator of Eq. 6",
        reading="|S| + |T| − |U|: the reduction of VUSS that is due to overlap.",
    ),
    "overlap_ratio": Definition(
        unit="share",
        formula="|I| / k",
        range="0 … 1",
        undefined=_NEVER,
        source=f"{_RETHINKING}, Eq. 6",
        reading="Published, k = 16: a successful run rose from 0.72 to 0.91, a failing one remained flat "
        f"({_RETHINKING}); the trend is more informative than the level. The last of the k tokens are chosen among "
        "nearly equal tail tokens, so values near 1 are rare for a large k: compare only equal k.",
    ),
    "jaccard": Definition(
        unit="share",
        formula="|I| / |U|",
        range="0 … 1",
        undefined="where U is empty",
        source="Jaccard 1912",
        reading="As `overlap_ratio`, but less sensitive to invalid tokens, which leave numerator and denominator.",
    ),
    "rank_biased_overlap": Definition(
        unit="share",
        formula="(1 − r) / r (Σ_{d=1…l} (X_d / d) r^d + Σ_{d=s+1…l} X_s (d − s) / (s d) r^d) + ((X_l − X_s) / l + "
        "X_s / s) r^l, s and l the sizes of the smaller and the larger of S and T, X_d the number of tokens that the d "
        "best of each side share; persistence r = 0.9",
        range="0 … 1",
        undefined="where S or T is empty",
        source="extrapolated rank-biased overlap, Webber, Moffat and Zobel 2010, Eq. 32; with k tokens on both sides "
        "(X_k / k) r^k + (1 − r) / r Σ_{d=1…k} (X_d / d) r^d",
        reading="Overlap weighted by rank: the first ranks count most (at 0.9 the ten best have 86 % of the weight). "
        "Well below `overlap_ratio`, the sets agree and the order does not. The tail that makes `overlap_ratio` "
        "depend on k hardly changes it, so it is more comparable across k.",
    ),
    "nucleus_overlap": Definition(
        unit="share",
        formula="Jaccard index of the top-p sets: on each side the fewest most probable tokens whose probability "
        "reaches 0.95",
        range="0 … 1",
        undefined="where neither set has a token of both vocabularies",
        source="nucleus of Holtzman et al. 2020 (arXiv 1904.09751), compared by Jaccard's index",
        reading="Overlap at the set size that each model needs. Where both are confident of one token, the value is 1 "
        "(same token) or 0; the tail tokens that fill the supports do not count. Below `top1_agreement`, the models "
        "agree on the best token but not on its alternatives.",
    ),
    "top1_agreement": Definition(
        unit="share",
        formula="argmax p = argmax q",
        range="0 or 1",
        undefined=_NEVER,
        source="this library",
        reading="Whether greedy decoding would write the same token. It keeps improving after VUSS saturates. It is "
        "not accuracy: word-internal positions are easy, and the teacher makes errors too. Rule of thumb: switch "
        f"above {READINESS.level('top1_agreement'):g}. In every run so far, a switch at "
        f"{READINESS.level('top1_agreement', 'least'):g} or above ended with fewer errors than Base; see *Readiness*.",
    ),
    "student_mass": Definition(
        unit="probability",
        formula="Σ_T p",
        range="0 … 1",
        undefined=_NEVER,
        source="logged by verl as the student's mass on the teacher's top-k",
        reading="The student's probability of the teacher's support. If it falls while a truncated reverse KL "
        "improves, mass leaves the support that the loss covers.",
    ),
    "teacher_mass": Definition(
        unit="probability",
        formula="Σ_S q",
        range="0 … 1",
        undefined=_NEVER,
        source="learnable share of the teacher's signal, arXiv 2605.26844",
        reading="The teacher's probability on tokens within the student's reach. Rule of thumb: below "
        f"{READINESS.level('teacher_mass'):g} warm up longer before the switch.",
    ),
    "student_intersection_mass": Definition(
        unit="probability",
        formula="Σ_I p",
        range="0 … 1",
        undefined=_NEVER,
        source=f"{_RETHINKING}, Eqs. 9–10",
        reading=f"Published: 0.97–0.99 in successful runs ({_RETHINKING}). High mass with a low `overlap_ratio` is "
        "harmless: the sets differ only in their tails.",
    ),
    "teacher_intersection_mass": Definition(
        unit="probability",
        formula="Σ_I q",
        range="0 … 1",
        undefined=_NEVER,
        source=f"{_RETHINKING}, Eqs. 9–10",
        reading="As `student_intersection_mass`. Below the student's, the teacher has probability on tokens that the "
        "student does not consider.",
    ),
    "student_entropy": Definition(
        unit="nats",
        formula="H(p)",
        range="0 … ln V",
        undefined=_NEVER,
        source="Shannon 1948",
        reading="It has no target value: compare with `teacher_entropy`. A steady fall toward 0 at an unchanged error "
        "rate is collapse; a rise while the top-k loss falls is growth of the tail (arXiv 2608.14728).",
    ),
    "teacher_entropy": Definition(
        unit="nats",
        formula="H(q)",
        range="0 … ln V",
        undefined=_NEVER,
        source="Shannon 1948",
        reading="The teacher is frozen, so on fixed rollouts it must not change; if it does, the contexts differ. A "
        "rise on the student's rollouts means that the student visits prefixes on which the teacher is uncertain.",
    ),
    "entropy_gap": Definition(
        unit="nats",
        formula="|H(q) − H(p)|, position by position (not the difference of the means)",
        range="0 … ln V",
        undefined=_NEVER,
        source=f"{_RETHINKING}, Eq. 8",
        reading="It should fall during a run. If it does not while `overlap_ratio` rises, the student matches the "
        "teacher's ranking, not its confidence.",
    ),
    "forward_kl": Definition(
        unit="nats",
        formula="KL(q‖p) = Σ q (log q − log p)",
        range="0 … ∞",
        undefined=f"{_NOT_SHARED}; +∞ where p excludes what q allows",
        source=_KULLBACK,
        reading="Large where the student gives little probability to tokens that the teacher prefers. Few positions "
        "dominate its mean: check the strata, or `total_variation`, before you call a run bad.",
    ),
    "reverse_kl": Definition(
        unit="nats",
        formula="KL(p‖q) = Σ p (log p − log q)",
        range="0 … ∞",
        undefined=f"{_NOT_SHARED}; +∞ where q excludes what p allows",
        source=_KULLBACK,
        reading="Large where the student has probability on tokens that the teacher considers impossible. Far above "
        "the forward KL, the student has stray probability; far below, it misses alternatives.",
    ),
    "jensen_shannon": Definition(
        unit="nats",
        formula="½ KL(p‖m) + ½ KL(q‖m), m = ½ (p + q)",
        range="0 … ln 2",
        undefined=_NOT_SHARED,
        source="Lin 1991",
        reading="A bounded summary of both KLs, safe to average; ln 2 = 0.693 means disjoint distributions.",
    ),
    "total_variation": Definition(
        unit="probability",
        formula="½ Σ |p − q|",
        range="0 … 1",
        undefined=_NOT_SHARED,
        source="standard; at most √(KL / 2) by Pinsker's inequality",
        reading="The smallest probability, over all couplings, that tokens drawn from p and from q differ. Like "
        "`top1_agreement`, it keeps improving after VUSS saturates. Rule of thumb: "
        f"switch below {READINESS.level('total_variation'):g}.",
    ),
    "learnable_kl": Definition(
        unit="nats",
        formula="KL(q‖p) · Σ_S q",
        range="0 … ∞",
        undefined=f"{_NOT_SHARED}; +∞ where p excludes what q allows",
        source=f"token teachability, {_TEACHABILITY}",
        reading="Disagreement about tokens within the student's reach. Published: it predicts the gain at a fixed "
        f"context better than raw KL does ({_TEACHABILITY}). Close to `forward_kl`, most of the disagreement can be "
        "learned now.",
    ),
    "incompatible_kl": Definition(
        unit="nats",
        formula="KL(q‖p) · (1 − Σ_S q)",
        range="0 … ∞",
        undefined=f"{_NOT_SHARED}; +∞ where p excludes what q allows",
        source=f"token teachability, {_TEACHABILITY}",
        reading="Disagreement about tokens outside the student's support. The student hardly learns them from feedback "
        "on its own states. Rule of thumb: above `learnable_kl` the pair is not ready for on-policy distillation; "
        "warm up.",
    ),
    "union_kl": Definition(
        unit="nats",
        formula="KL(q̄‖p̄) on U, at the stated temperature",
        range="0 … ∞",
        undefined="where U is empty, or q excludes all of it; +∞ where p excludes what q allows",
        source=f"integrand of the training objective, {_DATA_EFFICIENT}, Eq. 1 (there times τ²)",
        reading='The objective of the paper and of a recipe with `objective = "paper"`; by default recipes train the '
        "form with a tail, `union_kl_tail`. If this one falls while `union_kl_tail`, `forward_kl` or the masses do "
        "not improve, the student lowers the loss by moving probability outside the union.",
    ),
    "union_kl_tail": Definition(
        unit="nats",
        formula="Σ_U q (log q − log p) + q_r (log q_r − log p_r), p_r = 1 − Σ_U p and q_r = 1 − Σ_U q over each "
        "model's own vocabulary, at the stated temperature",
        range="0 … ∞",
        undefined="where U is empty; +∞ where p excludes what q allows, or everything outside U while q does not",
        source="this library: the integrand of the training objective with a tail (`tail = true`, there times τ²); "
        "the bucket of a truncated KL's remainder, as in arXiv 2608.14728",
        reading="The objective with a tail: everything outside the union counts as one more token, so probability that "
        "leaves the union is penalized. Where ids agree, it is never above `forward_kl`; if it is close, the tokens "
        "outside hardly matter. Far above `union_kl`, the models disagree on how much probability is outside.",
    ),
    "overlap_advantage": Definition(
        unit="nats",
        formula="Σ_I p̄ (log q̄ − log p̄) = −KL(p̄‖q̄) on I",
        range="−∞ … 0",
        undefined="where I is empty",
        source=f"{_RETHINKING}, Eq. 7, without its division by |I|",
        reading="0 where both models rank and weight the shared tokens alike; it rises toward 0 during a successful "
        "run. Read it with its number of undefined positions: disjoint positions are left out, which biases it upward.",
    ),
    "student_logprob": Definition(
        unit="nats",
        formula="log p of the generated token",
        range="−∞ … 0",
        undefined="where that token is blocked or not given",
        source="standard",
        reading="The student's confidence in its own tokens; on its own sampled states its mean is about "
        "−`student_entropy`. On reference or fixed states it is the log-likelihood of that text.",
    ),
    "teacher_logprob": Definition(
        unit="nats",
        formula="log q of the generated token",
        range="−∞ … 0",
        undefined="where that token is blocked, unmapped or not given",
        source="standard",
        reading="The teacher's score of the generated token: the only statistic that a server with prompt "
        "log-probabilities can always give. A run of very negative values marks where a rollout left the teacher's "
        "distribution.",
    ),
    "teacher_rank": Definition(
        unit="rank",
        formula="rank of the generated token in the teacher's ordering of its admissible tokens, 1 = the best; ties, "
        "those of excluded tokens too, go to the lower id",
        range="1 … V",
        undefined=_NO_TOKEN,
        source="this library",
        reading="1 where the teacher would have written the same token. A few huge ranks dominate its mean: read it by "
        "stratum, or as the share of positions above k.",
    ),
    "reverse_kl_k1": Definition(
        unit="nats",
        formula="log p − log q at the generated token",
        range="−∞ … ∞",
        undefined=_NO_TOKEN,
        source=f"estimator k1 of {_SCHULMAN}",
        reading="Its mean is an unbiased estimate of `reverse_kl` only where tokens are sampled from p at this "
        "temperature, not after greedy decoding nor on reference or fixed states. Compare it with the exact "
        "`reverse_kl` to see how noisy a trainer is that uses one token a position.",
    ),
    "reverse_kl_k3": Definition(
        unit="nats",
        formula="q/p − 1 − log(q/p) at the generated token",
        range="0 … ∞",
        undefined=_NO_TOKEN,
        source=f"estimator k3 of {_SCHULMAN}",
        reading="As `reverse_kl_k1`, never negative and usually less noisy. Tokens that are very unlikely for the "
        "student and not for the teacher give huge values.",
    ),
    "student_end_mass": Definition(
        unit="probability",
        formula="Σ p over the student's ids that end a text",
        range="0 … 1",
        undefined=_NO_ENDS,
        source="this library; the audit SimOPD found the end of text to break before any loss or mass",
        reading="Read it `.at_end`: where transcripts end, it should be nearly 1, also at the ends of the teacher's "
        "transcripts (`teacher.student_end_mass.at_end`). Read it `.past_teacher`: after the length of the teacher's "
        "transcript, it says whether a student that runs on could still stop. Its mean over all positions only "
        "reflects the lengths.",
    ),
    "teacher_end_mass": Definition(
        unit="probability",
        formula="Σ q over the teacher's ids that end a text",
        range="0 … 1",
        undefined=_NO_ENDS,
        source="this library",
        reading="As `student_end_mass`. Nearly 1 `.past_teacher` while the student's is nearly 0 means that the "
        "student runs on where the teacher would stop; nearly 0 for both means that the teacher follows the loop.",
    ),
    "end_gap": Definition(
        unit="nats",
        formula="log Σ q over the teacher's end ids − log Σ p over the student's",
        range="−∞ … ∞",
        undefined=f"{_NO_ENDS}; also where a mass is 0",
        source="this library",
        reading="Above 0 the teacher would rather end here. It compares events, so different end ids do not matter. "
        "Read it `.at_end` and `.past_teacher`.",
    ),
    "student_end_likely": Definition(
        unit="share",
        formula="student_end_mass ≥ 0.5",
        range="0 or 1",
        undefined=_NO_ENDS,
        source="this library",
        reading="Read it at the ends of the teacher's transcripts, `teacher.student_end_likely.at_end`: the share of "
        "ends that the student would write. Rule of thumb before on-policy training: at least 0.95. Supervised "
        "training can leave the probability of ending near 10⁻³ while every mass and agreement looks healthy.",
    ),
    "boundary_tie": Definition(
        unit="share",
        formula="k-th and (k+1)-th scores equal, in S or in T",
        range="0 or 1",
        undefined=_NEVER,
        source="this library",
        reading="At 1, the tie rule (lower id first) decided the set. Above a few percent (rule of thumb), "
        "half-precision logits make the sets arbitrary: compute the head in float32 or choose a smaller k.",
    ),
    "student_mapped_mass": Definition(
        unit="probability",
        formula="Σ p over the ids that both vocabularies have",
        range="0 … 1",
        undefined=_NEVER,
        source="this library",
        reading="1 where ids agree. Rule of thumb: below 0.99 the full-vocabulary divergences describe only part of "
        "the student, because they are renormalized on the shared ids.",
    ),
    "teacher_mapped_mass": Definition(
        unit="probability",
        formula="Σ q over the ids that both vocabularies have",
        range="0 … 1",
        undefined=_NEVER,
        source="this library",
        reading="As `student_mapped_mass`: 1 minus the value is the teacher's probability on tokens that the student "
        "does not have.",
    ),
}
"""Statistics of one position, see `overlap.measure`."""
