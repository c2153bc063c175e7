"""Tables, figures and reports of finished or running runs, from run directories alone."""

from .load import Run, load
from .tables import StageTable, stage_table

__all__ = ["Run", "StageTable", "load", "stage_table"]
