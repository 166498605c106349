"""The Mask branch of SemiGDA as a network of its own."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import interpolate

from custom.first_stage.model import FirstStage
from custom.labels.palette_codec import PaletteCodec
from custom.networks.semigda import SemiGDA
from custom.networks.unet import soft_labels

__all__ = ["MaskBranch"]


class MaskBranch(SemiGDA):
    """A pretrained encoder and a frozen generative decoder, for the methods that train one U-Net (not in the paper).

    The Mask branch of SemiGDA with a pretrained encoder, see `PretrainedMaskEncoder`, but without the Image branch and
    the first stage's encoder, which it does not need. It gives logits where SemiGDA gives soft labels: the decoder
    paints the mask in the colours of `PaletteCodec`, and the logits of a pixel are how near its colour is to each of
    them. With two classes they are black and white, and for a mean grey g in [-1, 1] the foreground has the probability
    sigmoid(6 g): unlike the clamped soft labels it has a gradient everywhere, so that cross-entropy can be used.

    >>> import torch
    >>> from custom.networks import MaskBranch
    >>> tiny = {"_class_name": "AutoencoderTiny"}  # random weights; a folder or hub id loads pretrained ones
    >>> network = MaskBranch(tiny, num_classes=3, width=8, seed=0).eval()
    >>> network.logits(torch.rand(2, 3, 64, 32)).shape
    torch.Size([2, 3, 64, 32])
    >>> network(torch.rand(2, 3, 64, 32)).shape  # soft labels
    torch.Size([2, 1, 64, 32])

    Args:
        first_stage: a `FirstStage`, or what `load_first_stage` accepts.
        num_classes: K, with the background.
        width: widths of the features (w, 2w, 4w, 4w, ...), see `SemiGDA`.
        encoder: a name of `build_encoder` other than "none".
        encoder_weights: see `load_encoder_weights`; they replace what the seed drew.
        first_stage_scale: 1, 1/2, 1/4 or 1/8: the side of the image that the decoder works at, see `SemiGDA`. The
            encoder sees the whole image; the logits are enlarged bilinearly.
        dropout: dropout of the encoder's head.
        train_decoder: whether the decoder is trained too, from the weights of the first stage; frozen as in SemiGDA if
            not.
        subfolder: passed to `load_first_stage`.
        seed: seed of the initial weights; None draws them from the random numbers as they are.

    Attributes:
        branches: names of the predictions, for evaluation.

    Raises:
        InputError: an argument is not among the choices, or the first stage cannot be loaded.
    """

    branches = ("prediction",)
    predict_branches = None  # there is one

    def __init__(
        self,
        first_stage: FirstStage | str | dict[str, Any],
        num_classes: int = 2,
        width: int | None = 32,
        encoder: str = "efficientnet-lite0",
        encoder_weights: str | None = None,
        first_stage_scale: float = 0.25,
        dropout: float = 0.1,
        train_decoder: bool = False,
        subfolder: str | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            first_stage,
            num_classes,
            width=width,
            mapper_width=8,
            adapters="mask",
            dropout=dropout,
            encoder=encoder,
            encoder_weights=encoder_weights,
            first_stage_scale=first_stage_scale,
            image_branch_weight=0,
            subfolder=subfolder,
            seed=seed,
        )
        self.latent_mapper = None
        self.first_stage.autoencoder.encoder = None
        self.first_stage.requires_grad_(train_decoder)
        self.label_codec = PaletteCodec(num_classes)
        self.hard_labels = num_classes > 2
        self.architecture = {
            "network": "MaskBranch",
            "first_stage": self.first_stage.architecture,
            "num_classes": num_classes,
            "width": width,
            "encoder": encoder,
            "first_stage_scale": first_stage_scale,
            "dropout": dropout,
            "train_decoder": train_decoder,
        }

    def trainable_state_dict(self) -> dict[str, Tensor]:
        """The state that training changes."""
        return self.state_dict() if self.architecture["train_decoder"] else super().trainable_state_dict()

    def logits(self, images: Tensor) -> Tensor:
        """Images in [0, 1], [B, 3 or 1, H, W] -> logits [B, K, H, W].

        Raises:
            InputError: height or width do not fit the first stage.
        """
        logits = self.label_codec.logits(self.generate(images))
        if self.reduction == 1:
            return logits
        return interpolate(logits, scale_factor=self.reduction, mode="bilinear", align_corners=False)

    def all_logits(self, images: Tensor) -> list[Tensor]:
        """The logits, as the only ones of a list."""
        return [self.logits(images)]

    def forward(self, images: Tensor) -> Tensor:
        """Images in [0, 1], [B, 3 or 1, H, W] -> soft labels [B, 1, H, W] in [0, K - 1], as those of `UNet`."""
        return soft_labels(self.logits(images))
