"""The soft switches of an on-policy stage at a step: its off-policy share and the radius of its trust region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import overlap
from overlap.plain_json import number, plain
from overlap.soft_switches import Share, ShareRule, linear

from ..recipe import StageConfig
from ..run.checkpoint import LastReading, TrainingState


@dataclass(frozen=True)
class Mixture:
    """How much of the teacher is in the transcripts of a part of a step.

    Attributes:
        off_policy: Whether they are those of the stage's off-policy share.
        radius: Of the trust region in which they are written otherwise, in nats; 0 lets the student write alone.
    """

    off_policy: bool = False
    radius: float = 0.0


@dataclass(frozen=True)
class SoftSwitches:
    """Where the soft switches of a stage are at a step; the same in all processes and after a resume.

    Attributes:
        share: The off-policy share; None without `off_policy`.
        read_at: Training step of the reading that it follows; None if it follows none.
        radius: Of the trust region, in nats; None without one.
    """

    share: Share | None = None
    read_at: int | None = None
    radius: float | None = None

    @classmethod
    def at(cls, stage: StageConfig, state: TrainingState) -> SoftSwitches:
        """Return them for the next step.

        Args:
            stage: The current stage.
            state: Of the run, with the last reading.
        """
        if stage.type != "opd":
            return cls()
        share, read_at, region = None, None, stage.rollout.trust_region
        if stage.off_policy is not None and (rule := stage.off_policy.rule) is not None:
            last = state.last_reading if rule.statistics else None
            share = rule.share(None if last is None else _estimates(last), state.stage_step)
            read_at = None if last is None else last.step
        elif stage.off_policy is not None:
            assert isinstance(stage.off_policy.fraction, float)
            share = Share(stage.off_policy.fraction, "constant")
        radius = None if region is None else linear(region.radius, 0.0, state.stage_step, region.steps or stage.steps)
        return cls(share, read_at, radius)

    def mixture(self, draw: float) -> Mixture:
        """Return the mixture of a part of the step.

        Args:
            draw: Between 0 and 1; off-policy transcripts are taken below the share.
        """
        return Mixture(self.share is not None and draw < self.share.value, self.radius or 0.0)

    def row(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of the step's row in `metrics.jsonl`.

        Args:
            metrics: What the step measured; its `trust_region` is joined to the radius.
        """
        found: dict[str, Any] = {}
        if self.share is not None:
            share = {"share": self.share.value, "reason": self.share.reason, "reading": self.share.reading}
            found["off_policy"] = share | {"read_at": self.read_at}
        if self.radius is not None:
            found["trust_region"] = {"radius": self.radius} | metrics.get("trust_region", {})
        return found


def share_rule(stage: StageConfig) -> ShareRule | None:
    """Return the rule by which a stage's off-policy share changes; None if there is none."""
    return stage.off_policy.rule if stage.type == "opd" and stage.off_policy is not None else None


def last_reading(rule: ShareRule | None, readings: Mapping[str, overlap.Estimate], step: int) -> LastReading | None:
    """Return what a checkpoint keeps of a reading for the stage's rule; None if the rule reads nothing.

    Args:
        rule: Of the stage.
        readings: By name.
        step: Training step of the reading.
    """
    if rule is None or not rule.statistics:
        return None
    return LastReading(step, {name: plain(readings[name].to_dict()) for name in rule.statistics if name in readings})


def _estimates(last: LastReading) -> dict[str, overlap.Estimate]:
    return {
        name: overlap.Estimate.from_dict({key: number(one) for key, one in numbers.items()})
        for name, numbers in last.estimates.items()
    }
