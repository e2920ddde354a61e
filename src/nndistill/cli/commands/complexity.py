"""`nndistill complexity`."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ..options import AsJson, Blocks, Configuration, Features
from ..output import print_json, show

if TYPE_CHECKING:
    import pandas as pd

    from ...nnunet.architecture import Architecture


def complexity(
    plans_or_model: Annotated[Path, typer.Argument(help="Plans file with a dataset.json next to it, or model folder.")],
    configuration: Configuration = None,
    reduction: Annotated[
        list[int] | None,
        typer.Option(help="Number by which the network's channels are divided. Give several to compare. Default: 4."),
    ] = None,
    features: Features = None,
    stages: Annotated[
        list[int] | None,
        typer.Option(help="Number of the student's stages. Give several to compare. Default: the network's."),
    ] = None,
    blocks: Blocks = None,
    architecture: Annotated[
        list[str] | None,
        typer.Option(help="The student's kind of network: teacher, plain, or both to compare. Default: teacher."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Count parameters and FLOPs of a network and of possible students, per patch and per case."""
    from ...analysis.complexity import PAPER_FACTOR
    from ...analysis.costs import candidate_costs
    from ...nnunet.student_shape import StudentShape

    divisors: list[int | None] = [*reduction] if reduction else [None]
    depths: list[int | None] = [*stages] if stages else [None]
    kinds = cast("list[Architecture]", architecture or ["teacher"])  # others are refused where plans are derived
    candidates = {
        (shape := StudentShape(divisor, features, depth, blocks, kind)).name: shape
        for divisor, depth, kind in product(divisors, depths, kinds)
    }
    costs = candidate_costs(plans_or_model, list(candidates.values()), configuration=configuration)
    if len(candidates) == 1:
        costs = costs.rename(index=dict.fromkeys(candidates, "student"))
    if as_json:
        print_json(costs.to_dict(orient="index"))
        return
    if len(candidates) > 1:
        show(readable_candidates(costs), "Costs of the networks")
        print("\nFLOPs are those of convolutions, two per multiply-add. (÷4.0) means a quarter of the network's.")
        return
    show(readable_costs(costs).T, "Costs of the networks")
    print(
        "\nFLOPs are those of convolutions, two per multiply-add. A case is the data set's median image under\n"
        "nnU-Net's sliding window (patches overlap by half), without mirroring, which multiplies the FLOPs by up\n"
        "to eight.\n"
        "\nFor its networks, the FLOPs in the DCD paper's Table 3 are "
        f"{PAPER_FACTOR[0]} to {PAPER_FACTOR[1]} times these: it does\n"
        "not state what it counts. As the factor is the same for teacher and student, ratios can be compared."
    )


def readable_costs(costs: pd.DataFrame) -> pd.DataFrame:
    """Write the table of `network_costs` in units that are easy to read."""
    import pandas as pd

    from ...analysis.complexity import PAPER_FACTOR

    least, most = PAPER_FACTOR
    return pd.DataFrame(
        {
            "channels": costs["features"].map(lambda f: ", ".join(map(str, f))),
            "patch": costs["patch"].map(lambda p: "×".join(map(str, p))),
            "parameters": costs["parameters"].map(lambda n: f"{n / 1e6:.3f} M"),
            "FLOPs per patch": costs["flops_patch"].map(lambda n: f"{n / 1e9:.1f} G"),
            "as the paper counts": costs["flops_patch"].map(lambda n: f"{least * n / 1e9:.1f}–{most * n / 1e9:.1f} G"),
            "patches per case": costs["patches_case"],
            "FLOPs per case": costs["flops_case"].map(lambda n: f"{n / 1e9:.1f} G"),
        }
    )


def readable_candidates(costs: pd.DataFrame) -> pd.DataFrame:
    """Write the table of `candidate_costs` with one row per network, and in brackets how many times fewer it has."""
    readable = readable_costs(costs)
    fewer = {what: costs[f"{what}_ratio"].map(" (÷{:.1f})".format) for what in ("parameters", "flops")}
    return readable[["channels"]].assign(
        **{
            "parameters": readable["parameters"] + fewer["parameters"],
            "FLOPs per patch": readable["FLOPs per patch"] + fewer["flops"],
        }
    )
