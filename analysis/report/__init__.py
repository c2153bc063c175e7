"""A report of runs in one file, with a verdict for each stage: `write_report`.

The page is self-contained and readable offline: figures, data and audio are inside it.
"""

from .audio import Clips
from .facts import stage_facts
from .staging_study import staging
from .thresholds import Thresholds
from .verdict import verdict
from .verdict_types import Evidence, Recommendation, StageFacts, StageVerdict
from .write import Report, write_report

__all__ = [
    "Clips",
    "Evidence",
    "Recommendation",
    "Report",
    "StageFacts",
    "StageVerdict",
    "Thresholds",
    "stage_facts",
    "staging",
    "verdict",
    "write_report",
]
