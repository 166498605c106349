from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from custom.first_stage.taef2 import AutoencoderTaef2, PooledTinyBlock, convert_taef2_state_dicts

SMALL = {
    "encoder_block_out_channels": (8, 8, 8),
    "decoder_block_out_channels": (8, 8, 8),
    "num_encoder_blocks": (1, 2, 2),
    "num_decoder_blocks": (3, 1, 1),
}


def pooled_layers(layers):
    return [index for index, layer in enumerate(layers) if isinstance(layer, PooledTinyBlock)]


def test_by_default_there_are_32_latent_channels_at_an_eighth_of_the_size():
    with torch.device("meta"):
        autoencoder = AutoencoderTaef2()
    latents = autoencoder.encode(torch.empty(1, 3, 64, 32, device="meta")).latents
    assert latents.shape == (1, 32, 8, 4)
    assert autoencoder.decode(latents).sample.shape == (1, 3, 64, 32)


def test_by_default_the_three_blocks_next_to_the_latent_are_pooled():
    with torch.device("meta"):
        autoencoder = AutoencoderTaef2()
    assert pooled_layers(autoencoder.encoder.layers) == [11, 12, 13]
    assert pooled_layers(autoencoder.decoder.layers) == [2, 3, 4]


def test_only_the_blocks_of_the_lowest_resolution_are_pooled():
    autoencoder = AutoencoderTaef2(**SMALL)
    assert pooled_layers(autoencoder.encoder.layers) == [6, 7]
    assert pooled_layers(autoencoder.decoder.layers) == [2, 3, 4]


def test_scaling_and_shift_are_kept_in_the_configuration():
    config = AutoencoderTaef2(**SMALL, latent_channels=5, scaling_factor=0.3, shift_factor=0.2).config
    assert (config.latent_channels, config.scaling_factor, config.shift_factor) == (5, 0.3, 0.2)


def test_a_pooled_block_adds_the_normalised_mixture_to_its_input_first():
    """Written out with plain tensor operations."""
    torch.manual_seed(0)
    block = PooledTinyBlock(8, "relu").double()
    x = torch.randn(2, 8, 3, 3, dtype=torch.float64)

    up, norm, _, down = block.pool
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    wide = functional.group_norm(functional.conv2d(x, up.weight), 4, norm.weight, norm.bias)
    x_pooled = x + functional.conv2d(wide.relu(), down.weight)
    h = x_pooled
    for index in (0, 2, 4):
        h = functional.conv2d(h.relu() if index else h, block.conv[index].weight, block.conv[index].bias, padding=1)

    assert (up.bias, down.bias) == (None, None)
    assert up.weight.shape == (32, 8, 1, 1)
    torch.testing.assert_close(block(x), (h + x_pooled).relu())


def test_conversion_counts_decoder_layers_without_the_clamp():
    converted = convert_taef2_state_dicts(
        {"0.weight": torch.ones(1)}, {"1.bias": torch.zeros(1), "12.conv.0.weight": torch.ones(2)}
    )
    assert list(converted) == ["encoder.layers.0.weight", "decoder.layers.0.bias", "decoder.layers.11.conv.0.weight"]


def test_conversion_gives_single_precision():
    converted = convert_taef2_state_dicts({"0.weight": torch.ones(1).half()}, {"1.bias": torch.ones(1).bfloat16()})
    assert {value.dtype for value in converted.values()} == {torch.float32}
