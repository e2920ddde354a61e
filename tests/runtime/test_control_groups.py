"""Limits of control groups, on made files and on this system's own."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from nndistill.runtime import memory
from nndistill.runtime.control_groups import memory_left


def group(folder: Path, *, limit: str, used: int, droppable: int = 0, version: int = 2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    limit_file, used_file = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        2: ("memory.max", "memory.current"),
    }[version]
    (folder / limit_file).write_text(f"{limit}\n")
    (folder / used_file).write_text(f"{used}\n")
    name = {1: "total_inactive_file", 2: "inactive_file"}[version]
    (folder / "memory.stat").write_text(f"anon 5\n{name} {droppable}\n")


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    file = tmp_path / "cgroup"
    file.write_text("0::/slurm/job_7/step_0\n")
    return file


def test_the_tightest_group_decides(groups, tmp_path):
    mount = tmp_path / "mounted"
    group(mount / "slurm" / "job_7" / "step_0", limit="max", used=900)
    group(mount / "slurm" / "job_7", limit="1000", used=900, droppable=300)
    group(mount / "slurm", limit="5000", used=1000)
    assert memory_left(groups=groups, mounted_at=mount) == 400
    group(mount / "slurm", limit="1100", used=1000)
    assert memory_left(groups=groups, mounted_at=mount) == 100
    group(mount / "slurm", limit="900", used=1000)
    assert memory_left(groups=groups, mounted_at=mount) == 0


def test_a_container_sees_its_own_group_alone(groups, tmp_path):
    mount = tmp_path / "mounted"
    group(mount, limit="1000", used=900)
    assert memory_left(groups=groups, mounted_at=mount) == 100


def test_the_first_version_of_control_groups(tmp_path):
    groups, mount = tmp_path / "cgroup", tmp_path / "mounted"
    groups.write_text("9:cpu,cpuacct:/a\n4:memory:/job:7\n0::/\n")
    group(mount / "memory" / "job:7", limit="1000", used=900, droppable=50, version=1)
    group(mount / "memory", limit=str(2**63 - 4096), used=10**9, version=1)
    assert memory_left(groups=groups, mounted_at=mount) == 150


def test_without_a_limit_nothing_is_said(groups, tmp_path):
    assert memory_left(groups=groups, mounted_at=tmp_path) is None
    group(tmp_path, limit="max", used=900)
    assert memory_left(groups=groups, mounted_at=tmp_path) is None


def test_this_system_is_read():
    left = memory_left()
    assert left is None or left > 2**20


def test_a_limit_counts_where_it_is_tighter_than_the_machine(monkeypatch):
    monkeypatch.setattr(memory, "memory_left", lambda: 10**6)
    assert memory.available_bytes() == 10**6
    for left in (None, 2**62):
        monkeypatch.setattr(memory, "memory_left", lambda left=left: left)
        assert 10**6 < memory.available_bytes() <= psutil.virtual_memory().total
