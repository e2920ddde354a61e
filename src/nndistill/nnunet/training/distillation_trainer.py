"""An nnU-Net trainer that distils: `nnUNetTrainerDistill`."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator, Sequence
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
from ...methods.several_teachers import unprepared_by_teacher
from ...taps import Taps, nnunet_taps, paired_taps, unwrapped
from ...teacher_engines import TeacherEngine, TorchEngine
from ...teacher_engines.choice import UNDECIDED
from ..data.out_of_fold import out_of_fold
from ..data.preprocessed_case import split_of_fold, splits_by_fold
from ..models.model_folder import ModelFolder
from .across_processes import across_processes, gathered, is_first
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
from .stored_plans import name_teachers_of_all_folds
from .teacher_engine import ensemble_of, teacher_engine
from .unlabelled_batches import UnlabelledBatches
from .unlabelled_images import UnlabelledImages
from .unlabelled_leak import leaks_of_unlabelled
from .who_teaches import WhoTeaches

logger = logging.getLogger(__name__)


class nnUNetTrainerDistill(nnUNetTrainerRecipe):  # noqa: N801
    r"""Train a student with its frozen teacher: $\mathcal L_{seg} + \mu\,\mathcal L_{method}$ (Eq. 8).

    Teacher, method and recipe are read from the student's plans. The projections φ are trained with the student unless
    the method freezes them, kept in the checkpoint for resuming, and unknown to the student's own weights. The share of
    the gradient that the distillation has is measured and logged; μ may follow it (`Balance`). Several teachers may
    teach, all, in turn, or each the cases that it has not seen (`WhoTeaches`). With images without labels,
    $\mathcal L_{method}$ is a mean over their patches too.
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
        self.teacher_networks = self.distillation.teacher.networks_for(fold)
        self.teacher_engines: list[TeacherEngine] = []
        self._resumed_engines = [UNDECIDED] * len(self.teacher_networks)
        self._teacher_digests: list[str] = []
        self._resumed_teacher_digests: list[str] | None = None
        self._weight_of_batch = 0.0
        self._who_teaches: WhoTeaches | None = None
        self._batches_of_epoch = 0
        self._taught_by: list[list[int]] = []
        self._unlabelled_batches: UnlabelledBatches | None = None
        self._unlabelled_seed: int | None = self.recipe.seed

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, PolyLRScheduler]:
        # Here, because the optimiser needs φ: after the student exists, before it is wrapped for several GPUs.
        with fork_rng(devices=[]):  # φ draws random numbers; the batches have to be the same with every method
            labels = self.label_manager
            method = self.distillation.build_method(
                ndim=len(self.configuration_manager.patch_size),
                fold=self.fold,
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
        self._warn_of_leak()
        let_compiled_networks_go_backward_again()
        with fork_rng(devices=[]):  # and so does a new network, before it gets its weights
            teachers = self._load_teachers()
        if teachers and self._starts_from_teacher:
            self._start_from(teachers[0])
        self.teachers = teachers if self.method.needs else []
        several = len(self.teachers) > 1 or self._out_of_fold
        self._who_teaches = self._timetable() if self.teachers and several else None
        self.distiller = self._make_distiller()
        if self.is_ddp:  # nnU-Net wraps the student only
            self.distiller.method = across_processes(self.method, self.device)  # type: ignore[assignment]
        super().on_train_start()
        if is_first():
            name_teachers_of_all_folds(Path(self.output_folder_base), self._plans_file)
        self._prepare_method()
        self._provide_unlabelled_batches()
        if self.method.needs:
            self.print_to_log_file(self.distillation.weighting.described(self.distillation.method))

    def _warn_of_leak(self) -> None:
        if not self.method.needs and not self._starts_from_teacher:
            return
        leak = leak_of(
            teacher_folds=[network.fold for network in self.teacher_networks],
            fold=str(self.fold),
            splits=splits_by_fold(self._data_folder, self.configuration_manager.data_identifier),
            out_of_fold=self._out_of_fold,
        )
        if leak:
            self._say(leak)

    @property
    def _data_folder(self) -> Path:
        return Path(self.preprocessed_dataset_folder_base)

    @property
    def _plans_file(self) -> Path:
        return self._data_folder / f"{self.plans_manager.plans_name}.json"

    @property
    def _out_of_fold(self) -> bool:
        return self.distillation.teacher.together == "out-of-fold"

    @property
    def _training_cases(self) -> list[str]:
        return sorted(
            split_of_fold(self._data_folder, self.configuration_manager.data_identifier, str(self.fold)).train
        )

    def _timetable(self) -> WhoTeaches:
        together = self.distillation.teacher.together
        if not self._out_of_fold:
            return WhoTeaches(self.teacher_networks, together)
        splits = splits_by_fold(self._data_folder, self.configuration_manager.data_identifier)
        cases = splits[str(self.fold)].train
        who_teaches = WhoTeaches(self.teacher_networks, together, held_out_by=out_of_fold(self._data_folder, cases))
        who_teaches(cases, batch=0)  # refuses a case without a teacher before anything is trained
        return who_teaches

    def _make_distiller(self) -> Distiller:
        if not self.teachers:
            return Distiller(self.network, None, self.method)
        # all teachers have the stages of the first
        ours, theirs = paired_taps(nnunet_taps(self.network), nnunet_taps(self.teachers[0]), self.distillation.stages)
        engines = self.teacher_engines = [self._engine_of(*each, theirs) for each in enumerate(self.teachers)]
        together, regions = self.distillation.teacher.together, self.label_manager.has_regions
        return Distiller(
            self.network,
            self.teachers if len(engines) > 1 else self.teachers[0],
            self.method,
            student_taps=ours,
            teacher_taps=theirs,
            teacher_engine=ensemble_of(engines, together, regions=regions) if len(engines) > 1 else engines[0],
        )

    def _prepare_method(self) -> None:
        """Let the method learn from the teachers before the first epoch, unless an earlier run left what it learned."""
        for teacher, part in unprepared_by_teacher(self.method):
            teacher_file = self._teacher_file(teacher)
            found = provide_learned_state(
                part,
                facts={
                    "teacher": self._teacher_digests[teacher],
                    "dataset": self.plans_manager.dataset_name,
                    "fold": self.fold,
                    "cases": self._training_cases,
                    "batch_size": self.batch_size,
                    "mirroring": self.recipe.mirroring,
                    "precision": self.precision,
                    **({"taught": "out-of-fold"} if self._out_of_fold else {}),
                },
                folders=[teacher_file.parent, Path(self.output_folder)],
                learn=partial(self._learn, part, teacher),
                may_learn=self.local_rank == 0,
            )
            if found:
                self.print_to_log_file(f"{part.name}: learned from this teacher before")

    def _provide_unlabelled_batches(self) -> None:
        unlabelled = self.distillation.unlabelled
        if unlabelled is None:
            return
        folder, fold = self._data_folder, str(self.fold)
        images = UnlabelledImages.read(folder, unlabelled)
        self.print_to_log_file(f"unlabelled: {unlabelled.described}")
        if self.local_rank == 0:
            validation = split_of_fold(folder, self.configuration_manager.data_identifier, fold).validation
            for leak in leaks_of_unlabelled(images, dataset=folder.name, fold=fold, validation=validation):
                self._say(leak)
        if unlabelled.share:
            if self._unlabelled_seed is None:  # one for all processes, which a resumed run has to know
                self._unlabelled_seed = gathered(secrets.randbits(128))[0]
            seed = self._unlabelled_seed
            self._unlabelled_batches = UnlabelledBatches(self, images, share=unlabelled.share, seed=seed)

    def _learn(self, method: Method, teacher: int) -> None:
        def report(done: int, total: int) -> None:
            if done % 100 == 0 or done == total:
                self.print_to_log_file(f"{method.name}: learning from the teacher, {done} of {total} batches")
            self.on_preparation(done, total)

        with self._under_deep_supervision(self.teachers[teacher]):
            loss, batches = self._loss_of_one_process(), self._training_batches(teacher)
            task = self.distiller.teacher_task(batches, loss, report=report, computing=self._computing, teacher=teacher)
            method.prepare(task)

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

    def _training_batches(self, teacher: int) -> Iterator[tuple[Tensor, Any]]:
        """Batches of cases from which this teacher may teach."""
        while True:
            batch = next(self.dataloader_train)
            data, target = self.on_device(batch)
            rows = list(range(len(data)))
            if self._who_teaches is not None and self._out_of_fold:
                taught_by = self._who_teaches(list(batch["keys"]), batch=0)
                rows = [row for row in rows if teacher in taught_by[row]]
            if len(rows) == len(data):
                yield data, target
            elif rows:
                yield data[rows], [each[rows] for each in target] if isinstance(target, list) else target[rows]

    @contextmanager
    def _under_deep_supervision(self, teacher: torch.nn.Module) -> Iterator[None]:
        """Let a teacher answer in all the sizes that the loss expects of the student."""
        decoder: Any = teacher.decoder
        decoder.deep_supervision = self.enable_deep_supervision
        try:
            yield
        finally:
            decoder.deep_supervision = False

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.method.train()
        self.distillation_weight.start_epoch()
        self._batches_of_epoch = 0

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        if self._who_teaches is not None:
            self._taught_by = self._who_teaches(list(batch["keys"]), batch=self._number_of_batch)
        result = super().train_step(batch)
        self._batches_of_epoch += 1
        return result

    @property
    def _number_of_batch(self) -> int:
        """In the whole training, from 0 on."""
        before: int = self.current_epoch * self.num_iterations_per_epoch
        return before + self._batches_of_epoch

    def unlabelled_parts(self) -> list[tuple[Tensor, None]]:
        if self._unlabelled_batches is None or self.recipe.weight_at(self.current_epoch, 1.0) == 0:
            return []
        found = self._unlabelled_batches.at(self._number_of_batch)
        batches = (batch.to(self.device, non_blocking=True) for batch in found)
        return [(part, None) for batch in batches for part in batch.chunk(self.recipe.accumulate)]

    def _teachers_of_part(self, samples: int, *, labelled: bool) -> list[list[int]] | None:
        """Those that teach each sample; `None` for all of them, none of which has seen an unlabelled image."""
        if len(self.teachers) <= 1 or (self._out_of_fold and not labelled):
            return None
        return self._taught_by[self.part * samples :][:samples] if labelled else self._taught_by[:1] * samples

    def losses(self, data: Tensor, target: Any) -> dict[str, Tensor]:
        if target is None:
            loss = self.distiller(data, teachers=self._teachers_of_part(len(data), labelled=False)).loss
            return {"distillation": self._weight_of_batch * self._weight_of_patch * loss}
        scheduled = self.recipe.weight_at(self.current_epoch, 1.0)
        if scheduled == 0 or self.distillation.weighting.is_nothing or not self.method.needs:
            return super().losses(data, target)  # so the teacher does not run before the ramp begins
        teachers = self._teachers_of_part(len(data), labelled=True)
        output, distillation = self.distiller(data, self._reference(target), teachers=teachers)
        segmentation = self.loss(output, target)
        if self.part == 0:  # all parts of a batch have the same μ
            if self.distillation_weight.is_due():
                self.distillation_weight.take(*self._gradient_norms(segmentation, distillation))
            self._weight_of_batch = self.distillation_weight.use(scheduled)
        weight = self._weight_of_batch * self._weight_of_patch
        return {"segmentation": segmentation, "distillation": weight * distillation}

    @property
    def _weight_of_patch(self) -> float:
        """What makes the sum over labelled and unlabelled batches a mean over all of them."""
        return 1.0 - self.distillation.unlabelled.share if self.distillation.unlabelled else 1.0

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
                f"the distillation's gradient stayed below {100 * TOO_SMALL:g} % of the segmentation's in every epoch, "
                "so the distillation had almost no effect. Try a larger weight, or a balance of 0.5."
            )
        super().on_train_end()
        if self._unlabelled_batches is not None:
            self._unlabelled_batches.close()

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
        if self.method.needs:
            state["teachers"] = self._teacher_digests
        if self._unlabelled_seed != self.recipe.seed:
            state["unlabelled_seed"] = self._unlabelled_seed
        engines = [engine.name for engine in self.teacher_engines]
        if any(name != TorchEngine.name for name in engines):
            state["teacher_engine"] = engines if len(engines) > 1 else engines[0]
        return state

    def load_extra_state(self, state: dict[str, Any]) -> None:
        super().load_extra_state(state)
        self.method.load_state_dict(state["method"])
        if "weight" in state:
            self.distillation_weight.load_state(state["weight"])
        self._unlabelled_seed = state.get("unlabelled_seed", self._unlabelled_seed)
        self._resumed_teacher_digests = state.get("teachers")
        kept = state.get("teacher_engine", TorchEngine.name)
        self._resumed_engines = kept if isinstance(kept, list) else [kept] * len(self.teacher_networks)

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

    def _load_teachers(self) -> list[torch.nn.Module]:
        count = len(self.teacher_networks) if self.method.needs else int(self._starts_from_teacher)
        files = [self._teacher_file(number) for number in range(count)]
        if self.method.needs:
            self._teacher_digests = [digest(file) for file in files]
            self._refuse_other_teachers(files)
        for number, file in enumerate(files):
            self.print_to_log_file(f"the teacher: {file}" if count == 1 else f"teacher {number + 1} of {count}: {file}")
        folders = [ModelFolder.read(Path(network.model.folder)) for network in self.teacher_networks[:count]]
        return [folder.network(file).to(self.device) for folder, file in zip(folders, files, strict=True)]

    def _refuse_other_teachers(self, files: Sequence[Path]) -> None:
        """Refuse to go on with a teacher that was trained further, or again, since the run began: φ is of the other."""
        if self._resumed_teacher_digests is None:
            return
        for file, now, before in zip(files, self._teacher_digests, self._resumed_teacher_digests, strict=True):
            if now != before:
                raise UserError(
                    f"{file} is not the teacher with which this training began: it was replaced meanwhile. Put the old "
                    "one back, or begin a training under another name."
                )

    def _teacher_file(self, number: int = 0) -> Path:
        """A teacher's checkpoint for this fold; stock nnU-Net may train another fold than the plans were made for."""
        network = self.teacher_networks[number]
        return ModelFolder.read(Path(network.model.folder)).checkpoint_file(network.fold, network.model.checkpoint)

    def _engine_of(self, number: int, teacher: torch.nn.Module, taps: Taps) -> TeacherEngine:
        checkpoint_file = self._teacher_file(number)
        batches = (self.num_epochs - self.current_epoch) * self.num_iterations_per_epoch
        turns = len(self.teachers) if self.distillation.teacher.together == "rotate" else 1
        return teacher_engine(
            TorchEngine.reading(teacher.eval(), self.method.needs, taps=taps),
            wanted=self.distillation.teacher_engine,
            kept=self._resumed_engines[number],
            device=self.device,
            compiled=self._do_i_compile(),
            in_one_process=not self.is_ddp,
            batches=batches // turns,
            checkpoint_file=checkpoint_file,
            folders=[checkpoint_file.parent, Path(self.output_folder)],
            log=self.print_to_log_file,
            warn=self._say,
        )
