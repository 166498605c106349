from __future__ import annotations

import copy
import math

import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose

from custom.checkpoints import load_checkpoint
from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.losses import ConsistencyWeight
from custom.methods import DiffRect
from custom.methods.trainer import Batch
from custom.networks import DiffRectNetworks, LabelRectifier, UNet
from custom.phantoms.dataset import write_phantom_dataset
from tests.bundles.conftest import config_file, train
from tests.methods.conftest import learn, make_batch, make_trainer, make_unet, moved, run

STEP = 0.01


def make_networks(num_classes=2, dropout=True, **arguments):
    torch.manual_seed(0)
    arguments = {
        "widths": (4, 8, 8, 8, 8),
        "denoiser_widths": (8, 8),
        "time_channels": 16,
        **({} if dropout else {"dropout": (0.0,) * 5}),
        **arguments,
    }
    return DiffRectNetworks(make_unet(num_classes, dropout=dropout), LabelRectifier(num_classes, **arguments))


def optimizers(networks, learning_rate=STEP, momentum=0.0):
    return {
        "optimizer": torch.optim.SGD(networks.segmenter.parameters(), learning_rate, momentum),
        "rectifier_optimizer": torch.optim.SGD(networks.rectifier.parameters(), learning_rate, momentum),
    }


def make_diffrect(networks=None, batches=None, max_epochs=1, **arguments):
    networks = make_networks() if networks is None else networks
    batches = [make_batch(size=32, strong=True)] if batches is None else batches
    return make_trainer(DiffRect, networks, batches, max_epochs, **{**optimizers(networks), **arguments})


def as_batch(labelled=2, unlabelled=2, num_classes=2, size=32):
    batch = make_batch(labelled, unlabelled, num_classes, size, strong=True)
    parts = list(batch.values())
    return Batch(
        torch.cat([part["image"] for part in parts]),
        batch["labelled"]["label"],
        (torch.cat([part["strong_image"] for part in parts]),),
    )


# The losses once more, plainly written


def cross_entropy_and_dice(logits, labels):
    probabilities = logits.softmax(dim=1)
    truth = torch.cat([labels == index for index in range(logits.shape[1])], dim=1).float()
    entropy = -(truth * probabilities.log()).sum(dim=1).mean()
    return entropy + dice_loss(probabilities, truth)


def dice_loss(first, second):
    overlap, sizes = (first * second).sum(dim=(0, 2, 3)), (first**2 + second**2).sum(dim=(0, 2, 3))
    return (1 - (2 * overlap + 1e-5) / (sizes + 1e-5)).mean()


def pseudo_labels(logits, threshold=0.8):
    probabilities = logits.softmax(dim=1)
    least, most = probabilities.aminmax(dim=1, keepdim=True)
    kept = probabilities * ((probabilities - least) / most > threshold)
    return kept.detach().argmax(dim=1, keepdim=True).float()


def negative_learning(strong, weak):
    strong, weak = strong.softmax(dim=1), weak.softmax(dim=1)
    over_pixels = strong / strong.sum(dim=(2, 3), keepdim=True)
    entropy = -(over_pixels * over_pixels.log()).sum(dim=(2, 3)).mean()
    factor = 1 - entropy / math.log(strong.shape[2] * strong.shape[3])
    unlikely = (1 - strong).log_softmax(dim=1).gather(1, weak.argmin(dim=1, keepdim=True))
    return factor**2 * -unlikely.mean()


def one_hot(labels, num_classes=2):
    return torch.cat([labels == index for index in range(num_classes)], dim=1).float()


def sure_logits(rows=4, num_classes=2, seed=2):
    """Random logits that are sure of many pixels."""
    generator = torch.Generator().manual_seed(seed)
    return 5 * torch.randn(rows, num_classes, 32, 32, generator=generator)


class TestSegmentationLoss:
    @pytest.mark.parametrize("num_classes", [2, 3])
    def test_is_supervised_plus_weighted_consistency_and_negative_learning(self, num_classes):
        trainer = make_diffrect(make_networks(num_classes))
        batch = as_batch(labelled=1, unlabelled=3, num_classes=num_classes)
        weak, strong = (sure_logits(num_classes=num_classes, seed=seed) for seed in (2, 3))
        loss, _ = trainer.segmentation_loss(batch, weak, strong, weight=0.07)
        expected = cross_entropy_and_dice(weak[:1], batch.labels) + 0.07 * (
            cross_entropy_and_dice(strong[1:], pseudo_labels(weak[1:])) + negative_learning(strong, weak)
        )
        assert loss.item() == pytest.approx(expected.item(), rel=1e-4)

    def test_pseudo_labels_give_no_gradient_to_the_weak_view(self):
        trainer, batch = make_diffrect(), as_batch()
        weak, strong = sure_logits().requires_grad_(), sure_logits(seed=3).requires_grad_()
        trainer.segmentation_loss(batch, weak, strong, weight=1.0)[0].backward()
        assert weak.grad[2:].count_nonzero() == 0
        assert weak.grad[:2].count_nonzero() > 0
        assert strong.grad[2:].count_nonzero() > 0

    def test_unsure_pixels_are_background(self):
        trainer, batch = make_diffrect(), as_batch()
        unsure, strong = 0.5 * torch.ones(4, 2, 32, 32), sure_logits()
        unsure[:, 1] = 1.0  # probability 0.62, below 0.833
        _, terms = trainer.segmentation_loss(batch, unsure, strong, weight=1.0)
        background = cross_entropy_and_dice(strong[2:], torch.zeros(2, 1, 32, 32))
        assert terms["consistency"].item() == pytest.approx(background.item(), rel=1e-4)

    def test_confidence_threshold_is_an_option(self):
        trainer, batch = make_diffrect(confidence_threshold=0.3), as_batch()
        unsure, strong = 0.5 * torch.ones(4, 2, 32, 32), sure_logits()
        unsure[:, 1] = 1.0  # n = (0.62 - 0.38) / 0.62 = 0.39
        _, terms = trainer.segmentation_loss(batch, unsure, strong, weight=1.0)
        foreground = cross_entropy_and_dice(strong[2:], torch.ones(2, 1, 32, 32))
        assert terms["consistency"].item() == pytest.approx(foreground.item(), rel=1e-4)


class TestRectifierLoss:
    def test_ignored_pixels_are_rectified_to_themselves_and_in_no_calibration(self, monkeypatch):
        trainer, batch = make_diffrect(), as_batch()
        batch.labels[:, :, :20] = IGNORED_LABEL
        seen, reconstruct = [], trainer._reconstruct
        monkeypatch.setattr(trainer, "_reconstruct", lambda *inputs: seen.append(inputs) or reconstruct(*inputs))
        weak, strong = pseudo_labels(sure_logits()), pseudo_labels(sure_logits(seed=3))
        _, terms = trainer.rectifier_loss(batch, weak, strong, 0.1)
        _, labels, better, calibration = seen[0]
        assert torch.equal(better[:2, :, :20], labels[:2, :, :20])
        assert torch.equal(better[:2, :, 20:], batch.labels[:, :, 20:])
        known = dice_loss(one_hot(weak[:2, :, 20:]), one_hot(batch.labels[:, :, 20:]))
        assert calibration.item() == terms["calibration"].item() == pytest.approx(999 * known.item(), rel=1e-4)

    def parts(self, trainer, batch, weight, num_classes=2, strong_target="rectified"):
        """The loss of the trainer and the expected one, with the same random numbers."""
        weak_labels, strong_labels = (pseudo_labels(sure_logits(4, num_classes, seed)) for seed in (4, 5))
        torch.manual_seed(6)
        loss, _ = trainer.rectifier_loss(batch, weak_labels, strong_labels, weight)

        torch.manual_seed(6)
        rectifier, labelled = trainer.network.rectifier, batch.labelled
        better = torch.cat([batch.labels, weak_labels[labelled:]])
        time = 999 * dice_loss(one_hot(weak_labels[:labelled], num_classes), one_hot(batch.labels, num_classes))
        weak = rectifier.reconstruct(batch.images, weak_labels, better, time)
        target = pseudo_labels(weak.logits) if strong_target == "rectified" else weak_labels
        time = 999 * dice_loss(one_hot(strong_labels[labelled:], num_classes), one_hot(target[labelled:], num_classes))
        strong = rectifier.reconstruct(batch.strong_views[0], strong_labels, weak_labels, time)
        weak_loss = (
            cross_entropy_and_dice(weak.logits[:labelled], batch.labels) + ((weak.latent - weak.target) ** 2).mean()
        )
        strong_loss = (
            cross_entropy_and_dice(strong.logits[labelled:], target[labelled:])
            + negative_learning(strong.logits, weak.logits)
            + ((strong.latent - strong.target) ** 2).mean()
        )
        return loss.item(), (weak_loss + weight * strong_loss).item()

    @pytest.mark.parametrize(("num_classes", "labelled"), [(2, 2), (2, 1), (4, 3)])
    def test_is_weak_to_ground_truth_plus_weighted_strong_to_weak(self, num_classes, labelled):
        trainer = make_diffrect(make_networks(num_classes, dropout=False))
        loss, expected = self.parts(trainer, as_batch(labelled, 4 - labelled, num_classes), 0.07, num_classes)
        assert loss == pytest.approx(expected, rel=1e-4)

    def test_target_of_the_strong_view_can_be_the_segmenters_own_label(self):
        networks = make_networks(dropout=False)
        networks.rectifier.head.weight.data *= 20  # sure of its labels, which then differ from the segmenter's
        rectified = make_diffrect(networks)
        weak = make_diffrect(networks, strong_target="weak")
        losses = [
            self.parts(rectified, as_batch(), 1.0),
            self.parts(weak, as_batch(), 1.0, strong_target="weak"),
        ]
        for loss, expected in losses:
            assert loss == pytest.approx(expected, rel=1e-4)
        assert losses[0][0] != pytest.approx(losses[1][0], rel=1e-3)

    def test_without_unlabelled_images_it_is_the_labelled_part(self):
        trainer, batch = make_diffrect(make_networks(dropout=False)), as_batch(unlabelled=0)
        weak_labels = pseudo_labels(sure_logits(2))
        torch.manual_seed(6)
        loss, _ = trainer.rectifier_loss(batch, weak_labels, None, weight=0.5)
        torch.manual_seed(6)
        time = 999 * dice_loss(one_hot(weak_labels), one_hot(batch.labels))
        weak = trainer.network.rectifier.reconstruct(batch.images, weak_labels, batch.labels, time)
        latent = ((weak.latent - weak.target) ** 2).mean()
        expected = cross_entropy_and_dice(weak.logits, batch.labels) + latent
        assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


class TestCalibration:
    LABELS = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    BETTER = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    # Background: 1 - 2 * 2 / (2 + 3) = 1/5, foreground: 1 - 2 * 1 / (2 + 1) = 1/3; their mean is 4/15.

    @pytest.mark.parametrize(("calibration", "value"), [("dice_loss", 999 * 4 / 15), ("dice", 999 * 11 / 15)])
    def test_is_999_times_the_mean_dice_loss_of_the_classes(self, calibration, value):
        trainer = make_diffrect(calibration=calibration)
        assert trainer._calibration(self.LABELS, self.BETTER).item() == pytest.approx(value, rel=1e-4)

    def test_takes_the_batch_as_one_image(self):
        trainer = make_diffrect()
        labels = torch.cat([self.LABELS, 1 - self.LABELS])
        better = torch.cat([self.BETTER, 1 - self.LABELS])
        # Background: 1 - 2 * 4 / (4 + 5) = 1/9, foreground: 1 - 2 * 3 / (4 + 3) = 1/7; their mean is 8/63.
        assert trainer._calibration(labels, better).item() == pytest.approx(999 * 8 / 63, rel=1e-4)

    def test_is_zero_for_equal_labels_even_where_a_class_is_missing(self):
        trainer = make_diffrect(make_networks(4))
        assert trainer._calibration(self.LABELS, self.LABELS).item() == pytest.approx(0, abs=1e-3)


class TestRectifiedLoss:
    def test_asks_the_segmenter_for_what_the_rectifier_samples(self):
        trainer, batch = make_diffrect(make_networks(dropout=False)), as_batch(1, 3)
        trainer.network.rectifier.head.weight.data *= 20
        weak_labels = pseudo_labels(sure_logits())
        torch.manual_seed(6)
        loss = trainer.rectified_loss(batch, weak_labels)
        torch.manual_seed(6)
        time = 999 * dice_loss(one_hot(weak_labels[:1]), one_hot(batch.labels))
        sampled = trainer.network.rectifier.rectify(batch.images, weak_labels, time)
        logits = trainer.network.segmenter.logits(batch.images)
        expected = cross_entropy_and_dice(logits[1:], pseudo_labels(sampled[1:]))
        assert loss.item() == pytest.approx(expected.item(), rel=1e-4)

    def test_has_no_gradient_for_the_rectifier(self):
        trainer = make_diffrect()
        trainer.rectified_loss(as_batch(), pseudo_labels(sure_logits())).backward()
        assert all(parameter.grad is None for parameter in trainer.network.rectifier.parameters())
        assert all(parameter.grad is not None for parameter in trainer.network.segmenter.parameters())


class Updates:
    """What each update of a trainer gave a gradient to, and what it moved."""

    def __init__(self, trainer):
        self.gradients, self.moved, self.losses = [], [], []
        update = trainer.update

        def watched(loss, optimizer):
            before = copy.deepcopy(trainer.network)
            update(loss, optimizer)
            parameters = dict(trainer.network.named_parameters())
            self.gradients.append({name for name, parameter in parameters.items() if parameter.grad is not None})
            self.moved.append(moved(before, trainer.network))
            self.losses.append(loss.item())

        trainer.update = watched


def names(network, part):
    return {name for name, _ in network.named_parameters() if name.startswith(f"{part}.")}


class TestUpdates:
    def test_each_update_reaches_its_own_network_alone(self):
        trainer = make_diffrect(refine_start=-1)
        updates = Updates(trainer)
        run(trainer)
        segmenter, rectifier = names(trainer.network, "deployed"), names(trainer.network, "rectifier")
        assert updates.gradients == [segmenter, rectifier, segmenter]
        assert [{name.split(".")[0] for name in names} for names in updates.moved] == [
            {"deployed"},
            {"rectifier"},
            {"deployed"},
        ]

    def test_autocast_leaves_no_parameter_without_gradient(self, cpu_with_bfloat16):
        trainer = make_diffrect(refine_start=-1, amp=True)
        updates = Updates(trainer)
        run(trainer)
        segmenter, rectifier = names(trainer.network, "deployed"), names(trainer.network, "rectifier")
        assert updates.gradients == [segmenter, rectifier, segmenter]

    def test_loss_to_show_is_the_sum_of_the_updates(self):
        trainer = make_diffrect(refine_start=-1, rectified_weight=0.5)
        updates = Updates(trainer)
        (output,) = run(trainer)
        assert output["loss"] == pytest.approx(sum(updates.losses), rel=1e-5)
        assert updates.losses[2] == pytest.approx(0.5 * output["rectified"].item(), rel=1e-5)

    def test_third_update_begins_after_a_share_of_the_run(self):
        trainer = make_diffrect(batches=[make_batch(size=32, strong=True)] * 3, max_epochs=2, refine_start=0.5)
        # Shares 0, 1/6, 2/6, 3/6 are not above one half; as in the release, which begins above iteration 1000.
        assert ["rectified" in output for output in run(trainer)] == [False, False, False, False, True, True]

    def test_by_default_the_third_update_begins_after_a_thirtieth(self):
        assert make_diffrect().refine_start == pytest.approx(1000 / 30_000)

    def test_weight_ramps_up_over_the_run(self):
        trainer = make_diffrect(
            batches=[make_batch(size=32, strong=True)] * 2, max_epochs=2, consistency_weight=ConsistencyWeight(0.1)
        )
        weights = [output["consistency_weight"] for output in run(trainer)]
        assert weights == pytest.approx([0.1 * math.exp(-5 * (1 - share) ** 2) for share in (0, 0.25, 0.5, 0.75)])

    @pytest.mark.parametrize(
        ("num_classes", "labelled", "unlabelled"), [(2, 1, 1), (3, 2, 1), (4, 1, 3), (5, 2, 2), (2, 1, 0), (3, 2, 0)]
    )
    def test_works_for_any_classes_and_batch_sizes(self, num_classes, labelled, unlabelled):
        batch = make_batch(labelled, unlabelled, num_classes, size=32, strong=True)
        trainer = make_diffrect(make_networks(num_classes), [batch], max_epochs=2, refine_start=0.0)
        outputs = run(trainer)
        assert all(math.isfinite(output["loss"]) for output in outputs)
        assert ("rectified" in outputs[-1]) == (unlabelled > 0)

    def test_labels_only_trains_both_networks(self):
        trainer = make_diffrect(batches=[make_batch(2, 0, size=32, strong=True)], refine_start=-1)
        updates = Updates(trainer)
        (output,) = run(trainer)
        assert len(updates.losses) == 2
        assert set(output) == {
            "loss", "consistency_weight", "supervised", "rectifier", "rectifier_latent", "calibration",
        }  # fmt: skip

    def test_needs_strong_images(self):
        with pytest.raises(InputError, match="strong_image"):
            run(make_diffrect(batches=[make_batch(size=32)]))

    @pytest.mark.parametrize("arguments", [{"calibration": "iou"}, {"strong_target": "truth"}])
    def test_unknown_option_is_refused(self, arguments):
        with pytest.raises(InputError, match=next(iter(arguments))):
            make_diffrect(**arguments)


@pytest.mark.learning
def test_learns_a_small_set():
    networks = make_networks()
    learnt = learn(DiffRect, networks, epochs=15, strong=True, refine_start=0.5, **optimizers(networks, 0.1, 0.9))
    for name in ("supervised", "rectifier"):
        assert learnt.outputs[-1][name] < 0.4 * learnt.outputs[0][name]
    assert "rectified" in learnt.outputs[-1]
    assert learnt.dice > 0.8


class TestOverlay:
    OVERLAY = ConfigParser.load_config_file(config_file("methods/diffrect.yaml"))

    def strong_pipeline(self):
        parser = ConfigParser({"transforms": self.OVERLAY["+train#preprocessing#transforms"]})
        return Compose(parser.get_parsed_content("transforms"))

    def test_strong_views_are_close_to_the_image_in_the_same_place(self):
        pipeline = self.strong_pipeline()
        pipeline.set_random_state(0)
        image = torch.rand(3, 16, 16)
        changes = []
        for _ in range(50):
            item = pipeline({"image": image.clone()})
            assert torch.equal(item["image"], image)
            assert item["strong_image"].shape == image.shape
            changes.append(float((item["strong_image"] - image).abs().mean()))
        assert min(changes) < 0.005
        assert 0.02 < max(changes) < 0.3

    TINY = {
        "files": ("train.yaml", "methods/diffrect.yaml"),
        "segmentation_epochs": 2,
        "network_def#widths": [4, 8, 8, 8, 8],
        "network_def#denoiser_widths": [8, 8],
        "run_name": "run",
    }

    @pytest.fixture(scope="class")
    def data(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("data")
        write_phantom_dataset(folder, labelled=2, unlabelled=2, validation=1, test=1, image_size=32)
        return folder

    @pytest.fixture(scope="class")
    def trained(self, data, tmp_path_factory):
        return train(data, tmp_path_factory.mktemp("runs"), **self.TINY)

    def test_deployed_model_is_the_unet(self, trained):
        content = load_checkpoint(trained / "model.pt")
        assert content["architecture"]["network"] == "UNet"
        UNet.from_architecture(content["architecture"]).load_state_dict(content["model"])

    def test_learning_rate_falls_for_the_segmenter_alone(self, trained):
        objects = load_checkpoint(trained / "checkpoints" / "segmentation_checkpoint.pt")["objects"]
        assert set(objects) == {"network", "rectifier", "network_schedule"}
        assert objects["rectifier"]["param_groups"][0]["lr"] == 0.01
        assert objects["network_schedule"]["last_epoch"] == 2
        for name in ("network", "rectifier"):
            group = objects[name]["param_groups"][0]
            assert (group["momentum"], group["weight_decay"]) == (0.9, 1e-4)
