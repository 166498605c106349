from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.losses import ConsistencyWeight
from custom.methods import MutualCorrection
from custom.methods.mcf import differing, rectification
from custom.networks import NetworkPair
from tests.methods.conftest import make_batch, make_trainer, make_unet, run

RAMP = 0.1 * math.exp(-5)


class Table(nn.Module):
    """Answers every image with the same class probabilities, those of a row of pixels, [pixels][K]."""

    def __init__(self, pixels):
        super().__init__()
        self.table = nn.Parameter(torch.tensor(pixels).T[None, :, None].log())

    def logits(self, images):
        return self.table.expand(len(images), -1, -1, -1)


def logits_of(pixels):
    return torch.tensor(pixels).T[None, :, None].log()


def row(*values):
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)


def batch_of(*label, unlabelled=1):
    batch = {"labelled": {"image": torch.zeros(1, 3, 1, len(label)), "label": row(*label)}}
    if unlabelled:
        batch["unlabelled"] = {"image": torch.zeros(unlabelled, 3, 1, len(label))}
    return batch


def outcome(network, batch, **arguments):
    (output,) = run(make_trainer(MutualCorrection, network, [batch], **arguments))
    return {name: float(value) for name, value in output.items()}


GOOD = [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]
POOR = [[0.6, 0.4], [0.7, 0.3], [0.4, 0.6]]  # differs at the second pixel


def test_networks_differ_where_their_most_probable_classes_do_and_the_label_is_decided():
    first, second = logits_of([[0.9, 0.1]] * 3), logits_of([[0.8, 0.2], [0.4, 0.6], [0.1, 0.9]])
    assert differing(first, second, row(0, 0, IGNORED_LABEL)).flatten().tolist() == [False, True, False]


def test_rectification_is_the_squared_error_of_the_foreground_where_it_counts():
    where = row(1, 1, 0).bool()
    value = rectification(logits_of(GOOD), row(1, 1, 0), where)
    assert value.item() == pytest.approx((0.9**2 + 0.2**2) / 2)


def test_rectification_of_more_classes_is_half_the_squared_distance_and_nothing_where_none_counts():
    logits, label = logits_of([[0.2, 0.5, 0.3]]), row(2)
    value = rectification(logits, label, row(1).bool())
    assert value.item() == pytest.approx((0.2**2 + 0.5**2 + 0.7**2) / 2)
    assert rectification(logits, label, row(0).bool()).item() == 0


def test_the_loss_of_a_batch():
    output = outcome(NetworkPair(Table(GOOD), Table(POOR)), batch_of(0, 1, 1))
    assert output["second_is_better"] == 0
    assert output["difference_share"] == pytest.approx(1 / 3)
    assert output["rectified_first"] == pytest.approx(0.2**2)
    assert output["rectified_second"] == pytest.approx(0.7**2)
    # p^10 / (p^10 + (1 - p)^10) of the better one, against the other one's p; both classes have the same error.
    target = [p**10 / (p**10 + (1 - p) ** 10) for _, p in GOOD]
    errors = [(p - q) ** 2 for (_, p), q in zip(POOR, target, strict=True)]
    assert output["consistency"] == pytest.approx(sum(errors) / 3, rel=1e-4)
    expected = output["supervised_first"] + output["supervised_second"]
    expected += 0.25 * (output["rectified_first"] + output["rectified_second"]) + RAMP * output["consistency"]
    assert output["loss"] == pytest.approx(expected, rel=1e-5)


def test_with_more_classes_the_target_is_sharpened_over_all_of_them():
    teacher, learner = [0.2, 0.5, 0.3], [0.4, 0.3, 0.3]
    output = outcome(NetworkPair(Table([learner]), Table([teacher])), batch_of(1), temperature=0.5)
    target = [p**2 / sum(other**2 for other in teacher) for p in teacher]
    errors = [(p - q) ** 2 for p, q in zip(learner, target, strict=True)]
    assert output["second_is_better"] == 1
    assert output["consistency"] == pytest.approx(sum(errors) / 3, rel=1e-4)


@pytest.mark.parametrize(("first", "second", "learner"), [(GOOD, POOR, "second"), (POOR, GOOD, "first")])
def test_the_better_network_gets_no_gradient_from_unlabelled_rows(first, second, learner):
    pair = NetworkPair(Table(first), Table(second))
    trainer = make_trainer(MutualCorrection, pair, [batch_of(0, 1, 1)])
    gradients = {}

    def step(batch, weight):
        loss, terms = trainer.loss(batch, weight)
        terms["consistency"].backward(retain_graph=True)
        gradients.update({name: getattr(pair, name).table.grad.clone() for name in ("first", "second")})
        return loss, terms

    trainer.step = step
    run(trainer)
    assert {name for name, gradient in gradients.items() if gradient.any()} == {learner}


def test_on_a_tie_the_second_network_teaches():
    output = outcome(NetworkPair(Table(GOOD), Table(GOOD)), batch_of(0, 1, 1))
    assert output["second_is_better"] == 1


def test_the_foreground_alone_may_judge_and_the_cross_entropy_where_there_is_none():
    # The first one is better at the background, the second one at the foreground.
    first, second = [[0.99, 0.01]] * 3 + [[0.6, 0.4]], [[0.6, 0.4]] * 3 + [[0.1, 0.9]]

    def second_is_better(label, **arguments):
        return outcome(NetworkPair(Table(first), Table(second)), batch_of(*label), **arguments)["second_is_better"]

    def dice(p, y, smooth=1e-5):
        products, squares = sum(a * b for a, b in zip(p, y, strict=True)), sum(a * a for a in [*p, *y])
        return 1 - (2 * products + smooth) / (squares + smooth)

    label = (0, 0, 0, 1)
    background = [dice([p[0] for p in pixels], [1, 1, 1, 0]) for pixels in (first, second)]
    foreground = [dice([p[1] for p in pixels], [0, 0, 0, 1]) for pixels in (first, second)]
    assert second_is_better(label) == (sum(x[1] for x in (background, foreground)) <= background[0] + foreground[0])
    assert second_is_better(label, foreground=True) == (foreground[1] <= foreground[0])
    assert second_is_better((0, 0, 0, 0), foreground=True) == 0


def test_ignored_pixels_have_no_say_in_who_is_better():
    pair = NetworkPair(Table(GOOD), Table([*POOR[:2], [0.0001, 0.9999]]))
    for foreground in (False, True):
        trainer = make_trainer(MutualCorrection, pair, [batch_of(0, 1, IGNORED_LABEL)], foreground=foreground)
        for network in (pair.first, pair.second):
            whole, part = network.logits(torch.zeros(1)), network.logits(torch.zeros(1))[..., :2]
            judged = trainer.error(whole, row(0, 1, IGNORED_LABEL)), trainer.error(part, row(0, 1))
            assert judged[0].item() == pytest.approx(judged[1].item())


def test_labels_only_leave_the_supervised_losses_and_the_rectification():
    pair = NetworkPair(make_unet(), make_unet(seed=1))
    output = outcome(pair, make_batch(2, 0))
    terms = {f"{kind}_{name}" for kind in ("supervised", "rectified") for name in ("first", "second")}
    assert set(output) == {"loss", "consistency_weight", "difference_share", *terms}
    supervised = output["supervised_first"] + output["supervised_second"]
    rectified = output["rectified_first"] + output["rectified_second"]
    assert output["loss"] == pytest.approx(supervised + 0.25 * rectified)


def test_a_scale_of_one_is_the_released_weight_of_labels():
    arguments = {"consistency_weight": ConsistencyWeight(0.0)}
    half, whole = (
        outcome(NetworkPair(Table(GOOD), Table(POOR)), batch_of(0, 1, 1), loss_scale=scale, **arguments)
        for scale in (0.5, 1.0)
    )
    assert whole["loss"] == pytest.approx(2 * half["loss"], rel=1e-5)
    expected = whole["supervised_first"] + whole["supervised_second"] + 0.5 * (0.2**2 + 0.7**2)
    assert whole["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("option", "value"), [("rectification_weight", -1.0), ("temperature", 0.0), ("loss_scale", math.nan)]
)
def test_bad_values_are_refused_in_one_line(option, value, message_of):
    with pytest.raises(InputError, match=f"{option} {value}: give") as error:
        outcome(NetworkPair(Table(GOOD), Table(POOR)), batch_of(0, 1, 1), **{option: value})
    message_of(error)
