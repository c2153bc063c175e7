"""Gates: when a training stage is over, decided on overlap and its uncertainty.

A gate reads estimates and the number of steps done in the stage; any trainer can drive it:

>>> from overlap import Action, AnyOf, Collapse, Estimate, FixedSteps, Threshold
>>> gate = AnyOf(Threshold("overlap_ratio", at_least=0.4), FixedSteps(1000), Collapse({"overlap_ratio": (0.1, None)}))
>>> for step, value in ((100, 0.35), (200, 0.45)):  # instead: train, then probe with overlap.measure(...).summary()
...     decision = gate.read({"overlap_ratio": Estimate(value, 0.01, value - 0.02, value + 0.02, 400, 20, 0)}, step)
...     if decision.action is not Action.stay:
...         print(step, decision.reason.split(" over ")[0])
200 threshold(overlap_ratio) says advance: overlap_ratio 0.45 [0.43, 0.47]

`READINESS` is the table of levels, with the evidence for each: ``READINESS.level("top1_agreement")``.

Save ``gate.state_dict()`` with a checkpoint; ``load_state_dict`` refuses the state of another gate.
"""

from overlap.definitions.readiness import READINESS, Question, Readiness, ReadinessLevel
from overlap.gates.collapse import Collapse
from overlap.gates.combine import AllOf, AnyOf
from overlap.gates.criteria import Amount, Criterion, Wait
from overlap.gates.decision import Action, Decision, Gate, Level
from overlap.gates.every_group import EveryGroup
from overlap.gates.plateau import Plateau
from overlap.gates.precondition import Precondition
from overlap.gates.saturation import Saturation
from overlap.gates.steps import FixedSteps
from overlap.gates.threshold import Threshold

__all__ = [
    "KINDS",
    "READINESS",
    "Action",
    "AllOf",
    "Amount",
    "AnyOf",
    "Collapse",
    "Criterion",
    "Decision",
    "EveryGroup",
    "FixedSteps",
    "Gate",
    "Level",
    "Plateau",
    "Precondition",
    "Question",
    "Readiness",
    "ReadinessLevel",
    "Saturation",
    "Threshold",
    "Wait",
]

KINDS: dict[str, type[Gate]] = {
    one.kind: one
    for name, one in list(globals().items())
    if name in __all__ and isinstance(one, type) and issubclass(one, Gate) and one is not Gate
}
"""Every kind of gate by its name, as states and recipes have it."""
