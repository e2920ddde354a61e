"""Colours that readers with any kind of colour vision can tell apart (Okabe and Ito, 2008)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..model_results import ReportedModel

SKY_BLUE = "#56B4E9"
YELLOW = "#F0E442"
GREEN = "#009E73"
PURPLE = "#CC79A7"
ORANGE = "#E69F00"
BLUE = "#0072B2"
VERMILLION = "#D55E00"

INK = "#16191d"
"""Text and axes. The HTML page replaces it by its own text colour, so nothing else may have it."""
GREY = "#7d838a"
"""A teacher, and what stays in the background; legible on white and on black."""

LABELS = (SKY_BLUE, YELLOW, GREEN, PURPLE, ORANGE, BLUE)
"""Colours of labels; vermillion is reserved for voxel errors."""
STUDENTS = (BLUE, ORANGE, GREEN, PURPLE, SKY_BLUE, VERMILLION)
"""Colours of students in charts."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")


class ModelStyle(NamedTuple):
    """How a chart shows a model: no two models share both."""

    colour: str
    marker: str


def label_colours(labels: Iterable[int]) -> dict[int, str]:
    """Give every foreground label a colour by its rank, so that all figures of a data set agree.

    The seventh label gets the first colour again.

    Args:
        labels: Label values; 0, the background, gets no colour.
    """
    foreground = sorted(set(labels) - {0})
    return {label: LABELS[rank % len(LABELS)] for rank, label in enumerate(foreground)}


def model_styles(models: Sequence[ReportedModel]) -> dict[str, ModelStyle]:
    """Give every model a colour and a marker, the same in all charts of a report; teachers are grey."""
    colours = iter(STUDENTS * len(models))
    return {
        model.name: ModelStyle(GREY if model.role == "teacher" else next(colours), MARKERS[rank % len(MARKERS)])
        for rank, model in enumerate(models)
    }
