"""Encoders of the U-Net family, by name: what turns images into features of several resolutions.

An encoder is a module with `widths`, the channels of its features, the finest resolution first, and a `forward` from
images [B, C, H, W] to these features. A new one is registered with MONAI, see
`lite_encoder.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from monai.networks.nets import FLEXUNET_BACKBONE
from torch import Tensor, nn
from torch.nn.functional import pad

from custom.errors import InputError, short_reason
from custom.networks.blocks import ConvolutionBlock
from custom.networks.lite_encoder import LITE_NAMES
from custom.wording import did_you_mean

__all__ = ["DROPOUT", "WIDTHS", "RegisteredEncoder", "UNetEncoder", "build_encoder"]

WIDTHS = (16, 32, 64, 128, 256)
DROPOUT = (0.05, 0.1, 0.2, 0.3, 0.5)


class UNetEncoder(nn.Module):
    """Convolution blocks with max-pooling between them.

    Args:
        in_channels: channels of the input.
        widths: channels of each resolution, the finest first.
        dropout: dropout probability of each resolution.
        time_channels: see `ConvolutionBlock`.

    Attributes:
        widths: as given.
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int] = WIDTHS,
        dropout: Sequence[float] = DROPOUT,
        time_channels: int | None = None,
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        inputs = (in_channels, *widths[:-1])
        self.blocks = nn.ModuleList(
            ConvolutionBlock(*sizes, time_channels) for sizes in zip(inputs, widths, dropout, strict=True)
        )
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor, time: Tensor | None = None, added: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Input [B, C, H, W] -> features of each resolution, the finest first.

        Args:
            x: the input.
            time: time embedding, see `ConvolutionBlock`.
            added: a tensor for each resolution, added to its features before they continue to the next.
        """
        features: list[Tensor] = []
        for level, block in enumerate(self.blocks):
            x = block(self.pool(x) if level else x, time)
            if added is not None:
                x = x + added[level]
            features.append(x)
        return features


class RegisteredEncoder(nn.Module):
    """An encoder of MONAI's registry, or of timm, with the normalisation that its ImageNet weights want.

    Args:
        name: a name of the registry, or "timm:" and a name that timm knows.
        in_channels: channels of the images.

    Attributes:
        widths: channels of the features, the finest first.

    Raises:
        InputError: timm is not installed or does not know the name.
    """

    def __init__(self, name: str, in_channels: int) -> None:
        super().__init__()
        mean, deviation = IMAGENET
        if name.startswith("timm:"):
            self.features = _timm_encoder(name.removeprefix("timm:"), in_channels)
            self.widths = tuple(self.features.feature_info.channels())
            settings = self.features.default_cfg if hasattr(self.features, "default_cfg") else {}
            mean, deviation = settings.get("mean", mean), settings.get("std", deviation)
        else:
            entry = FLEXUNET_BACKBONE.register_dict[name]
            own = {"spatial_dims": 2, "in_channels": in_channels, "pretrained": False}
            self.features = entry["type"](**entry["parameter"] | own)
            self.widths = tuple(entry["feature_channel"])
            if name in LITE_NAMES:
                mean, deviation = LITE
            if hasattr(self.features, "set_swish"):
                self.features.set_swish(memory_efficient=False)  # the other one cannot be exported
            for block in self.features.modules():
                if isinstance(shortcut := getattr(block, "downsample", None), partial):
                    block.downsample = _PaddedShortcut(shortcut.keywords["planes"], shortcut.keywords["stride"])
        repeat = (1, in_channels, 1, 1)
        for buffer, values in (("mean", mean), ("deviation", deviation)):
            values = torch.tensor(values if in_channels == 3 else [sum(values) / 3] * in_channels).reshape(repeat)
            self.register_buffer(buffer, values, persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images in [0, 1], [B, C, H, W] -> features of each resolution, the finest first."""
        return list(self.features((images - self.mean) / self.deviation))


class _PaddedShortcut(nn.Module):
    """The shortcut without weights of MONAI's ResNets, whose own one fixes all sizes when it is exported."""

    def __init__(self, planes: int, stride: int) -> None:
        super().__init__()
        self.planes, self.stride = planes, stride

    def forward(self, x: Tensor) -> Tensor:
        return pad(x[..., :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.planes - x.shape[1]))


def _timm_encoder(name: str, in_channels: int) -> nn.Module:
    try:
        import timm
    except Exception as error:  # whatever a broken installation raises
        reason = short_reason(error, 200)
        raise InputError(f"encoder 'timm:{name}' needs timm, which is not there ({reason}): install it") from error
    try:
        return timm.create_model(name, pretrained=False, features_only=True, in_chans=in_channels)
    except Exception as error:
        reason = short_reason(error, 200)
        raise InputError(f"encoder 'timm:{name}': timm builds no encoder of that name ({reason})") from error


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
LITE = ((127 / 255,) * 3, (128 / 255,) * 3)

KNOWN = "none, efficientnet-lite0 to 2, efficientnet-b0 to b7, resnet18, resnet34, resnet50, timm:NAME"


def build_encoder(
    name: str, in_channels: int, widths: Sequence[int] = WIDTHS, dropout: Sequence[float] = DROPOUT
) -> nn.Module:
    """The encoder of that name, with random weights.

    >>> from custom.networks import build_encoder
    >>> build_encoder("none", in_channels=3).widths
    (16, 32, 64, 128, 256)

    Args:
        name: "none" for the U-Net's own; a name of MONAI's registry `FLEXUNET_BACKBONE`, to which EfficientNet-Lite is
            added; or "timm:" and a name that timm knows.
        in_channels: channels of the images.
        widths: channels of each resolution, the finest first; of "none" alone.
        dropout: dropout probability of each resolution; of "none" alone.

    Raises:
        InputError: no encoder has that name.
    """
    name = str(name)
    if name == "none":
        return UNetEncoder(in_channels, widths, dropout)
    if name in FLEXUNET_BACKBONE.register_dict or name.startswith("timm:"):
        return RegisteredEncoder(name, in_channels)
    hint = did_you_mean(name, ["none", *FLEXUNET_BACKBONE.register_dict])
    raise InputError(f"encoder {name[:40]!r}: choose one of {KNOWN}{hint}")
