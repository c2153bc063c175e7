"""Tables and figures of finished or running runs, from run directories alone.

Figures are in `analysis.figures`, apart so that tables need no plotting library to load.
"""

from .comparison import CompareTable, compare
from .load import Run, load
from .readings import gate_readings
from .runs import Runs, load_many
from .tables import StageTable, stage_table
from .visits import Visit, visits

__all__ = [
    "CompareTable",
    "Run",
    "Runs",
    "StageTable",
    "Visit",
    "compare",
    "gate_readings",
    "load",
    "load_many",
    "stage_table",
    "visits",
]
