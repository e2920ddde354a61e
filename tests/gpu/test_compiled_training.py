"""A training on CUDA whose student and teacher's encoder nnU-Net's setting compiles."""

from __future__ import annotations

import numpy as np

from nndistill.nnunet.models.checkpoints import read_checkpoint
from short_trainings import distillation, fold_folder


def test_compiled_distillation_trains(world, nndistill, cuda):
    result = nndistill(*distillation(world, "compiled", cuda, "--epochs", 1, "--no-validate"))
    assert result.status == 0, result.err
    log = read_checkpoint(fold_folder(world, "compiled") / "checkpoint_final.pth")["logging"]
    assert np.isfinite(log["train_losses"]).all()
