"""How far the public release's wavelet pyramid is from the paper's: reconstruction, smooth fields, and coefficients.

    python benchmarks/release_reconstruction.py
    python benchmarks/release_reconstruction.py --json FILE

Three tables. First, all eight bands of one level are kept and synthesised again, for random volumes of 32³ in single
precision: the relative error, with the release's filters and with those that invert. Second, the share of a field's
energy that the directional bands D hold (db4, three levels): a constant, a slope, a slow wave. For the paper's
projection it is ‖P(F)‖²/‖F‖², for the release the mean over its levels of mean squares, relative to the field's. Third,
the cosine between the gradients of the loss with the inverse transform and without it, for a difference of white noise.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import get_args

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from nndistill.methods import DCD, DCDRelease, StagewiseMethod
from nndistill.methods.parts.domain import Domain
from nndistill.methods.parts.release_pyramid import (
    ReleasePyramid,
    along,
    analysis_matrix,
    pyramid_energy,
    synthesis_matrix,
)
from nndistill.wavelets import SubbandProjection
from nndistill.wavelets.subbands import parse_bands

WAVELETS = ("db4", "haar")
SIZES = (8, 16, 32, 64)
MODES = ("zero", "periodization", "symmetric")


def reconstruction_error(wavelet: str, *, inverting: bool) -> float:
    """Relative error of synthesis after analysis, one level, nothing zeroed."""
    x = torch.randn(8, 32, 32, 32, generator=torch.Generator().manual_seed(0))
    analysis = analysis_matrix(wavelet, 32).float()
    synthesis = analysis.mT if inverting else synthesis_matrix(wavelet, 32).float()
    return float((along([synthesis] * 3, along([analysis] * 3, x)) - x).norm() / x.norm())


def fields(size: int) -> dict[str, Tensor]:
    """Smooth fields, `(1, 1, D, H, W)`."""
    wave = torch.cos(torch.pi * (torch.arange(size, dtype=torch.float64) + 0.5) / size)
    return {
        "constant": torch.ones(1, 1, size, size, size, dtype=torch.float64),
        "slope": torch.linspace(-1, 1, size, dtype=torch.float64).view(1, 1, -1, 1, 1).expand(1, 1, size, size, size),
        "wave": (wave[:, None, None] * wave[:, None]).expand(1, 1, size, size, size),
    }


def shares(size: int) -> list[dict[str, object]]:
    """Share of energy in D, by variant."""
    rows: list[dict[str, object]] = []
    released = ReleasePyramid(parse_bands("D"), "db4", 3)
    rows.append(
        {"size": size, "variant": "release"}
        | {name: float(pyramid_energy(field, released) / field.square().mean()) for name, field in fields(size).items()}
    )
    for mode in MODES:
        project = SubbandProjection("D", mode=mode)
        rows.append(
            {"size": size, "variant": f"paper, {mode}"}
            | {name: float(project(f).square().sum() / f.square().sum()) for name, f in fields(size).items()}
        )
    return rows


def agreement(size: int) -> dict[str, object]:
    """Cosine between the gradients of the two domains, by variant."""
    x = torch.randn(1, 1, size, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def gradient(method: StagewiseMethod) -> Tensor:
        student = x.clone().requires_grad_()
        return torch.autograd.grad(method.stage_loss(student, torch.zeros_like(x)), student)[0].flatten()

    row: dict[str, object] = {"size": size}
    for mode in ("periodization", "symmetric"):
        of_paper = (gradient(DCD([1], [1], mode=mode, domain=domain)) for domain in get_args(Domain))
        row[f"paper, {mode}"] = float(torch.cosine_similarity(*of_paper, dim=0))
    of_release = (gradient(DCDRelease([1], [1], domain=domain)) for domain in get_args(Domain))
    return row | {"release": float(torch.cosine_similarity(*of_release, dim=0))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    arguments = parser.parse_args()

    errors = {
        w: {i: reconstruction_error(w, inverting=i == "inverting") for i in ("release", "inverting")} for w in WAVELETS
    }
    energies = [row for size in SIZES for row in shares(size)]
    cosines = [agreement(size) for size in SIZES]

    view = Table("wavelet", title="Relative error of synthesis after analysis, all bands kept")
    view.add_column("the release's filters", justify="right")
    view.add_column("the analysis filters", justify="right")
    for wavelet, error in errors.items():
        view.add_row(wavelet, f"{error['release']:.2f}", f"{error['inverting']:.0e}")
    console = Console(width=100)
    console.print(view)

    view = Table("size", "variant", title="Share of a smooth field's energy in D")
    for name in fields(2):
        view.add_column(name, justify="right")
    for row in energies:
        view.add_row(f"{row['size']}³", str(row["variant"]), *(f"{row[name]:.2f}" for name in fields(2)))
    console.print(view)

    view = Table("size", title="Cosine between the gradients with and without the inverse transform, bands D")
    variants = [key for key in cosines[0] if key != "size"]
    for variant in variants:
        view.add_column(variant, justify="right")
    for row in cosines:
        view.add_row(f"{row['size']}³", *(f"{row[variant]:.3f}" for variant in variants))
    console.print(view)
    if arguments.json:
        numbers = {"reconstruction": errors, "shares": energies, "domains": cosines}
        arguments.json.write_text(json.dumps(numbers, indent=1))


if __name__ == "__main__":
    main()
