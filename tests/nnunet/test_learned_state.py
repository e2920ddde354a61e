"""FreeKD in nnU-Net: prompts are learned once per teacher, kept in its folder, and change nothing else of a run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from nndistill.errors import UserError
from nndistill.methods import FreeKD
from nndistill.methods.parts.frequency_prompts import FrequencyPrompts
from nndistill.nnunet.models.checkpoints import read_checkpoint
from nndistill.nnunet.training import learned_state
from tiny import TINY

FREEKD = ["--method", "freekd", "--option", "prompts=2", "--option", "prompt_iterations=2"]


@pytest.fixture
def learned(monkeypatch) -> list[FreeKD]:
    """Every method that learned its prompts in this process."""
    methods = []
    prepare = FreeKD.prepare

    def counted(method, *arguments, **options):
        methods.append(method)
        return prepare(method, *arguments, **options)

    monkeypatch.setattr(FreeKD, "prepare", counted)
    return methods


def arguments(world, name: str, *more: object, epochs: int = 1) -> list[str]:
    run = ["distill", world.teacher, "--workspace", world.workspace, "--name", name, *TINY, *FREEKD]
    return [str(value) for value in [*run, "--epochs", epochs, "--no-validate", *more]]


def folder(world, name: str) -> Path:
    return world.results / f"nnUNetTrainerDistill__{name}__3d_fullres" / "fold_0"


def result(world, name: str) -> dict:
    return read_checkpoint(folder(world, name) / "checkpoint_final.pth")


def equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.slow
def test_a_run_that_finds_its_prompts_equals_the_run_that_learned_them(nndistill, world, learned, caplog):
    done = nndistill(*arguments(world, "first"))
    assert done.status == 0, done.err
    (kept,) = (world.teacher / "fold_0").glob("learned_by_freekd_*.pt")
    assert nndistill(*arguments(world, "second")).status == 0
    assert len(learned) == 1
    first, second = result(world, "first"), result(world, "second")
    assert first["logging"]["distillation_losses"][0] > 0
    assert equal(first["network_weights"], second["network_weights"])
    assert equal(first["nndistill"]["method"], second["nndistill"]["method"])
    prompts = list(torch.load(kept, weights_only=True)["state"].values())
    assert all(torch.equal(p, first["nndistill"]["method"][f"prompts.{i}.prompts"]) for i, p in enumerate(prompts))

    assert nndistill(*arguments(world, "other", "--option", "level=2")).status == 0  # learns its own
    assert len(learned) == 2
    assert len(list(kept.parent.glob("learned_by_freekd_*.pt"))) == 2

    kept.write_bytes(kept.read_bytes()[: kept.stat().st_size // 2])
    assert nndistill(*arguments(world, "third")).status == 0
    assert f"{kept} is damaged" in caplog.text
    assert len(learned) == 3
    assert equal(first["network_weights"], result(world, "third")["network_weights"])
    assert all(
        torch.equal(*pair)
        for pair in zip(prompts, list(torch.load(kept, weights_only=True)["state"].values()), strict=True)
    )


def test_prompts_are_learned_in_the_precision_of_the_run(nndistill, world, monkeypatch):
    types = []
    computed = FrequencyPrompts.forward

    def seen(stage, x):
        types.append(x.dtype)
        return computed(stage, x)

    monkeypatch.setattr(FrequencyPrompts, "forward", seen)
    done = nndistill(*arguments(world, "in_bfloat16", "--precision", "bfloat16"))
    assert done.status == 0, done.err
    assert set(types) == {torch.bfloat16}
    (kept,) = (world.teacher / "fold_0").glob("learned_by_freekd_*.pt")
    learned_from = torch.load(kept, weights_only=True)["learned_from"]
    assert learned_from["precision"] == "bfloat16"
    splits = json.loads((world.preprocessed / "splits_final.json").read_text())
    assert learned_from["cases"] == sorted(splits[0]["train"])


def test_where_the_teacher_cannot_be_written_the_run_keeps_the_prompts(nndistill, world, monkeypatch, caplog):
    write = learned_state.write_checkpoint

    def refuse_beside_teacher(path, content):
        if world.teacher in path.parents:
            raise UserError(f"cannot write {path}: Permission denied.")
        write(path, content)

    monkeypatch.setattr(learned_state, "write_checkpoint", refuse_beside_teacher)
    done = nndistill(*arguments(world, "elsewhere"))
    assert done.status == 0, done.err
    (kept,) = folder(world, "elsewhere").glob("learned_by_freekd_*.pt")
    assert f"goes to {kept}" in caplog.text
    assert not list((world.teacher / "fold_0").glob("learned_by_freekd_*"))


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(nndistill, world, learned):
    assert nndistill(*arguments(world, "whole", epochs=3)).status == 0
    (kept,) = (world.teacher / "fold_0").glob("learned_by_freekd_*.pt")
    latest = folder(world, "killed") / "checkpoint_latest.pth"
    process = subprocess.Popen([sys.executable, "-m", "nndistill", *arguments(world, "killed", epochs=3)])
    end = time.monotonic() + 120
    while not latest.is_file():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept.unlink()  # the checkpoint has them
    assert nndistill(*arguments(world, "killed", "--resume", epochs=3)).status == 0
    assert len(learned) == 1
    whole, resumed = result(world, "whole"), result(world, "killed")
    assert whole["logging"]["train_losses"] == resumed["logging"]["train_losses"]
    assert equal(whole["network_weights"], resumed["network_weights"])
    assert equal(whole["nndistill"]["method"], resumed["nndistill"]["method"])
