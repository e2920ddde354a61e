"""`nndistill complexity`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..options import AsJson, Configuration, Features
from ..output import print_json, show

if TYPE_CHECKING:
    import pandas as pd


def complexity(
    plans_or_model: Annotated[Path, typer.Argument(help="Plans file with a dataset.json next to it, or model folder.")],
    configuration: Configuration = None,
    reduction: Annotated[int, typer.Option(help="Factor by which the student's channels are reduced.")] = 4,
    features: Features = None,
    as_json: AsJson = False,
) -> None:
    """Count the parameters and FLOPs of a network and of its student, per patch and per case."""
    from ...analysis.complexity import PAPER_FACTOR
    from ...analysis.costs import network_costs

    costs = network_costs(plans_or_model, configuration=configuration, reduction=reduction, features=features)
    if as_json:
        print_json(costs.to_dict(orient="index"))
        return
    show(readable_costs(costs).T, "Costs of the networks")
    print(
        "\nFLOPs are those of convolutions, two per multiply-add. A case is the data set's median image under\n"
        "nnU-Net's sliding window (patches overlap by half), without mirroring, which multiplies the FLOPs by up\n"
        "to eight.\n"
        "\nFor its networks, the FLOPs in the DCD paper's Table 3 are "
        f"{PAPER_FACTOR[0]} to {PAPER_FACTOR[1]} times these: it does\n"
        "not say what it counts. As the factor is the same for teacher and student, ratios can be compared."
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
