"""`nndistill trainer-path`."""

from __future__ import annotations


def trainer_path() -> None:
    """Print the folder to put into nnUNet_extTrainer, so that stock nnUNetv2_train finds nnDistill's trainers."""
    from ...nnunet.training.run import TRAINERS

    print(TRAINERS)
