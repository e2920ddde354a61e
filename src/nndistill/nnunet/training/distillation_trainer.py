"""An nnU-Net trainer that distils: `nnUNetTrainerDistill`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.random import fork_rng

from ...distiller import Distiller
from ...errors import UserError
from ...files import digest
from ...methods import Method, build_method
from ...methods.base import unprepared_methods
from ...taps import unwrapped
from ..models.model_folder import ModelFolder
from .across_processes import across_processes
from .initialization import initialize_from_teacher
from .learned_state import provide_learned_state
from .recipe_trainer import GRADIENT_NORM, nnUNetTrainerRecipe


class nnUNetTrainerDistill(nnUNetTrainerRecipe):  # noqa: N801
    r"""Train a student with its frozen teacher: $\mathcal L_{seg} + \mu\,\mathcal L_{method}$ (Eq. 8).

    Teacher, method and recipe are read from the student's plans. The projections φ are trained with the student unless
    the method freezes them, kept in the checkpoint for resuming, and unknown to the student's own weights.
    """

    def __init__(  # nnU-Net looks up these very names
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int | str,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        if self.setup.distillation is None:
            raise UserError(f"plans {plans['plans_name']!r} do not name a teacher; make them with `nndistill distill`.")
        self.distillation = self.setup.distillation

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, PolyLRScheduler]:
        # Here, because the optimiser needs φ: after the student exists, before it is wrapped for several GPUs.
        with fork_rng(devices=[]):  # φ draws random numbers; the batches have to be the same with every method
            method = build_method(
                self.distillation.method,
                student_channels=self.distillation.student_channels,
                teacher_channels=self.distillation.teacher.channels,
                **self.distillation.options,
            )
        self.method = method.to(self.device)
        return super().configure_optimizers()

    def trained_parameters(self) -> Iterator[torch.nn.Parameter]:
        yield from super().trained_parameters()
        yield from (parameter for parameter in self.method.parameters() if parameter.requires_grad)

    def on_train_start(self) -> None:
        if not self.was_initialized:
            self.initialize()
        with fork_rng(devices=[]):  # and so does a new network, before it gets its weights
            teacher = self._load_teacher() if self.method.needs or self._starts_from_teacher else None
        if teacher is not None and self._starts_from_teacher:
            self._start_from(teacher)
        self.teacher = teacher if self.method.needs else None
        self.distiller = Distiller(self.network, self.teacher, self.method)
        if self.is_ddp:  # nnU-Net wraps the student only
            self.distiller.method = across_processes(  # type: ignore[assignment]
                self.method, device_ids=[self.local_rank]
            )
        super().on_train_start()
        self._prepare_method()

    def _prepare_method(self) -> None:
        """Let the method learn from the teacher before the first epoch, unless an earlier run left what it learned."""
        teacher = self.distillation.teacher
        teacher_folder = Path(teacher.folder) / f"fold_{teacher.fold}"
        for part in unprepared_methods(self.method):
            found = provide_learned_state(
                part,
                facts={
                    "teacher": digest(teacher_folder / teacher.checkpoint),
                    "dataset": self.plans_manager.dataset_name,
                    "fold": self.fold,
                    "batch_size": self.batch_size,
                    "mirroring": self.recipe.mirroring,
                },
                folders=[teacher_folder, Path(self.output_folder)],
                learn=partial(self._learn, part),
                may_learn=self.local_rank == 0,
            )
            if found:
                self.print_to_log_file(f"{part.name}: learned from this teacher before")

    def _learn(self, method: Method) -> None:
        def report(done: int, total: int) -> None:
            if done % 100 == 0 or done == total:
                self.print_to_log_file(f"{method.name}: learning from the teacher, {done} of {total} batches")
            self.on_preparation(done, total)

        with self._teacher_under_deep_supervision():
            method.prepare(self.distiller.teacher_task(self._training_batches(), self.loss, report=report))

    def _training_batches(self) -> Iterator[tuple[Tensor, Any]]:
        while True:
            yield self.on_device(next(self.dataloader_train))

    @contextmanager
    def _teacher_under_deep_supervision(self) -> Iterator[None]:
        """Let the teacher answer in all the sizes that the loss expects of the student."""
        assert self.teacher is not None
        decoder: Any = self.teacher.decoder
        decoder.deep_supervision = self.enable_deep_supervision
        try:
            yield
        finally:
            decoder.deep_supervision = False

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.method.train()

    def losses(self, data: Tensor, target: Any) -> dict[str, Tensor]:
        weight = self.recipe.weight_at(self.current_epoch)
        if weight == 0:  # before the ramp begins, the teacher need not run
            return super().losses(data, target)
        output, distillation = self.distiller(data, self._reference(target))
        return {"segmentation": self.loss(output, target), "distillation": weight * distillation}

    def _clip_gradients(self) -> None:
        super()._clip_gradients()
        if phi := list(self.method.parameters()):  # separately, so that φ does not shorten the student's own steps
            clip_grad_norm_(phi, GRADIENT_NORM)

    def extra_state(self) -> dict[str, Any]:
        return {**super().extra_state(), "method": self.method.state_dict()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        super().load_extra_state(state)
        self.method.load_state_dict(state["method"])

    def _reference(self, target: Any) -> Tensor:
        """The full-size target as methods read it: negative where it has the data set's ignore label."""
        reference: Tensor = target[0] if isinstance(target, list) else target
        if not self.label_manager.has_ignore_label:
            return reference
        if self.label_manager.has_regions:  # nnU-Net appends the ignored voxels as one more channel, all boolean
            return reference[:, :-1].to(torch.int8).masked_fill(reference[:, -1:] > 0, -1)
        return reference.masked_fill(reference == self.label_manager.ignore_label, -1)

    @property
    def _starts_from_teacher(self) -> bool:
        return self.distillation.init == "teacher" and self.current_epoch == 0  # a resumed run has its own weights

    def _start_from(self, teacher: torch.nn.Module) -> None:
        unlike = initialize_from_teacher(unwrapped(self.network), teacher)
        if self._average:
            self._average.restart()
        chosen = self.distillation.teacher
        file = Path(chosen.folder) / f"fold_{chosen.fold}" / chosen.checkpoint
        self.print_to_log_file(f"the student starts from the teacher's most important channels: {file}")
        for path in unlike:
            self.print_to_log_file(f"the student has no {path}: it adds unlike channels of the teacher there")

    def _load_teacher(self) -> torch.nn.Module:
        teacher = self.distillation.teacher
        folder = ModelFolder.read(Path(teacher.folder))
        return folder.network(folder.checkpoint_file(teacher.fold, teacher.checkpoint)).to(self.device)
