"""What a run's records advise, worst first: `advisories`.

Each rule is a pure function of a loaded run; their levels are those of `overlap.gates.READINESS`.
"""

from ..run.checks import want_run
from ..run.load import Run
from .advisory import Advisories, Advisory, Rule, Severity
from .advisory import judged as _judged
from .against_references import RULES as _REFERENCES
from .agreement import RULES as _AGREEMENT
from .endings import RULES as _ENDINGS
from .evaluations import RULES as _EVALUATIONS
from .gating import RULES as _GATING
from .parts import RULES as _PARTS
from .training import RULES as _TRAINING

__all__ = ["RULES", "Advisories", "Advisory", "Rule", "Severity", "advisories"]

RULES: tuple[Rule, ...] = (
    *_ENDINGS,
    *_PARTS,
    *_AGREEMENT,
    *_TRAINING,
    *_EVALUATIONS,
    *_REFERENCES,
    *_GATING,
)
"""All rules, in the order in which numbers are read: the end of text first."""


def advisories(run: Run) -> Advisories:
    """Return what a run's records advise, the worst first, and what was checked.

    Args:
        run: A run, finished or not, or the trace of a probe, from `analysis.load`.

    Raises:
        UserError: Not a run, or a file of it is damaged.
    """
    want_run(run)
    return _judged(run, RULES)
