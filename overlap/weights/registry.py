"""The rules by name: what each needs, what its weights may be, and whether a recipe may train with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor

from overlap.errors import UserError
from overlap.weights import rules
from overlap.weights.inputs import RuleInputs


@dataclass(frozen=True)
class Rule:
    """A rule, computed from `RuleInputs`.

    Attributes:
        name: In recipes, tables and files.
        title: What its source calls it.
        source: Where its formula is from.
        needs: Names of the values of `RuleInputs` that it reads.
        compute: The weights, ``[B, L]``, once the values are known to be there.
        smallest: The least weight possible.
        largest: The largest weight possible.
        offered: Whether a recipe may train with it; the others only inform.
    """

    name: str
    title: str
    source: str
    needs: tuple[str, ...]
    compute: Callable[[RuleInputs], Tensor]
    smallest: float = 0.0
    largest: float = 1.0
    offered: bool = False

    @property
    def keeps_all(self) -> bool:
        """Whether it keeps every position, whatever the models are: no weight is below half of the largest."""
        return self.smallest >= self.largest / 2

    def weights(self, inputs: RuleInputs) -> Tensor:
        """Weights ``[B, L]`` float64, NaN where there is no position or an input is undefined.

        Args:
            inputs: of the batch.

        Raises:
            UserError: a value that it needs is not known, such as the teacher's probability behind a server.
        """
        self.check(inputs.known)
        return self.compute(inputs)

    def check(self, known: frozenset[str] | set[str]) -> None:
        """Refuse a comparison that lacks a value.

        Args:
            known: names of the values of `RuleInputs` that it has.

        Raises:
            UserError: names rule, values, and rules that could be computed.
        """
        lacking = [name for name in self.needs if name not in known]
        if lacking:
            able = [f'"{rule.name}"' for rule in RULES.values() if rule.offered and known.issuperset(rule.needs)]
            instead = (
                f"use {' or '.join(able)}, or compare with a local teacher" if able else "compare with a local teacher"
            )
            raise UserError(f'weights "{self.name}": {", ".join(lacking)} not known in this comparison; {instead}')


def _of(inputs: RuleInputs, *names: str) -> tuple[Tensor, ...]:
    return tuple(getattr(inputs, name) for name in names)


def _prune(inputs: RuleInputs) -> Tensor:
    return rules.prune(*_of(inputs, "overlap_ratio", "mask"))


def _prune_nucleus(inputs: RuleInputs) -> Tensor:
    return rules.prune(*_of(inputs, "overlap_ratio", "mask"), outside_nucleus=inputs.outside_nucleus)


def _prune_scaled(inputs: RuleInputs) -> Tensor:
    decrement = rules.scaled_decrement(inputs.mask)
    return rules.prune(*_of(inputs, "overlap_ratio", "mask"), decrement=decrement)


def _selectkd(inputs: RuleInputs) -> Tensor:
    return rules.selectkd(*_of(inputs, "best_in_teachers", "mask"))


def _iw(inputs: RuleInputs) -> Tensor:
    return rules.iw(*_of(inputs, *_LOGPROBS, "mask"))


def _tropd(inputs: RuleInputs) -> Tensor:
    return rules.tropd(*_of(inputs, *_LOGPROBS, "mask"))


def _tip(inputs: RuleInputs) -> Tensor:
    return rules.tip(*_of(inputs, "student_entropy", "reverse_kl", "mask"))


def _sead(inputs: RuleInputs) -> Tensor:
    """1 where SEAD trains on either divergence, 0 where it skips."""
    return rules.sead(*_of(inputs, *_ENTROPIES, "mask")).clamp_max(1.0)


_LOGPROBS = ("student_logprob", "teacher_logprob")
_ENTROPIES = ("student_entropy", "teacher_entropy")
_PRUNE_SOURCE, _TIP_SOURCE, _SEAD_SOURCE = "after arXiv 2605.07804", "after arXiv 2604.14084", "after arXiv 2606.28562"

RULES = MappingProxyType(
    {
        rule.name: rule
        for rule in (
            Rule("prune", "Prune-OPD", _PRUNE_SOURCE, ("overlap_ratio",), _prune, offered=True),
            Rule(
                "prune_nucleus",
                "Prune-OPD, nucleus",
                _PRUNE_SOURCE,
                ("overlap_ratio", "outside_nucleus"),
                _prune_nucleus,
            ),
            Rule(
                "prune_scaled",
                "Prune-OPD, d scaled",
                f"{_PRUNE_SOURCE}, scaling ours",
                ("overlap_ratio",),
                _prune_scaled,
            ),
            Rule(
                "selectkd",
                "SelecTKD",
                "arXiv 2510.24021",
                ("best_in_teachers",),
                _selectkd,
                smallest=rules.SELECTKD_REJECTED,
                offered=True,
            ),
            Rule(
                "iw",
                "IW-OPD",
                "arXiv 2606.22600, as TRL 1.16",
                _LOGPROBS,
                _iw,
                smallest=1.0,
                largest=1.0 + rules.IW_GAMMA,
                offered=True,
            ),
            Rule("tropd", "TrOPD", "after arXiv 2606.01249, as a weight ours", _LOGPROBS, _tropd, offered=True),
            Rule("tip", "TIP", _TIP_SOURCE, ("student_entropy", "reverse_kl"), _tip),
            Rule("sead", "SEAD, not skipped", f"{_SEAD_SOURCE}, limits ours", _ENTROPIES, _sead),
        )
    }
)
"""All rules by name, in the order of tables."""

OFFERED = tuple(rule.name for rule in RULES.values() if rule.offered)
"""Names of the rules that a recipe may train with."""
