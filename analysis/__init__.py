"""Tables and figures of finished or running runs, from run directories alone.

Figures are in `analysis.figures`, so tables do not load a plotting library.
"""

from overlap.version import __version__ as __version__

from .advising import Advisories, Advisory, advisories
from .run.load import Run, load
from .run.runs import Runs, load_many
from .run.visits import Visit
from .stages.gate_readings import gate_readings
from .stages.table import StageTable, stage_table
from .tables.comparison import CompareTable, compare

__all__ = [
    "Advisories",
    "Advisory",
    "CompareTable",
    "Run",
    "Runs",
    "StageTable",
    "Visit",
    "advisories",
    "compare",
    "gate_readings",
    "load",
    "load_many",
    "stage_table",
]
