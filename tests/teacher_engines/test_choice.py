"""Which engine is chosen: the fastest that agrees, OpenVINO if it can, and always the one that was chosen before."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nndistill.errors import UserError
from nndistill.methods import Activations
from nndistill.taps import Taps
from nndistill.teacher_engines import TorchEngine, choice
from nndistill.teacher_engines.choice import UNDECIDED, ChosenEngine

X = torch.randn(1, 1, 8, 8, 8)


def _plain(layer: nn.Module | None = None) -> TorchEngine:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), layer or nn.ReLU()).eval().requires_grad_(False)
    return TorchEngine(network, Taps(encoder=("1",)))


class Slow(TorchEngine):
    """PyTorch, but a batch takes a twentieth of a second."""

    def __call__(self, x: Tensor) -> Activations:
        time.sleep(0.05)
        return super().__call__(x)


class Other:
    """Gives a teacher's features, changed, after some time."""

    def __init__(self, name: str, change: Callable[[Tensor], Tensor] = lambda f: f, *, seconds: float = 0.0) -> None:
        self.name, self._change, self._seconds, self._teacher = name, change, seconds, _plain()

    def __call__(self, x: Tensor) -> Activations:
        time.sleep(self._seconds)
        return Activations([self._change(feature) for feature in self._teacher(x).encoder])


class Sentences(list):
    """Collects what is said."""

    __call__ = list.append


@pytest.fixture
def choose(monkeypatch):
    """Choose among a slow PyTorch and others, on a training that is long enough; returns the engine and its log."""

    def call(*others: Other, wanted: str = "auto", kept: str = UNDECIDED, batches: int = 10**6):
        by_name = {other.name: other for other in others}
        monkeypatch.setattr(choice, "_BUDGET", 0.0)
        monkeypatch.setattr(ChosenEngine, "_built", lambda self, name, x: by_name[name])
        plain, log, warnings = _plain(), Sentences(), Sentences()
        slow = Slow(plain.tapped.network, plain.tapped.taps)
        engine = ChosenEngine(slow, wanted=wanted, kept=kept, batches=batches, log=log, warn=warnings)
        assert torch.equal(engine(X).encoder[0].isfinite(), torch.ones(1, 4, 8, 8, 8, dtype=torch.bool))
        return engine.name, log, warnings

    return call


def test_fastest_that_agrees_is_taken(choose):
    name, log, warnings = choose(Other("torch-channels-last", seconds=0.02), Other("openvino"))
    assert name == "openvino"
    assert not warnings
    (sentence,) = log
    assert "the teacher is computed by OpenVINO in float32" in sentence
    assert "PyTorch 0." in sentence
    assert "1 0.0e+00" in sentence  # the tapped module and the difference of its features


@pytest.mark.parametrize(
    "change", [lambda f: f * 1.01, lambda f: f * float("nan"), lambda f: f[:, :2]], ids=["1 %", "nan", "half of it"]
)
def test_faster_engine_with_other_features_is_not_taken(choose, change):
    name, log, _ = choose(Other("torch-channels-last", seconds=0.02), Other("openvino", change))
    assert name == "torch-channels-last"
    assert any("OpenVINO in float32 does not compute the teacher" in sentence for sentence in log)


def test_engine_as_inexact_as_bfloat16_is_taken_in_bfloat16_only(choose, monkeypatch):
    monkeypatch.setattr(choice, "_openvino_here", lambda: "openvino-bfloat16")
    others = [
        Other("torch-channels-last", seconds=0.5),
        Other("openvino-bfloat16", lambda feature: feature.bfloat16().float()),
    ]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert choose(*others)[0] == "openvino-bfloat16"
    assert choose(*others)[0] == "torch"


def test_pytorch_stays_if_nothing_is_clearly_faster(choose, monkeypatch):
    monkeypatch.setattr(choice, "seconds_per_batch", lambda engines, x, **_: [1.0, 1.2, 0.95][: len(engines)])
    assert choose(Other("torch-channels-last"), Other("openvino"))[0] == "torch"


def test_short_training_tries_nothing(choose):
    name, log, warnings = choose(batches=3)  # there are no others, so an attempt would fail
    assert (name, log, warnings) == ("torch", [], [])


@pytest.mark.parametrize("kept", ["openvino", "torch-channels-last"])
def test_choice_is_kept_even_if_it_is_slower(choose, kept):
    assert choose(Other(kept, seconds=0.1), wanted="auto", kept=kept)[0] == kept


def test_pytorch_is_kept_too(choose):
    assert choose(wanted="openvino", kept="torch")[0] == "torch"


@pytest.mark.parametrize(
    ("kept", "reason"), [("openvino", "differ"), ("quantum", "this version of nnDistill does not know it")]
)
def test_choice_that_cannot_be_kept_ends_the_training(choose, monkeypatch, kept, reason):
    if kept == "openvino":
        with pytest.raises(UserError, match=reason):
            choose(Other(kept, lambda feature: feature * 2), kept=kept)
    else:
        with pytest.raises(UserError, match=reason):
            ChosenEngine(_plain(), wanted="auto", kept=kept, batches=1)(X)


def test_openvino_that_was_asked_for_is_taken_however_short_the_training(tmp_path):
    log = Sentences()
    engine = ChosenEngine(_plain(), wanted="openvino", batches=1, folders=[tmp_path], log=log)
    torch.testing.assert_close(engine(X).encoder, _plain()(X).encoder)
    assert engine.name == "openvino"
    assert "OpenVINO in float32" in log[0]


def test_what_openvino_cannot_convert_is_left_to_pytorch_with_a_sentence():
    class Unknown(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.special.bessel_j0(x)

    warnings = Sentences()
    engine = ChosenEngine(_plain(Unknown()), wanted="openvino", batches=1, warn=warnings)
    torch.testing.assert_close(engine(X).encoder, _plain(Unknown())(X).encoder)
    assert engine.name == "torch"
    (sentence,) = warnings
    assert "PyTorch computes the teacher, since OpenVINO in float32 cannot compute this network" in sentence
    assert "\n" not in sentence


@pytest.fixture
def without_openvino(monkeypatch):
    for module in ("openvino", "stored_model"):
        monkeypatch.delitem(sys.modules, f"nndistill.teacher_engines.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "openvino", None)


def test_missing_openvino_is_a_sentence_if_it_was_asked_for(without_openvino):
    warnings = Sentences()
    engine = ChosenEngine(_plain(), wanted="openvino", batches=1, warn=warnings)
    engine(X)
    assert engine.name == "torch"
    assert warnings == [
        "PyTorch computes the teacher, since OpenVINO is not installed (pip install '.[openvino]' in nnDistill's "
        "repository)."
    ]


def test_missing_openvino_is_no_warning_otherwise(without_openvino, monkeypatch):
    monkeypatch.setattr(choice, "WORTHWHILE_SECONDS", 0.0)
    monkeypatch.setattr(choice, "_BUDGET", 0.0)
    warnings = Sentences()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ChosenEngine(_plain(), wanted="auto", batches=1, warn=warnings)(X)
    assert not warnings


def test_missing_openvino_ends_a_training_that_began_with_it(without_openvino):
    engine = ChosenEngine(_plain(), wanted="auto", kept="openvino", batches=1)
    with pytest.raises(UserError, match=r"begun with its teacher computed by OpenVINO.* is not installed"):
        engine(X)


def _engine(folders: list[Path], *, teacher: str = "f3a9", log: Callable[[str], None] = print) -> ChosenEngine:
    engine = ChosenEngine(
        _plain(), wanted="openvino", batches=1, facts={"teacher": teacher}, folders=folders, warn=pytest.fail
    )
    engine(X)
    assert engine.name == "openvino"
    return engine


def test_converted_teacher_is_found_again_and_computes_the_same_bits(tmp_path, monkeypatch):
    features = _engine([tmp_path])(X).encoder[0]
    (folder,) = tmp_path.iterdir()
    assert sorted(file.name for file in folder.iterdir()) == ["model.bin", "model.xml"]
    monkeypatch.setattr(
        "nndistill.teacher_engines.openvino.convert_teacher", lambda *_: pytest.fail("it was converted again")
    )
    assert torch.equal(_engine([tmp_path / "another", tmp_path])(X).encoder[0], features)


def test_another_teacher_is_converted_anew(tmp_path):
    _engine([tmp_path])
    _engine([tmp_path], teacher="0b17")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damaged", ["model.xml", "model.bin"])
def test_damaged_file_is_made_anew(tmp_path, damaged, caplog):
    features = _engine([tmp_path])(X).encoder[0]
    (folder,) = tmp_path.iterdir()
    whole = (folder / damaged).read_bytes()
    (folder / damaged).write_bytes(whole[: len(whole) // 2])
    assert torch.equal(_engine([tmp_path])(X).encoder[0], features)
    assert "the teacher is converted again" in caplog.text
    assert (folder / damaged).stat().st_size == len(whole)


def test_run_takes_what_the_teachers_folder_cannot(tmp_path):
    """A file stands where the first folder would be, as nobody can write below it, whatever their rights."""
    teacher, run = tmp_path / "teacher", tmp_path / "run"
    teacher.write_text("")
    _engine([teacher, run])
    assert len(list(run.iterdir())) == 1
    _engine([teacher])  # nowhere to keep it
