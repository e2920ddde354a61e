"""Reporting: tables, figures and an HTML page of what teacher and students got right."""

from .dice_table import dice_table
from .gather import Evaluated, gather
from .qualitative import draw_comparison
from .report import Report, write_report
from .reported import Cost, ReportedCases, ReportedModel

__all__ = [
    "Cost",
    "Evaluated",
    "Report",
    "ReportedCases",
    "ReportedModel",
    "dice_table",
    "draw_comparison",
    "gather",
    "write_report",
]
