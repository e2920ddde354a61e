"""The share of the student's gradient that each method has at its source weight, on the demo's networks.

    python benchmarks/gradient_shares.py                     # every method, and variants that compare something else
    python benchmarks/gradient_shares.py --only dcd cwd      # these

A phantom, a teacher that is trained on it for a few epochs, and one student for each method, three short epochs long. A
share is what the log of such a training says of an epoch: the norm of the distillation's gradient, times μ, divided by
that of the segmentation's, both for the student's parameters, in the mean over two batches.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from nndistill.datasets import generate_phantom
from nndistill.demo import DemoSize
from nndistill.methods import METHODS
from nndistill.nnunet.data.preprocessing import plan_and_preprocess
from nndistill.nnunet.models.history import read_history
from nndistill.nnunet.training.run import train
from nndistill.nnunet.training.student import prepare_student
from nndistill.nnunet.training.teacher import prepare_teacher
from nndistill.nnunet.workspace import raw_folder, use_workspace
from nndistill.recipes import Recipe, load_recipe

SIZE = DemoSize(cases=8, test_cases=0)
EPOCHS = 3
SHARE = 0.5
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in sorted(METHODS) if name != "none"},
    "freekd": ("freekd", {"prompt_iterations": 50}),
    "cwd, encoder": ("cwd", {"match": "encoder"}),
}


@dataclass
class Measured:
    """One method in a training of its own."""

    method: str
    weight: float
    in_source: bool
    shares: list[float]

    @property
    def balanced(self) -> float:
        """μ at which the share would have been `SHARE` in the last epoch."""
        return self.weight * SHARE / self.shares[-1]


def recipe(**changes: Any) -> Recipe:
    return load_recipe("quick").adjusted(iterations=SIZE.iterations, validation_iterations=1, **changes)


def teach() -> Path:
    data = generate_phantom(
        raw_folder(), cases=SIZE.cases, test_cases=SIZE.test_cases, shape=SIZE.shape, spacing=SIZE.spacing, jobs=1
    )
    run = prepare_teacher(
        data.name,
        plan_and_preprocess(data.name, planner="ResEncUNetPlanner", processes=1),
        fold="0",
        recipe=recipe(epochs=SIZE.teacher_epochs, learning_rate=SIZE.teacher_learning_rate),
        features=SIZE.teacher_features,
        patch_size=SIZE.patch_size,
        batch_size=2,
        resume=True,
    )
    return train(run, device="cpu", validate=False)


def measure(variant: str, teacher: Path) -> Measured:
    method, options = VARIANTS[variant]
    asked = recipe(epochs=EPOCHS, learning_rate=SIZE.student_learning_rate, method=method, method_options=options)
    in_source = METHODS[method].source_weight is not None
    if not in_source:
        asked = asked.adjusted(distillation_weight=1)
    run = prepare_student(teacher, fold="0", recipe=asked, name=variant.replace(", ", "-"), resume=True)
    log = read_history(train(run, device="cpu", validate=False), "0").log
    return Measured(variant, float(log["distillation_weight"].iloc[0]), in_source, list(log["gradient_share"]))


def table(measured: list[Measured]) -> Table:
    view = Table("method", title=f"share of the gradient, patches of {'×'.join(map(str, SIZE.patch_size))}")
    for heading in ("μ", "share in epoch 1", f"share in epoch {EPOCHS}", f"μ for a share of {SHARE:g}"):
        view.add_column(heading, justify="right")
    for m in measured:
        weight = f"{m.weight:g}" if m.in_source else f"{m.weight:g} (no source weight)"
        view.add_row(m.method, weight, f"{m.shares[0]:.2g}", f"{m.shares[-1]:.2g}", f"{m.balanced:.2g}")
    return view


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), help="only these methods")
    parser.add_argument("--workspace", type=Path, help="keep data and models here, and go on from what is there")
    parser.add_argument("--json", type=Path, help="also write the measurements to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        use_workspace(arguments.workspace or Path(temporary))
        teacher = teach()
        measured = [measure(variant, teacher) for variant in arguments.only or VARIANTS]
    Console(width=100).print(table(measured))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(m) for m in measured], indent=1) + "\n")


if __name__ == "__main__":
    main()
