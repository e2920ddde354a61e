"""An nnU-Net trainer that distils: `nnUNetTrainerDistill`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from torch import Tensor, autocast
from torch.nn.utils import clip_grad_norm_
from torch.random import fork_rng

from ...distiller import Distiller
from ...errors import UserError
from ...files import digest
from ...methods import Method
from ...methods.base import unprepared_methods
from ...taps import Taps, nnunet_taps, paired_taps, unwrapped
from ...teacher_engines import TeacherEngine, TorchEngine
from ...teacher_engines.choice import UNDECIDED
from ..models.model_folder import ModelFolder
from .across_processes import across_processes
from .distillation_weight import (
    TOO_LARGE,
    TOO_SMALL,
    DistillationWeight,
    gradient_norms,
    let_compiled_networks_go_backward_again,
)
from .initialization import initialize_from_teacher
from .leak import leak_of
from .learned_state import provide_learned_state
from .recipe_trainer import GRADIENT_NORM, nnUNetTrainerRecipe
from .teacher_engine import teacher_engine

logger = logging.getLogger(__name__)


class nnUNetTrainerDistill(nnUNetTrainerRecipe):  # noqa: N801
    r"""Train a student with its frozen teacher: $\mathcal L_{seg} + \mu\,\mathcal L_{method}$ (Eq. 8).

    Teacher, method and recipe are read from the student's plans. The projections φ are trained with the student unless
    the method freezes them, kept in the checkpoint for resuming, and unknown to the student's own weights. The share of
    the gradient that the distillation has is measured and logged; μ may follow it (`Balance`).
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
        self.distillation_weight = DistillationWeight(
            self.distillation.weighting, iterations=self.recipe.iterations, say=self._say
        )
        self.teacher_engine: TeacherEngine | None = None
        self._resumed_engine = UNDECIDED
        self._weight_of_batch = 0.0

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, PolyLRScheduler]:
        # Here, because the optimiser needs φ: after the student exists, before it is wrapped for several GPUs.
        with fork_rng(devices=[]):  # φ draws random numbers; the batches have to be the same with every method
            labels = self.label_manager
            method = self.distillation.build_method(
                classes=labels.num_segmentation_heads + labels.has_regions,  # what is in no region is one more class
                ignores=labels.has_ignore_label,
            )
            self.method = method.to(self.device)
        return super().configure_optimizers()

    def trained_parameters(self) -> Iterator[torch.nn.Parameter]:
        yield from super().trained_parameters()
        yield from (parameter for parameter in self.method.parameters() if parameter.requires_grad)

    def trained_modules(self) -> Iterator[torch.nn.Module]:
        yield from super().trained_modules()
        yield self.distiller.method

    def on_train_start(self) -> None:
        if not self.was_initialized:
            self.initialize()
        if leak := leak_of(teacher_fold=self.distillation.teacher.fold_for(self.fold), fold=str(self.fold)):
            self._say(leak)
        let_compiled_networks_go_backward_again()
        with fork_rng(devices=[]):  # and so does a new network, before it gets its weights
            teacher = self._load_teacher() if self.method.needs or self._starts_from_teacher else None
        if teacher is not None:
            self.print_to_log_file(f"the teacher: {self._teacher_file()}")
        if teacher is not None and self._starts_from_teacher:
            self._start_from(teacher)
        self.teacher = teacher if self.method.needs else None
        self.distiller = self._distiller()
        if self.is_ddp:  # nnU-Net wraps the student only
            self.distiller.method = across_processes(self.method, self.device)  # type: ignore[assignment]
        super().on_train_start()
        self._prepare_method()
        if self.method.needs:
            self.print_to_log_file(self.distillation.weighting.described(self.distillation.method))

    def _prepare_method(self) -> None:
        """Let the method learn from the teacher before the first epoch, unless an earlier run left what it learned."""
        for part in unprepared_methods(self.method):
            teacher_file = self._teacher_file()
            found = provide_learned_state(
                part,
                facts={
                    "teacher": digest(teacher_file),
                    "dataset": self.plans_manager.dataset_name,
                    "fold": self.fold,
                    "batch_size": self.batch_size,
                    "mirroring": self.recipe.mirroring,
                },
                folders=[teacher_file.parent, Path(self.output_folder)],
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
            loss = self._loss_of_one_process()
            method.prepare(self.distiller.teacher_task(self._training_batches(), loss, report=report))

    def _loss_of_one_process(self) -> Any:
        """nnU-Net's loss without what it gathers from other processes, which do not take part in the learning.

        Its batch Dice would wait for them, and they for what is learned.
        """
        if not self.is_ddp:
            return self.loss
        self.is_ddp = False
        try:
            return self._build_loss()
        finally:
            self.is_ddp = True

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
        self.distillation_weight.start_epoch()

    def losses(self, data: Tensor, target: Any) -> dict[str, Tensor]:
        scheduled = self.recipe.weight_at(self.current_epoch, 1.0)
        if scheduled == 0 or self.distillation.weighting.is_nothing or not self.method.needs:
            return super().losses(data, target)  # so the teacher does not run before the ramp begins
        output, distillation = self.distiller(data, self._reference(target))
        segmentation = self.loss(output, target)
        if self.part == 0:  # all parts of a batch have the same μ
            if self.distillation_weight.is_due():
                self.distillation_weight.take(*self._gradient_norms(segmentation, distillation))
            self._weight_of_batch = self.distillation_weight.use(scheduled)
        return {"segmentation": segmentation, "distillation": self._weight_of_batch * distillation}

    def _gradient_norms(self, *losses: Tensor) -> list[float]:
        scale = self.grad_scaler.get_scale() if self.grad_scaler else 1.0
        parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        with autocast(self.device.type, enabled=False):  # as in the backward pass to come
            return gradient_norms(losses, parameters, scale=scale)

    def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
        super().on_train_epoch_end(train_outputs)
        shares = self.logger.get_value("gradient_shares", step=None)
        drowned_before = bool(shares) and shares[-1] > TOO_LARGE
        epoch = self.distillation_weight.epoch()
        for key, value in epoch._asdict().items():
            self.logger.log(key, value, self.current_epoch)
            if self.method.needs:
                self.print_to_log_file(key.removesuffix("s"), f"{value:.4g}")
        if self.distillation_weight.drowns_the_task() and not drowned_before:
            self._say(
                f"throughout epoch {self.current_epoch} the gradient of the distillation on the student was larger "
                f"than that of the segmentation, {epoch.gradient_shares:.3g} times on average: the task may drown in "
                "it. A smaller weight, or a balance below 1, avoids that."
            )

    def on_train_end(self) -> None:
        weights, shares = (self.logger.get_value(key, step=None) for key in ("distillation_weights", "gradient_shares"))
        if any(weights) and max(shares) < TOO_SMALL:
            self._say(
                "the gradient of the distillation on the student was never more than "
                f"{max(shares):.2g} of that of the segmentation in the mean of an epoch: the distillation did next to "
                "nothing. A larger weight, or a balance, changes that."
            )
        super().on_train_end()

    def _say(self, sentence: str) -> None:
        self.print_to_log_file(sentence)
        if self.local_rank == 0:
            logger.warning(sentence)

    def _clip_gradients(self) -> list[Tensor]:
        norms = super()._clip_gradients()
        if phi := list(self.method.parameters()):  # separately, so that φ does not shorten the student's own steps
            norms.append(clip_grad_norm_(phi, GRADIENT_NORM))
        return norms

    def extra_state(self) -> dict[str, Any]:
        state = {**super().extra_state(), "method": self.method.state_dict()}
        if weight := self.distillation_weight.state():
            state["weight"] = weight
        if self.teacher_engine is not None and self.teacher_engine.name != TorchEngine.name:
            state["teacher_engine"] = self.teacher_engine.name
        return state

    def load_extra_state(self, state: dict[str, Any]) -> None:
        super().load_extra_state(state)
        self.method.load_state_dict(state["method"])
        if "weight" in state:
            self.distillation_weight.load_state(state["weight"])
        self._resumed_engine = state.get("teacher_engine", TorchEngine.name)

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
        self.print_to_log_file(f"the student starts from the teacher's most important channels: {self._teacher_file()}")
        for path in unlike:
            self.print_to_log_file(f"the student has no {path}: it adds unlike channels of the teacher there")

    def _load_teacher(self) -> torch.nn.Module:
        return ModelFolder.read(Path(self.distillation.teacher.folder)).network(self._teacher_file()).to(self.device)

    def _teacher_file(self) -> Path:
        """The teacher's checkpoint for this fold; stock nnU-Net may train another fold than the plans were made for."""
        teacher = self.distillation.teacher
        folder = ModelFolder.read(Path(teacher.folder))
        return folder.checkpoint_file(teacher.fold_for(self.fold), teacher.checkpoint)

    def _distiller(self) -> Distiller:
        if self.teacher is None:
            return Distiller(self.network, None, self.method)
        ours, theirs = paired_taps(nnunet_taps(self.network), nnunet_taps(self.teacher), self.distillation.stages)
        self.teacher_engine = self._engine_of(self.teacher, theirs)
        return Distiller(
            self.network,
            self.teacher,
            self.method,
            student_taps=ours,
            teacher_taps=theirs,
            teacher_engine=self.teacher_engine,
        )

    def _engine_of(self, teacher: torch.nn.Module, taps: Taps) -> TeacherEngine:
        checkpoint_file = self._teacher_file()
        return teacher_engine(
            TorchEngine.reading(teacher.eval(), self.method.needs, taps=taps),
            wanted=self.distillation.teacher_engine,
            kept=self._resumed_engine,
            device=self.device,
            compiled=self._do_i_compile(),
            in_one_process=not self.is_ddp,
            batches=(self.num_epochs - self.current_epoch) * self.num_iterations_per_epoch,
            checkpoint_file=checkpoint_file,
            folders=[checkpoint_file.parent, Path(self.output_folder)],
            log=self.print_to_log_file,
            warn=self._say,
        )
