"""Prediction by stock nnU-Net, as its command line does it, in this process."""

from __future__ import annotations

from pathlib import Path

from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from ...runtime.backends.torch import find_device
from ...suppress_output import suppress_output
from .checkpoints import read_checkpoint
from .model_folder import ModelFolder


def predict_folder(model: Path, images: Path, output: Path, *, fold: str, device: str = "auto") -> list[Path]:
    """Predict every case of a folder in nnU-Net's raw format; cases that have a prediction are skipped.

    Args:
        model: A model folder.
        images: Folder with `CASE_0000.nii.gz`, …
        output: Folder for `CASE.nii.gz`.
        fold: Fold whose weights predict.
        device: As in `train`.

    Returns:
        The label maps, sorted.

    Raises:
        UserError: The model or its checkpoint is missing or cannot be read, or the device is not available.
    """
    folder = ModelFolder.read(model)
    checkpoint_file = folder.checkpoint_file(fold)
    read_checkpoint(checkpoint_file)  # which refuses a file that would run code when nnU-Net loads it
    output.mkdir(parents=True, exist_ok=True)
    with suppress_output(output / "prediction_log.txt"):
        predictor = nnUNetPredictor(device=find_device(device), allow_tqdm=False)
        predictor.initialize_from_trained_model_folder(str(model), (fold,), checkpoint_file.name)
        predictor.predict_from_files_sequential(str(images), str(output), overwrite=False)
    return sorted(output.glob(f"*{folder.dataset_json['file_ending']}"))
