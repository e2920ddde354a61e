"""Which checkpoint a training goes on from, if some of them are damaged."""

from __future__ import annotations

import errno
import hashlib
import logging
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nndistill.errors import UserError
from nndistill.nnunet.models.checkpoints import read_checkpoint, write_checkpoint
from nndistill.nnunet.training.newest_checkpoint import keep_previous, newest_checkpoint


def written(folder: Path, name: str, epoch: int) -> Path:
    file = folder / f"checkpoint_{name}.pth"
    content = {"network_weights": {"w": torch.arange(100.0)}, "trainer_name": "t", "init_args": {}}
    write_checkpoint(file, {**content, "current_epoch": epoch})
    return file


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_the_digest_is_that_of_the_archive_and_pytorch_and_zip_pass_over_it(tmp_path):
    file = written(tmp_path, "final", 1)
    archive, _, digest = file.read_bytes().rpartition(b"nndistill sha256 ")
    assert hashlib.sha256(archive).hexdigest().encode() == digest
    assert torch.load(file, weights_only=False)["current_epoch"] == 1
    assert zipfile.ZipFile(file).testzip() is None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
@example(place=0.96875, flip=1)  # in the mark that says that a digest follows
def test_every_changed_byte_shows(tmp_path, place, flip):
    file = written(tmp_path, "final", 1)
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= flip
    file.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        read_checkpoint(file)


def test_a_checkpoint_without_a_digest_is_read(tmp_path):
    content = {"network_weights": {}, "trainer_name": "t", "init_args": {}}
    torch.save(content, tmp_path / "stock.pth")
    assert read_checkpoint(tmp_path / "stock.pth") == content


@pytest.mark.parametrize("links", [True, False])
def test_the_previous_one_stays_beside_the_latest(tmp_path, monkeypatch, links):
    if not links:

        def no_links(path: Path, target: Path) -> None:
            raise PermissionError

        monkeypatch.setattr(Path, "hardlink_to", no_links)
    for epoch in (1, 2, 3):
        keep_previous(tmp_path / "checkpoint_latest.pth")
        written(tmp_path, "latest", epoch)
    assert read_checkpoint(tmp_path / "checkpoint_latest.pth")["current_epoch"] == 3
    assert read_checkpoint(tmp_path / "checkpoint_previous.pth")["current_epoch"] == 2
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("epochs", "damaged", "chosen"),
    [
        ({}, (), None),
        ({"latest": 4, "previous": 2, "best": 3}, (), "latest"),
        ({"latest": 4, "previous": 2, "best": 3}, ("latest",), "best"),
        ({"latest": 4, "best": 7}, (), "best"),
        ({"latest": 4, "best": 4}, (), "latest"),
        ({"latest": 4, "best": 7}, ("best",), "latest"),
        ({"latest": 4, "previous": 3, "best": 1}, ("latest",), "previous"),
        ({"latest": 4, "previous": 3, "best": 1}, ("latest", "previous"), "best"),
        ({"final": 9, "best": 1}, ("final",), "best"),
        ({"final": 9, "best": 1}, (), "final"),
        ({"best": 1}, (), "best"),
    ],
    ids=str,
)
def test_the_newest_that_is_whole_is_chosen_and_the_others_are_named(tmp_path, caplog, epochs, damaged, chosen):
    for name, epoch in epochs.items():
        written(tmp_path, name, epoch)
    for name in damaged:
        damage(tmp_path / f"checkpoint_{name}.pth")
    with caplog.at_level(logging.WARNING, logger="nndistill"):
        found = newest_checkpoint(tmp_path)
    assert found == (tmp_path / f"checkpoint_{chosen}.pth" if chosen else None)
    for name in damaged:
        assert f"checkpoint_{name}.pth is damaged" in caplog.text
        assert f"goes on from checkpoint_{chosen}.pth" in caplog.text
        assert not (tmp_path / f"checkpoint_{name}.pth").exists()
        assert (tmp_path / f"checkpoint_{name}.pth.damaged").is_file()


def test_nothing_but_damaged_ones_is_a_sentence(tmp_path):
    for name in ("latest", "best"):
        damage(written(tmp_path, name, 1))
    for _ in range(2):  # a second start does not train from the start silently
        with pytest.raises(UserError, match=r"no checkpoint in .* can be read: .*damaged.*Delete .* to train from"):
            newest_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("anything, in a file that has its digest"),
        OSError(errno.EIO, "Input/output error"),
        MemoryError(),
    ],
    ids=str,
)
def test_what_cannot_be_read_at_the_moment_is_not_damaged(tmp_path, monkeypatch, error):
    files = {written(tmp_path, name, epoch) for epoch, name in enumerate(("best", "previous", "latest"))}

    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(torch, "load", fail)
        with pytest.raises(UserError, match=r"checkpoint_latest\.pth .*cannot be read"):
            newest_checkpoint(tmp_path)
    assert set(tmp_path.iterdir()) == files
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint_latest.pth"
