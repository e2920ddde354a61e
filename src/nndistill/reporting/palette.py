"""Colours that readers with any kind of colour vision can tell apart (Okabe and Ito, 2008)."""

from __future__ import annotations

from collections.abc import Iterable

SKY_BLUE = "#56B4E9"
YELLOW = "#F0E442"
GREEN = "#009E73"
PURPLE = "#CC79A7"
ORANGE = "#E69F00"
BLUE = "#0072B2"
VERMILLION = "#D55E00"

LABELS = (SKY_BLUE, YELLOW, GREEN, PURPLE, ORANGE, BLUE)
"""Colours of labels; vermillion is kept for mistakes."""


def label_colours(labels: Iterable[int]) -> dict[int, str]:
    """Give every foreground label a colour, by its rank, so that all figures of a data set agree.

    More than six labels begin again with the first colour.

    Args:
        labels: Label values; 0, the background, gets no colour.
    """
    foreground = sorted(set(labels) - {0})
    return {label: LABELS[rank % len(LABELS)] for rank, label in enumerate(foreground)}
