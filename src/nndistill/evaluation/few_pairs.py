"""With how few pairs a paired comparison allows no conclusion, whatever they are."""

from __future__ import annotations

FEWEST_PAIRS = 6
"""With fewer pairs, a two-sided Wilcoxon test cannot have p < 0.05: five pairs have 2 / 2⁵ = 0.0625 at best."""


def too_few(number: int, unit: str) -> str:
    """Say that there are too few pairs for a conclusion; empty if there are enough.

    Args:
        number: Number of independent pairs.
        unit: What one is called, such as `patient`.

    Example:
        >>> too_few(5, "patient")
        '5 patients are too few for a conclusion'
        >>> too_few(6, "patient")
        ''
    """
    if number >= FEWEST_PAIRS:
        return ""
    return f"{number} {unit}{'s are' if number > 1 else ' is'} too few for a conclusion"
