"""What the training steps of all semi-supervised methods have in common."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from torch import Tensor, nn
from torch.optim import Optimizer

from custom.engines.batches import fire_iteration_events, stack_images
from custom.errors import InputError
from custom.losses import ConsistencyWeight, DecidedDiceCELoss

__all__ = ["Batch", "MethodTrainer", "dice_and_cross_entropy"]


class Batch(NamedTuple):
    """A batch of labelled and unlabelled images, labelled rows first.

    Attributes:
        images: [B_l + B_u, 3, H, W] in [0, 1].
        labels: class indices of the labelled rows, [B_l, 1, H, W], float; `IGNORED_LABEL` where undecided.
        strong_images: the same images after strong changes of colour, of the shape of `images`; None if the data have
            none.
    """

    images: Tensor
    labels: Tensor
    strong_images: Tensor | None = None

    @property
    def labelled(self) -> int:
        """B_l, number of labelled rows; the rows from there on are unlabelled."""
        return len(self.labels)

    @property
    def unlabelled(self) -> int:
        """B_u, number of unlabelled rows; 0 when training on labels only."""
        return len(self.images) - len(self.labels)


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
    """A method is a subclass with `loss` (one update an iteration) or `step` (as many as it likes).

    An iteration reads the batch, puts the networks into training mode, calls `step`, then `after_step`.

    Args:
        consistency_weight: lambda, weight of the unlabelled images over time.
        loss_function: supervised loss of logits and class indices, which leaves ignored pixels out; None for
            `dice_and_cross_entropy`.
        amp: bfloat16 autocast in `forward`; losses stay in float32.
        channels_last: keep images in channels-last memory order.
        kwargs: arguments of MONAI's `SupervisedTrainer`; batches are those of `PairedLoader`, whose images may come
            with "strong_image" of the same shape.
    """

    needs_strong_images = False

    def __init__(
        self,
        *,
        consistency_weight: ConsistencyWeight,
        loss_function: nn.Module | None = None,
        amp: bool = False,
        channels_last: bool = False,
        **kwargs: Any,
    ) -> None:
        loss_function = dice_and_cross_entropy() if loss_function is None else loss_function
        super().__init__(loss_function=loss_function, decollate=False, **kwargs)
        self.consistency_weight = consistency_weight
        self.autocast = amp
        self.channels_last = channels_last

    @property
    def progress(self) -> float:
        """t / T, the share of all iterations that lies behind: 0 in the first one."""
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

    def forward(self, network: nn.Module, *inputs: Any, method: str = "logits") -> Any:
        """Call `network.<method>(*inputs)` in the precision asked for; tensors of the result are float32."""
        with torch.autocast(self.state.device.type, torch.bfloat16, enabled=self.autocast):
            return _float(getattr(network, method)(*inputs))

    def update(self, loss: Tensor, optimizer: Optimizer) -> None:
        """One gradient step of `loss`: only what `optimizer` holds moves."""
        self.fire_event(IterationEvents.LOSS_COMPLETED)
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        self.fire_event(IterationEvents.BACKWARD_COMPLETED)
        optimizer.step()

    def _iteration(self, engine: MethodTrainer, batchdata: dict) -> dict:
        """One iteration on {"labelled": {"image", "label"}, "unlabelled": {"image"}}; the latter may be missing."""
        state = engine.state
        images, labels = stack_images(batchdata, state.device, engine.channels_last)
        strong = None
        if "strong_image" in batchdata["labelled"]:
            strong, _ = stack_images(batchdata, state.device, engine.channels_last, "strong_image")
        elif engine.needs_strong_images:
            raise InputError(
                f"{type(engine).__name__} needs 'strong_image' in every batch: make it in train#preprocessing and give "
                "train#dataloader image_keys, as the method's overlay does"
            )
        weight = engine.consistency_weight(state.iteration - 1, state.epoch_length, state.max_epochs)
        engine.network.train()
        loss, terms = engine.step(Batch(images, labels, strong), weight)
        engine.after_step()
        return fire_iteration_events(engine, loss, terms, weight)


def _float(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float()
    if hasattr(value, "_fields"):  # a NamedTuple keeps its names
        return type(value)(*map(_float, value))
    if isinstance(value, tuple | list):
        return [_float(item) for item in value]
    return value
