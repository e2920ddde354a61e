"""Draws the pictures of the documentation that are computed: DCD on a feature, the shapes of bands.

`python docs/draw_figures.py` writes them into `docs/figures`; a few minutes on one core. Charts: `draw_charts.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nndistill import Distiller
from nndistill.analysis.bands import stage_bands
from nndistill.datasets import phantom_case
from nndistill.methods import DCD
from nndistill.reporting.figures.bands import draw_bands
from nndistill.reporting.figures.chart import chart_looks, empty_chart
from nndistill.wavelets import wavedec3, waverec3

FOLDER = Path(__file__).with_name("figures")

CASE, SHAPE, SPACING = 7, (72, 88, 72), (2.0, 2.0, 2.0)
SLAB = slice(20, 52)  # the middle of the head
BORDER = 8  # voxels that the padding of convolutions reaches, and the background around the head
CLASSES = 5
STEPS = 80


def network(channels: int) -> nn.Sequential:
    """Two blocks and a classifier; the second block is the stage that is drawn."""

    def block(inside: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv3d(inside, channels, 3, padding=1), nn.InstanceNorm3d(channels, affine=True), nn.LeakyReLU()
        )

    return nn.Sequential(block(4), block(channels), nn.Conv3d(channels, CLASSES, 1))


def dcd_on_a_feature() -> Figure:
    """Figure 2b of the paper: a feature, its bands and what DCD compares, of teacher, student and their difference."""
    torch.manual_seed(0)
    images, labels = phantom_case(CASE, shape=SHAPE, spacing=SPACING)
    x = torch.from_numpy(np.asarray(images, np.float32))[None, :, SLAB]
    x = (x - x.mean(dim=(2, 3, 4), keepdim=True)) / x.std(dim=(2, 3, 4), keepdim=True)
    target = torch.from_numpy(np.asarray(labels, np.int64))[None, SLAB]

    teacher, student = network(16), network(4)
    optimizer = torch.optim.AdamW(teacher.parameters(), 1e-2)
    for _ in range(STEPS):
        optimizer.zero_grad()
        cross_entropy(teacher(x), target).backward()
        optimizer.step()

    method = DCD([4], [16])
    distiller = Distiller(student, teacher, method, student_taps=["1"], teacher_taps=["1"])
    optimizer = torch.optim.AdamW(distiller.parameters(), 1e-2)
    for _ in range(STEPS):
        optimizer.zero_grad()
        output, distillation = distiller(x)
        (cross_entropy(output, target) + distillation).backward()
        optimizer.step()

    with torch.no_grad():
        seen = [model[1](model[0](x)) for model in (teacher, student)]
        through_phi = method.phi[0](seen[1])
    inside = (..., slice(4, -4), slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    bands = stage_bands(seen[0][inside], through_phi[inside])
    assert bands is not None
    return draw_bands(bands, stage=1, case="phantom", spacing=SPACING, phi="of the run").figure


def shapes_of_bands(size: int = 20) -> Figure:
    """One coefficient of each band of one level, transformed back alone, in two slices."""
    names = ["LLL", "LLH", "LHL", "HLL", "LHH", "HLH", "HHL", "HHH"]
    groups = ["A", *["D"] * 6, "S"]
    with chart_looks():
        figure = empty_chart(2.1)
        for row, title in zip(figure.subplots(2, len(names)), ("across D", "across H"), strict=True):
            row[0].set_ylabel(title)
            for axes, name, group in zip(row, names, groups, strict=True):
                field = _one_coefficient(name, size)
                centre = np.unravel_index(int(field.abs().argmax()), field.shape)
                picture = (field[centre[0]] if title == "across D" else field[:, centre[1]])[4:-1, 4:-1]
                largest = float(field.abs().max())
                axes.imshow(picture, cmap="gray", vmin=-largest, vmax=largest, interpolation="nearest")
                axes.set(xticks=[], yticks=[])
                if title == "across D":
                    axes.set_title(f"{name} ({group})")
    return figure


def _one_coefficient(band: str, size: int) -> Tensor:
    coefficients = wavedec3(torch.zeros(size, size, size), "db4", mode="periodization", level=1)
    low, details = coefficients
    wanted = low if band == "LLL" else details[band.replace("L", "a").replace("H", "d")]
    wanted[tuple(length // 2 for length in wanted.shape)] = 1
    return waverec3(coefficients, "db4", mode="periodization", shape=(size, size, size))


def main() -> None:
    for draw in (shapes_of_bands, dcd_on_a_feature):
        draw().savefig(FOLDER / f"{draw.__name__.replace('_', '-')}.png", dpi=160)


if __name__ == "__main__":
    main()
