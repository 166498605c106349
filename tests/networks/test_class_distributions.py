from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from custom.networks.class_distributions import ClassDistributions
from tests.conftest import count_parameters


def make_distributions(num_classes=3, **settings):
    torch.manual_seed(0)
    return ClassDistributions(6, num_classes, **{"embedding_channels": 4, "samples": 5, **settings})


def make_transparent(centres, deviations=None, **settings):
    """Distributions with the given centres and deviations, whose embedding is the token itself."""
    centres = torch.tensor(centres)
    distributions = ClassDistributions(centres.shape[1], *centres.shape, **settings)
    distributions.embed = nn.Identity()
    spread = torch.ones_like(centres) if deviations is None else torch.tensor(deviations)
    with torch.no_grad():
        distributions.proxies.copy_(torch.cat([centres, spread.expm1().log()], dim=1))  # softplus' inverse
    return distributions


def plain_normalise(vector):
    length = math.sqrt(sum(value**2 for value in vector))
    return [value / length for value in vector]


def plain_cosine(first, second):
    return sum(a * b for a, b in zip(plain_normalise(first), plain_normalise(second), strict=True))


def test_parameters_are_those_of_the_release():
    with torch.device("meta"):
        assert count_parameters(ClassDistributions(16, 14)) == 410_112


def test_sigma_is_softplus_of_the_second_half_of_the_proxies():
    distributions = make_distributions(num_classes=2)
    with torch.no_grad():
        distributions.proxies.copy_(torch.tensor([[1.0, 2, 3, 4, 0, -50, 0, 5], [5, 6, 7, 8, 0, 0, 0, 0]]))
    assert distributions.centres.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    expected = [math.log(2), math.log1p(math.exp(-50)), math.log(2), math.log1p(math.exp(5))]
    assert distributions.deviations[0].tolist() == pytest.approx(expected)


def test_initial_values():
    distributions = ClassDistributions(6, 3)
    bound = math.sqrt(6 / (3 + 512))  # Xavier, uniform
    assert 0.95 * bound < distributions.proxies.abs().max() <= bound
    assert (distributions.token_deviation == 0.05).all()
    assert distributions.embed[2].p == distributions.embed[5].p == 0.2


def test_evaluation_by_hand():
    distributions = make_transparent([[1.0, 0.0], [0.0, 2.0]]).eval()
    outputs = distributions(torch.tensor([3.0, 4.0]).view(1, 2, 1, 1))
    torch.testing.assert_close(outputs.similarities, torch.tensor([[[0.6, 0.8]]]))
    second = 1 / (1 + math.exp(-1))  # softmax of 0.6 / 0.2 and 0.8 / 0.2
    torch.testing.assert_close(outputs.assignments, torch.tensor([[[1 - second, second]]]))
    length = math.hypot(1 - second, second)
    expected = [1 - second, second, (1 - second) / length, second / length, 0.6, 0.8]
    torch.testing.assert_close(outputs.priors.flatten(), torch.tensor(expected))


def test_temperature_divides_the_cosines():
    distributions = make_transparent([[1.0, 0.0], [0.0, 2.0]], temperature=0.1).eval()
    outputs = distributions(torch.tensor([3.0, 4.0]).view(1, 2, 1, 1))
    assert outputs.assignments[0, 0, 1].item() == pytest.approx(1 / (1 + math.exp(-2)))


def test_training_equals_plain_loops_over_samples():
    centres, deviations = [[1.0, 0.5], [-0.3, 2.0], [0.2, -1.0]], [[0.5, 0.7], [0.2, 1.5], [1.0, 0.1]]
    distributions = make_transparent(centres, deviations, samples=4, token_samples=3)
    with torch.no_grad():
        distributions.token_deviation.copy_(torch.tensor([0.3, 0.6]))
    tokens = [[0.4, -0.7], [1.5, 0.2]]
    torch.manual_seed(3)
    outputs = distributions(torch.tensor(tokens).T.reshape(1, 2, 1, 2))
    torch.manual_seed(3)
    class_noise = torch.randn(3, 4, 2).tolist()
    token_noise = torch.randn(3, 1, 2, 2).tolist()

    for index, z in enumerate(tokens):
        scores = [math.exp(plain_cosine(z, centre) / 0.2) for centre in centres]
        assignment = [score / sum(scores) for score in scores]
        samples = [
            [[m + s * e for m, s, e in zip(mu, sigma, noise, strict=True)] for noise in class_noise[c]]
            for c, (mu, sigma) in enumerate(zip(centres, deviations, strict=True))
        ]
        similarities = [sum(plain_cosine(z, u) for u in samples[c]) / 4 for c in range(3)]
        r_dist = [sum(assignment[c] * plain_normalise(u)[d] / 4 for c in range(3) for u in samples[c]) for d in (0, 1)]
        r_centre = plain_normalise(
            [sum(assignment[c] * plain_normalise(centres[c])[d] for c in range(3)) for d in (0, 1)]
        )
        shifted = [
            plain_normalise([z[0] + 0.3 * noise[0][index][0], z[1] + 0.6 * noise[0][index][1]]) for noise in token_noise
        ]
        r_token = [sum(vector[d] for vector in shifted) / 3 for d in (0, 1)]
        assert outputs.assignments[0, index].tolist() == pytest.approx(assignment, rel=1e-4)
        assert outputs.similarities[0, index].tolist() == pytest.approx(similarities, rel=1e-4, abs=1e-6)
        priors = outputs.priors[0, :, 0, index].tolist()
        assert priors == pytest.approx([*r_dist, *r_centre, *r_token], rel=1e-4, abs=1e-6)


def test_tokens_and_priors_go_row_by_row():
    distributions = make_transparent([[1.0, 0.0], [0.0, 1.0]]).eval()
    features = torch.randn(2, 2, 2, 3)
    outputs = distributions(features)
    assert outputs.grid == (2, 3)
    torch.testing.assert_close(outputs.tokens[1, 5], features[1, :, 1, 2])
    r_token = outputs.priors[1, 4:, 1, 0]
    torch.testing.assert_close(r_token, features[1, :, 1, 0] / features[1, :, 1, 0].norm())


@pytest.mark.parametrize("num_classes", [2, 3])
def test_shapes(num_classes):
    outputs = make_distributions(num_classes)(torch.randn(2, 6, 3, 4))
    assert outputs.tokens.shape == (2, 12, 6)
    assert outputs.similarities.shape == outputs.assignments.shape == (2, 12, num_classes)
    assert outputs.centres.shape == (num_classes, 4)
    assert outputs.priors.shape == (2, 12, 3, 4)
    torch.testing.assert_close(outputs.assignments.sum(dim=-1), torch.ones(2, 12))


def test_evaluation_is_deterministic_and_draws_no_random_number():
    distributions = make_distributions().eval()
    features = torch.randn(1, 6, 2, 2)
    state = torch.get_rng_state()
    first, second = distributions(features), distributions(features)
    assert torch.equal(first.priors, second.priors)
    assert torch.equal(first.similarities, second.similarities)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_training_call_has_new_samples_of_classes_and_tokens():
    distributions = make_distributions(dropout=0.0)
    features = torch.randn(1, 6, 2, 2)
    first, second = distributions(features), distributions(features)
    r_dist, r_centre, r_token = (first.priors != second.priors).chunk(3, dim=1)
    assert r_dist.all()
    assert r_token.all()
    assert not r_centre.any()  # of the centres and the tokens themselves
    assert (first.similarities != second.similarities).all()


def test_mixed_precision_does_not_reach_the_distributions():
    distributions = make_distributions().eval()
    features = torch.randn(1, 6, 2, 2).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = distributions(features)
    full = distributions(features.float())
    assert mixed.priors.dtype == mixed.similarities.dtype == torch.float32
    assert torch.equal(mixed.priors, full.priors)


def test_gradients_reach_everything_that_is_learnt():
    distributions = make_distributions()
    features = torch.randn(1, 6, 2, 2, requires_grad=True)
    (distributions(features).priors * torch.randn(1, 12, 2, 2)).sum().backward()
    for name, tensor in (("features", features), *distributions.named_parameters()):
        assert tensor.grad.abs().sum() > 0, name
    assert (distributions.proxies.grad != 0).all()  # centres and deviations
