"""`nndistill trainer-path`."""

from __future__ import annotations


def trainer_path() -> None:
    """Print the folder that nnUNet_extTrainer has to name for stock nnUNetv2_train to find nnDistill's trainers."""
    from ...nnunet.workspace import TRAINERS

    print(TRAINERS)
