"""Stock nnU-Net finds nnDistill's trainers here if `nnUNet_extTrainer` names the folder of this file."""

from nndistill.nnunet.training.distillation_trainer import nnUNetTrainerDistill
from nndistill.nnunet.training.recipe_trainer import nnUNetTrainerRecipe

__all__ = ["nnUNetTrainerDistill", "nnUNetTrainerRecipe"]
