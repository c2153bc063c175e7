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
from .tables.against_references import calibration_table, signal_table
from .tables.by_group import error_rates_by_group, overlap_by_group
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
    "calibration_table",
    "compare",
    "error_rates_by_group",
    "gate_readings",
    "load",
    "load_many",
    "overlap_by_group",
    "signal_table",
    "stage_table",
]
