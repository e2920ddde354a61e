"""How fast a student predicts where there is no large GPU: networks of BraTS's size, the runtimes, and stock nnU-Net.

    python benchmarks/deployment.py                        # patches: teacher, student and its exports
    python benchmarks/deployment.py --case                 # also a whole case, compared with stock nnU-Net
    python benchmarks/deployment.py --case --teacher-case  # also the teacher in stock nnU-Net: 20 minutes, two cores

The networks are the paper's (ResidualEncoderUNet, 4 channels in, 5 labels, patch 128×160×112, teacher
features 32 … 320, student a quarter) with random weights, which cost what trained ones cost. The case is a patient of
open_ms below NNDISTILL_DATA (182×218×182 voxels, four contrasts), or noise of that size if that is not set.

Patches: each model is in a process of its own, and they take turns. Case: the commands `nndistill predict` and
`nnUNetv2_predict_from_modelfolder` from start to end, one after the other, with the same overlap and mirroring; memory
is the greatest sum of the proportional set sizes of all their processes, read every 50 ms; `other voxels` are those
whose label differs from stock nnU-Net's. Models and exports are kept in --work, and results that are already in the
JSON file are not measured again: the patches as a whole, the case round by round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
import torch
from rich.console import Console
from rich.table import Table

from nndistill.benchmark.candidates import Candidate
from nndistill.benchmark.commands import Command, commands_for, measure_commands
from nndistill.benchmark.models import benchmark
from nndistill.benchmark.result import MEASUREMENT
from nndistill.files import read_json, write_json
from nndistill.nnunet.models.checkpoints import write_checkpoint
from nndistill.nnunet.plans import build_network
from nndistill.progress import StepProgress
from nndistill.runtime.cases import InputCase
from nndistill.runtime.description import FILE_NAME
from nndistill.runtime.machine import describe_machine

CHANNELS = ("T1", "T1POST", "T2", "FLAIR")
LABELS = {"background": 0, "NETC": 1, "SNFH": 2, "ET": 3, "RC": 4}
STRIDES = [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 1]]
BLOCKS = [1, 3, 4, 6, 6, 6]
TEACHER, STUDENT = [32, 64, 128, 256, 320, 320], [8, 16, 32, 64, 80, 80]
PATCH, SIZE = [128, 160, 112], (182, 218, 182)
ENDING = ".nii.gz"
CONFIGURATION = "3d_fullres"

EXPORTS = {
    "ONNX Runtime float32": ("onnx", "float32"),
    "OpenVINO float32": ("openvino", "float32"),
    "OpenVINO bfloat16": ("openvino", "bfloat16"),
    "OpenVINO int8": ("openvino", "int8"),
}
STOCK = {"teacher": "teacher, stock nnU-Net", "student": "student, stock nnU-Net"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("nndistill-workspace/deployment"))
    parser.add_argument("--json", type=Path, default=Path("deployment.json"))
    parser.add_argument("--rounds", type=int, default=7, help="rounds of patches")
    parser.add_argument("--case", action="store_true", help="also a case: the student, here and in stock nnU-Net")
    parser.add_argument("--teacher-case", action="store_true", help="also a case: the teacher in stock nnU-Net")
    parser.add_argument("--case-rounds", type=int, default=3)
    parser.add_argument("--patient", default="patient07", help="of open_ms")
    parser.add_argument("--no-mirror", action="store_true")
    parser.add_argument("--int8", action="store_true", help="also export and measure this precision")
    parser.add_argument("--tiny", action="store_true", help="tiny networks and a tiny case, to try this script")
    arguments = parser.parse_args()

    work, mirror = arguments.work / ("tiny" if arguments.tiny else "brats"), not arguments.no_mirror
    images = find_case(work / "images", arguments.patient, tiny=arguments.tiny)
    teacher, *students = make_models(work, images, tiny=arguments.tiny, int8=arguments.int8)
    settings = {"tiny": arguments.tiny, "case": images.name, "mirroring": mirror}
    result = kept_result(arguments.json, settings)

    if not {model.name for model in (teacher, *students)} <= result["patch"].keys():
        result["patch"] = measure_patches([teacher, *students], images, rounds=arguments.rounds)
        write_json(arguments.json, result)
    parts = []
    if arguments.case:
        parts.append((commands_for(students, mirror=mirror, device="cpu"), arguments.case_rounds))
    if arguments.teacher_case:
        parts.append((commands_for([teacher], mirror=mirror, device="cpu")[:1], 1))
    for commands, rounds in parts:
        names = [command.name for command in commands]
        while min(len(result["case"].get(name, {}).get("seconds", [])) for name in names) < rounds:
            measure_case(commands, images, output=work / "label maps", into=result["case"])
            write_json(arguments.json, result)
    show(result)


def kept_result(file: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The results of earlier calls with the same settings on this machine."""
    machine = describe_machine()
    kept = read_json(file) if file.is_file() else {}
    if kept.get("settings") == settings and kept["machine"]["processor"] == machine["processor"]:
        return kept
    return {"settings": settings, "machine": machine, "patch": {}, "case": {}}


def measure_patches(models: list[Candidate], images: Path, *, rounds: int) -> dict[str, Any]:
    first = next(iter(sorted(images.iterdir())))
    with StepProgress("patch") as progress:
        numbers = benchmark(models, first, rounds=rounds, case=False, device="cpu", progress=progress).numbers()
    print(*numbers.pop(MEASUREMENT)["notes"], sep="\n")
    return numbers


def measure_case(commands: list[Command], images: Path, *, output: Path, into: dict[str, Any]) -> None:
    """One round: run each command once."""
    case = InputCase(images.name, dict(enumerate(sorted(images.iterdir()))))
    load = os.getloadavg()[0]
    with StepProgress("case") as progress:
        measured = measure_commands(
            commands, case, file_ending=ENDING, output=output / commands[0].name, rounds=1, progress=progress
        )
    stock = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(measured[0].label_map))
    for made in measured:
        labels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(made.label_map))
        kept = into.setdefault(made.command.name, {"seconds": [], "memory_bytes": [], "load_before": []})
        kept["seconds"].append(made.case.median)
        kept["memory_bytes"].append(made.memory_bytes)
        kept["load_before"].append(load)
        kept["differing_voxels"] = float((labels != stock).mean())
        kept["command"] = " ".join(made.command.arguments)


def show(result: dict[str, Any]) -> None:
    """Print the results next to the project's targets."""
    base = result["patch"]["teacher"]
    table = Table(title=f"Seconds per patch, compared with the teacher in PyTorch ({result['machine']['processor']})")
    for column in ("model", "median", "min … max", "× as fast", "min … max", "target"):
        table.add_column(column)
    for name, made in result["patch"].items():
        table.add_row(
            name,
            f"{made['patch_latency_s']:.3f}",
            f"{min(made['patch_s']):.3f} … {max(made['patch_s']):.3f}",
            f"{base['patch_latency_s'] / made['patch_latency_s']:.1f}",
            "{:.1f} … {:.1f}".format(*made["patch_speed_range"]),
            target(name, float32=15, fewer_bits=25),
        )
    Console(width=140).print(table)
    if not result["case"]:
        return
    medians = {name: statistics.median(made["seconds"]) for name, made in result["case"].items()}
    peaks = {name: max(made["memory_bytes"]) for name, made in result["case"].items()}
    student, teacher = STOCK["student"], STOCK["teacher"]
    table = Table(title=f"The case {result['settings']['case']}, from the command to its label map")
    headings = ("command", "seconds", "min … max", "MiB", "× stock's memory", "× stock's speed", "target")
    for column in (*headings, "× with teacher", "target", "other voxels"):
        table.add_column(column)
    for name, made in result["case"].items():
        table.add_row(
            name,
            f"{medians[name]:.1f}",
            f"{min(made['seconds']):.1f} … {max(made['seconds']):.1f}",
            f"{peaks[name] / 2**20:.0f}",
            f"{peaks[name] / peaks[student]:.2f}" if student in peaks else "",
            f"{medians[student] / medians[name]:.2f}" if student in medians else "",
            target(name, float32=2, fewer_bits=3.5),
            f"{medians[teacher] / medians[name]:.1f}" if teacher in medians else "",
            target(name, float32=15, fewer_bits=25),
            f"{made['differing_voxels']:.3%}",
        )
    Console(width=140).print(table)


def target(name: str, *, float32: float, fewer_bits: float) -> str:
    """The ratio that the best runtime should reach in this precision."""
    if name not in EXPORTS:
        return ""
    return f"≥ {float32 if EXPORTS[name][1] == 'float32' else fewer_bits:g}"


def find_case(folder: Path, patient: str, *, tiny: bool) -> Path:
    """A folder named after its case that holds `CASE_0000.nii.gz`, …: links to a real patient, or noise."""
    data = os.environ.get("NNDISTILL_DATA")
    real = Path(data).resolve() / "open_ms" / patient if data and not tiny else None
    name = patient if real else "noise"
    case = folder / name
    case.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for number, channel in enumerate(CHANNELS):
        file = case / f"{name}_{number:04d}{ENDING}"
        if file.exists():
            continue
        if real:
            file.symlink_to(real / f"{channel}{ENDING}")
        else:
            noise = random.standard_normal((40, 48, 36) if tiny else SIZE, np.float32) + 5
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(noise), file)
    return case


def make_models(work: Path, images: Path, *, tiny: bool, int8: bool) -> list[Candidate]:
    """The teacher, the student and its exports, in this order; existing ones are kept."""
    factor = 8 if tiny else 1
    for name, features in (("teacher", TEACHER), ("student", STUDENT)):
        make_model_folder(work / name, [max(4, count // factor) for count in features], tiny=tiny)
    models = [Candidate(name, work / name, "torch") for name in ("teacher", "student")]
    for name, (format_, precision) in EXPORTS.items():
        if precision == "int8" and not int8:
            continue
        folder = work / name
        if not (folder / FILE_NAME).is_file():
            print(f"exporting: {name}")
            options = ["--format", format_, "--precision", precision, "--out", str(folder)]
            # Random weights have no accuracy to lose, so any loss is tolerated.
            options += ["--calibration", str(images), "--tolerance", "1"] if precision == "int8" else []
            subprocess.run(
                [sys.executable, "-m", "nndistill", "export", str(work / "student"), *options],
                check=True,
                stdout=subprocess.DEVNULL,
            )
        models.append(Candidate(name, folder, "onnxruntime" if format_ == "onnx" else "openvino"))
    return models


def make_model_folder(folder: Path, features: list[int], *, tiny: bool) -> None:
    """A model folder as stock nnU-Net leaves it, with random weights."""
    checkpoint = folder / "fold_0" / "checkpoint_final.pth"
    if checkpoint.is_file():
        return
    plans, dataset = brats_plans(features, tiny=tiny), dataset_json()
    write_json(folder / "plans.json", plans)
    write_json(folder / "dataset.json", dataset)
    torch.manual_seed(0)
    network = build_network(plans, CONFIGURATION, dataset)
    write_checkpoint(
        checkpoint,
        {
            "network_weights": network.state_dict(),
            "trainer_name": "nnUNetTrainer",
            "init_args": {"configuration": CONFIGURATION},
            "inference_allowed_mirroring_axes": (0, 1, 2),
        },
    )


def dataset_json() -> dict[str, Any]:
    names = {str(number): channel for number, channel in enumerate(CHANNELS)}
    return {"channel_names": names, "labels": LABELS, "numTraining": 1, "file_ending": ENDING}


def brats_plans(features: list[int], *, tiny: bool) -> dict[str, Any]:
    """What nnU-Net's ResEncUNetPlanner writes for BraTS 2024, with these features."""
    stages = 3 if tiny else len(features)
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    return {
        "dataset_name": "Dataset226_BraTS2024",
        "plans_name": "nnUNetResEncUNetPlans",
        "original_median_spacing_after_transp": [1.0, 1.0, 1.0],
        "original_median_shape_after_transp": list(SIZE),
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "experiment_planner_used": "ResEncUNetPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(number): {} for number in range(len(CHANNELS))},
        "configurations": {
            CONFIGURATION: {
                "data_identifier": "nnUNetPlans_3d_fullres",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 2,
                "patch_size": [32, 40, 28] if tiny else PATCH,
                "median_image_size_in_voxels": [140.0, 171.0, 137.0],
                "spacing": [1.0, 1.0, 1.0],
                "normalization_schemes": ["ZScoreNormalization"] * len(CHANNELS),
                "use_mask_for_norm": [True] * len(CHANNELS),
                "resampling_fn_data": "resample_data_or_seg_to_shape",
                "resampling_fn_seg": "resample_data_or_seg_to_shape",
                "resampling_fn_data_kwargs": resampling,
                "resampling_fn_seg_kwargs": {**resampling, "is_seg": True, "order": 1},
                "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
                "resampling_fn_probabilities_kwargs": {**resampling, "order": 1},
                "architecture": {
                    "network_class_name": "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
                    "arch_kwargs": {
                        "n_stages": stages,
                        "features_per_stage": features[:stages],
                        "conv_op": "torch.nn.modules.conv.Conv3d",
                        "kernel_sizes": [[3, 3, 3]] * stages,
                        "strides": STRIDES[:stages],
                        "n_blocks_per_stage": BLOCKS[:stages],
                        "n_conv_per_stage_decoder": [1] * (stages - 1),
                        "conv_bias": True,
                        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
                        "dropout_op": None,
                        "dropout_op_kwargs": None,
                        "nonlin": "torch.nn.LeakyReLU",
                        "nonlin_kwargs": {"inplace": True},
                    },
                    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
                },
                "batch_dice": False,
            }
        },
    }


if __name__ == "__main__":
    main()
