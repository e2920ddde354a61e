"""The plans of a student's model, which its folds share: two trainings that begin together must not lose either's."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from ...files import locked, read_json, write_json
from .same_setup import with_folds_of

_SECONDS_TO_WRITE = 10.0


def writing_plans(plans_file: Path) -> AbstractContextManager[object]:
    """Let one process at a time write plans.

    Raises:
        UserError: Another process keeps writing them.
    """
    busy = f"another process is writing {plans_file}; wait until it ends."
    return locked(plans_file.with_name(f".{plans_file.stem}.lock"), busy, wait=_SECONDS_TO_WRITE)


def name_teachers_of_all_folds(model_folder: Path, plans_file: Path) -> None:
    """Say in a model's plans who teaches each of its folds.

    nnU-Net writes the plans there that a training read when it began, before another fold may have been prepared.

    Args:
        model_folder: Of the student.
        plans_file: The plans that name the teachers of all folds that have been prepared.
    """
    if not plans_file.is_file():
        return
    in_model = model_folder / "plans.json"
    with writing_plans(plans_file):
        plans = read_json(in_model)
        complete = with_folds_of(plans, read_json(plans_file))
        if complete != plans:
            write_json(in_model, complete)
