"""Reporting: tables, figures and an HTML page that compare a teacher with its students."""

from ..moved import names_from
from .figures.qualitative import draw_comparison
from .model_results import Cost, ReportedCases, ReportedModel
from .report import Report, write_report
from .tables.dice import dice_table

__all__ = [
    "Cost",
    "Report",
    "ReportedCases",
    "ReportedModel",
    "dice_table",
    "draw_comparison",
    "write_report",
]

__getattr__ = names_from(
    {"Evaluated": "nndistill.gather:EvaluationSettings", "gather": "nndistill.gather:gather_results"}, old=__name__
)
