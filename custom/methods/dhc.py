"""DHC: two networks teach each other, each with class weights of another kind (Wang and Li, MICCAI 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from custom.losses.class_weighted import ClassWeightedLoss, class_weighted_cross_entropy
from custom.losses.difficulty_weights import DifficultyWeights
from custom.losses.distribution_weights import DistributionWeights
from custom.methods.trainer import Batch, MethodTrainer

__all__ = ["HeterogeneousCoTraining"]


class HeterogeneousCoTraining(MethodTrainer):
    """L = L_A(f_A, y) + L_B(f_B, y) + lambda (CE_A(f_A, argmax f_B) + CE_B(f_B, argmax f_A)).

    The index is the kind of class weights: w^A is larger for difficult classes, from A's predictions for the labelled
    rows (see `DifficultyWeights`), w^B for rare ones, from the labels and then from B's pseudo-labels for the
    unlabelled rows (see `DistributionWeights`). Both are renewed in each iteration before its losses. L = w_s (CE +
    foreground Dice), see `ClassWeightedLoss`, of the labelled rows; CE is the weighted cross-entropy of all rows,
    labelled ones too, and is left out without unlabelled ones. No gradient goes through a pseudo-label. Network A, the
    first, predicts.

    As published the most frequent class has no weight in w^B, see `DistributionWeights`: with two classes it is (0, 2),
    B's cross-entropy knows no background, and B segments too much. `floor`, which is ours, keeps a weight for it.

    Args:
        class_shares: share of each class in the labelled masks, [K], see `custom.data.class_shares`; None begins with
            the same weight for each class.
        floor: least weight of w^B as a share of K; 0 is the release's.
        window: iterations of whose pseudo-labels the pixels of w^B are counted.
        supervised_weight: w_s; 1/2 makes L as large as that of the other methods, 1 is the release's.
        kwargs: see `MethodTrainer`; `network` is a `NetworkPair`. A `loss_function` that is given takes the place of
            both L and gets no class weights.

    Raises:
        InputError: `class_shares`, `floor` or `window` does not fit.
    """

    def __init__(
        self,
        *,
        class_shares: Sequence[float] | None = None,
        floor: float = 0.1,
        window: int = 50,
        supervised_weight: float = 0.5,
        **kwargs: Any,
    ) -> None:
        self._class_weighted = ClassWeightedLoss(supervised_weight, supervised_weight)
        super().__init__(**kwargs)
        num_classes, device = self.network.num_classes, self.state.device
        self.difficulty = DifficultyWeights(num_classes).to(device)
        self.distribution = DistributionWeights(num_classes, class_shares, floor, window).to(device)

    def default_loss(self) -> nn.Module:
        """L."""
        return self._class_weighted

    def stateful_objects(self) -> dict[str, Any]:
        """See `MethodTrainer.stateful_objects`; with the two kinds of class weights."""
        return super().stateful_objects() | {"difficulty": self.difficulty, "distribution": self.distribution}

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`."""
        first = self.forward(self.network.first, batch.images)
        second = self.forward(self.network.second, batch.images)
        classes = {"first": first.argmax(dim=1, keepdim=True), "second": second.argmax(dim=1, keepdim=True)}
        difficulty = self.difficulty.update(first[: batch.labelled].detach(), batch.labels)
        distribution = self.distribution.weights()
        if batch.unlabelled:
            distribution = self.distribution.update(classes["second"][batch.labelled :])
        terms = {
            "supervised_first": self._supervised(first[: batch.labelled], batch.labels, difficulty),
            "supervised_second": self._supervised(second[: batch.labelled], batch.labels, distribution),
        }
        loss = terms["supervised_first"] + terms["supervised_second"]
        if batch.unlabelled:
            terms["cross_first"] = class_weighted_cross_entropy(first, classes["second"], difficulty)
            terms["cross_second"] = class_weighted_cross_entropy(second, classes["first"], distribution)
            loss = loss + weight * (terms["cross_first"] + terms["cross_second"])
        return loss, terms

    def _supervised(self, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        if self.loss_function is self._class_weighted:
            return self.loss_function(logits, labels, weights)
        return self.loss_function(logits, labels)
