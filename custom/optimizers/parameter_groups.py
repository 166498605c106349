"""Parameters of a network in groups with learning rates of their own."""

from __future__ import annotations

from typing import Any

from torch import nn

from custom.networks.encoders import RegisteredEncoder

__all__ = ["parameter_groups"]


def parameter_groups(network: nn.Module, learning_rate: float, encoder_factor: float = 1.0) -> list[Any]:
    """What an optimiser gets as `params`: pretrained encoders learn more slowly than what starts from random weights.

    >>> from custom.networks import UNet
    >>> from custom.optimizers import parameter_groups
    >>> [group["lr"] for group in parameter_groups(UNet(encoder="efficientnet-lite0"), 0.5, encoder_factor=0.5)]
    [0.25, 0.5]

    Args:
        network: the network; frozen parameters are left out.
        learning_rate: of all but the encoders.
        encoder_factor: that of the encoders over `learning_rate`.

    Returns:
        One group for the encoders of `build_encoder` other than "none" and one for the rest; a plain list of parameters
        if there is no such encoder.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    encoders = [module for module in network.modules() if isinstance(module, RegisteredEncoder)]
    inside = {id(parameter) for encoder in encoders for parameter in encoder.parameters()}
    if not inside:
        return trained
    return [
        {"params": [each for each in trained if id(each) in inside], "lr": encoder_factor * learning_rate},
        {"params": [each for each in trained if id(each) not in inside], "lr": learning_rate},
    ]
