"""Tables and figures of finished or running runs, from run directories alone.

Figures are in `analysis.figures`, apart so that tables need no plotting library to load.
"""

from .comparison import CompareTable, compare
from .load import Run, load
from .tables import StageTable, stage_table
from .visits import Visit, visits

__all__ = ["CompareTable", "Run", "StageTable", "Visit", "compare", "load", "stage_table", "visits"]
