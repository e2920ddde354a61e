"""Checkpoints: what comes back, and the random numbers."""

from __future__ import annotations

import pathlib
import random
from collections import OrderedDict
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from nndistill.errors import UserError
from nndistill.nnunet.models.checkpoints import (
    random_state,
    read_checkpoint,
    restore_random_state,
    seed_everything,
    write_checkpoint,
)
from nndistill.nnunet.models.weights import load_weights

MINIMAL = {"network_weights": {}, "trainer_name": "nnUNetTrainer", "init_args": {}}


def test_numbers_of_numpy_and_devices_come_back(tmp_path):
    logged = {"loss": [np.float32(0.5), np.float64(0.25), np.int64(3)], "device": torch.device("cpu")}
    write_checkpoint(tmp_path / "c.pth", {**MINIMAL, "logging": logged})
    assert read_checkpoint(tmp_path / "c.pth")["logging"] == logged


def _draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_random_numbers_continue_after_a_round_trip_through_a_file(tmp_path):
    seed_everything(3)
    _draw()
    write_checkpoint(tmp_path / "c.pth", {**MINIMAL, "state": random_state()})
    expected = [_draw() for _ in range(5)]
    seed_everything(4)
    restore_random_state(read_checkpoint(tmp_path / "c.pth")["state"])
    assert [_draw() for _ in range(5)] == expected


def test_file_that_is_not_a_checkpoint_names_what_is_missing(tmp_path):
    torch.save({"weights": torch.zeros(1)}, tmp_path / "c.pth")
    with pytest.raises(UserError, match="no init_args, network_weights, trainer_name"):
        read_checkpoint(tmp_path / "c.pth")


class _Pickled:
    """Pickled as what another Python would have pickled."""

    def __init__(self, *reduced: object) -> None:
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(
    "array",
    [np.arange(3.0), np.array(7), np.zeros((0, 2)), np.array(["a", "b"]), np.array([1, 2], ">i4"), np.array([True])],
    ids=str,
)
def test_arrays_in_the_log_come_back(tmp_path, array):
    torch.save({**MINIMAL, "logging": {"values": array}}, tmp_path / "c.pth")
    np.testing.assert_array_equal(read_checkpoint(tmp_path / "c.pth")["logging"]["values"], array, strict=False)


@pytest.mark.parametrize(
    ("kind", "parts", "expected"),
    [
        ("PosixPath", ("/", "data", "a"), PurePosixPath("/data/a")),
        ("WindowsPath", ("C:\\", "data"), PureWindowsPath("C:/data")),
    ],
)
def test_paths_of_every_operating_system_come_back_as_pure_paths(tmp_path, kind, parts, expected):
    torch.save({**MINIMAL, "folder": _Pickled(getattr(pathlib, kind), parts)}, tmp_path / "c.pth")
    found = read_checkpoint(tmp_path / "c.pth")["folder"]
    assert found == expected
    assert not isinstance(found, Path)


@pytest.mark.parametrize(
    "value", [torch.optim.SGD, nn.Linear(1, 1), _Pickled(print, ("code ran",))], ids=["class", "module", "call"]
)
def test_other_objects_are_named_without_the_advice_to_load_them_all_the_same(tmp_path, capsys, value):
    torch.save({**MINIMAL, "extra": value}, tmp_path / "c.pth")
    with pytest.raises(UserError, match=r"contains the Python object \S+, which could run code") as error:
        read_checkpoint(tmp_path / "c.pth")
    assert "weights_only" not in str(error.value)
    assert "trust" not in str(error.value)
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "value"), [("network_weights", {"a": 1}), ("network_weights", []), ("trainer_name", 3), ("init_args", None)]
)
def test_checkpoint_of_another_program_names_what_is_other(tmp_path, key, value):
    torch.save({**MINIMAL, key: value}, tmp_path / "c.pth")
    with pytest.raises(UserError, match=f"its {key} is of another kind"):
        read_checkpoint(tmp_path / "c.pth")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is Git LFS's stand-in for the checkpoint"),
        (b"<!DOCTYPE html>\n<title>Log in</title>", "is a text, not a checkpoint"),
        (b"404: Not Found", "is a text, not a checkpoint"),
    ],
)
def test_what_lies_in_the_place_of_a_checkpoint_is_told_by_its_name(tmp_path, content, sentence):
    (tmp_path / "c.pth").write_bytes(content)
    with pytest.raises(UserError, match=rf"c\.pth {sentence}"):
        read_checkpoint(tmp_path / "c.pth")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(0, 255))
def test_damaged_anywhere_a_checkpoint_is_read_or_refused(tmp_path, place, flip):
    file = tmp_path / "c.pth"
    torch.save({**MINIMAL, "network_weights": {"w": torch.arange(4)}, "logging": {"a": [1.5]}}, file)
    content = bytearray(file.read_bytes())
    position = int(place * len(content))
    if flip:
        content[position] ^= flip
    else:
        del content[position:]
    file.write_bytes(content)
    try:
        assert read_checkpoint(file).keys() >= MINIMAL.keys()
    except UserError as refused:
        assert str(file) in str(refused)  # noqa: PT017


def _network() -> nn.Module:
    return nn.Sequential(OrderedDict(encoder=nn.Linear(2, 3), decoder=nn.Linear(3, 1)))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(["module.", "_orig_mod."]), max_size=4), st.sampled_from([torch.float16, torch.float32])
)
def test_wrappers_in_any_order_and_half_precision_make_no_difference(wrappers, precision):
    trained, network = _network(), _network()
    weights = {"".join(wrappers) + name: value.to(precision) for name, value in trained.state_dict().items()}
    load_weights(network, weights, source=Path("c.pth"), plans=Path("plans.json"))
    for name, value in trained.state_dict().items():
        assert network.state_dict()[name].dtype == torch.float32
        torch.testing.assert_close(network.state_dict()[name], value.to(precision).float())


def test_part_that_was_compiled_and_a_submodule_called_module_keep_their_names():
    trained = _network()
    weights = {name.replace(".", "._orig_mod."): value for name, value in trained.state_dict().items()}
    load_weights(network := _network(), weights, source=Path("c.pth"), plans=Path("plans.json"))
    torch.testing.assert_close(network.state_dict(), trained.state_dict())
    inner = nn.ModuleDict({"module": nn.Linear(1, 1)})
    load_weights(inner, dict(inner.state_dict()), source=Path("c.pth"), plans=Path("plans.json"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"encoder.weight": torch.zeros(5, 2)}, "encoder.weight is 5×2 and has to be 3×2. Were"),
        ({"encoder.weight": torch.zeros(5, 2), "encoder.bias": torch.zeros(5)}, "3×2, and 1 more of 4 do not fit"),
        ({"encoder.weight": None}, "encoder.weight is missing"),
        ({"head.weight": torch.zeros(1)}, "head.weight is unknown to the network"),
    ],
)
def test_weights_of_another_network_are_one_short_sentence(change, sentence):
    weights = {name: value for name, value in {**_network().state_dict(), **change}.items() if value is not None}
    with pytest.raises(UserError, match=sentence) as error:
        load_weights(_network(), weights, source=Path("c.pth"), plans=Path("plans.json"))
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda value: value * float("nan"), r"not finite \(0.weight\): the training has diverged"),
        (lambda value: value.index_fill(1, torch.tensor([0]), float("inf")), "not finite"),
        (lambda value: value.to_sparse(), "sparse"),
        (lambda value: value.to("meta"), "without values"),
        (
            lambda value: torch._empty_affine_quantized(value.shape, scale=1.0, zero_point=0, dtype=torch.qint8),
            "quantised",
        ),
    ],
)
def test_weights_that_teach_nothing_are_refused_before_they_are_used(spoil, sentence):
    network = torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False))
    weights = {"0.weight": spoil(torch.ones(1, 2))}
    with pytest.raises(UserError, match=rf"final\.pth holds weights that are {sentence}"):
        load_weights(network, weights, source=Path("final.pth"), plans=Path("plans.json"))
