from __future__ import annotations

import math

import pytest
import torch
from ignite.engine import Engine

from custom.handlers import branch_metrics, hard_one_hot


def row(*values):
    """A map of one row, [1, 1, pixels]."""
    return torch.tensor(values, dtype=torch.float32).view(1, 1, -1)


def item(label, *branches):
    return {"pred": torch.cat([row(*branch) for branch in branches]), "label": row(*label)}


def evaluate(items, branches=("mean",), num_classes=2, **options):
    """Metrics over `items`, one a batch."""
    engine = Engine(lambda _engine, batch: [batch])
    for name, metric in branch_metrics(branches, num_classes, **options).items():
        metric.attach(engine, name)
    return engine.run(items).metrics


def test_dice_and_iou_are_means_over_images():
    metrics = evaluate([item([1, 1, 0, 0], [0.9, 0.1, 0.6, 0.0]), item([0, 1, 1, 0], [0.0, 1.0, 1.0, 0.0])])
    assert metrics["dice/mean"] == pytest.approx((0.5 + 1) / 2)
    assert metrics["iou/mean"] == pytest.approx((1 / 3 + 1) / 2)


def test_foreground_is_strictly_above_one_half():
    assert evaluate([item([0, 1], [0.5, 0.51])])["dice/mean"] == 1


def test_every_branch_is_measured_on_its_own_channel():
    metrics = evaluate(
        [item([1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0])],
        branches=("mean", "image_branch", "mask_branch"),
    )
    dice = [metrics[f"dice/{branch}"] for branch in ("mean", "image_branch", "mask_branch")]
    assert dice == pytest.approx([1, 2 / 3, 0])


@pytest.mark.parametrize(
    ("label", "prediction", "dice", "hd95"),
    [([0, 0, 0], [0, 0, 0], 1, 0), ([1, 0, 0], [0, 0, 0], 0, None), ([0, 0, 0], [0, 1, 0], 0, None)],
    ids=["both empty", "prediction empty", "truth empty"],
)
def test_empty_masks(label, prediction, dice, hd95):
    metrics = evaluate([item(label, prediction)])
    assert metrics["dice/mean"] == metrics["iou/mean"] == dice
    diagonal = math.hypot(1, 3)
    assert metrics["hd95/mean"] == pytest.approx(diagonal if hd95 is None else hd95)


def test_hausdorff_distance_is_in_pixels():
    metrics = evaluate([item([1, 0, 0, 0, 0], [0, 0, 0, 1, 0])])
    assert metrics["hd95/mean"] == pytest.approx(3)


def test_three_classes_are_averaged_over_the_foreground():
    metrics = evaluate([item([0, 1, 1, 2], [0.4, 0.6, 1.6, 2.0])], num_classes=3)  # hard: 0, 1, 2, 2
    assert metrics["dice/mean"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert metrics["iou/mean"] == pytest.approx((1 / 2 + 1 / 2) / 2)


def test_hausdorff_distance_can_be_left_out():
    assert set(branch_metrics(["mean"], hausdorff=False)) == {"dice/mean", "iou/mean"}


def test_hard_one_hot_takes_one_branch_apart_into_classes():
    transform = hard_one_hot("second", ("first", "second"), num_classes=3)
    predictions, truths = transform([item([0, 1, 2], [0, 0, 0], [0.2, 1.2, 1.8])])
    assert predictions[0][:, 0].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert torch.equal(truths[0], predictions[0])


@pytest.mark.parametrize("elsewhere", [[0, 0, 0], [1, 1, 1], [0.9, 0, 2.0]])
def test_ignored_pixels_count_neither_as_hit_nor_as_error(elsewhere):
    metrics = evaluate([item([255, 0, 1, 255, 1, 255], [elsewhere[0], 0, 1, elsewhere[1], 1, elsewhere[2]])])
    assert (metrics["dice/mean"], metrics["iou/mean"], metrics["hd95/mean"]) == (1, 1, 0)


def test_errors_beside_ignored_pixels_still_count():
    metrics = evaluate([item([255, 0, 1, 1], [1, 1, 1, 0])])
    assert metrics["dice/mean"] == 0.5
    assert metrics["iou/mean"] == pytest.approx(1 / 3)


def test_labels_that_are_no_class_are_still_refused():
    with pytest.raises(RuntimeError):
        evaluate([item([0, 254], [0, 1])])
