"""The verbs as functions: `check`, `load_pair`, `probe`, `preflight`, `show`, `score`, `evaluate`, `transcribe`.

>>> import distill
>>> pair = distill.load_pair("demo:student", "demo:teacher", k=8)
>>> result = distill.probe(pair, "demo:corpus/probe.jsonl", max_utterances=2, quiet=True)
>>> result.funnel["used"] == result.funnel.total
True

All checks are done before anything is computed, and before a model is loaded if it is given by name. Models are
directories, Hub names, `demo:student`, `demo:teacher`, or loaded; manifests are paths, `hf:NAME:CONFIG:SPLIT`,
`demo:corpus/…`, or lists of utterances. Progress is shown live in a terminal, as bars in a notebook, as lines on
standard error elsewhere, unless an `observer` is given or `quiet` is set.
"""

from .arguments import usable_device
from .check import check
from .evaluate import evaluate
from .load_pair import load_pair
from .preflight import preflight
from .probe import probe
from .score import score
from .show import show
from .transcribe import transcribe

__all__ = ["check", "evaluate", "load_pair", "preflight", "probe", "score", "show", "transcribe", "usable_device"]
