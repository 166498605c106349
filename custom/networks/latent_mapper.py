"""The latent mapper of the Image branch: from the latent of an image to the latent of its mask."""

from __future__ import annotations

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from custom.networks.blocks import group_count

__all__ = ["LatentMapper"]


class ResidualAttentionUnit(nn.Module):
    """Pre-activation residual block followed by spatial self-attention, [B, in, h, w] -> [B, out, h, w]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.GroupNorm(group_count(in_channels, 16), in_channels, eps=1e-6),
            nn.PReLU(),
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.GroupNorm(group_count(out_channels, 16), out_channels, eps=1e-6),
            nn.PReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.attention = Attention(
            query_dim=out_channels,
            heads=1,
            dim_head=out_channels,
            bias=True,
            norm_num_groups=group_count(out_channels, 16),
            eps=1e-6,
            residual_connection=True,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Tensor [B, in_channels, h, w] -> [B, out_channels, h, w]."""
        return self.attention(self.residual(x) + self.shortcut(x))


class LatentMapper(nn.Module):
    """A U-shaped net in channels only: the latent resolution stays (GMS's ResAttnUNet_DS, which SemiGDA names).

    It returns a point estimate in the scaled latent space; the standard deviation of the paper's Eq. 2 is not
    predicted, as in the released code. The deep-supervision heads of GMS get no loss in SemiGDA and are left out.
    With 4 latent channels and width 32 it has 1,556,464 parameters.

    >>> import torch
    >>> from custom.networks import LatentMapper
    >>> LatentMapper(latent_channels=4)(torch.rand(2, 4, 7, 7)).shape
    torch.Size([2, 4, 7, 7])

    Args:
        latent_channels: channels of the latent.
        width: channels of the first unit; the deeper ones have 1, 2, 4, 4 times as many.
    """

    def __init__(self, latent_channels: int, width: int = 32) -> None:
        super().__init__()
        w1, w2, w4 = width, 2 * width, 4 * width
        self.conv_in = nn.Conv2d(latent_channels, w1, 3, padding=1)
        self.down1 = ResidualAttentionUnit(w1, w1)
        self.down2 = ResidualAttentionUnit(w1, w2)
        self.down3 = ResidualAttentionUnit(w2, w4)
        self.middle = ResidualAttentionUnit(w4, w4)
        self.up3 = ResidualAttentionUnit(w4 + w4, w4)
        self.up2 = ResidualAttentionUnit(w2 + w4, w2)
        self.up1 = ResidualAttentionUnit(w1 + w2, w1)
        self.up0 = ResidualAttentionUnit(w1 + w1, w1)
        self.conv_out = nn.Sequential(
            nn.GroupNorm(group_count(w1, 16), w1, eps=1e-6),
            nn.SiLU(),
            nn.Conv2d(w1, latent_channels, 3, padding=1, bias=False),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="leaky_relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, latent: Tensor) -> Tensor:
        """Scaled image latent [B, latent_channels, h, w] -> scaled mask latent of the same shape."""
        x0 = self.conv_in(latent)
        x1 = self.down1(x0)
        x2 = self.down2(x1)
        x3 = self.down3(x2)
        y = self.up3(torch.cat([x3, self.middle(x3)], dim=1))
        y = self.up2(torch.cat([x2, y], dim=1))
        y = self.up1(torch.cat([x1, y], dim=1))
        y = self.up0(torch.cat([x0, y], dim=1))
        return self.conv_out(y)
