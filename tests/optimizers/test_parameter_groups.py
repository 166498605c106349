from __future__ import annotations

import pytest

from custom.networks import SemiGDA, UNet, UNetPair
from custom.optimizers import parameter_groups


def test_without_a_pretrained_encoder_all_trained_parameters_are_one_plain_list():
    network = SemiGDA({"_class_name": "AutoencoderTiny"}, width=8)
    expected = [parameter for parameter in network.parameters() if parameter.requires_grad]
    given = parameter_groups(network, 0.01, 0.3)
    assert len(given) == len(expected) < len(list(network.parameters()))
    assert all(one is other for one, other in zip(given, expected, strict=True))


@pytest.mark.parametrize("network", [UNet, UNetPair])
def test_every_parameter_is_in_one_group_and_encoders_are_slower(network):
    built = network(encoder="efficientnet-lite0")
    encoder, rest = parameter_groups(built, 0.01, 0.3)
    assert (encoder["lr"], rest["lr"]) == (pytest.approx(0.003), 0.01)
    names = {id(parameter): name for name, parameter in built.named_parameters()}
    assert all("encoder." in names[id(parameter)] for parameter in encoder["params"])
    assert not any("encoder." in names[id(parameter)] for parameter in rest["params"])
    assert len(encoder["params"]) + len(rest["params"]) == len(names)
