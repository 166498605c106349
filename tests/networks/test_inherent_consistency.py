from __future__ import annotations

import pytest
import torch
from torch.nn.functional import gelu, layer_norm

from custom.errors import InputError
from custom.networks import InherentConsistencyUNet, UNet, UNetWithInherentConsistency
from custom.networks.inherent_consistency import ClassAttention
from tests.conftest import count_parameters, perturb

WIDTHS = (4, 8, 8, 8, 8)


def make_network(image_size=32, **arguments):
    return UNetWithInherentConsistency(3, image_size, widths=WIDTHS, seed=0, **arguments)


def of_norm(norm, x):
    return layer_norm(x, x.shape[-1:], norm.weight, norm.bias)


def of_mlp(part, x):
    norm, mlp = part
    return mlp.linear2(gelu(mlp.linear1(of_norm(norm, x))))


@torch.no_grad()
def test_the_attention_equals_its_formulas_head_by_head():
    torch.manual_seed(0)
    attend = perturb(ClassAttention(4, 2, 6, updates_queries=True)).eval()
    features, queries = torch.randn(1, 4, 2, 3), torch.randn(1, 5, 4)
    logits, updated = attend(features, queries)
    tokens = attend.project(features)[0].flatten(1).T
    for norm in attend.token_norms:
        tokens = of_norm(norm, tokens)
    q, k, v = attend.to_query(of_norm(attend.query_norm, queries[0])), attend.to_key(tokens), attend.to_value(tokens)
    scores, attended = [], []
    for head in (slice(0, 2), slice(2, 4)):
        scores.append(q[:, head] @ k[:, head].T / 2**0.5)
        attended.append(scores[-1].softmax(dim=1) @ v[:, head])
    new = 2 * attend.to_output(torch.cat(attended, dim=1))
    torch.testing.assert_close(updated[0], new + of_mlp(attend.query_mlp, new))
    for index in range(5):
        maps = torch.stack([2 * each[index] for each in scores])
        maps = maps + of_mlp(attend.position_mlp, maps)
        torch.testing.assert_close(logits[0, index], attend.to_map(maps.reshape(1, 2, 2, 3))[0, 0])


def test_without_an_update_the_queries_stay_as_they_are():
    attend, queries = ClassAttention(4, 2, None, updates_queries=False), torch.randn(1, 3, 4)
    logits, same = attend(torch.randn(2, 4, 2, 3), queries)
    assert same is queries and logits.shape == (2, 3, 2, 3)
    assert attend.position_mlp is None and not hasattr(attend, "to_value")


def test_heads_are_fewer_where_they_do_not_divide_the_channels():
    assert [ClassAttention(width, 8, None, updates_queries=False).heads for width in (16, 12, 7)] == [8, 6, 7]


@pytest.mark.parametrize(("limit", "mixed"), [(3136, [784, 3136, None]), (784, [784, None, None]), (0, [None] * 3)])
def test_only_maps_up_to_the_limit_are_mixed(limit, mixed):
    with torch.device("meta"):
        network = InherentConsistencyUNet(UNet(), 224, limit)
    for part in (network.supervised, network.unsupervised):
        found = [attend.position_mlp and attend.position_mlp[0].normalized_shape[0] for attend in part]
        assert found == mixed


def test_the_released_form_mixes_all_and_has_the_released_size():
    with torch.device("meta"):
        network = InherentConsistencyUNet(UNet(), 256, None)
    assert round(count_parameters(network.supervised) / 1e6) == 573


def test_the_supervised_queries_of_the_labelled_images_lead_the_unsupervised_module():
    network, images = make_network().eval(), torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        network.queries.normal_(generator=torch.Generator().manual_seed(1))
        outputs = network.logits_and_maps(images, 2)
        decoded = network.deployed.decoders[0](network.deployed.encoder(images))[:3]
        queries = others = network.queries
        for index, features in enumerate(decoded):
            if index:
                queries, others = (network.to_next_queries[index - 1](each) for each in (queries, others))
            labelled, queries = network.supervised[index](features[:2], queries)
            supervised, others = network.supervised[index](features[2:], others)
            unsupervised, _ = network.unsupervised[index](features[2:], queries.mean(dim=0, keepdim=True))
            torch.testing.assert_close(outputs.labelled_maps[index], labelled)
            torch.testing.assert_close(outputs.supervised_maps[index], supervised)
            torch.testing.assert_close(outputs.unsupervised_maps[index], unsupervised)
        torch.testing.assert_close(outputs.logits, network.deployed.logits(images))


def test_images_of_another_size_are_refused_where_positions_are_mixed():
    with pytest.raises(InputError, match="48 x 32 pixels, but network_def#image_size is 32"):
        make_network().logits_and_maps(torch.rand(2, 3, 48, 32), 1)
    outputs = make_network(position_limit=0).logits_and_maps(torch.rand(2, 3, 48, 37), 1)
    assert outputs.logits.shape == (2, 3, 48, 37)


def test_fewer_resolutions_use_fewer_stages_and_too_few_or_a_negative_limit_are_refused():
    network = InherentConsistencyUNet(UNet(widths=(4, 8, 8), dropout=(0.0,) * 3), 16)
    outputs = network.logits_and_maps(torch.rand(2, 3, 16, 16), 1)
    assert [each.shape for each in outputs.labelled_maps] == [(1, 2, 8, 8)]
    with pytest.raises(InputError, match="at least three resolutions"):
        InherentConsistencyUNet(UNet(widths=(4, 8), dropout=(0.0,) * 2), 16)
    with pytest.raises(InputError, match="position_limit -1: give a number from 0"):
        make_network(position_limit=-1)


def test_building_it_changes_no_statistic_and_keeps_the_mode():
    unet = UNet(widths=WIDTHS, seed=0)
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    network = InherentConsistencyUNet(unet, 32)
    assert network.deployed.encoder.training
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())
