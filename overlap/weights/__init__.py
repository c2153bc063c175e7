"""Weights that others give to single positions of a rollout, and a panel of what each would choose.

A rule is a pure function of what a comparison of student and teacher has at every position of a batch of rollouts.
`RULES` has them all by name, with what each needs; one that cannot be computed, as some with a served teacher, says so.

>>> import torch
>>> from overlap.weights import RULES, RuleInputs, shadow_panel
>>> mask = torch.tensor([[True, True, True], [True, True, False]])
>>> accepted = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
>>> weights = RULES["selectkd"].weights(RuleInputs(mask, best_in_teachers=accepted))
>>> weights.tolist()
[[1.0, 0.01, 1.0], [1.0, 1.0, nan]]
>>> shadow_panel({"selectkd": weights}, ["a", "b"], mask).rules["selectkd"].kept.value
0.8

No rule is advised. In the one public comparison with seeds (SimOPD, 29 variants, mathematics), 16 variants could not be
told from plain distillation once transcripts ended as they should. Look first at what a rule would keep.
"""

from overlap.weights.inputs import ACCEPTED_RANK, NUCLEUS_MASS, SET_SIZE, RuleInputs
from overlap.weights.panel import PairOfRules, RuleShare, ShadowPanel, shadow_panel
from overlap.weights.registry import OFFERED, RULES, Rule
from overlap.weights.rules import SeadChoice, iw, prune, scaled_decrement, sead, selectkd, tip, tropd

__all__ = [
    "ACCEPTED_RANK",
    "NUCLEUS_MASS",
    "OFFERED",
    "RULES",
    "SET_SIZE",
    "PairOfRules",
    "Rule",
    "RuleInputs",
    "RuleShare",
    "SeadChoice",
    "ShadowPanel",
    "iw",
    "prune",
    "scaled_decrement",
    "sead",
    "selectkd",
    "shadow_panel",
    "tip",
    "tropd",
]
