"""A network together with the others that only help to train it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

__all__ = ["MeanTeacher", "NetworkPair", "TrainingNetworks", "move_towards"]


class TrainingNetworks(nn.Module):
    """The network that predicts, and others beside it: one module, so that one checkpoint holds them all.

    Subclasses add the others as modules of their own. Everything that describes the prediction is that of `deployed`.

    >>> from custom.networks import TrainingNetworks, UNet
    >>> segmenter = UNet(num_classes=3, seed=0)
    >>> TrainingNetworks(segmenter).inference_network() is segmenter
    True

    Args:
        deployed: the network that predicts.
    """

    def __init__(self, deployed: nn.Module) -> None:
        super().__init__()
        self.deployed = deployed

    @property
    def num_classes(self) -> int:
        """K, with the background."""
        return self.deployed.num_classes

    @property
    def branches(self) -> tuple[str, ...]:
        """Names of the predictions, for evaluation."""
        return self.deployed.branches

    @property
    def hard_labels(self) -> bool:
        """Whether `forward` gives whole class numbers only, which must not be interpolated."""
        return self.deployed.hard_labels

    @property
    def architecture(self) -> dict[str, Any]:
        """Architecture of the network that predicts."""
        return self.deployed.architecture

    def inference_network(self) -> nn.Module:
        """The network that predicts, without what only training needs."""
        network = self.deployed
        return network.inference_network() if hasattr(network, "inference_network") else network

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] in [0, 1] -> soft ordinal labels [B, 1, H, W] of the network that predicts."""
        return self.deployed(images)


class MeanTeacher(TrainingNetworks):
    """A student and a teacher, the exponential moving average of its parameters (Tarvainen and Valpola, 2017).

    After step t (from 0) the teacher's parameters become a * teacher + (1 - a) * student with
    a = min(1 - 1 / (t + 1), decay), as in SSL4MIS. Running statistics of batch normalisation are those of the student:
    SSL4MIS' teacher stays in training mode and never uses them. Without the warm-up a is `decay` from the start, and
    the first update makes the teacher a copy of the student, however long it has been trained before.

    >>> from custom.networks import MeanTeacher, UNet
    >>> networks = MeanTeacher(UNet(num_classes=3, seed=0))
    >>> any(parameter.requires_grad for parameter in networks.teacher.parameters())
    False
    >>> networks.update_teacher()  # after each step of the student's optimiser

    Args:
        student: the network that is trained and predicts.
        decay: the largest a.
        warm_up: whether a rises to `decay`.
    """

    def __init__(self, student: nn.Module, decay: float = 0.99, warm_up: bool = True) -> None:
        super().__init__(student)
        self.decay = decay
        self.warm_up = warm_up
        self.average = AveragedModel(student, avg_fn=self._average)
        self.average.requires_grad_(False)

    def _average(self, teacher: Tensor, student: Tensor, updates: Tensor) -> Tensor:
        decay = min(1 - 1 / (int(updates) + 1), self.decay) if self.warm_up else self.decay
        return decay * teacher + (1 - decay) * student

    @property
    def student(self) -> nn.Module:
        """The network that is trained."""
        return self.deployed

    @property
    def teacher(self) -> nn.Module:
        """The moving average; its parameters get no gradient."""
        return self.average.module

    @property
    def has_moved(self) -> bool:
        """Whether the teacher has been updated at least once."""
        return bool(self.average.n_averaged > 0)

    @torch.no_grad()
    def update_teacher(self) -> None:
        """Move the teacher towards the student, after each step of the student's optimiser."""
        self.average.update_parameters(self.student)


class NetworkPair(TrainingNetworks):
    """Two networks that are trained together.

    >>> from custom.networks import NetworkPair, UNet
    >>> pair = NetworkPair(UNet(num_classes=3, seed=0), UNet(num_classes=3, seed=1))
    >>> pair.inference_network() is pair.first
    True

    Args:
        first: the one that predicts.
        second: the other one.
    """

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__(first)
        self.second = second

    @property
    def first(self) -> nn.Module:
        """The network that predicts."""
        return self.deployed


@torch.no_grad()
def move_towards(moved: nn.Module, target: nn.Module, decay: float) -> None:
    """Parameters of `moved` <- decay * themselves + (1 - decay) * those of `target`; buffers stay."""
    for own, other in zip(moved.parameters(), target.parameters(), strict=True):
        own.lerp_(other, 1 - decay)
