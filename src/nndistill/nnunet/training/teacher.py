"""A teacher on a small budget: a stock nnU-Net with chosen channels, patch size and training length."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...files import read_json
from ...recipes import Recipe, as_recipe
from ..data.preprocessed_case import split_of_fold
from ..plans import derive_plans, distillable_configuration, resolved_configuration
from ..run_setup import RunSetup
from .run import Run
from .run_name import with_configuration


def prepare_teacher(
    dataset: str,
    plans_file: Path,
    *,
    fold: str,
    recipe: Recipe | str | Path,
    configuration: str | None = None,
    name: str | None = None,
    features: Sequence[int] | None = None,
    patch_size: Sequence[int] | None = None,
    batch_size: int | None = None,
    resume: bool = False,
) -> Run:
    """Write the plans of a teacher's training, and return the run.

    Args:
        dataset: The data set's full name.
        plans_file: Plans made by `plan_and_preprocess`.
        fold: `0` to `4`, or `all`.
        recipe: How to train; a name or a YAML file is loaded.
        configuration: Name of the plans' configuration; default: `3d_fullres`.
        name: Plans name of the run; default: the planner's with `_teacher` appended, or if another configuration is
            chosen with that and its name, such as `_2d_teacher`.
        features: Channels of each stage; default: as planned.
        patch_size: Voxels per patch; default: as planned.
        batch_size: Patches per batch; default: as planned.
        resume: Accept a run that was begun before.

    Raises:
        UserError: The network cannot be built like this, there is no such configuration or fold, or a run of this name
            exists.

    Example:
        >>> teacher = prepare_teacher(dataset, plans_file, fold="0", recipe="quick", features=[8, 16, 32], name="small")
        >>> teacher.plans_file.name, teacher.finished
        ('small.json', False)
    """
    planned = read_json(plans_file)
    configuration = distillable_configuration(planned, configuration, source=str(plans_file))
    split_of_fold(plans_file.parent, resolved_configuration(planned, configuration)["data_identifier"], fold)
    stem = plans_file.stem
    if configuration != distillable_configuration(planned):
        stem = with_configuration(stem, configuration)
    run = Run(dataset, configuration, fold, "nnUNetTrainerRecipe", name or f"{stem}_teacher")
    plans = derive_plans(
        planned, configuration, features=features, patch_size=patch_size, batch_size=batch_size, name=run.plans_name
    )
    run.store_plans(RunSetup(recipe=as_recipe(recipe)).into(plans), resume=resume)
    return run
