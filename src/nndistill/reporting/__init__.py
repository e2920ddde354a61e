"""Reporting: tables and figures of what teacher and students got right."""

from .qualitative import draw_comparison
from .dice_table import dice_table

__all__ = ["dice_table", "draw_comparison"]
