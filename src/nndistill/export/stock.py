"""A model folder for stock nnU-Net, and the zip that installs it."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from ..files import write_json
from ..nnunet.models.checkpoints import write_checkpoint
from ..nnunet.models.stock_model import portable_plans, stock_checkpoint
from .job import ExportJob


def export_stock(job: ExportJob, output: Path) -> list[str]:
    """Write `DATASET/TRAINER__PLANS__CONFIGURATION` with the folds, and a zip of it next to `DATASET`.

    A checkpoint holds the weights and what prediction reads, nothing of the training, and no Python objects:
    `torch.load(..., weights_only=True)` reads it.

    Args:
        job: What is exported.
        output: An empty folder.

    Returns:
        Paths of the written files in `output`.
    """
    folder, plans = job.folder, portable_plans(job.folder.plans)
    for file in job.checkpoint_files:
        checkpoint = stock_checkpoint(folder, file)
        trainer, configuration = checkpoint["trainer_name"], checkpoint["init_args"]["configuration"]
        model = output / plans["dataset_name"] / f"{trainer}__{plans['plans_name']}__{configuration}"
        write_checkpoint(model / file.parent.name / "checkpoint_final.pth", checkpoint)
    write_json(model / "plans.json", plans)
    write_json(model / "dataset.json", folder.dataset_json)
    if (fingerprint := folder.path / "dataset_fingerprint.json").is_file():
        shutil.copyfile(fingerprint, model / fingerprint.name)
    files = sorted(file for file in model.rglob("*") if file.is_file())
    archive = output / f"{plans['dataset_name']}__{model.name}.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as content:
        for file in files:
            content.write(file, file.relative_to(output))
    return [str(file.relative_to(output)) for file in [*files, archive]]
