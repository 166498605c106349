"""Conditional dual skip adapters (CDSA): encoder features enter the frozen decoder through trainable blocks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from custom.errors import InputError
from custom.networks.blocks import group_count

__all__ = ["SkipAdapters"]


class SkipAdapters(nn.Module):
    """One set of adapters, a residual block for each resolution of the decoder.

    An adapter is the autoencoder's own kind of residual block on the concatenation [decoder features, skip]; its
    output takes the place of the decoder features (paper section 3.3; placement from the released code). At Stable
    Diffusion's widths a set has 17,592,704 parameters.

    >>> import torch
    >>> from custom.networks import SkipAdapters
    >>> adapters = SkipAdapters(decoder_widths=(32, 64), skip_widths=(16, 32))
    >>> adapters(1, torch.rand(2, 64, 8, 8), torch.rand(2, 32, 8, 8)).shape  # level 1 has half the resolution
    torch.Size([2, 64, 8, 8])

    Args:
        decoder_widths: channels of the decoder features at each level, the finest first.
        skip_widths: channels of the skips at each level, the finest first.
        init: "default" (PyTorch's: the pretrained path is perturbed at first, as in the release) or "identity" (the
            block starts by passing the decoder features through unchanged).

    Raises:
        InputError: `init` is neither of the two.
    """

    def __init__(self, decoder_widths: Sequence[int], skip_widths: Sequence[int], init: str = "default") -> None:
        super().__init__()
        if init not in ("default", "identity"):
            raise InputError(f"adapter_init {init!r}: choose 'default' or 'identity'")
        self.blocks = nn.ModuleList(
            ResnetBlock2D(
                in_channels=decoder + skip,
                out_channels=decoder,
                temb_channels=None,
                groups=group_count(decoder + skip, 32),
                groups_out=group_count(decoder, 32),
                eps=1e-6,
                non_linearity="silu",
                use_in_shortcut=True,
            )
            for decoder, skip in zip(decoder_widths, skip_widths, strict=True)
        )
        if init == "identity":
            for block in self.blocks:
                self._pass_through(block)

    @staticmethod
    @torch.no_grad()
    def _pass_through(block: ResnetBlock2D) -> None:
        nn.init.zeros_(block.conv2.weight)
        nn.init.zeros_(block.conv2.bias)
        nn.init.dirac_(block.conv_shortcut.weight)  # the decoder features come first in the concatenation
        nn.init.zeros_(block.conv_shortcut.bias)

    def forward(self, level: int, features: Tensor, skip: Tensor) -> Tensor:
        """Decoder features [B, D, H, W] and skip [B, S, H, W] of one level -> [B, D, H, W]."""
        return self.blocks[level](torch.cat([features, skip], dim=1), None)
