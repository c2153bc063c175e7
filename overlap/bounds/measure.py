"""Bounds of every statistic at every position."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from overlap.bounds.chunk_bounds import ChunkBounds, Space
from overlap.bounds.extremes import Bounds
from overlap.bounds.summary import BoundsSummary
from overlap.bounds.topk_logprobs import TopkLogprobs, check_topk_logprobs
from overlap.core.checks import admissible_ids, as_tensor, check_k, check_logits, check_mask
from overlap.core.chunking import chunks
from overlap.core.topk import Support, top_k
from overlap.definitions import BOUNDED_STATISTICS, DECIDED_BY_TOP_K, Ranges
from overlap.estimates.bootstrap import DRAWS
from overlap.estimates.group_sums import Groups
from overlap.vocab.ends import merge_ends
from overlap.vocab.settings import ComparisonSettings
from overlap.vocab.vocab_pair import less_further_ends, paired_ends
from overlap.vocab.vocabulary_map import VocabularyMap, check_sizes

_ROUNDING = 1e-9
"""Maximum difference of the two bounds of one value when they are computed in different ways."""


@dataclass(frozen=True, eq=False)
class OverlapBounds:
    """Both bounds of every statistic of every position: float64 tensors of the leading shape ``[...]``.

    NaN where the position is masked or the statistic undefined; ``+inf`` where there is no upper bound. With fewer than
    k tokens it may be unknown whether a statistic is defined; the bounds then cover the teachers for which it is.

    Attributes:
        lower: by statistic, in the order of `BOUNDED_STATISTICS`; without ends, none of `teacher_end_mass`.
        upper: by statistic; equal to the lower bound where the top-k log-probabilities decide the value.
        topk_size: ``[...]`` long, tokens that the server returned at the position.
        unmapped: ``[...]`` long, those that the student's vocabulary lacks; they are in no set.
        blocked: ``[...]`` long, those taken out as blocked.
        topk_mass: ``[...]``, the sum of the returned probabilities.
        k: size of the supports.
        tolerance: assumed maximum error of the log-probabilities, in nats.
        mask: ``[...]`` bool, True where the position was measured.
        ranges: limits of the statistics; it is unknown whether the teacher's own set has k tokens.
    """

    lower: dict[str, Tensor]
    upper: dict[str, Tensor]
    topk_size: Tensor
    unmapped: Tensor
    blocked: Tensor
    topk_mass: Tensor
    k: int
    tolerance: float
    mask: Tensor
    ranges: Ranges

    def decided(self) -> dict[str, Tensor]:
        """Return values ``[...]`` of the statistics of `DECIDED_BY_TOP_K`, NaN where the server leaves them open."""
        return {
            name: torch.where(self.upper[name] - self.lower[name] <= _ROUNDING, self.lower[name], torch.nan)
            for name in DECIDED_BY_TOP_K
        }

    def summary(
        self,
        groups: Groups | None = None,
        *,
        states: str | None = None,
        level: float = 0.95,
        draws: int = DRAWS,
        seed: int = 0,
    ) -> BoundsSummary:
        """Return micro-averages of both bounds over positions, each with a cluster bootstrap over utterances.

        Args:
            groups: which utterance each position belongs to, as in `TokenStatistics.summary`.
            states: whose states these are.
            level: coverage of the bootstrap intervals.
            draws: bootstrap resamples.
            seed: of the resampling; both bounds share the resamples.

        Raises:
            UserError: if groups do not fit the leading shape.
        """
        if groups is None:
            groups = torch.arange(self.mask.shape[0] if self.mask.ndim else 1)
        return BoundsSummary.from_ends(
            self.lower,
            self.upper,
            groups,
            self.mask,
            ranges=self.ranges,
            k=self.k,
            states=states,
            level=level,
            draws=draws,
            seed=seed,
        )


def measure_bounds(
    student_logits: Tensor,
    teacher_ids: Tensor,
    teacher_logprobs: Tensor,
    *,
    k: int = 32,
    mask: Tensor | None = None,
    vocabulary: VocabularyMap | None = None,
    blocked: Tensor | Sequence[int] | None = None,
    teacher_blocked: Tensor | Sequence[int] | None = None,
    ends: Sequence[int] = (),
    teacher_ends: Sequence[int] = (),
    tolerance: float = 1e-5,
) -> OverlapBounds:
    """Bound the statistics of `overlap.measure` when only top-k log-probabilities of the teacher are known.

    A teacher server returns its own top-m ids and log-probabilities, at temperature 1 over its full vocabulary. Every
    hidden token is at most as likely as the least likely returned one, and all hidden tokens together have the missing
    mass. The bounds hold for every teacher that agrees with the top-k log-probabilities:

    * With m >= k, the sets, and so ``union_size``, ``intersection_size``, ``overlap_ratio``, ``jaccard``,
      ``top1_agreement``, ``student_mass``, ``student_intersection_mass`` and (within the tolerance)
      ``teacher_intersection_mass`` are known: both bounds are equal. With m < k the unknown members of T are placed
      where their effect is largest and smallest.
    * ``teacher_mass``, ``teacher_entropy``, ``entropy_gap``, the four divergences, ``union_kl`` and ``union_kl_tail``
      have bounds that some teacher attains (tight), as long as ``tolerance`` is 0 and no hidden token is excluded
      (because it is blocked or, for the divergences, because the student lacks it). Otherwise the worst case is taken
      separately for each returned probability and for the missing mass: valid, but looser.
    * ``teacher_end_mass`` is known where the server returned the end of text.
    * ``reverse_kl`` has the upper bound +inf where a hidden token may have probability 0.
    * With m < k, ``union_kl`` and ``union_kl_tail`` have the upper bound +inf, and their lower bounds and that of
      ``teacher_intersection_mass`` are valid but not tight.

    T follows the server's numbers: ordered by log-probability, ties by the lower id. If the server's rounding hides the
    order or breaks a tie at the boundary, `overlap.measure` may choose another set.

    Most time is spent on one sort of the student's scores at each position. The temporaries are float64, for at most
    half as many positions at once as `overlap.core.chunking.CHUNK_ELEMENTS` allows.

    Example:
        >>> student = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
        >>> teacher_ids, teacher_logprobs = torch.tensor([[1, 0]]), torch.tensor([[0.6, 0.3]]).log()
        >>> bounds = measure_bounds(student, teacher_ids, teacher_logprobs, k=2)
        >>> bounds.lower["union_size"].item(), bounds.upper["union_size"].item()  # both sets are known
        (2.0, 2.0)
        >>> round(bounds.lower["teacher_entropy"].item(), 3), round(bounds.upper["teacher_entropy"].item(), 3)
        (0.898, 0.967)

    Args:
        student_logits: ``[..., V]`` raw scores.
        teacher_ids: ``[..., m]`` long, in the teacher's vocabulary, in any order; negative where a slot is empty.
        teacher_logprobs: ``[..., m]`` natural log-probabilities. Pass only the server's m most probable tokens: an
            additional less likely one (such as the sampled token) would give hidden tokens too low a cap; drop it.
        k: size of the supports.
        mask: ``[...]`` bool, True where a position counts.
        vocabulary: the map between the two vocabularies; None when ids agree and the teacher has V of them.
        blocked: the student's ids to take out of both distributions and sets, or a ``[V]`` bool mask of them.
        teacher_blocked: the teacher's ids to take out of both; needed for ids without a student id, such as its own
            control tokens and the padding of its logits beyond the tokenizer.
        ends: the student's ids that end a text, the one of labels first; they are one event, see `overlap.merge_ends`.
        teacher_ends: the teacher's, in its ids. Only the first counts; the others are taken out of both distributions,
            because the server may leave out some of them.
        tolerance: maximum error of each log-probability, in nats: 1e-5 for float32 computation, half a unit of the last
            decimal for rounded text, |log-probability|/256 for bfloat16.

    Returns:
        Both bounds on the student's device, without gradient.

    Raises:
        UserError: on shapes, dtypes or sizes that do not fit, an id given twice, NaN or positive log-probabilities, a
            mass above 1, or more missing mass than the hidden tokens can have.
    """
    return bounds_given_set(
        student_logits,
        teacher_ids,
        teacher_logprobs,
        None,
        ComparisonSettings(
            k=k,
            vocabulary=vocabulary,
            blocked=blocked,
            teacher_blocked=teacher_blocked,
            ends=ends,
            teacher_ends=teacher_ends,
        ),
        mask=mask,
        tolerance=tolerance,
    )


@torch.no_grad()
def bounds_given_set(
    student_logits: Tensor,
    teacher_ids: Tensor,
    teacher_logprobs: Tensor,
    student_set: Support | None,
    settings: ComparisonSettings,
    *,
    mask: Tensor | None,
    tolerance: float = 1e-5,
) -> OverlapBounds:
    """Return the result of `measure_bounds` with the student's support, if it is already known.

    Args:
        student_logits: as for `measure_bounds`, and so is the rest.
        teacher_ids: likewise.
        teacher_logprobs: likewise.
        student_set: ``[..., k]`` the student's support, including tokens that the teacher lacks; None computes it.
        settings: k and the tokens that take part; bounds are at temperature 1.
        mask: positions that count.
        tolerance: of the log-probabilities.

    Raises:
        UserError: as `measure_bounds`.
    """
    k, vocabulary = settings.k, settings.vocabulary
    student_logits = as_tensor(student_logits, "student_logits")
    check_logits(student_logits, "student_logits")
    shape, device, width = student_logits.shape[:-1], student_logits.device, student_logits.shape[-1]
    n_teacher = width if vocabulary is None else vocabulary.teacher_size
    table = check_sizes(vocabulary, width, n_teacher)
    table = None if table is None else table.to(device)
    mask = check_mask(mask, shape, device)
    if isinstance(teacher_ids, Tensor) and isinstance(teacher_logprobs, Tensor):
        teacher_ids, teacher_logprobs = teacher_ids.to(device), teacher_logprobs.detach().to(device)
    check_topk_logprobs(teacher_ids, teacher_logprobs, shape, n_teacher, tolerance, mask)
    ends, teacher_ends = paired_ends((settings.ends, settings.teacher_ends), (width, n_teacher), table)
    student_logits = merge_ends(student_logits, ends)
    admissible, teacher_admissible = _admissible(settings, table, width, n_teacher, device)
    admissible = less_further_ends(admissible, ends, width, device, "ends")
    teacher_admissible = less_further_ends(teacher_admissible, teacher_ends, n_teacher, device, "teacher_ends")
    end, ends_known = ends[0] if ends else None, bool(ends)
    space = Space.from_widths(width, n_teacher, table, admissible, teacher_admissible, device, end)
    k = check_k(k, space.n_student, "the student's logits")
    check_k(k, space.n_own, "the teacher's vocabulary")

    grid = mask.reshape(shape or (1,))
    logits = student_logits.detach().reshape(*grid.shape, width)
    topk = TopkLogprobs.from_ids(teacher_ids[mask], teacher_logprobs[mask], table, admissible, teacher_admissible)
    if student_set is None:
        student_set = top_k(student_logits, k, blocked=None if admissible is None else ~admissible, mask=mask)
    student = Support(student_set.ids[mask], student_set.valid[mask])
    parts: list[dict[str, Bounds]] = []
    start = 0
    for index in chunks(grid, 2 * width):
        rows = slice(start, start + len(index[0]))
        chunk = ChunkBounds(
            logits[index].float(), topk[rows], student.ids[rows], student.valid[rows], k, tolerance, space
        )
        parts.append(chunk.bounds())
        start = rows.stop

    def spread(values: Tensor, missing: float) -> Tensor:
        return torch.full(shape, missing, dtype=values.dtype, device=device).masked_scatter(mask, values)

    ends = {
        name: [
            torch.cat(
                [torch.empty(0, dtype=torch.float64, device=device), *(part[name][end].double() for part in parts)]
            )
            for end in (0, 1)
        ]
        for name in BOUNDED_STATISTICS
        if ends_known or name != "teacher_end_mass"
    }
    return OverlapBounds(
        lower={name: spread(low, torch.nan) for name, (low, _) in ends.items()},
        # The two bounds of one value are computed in different ways and may cross by an ulp.
        upper={name: spread(torch.maximum(low, high), torch.nan) for name, (low, high) in ends.items()},
        topk_size=spread(topk.given.sum(-1), 0),
        unmapped=spread((topk.own & ~topk.shared).sum(-1), 0),
        blocked=spread((topk.given & ~topk.own).sum(-1), 0),
        topk_mass=spread(topk.log_q.exp().sum(-1), torch.nan),
        k=k,
        tolerance=float(tolerance),
        mask=mask,
        ranges=Ranges(k, max(space.n_student, space.n_own)),
    )


def _admissible(
    settings: ComparisonSettings, table: VocabularyMap | None, width: int, n_teacher: int, device: torch.device
) -> tuple[Tensor | None, Tensor | None]:
    """Return ids that are not blocked on either side, in the student's and in the teacher's vocabulary; None for
    all."""
    admissible = admissible_ids(settings.blocked, width, device)
    other = admissible_ids(settings.teacher_blocked, n_teacher, device, name="teacher_blocked", whose="teacher")
    if other is not None:
        there = torch.arange(width, device=device) if table is None else table.student_to_teacher
        allowed = torch.where(there >= 0, other[there.clamp_min(0)], True)
        admissible = allowed if admissible is None else admissible & allowed
    return admissible, other
