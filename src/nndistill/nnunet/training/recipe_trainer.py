"""An nnU-Net trainer that follows a recipe: `nnUNetTrainerRecipe`.

Everything about a run is in its plans (see `run_setup`), so it also works under stock `nnUNetv2_train`.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from math import isfinite, isnan, nan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import Tensor, distributed
from torch.nn import SyncBatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from ...errors import UserError
from ...freed_memory import keep_freed_memory
from ...progress import TrainingState
from ...suppress_output import suppress_warnings
from ...taps import unwrapped
from ..models.checkpoints import random_state, read_checkpoint, restore_random_state, seed_everything, write_checkpoint
from ..run_setup import KEY, Precision, RunSetup
from .across_processes import across_processes, gathered, is_first, mean_gradients
from .batch_parts import parts_of
from .log import LOSSES, RecipeLoggers
from .newest_checkpoint import BEST, LATEST, PREVIOUS, keep_previous
from .precision import (
    LossInFloat32,
    choose_precision,
    computing_in,
    measure_bfloat16,
    precision_of_nnunet,
    refuse_another_precision,
)
from .skipped_steps import Finite, SkippedSteps, finite_everywhere
from .tracking import further_trackers
from .validation_network import choose_validation_network, faster_networks, validation_work
from .weight_average import WeightAverage

logger = logging.getLogger(__name__)

GRADIENT_NORM = 12.0
"""nnU-Net's own limit."""


class _NoLongerImproving(Exception):
    """Raised between two epochs to leave nnU-Net's loop over all of them."""


class nnUNetTrainerRecipe(nnUNetTrainer):  # type: ignore[misc]  # noqa: N801 (nnU-Net's way of naming trainers)
    """A stock nnU-Net training whose optimiser, length, precision and mirroring come from the recipe in its plans.

    Beyond stock: checkpoints are written atomically and carry the random state of every process, a resumed run
    continues as the uninterrupted one would have, and a step whose loss or gradient is not a finite number is skipped;
    too many of them stop the run before anything is overwritten.
    Checkpoints name `nnUNetTrainer` as their trainer, so that they predict without nnDistill.
    """

    network: Any
    my_init_kwargs: dict[str, Any]
    is_ddp: bool  # nnU-Net's: one of several processes
    grad_scaler: Any
    output_folder_base: Any
    logger: Any

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int | str,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008
    ) -> None:
        if KEY not in plans:
            raise UserError(
                f"plans {plans.get('plans_name')!r} do not hold a setup of nnDistill; make them with "
                "`nndistill distill` or `nndistill teach`."
            )
        with suppress_warnings():  # where there is no CUDA, nnU-Net asks for its gradient scaler all the same
            super().__init__(plans, configuration, fold, dataset_json, device)
        if self.is_ddp:  # nnU-Net takes the GPU with this process's number among those of all machines
            self.device = torch.device("cuda", torch.cuda.current_device()) if device.type == "cuda" else device
            self.grad_scaler = self.grad_scaler if device.type == "cuda" else None
        self.setup = RunSetup.of(plans)
        recipe = self.recipe = self.setup.recipe
        self.initial_lr = recipe.optimizer.learning_rate
        self.weight_decay = recipe.optimizer.weight_decay
        self.num_epochs = recipe.epochs
        self.num_iterations_per_epoch = recipe.iterations
        self.num_val_iterations_per_epoch = recipe.validation_iterations
        self.save_every = recipe.save_every
        self.logger = RecipeLoggers(self.logger)
        described = {"plans": plans, "configuration": configuration, "fold": fold, "dataset": dataset_json}
        if is_first():
            self.logger.loggers += further_trackers(Path(self.output_folder), described, resume=self.logger.resume)
        self.on_iteration: Callable[[TrainingState], None] = lambda state: None
        """Called after every training and validation batch, for a progress bar."""
        self.on_preparation: Callable[[int, int], None] = lambda done, total: None
        """Called with the number of steps done and of all steps while a method learns from the teacher at the start."""
        self.precision: Precision | None = None
        """What the network computes in, once the training has begun."""
        self.part = 0
        """Of the batch that is being computed."""
        self._resumed_random_state: dict[str, Any] | None = None
        self._average: WeightAverage | None = None
        self._skipped_steps = SkippedSteps(iterations=recipe.iterations)

    def initialize(self) -> None:
        if self.recipe.seed is not None and not self.was_initialized:
            seed_everything(self.recipe.seed + self.local_rank)
        together, self.is_ddp = self.is_ddp, False
        super().initialize()
        if together:  # done here, since nnU-Net wraps for the same GPU as above
            self.is_ddp = True
            self._set_batch_size_and_oversample()
            if self.device.type == "cuda":
                self.network = SyncBatchNorm.convert_sync_batchnorm(self.network)  # type: ignore[no-untyped-call]
            self.network = across_processes(self.network, self.device)
            self.loss = self._build_loss()
        if self.recipe.weight_averaging:
            self._average = WeightAverage(self.network, decay=self.recipe.weight_averaging.decay)

    def run_training(self) -> None:
        try:
            super().run_training()
        except _NoLongerImproving:
            self.on_train_end()

    def trained_modules(self) -> Iterator[torch.nn.Module]:
        """What has them, as it computes: in one of several processes, wrapped."""
        yield self.network

    def trained_parameters(self) -> Iterator[torch.nn.Parameter]:
        """All that the optimiser updates."""
        yield from self.network.parameters()

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, PolyLRScheduler]:
        optimizer = self.recipe.optimizer.build(self.trained_parameters())
        return optimizer, PolyLRScheduler(optimizer, self.initial_lr, self.num_epochs)

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> tuple[Any, ...]:  # noqa: N802
        rotation, dummy_2d, initial_patch_size, mirror_axes = (
            super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        )
        if not self.recipe.mirroring:
            mirror_axes = ()
            self.inference_allowed_mirroring_axes = None
        return rotation, dummy_2d, initial_patch_size, mirror_axes

    @staticmethod
    def get_training_transforms(*args: Any, **kwargs: Any) -> Any:
        transforms = nnUNetTrainer.get_training_transforms(*args, **kwargs)
        for transform in transforms.transforms:
            blur = getattr(transform, "transform", transform)
            if isinstance(blur, GaussianBlurTransform):
                blur.benchmark = False  # its timing of two algorithms would make runs unrepeatable
        return transforms

    def _build_loss(self) -> torch.nn.Module:
        return LossInFloat32(super()._build_loss())

    def on_train_start(self) -> None:
        if self.device.type == "cpu":
            keep_freed_memory()
        if not self.was_initialized:
            self.initialize()
        self._settle_precision()
        with self._first_alone_writes():
            super().on_train_start()
        if self._resumed_random_state is not None:  # only now: setting up the data has drawn random numbers
            restore_random_state(self._resumed_random_state)

    @contextmanager
    def _first_alone_writes(self) -> Iterator[None]:
        """Of several processes, nnU-Net lets all write the model's plans at the start, the others here to nowhere."""
        if is_first():
            yield
            return
        model_folder = self.output_folder_base
        with TemporaryDirectory() as nowhere:
            self.output_folder_base = nowhere
            try:
                yield
            finally:
                self.output_folder_base = model_folder

    def _settle_precision(self) -> None:
        """Choose the precision of a new run, or keep that of a resumed one."""
        if self.precision is not None:
            refuse_another_precision(self.precision, self.recipe.precision, self.device)
            self.print_to_log_file(f"precision: {self.precision}, as this training began")
        else:
            chosen = choose_precision(self.recipe.precision, self.device, speed_of_bfloat16=self._speed_of_bfloat16)
            self.precision = gathered(chosen.precision)[0]  # each process may have measured another one
            self.print_to_log_file(f"precision: {chosen.precision} ({chosen.reason})")
            if chosen.remark:
                logger.warning("%s.", chosen.reason)
        if self.precision != "float16":
            self.grad_scaler = None  # the others have float32's range of exponents
        plans = self.plans_manager.plans
        setup = {**plans[KEY], "precision": self.precision}
        self.my_init_kwargs = {**self.my_init_kwargs, "plans": {**plans, KEY: setup}}  # goes into checkpoints

    def _speed_of_bfloat16(self) -> float:
        return measure_bfloat16(
            unwrapped(self.network),
            channels=self.num_input_channels,
            patch_size=self.configuration_manager.patch_size,
        )

    def _computing(self) -> AbstractContextManager[Any]:
        return computing_in(self.precision or precision_of_nnunet(self.device), self.device)

    def unlabelled_parts(self) -> Sequence[tuple[Tensor, None]]:
        """Parts without a target that join those of a batch, each as large; their losses are added to the batch's."""
        return []

    def losses(self, data: Tensor, target: Any) -> dict[str, Tensor]:
        """The weighted terms of the objective by name; `target` is `None` for a part of `unlabelled_parts`."""
        return {"segmentation": self.loss(self.network(data), target)}

    def on_device(self, batch: dict[str, Any]) -> tuple[Tensor, Any]:
        """Input and target of a batch, a list of targets under deep supervision, on the trainer's device."""
        data, target = batch["data"].to(self.device, non_blocking=True), batch["target"]
        if isinstance(target, list):
            return data, [t.to(self.device, non_blocking=True) for t in target]
        return data, target.to(self.device, non_blocking=True)

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        total = torch.zeros((), device=self.device)
        labelled = parts_of(*self.on_device(batch), self.recipe.accumulate)
        parts = [*labelled, *self.unlabelled_parts()]
        exchanged = len(parts) == len(labelled)  # else a part does not reach all parameters, for which DDP would wait
        for self.part, (data, target) in enumerate(parts):
            last = self.part == len(parts) - 1
            with nullcontext() if last and exchanged else self._gradients_stay_here():
                with self._computing():
                    losses = self.losses(data, target)
                    first, *others = (loss / len(labelled) for loss in losses.values())
                    loss = sum(others, first)
                self._backward(loss)
            total += loss.detach()
            for name, value in losses.items():
                share = value.detach() / len(labelled)
                sums[name] = sums[name] + share if name in sums else share
        if not exchanged:
            mean_gradients(self.trained_parameters())
        finite = self._update(total)
        values = {f"{name}_losses": float(value) for name, value in sums.items()}
        self._skipped_steps.count(finite, scaled=self.grad_scaler is not None)
        if not all(finite):
            self._report_skipped_step(finite, values)
        elif self._average:
            self._average.update()
        self.on_iteration(self.state)
        result = {"loss": total.cpu().numpy(), **values}
        return result if finite.loss else dict.fromkeys(result, nan)  # in every process, whichever had it

    def _backward(self, loss: Tensor) -> None:
        if self.grad_scaler is not None:
            loss = self.grad_scaler.scale(loss)
        loss.backward()  # type: ignore[no-untyped-call]

    def _gradients_stay_here(self) -> AbstractContextManager[Any]:
        """Collect gradients in this process; those of the last part are exchanged with the rest."""
        held = ExitStack()
        for module in self.trained_modules():
            if isinstance(module, DistributedDataParallel):
                held.enter_context(module.no_sync())
        return held

    def _update(self, loss: Tensor) -> Finite:
        """Step, unless the loss or a gradient is not finite."""
        if self.grad_scaler is not None:
            self.grad_scaler.unscale_(self.optimizer)
        finite = finite_everywhere(loss, self._clip_gradients())
        if all(finite) and self.grad_scaler is None:
            self.optimizer.step()
        elif all(finite):
            self.grad_scaler.step(self.optimizer)
        if self.grad_scaler is not None:
            self.grad_scaler.update()
        return finite

    def _clip_gradients(self) -> list[Tensor]:
        """Shorten gradients that are too long; return the norms that they had."""
        return [clip_grad_norm_(self.network.parameters(), GRADIENT_NORM)]

    def _report_skipped_step(self, finite: Finite, values: dict[str, float]) -> None:
        terms = ", ".join(f"{name.removesuffix('_losses')} {value}" for name, value in values.items())
        what = "gradient" if finite.loss else "loss"
        self.print_to_log_file(f"a step was skipped: its {what} is not a finite number ({terms})")
        if not self._skipped_steps.too_many:
            return
        kept = sorted(file.name for file in Path(self.output_folder).glob("checkpoint_*.pth"))
        advice = f"resume from {' or '.join(kept)} there" if kept else "start again"
        raise UserError(
            f"the {what} is no longer a finite number in epoch {self.current_epoch} ({terms}); after "
            f"{self._skipped_steps.in_a_row} skipped steps in a row, and {self._skipped_steps.in_all} in all, training "
            f"stopped and nothing in {self.output_folder} was overwritten. Lower the learning rate or check the images "
            f"for NaN, then {advice}.",
            option=("learning_rate", "resume") if kept else "learning_rate",
        )

    @property
    def state(self) -> TrainingState:
        """How far the training is."""
        log = self.logger.get_checkpoint()
        return TrainingState(
            current_epoch=self.current_epoch,
            num_epochs=self.num_epochs,
            loss=log["train_losses"][-1] if log["train_losses"] else None,
            dice=log["mean_fg_dice"][-1] if log["mean_fg_dice"] else None,
        )

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        if self._average:
            self._average.swap()

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        with self._computing():
            result: dict[str, Any] = super().validation_step(batch)
        self.on_iteration(self.state)
        return result

    def on_validation_epoch_end(self, val_outputs: list[dict[str, Any]]) -> None:
        if self._average:
            self._average.swap()
        with np.errstate(invalid="ignore"):  # for classes that are in none of the few batches
            super().on_validation_epoch_end(val_outputs)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._skipped_steps.start_epoch()

    def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
        train_outputs = [output for output in train_outputs if isfinite(output["loss"])]
        super().on_train_epoch_end(train_outputs)
        self._log_steps()
        for key in LOSSES:
            mean = float(np.mean([output.get(key, 0.0) for output in train_outputs]))
            if self.is_ddp:
                means = [0.0] * distributed.get_world_size()
                distributed.all_gather_object(means, mean)
                mean = float(np.mean(means))
            self.logger.log(key, mean, self.current_epoch)
            self.print_to_log_file(f"{key.removesuffix('_losses')}_loss", round(mean, 6))

    def _log_steps(self) -> None:
        skipped = self._skipped_steps.in_epoch
        scale = 1.0 if self.grad_scaler is None else self.grad_scaler.get_scale()
        self.logger.log("skipped_steps", skipped, self.current_epoch)
        self.logger.log("gradient_scales", scale, self.current_epoch)
        if skipped:
            self.print_to_log_file(f"skipped_steps {skipped} of {self.num_iterations_per_epoch}")
        if self.grad_scaler is not None:
            self.print_to_log_file(f"gradient_scale {scale:g}")

    def on_epoch_start(self) -> None:
        # not at the end of an epoch: a run that was killed there and resumed has to stop as well
        self._stop_if_nothing_improves()
        super().on_epoch_start()

    def on_epoch_end(self) -> None:
        best: float | None = self._best_ema  # type: ignore[has-type]
        if best is not None and isnan(best) and not isnan(self.logger.get_value("ema_fg_dice", step=-1)):
            self._best_ema = None  # every Dice is better than that of epochs without any foreground
        super().on_epoch_end()

    def _keep_if_best(self) -> None:
        """Before the latest checkpoint: resumed from one that does not know of it, a run would replace the best one."""
        dice = self.logger.get_value("ema_fg_dice", step=-1)
        best: float | None = self._best_ema  # type: ignore[has-type]
        if best is None or dice > best:
            self._best_ema = dice
            self.print_to_log_file(f"the best running validation Dice so far: {dice:.4f}")
            self.save_checkpoint(str(Path(self.output_folder) / BEST))

    def _stop_if_nothing_improves(self) -> None:
        dice = np.nan_to_num(self.logger.get_value("ema_fg_dice", step=None), nan=-1.0)
        if self.recipe.early_stopping is None or len(dice) == 0:
            return
        waited = len(dice) - 1 - int(np.argmax(dice))
        if waited >= self.recipe.early_stopping.patience:
            sentence = (
                f"stopped early after {self.current_epoch} of {self.num_epochs} epochs: the running validation Dice "
                f"has not risen for {waited} epochs."
            )
            self.print_to_log_file(sentence)
            logger.info(sentence)
            raise _NoLongerImproving

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        if self.recipe.checkpoint == "best":
            if self.is_ddp:
                distributed.barrier()  # until the first process has written it
            self.load_checkpoint(str(Path(self.output_folder) / BEST))
        with self._weights_to_use(), self._fastest_network():
            super().perform_actual_validation(save_probabilities)

    @contextmanager
    def _fastest_network(self) -> Iterator[None]:
        """On a processor, the network exchanged for a faster equal if there is one."""
        if self.device.type != "cpu" or self.is_ddp:
            yield
            return
        trained = self.network
        self.set_deep_supervision_enabled(False)
        trained.eval()
        work = validation_work(self)
        chosen = choose_validation_network(trained, faster_networks(trained, work.patch), work)
        self.print_to_log_file(f"validation is computed by {chosen.reason}")
        self.network = chosen.network
        try:
            yield
        finally:
            self.network = trained

    def _weights_to_use(self) -> AbstractContextManager[None]:
        """The network as it predicts: with averaged weights if the recipe averages them."""
        return self._average.applied() if self._average else nullcontext()

    def save_checkpoint(self, filename: str) -> None:
        """Write a checkpoint, atomically; in a data-parallel training, every process has to call this."""
        if Path(filename).name == LATEST:
            self._keep_if_best()
        random_states = gathered(random_state())
        if self.local_rank != 0 or self.disable_checkpointing:
            super().save_checkpoint(filename)  # writes nothing, but may print that
            return
        stock = io.BytesIO()  # nnU-Net decides what its checkpoint holds
        with self._weights_to_use():
            super().save_checkpoint(stock)  # type: ignore[arg-type]
        stock.seek(0)
        checkpoint = torch.load(stock, weights_only=False, map_location="cpu")  # not a second copy on the GPU
        checkpoint["trainer_name"] = nnUNetTrainer.__name__
        checkpoint[KEY] = {**_by_process(random_states), **self.extra_state()}
        if Path(filename).name == LATEST:
            keep_previous(Path(filename))
        write_checkpoint(Path(filename), checkpoint)

    def on_train_end(self) -> None:
        super().on_train_end()
        if is_first():  # nnU-Net has deleted the latest one, since the final one is complete
            (Path(self.output_folder) / PREVIOUS).unlink(missing_ok=True)

    def load_checkpoint(self, filename_or_checkpoint: str) -> None:
        checkpoint = read_checkpoint(Path(filename_or_checkpoint))
        extra = checkpoint.get(KEY)
        super().load_checkpoint(filename_or_checkpoint)
        if extra is not None:
            setup = checkpoint["init_args"]["plans"][KEY]
            self.precision = setup.get("precision") or precision_of_nnunet(self.device)
        if self._average:
            self._average.restart()
        if extra is not None:
            self._resumed_random_state = _of_process(self.local_rank, extra)
            self.load_extra_state(extra)

    def extra_state(self) -> dict[str, Any]:
        """What a resumed run needs beyond stock nnU-Net's checkpoint and the random state."""
        state: dict[str, Any] = {}
        if self._skipped_steps.in_all:
            state["skipped_steps"] = self._skipped_steps.in_all
        if self._average:  # the checkpoint's own weights are the average
            state["trained_weights"] = unwrapped(self.network).state_dict()
        return state

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `extra_state` returned."""
        self._skipped_steps.in_all = state.get("skipped_steps", 0)
        if self._average:
            unwrapped(self.network).load_state_dict(state["trained_weights"])


def _by_process(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Entries of a checkpoint for the random states of all processes, the first of which may be the only one."""
    first, *others = states
    return {"random_state": first, **({"random_states_of_others": others} if others else {})}


def _of_process(rank: int, entries: dict[str, Any]) -> dict[str, Any] | None:
    """The random state of a process, and none for one that was not there, which goes on with the numbers it has."""
    states = [entries["random_state"], *entries.get("random_states_of_others", [])]
    return states[rank] if rank < len(states) else None
