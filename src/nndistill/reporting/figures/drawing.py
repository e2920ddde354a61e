"""A figure together with its file name, its title and its caption."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from .chart import save_chart


@dataclass(frozen=True)
class Drawing:
    """A figure and what a reader needs to know about it; `Table` is its counterpart for numbers.

    Args:
        name: File name without an ending.
        title: What it shows, in a few words; read out to those who cannot see it.
        caption: How to read it.
        figure: The figure itself.
        dpi: Resolution of its PNG file.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    dpi: int = 200

    def write(self, folder: Path) -> list[Path]:
        """Write `NAME.pdf`, `NAME.svg` and `NAME.png`."""
        return save_chart(self.figure, folder, self.name, dpi=self.dpi)
