"""`nndistill complexity`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..options import AsJson, Features
from ..output import print_json, show

if TYPE_CHECKING:
    import pandas as pd


def complexity(
    plans_or_model: Annotated[Path, typer.Argument(help="A plans file beside its dataset.json, or a model folder.")],
    configuration: Annotated[str | None, typer.Option(help="Default: the 3D one.")] = None,
    reduction: Annotated[int, typer.Option(help="The channels are divided by this.")] = 4,
    features: Features = None,
    as_json: AsJson = False,
) -> None:
    """Parameters and FLOPs of a network and of its student, for a patch and for a whole case."""
    from ...analysis.costs import network_costs

    costs = network_costs(plans_or_model, configuration=configuration, reduction=reduction, features=features)
    if as_json:
        print_json(costs.to_dict(orient="index"))
        return
    show(readable_costs(costs).T, "What the networks cost")
    print(
        "\nFLOPs: convolutions, two a multiply-add. A case: the data set's median image under nnU-Net's sliding\n"
        "window (patches overlap by half), without mirroring, which multiplies it by up to eight."
    )


def readable_costs(costs: pd.DataFrame) -> pd.DataFrame:
    """Give the table of `network_costs` units a person reads."""
    import pandas as pd

    return pd.DataFrame(
        {
            "channels": costs["features"].map(lambda f: ", ".join(map(str, f))),
            "patch": costs["patch"].map(lambda p: "×".join(map(str, p))),
            "parameters": costs["parameters"].map(lambda n: f"{n / 1e6:.3f} M"),
            "FLOPs a patch": costs["flops_patch"].map(lambda n: f"{n / 1e9:.1f} G"),
            "patches a case": costs["patches_case"],
            "FLOPs a case": costs["flops_case"].map(lambda n: f"{n / 1e9:.1f} G"),
        }
    )
