from __future__ import annotations

import copy

import pytest
import torch
from ignite.metrics import Average
from monai.engines.utils import IterationEvents
from torch.nn.functional import mse_loss

from custom.labels import IGNORED_LABEL, LabelCodec
from custom.losses import ConsistencyWeight
from custom.methods import AlignmentEvaluator, SemiGDAAlignment
from custom.methods.semigda_alignment import alignment_losses

CPU = torch.device("cpu")


@pytest.fixture
def network(make_network):
    return make_network(width=4)


def make_batch(labelled=2, unlabelled=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(labelled + unlabelled, 3, 16, 16, generator=generator)
    labels = torch.rand(labelled, 1, 16, 16, generator=generator).round()
    batch = {"labelled": {"image": images[:labelled], "label": labels}}
    if unlabelled:
        batch["unlabelled"] = {"image": images[labelled:]}
    return batch


def make_optimizers(network):
    return {
        "optimizer": torch.optim.AdamW(network.latent_mapper.parameters(), lr=2e-3),
        "encoder_optimizer": torch.optim.SGD(network.encoder_parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4),
    }


def make_trainer(network, batches, max_epochs=1, **arguments):
    return SemiGDAAlignment(
        device=CPU,
        max_epochs=max_epochs,
        train_data_loader=batches,
        network=network,
        consistency_weight=ConsistencyWeight(beta=0.3),
        **make_optimizers(network),
        **arguments,
    )


def run(trainer, seed=5):
    """Run the trainer and return the output of its last iteration."""
    torch.manual_seed(seed)
    trainer.run()
    return trainer.state.output


def latents(*values):
    """One latent of a single number for every row."""
    return torch.tensor(values).view(-1, 1, 1, 1).requires_grad_()


def gradients(module):
    return [parameter.grad for parameter in module.parameters()]


def test_losses_are_mean_squares_to_the_target_and_between_the_branches():
    loss, terms = alignment_losses(latents(1.0, 3.0), latents(2.0, 5.0), torch.zeros(1, 1, 1, 1), weight=0.5)
    assert {name: term.item() for name, term in terms.items()} == {
        "supervised_image_branch": 1,
        "supervised_mask_branch": 4,
        "consistency_image_branch": 4,
        "consistency_mask_branch": 4,
    }
    assert loss.item() == 1 + 4 + 0.5 * (4 + 4)


def test_mean_squares_are_over_elements_and_not_summed():
    target = torch.zeros(2, 4, 3, 3)
    loss, _ = alignment_losses(torch.full_like(target, 2.0), torch.ones_like(target), target, weight=1.0)
    assert loss.item() == 4 + 1


def test_every_branch_takes_the_other_as_a_constant():
    z_v, z_r = latents(1.0, 3.0), latents(2.0, 5.0)
    alignment_losses(z_v, z_r, torch.zeros(1, 1, 1, 1), weight=0.5)[0].backward()
    # labelled 2 (z - 0), unlabelled 0.5 * 2 (z - other); without the stop the latter would be twice as large
    assert z_v.grad.flatten().tolist() == [2, -2]
    assert z_r.grad.flatten().tolist() == [4, 2]


@pytest.mark.parametrize(
    ("branch", "trained", "untouched"),
    [
        ("image_branch", "latent_mapper", "trainable_encoder"),
        ("mask_branch", "trainable_encoder", "latent_mapper"),
    ],
)
def test_the_loss_of_a_branch_reaches_the_other_branch_nowhere(network, branch, trained, untouched):
    batch = make_batch()
    encoded = network.encode_images(torch.cat([batch["labelled"]["image"], batch["unlabelled"]["image"]]))
    target = network.encode_labels(batch["labelled"]["label"])
    _, terms = alignment_losses(encoded.image_branch, encoded.mask_branch, target, weight=1.0)
    (terms[f"supervised_{branch}"] + terms[f"consistency_{branch}"]).backward()
    assert all(gradient is None for gradient in gradients(getattr(network, untouched)))
    assert all(gradient is not None for gradient in gradients(getattr(network, trained)))


def test_an_iteration_equals_the_computation_by_hand(network):
    by_hand, batch = copy.deepcopy(network).train(), make_batch()
    output = run(make_trainer(network, [batch]))

    torch.manual_seed(5)
    images = torch.cat([batch["labelled"]["image"], batch["unlabelled"]["image"]])
    z_g = by_hand.first_stage.encode(2 * batch["labelled"]["label"].expand(-1, 3, -1, -1) - 1).mean
    posterior = by_hand.first_stage.encode(2 * images - 1)
    z_v = by_hand.latent_mapper(posterior.mean)
    z_r = by_hand.first_stage.quantise(by_hand.trainable_encoder(2 * images - 1)[0])
    weight = ConsistencyWeight(beta=0.3)(0, 1, 1)
    loss_v = mse_loss(z_v[:2], z_g) + weight * mse_loss(z_v[2:], z_r[2:].detach())
    loss_r = mse_loss(z_r[:2], z_g) + weight * mse_loss(z_r[2:], z_v[2:].detach())
    optimizers = make_optimizers(by_hand)
    for loss, optimizer in zip((loss_v, loss_r), optimizers.values(), strict=True):
        loss.backward()
        optimizer.step()

    assert output["loss"] == pytest.approx((loss_v + loss_r).item(), rel=1e-5)
    assert output["supervised_mask_branch"].item() == pytest.approx(mse_loss(z_r[:2], z_g).item(), rel=1e-5)
    assert output["consistency_image_branch"].item() == pytest.approx(mse_loss(z_v[2:], z_r[2:]).item(), rel=1e-5)
    for (name, parameter), expected in zip(network.named_parameters(), by_hand.parameters(), strict=True):
        assert torch.allclose(parameter, expected, rtol=1e-4, atol=1e-7), name


def test_only_mapper_and_encoder_change(network):
    before = copy.deepcopy(network.state_dict())
    run(make_trainer(network, [make_batch()]))
    changed = {key.split(".")[0] for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"latent_mapper", "trainable_encoder"}
    assert all(gradient is None for gradient in gradients(network.image_adapters) + gradients(network.mask_adapters))
    assert all(gradient is None for gradient in gradients(network.first_stage))


def test_labels_are_encoded_for_the_labelled_images_alone(network, monkeypatch):
    shapes, encode = [], network.encode_labels
    monkeypatch.setattr(network, "encode_labels", lambda labels: shapes.append(tuple(labels.shape)) or encode(labels))
    run(make_trainer(network, [make_batch(labelled=2, unlabelled=3)]))
    assert shapes == [(2, 1, 16, 16)]


def test_without_unlabelled_images_only_the_labelled_terms_are_left(network):
    output = run(make_trainer(network, [make_batch(unlabelled=0)]))
    terms = [name for name in output if name not in ("loss", "consistency_weight")]
    assert terms == ["supervised_image_branch", "supervised_mask_branch"]
    assert output["loss"] == pytest.approx(sum(output[term].item() for term in terms))


def test_consistency_weight_follows_the_iterations_from_0(network):
    weights = []
    trainer = make_trainer(network, [make_batch(1, 1), make_batch(1, 1)], max_epochs=2)
    trainer.add_event_handler(
        IterationEvents.MODEL_COMPLETED, lambda engine: weights.append(engine.state.output["consistency_weight"])
    )
    run(trainer)
    assert weights == [ConsistencyWeight(beta=0.3)(iteration, 2, 2) for iteration in range(4)]


def test_gradients_do_not_pile_up_over_iterations(network):
    gradients_of_runs = []
    for max_epochs in (1, 2):
        trainer = make_trainer(network, [make_batch(unlabelled=0)], max_epochs=max_epochs)
        trainer.optimizers["latent_mapper"].param_groups[0]["lr"] = 0.0
        run(trainer)
        gradients_of_runs.append(network.latent_mapper.conv_in.weight.grad.clone())
    assert torch.equal(*gradients_of_runs)


def test_no_latent_noise_in_this_stage(network, monkeypatch):
    monkeypatch.setattr(network, "_add_noise", lambda *_: pytest.fail("noise was asked for"))
    run(make_trainer(network, [make_batch()]))


def test_bfloat16_runs_on_the_cpu_with_nearly_the_same_loss(network, cpu_with_bfloat16):
    exact = run(make_trainer(copy.deepcopy(network), [make_batch()]))
    rounded = run(make_trainer(network, [make_batch()], amp=True))
    assert rounded["supervised_image_branch"].dtype == torch.float32
    assert rounded["loss"] == pytest.approx(exact["loss"], rel=0.05)
    assert rounded["loss"] != exact["loss"]


def test_every_iteration_event_fires_in_order(network):
    fired = []
    trainer = make_trainer(network, [make_batch()])
    for event in IterationEvents:
        trainer.add_event_handler(event, fired.append, event)
    run(trainer)
    assert fired == [
        IterationEvents.FORWARD_COMPLETED,
        IterationEvents.LOSS_COMPLETED,
        IterationEvents.BACKWARD_COMPLETED,
        IterationEvents.MODEL_COMPLETED,
    ]


def evaluate(network, **arguments):
    batch = make_batch(labelled=2, unlabelled=0)["labelled"]
    evaluator = AlignmentEvaluator(
        device=CPU,
        val_data_loader=[batch],
        network=network,
        key_val_metric={"distance": Average(output_transform=lambda output: output["distance"])},
        **arguments,
    )
    network.train()
    evaluator.run()
    return evaluator.state, batch


@torch.no_grad()
def test_validation_measures_both_branches_in_evaluation_mode(network):
    state, batch = evaluate(network)
    network.eval()
    target, encoded = network.encode_labels(batch["label"]), network.encode_images(batch["image"])
    image_branch = mse_loss(encoded.image_branch, target).item()
    mask_branch = mse_loss(encoded.mask_branch, target).item()
    assert state.output["image_branch"] == pytest.approx(image_branch)
    assert state.output["mask_branch"] == pytest.approx(mask_branch)
    assert state.metrics["distance"] == state.best_metric == pytest.approx(image_branch + mask_branch)


@torch.no_grad()
def test_validation_may_encode_labels_by_another_codec(network):
    state, batch = evaluate(network, label_codec=LabelCodec(value_range="unsigned"))
    network.eval()
    target = network.first_stage.encode(batch["label"].expand(-1, 3, -1, -1)).mean
    expected = mse_loss(network.encode_images(batch["image"]).mask_branch, target).item()
    assert state.output["mask_branch"] == pytest.approx(expected)


def with_ignored(batch, *places):
    """The batch with the label undecided at some places."""
    batch = copy.deepcopy(batch)
    for place in places:
        batch["labelled"]["label"][place] = IGNORED_LABEL
    return batch


def test_with_a_palette_both_learn_the_latent_of_the_coloured_label(make_network):
    network, batch = make_network(width=4, num_classes=4, label_code="palette"), make_batch()
    labels = batch["labelled"]["label"].mul_(3)
    colours = torch.where(labels == 0, -1.0, torch.tensor([1.0, 1.0, -1.0]).view(1, 3, 1, 1))  # class 3 is yellow
    target = network.first_stage.encode(colours).mean
    assert torch.equal(network.encode_labels(labels), target)
    validated = {"image": batch["labelled"]["image"], "label": labels}
    evaluator = AlignmentEvaluator(device=CPU, val_data_loader=[validated], network=network)
    evaluator.run()
    before = evaluator.state.output
    distance = mse_loss(network.eval().encode_images(validated["image"]).mask_branch, target)
    assert before["mask_branch"] == pytest.approx(distance.item(), rel=1e-5)
    run(make_trainer(network, [batch], max_epochs=15))
    evaluator.run()
    assert evaluator.state.output["image_branch"] < before["image_branch"]
    assert evaluator.state.output["mask_branch"] < before["mask_branch"]


def test_cells_with_an_ignored_pixel_get_no_supervision():
    labels = torch.zeros(1, 1, 8, 8)
    labels[..., 3, 5] = IGNORED_LABEL  # cell (1, 2) of 4 x 4
    z_v, z_r, target = (torch.rand(2, 3, 4, 4, requires_grad=True) for _ in range(3))
    loss, terms = alignment_losses(z_v, z_r, target[:1].detach(), weight=0.0, labels=labels)
    terms["supervised_image_branch"].backward()
    gradient = z_v.grad[0].clone()
    assert not gradient[:, 1, 2].any()
    gradient[:, 1, 2] = 1
    assert gradient.all()
    expected = ((z_v[0] - target[0]) ** 2).sum(dim=0)
    expected[1, 2] = 0
    assert terms["supervised_image_branch"].item() == pytest.approx(expected.sum().item() / (3 * 15), rel=1e-5)


def test_labels_without_ignored_pixels_change_no_bit_of_the_losses():
    z_v, z_r, target = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4), torch.rand(1, 3, 4, 4)
    plain, _ = alignment_losses(z_v, z_r, target, weight=0.5)
    labelled, _ = alignment_losses(z_v, z_r, target, weight=0.5, labels=torch.zeros(1, 1, 8, 8))
    assert torch.equal(plain, labelled)


def test_training_and_validation_leave_out_the_cells_with_ignored_pixels(network):
    batch = with_ignored(make_batch(unlabelled=0), (0, 0, slice(0, 7)))
    by_hand = copy.deepcopy(network).train()
    output = run(make_trainer(network, [batch]))
    torch.manual_seed(5)
    labels = batch["labelled"]["label"].where(batch["labelled"]["label"] != IGNORED_LABEL, torch.tensor(0.0))
    z_g, latents = by_hand.encode_labels(labels), by_hand.encode_images(batch["labelled"]["image"])
    squares = (latents.image_branch - z_g) ** 2
    kept = torch.cat([squares[0, :, 2:].flatten(), squares[1].flatten()])  # cells of 4 pixels: rows 0 to 6 are in two
    assert output["supervised_image_branch"].item() == pytest.approx(kept.mean().item(), rel=1e-5)

    evaluator = AlignmentEvaluator(device=CPU, val_data_loader=[batch["labelled"]], network=by_hand)
    evaluator.run()
    with torch.no_grad():
        squares = (by_hand.eval().encode_images(batch["labelled"]["image"]).image_branch - z_g) ** 2
    kept = torch.cat([squares[0, :, 2:].flatten(), squares[1].flatten()])
    assert evaluator.state.output["image_branch"] == pytest.approx(kept.mean().item(), rel=1e-5)


@pytest.mark.parametrize("unlabelled", [0, 2])
def test_nothing_but_ignored_pixels_leaves_the_consistency_alone(network, unlabelled):
    batch = with_ignored(make_batch(unlabelled=unlabelled), ...)
    output = run(make_trainer(network, [batch]))
    assert output["supervised_image_branch"] == output["supervised_mask_branch"] == 0
    assert (output["loss"] > 0) is bool(unlabelled)
    evaluator = AlignmentEvaluator(device=CPU, val_data_loader=[batch["labelled"]], network=network)
    evaluator.run()
    assert evaluator.state.output["distance"] == 0
