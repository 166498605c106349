"""INCL: classes are attended to alike in labelled and unlabelled images (Zhu et al., MIDL 2023)."""

from __future__ import annotations

from typing import Any

from monai.losses import DiceLoss
from torch import Tensor
from torch.nn.functional import interpolate, mse_loss

from custom.errors import InputError
from custom.methods.trainer import Batch, MethodTrainer

__all__ = ["InherentConsistentLearning"]


class InherentConsistentLearning(MethodTrainer):
    """L = L_sup + L_aux + a L_pse + b L_con, half of what is released, where L_sup is CE + Dice and b / a = 50.

    With the maps of an `InherentConsistencyUNet` at S stages, A_s of the supervised module and C_s of the unsupervised
    one, and ^ for "resized to the image, bilinear":

        L_aux = mean_s l(A_s(x)^, y), labelled rows; l is the supervised loss
        L_pse = mean_s Dice(softmax C_s(u)^, sg[p(u)]), all classes, each over the batch, without squares
        L_con = mean_s MSE(softmax C_s(u), sg[softmax A_s(u)])

    The prediction for unlabelled images gets no gradient: they teach encoder and decoder through the modules' features.
    Nothing is ramped: lambda is not used. Without unlabelled images L = L_sup + L_aux. The method is also called ICL,
    and the release is `train_inherent_consistent_unet_2D.py`.

    Args:
        pseudo_weight: a.
        map_consistency_weight: b.
        kwargs: see `MethodTrainer`; `network` is an `InherentConsistencyUNet`.

    Raises:
        InputError: a weight is negative.
    """

    def __init__(self, *, pseudo_weight: float = 0.5, map_consistency_weight: float = 25.0, **kwargs: Any) -> None:
        for name, value in (("pseudo_weight", pseudo_weight), ("map_consistency_weight", map_consistency_weight)):
            if not value >= 0:
                raise InputError(f"{name} {value}: give a number from 0")
        super().__init__(**kwargs)
        self.pseudo_weight = pseudo_weight
        self.map_consistency_weight = map_consistency_weight
        self.soft_dice = DiceLoss(softmax=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5)

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`."""
        outputs = self.forward(self.network, batch.images, batch.labelled, method="logits_and_maps")
        size, stages = batch.images.shape[-2:], len(outputs.labelled_maps)
        terms = {
            "supervised": self.loss_function(outputs.logits[: batch.labelled], batch.labels),
            "supervised_maps": sum(
                self.loss_function(_resized(each, size), batch.labels) for each in outputs.labelled_maps
            )
            / stages,
        }
        loss = terms["supervised"] + terms["supervised_maps"]
        if not batch.unlabelled:
            return loss, terms
        prediction = outputs.logits[batch.labelled :].detach().softmax(dim=1)
        pairs = zip(outputs.unsupervised_maps, outputs.supervised_maps, strict=True)
        terms["pseudo"] = (
            sum(self.soft_dice(_resized(each, size), prediction) for each in outputs.unsupervised_maps) / stages
        )
        terms["consistency"] = sum(mse_loss(c.softmax(dim=1), a.detach().softmax(dim=1)) for c, a in pairs) / stages
        return loss + self.pseudo_weight * terms["pseudo"] + self.map_consistency_weight * terms["consistency"], terms


def _resized(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return interpolate(logits, size=size, mode="bilinear", align_corners=False)
