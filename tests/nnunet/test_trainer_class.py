"""A trainer is found by its file, whatever else cannot be imported, and builds its network in its own version's way."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nndistill.errors import UserError
from nndistill.nnunet.plans import build_network
from nndistill.nnunet.trainer_class import find_trainer
from stock_models import configuration, dataset, network_of, plans, write_model

STOCK = Path(inspect.getfile(nnUNetTrainer)).parent
IMPORTS = """
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
"""
BY_CLASS = """
class Made(nnUNetTrainer):  # nnU-Net 2.4 to 2.7
    @staticmethod
    def build_network_architecture({names}, num_input_channels, num_output_channels, enable_deep_supervision=True):
        return get_network_from_plans({names}, num_input_channels, num_output_channels, allow_init=True,
                                      deep_supervision=enable_deep_supervision)
"""
BY_PLANS = """
class Made(nnUNetTrainer):  # nnU-Net 2.0 to 2.3
    @staticmethod
    def build_network_architecture(plans_manager, dataset_json, configuration_manager, num_input_channels,
                                   enable_deep_supervision=True):
        assert dataset_json["labels"] == {"background": 0, "lesion": 1}
        return nnUNetTrainer.build_network_architecture(
            plans_manager, configuration_manager, num_input_channels, 2, enable_deep_supervision)
"""
PASSED_ON = """
class Made(nnUNetTrainer):
    @staticmethod
    def build_network_architecture(*args, **kwargs):
        return nnUNetTrainer.build_network_architecture(*args, **kwargs)
"""
WRITERS = {
    "2.4": BY_CLASS.format(names="architecture_class_name, arch_init_kwargs, arch_init_kwargs_req_import"),
    "other names": BY_CLASS.format(names="name, arguments, imported"),
    "2.0": BY_PLANS,
    "passed on": PASSED_ON,
    "2.8": "class Made(nnUNetTrainer): ...",
}


@pytest.fixture
def trainers(tmp_path, monkeypatch) -> Path:
    """A folder of trainers from elsewhere, next to one that cannot be imported."""
    folder = tmp_path / "trainers"
    (folder / "package").mkdir(parents=True)
    (folder / "a_broken_one.py").write_text("import no_such_package\n")
    (folder / "package" / "__init__.py").touch()
    monkeypatch.setenv("nnUNet_extTrainer", str(folder))
    return folder


def _stock_trainers() -> dict[str, str]:
    """Module by class, for all files of nnU-Net's that define a trainer."""
    return {
        node.name: ".".join(["nnunetv2.training.nnUNetTrainer", *file.relative_to(STOCK).with_suffix("").parts])
        for file in STOCK.rglob("*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.ClassDef) and node.name.startswith("nnUNetTrainer")
    }


def test_every_variant_of_nnunets_is_found_in_its_own_file():
    found = {}
    for name, module in _stock_trainers().items():
        try:
            expected = getattr(importlib.import_module(module), name)
        except Exception:  # what this one needs is not here, and the others are found all the same
            with pytest.raises(UserError, match=f"trained by {name}, which is in .*cannot be imported here"):
                find_trainer(name)
            continue
        found[name] = find_trainer(name)
        assert found[name] is expected
    assert {"nnUNetTrainer", "nnUNetTrainerNoMirroring", "nnUNetTrainerDA5", "nnUNetTrainer_5epochs"} <= found.keys()


@pytest.mark.parametrize("version", WRITERS)
@pytest.mark.parametrize("place", ["made.py", "package/made.py"])
def test_a_trainer_of_any_version_builds_the_network_of_the_plans(trainers, version, place):
    (trainers / place).write_text(IMPORTS + WRITERS[version])
    described = configuration()
    network = build_network(plans({"3d_fullres": described}), "3d_fullres", dataset(), trainer="Made")
    assert find_trainer("Made").__name__ == "Made"
    expected = network_of(described)
    assert repr(network) == repr(expected)
    network.load_state_dict(expected.state_dict())
    image = torch.randn(1, 1, 16, 16, 16)
    torch.testing.assert_close(network(image), expected(image))


def test_class_that_no_file_spells_out_is_found_as_nnunet_finds_it(trainers):
    (trainers / "a_broken_one.py").unlink()
    (trainers / "made.py").write_text(IMPORTS + "globals()['Ma' + 'de'] = type('Ma' + 'de', (nnUNetTrainer,), {})\n")
    assert issubclass(find_trainer("Made"), nnUNetTrainer)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "import no_such_package\nclass Made: ...",
            r"Made, which is in .*made\.py.*\(ModuleNotFoundError: .*no_such_pa",
        ),
        ("class Made(:", r"cannot be imported here \(SyntaxError"),
        ("raise SystemError('no\\nGPU')\nclass Made: ...", r"\(SystemError: no\)"),
        ("class Made: ...", "does not inherit from nnUNetTrainer"),
        ("", "Made, which is not installed, unless it is in .*no_such_package"),
    ],
)
def test_trainer_that_cannot_be_had_is_a_sentence(trainers, text, sentence):
    (trainers / "made.py").write_text(text)
    with pytest.raises(UserError, match=sentence):
        find_trainer("Made")


def test_trainer_that_is_nowhere_is_not_installed(monkeypatch):
    monkeypatch.setenv("nnUNet_extTrainer", "")
    with pytest.raises(UserError, match="Made, which is not installed; put its folder into nnUNet_extTrainer"):
        find_trainer("Made")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("def build_network_architecture(architecture): return 1", "TypeError"),
        (
            "def build_network_architecture(plans_manager, nothing=1): raise KeyError('UNet_base')",
            "KeyError: 'UNet_base'",
        ),
        ("def build_network_architecture(): return 1", "no network but 1"),
    ],
)
def test_trainer_that_cannot_build_its_network_is_named_with_the_version(trainers, body, reason):
    (trainers / "made.py").write_text(f"{IMPORTS}\nclass Made(nnUNetTrainer):\n    @staticmethod\n    {body}\n")
    with pytest.raises(UserError, match=f"Made.*{reason}"):
        build_network(plans({"3d_fullres": configuration()}), "3d_fullres", dataset(), trainer="Made")


def test_model_of_an_older_trainer_is_exported(nndistill, trainers, tmp_path):
    (trainers / "made.py").write_text(IMPORTS + WRITERS["2.4"])
    described = configuration()
    model = write_model(
        tmp_path / "model",
        plans({"3d_fullres": described}),
        dataset(),
        network_of(described).state_dict(),
        trainer="Made",
    )
    result = nndistill("export", model, "--format", "safetensors", "--out", tmp_path / "export")
    assert result.status == 0, result.err
