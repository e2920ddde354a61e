"""Weights as safetensors: no code in the file, read without nnU-Net's checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path

from safetensors.torch import save_model

from ..files import write_json
from ..nnunet.models.checkpoints import read_checkpoint
from ..nnunet.models.stock_model import portable_plans
from ..runtime.formats import FORMATS
from .job import ExportJob

FILE = str(FORMATS["safetensors"].file)


def export_safetensors(job: ExportJob, output: Path) -> list[str]:
    """Write the weights of the checkpoints, each once, with the plans and `dataset.json` that describe the network.

    Args:
        job: What is exported.
        output: An empty folder.

    Returns:
        Names of the written files.
    """
    checkpoint = read_checkpoint(job.checkpoint_files[0])
    metadata = {
        "trainer": checkpoint["trainer_name"],
        "configuration": job.folder.configuration(checkpoint),
        "folds": ",".join(job.folds),
    }
    save_model(job.network, str(output / FILE), metadata)
    write_json(output / "plans.json", portable_plans(job.folder.plans))
    write_json(output / "dataset.json", job.folder.dataset_json)
    shutil.copymode(output / "plans.json", output / FILE)  # safetensors lets nobody else read its file
    return [FILE, "plans.json", "dataset.json"]
