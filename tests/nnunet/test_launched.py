"""A training whose processes torchrun started: equal to one process on the same batches, and how it can go wrong.

The processes are copies of this one, on the CPU with Gloo, started by torchrun's own launcher.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from fixed_batches import HALFWAY, KEPT, RECIPE, assert_close, fold_folder, train_on_fixed_batches
from nndistill.errors import UserError
from nndistill.nnunet.models.checkpoints import read_checkpoint
from nndistill.nnunet.training.launched import Launched, _ended, device_of, launched
from trained_world import World

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a process cannot be copied on this system")

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def launch(processes: int, entry: Callable[..., None], *arguments: object) -> None:
    """Start copies of this process as torchrun does, and wait for them."""
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        start_method="fork",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id="test",
        monitor_interval=0.1,
        max_restarts=0,
    )
    before = {number: signal.getsignal(number) for number in HANDLED}
    try:
        elastic_launch(config, entry)(*arguments)
    finally:  # PyTorch leaves its handlers, with which later copies of this process can miss that they are to end
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.fixture
def training(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """The arguments of a training on the processor."""
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))

    def arguments(name: str, *more: object) -> list[str]:
        values = ["distill", world.teacher, "--workspace", world.workspace, "--recipe", tmp_path / "recipe.yaml"]
        return [str(value) for value in [*values, "--device", "cpu", "--no-validate", "--name", name, *more]]

    return arguments


def note_writes(workspace: Path, entry: Callable[..., None], *arguments: object) -> None:
    """Run something in a process, and keep which files of the workspace it opened to write."""
    written: list[str] = []

    def note(event: str, values: tuple[object, ...]) -> None:
        if event == "open" and isinstance(values[1], str) and set(values[1]) & set("wax+"):
            written.append(str(values[0]))
        elif event == "os.rename":
            written.append(str(values[1]))

    sys.addaudithook(note)
    entry(*arguments)
    rank = os.environ["RANK"]
    inside = [path for path in written if path.startswith(str(workspace)) and "kept_by" not in path]
    (workspace / f"written_by_{rank}.txt").write_text("\n".join(inside))


@pytest.mark.slow
def test_two_processes_are_one_with_both_their_batches_and_resume_as_one(training, world, nndistill):
    launch(2, note_writes, world.workspace, train_on_fixed_batches, training("two"))
    train_on_fixed_batches(training("one"))
    two, one = fold_folder(world, "two"), fold_folder(world, "one")

    first, second = (torch.load(two / KEPT.format(rank), weights_only=False) for rank in (0, 1))
    for part in ("weights", "method"):
        assert first[part].keys() == second[part].keys()
        assert all(torch.equal(first[part][name], second[part][name]) for name in first[part])
    assert any(name.startswith("phi") for name in first["method"])
    for key in ("train_losses", "val_losses", "distillation_losses", "mean_fg_dice"):
        assert first["logging"][key] == pytest.approx(second["logging"][key], nan_ok=True)

    alone = torch.load(one / KEPT.format(0), weights_only=False)
    assert_close(first["weights"], alone["weights"])
    assert_close(first["method"], alone["method"])
    for key in ("train_losses", "val_losses", "distillation_losses", "gradient_shares"):
        assert first["logging"][key] == pytest.approx(alone["logging"][key], rel=1e-2)

    assert (world.workspace / "written_by_0.txt").read_text()
    assert (world.workspace / "written_by_1.txt").read_text() == ""

    whole = read_checkpoint(two / "checkpoint_final.pth")
    (two / "checkpoint_final.pth").unlink()
    (two / HALFWAY).rename(two / "checkpoint_latest.pth")
    assert read_checkpoint(two / "checkpoint_latest.pth")["current_epoch"] == 1
    train_on_fixed_batches(training("two", "--resume"))
    resumed = read_checkpoint(two / "checkpoint_final.pth")
    assert resumed["current_epoch"] == RECIPE["epochs"]
    assert resumed["logging"]["train_losses"][0] == whole["logging"]["train_losses"][0]
    assert_close(resumed["network_weights"], whole["network_weights"])
    assert_close(resumed["nndistill"]["method"], whole["nndistill"]["method"])


def test_a_batch_that_the_processes_cannot_share_evenly_is_one_sentence(training, world, capfd):
    with pytest.raises(ChildFailedError) as failed:
        launch(2, _exits, training("uneven", "--batch-size", 3))

    assert failed.value.failures[0].exitcode == 2
    said = " ".join(capfd.readouterr().err.split())
    assert said.count("a batch of 3 cannot be shared evenly by 2 processes") == 1
    assert not fold_folder(world, "uneven").exists()


def _exits(arguments: list[str]) -> None:
    from nndistill.cli import main

    main(arguments)


def test_a_copy_of_a_process_of_torchrun_ends_by_default():
    """nnU-Net forks pools and ends them at once; a handler in Python can miss the signal, and the training hangs."""
    before, blocked = signal.signal(signal.SIGTERM, _ended), signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        with multiprocessing.get_context("fork").Pool(1) as pool:
            assert pool.apply(signal.getsignal, [signal.SIGTERM]) == signal.SIG_DFL
            assert pool.apply(signal.pthread_sigmask, [signal.SIG_BLOCK, ()]) == blocked
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == blocked
    finally:
        signal.signal(signal.SIGTERM, before)


def test_gpus_and_torchrun_do_not_go_together(training, monkeypatch, nndistill):
    monkeypatch.setenv("RANK", "0")
    for name, value in (("LOCAL_RANK", 0), ("WORLD_SIZE", 2), ("LOCAL_WORLD_SIZE", 2)):
        monkeypatch.setenv(name, str(value))
    result = nndistill(*training("both", "--gpus", 2))
    assert result.status == 2
    assert "torchrun has started the processes" in result.err


def test_the_place_is_read_from_the_environment(monkeypatch):
    for name, value in (("RANK", 5), ("LOCAL_RANK", 1), ("WORLD_SIZE", 8), ("LOCAL_WORLD_SIZE", 4)):
        monkeypatch.setenv(name, str(value))
    assert launched() == Launched(rank=5, local_rank=1, processes=8, local_processes=4)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert launched() is None
    monkeypatch.setenv("WORLD_SIZE", "many")
    with pytest.raises(UserError, match="WORLD_SIZE=many"):
        launched()


def test_each_process_has_the_gpu_of_its_number_on_its_machine(monkeypatch):
    place = Launched(rank=5, local_rank=1, processes=8, local_processes=4)
    monkeypatch.setattr("nndistill.nnunet.training.launched.find_device", torch.device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert device_of(place, "cuda") == torch.device("cuda", 1)
    assert device_of(place, "cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="not on mps"):
        device_of(place, "mps")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="4 processes on this machine, which has 2 GPUs"):
        device_of(place, "cuda")
