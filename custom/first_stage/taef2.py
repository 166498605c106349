"""The taef2 autoencoder: diffusers' tiny autoencoder with pooled residual blocks at the lowest resolution."""

from __future__ import annotations

from diffusers import AutoencoderTiny
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d_blocks import AutoencoderTinyBlock
from torch import Tensor, nn

__all__ = ["AutoencoderTaef2", "convert_taef2_state_dicts"]


class PooledTinyBlock(AutoencoderTinyBlock):
    """A tiny block that first adds `pool(x)` to its input x, [B, channels, H, W] -> the same shape.

    Despite the name in the weights file, `pool` keeps the resolution: 1x1 convolution up, GroupNorm, ReLU, 1x1 down.
    """

    def __init__(self, channels: int, act_fn: str) -> None:
        super().__init__(channels, channels, act_fn)
        self.pool = nn.Sequential(
            nn.Conv2d(channels, 4 * channels, 1, bias=False),
            nn.GroupNorm(4, 4 * channels),
            nn.ReLU(),
            nn.Conv2d(4 * channels, channels, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Tensor [B, channels, H, W] -> the same shape."""
        return super().forward(x + self.pool(x))


class AutoencoderTaef2(AutoencoderTiny):
    """`AutoencoderTiny` whose blocks at the lowest resolution are pooled; by default with taef2's 32 latents."""

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        encoder_block_out_channels: tuple[int, ...] = (64, 64, 64, 64),
        decoder_block_out_channels: tuple[int, ...] = (64, 64, 64, 64),
        act_fn: str = "relu",
        latent_channels: int = 32,
        num_encoder_blocks: tuple[int, ...] = (1, 3, 3, 3),
        num_decoder_blocks: tuple[int, ...] = (3, 3, 3, 1),
        scaling_factor: float = 1.0,
        shift_factor: float = 0.0,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            encoder_block_out_channels=encoder_block_out_channels,
            decoder_block_out_channels=decoder_block_out_channels,
            act_fn=act_fn,
            latent_channels=latent_channels,
            num_encoder_blocks=num_encoder_blocks,
            num_decoder_blocks=num_decoder_blocks,
            scaling_factor=scaling_factor,
            shift_factor=shift_factor,
        )
        _pool_blocks(self.encoder.layers, encoder_block_out_channels[-1], act_fn, reverse=True)
        _pool_blocks(self.decoder.layers, decoder_block_out_channels[0], act_fn, reverse=False)


def _pool_blocks(layers: nn.Sequential, channels: int, act_fn: str, reverse: bool) -> None:
    """Replace the run of blocks nearest to the latent by pooled ones."""
    indices = [index for index, layer in enumerate(layers) if isinstance(layer, AutoencoderTinyBlock)]
    if reverse:
        indices.reverse()
    for position, index in enumerate(indices):
        if position and abs(index - indices[position - 1]) > 1:
            break
        layers[index] = PooledTinyBlock(channels, act_fn)


def convert_taef2_state_dicts(encoder: dict[str, Tensor], decoder: dict[str, Tensor]) -> dict[str, Tensor]:
    """State dictionaries of taef2's two files (layers counted in a Sequential) under diffusers' names, in float32.

    The decoder file counts the latent clamp as layer 0; diffusers applies it outside its layers.
    """
    state = {f"encoder.layers.{key}": value.float() for key, value in encoder.items()}
    for key, value in decoder.items():
        index, rest = key.split(".", 1)
        state[f"decoder.layers.{int(index) - 1}.{rest}"] = value.float()
    return state
