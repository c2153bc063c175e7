"""A report of runs in one file, with a verdict for each stage: `write_report`.

The page is self-contained and readable offline: figures, data and audio are inside it.
"""

from .audio import Clips
from .evidence import Evidence, Recommendation, StageFacts, StageVerdict
from .facts import stage_facts
from .studies import staging
from .thresholds import Thresholds
from .verdict import verdict
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
