"""What a process of the data-parallel test does; in a module of its own, which a new process can import."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from networks import residual_unet
from nndistill import Distiller
from nndistill.methods import build_method, for_several_teachers
from nndistill.nnunet.training.across_processes import across_processes, mean_gradients
from nndistill.nnunet.training.distillation_weight import gradient_norms

TEACHER, STUDENT = (8, 16), (4, 8)
Given = ParamSpec("Given")


def one_of_two(work: Callable[Concatenate[int, Given], Any]) -> Callable[Concatenate[int, str, Given], None]:
    """Let a process do its part of some work, which gets its rank, as one of two, and keep in a folder what it returns.

    The group of processes is held here until all that the work made is gone. Whoever lets go of it last waits for its
    threads, and a `DistributedDataParallel` waits without releasing the interpreter, which those threads may need.
    """

    @wraps(work)
    def done(rank: int, folder: str, *given: Given.args, **named: Given.kwargs) -> None:
        torch.set_num_threads(1)
        distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
        group = distributed.group.WORLD
        torch.save(work(rank, *given, **named), f"{folder}/{rank}.pth")
        distributed.destroy_process_group()
        del group

    return done


def distiller(wrapped: Callable[[nn.Module], nn.Module]) -> Distiller:
    """As nnUNetTrainerDistill puts it together."""
    torch.manual_seed(7)
    student, teacher = residual_unet(STUDENT), residual_unet(TEACHER)
    method = build_method("dcd", student_channels=STUDENT, teacher_channels=TEACHER, bands="A+D", level=1)
    whole = Distiller(wrapped(student), teacher, method)
    whole.method = wrapped(method)
    return whole


def gradients(module: Distiller, x: torch.Tensor) -> dict[str, torch.Tensor]:
    output, distillation = module(x)
    gradient_norms([output.square().mean(), distillation], list(module.student.parameters()))  # leaves no trace
    (output.square().mean() + distillation).backward()
    return {
        name.replace("module.", ""): parameter.grad
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


def _across_processes(module: nn.Module) -> nn.Module:
    return DistributedDataParallel(module, find_unused_parameters=True)  # deep supervision is off: idle heads


def distiller_of_two_teachers(
    wrapped: Callable[[nn.Module], nn.Module], *, wrapped_method: Callable[[nn.Module], nn.Module]
) -> Distiller:
    """The same with two teachers, each with its φ."""
    torch.manual_seed(7)
    student, teachers = residual_unet(STUDENT), [residual_unet(TEACHER) for _ in range(2)]
    method = for_several_teachers(
        [build_method("feature", student_channels=STUDENT, teacher_channels=TEACHER) for _ in teachers]
    )
    whole = Distiller(wrapped(student), teachers, method)
    whole.method = wrapped_method(method)
    return whole


def phi_gradients(module: Distiller, x: torch.Tensor, teachers: list[list[int]]) -> dict[str, torch.Tensor]:
    """Of every φ, by its name."""
    output, distillation = module(x, teachers=teachers)
    (output.square().mean() + distillation).backward()
    return {name.replace("module.", ""): parameter.grad for name, parameter in module.method.named_parameters()}


@one_of_two
def work_with_one_teacher_each(rank: int, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Each process has a sample that another teacher teaches; the method is wrapped as in a training."""
    wrapped_method = partial(across_processes, device=torch.device("cpu"))
    module = distiller_of_two_teachers(_across_processes, wrapped_method=wrapped_method)
    return phi_gradients(module, x[rank : rank + 1], [[rank]])


@one_of_two
def work(rank: int, x: torch.Tensor) -> dict[str, torch.Tensor]:
    return gradients(distiller(_across_processes), x[rank : rank + 1])


METHODS = {
    "trained": ("dcd", {}),
    "frozen": ("dcd", {"train_phi": False}),
    "one of each": ("dcd+feature", {"dcd.train_phi": False}),
    "without": ("at", {}),
}


@one_of_two
def draw_phi(rank: int) -> dict[str, tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], bool]]:
    """φ of each method as this process has drawn it and as it is across processes."""
    kept = {}
    for key, (name, options) in METHODS.items():
        torch.manual_seed(rank)
        method = build_method(name, student_channels=STUDENT, teacher_channels=TEACHER, **options)
        drawn = {parameter: value.clone() for parameter, value in method.state_dict().items()}
        wrapped = isinstance(across_processes(method, torch.device("cpu")), DistributedDataParallel)
        kept[key] = (drawn, method.state_dict(), wrapped)
    return kept


@one_of_two
def measure(rank: int, x: torch.Tensor) -> list[float]:
    weight = nn.Parameter(torch.ones(x.shape[1]))
    loss = (weight * x[rank]).sum()
    return gradient_norms([loss, 2 * loss], [weight])


@one_of_two
def collect(rank: int, x: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """The mean of gradients that each process has collected on its own from two parts; one parameter has none."""
    layer, idle = nn.Linear(x.shape[1], 3, bias=False), nn.Parameter(torch.ones(2))
    nn.init.ones_(layer.weight)
    wrapped = DistributedDataParallel(layer)
    with wrapped.no_sync():
        for part in (x[rank], 2 * x[rank]):
            wrapped(part).square().sum().backward()
    mean_gradients([idle, *layer.parameters()])
    return layer.weight.grad, idle.grad
