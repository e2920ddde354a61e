"""Trainings of a tiny student in processes of their own, which tests kill or take files away from."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from nndistill.nnunet.models.checkpoints import read_checkpoint
from tiny import TINY
from trained_world import World


class StartedTraining:
    """A training that is started again and again; its checkpoint is written in every epoch.

    Args:
        world: The workspace.
        name: Of the run.
        epochs: Of the whole training.
    """

    def __init__(self, world: World, name: str, *, epochs: int) -> None:
        self.world, self.epochs = world, epochs
        self.folder = world.results / f"nnUNetTrainerDistill__{name}__3d_fullres" / "fold_0"
        self.arguments = ["distill", str(world.teacher), "--workspace", str(world.workspace), "--name", name, *TINY]
        self.arguments += ["--epochs", str(epochs), "--no-validate", "--resume"]

    @property
    def latest(self) -> Path:
        """The checkpoint of the last epoch that was completed."""
        return self.folder / "checkpoint_latest.pth"

    def start(self, *, processes: int = 1) -> subprocess.Popen[str]:
        """Start it, or go on with it."""
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command = [sys.executable, *(launcher if processes > 1 else []), "-m", "nndistill", *self.arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "nnUNet_n_proc_DA": "0"}
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)

    def finish(self) -> str:
        """Train to the end, check that it is the right one, and return what was printed."""
        process = self.start()
        said = " ".join(process.communicate(timeout=1200)[1].split())
        assert process.returncode == 0, said
        final = read_checkpoint(self.folder / "checkpoint_final.pth")
        assert final["current_epoch"] == self.epochs
        assert {len(final["logging"][key]) for key in ("train_losses", "val_losses", "mean_fg_dice")} == {self.epochs}
        self.every_checkpoint_is_whole()
        return said

    def every_checkpoint_is_whole(self) -> None:
        """Read all checkpoints that are there."""
        for file in self.folder.glob("checkpoint_*.pth"):
            read_checkpoint(file)

    @property
    def trained_epochs(self) -> int:
        """Epochs that were begun in all attempts, as their logs say."""
        logs = self.folder.glob("training_log_*.txt")
        return sum(len(re.findall(r": Epoch \d+", log.read_text())) for log in logs)
