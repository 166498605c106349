"""The one trainer: what an iteration of every method has in common."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.handlers import LrScheduleHandler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from custom.errors import InputError
from custom.handlers import GradientAveraging
from custom.losses import ConsistencyWeight, DecidedDiceCELoss
from custom.methods.weight_average import WeightAverage
from custom.precision import autocast

__all__ = ["Batch", "MethodTrainer", "dice_and_cross_entropy"]


class Batch(NamedTuple):
    """A batch of labelled and unlabelled images, labelled rows first.

    Attributes:
        images: [B_l + B_u, 3, H, W] in [0, 1].
        labels: class indices of the labelled rows, [B_l, 1, H, W], float; `IGNORED_LABEL` where undecided.
        strong_views: the same images after strong augmentation, of all rows or of the unlabelled ones alone; one for
            each key of the loader that begins with "strong".
        extra: further keys of the batch, for methods that need them; labelled rows first, if they have the key.
    """

    images: Tensor
    labels: Tensor
    strong_views: tuple[Tensor, ...] = ()
    extra: Mapping[str, Tensor] = MappingProxyType({})

    @property
    def labelled(self) -> int:
        """B_l, number of labelled rows; the rows from there on are unlabelled."""
        return len(self.labels)

    @property
    def unlabelled(self) -> int:
        """B_u, number of unlabelled rows; 0 when training on labels only."""
        return len(self.images) - len(self.labels)

    @property
    def unlabelled_strong_views(self) -> tuple[Tensor, ...]:
        """The strong views of the unlabelled rows, each [B_u, 3, H, W]."""
        return tuple(view[len(view) - self.unlabelled :] for view in self.strong_views)

    @classmethod
    def read(
        cls, parts: Mapping[str, Mapping[str, Tensor]], device: torch.device, channels_last: bool = False
    ) -> Batch:
        """Move a batch of `PairedLoader` to the device.

        Args:
            parts: {"labelled": {"image", "label", ...}, "unlabelled": {"image", ...}}; the latter may be missing.
            device: where the tensors go.
            channels_last: keep images in channels-last memory order.
        """

        def stack(key: str) -> Tensor:
            rows = [parts[part][key].to(device) for part in ("labelled", "unlabelled") if key in parts.get(part, {})]
            return torch.cat(rows)

        def stack_images(key: str) -> Tensor:
            return stack(key).contiguous(memory_format=torch.channels_last) if channels_last else stack(key)

        keys = dict.fromkeys(key for part in parts.values() for key in part)
        others = [key for key in keys if key not in ("image", "label")]
        return cls(
            stack_images("image"),
            parts["labelled"]["label"].to(device),
            tuple(stack_images(key) for key in others if key.startswith("strong")),
            {key: stack(key) for key in others if not key.startswith("strong")},
        )


def dice_and_cross_entropy(dice_weight: float = 0.5, cross_entropy_weight: float = 0.5) -> DecidedDiceCELoss:
    """The supervised loss of SSL4MIS: called with logits [B, K, H, W] and class indices [B, 1, H, W], gives a scalar.

    Cross-entropy, and the Dice loss of the softmax over all classes (background too), each class over the whole batch,
    with squared denominators and 1e-5 for smoothing; both over decided pixels, see `DecidedDiceCELoss`.

    Args:
        dice_weight: weight of the Dice loss.
        cross_entropy_weight: weight of the cross-entropy.
    """
    return DecidedDiceCELoss(
        softmax=True,
        squared_pred=True,
        batch=True,
        smooth_nr=1e-5,
        smooth_dr=1e-5,
        lambda_dice=dice_weight,
        lambda_ce=cross_entropy_weight,
    )


class MethodTrainer(SupervisedTrainer):
    """A method is a subclass with `loss` (one update per iteration) or `step` (as many updates as it needs).

    An iteration reads the batch, puts the networks into training mode, calls `step`, then `after_step`. Gradients are
    averaged over processes where there are several.

    Args:
        optimizer: the optimiser of `network`.
        lr_scheduler: its schedule, stepped once per iteration; None for a constant learning rate.
        consistency_weight: lambda, weight of the unlabelled images over time; None for 0.
        loss_function: supervised loss of logits and class indices, which leaves ignored pixels out; None for
            `default_loss`.
        one_connected_component: whether each class is one connected piece in an image, a fact about the data; for
            methods that clean their pseudo-labels.
        amp: bfloat16 autocast, on devices that have it, see `custom.precision.autocast`; losses stay in float32.
        channels_last: keep images in channels-last memory order.
        ema_decay: decay of a moving average of the weights, see `WeightAverage`, with which the network is validated
            and saved; None for none.
        kwargs: arguments of MONAI's `SupervisedTrainer`; batches are those of `PairedLoader`. Handlers that are None
            are left out.

    Attributes:
        strong_views: how many strong views of each image the method needs, see `Batch`.
    """

    strong_views = 0

    def __init__(
        self,
        *,
        optimizer: Optimizer,
        lr_scheduler: LRScheduler | None = None,
        consistency_weight: ConsistencyWeight | None = None,
        loss_function: nn.Module | None = None,
        one_connected_component: bool = True,
        amp: bool = False,
        channels_last: bool = False,
        ema_decay: float | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs["train_handlers"] = [handler for handler in kwargs.get("train_handlers") or () if handler is not None]
        super().__init__(optimizer=optimizer, loss_function=loss_function, decollate=False, **kwargs)
        self.loss_function = self.default_loss() if loss_function is None else loss_function
        self.consistency_weight = consistency_weight
        self.one_connected_component = one_connected_component
        self.autocast_enabled = amp
        self.channels_last = channels_last
        self.optimizers = {"network": optimizer}
        self.lr_schedulers: dict[str, LRScheduler] = {}
        if lr_scheduler is not None:
            self.follow("network", lr_scheduler)
        self.average = None if ema_decay is None else WeightAverage(self.network, ema_decay)
        GradientAveraging().attach(self)

    def default_loss(self) -> nn.Module:
        """The supervised loss where none is given: that of SSL4MIS."""
        return dice_and_cross_entropy()

    def follow(self, name: str, lr_scheduler: LRScheduler) -> None:
        """Step the schedule of the optimiser `name` after every iteration."""
        self.lr_schedulers[name] = lr_scheduler
        LrScheduleHandler(lr_scheduler, epoch_level=False, print_lr=False).attach(self)

    def stateful_objects(self) -> dict[str, Any]:
        """What must be saved beside the network to continue exactly: optimisers, schedules and the moving average."""
        schedules = {f"{name}_schedule": schedule for name, schedule in self.lr_schedulers.items()}
        return {**self.optimizers, **schedules, **({} if self.average is None else {"average": self.average})}

    def predicting_weights(self) -> AbstractContextManager:
        """The network has its moving average inside this context, where there is one."""
        return nullcontext() if self.average is None else self.average.in_use()

    @property
    def progress(self) -> float:
        """t / T, the share of all iterations that is over: 0 in the first one."""
        state = self.state
        return (state.iteration - 1) / (state.epoch_length * state.max_epochs)

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of one batch and its terms by name.

        Args:
            batch: labelled and unlabelled images; there may be no unlabelled ones.
            weight: lambda of this iteration.
        """
        raise NotImplementedError

    def step(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """All updates of one iteration; returns the loss to show and its terms."""
        loss, terms = self.loss(batch, weight)
        self.update(loss, self.optimizer)
        return loss, terms

    def after_step(self) -> None:
        """What follows the updates, such as moving a teacher."""

    def autocast(self) -> AbstractContextManager:
        """The precision asked for, around a forward pass."""
        return autocast(self.autocast_enabled, self.state.device)

    def forward(self, network: nn.Module, *inputs: Any, method: str = "logits") -> Any:
        """Call `network.<method>(*inputs)` in the precision asked for; tensors of the result are float32."""
        with self.autocast():
            return _float(getattr(network, method)(*inputs))

    def update(self, losses: Tensor | Iterable[Tensor], *optimizers: Optimizer) -> Tensor:
        """One gradient step of a loss, or of the sum of several, which is returned: only what `optimizers` hold moves.

        Args:
            losses: the loss; or several, each sent backward as soon as it is computed, so that only one graph is in
                memory.
            optimizers: those that take a step.
        """
        self.network.zero_grad(set_to_none=True)
        total = None
        for loss in (losses,) if isinstance(losses, Tensor) else losses:
            if total is None:
                self.fire_event(IterationEvents.FORWARD_COMPLETED)
                self.fire_event(IterationEvents.LOSS_COMPLETED)
            loss.backward()
            total = loss.detach() if total is None else total + loss.detach()
        self.fire_event(IterationEvents.BACKWARD_COMPLETED)
        for optimizer in optimizers:
            optimizer.step()
        return total

    def _iteration(self, engine: MethodTrainer, batchdata: dict) -> dict:
        """One iteration on {"labelled": {"image", "label"}, "unlabelled": {"image"}}; the latter may be missing."""
        state = engine.state
        batch = Batch.read(batchdata, state.device, engine.channels_last)
        if batch.unlabelled and len(batch.strong_views) < engine.strong_views:
            raise InputError(
                f"{type(engine).__name__} needs {engine.strong_views} strong views of each image ('strong_image'): "
                "make them, and name them in train#dataloader, as the method's overlay does"
            )
        weight = 0.0
        if engine.consistency_weight is not None:
            weight = engine.consistency_weight(state.iteration - 1, state.epoch_length, state.max_epochs)
        engine.network.train()
        loss, terms = engine.step(batch, weight)
        engine.after_step()
        if engine.average is not None:
            engine.average.update()
        return engine._finish(loss, terms, weight)

    def _finish(self, loss: Tensor, terms: Mapping[str, Tensor], weight: float) -> dict[str, Any]:
        """Put the loss and its terms into the output and fire MONAI's last event of an iteration.

        Raises:
            InputError: the loss is no longer a finite number.
        """
        value = loss.item()
        if not math.isfinite(value):
            raise InputError(
                f"the loss became {value} at iteration {self.state.iteration}: lower the learning rate, "
                "or look for broken images in the data"
            )
        output = {"loss": value, "consistency_weight": weight}
        output |= {name: term.detach() if isinstance(term, Tensor) else term for name, term in terms.items()}
        self.state.output = output
        self.fire_event(IterationEvents.MODEL_COMPLETED)
        return output


def _float(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float()
    if hasattr(value, "_fields"):  # a NamedTuple keeps its names
        return type(value)(*map(_float, value))
    if isinstance(value, tuple | list):
        return [_float(item) for item in value]
    return value
