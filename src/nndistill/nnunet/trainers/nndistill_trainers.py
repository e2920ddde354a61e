"""The folder of this file is what `nnUNet_extTrainer` has to name for stock nnU-Net to find nnDistill's trainers."""

from nndistill.nnunet.training.trainer import nnUNetTrainerDistill, nnUNetTrainerRecipe

__all__ = ["nnUNetTrainerDistill", "nnUNetTrainerRecipe"]
