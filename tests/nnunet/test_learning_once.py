"""What a method learns from a teacher is learned once and kept: the cache alone, with a method that learns noise."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from torch import Tensor

from nndistill.errors import UserError
from nndistill.methods import Method
from nndistill.nnunet.training import learned_state
from nndistill.nnunet.training.learned_state import provide_learned_state

FACTS = {"teacher": "abc", "fold": 0}


class Noise(Method):
    """Learns random numbers."""

    name = "noise"

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.value = torch.zeros(size)
        self.times = 0

    @property
    def prepared(self) -> bool:
        return bool(self.value.any())

    def learn(self) -> None:
        self.value = torch.rand(len(self.value)) + random.random() + np.random.random()  # noqa: NPY002
        self.times += 1

    def learning_key(self) -> Mapping[str, object]:
        return {"size": len(self.value)}

    def learned_state(self) -> dict[str, Tensor]:
        return {"value": self.value}

    def load_learned_state(self, state: Mapping[str, Tensor]) -> None:
        if state["value"].shape != self.value.shape:
            raise ValueError("noise of another size")
        self.value = state["value"]


def provide(method: Noise, *folders: Path, may_learn: bool = True, **facts: object) -> bool:
    return provide_learned_state(method, facts=FACTS | facts, folders=folders, learn=method.learn, may_learn=may_learn)


def kept(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def next_numbers() -> tuple[float, float, float]:
    return torch.rand(1).item(), random.random(), np.random.random()  # noqa: NPY002


def test_the_second_run_finds_what_the_first_learned(tmp_path):
    first, second = Noise(), Noise()
    assert not provide(first, tmp_path)
    assert provide(second, tmp_path)
    assert (first.times, second.times) == (1, 0)
    assert torch.equal(first.value, second.value)
    assert first.prepared
    assert len(kept(tmp_path)) == 1


@pytest.mark.parametrize("seed", [0, 77])
def test_random_numbers_of_the_run_neither_change_what_is_learned_nor_are_changed(tmp_path, seed):
    def seed_run() -> None:
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002

    reference, method = Noise(), Noise()
    provide(reference, _made(tmp_path / "elsewhere"))
    seed_run()
    expected = next_numbers()
    seed_run()
    provide(method, _made(tmp_path / "here"))
    assert next_numbers() == expected
    assert torch.equal(method.value, reference.value)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize("facts", [{"teacher": "abd"}, {"fold": 1}, {"mirroring": False}])
def test_other_facts_are_another_file(tmp_path, facts):
    provide(Noise(), tmp_path)
    assert not provide(Noise(), tmp_path, **facts)
    assert len(kept(tmp_path)) == 2


def test_another_key_or_method_is_another_file(tmp_path, monkeypatch):
    provide(Noise(), tmp_path)
    assert not provide(Noise(size=4), tmp_path)
    monkeypatch.setattr(Noise, "name", "other")
    assert not provide(Noise(), tmp_path)
    assert len(kept(tmp_path)) == 3


def test_method_that_learns_without_a_key_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Noise, "learning_key", Method.learning_key)
    with pytest.raises(TypeError, match="Noise learns from the teacher, so it needs a learning_key"):
        provide(Noise(), tmp_path)


def test_the_order_of_the_facts_does_not_matter(tmp_path):
    provide(Noise(), tmp_path, a=1, b=2)
    assert provide(Noise(), tmp_path, b=2, a=1)


@pytest.mark.parametrize("damage", ["cut", "emptied", "other content", "another size"])
def test_damaged_file_is_named_and_replaced(tmp_path, damage, caplog):
    first, second, third = Noise(), Noise(), Noise()
    provide(first, tmp_path)
    (file,) = tmp_path.iterdir()
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:300])
    elif damage == "emptied":
        file.write_bytes(b"")
    else:
        torch.save({"state": {"value": torch.ones(5)}} if damage == "another size" else [1], file)
    assert not provide(second, tmp_path)
    assert f"{file} is damaged" in caplog.text
    assert torch.equal(first.value, second.value)
    assert provide(third, tmp_path)


def test_file_with_code_is_not_run(tmp_path, capfd):
    provide(Noise(), tmp_path)
    (file,) = tmp_path.iterdir()

    class Innocent:
        def __reduce__(self):
            return (print, ("code from a file ran",))

    torch.save({"state": Innocent()}, file)
    assert not provide(Noise(), tmp_path)
    assert "code from a file ran" not in capfd.readouterr().out


def test_the_next_folder_takes_what_the_first_cannot(tmp_path, monkeypatch, caplog):
    teacher, run = _made(tmp_path / "teacher"), _made(tmp_path / "run")
    write = learned_state.write_checkpoint

    def refuse_teacher(path, content):
        if teacher in path.parents:
            raise UserError(f"cannot write {path}: Permission denied.")
        write(path, content)

    monkeypatch.setattr(learned_state, "write_checkpoint", refuse_teacher)
    provide(Noise(), teacher, run)
    (file,) = run.iterdir()
    assert f"goes to {file}" in caplog.text
    assert provide(Noise(), teacher, run)


def test_other_processes_wait_for_the_one_that_learns(tmp_path, monkeypatch):
    monkeypatch.setattr(learned_state, "_SECONDS_BETWEEN_LOOKS", 0.01)
    learning, waiting = Noise(), Noise()
    thread = Thread(target=provide, args=(waiting, tmp_path), kwargs={"may_learn": False}, daemon=True)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    assert not waiting.prepared
    provide(learning, tmp_path)
    thread.join(30)
    assert not thread.is_alive()
    assert waiting.times == 0
    assert torch.equal(waiting.value, learning.value)
