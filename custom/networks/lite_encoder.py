"""EfficientNet-Lite as an encoder of MONAI's registry."""

from __future__ import annotations

from typing import Any

from monai.networks.blocks import BaseEncoder
from monai.networks.nets import FLEXUNET_BACKBONE, EfficientNet
from torch import Tensor, nn

__all__ = ["LITE_NAMES", "EfficientNetLiteEncoder"]

LITE_NAMES = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
WIDTH_FACTORS = (1.0, 1.0, 1.1)
REPEATS = ((1, 2, 2, 3, 3, 4, 1), (1, 3, 3, 4, 4, 5, 1), (1, 3, 3, 4, 4, 5, 1))
STAGES = (
    "k3_s11_e1_i32_o16",
    "k3_s22_e6_i16_o24",
    "k5_s22_e6_i24_o40",
    "k3_s22_e6_i40_o80",
    "k5_s11_e6_i80_o112",
    "k5_s22_e6_i112_o192",
    "k3_s11_e6_i192_o320",
)


class EfficientNetLiteEncoder(EfficientNet, BaseEncoder):
    """EfficientNet-Lite (TensorFlow's `efficientnet/lite`): EfficientNet without squeeze-and-excite, with ReLU6.

    Unlike in EfficientNet, stem and head keep their width, and the first and last stage their depth, when the network
    is scaled. Strided convolutions pad at the right and at the bottom, as TensorFlow's "same" padding does for even
    sizes. Without the head, since an encoder needs none: 3.0, 3.7 and 4.4 million parameters.

    >>> import torch
    >>> from custom.networks import EfficientNetLiteEncoder
    >>> features = EfficientNetLiteEncoder("efficientnet-lite0")(torch.rand(1, 3, 64, 64))
    >>> [tuple(level.shape[1:]) for level in features]
    [(16, 32, 32), (24, 16, 16), (40, 8, 8), (112, 4, 4), (320, 2, 2)]

    Args:
        model_name: one of `LITE_NAMES`.
        pretrained: only False; `load_encoder_weights` loads weights.
        spatial_dims: only 2.
        in_channels: channels of the images.

    Raises:
        ValueError: an argument that is not offered, as MONAI's encoders raise it.
    """

    def __init__(self, model_name: str, pretrained: bool = False, spatial_dims: int = 2, in_channels: int = 3) -> None:
        if model_name not in LITE_NAMES or pretrained or spatial_dims != 2:
            raise ValueError(f"EfficientNetLiteEncoder is for {', '.join(LITE_NAMES)}, in 2-D, with weights of its own")
        scale = LITE_NAMES.index(model_name)
        super().__init__(
            [f"r{repeat}_{stage}" for repeat, stage in zip(REPEATS[scale], STAGES, strict=True)],
            in_channels=in_channels,
            width_coefficient=WIDTH_FACTORS[scale],
            norm=("batch", {"eps": 1e-3, "momentum": 0.1}),
        )
        for name in ("_conv_head", "_conv_head_padding", "_bn1", "_avg_pooling", "_dropout", "_fc"):
            delattr(self, name)
        self._swish = nn.ReLU6(inplace=True)
        for stage in self._blocks:
            for block in stage:
                block._swish = nn.ReLU6(inplace=True)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalised images [B, C, H, W] -> features of 1/2, 1/4, 1/8, 1/16 and 1/32 of their size."""
        x = self._swish(self._bn0(self._conv_stem(self._conv_stem_padding(images))))
        features = []
        for index, stage in enumerate(self._blocks):
            x = stage(x)
            if index + 1 in self.extract_stacks:  # the next stage halves the resolution, or there is none
                features.append(x)
        return features

    def set_swish(self, memory_efficient: bool = True) -> None:
        """Nothing to choose: ReLU6 is the same in training and in exports."""

    @classmethod
    def get_encoder_names(cls) -> list[str]:
        """Names in MONAI's registry."""
        return list(LITE_NAMES)

    @classmethod
    def get_encoder_parameters(cls) -> list[dict[str, Any]]:
        """Arguments of each encoder."""
        return [{"model_name": name, "pretrained": False, "spatial_dims": 2, "in_channels": 3} for name in LITE_NAMES]

    @classmethod
    def num_channels_per_output(cls) -> list[tuple[int, ...]]:
        """Channels of the features of each encoder, the finest first."""
        return [(16, 24, 40, 112, 320), (16, 24, 40, 112, 320), (16, 24, 48, 120, 352)]

    @classmethod
    def num_outputs(cls) -> list[int]:
        """How many features each encoder gives."""
        return [5] * len(LITE_NAMES)


FLEXUNET_BACKBONE.register_class(EfficientNetLiteEncoder)
