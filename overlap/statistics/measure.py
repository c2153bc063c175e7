"""Per-position overlap and divergence statistics of a teacher-student pair."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor

from overlap.core.checks import TensorLike
from overlap.definitions import TOKEN_STATISTICS, Ranges
from overlap.errors import UserError
from overlap.estimates.bootstrap import DRAWS
from overlap.estimates.estimate import Estimate
from overlap.estimates.group_sums import Groups, GroupSums
from overlap.estimates.summary import OverlapSummary
from overlap.statistics.chunk_statistics import Setting
from overlap.statistics.forms import form_estimates, form_masks, form_sums
from overlap.statistics.plan import Measurement, Rows, Watch, of_logits
from overlap.vocab.settings import ComparisonKeywords, ComparisonSettings


@dataclass(frozen=True, eq=False)
class TokenStatistics:
    """Statistics of every position: float32 tensors of the leading shape ``[...]``, NaN where masked or undefined.

    Sizes are whole numbers and flags are 0 or 1, kept as floats so that a masked position is NaN in every field.
    Formulas and units are in `overlap.definitions.TOKEN_STATISTICS`, whose names are the fields.

    Attributes:
        k: size of the supports.
        temperature: at which every probability was taken (the supports do not depend on it).
        top_p: mass of the sets of ``nucleus_overlap``.
        mask: ``[...]`` bool, True where the position was measured.
        ranges: limits of each statistic.
    """

    student_size: Tensor
    teacher_size: Tensor
    union_size: Tensor
    intersection_size: Tensor
    overlap_ratio: Tensor
    jaccard: Tensor
    rank_biased_overlap: Tensor
    nucleus_overlap: Tensor
    top1_agreement: Tensor
    student_mass: Tensor
    teacher_mass: Tensor
    student_intersection_mass: Tensor
    teacher_intersection_mass: Tensor
    student_entropy: Tensor
    teacher_entropy: Tensor
    entropy_gap: Tensor
    forward_kl: Tensor
    reverse_kl: Tensor
    jensen_shannon: Tensor
    total_variation: Tensor
    learnable_kl: Tensor
    incompatible_kl: Tensor
    union_kl: Tensor
    union_kl_tail: Tensor
    overlap_advantage: Tensor
    student_logprob: Tensor
    teacher_logprob: Tensor
    teacher_rank: Tensor
    reverse_kl_k1: Tensor
    reverse_kl_k3: Tensor
    student_end_mass: Tensor
    teacher_end_mass: Tensor
    end_gap: Tensor
    student_end_likely: Tensor
    boundary_tie: Tensor
    student_mapped_mass: Tensor
    teacher_mapped_mass: Tensor
    k: int
    temperature: float
    top_p: float
    mask: Tensor
    ranges: Ranges

    @classmethod
    def from_measurement(
        cls, measurement: Measurement, portions: Iterable[tuple[Tensor, Rows]], watch: Watch | None = None
    ) -> dict[Setting, "TokenStatistics"]:
        """Run a measurement, see `Measurement.run`: statistics by (k, temperature)."""
        sides = measurement.pair
        width, same = max(sides.student.n_admissible, sides.teacher.n_admissible), sides.one_vocabulary
        return {
            (k, temperature): cls(
                **columns,
                k=k,
                temperature=temperature,
                top_p=measurement.top_p,
                mask=measurement.mask,
                ranges=Ranges(k, width, same, _full(columns, k, measurement.mask)),
            )
            for (k, temperature), columns in measurement.run(portions, watch).items()
        }

    def values(self) -> dict[str, Tensor]:
        """Return every statistic by name, in the order of `TOKEN_STATISTICS`."""
        return {name: getattr(self, name) for name in TOKEN_STATISTICS}

    def default_groups(self) -> Tensor:
        """Return one utterance for each row of the first axis; with a single axis, one for each position."""
        n = self.mask.shape[0] if self.mask.ndim else 1
        return torch.arange(n)

    def forms(
        self,
        tokens: Tensor,
        finished: Tensor,
        *,
        teacher_lengths: Tensor | None = None,
        draws: int = DRAWS,
        seed: int = 0,
    ) -> dict[str, Estimate]:
        """Return means over some of the positions, such as ``top1_agreement.without_repeats``, which gates read.

        For a stream of batches add up `overlap.statistics.forms.form_sums`.

        Args:
            tokens: ``[B, L]`` ids as written, one rollout a row; real positions are the first of each row.
            finished: ``[B]`` bool, True where the last real position is an end of text.
            teacher_lengths: ``[B]`` positions of the teacher's transcript of the same audio, its end included, negative
                where it did not end; for the form ``past_teacher``.
            draws: bootstrap resamples of rollouts.
            seed: of the resampling.

        Raises:
            UserError: if the shapes do not fit.
        """
        if tokens.shape != self.mask.shape or finished.shape != tokens.shape[:1]:
            raise UserError(
                f"forms: expected tokens {[*self.mask.shape]} as measured and finished {[*self.mask.shape[:1]]}, "
                f"received {[*tokens.shape]} and {[*finished.shape]}"
            )
        masks = form_masks(tokens, self.mask, finished, teacher_lengths=teacher_lengths)
        sums = form_sums(self.values(), masks, self.default_groups(), used=self.mask)
        return form_estimates([sums], ranges=self.ranges, draws=draws, seed=seed)

    def summary(
        self,
        groups: Groups | None = None,
        *,
        states: str | None = None,
        level: float = 0.95,
        draws: int = DRAWS,
        seed: int = 0,
    ) -> OverlapSummary:
        """Return micro-averages over positions, with intervals from a cluster bootstrap over utterances.

        Args:
            groups: which utterance each position belongs to (integers or strings): of the leading shape, or of its
                first axes (``[B]`` for ``[B, L]``), or with axes of length 1. Default: the first axis where there are
                two or more, else each position by itself.
            states: whose states these are: ``"student"``, ``"teacher"``, ``"reference"`` rollouts or ``"fixed"`` ones.
            level: coverage of the interval.
            draws: bootstrap resamples.
            seed: of the resampling.

        Raises:
            UserError: if groups do not fit the leading shape.
        """
        sums = GroupSums.from_values(self.values(), self.default_groups() if groups is None else groups, mask=self.mask)
        return OverlapSummary.from_group_sums(
            sums,
            k=self.k,
            temperature=self.temperature,
            states=states,
            ranges=self.ranges,
            level=level,
            draws=draws,
            seed=seed,
        )


def _full(columns: dict[str, Tensor], k: int, mask: Tensor) -> bool:
    """Return whether both sets have k tokens wherever they were measured."""
    return all(bool((columns[name][mask] == k).all()) for name in ("student_size", "teacher_size"))


def measure(
    student_logits: TensorLike,
    teacher_logits: TensorLike,
    *,
    mask: TensorLike | None = None,
    tokens: TensorLike | None = None,
    **settings: Unpack[ComparisonKeywords],
) -> TokenStatistics:
    """Measure support overlap and divergences at every position.

    Probabilities are float32 softmaxes over each model's own admissible vocabulary at ``temperature``. Between
    different vocabularies the supports, and so the masses, keep only tokens that both have, and the four
    full-vocabulary divergences are computed on the shared ids, renormalized there; the mapped masses give the covered
    share of each distribution.

    The logits may be torch tensors, numpy arrays or anything that speaks DLPack, in half precision, not contiguous, and
    on different devices. On a CPU the positions are distributed over as many threads as torch has, at most
    `overlap.core.threads.MOST`. At V = 151,936 the temporaries stay below 64 MiB for any number of positions. See
    `overlap.sweep` for several k and temperatures from one pass, and `overlap.measure_hidden` to avoid keeping logits.

    Args:
        student_logits: ``[..., V]`` raw scores. A score of −inf means probability zero.
        teacher_logits: ``[..., V_teacher]`` raw scores at the same positions.
        mask: ``[...]`` bool, True where a position counts; elsewhere the logits are not read and the result is NaN.
        tokens: ``[...]`` integers, the generated ids in the student's vocabulary, negative where there is none.
        settings: those of `overlap.vocab.settings.ComparisonSettings`, as keywords:

            * ``k`` (32): size of the supports;
            * ``temperature`` (1.0): divides both sides' logits in every probability;
            * ``vocabulary`` (None): the map between the two vocabularies; None when ids agree;
            * ``blocked`` (None): the student's ids to take out of both distributions and sets (control tokens, padded
              ids), or a ``[V]`` bool mask of them;
            * ``teacher_blocked`` (None): the teacher's ids to take out of both; needed for those that no student id
              maps to;
            * ``ends`` (none): the student's ids that end a text, the one of labels first; they are one event, see
              `overlap.merge_ends`;
            * ``teacher_ends`` (none): the teacher's, in its ids; the student's when ids agree and none are given;
            * ``top_p`` (0.95): mass of the sets of ``nucleus_overlap``, between 0 and 1.

    Returns:
        Statistics on the student's device, without gradient.

    Raises:
        UserError: on shapes, dtypes or sizes that do not fit, and on NaN, +inf or only −inf at an unmasked position;
            says what was received, what is expected and what to do.
    """
    point = ComparisonSettings(**settings)
    measurement, rows = of_logits(student_logits, teacher_logits, [point], mask, tokens)
    (statistics,) = TokenStatistics.from_measurement(measurement, [(measurement.where, rows)]).values()
    return statistics
