from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.methods import (
    ClassDistributionLearning,
    CrossPseudoSupervision,
    CrossPseudoSupervisionWithSCDL,
    GradientAwareCrossPseudoSupervision,
    GradientAwareCrossPseudoSupervisionWithSCDL,
    HeterogeneousCoTraining,
    HeterogeneousCoTrainingWithSCDL,
    MutualConsistency,
    MutualConsistencyWithSCDL,
    SupervisedWithSCDL,
    UncertaintyAwareMeanTeacher,
)
from custom.methods.trainer import Batch, dice_and_cross_entropy
from custom.networks import MeanTeacher, NetworkPair, SCDLUNet, UNet
from tests.methods.conftest import WIDTHS, learn, make_batch, make_trainer, run

TERMS = ("proxy_to_embedding", "embedding_to_proxy", "anchor")
PAIRS = (
    CrossPseudoSupervisionWithSCDL,
    GradientAwareCrossPseudoSupervisionWithSCDL,
    HeterogeneousCoTrainingWithSCDL,
)
ALL = [SupervisedWithSCDL, CrossPseudoSupervisionWithSCDL, MutualConsistencyWithSCDL]


def make_scdl_unet(num_classes=2, seed=0, **settings):
    torch.manual_seed(seed)
    network = SCDLUNet(num_classes, **{"widths": WIDTHS, "embedding_channels": 8, "samples": 5, **settings})
    for parameter in network.injections.parameters():
        nn.init.normal_(parameter, std=0.1)  # priors that are used
    return network


def make_network(method, num_classes=2, **settings):
    if method in PAIRS:
        return NetworkPair(*(make_scdl_unet(num_classes, seed, **settings) for seed in (0, 1)))
    upsampling = ("bilinear", "transposed") if method is MutualConsistencyWithSCDL else ("bilinear",)
    return make_scdl_unet(num_classes, upsampling=upsampling, **settings)


def trainer_at(progress, method, network, **arguments):
    """A trainer in its run at `progress`, a multiple of 1 / 100, whose `loss` can be called by itself."""
    trainer = make_trainer(method, network, [], **arguments)
    trainer.state.epoch_length, trainer.state.max_epochs = 1, 100
    trainer.state.iteration = round(100 * progress) + 1
    return trainer


def random_batch(num_classes=2, labelled=2, unlabelled=1, size=32):
    parts = make_batch(labelled, unlabelled, num_classes, size)
    images = torch.cat([part["image"] for part in parts.values()])
    return Batch(images, parts["labelled"]["label"])


def cosine(first, second):
    return float(first @ second / (first.norm() * second.norm()))


def plain_terms(network, batch):
    """The three losses of a network in evaluation mode, token by token and class by class."""
    classes = network.num_classes
    features = network.encoder(batch.images)[-1].detach()
    rows, _, height, width = features.shape
    side = batch.images.shape[-1] // width
    centres = network.distributions.proxies.detach()[:, :8]
    tokens, regions = [], {c: [] for c in range(classes)}  # tokens: (weights, cosines)
    for b in range(rows):
        sums, areas = [0] * classes, [0.0] * classes
        for i in range(height):
            for j in range(width):
                x = features[b, :, i, j]
                z = network.distributions.embed(x).detach()
                cosines = [cosine(z, centre) for centre in centres]
                if b < len(batch.labels):
                    patch = batch.labels[b, 0, side * i : side * (i + 1), side * j : side * (j + 1)]
                    weights = [float((patch == c).sum()) / side**2 for c in range(classes)]
                    for c in range(classes):
                        sums[c], areas[c] = sums[c] + weights[c] * x, areas[c] + weights[c]
                else:
                    scores = [math.exp(value / 0.2) ** 2 for value in cosines]
                    weights = [score / sum(scores) for score in scores]
                tokens.append((weights, cosines))
        for c in range(classes):
            if areas[c]:
                regions[c].append(network.distributions.embed(sums[c] / areas[c]).detach())
    p2e = 0
    for c in range(classes):
        plus = sum(w[c] * a[c] for w, a in tokens) / sum(w[c] for w, _ in tokens)
        minus = sum((1 - w[c]) * a[c] for w, a in tokens) / sum(1 - w[c] for w, _ in tokens)
        p2e += math.exp(-(plus - minus)) / classes
    e2p = sum(sum(w[c] * (1 - a[c]) for c in range(classes)) for w, a in tokens) / len(tokens)
    anchors = {c: sum(z / z.norm() for z in found) for c, found in regions.items() if found}
    anchor = sum(1 - cosine(vector, centres[c]) for c, vector in anchors.items()) / len(anchors)
    return {"proxy_to_embedding": p2e, "embedding_to_proxy": e2p, "anchor": anchor}


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("unlabelled", [0, 1])
def test_loss_is_the_supervised_loss_and_the_three_weighted_terms(num_classes, unlabelled):
    network = make_scdl_unet(num_classes).eval()
    batch = random_batch(num_classes, unlabelled=unlabelled)
    batch.labels[1] = 0  # an image without lesion
    loss, terms = trainer_at(0.5, SupervisedWithSCDL, network).loss(batch, 0.1)
    supervised = dice_and_cross_entropy()(network.logits(batch.images[:2]), batch.labels).item()
    expected = plain_terms(network, batch)
    for name in TERMS:
        assert terms[name].item() == pytest.approx(expected[name], rel=1e-4), name
    p2e, e2p, anchor = (expected[name] for name in TERMS)
    assert terms["supervised"].item() == pytest.approx(supervised, rel=1e-4)
    assert loss.item() == pytest.approx(supervised + p2e + 0.1 * e2p + 0.1 * anchor, rel=1e-4)


@pytest.mark.parametrize("form", ["class", "token"])
def test_tokens_of_ignored_pixels_alone_are_left_out(form):
    network = make_scdl_unet().eval()
    batch = random_batch(labelled=2, unlabelled=1)
    batch.labels[:, :, :16] = IGNORED_LABEL  # the first row of two tokens in each labelled image
    trainer = trainer_at(0.5, SupervisedWithSCDL, network, proxy_to_embedding_form=form)
    _, found = network.logits_with_distributions(batch.images)
    spoilt = {name: getattr(found, name).clone() for name in ("similarities", "assignments", "tokens")}
    for values in spoilt.values():
        values[:2, :2] = 7
    terms = trainer._distribution_losses(network, found, batch)
    others = trainer._distribution_losses(network, replace(found, **spoilt), batch)
    assert all(torch.equal(terms[name], others[name]) for name in TERMS)
    gradient = torch.autograd.grad(terms["proxy_to_embedding"] + terms["embedding_to_proxy"], found.similarities)[0]
    assert not gradient[:2, :2].any() and gradient[:2, 2:].all() and gradient[2].all()


def test_weights_and_form_are_options():
    network = make_scdl_unet().eval()
    batch = random_batch()
    weights = {"proxy_to_embedding_weight": 2.0, "embedding_to_proxy_weight": 3.0, "anchor_weight": 5.0}
    loss, terms = trainer_at(0.5, SupervisedWithSCDL, network, **weights).loss(batch, 0.1)
    parts = zip((2, 3, 5), TERMS, strict=True)
    assert loss.item() == pytest.approx((terms["supervised"] + sum(w * terms[name] for w, name in parts)).item())
    _, by_token = trainer_at(0.5, SupervisedWithSCDL, network, proxy_to_embedding_form="token").loss(batch, 0.1)
    assert by_token["proxy_to_embedding"] != terms["proxy_to_embedding"]
    assert by_token["embedding_to_proxy"] == terms["embedding_to_proxy"]


@pytest.mark.parametrize(
    ("method", "base"),
    [
        (CrossPseudoSupervisionWithSCDL, CrossPseudoSupervision),
        (GradientAwareCrossPseudoSupervisionWithSCDL, GradientAwareCrossPseudoSupervision),
        (HeterogeneousCoTrainingWithSCDL, HeterogeneousCoTraining),
        (MutualConsistencyWithSCDL, MutualConsistency),
    ],
)
def test_the_base_methods_loss_is_the_same_as_without(method, base):
    network = make_network(method).eval()
    batch = random_batch()
    with_scdl, terms = trainer_at(0.5, method, network).loss(batch, 0.1)
    alone, base_terms = trainer_at(0.5, base, network).loss(batch, 0.1)
    ours = terms["proxy_to_embedding"] + 0.1 * terms["embedding_to_proxy"] + 0.1 * terms["anchor"]
    torch.testing.assert_close(with_scdl, alone + ours)
    assert all(torch.equal(terms[name], value) for name, value in base_terms.items())


def test_terms_of_two_networks_are_summed():
    batch = random_batch()
    network = make_network(CrossPseudoSupervisionWithSCDL).eval()
    _, terms = trainer_at(0.5, CrossPseudoSupervisionWithSCDL, network).loss(batch, 0.1)
    first, second = plain_terms(network.first, batch), plain_terms(network.second, batch)
    for name in TERMS:
        assert terms[name].item() == pytest.approx(first[name] + second[name], rel=1e-4)


def test_without_priors_the_losses_alone_reach_the_encoder_and_nothing_of_them_predicts():
    network = make_scdl_unet(inject_priors=False)
    moved = moved_by(network, proxy_to_embedding_weight=1.0)
    assert {"distributions.proxies", "distributions.embed.0.weight"} <= moved
    assert any(name.startswith("encoder.blocks.0") for name in moved)
    assert type(network.inference_network()) is UNet


def test_any_method_can_be_the_base_and_calls_on_other_images_do_not_count():
    class MeanTeacherWithSCDL(ClassDistributionLearning, UncertaintyAwareMeanTeacher):
        pass

    network = MeanTeacher(make_scdl_unet()).eval()
    batch = random_batch()
    _, terms = trainer_at(0.5, MeanTeacherWithSCDL, network).loss(batch, 0.1)
    assert "consistency" in terms
    assert terms["anchor"].item() == pytest.approx(plain_terms(network.student, batch)["anchor"], rel=1e-4)


@pytest.mark.parametrize("method", ALL)
def test_every_network_passes_its_encoder_once_an_iteration(method):
    network = make_network(method)
    passes = []
    networks = [network.first, network.second] if isinstance(network, NetworkPair) else [network]
    for index, each in enumerate(networks):
        each.encoder.register_forward_hook(lambda *_, index=index: passes.append(index))
    run(make_trainer(method, network, [make_batch(size=32)]))
    assert passes == list(range(len(networks)))


def test_terms_begin_at_their_start():
    trainer = make_trainer(SupervisedWithSCDL, make_scdl_unet(), [make_batch(size=32)] * 5, 2, scdl_start=0.3)
    outputs = run(trainer)
    assert ["anchor" in output for output in outputs] == [False] * 3 + [True] * 7


def test_before_their_start_the_loss_is_the_base_methods():
    network = make_scdl_unet().eval()
    loss, terms = trainer_at(0.0, SupervisedWithSCDL, network).loss(random_batch(), 0.1)
    assert terms.keys() == {"supervised"}
    assert torch.equal(loss, terms["supervised"])


class Recorder(nn.Module):
    """A supervised loss that keeps the logits it was given."""

    def __init__(self):
        super().__init__()
        self.logits = []

    def forward(self, logits, labels):
        self.logits.append(logits.detach())
        return 0 * logits.sum()


@pytest.mark.parametrize("method", ALL)
def test_labels_change_no_logit(method):
    batch = random_batch(labelled=2)
    recorder = Recorder()
    anchors = []
    for labels in (batch.labels, 1 - batch.labels, torch.zeros_like(batch.labels)):
        trainer = trainer_at(0.5, method, make_network(method), loss_function=recorder)
        torch.manual_seed(7)
        _, terms = trainer.loss(Batch(batch.images, labels), 0.1)
        anchors.append(terms["anchor"].item())
    third = len(recorder.logits) // 3
    assert len(set(anchors)) == 3  # the labels did arrive
    for index in range(third):
        first, *others = recorder.logits[index::third]
        assert all(torch.equal(first, other) for other in others)


def moved_by(network, *, batch=None, **weights):
    """Names of the parameters that a gradient of the weighted terms alone reaches."""
    names = ("proxy_to_embedding_weight", "embedding_to_proxy_weight", "anchor_weight")
    arguments = {**dict.fromkeys(names, 0.0), **weights, "loss_function": Recorder()}
    loss, _ = trainer_at(0.5, SupervisedWithSCDL, network, **arguments).loss(batch or random_batch(), 0.1)
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    return {name for name, gradient in gradients.items() if gradient is not None and gradient.any()}


def test_gradient_of_the_anchors_reaches_the_centres_alone():
    network = make_scdl_unet()
    assert moved_by(network, anchor_weight=1.0) == {"distributions.proxies"}
    centres, deviations = network.distributions.proxies.grad.chunk(2, dim=1)
    assert (centres.abs().sum(dim=1) > 0).all()
    assert (deviations == 0).all()


@pytest.mark.parametrize("term", ["proxy_to_embedding_weight", "embedding_to_proxy_weight"])
def test_gradient_of_the_similarities_reaches_encoder_mlp_and_proxies(term):
    network = make_scdl_unet()
    moved = moved_by(network, **{term: 1.0})
    assert {"distributions.proxies", "distributions.embed.0.weight", "distributions.embed.6.weight"} <= moved
    assert any(name.startswith("encoder.blocks.0") for name in moved)
    assert not any(name.startswith(("decoders", "heads", "injections")) for name in moved)
    assert (network.distributions.proxies.grad != 0).all()  # centres and deviations


def test_unlabelled_images_enter_the_terms():
    network = make_scdl_unet().eval()
    batch = random_batch(labelled=2, unlabelled=2)
    trainer = trainer_at(0.5, SupervisedWithSCDL, network)
    _, all_rows = trainer.loss(batch, 0.1)
    _, labelled_rows = trainer.loss(Batch(batch.images[:2], batch.labels), 0.1)
    assert all_rows["proxy_to_embedding"].item() != pytest.approx(labelled_rows["proxy_to_embedding"].item())
    assert all_rows["embedding_to_proxy"].item() != pytest.approx(labelled_rows["embedding_to_proxy"].item())
    assert all_rows["anchor"].item() == pytest.approx(labelled_rows["anchor"].item(), rel=1e-5)


@pytest.mark.parametrize("method", ALL)
def test_a_class_absent_from_the_batch_does_no_harm(method):
    network = make_network(method, num_classes=3)
    batch = make_batch(labelled=1, unlabelled=0, num_classes=3, size=32)
    batch["labelled"]["label"].zero_()
    (output,) = run(make_trainer(method, network, [batch], scdl_start=0.0))
    assert math.isfinite(output["loss"])
    assert all(parameter.isfinite().all() for parameter in network.parameters())


def test_nothing_is_kept_after_an_iteration():
    trainer = make_trainer(SupervisedWithSCDL, make_scdl_unet(), [make_batch(size=32)])
    run(trainer)
    assert trainer._calls == []
    assert trainer._images is None


def test_another_network_is_an_input_error():
    with pytest.raises(InputError, match="SCDLUNet"):
        trainer_at(0.5, SupervisedWithSCDL, UNet(widths=WIDTHS)).loss(random_batch(), 0.1)


def test_unknown_form_is_an_input_error():
    with pytest.raises(InputError, match="proxy_to_embedding_form"):
        make_trainer(SupervisedWithSCDL, make_scdl_unet(), [], proxy_to_embedding_form="pixel")


@pytest.mark.parametrize("start", [-0.1, 1.5])
def test_start_outside_the_run_is_an_input_error(start):
    with pytest.raises(InputError, match="scdl_start"):
        make_trainer(SupervisedWithSCDL, make_scdl_unet(), [], scdl_start=start)


@pytest.mark.learning
@pytest.mark.parametrize("method", ALL)
def test_learns_discs(method):
    learnt = learn(method, make_network(method, dropout=(0.0,) * 5))
    first, last = (
        sum(float(output["proxy_to_embedding"]) for output in outputs) / 4
        for outputs in (learnt.outputs[4:8], learnt.outputs[-4:])
    )
    assert learnt.dice > 0.7
    assert learnt.last_loss < learnt.first_loss
    assert last < 0.95 * first
