"""A training with the release's loss, through the command line."""

from __future__ import annotations

import math

from nndistill.nnunet.checkpoints import read_checkpoint
from tiny import TINY


def test_student_trains_with_the_release_loss(nndistill, world):
    run = ["distill", world.teacher, "--workspace", world.workspace, "--name", "release", *TINY]
    done = nndistill(*run, "--method", "dcd-release", "--epochs", 1, "--no-validate")
    assert done.status == 0, done.err
    folder = world.results / "nnUNetTrainerDistill__release__3d_fullres" / "fold_0"
    (loss,) = read_checkpoint(folder / "checkpoint_final.pth")["logging"]["distillation_losses"]
    assert math.isfinite(loss)
    assert loss > 0
