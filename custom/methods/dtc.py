"""DTC: classes and signed distances, two predictions of one network, agree (Luo et al., AAAI 2021)."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import mse_loss

from custom.errors import InputError
from custom.labels import decided, mean_loss, signed_distances
from custom.methods.trainer import Batch, MethodTrainer

__all__ = ["DualTaskConsistency"]


class DualTaskConsistency(MethodTrainer):
    """L = L_sup + beta mean((z - S)^2) + lambda mean((q - p)^2), with q = sigmoid(-k z).

    z are the signed distances that the network predicts, S those of the labels (`signed_distances`), p the softmax of
    the classes; all of the foreground classes alone. The first mean goes over the decided labelled pixels, the second
    one over all rows, labelled ones too, as in the release (`train_la_dtc.py`), and gradients flow into z and p. With
    k = 1500 q is the mask z < 0 but within a fraction of a pixel of the outline: a hard target for p.

    Without unlabelled images L has no third term. More than two classes, one distance for each foreground class, and
    L_sup in place of the foreground's Dice loss are inferred.

    Args:
        distance_weight: beta.
        steepness: k.
        empty_distance: see `signed_distances`.
        kwargs: see `MethodTrainer`; `network` is a `DistanceUNet`.

    Raises:
        InputError: a negative weight, a steepness that is not positive, or an empty distance outside [0, 1].
    """

    def __init__(
        self, *, distance_weight: float = 0.3, steepness: float = 1500.0, empty_distance: float = 1.0, **kwargs: Any
    ) -> None:
        if not distance_weight >= 0:
            raise InputError(f"distance_weight {distance_weight}: give 0 or more")
        if not steepness > 0:
            raise InputError(f"steepness {steepness}: give a number above 0")
        if not 0 <= empty_distance <= 1:
            raise InputError(f"empty_distance {empty_distance}: give a number from 0 to 1")
        super().__init__(**kwargs)
        self.distance_weight = distance_weight
        self.steepness = steepness
        self.empty_distance = empty_distance

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`."""
        logits, distances = self.forward(self.network, batch.images, method="logits_and_distances")
        target = signed_distances(batch.labels, self.network.num_classes, self.empty_distance)
        terms = {
            "supervised": self.loss_function(logits[: batch.labelled], batch.labels),
            "distance": mean_loss(mse_loss, distances[: batch.labelled], target, decided(batch.labels)),
        }
        loss = terms["supervised"] + self.distance_weight * terms["distance"]
        if batch.unlabelled:
            foreground = logits.softmax(dim=1)[:, 1:]
            terms["consistency"] = mse_loss((-self.steepness * distances).sigmoid(), foreground)
            loss = loss + weight * terms["consistency"]
        return loss, terms
