"""Trackers of experiments, which get what nnU-Net logs: Weights & Biases, which nnU-Net itself knows, and MLflow.

Environment variables choose them, so that the processes of a training or study do the same, as does `nnUNetv2_train`.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Callable
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import Any

from ...errors import UnknownName, UserError
from ...files import write_file

logger = logging.getLogger(__name__)

WANDB, MLFLOW = "nnUNet_wandb_enabled", "nnDistill_mlflow_enabled"
"""Environment variables that are 1 if a training reports to the tracker."""

_PROJECT, _URI, _EXPERIMENT = "nnUNet_wandb_project", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"
_TRACKERS = ("mlflow", "wandb")


def track(tracker: str) -> None:
    """Let the trainings of this process, and of those that it starts, report to a tracker.

    Args:
        tracker: `wandb` or `wandb:PROJECT`; `mlflow` or `mlflow:URI`, the URI of a server or a folder. What is left out
            is what the tracker's own environment variables say.

    Raises:
        UnknownName: There is no such tracker.
        UserError: Its package is not installed.

    Example:
        >>> track("tensorboard")
        Traceback (most recent call last):
        nndistill.errors.UnknownName: there is no tracker 'tensorboard'. Known: mlflow, wandb.
    """
    name, _, place = tracker.partition(":")
    if name not in _TRACKERS:
        raise UnknownName("tracker", name, _TRACKERS, option="track")
    if find_spec(name) is None:
        raise UserError(f"{name} is not installed: pip install {name}", option="track")
    switch, where = (WANDB, _PROJECT) if name == "wandb" else (MLFLOW, _URI)
    os.environ[switch] = "1"
    if place:
        os.environ[where] = place


def stop_tracking() -> None:
    """Let this process report to no tracker: of several that train together, only the first does."""
    os.environ.update({WANDB: "0", MLFLOW: "0"})


def further_trackers(output_folder: Path, config: dict[str, Any], *, resume: bool) -> list[MlflowRun]:
    """Return the trackers that nnU-Net does not know, as the environment asks for them.

    Args:
        output_folder: Of the training.
        config: Its plans and what else describes it.
        resume: Whether the training goes on from a checkpoint, and so with the tracker's run.
    """
    return [MlflowRun(output_folder, config, resume=resume)] if os.environ.get(MLFLOW) == "1" else []


class MlflowRun:
    """A training as one run of MLflow, with the interface of nnU-Net's loggers.

    The number of the run is kept next to the checkpoints, so that a resumed training continues it. If MLflow can no
    longer be reached, the training continues without it.

    Args:
        output_folder: Of the training.
        config: What describes the training, kept as an artifact of the run.
        resume: Whether the training is resumed.

    Raises:
        UserError: MLflow cannot be reached.
    """

    def __init__(self, output_folder: Path, config: dict[str, Any], *, resume: bool) -> None:
        from mlflow import MlflowClient

        kept = output_folder / "mlflow_run.txt"
        name = os.environ.get(_EXPERIMENT, "nndistill")
        try:
            self._client = MlflowClient()
            if resume and kept.is_file():
                self._run = self._client.get_run(kept.read_text().strip()).info.run_id
                self._client.update_run(self._run, status="RUNNING")
            else:
                experiment = self._client.get_experiment_by_name(name)
                number = experiment.experiment_id if experiment else self._client.create_experiment(name)
                title = f"{output_folder.parent.name}/{output_folder.name}"
                self._run = self._client.create_run(number, run_name=title).info.run_id
            self._send_config(config)
        except Exception as error:  # of MLflow, or of whatever it reaches its server with
            raise UserError(
                f"MLflow at {_place()} cannot keep this training: {_reason(error)}",
                option="track",
            ) from error
        write_file(kept, f"{self._run}\n".encode())
        self._reached = True
        atexit.register(self._report, self._client.set_terminated, self._run)

    def update_config(self, config: dict[str, Any]) -> None:
        """Keep what describes the training, one file per entry."""
        self._report(self._send_config, config)

    def _send_config(self, config: dict[str, Any]) -> None:
        for name, content in config.items():
            self._client.log_dict(self._run, {name: content}, f"{name}.json")

    def log(self, key: str, value: Any, step: int) -> None:
        """Keep the value of an epoch."""
        if isfinite(value):
            self._report(self._client.log_metric, self._run, key, float(value), step=step)

    def log_summary(self, key: str, value: Any) -> None:
        """Keep a value that belongs to no epoch."""
        self.log(key, value, 0)

    def _report(self, send: Callable[..., Any], *values: Any, **more: Any) -> None:
        if not self._reached:
            return
        try:
            send(*values, **more)
        except Exception as error:  # as above
            self._reached = False  # each further value would wait for as long
            logger.warning(
                "MLflow at %s can no longer be reached (%s); the training continues without it. The checkpoints keep "
                "the values.",
                _place(),
                _reason(error),
            )


def _place() -> str:
    return os.environ.get(_URI, "its default place")


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
