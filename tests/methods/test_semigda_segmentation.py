from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from monai.engines.utils import IterationEvents
from monai.networks import one_hot
from skimage import measure
from torch import nn
from torch.nn.functional import mse_loss

from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.losses import ConsistencyWeight, PseudoLabels, SoftLabelDiceLoss
from custom.methods import SemiGDASegmentation
from custom.networks import BranchOutputs
from custom.networks.semigda import Latents
from custom.transforms.copy_paste import copy_paste_mask

CPU = torch.device("cpu")
STEP = 0.01


@pytest.fixture
def make_sure_network(make_network):
    """Function (**arguments) -> network that is sure of some pixels; otherwise every pseudo-label would be empty."""

    def make(**arguments):
        network = make_network(**{"width": 4, **arguments})
        network.first_stage.autoencoder.decoder.conv_out.weight *= 8
        return network

    return make


@pytest.fixture
def network(make_sure_network):
    return make_sure_network()


class Painter(nn.Module):
    """A stand-in without an encoder: each branch paints the image's first channel at a brightness of its own."""

    def __init__(self, brightness=1.0):
        super().__init__()
        self.brightness = nn.Parameter(torch.full((2,), brightness))

    def encode_images(self, images, with_noise=False):
        return Latents(images[:, :1], images[:, :1], [], [])

    def decode_latents(self, latents):
        return BranchOutputs(self.brightness[0] * latents.image_branch, self.brightness[1] * latents.mask_branch)

    def predict_branches(self, images):
        return self.decode_latents(self.encode_images(images))


def make_batch(labelled=2, unlabelled=2, num_classes=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(labelled + unlabelled, 3, 16, 16, generator=generator)
    labels = torch.randint(num_classes, (labelled, 1, 16, 16), generator=generator).float()
    batch = {"labelled": {"image": images[:labelled], "label": labels}}
    if unlabelled:
        batch["unlabelled"] = {"image": images[labelled:]}
    return batch


def make_trainer(network, batches, max_epochs=1, num_classes=2, mixing_start=1.0, learning_rate=STEP, **arguments):
    return SemiGDASegmentation(
        device=CPU,
        max_epochs=max_epochs,
        train_data_loader=batches,
        network=network,
        optimizer=torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=learning_rate),
        loss_function=SoftLabelDiceLoss(num_classes),
        consistency_weight=ConsistencyWeight(beta=0.3),
        pseudo_labels=PseudoLabels(num_classes),
        mixing_start=mixing_start,
        **arguments,
    )


def run(trainer, seed=5):
    """Run the trainer and return the outputs of its iterations."""
    outputs = []
    trainer.add_event_handler(IterationEvents.MODEL_COMPLETED, lambda engine: outputs.append(engine.state.output))
    torch.manual_seed(seed)
    trainer.run()
    return outputs


def memberships(soft, num_classes):
    """Memberships of the foreground classes, [B, K - 1, H, W]."""
    return torch.cat([(1 - (soft - index).abs()).clamp(min=0) for index in range(1, num_classes)], dim=1)


def dice_by_hand(prediction, target, num_classes):
    p, g = memberships(prediction, num_classes).flatten(2), memberships(target, num_classes).flatten(2)
    return (1 - (2 * (p * g).sum(2) + 1e-5) / (p.sum(2) + g.sum(2) + 1e-5)).mean()


def pseudo_labels_by_hand(soft, num_classes):
    labels = torch.zeros_like(soft)
    for target, image in zip(labels[:, 0], memberships(soft.detach(), num_classes), strict=True):
        for index, sure in enumerate(image**10 >= 0.5, start=1):
            components = measure.label(sure.numpy(), connectivity=2)
            if components.any():
                target[torch.from_numpy(components == np.bincount(components[components > 0]).argmax())] = index
    return labels


def losses_by_hand(network, batch, *, pseudo="hard", mixing=False, latent_weight=0.0):
    """Every term of one first iteration of one, and their weighted sum, as the formulas of the release say."""
    classes, weight = network.num_classes, 0.3 * math.exp(-5)
    x_l, y = batch["labelled"]["image"], batch["labelled"]["label"]
    x_u = batch["unlabelled"]["image"] if "unlabelled" in batch else x_l[:0]
    latents = network.encode_images(torch.cat([x_l, x_u]), with_noise=True)
    p_v, p_r = network.decode_latents(latents)
    count = len(x_l)
    terms = {
        "supervised_image_branch": dice_by_hand(p_v[:count], y, classes),
        "supervised_mask_branch": dice_by_hand(p_r[:count], y, classes),
    }
    weights = dict.fromkeys(terms, 1.0)
    if len(x_u):
        u_v, u_r = p_v[count:], p_r[count:]
        pl_v, pl_r = pseudo_labels_by_hand(u_v, classes), pseudo_labels_by_hand(u_r, classes)
        if pseudo == "hard":
            terms["consistency_image_branch"] = dice_by_hand(u_v, pl_r, classes)
            terms["consistency_mask_branch"] = dice_by_hand(u_r, pl_v, classes)
        elif pseudo == "soft":
            terms["consistency"] = dice_by_hand(u_v, u_r, classes)
    if latent_weight:
        z_g = network.first_stage.encode(2 * y.expand(-1, 3, -1, -1) / (classes - 1) - 1).mean
        z_v, z_r = latents.image_branch, latents.mask_branch
        terms["latent"] = (
            mse_loss(z_v[:count], z_g)
            + mse_loss(z_r[:count], z_g)
            + weight * mse_loss(z_v[count:], z_r[count:].detach())
            + weight * mse_loss(z_r[count:], z_v[count:].detach())
        )
        weights["latent"] = latent_weight
    if mixing:
        pairs = min(len(x_l), len(x_u))
        m = copy_paste_mask(16, 16)
        x_l, y, x_u, pl_v, pl_r = (part[:pairs] for part in (x_l, y, x_u, pl_v, pl_r))
        q_v, q_r = network.predict_branches(torch.cat([x_l * m + x_u * (1 - m), x_l * (1 - m) + x_u * m]))
        y_v, y_r = (torch.cat([y * m + pl * (1 - m), y * (1 - m) + pl * m]) for pl in (pl_v, pl_r))
        terms["mixed_image_branch"] = dice_by_hand(q_v, y_r, classes)
        terms["mixed_mask_branch"] = dice_by_hand(q_r, y_v, classes)
    return terms, sum(weights.get(name, weight) * term for name, term in terms.items())


CASES = {
    "hard": ({}, {}, {}),
    "soft": ({}, {"pseudo": "soft"}, {}),
    "mixing": ({}, {"mixing": True}, {}),
    "soft with mixing": ({}, {"pseudo": "soft", "mixing": True}, {}),
    "mixing alone": ({}, {"pseudo": "off", "mixing": True}, {}),
    "latent losses": ({}, {"latent_weight": 0.5}, {}),
    "labels only": ({"unlabelled": 0}, {}, {"mixing_start": 0.0}),
    "more labelled": ({"labelled": 3, "unlabelled": 1}, {"mixing": True}, {}),
    "more unlabelled": ({"labelled": 1, "unlabelled": 3}, {"mixing": True}, {}),
    "three classes": ({"num_classes": 3}, {"mixing": True}, {}),
}


@pytest.mark.parametrize(("batch", "formula", "arguments"), CASES.values(), ids=CASES)
def test_an_iteration_equals_the_formulas_and_the_gradient_of_their_sum(make_sure_network, batch, formula, arguments):
    num_classes = batch.get("num_classes", 2)
    network, batch = make_sure_network(num_classes=num_classes), make_batch(**batch)
    by_hand = copy.deepcopy(network).train()
    options = {name: value for name, value in formula.items() if name != "mixing"} | arguments
    options.setdefault("mixing_start", 0.0 if formula.get("mixing") else 1.0)
    (output,) = run(make_trainer(network, [batch], num_classes=num_classes, **options))

    torch.manual_seed(5)
    terms, loss = losses_by_hand(by_hand, batch, **formula)
    loss.backward()
    reported = {
        name: float(value)
        for name, value in output.items()
        if name not in ("loss", "consistency_weight", "pseudo_label_foreground")
    }
    assert reported == pytest.approx({name: term.item() for name, term in terms.items()}, rel=1e-4)
    assert output["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert output["consistency_weight"] == pytest.approx(0.3 * math.exp(-5))
    for (name, parameter), expected in zip(network.named_parameters(), by_hand.parameters(), strict=True):
        if expected.grad is None:
            assert parameter.grad is None, name
        else:
            torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-3, atol=1e-6, msg=name)
            torch.testing.assert_close(parameter, expected - STEP * expected.grad, rtol=1e-4, atol=1e-7, msg=name)


def test_pseudo_labels_of_the_formulas_are_not_empty(network):
    (output,) = run(make_trainer(network, [make_batch()]))
    assert 0.02 < output["pseudo_label_foreground"] < 0.98


def test_pseudo_label_foreground_is_the_mean_share_of_both_branches():
    batch = make_batch(1, 1)
    batch["unlabelled"]["image"] = torch.ones(1, 3, 16, 16)
    batch["unlabelled"]["image"][..., :4] = 0  # the image branch is sure of three quarters
    painter = Painter()
    painter.brightness.data[1] = 0.5  # and the mask branch of nothing
    (output,) = run(make_trainer(painter, [batch]))
    assert output["pseudo_label_foreground"] == pytest.approx(0.375)


@pytest.mark.parametrize(("mixing_start", "first"), [(0.0, 1), (1 / 3, 3), (0.5, 4), (0.6, 4), (5 / 6, 6), (1.0, None)])
def test_mixing_begins_with_the_first_iteration_after_its_share_of_the_stage(mixing_start, first):
    batches = [make_batch(1, 1), make_batch(1, 1)]
    outputs = run(make_trainer(Painter(), batches, max_epochs=3, mixing_start=mixing_start))
    mixed = [number for number, output in enumerate(outputs, start=1) if "mixed_image_branch" in output]
    assert mixed == ([] if first is None else list(range(first, 7)))


def test_rounding_does_not_bring_mixing_forward():
    outputs = run(make_trainer(Painter(), [make_batch(1, 1)] * 7, max_epochs=3, mixing_start=1 / 3))
    # (1 / 3 * 7) * 3 is a little less than 7
    assert ["mixed_image_branch" in output for output in outputs] == [False] * 7 + [True] * 14


def test_consistency_weight_follows_the_iterations_from_0():
    outputs = run(make_trainer(Painter(), [make_batch(1, 1), make_batch(1, 1)], max_epochs=2))
    expected = [ConsistencyWeight(beta=0.3)(iteration, 2, 2) for iteration in range(4)]
    assert [output["consistency_weight"] for output in outputs] == expected


def test_gradients_do_not_pile_up_over_iterations():
    gradients = []
    for max_epochs in (1, 2):
        painter = Painter(brightness=0.5)
        run(make_trainer(painter, [make_batch(unlabelled=0)], max_epochs=max_epochs, learning_rate=0.0))
        gradients.append(painter.brightness.grad)
    assert torch.equal(*gradients)


def test_mixing_share_sets_the_size_of_the_rectangle(monkeypatch):
    shares = []
    monkeypatch.setattr(
        "custom.methods.semigda_segmentation.copy_paste_mask",
        lambda *size, share, device: shares.append(share) or copy_paste_mask(*size, share=share),
    )
    run(make_trainer(Painter(), [make_batch(1, 1)], mixing_start=0.0, mixing_share=0.25))
    assert shares == [0.25]


def test_unknown_kind_of_pseudo_labels_names_the_choices():
    with pytest.raises(InputError, match="pseudo 'firm': choose 'hard', 'soft' or 'off'"):
        make_trainer(Painter(), [make_batch()], pseudo="firm")


def test_a_loss_that_is_no_number_stops_the_run():
    with pytest.raises(InputError, match="the loss became nan at iteration 1: lower the learning rate"):
        run(make_trainer(Painter(brightness=math.nan), [make_batch()]))


def test_every_iteration_event_fires_in_order():
    fired = []
    trainer = make_trainer(Painter(), [make_batch()], mixing_start=0.0)
    for event in IterationEvents:
        trainer.add_event_handler(event, fired.append, event)
    run(trainer)
    assert fired == [
        IterationEvents.FORWARD_COMPLETED,
        IterationEvents.LOSS_COMPLETED,
        IterationEvents.BACKWARD_COMPLETED,
        IterationEvents.MODEL_COMPLETED,
    ]


def test_the_first_stage_stays_as_it_was_and_everything_else_learns(network):
    before = copy.deepcopy(network.state_dict())
    run(make_trainer(network, [make_batch()], mixing_start=0.0))
    changed = {key.split(".")[0] for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"trainable_encoder", "latent_mapper", "image_adapters", "mask_adapters"}
    assert not any(module.training for module in network.first_stage.modules())


def test_bfloat16_runs_on_the_cpu_with_nearly_the_same_loss(network, cpu_with_bfloat16):
    (exact,) = run(make_trainer(copy.deepcopy(network), [make_batch()], mixing_start=0.0))
    (rounded,) = run(make_trainer(network, [make_batch()], mixing_start=0.0, amp=True))
    assert rounded["supervised_image_branch"].dtype == torch.float32
    assert rounded["loss"] == pytest.approx(exact["loss"], rel=0.05)
    assert rounded["supervised_image_branch"] != exact["supervised_image_branch"]


@pytest.mark.parametrize("amp", [False, True])
def test_bfloat16_holds_for_clean_and_mixed_images(amp, monkeypatch, cpu_with_bfloat16):
    painter, seen = Painter(), []
    encode = painter.encode_images

    def encode_images(images, with_noise=False):
        seen.append(torch.is_autocast_enabled("cpu"))
        return encode(images)

    monkeypatch.setattr(painter, "encode_images", encode_images)
    run(make_trainer(painter, [make_batch()], mixing_start=0.0, amp=amp))
    assert seen == [amp, amp]


def test_channels_last_gives_the_same_loss(make_sure_network):
    network = make_sure_network(width=8, dropout=0.0, latent_noise="off")  # random numbers come in memory order
    (expected,) = run(make_trainer(copy.deepcopy(network), [make_batch()]))
    network = network.to(memory_format=torch.channels_last)
    (output,) = run(make_trainer(network, [make_batch()], channels_last=True))
    assert output["loss"] == pytest.approx(expected["loss"], rel=1e-4)


@pytest.mark.learning
def test_a_tiny_set_can_be_learnt(network):
    squares = torch.zeros(2, 1, 16, 16)
    squares[0, :, 2:9, 3:12] = 1
    squares[1, :, 6:14, 8:15] = 1
    batch = {"labelled": {"image": (0.2 + 0.6 * squares).expand(-1, 3, -1, -1), "label": squares}}
    outputs = run(make_trainer(network, [batch], max_epochs=60, learning_rate=0.1))
    assert outputs[0]["loss"] > 1.0
    assert outputs[-1]["supervised_image_branch"] < 0.2
    assert outputs[-1]["supervised_mask_branch"] < 0.2


def test_a_supervised_weight_of_0_leaves_the_other_losses():
    batch = make_batch(1, 1)
    (output,) = run(make_trainer(Painter(brightness=0.5), [batch], supervised_weight=0.0))
    consistency = output["consistency_image_branch"] + output["consistency_mask_branch"]
    assert float(output["loss"]) == pytest.approx(float(output["consistency_weight"] * consistency))


class PixelPainter(Painter):
    """A stand-in whose brightness is one parameter for each pixel of the image branch, and of the mask branch."""

    def __init__(self):
        super().__init__()
        self.brightness = nn.Parameter(torch.full((2, 1, 1, 16, 16), 0.8))


def test_ignored_pixels_give_the_answers_no_gradient():
    batch = make_batch(unlabelled=0)
    batch["labelled"]["label"][..., 5, 3:9] = IGNORED_LABEL
    painter = PixelPainter()
    run(make_trainer(painter, [batch], learning_rate=0.0))
    gradient = painter.brightness.grad.clone()
    assert not gradient[..., 5, 3:9].any()
    gradient[..., 5, 3:9] = 1
    assert gradient.all()


def test_mixed_images_leave_out_the_ignored_pixels_of_their_labelled_part_alone(monkeypatch):
    batch = make_batch(1, 1)
    batch["labelled"]["label"][..., 5, :] = IGNORED_LABEL
    targets = []
    trainer = make_trainer(PixelPainter(), [batch], mixing_start=0.0)
    dice = trainer.loss_function
    trainer.loss_function = lambda soft, target: targets.append(target) or dice(soft, target)
    (output,) = run(trainer)
    assert math.isfinite(output["loss"])
    for mixed in targets[-2:]:  # labelled outside the rectangle, then inside
        outside, inside = mixed[:, 0, 5] == IGNORED_LABEL
        assert torch.equal(outside, ~inside) and outside.any() and inside.any()
        mixed[:, :, 5] = 0
        assert mixed.max() == 1


@pytest.mark.parametrize("num_classes", [2, 3])
def test_nothing_but_ignored_pixels_leaves_the_losses_without_labels(make_sure_network, num_classes):
    batch = make_batch(num_classes=num_classes)
    batch["labelled"]["label"].fill_(IGNORED_LABEL)
    network = make_sure_network(num_classes=num_classes)
    options = {"num_classes": num_classes, "mixing_start": 0.0, "latent_weight": 1.0}
    (output,) = run(make_trainer(network, [batch], **options))
    assert output["supervised_image_branch"] == output["supervised_mask_branch"] == 0
    assert all(math.isfinite(float(value)) for value in output.values())
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())


def test_half_of_the_label_is_enough_to_learn_a_tiny_set(network):
    squares = torch.zeros(2, 1, 16, 16)
    squares[0, :, 2:9, 3:12] = 1
    squares[1, :, 6:14, 8:15] = 1
    labels = squares.clone()
    labels[..., ::2] = IGNORED_LABEL
    batch = {"labelled": {"image": (0.2 + 0.6 * squares).expand(-1, 3, -1, -1), "label": labels}}
    outputs = run(make_trainer(network, [batch], max_epochs=40, learning_rate=0.1))
    assert outputs[-1]["supervised_image_branch"] < 0.3 < outputs[0]["supervised_image_branch"]
    assert outputs[-1]["supervised_mask_branch"] < 0.3 < outputs[0]["supervised_mask_branch"]


# A palette in place of grey levels


def test_with_a_palette_the_losses_compare_memberships(make_sure_network):
    network, batch = (
        make_sure_network(num_classes=3, dropout=0.0, latent_noise="off", label_code="palette"),
        make_batch(num_classes=3),
    )
    with torch.no_grad():
        images = torch.cat([batch["labelled"]["image"], batch["unlabelled"]["image"]])
        p_v, p_r = copy.deepcopy(network).train().predict_branches(images)
    true = one_hot(batch["labelled"]["label"], 3)
    (output,) = run(make_trainer(network, [batch], num_classes=3))
    assert p_v.shape == (4, 3, 16, 16)
    for branch, soft in (("image_branch", p_v[:2]), ("mask_branch", p_r[:2])):
        p, g = soft[:, 1:].flatten(2), true[:, 1:].flatten(2)
        dice = (2 * (p * g).sum(2) + 1e-5) / (p.sum(2) + g.sum(2) + 1e-5)
        assert output[f"supervised_{branch}"].item() == pytest.approx((1 - dice).mean().item(), rel=1e-4)
    expected = SoftLabelDiceLoss(3)(p_v[2:], PseudoLabels(3)(p_r[2:]))
    assert output["consistency_image_branch"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert output["pseudo_label_foreground"] > 0


@pytest.mark.parametrize("pseudo", ["hard", "soft", "off"])
def test_with_a_palette_every_form_trains_all_that_is_trained(pseudo, make_sure_network):
    network = make_sure_network(num_classes=4, label_code="palette")
    before = copy.deepcopy(network.state_dict())
    options = {"num_classes": 4, "mixing_start": 0.0, "latent_weight": 1.0, "pseudo": pseudo}
    (output,) = run(make_trainer(network, [make_batch(num_classes=4)], **options))
    assert all(math.isfinite(float(value)) for value in output.values())
    changed = {key.split(".")[0] for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"trainable_encoder", "latent_mapper", "image_adapters", "mask_adapters"}
