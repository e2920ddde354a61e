"""`nndistill trainer-path`."""

from __future__ import annotations


def trainer_path() -> None:
    """Print the folder of nnDistill's trainers, which nnUNet_extTrainer has to name for stock nnUNetv2_train."""
    from ...nnunet.workspace import TRAINERS

    print(TRAINERS)
