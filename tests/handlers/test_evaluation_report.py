from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.data.meta_tensor import MetaTensor
from monai.engines import SupervisedEvaluator
from PIL import Image

from custom.errors import InputError
from custom.handlers.evaluation_report import (
    EvaluationReport,
    _Case,
    _select_cases,
    format_summary,
    format_table,
    score_image,
)

BRANCHES = ("mean", "image_branch", "mask_branch")


def block(left: int, width: int, value: float = 1.0, shape: tuple[int, int] = (12, 9)) -> torch.Tensor:
    """`width` columns of `value` in an image 12 wide and 9 high, [W, H]."""
    mask = torch.zeros(shape)
    mask[left : left + width] = value
    return mask


class Answer(torch.nn.Module):
    """A network that answers from its own input: each channel of the image is the prediction of one branch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image[:, : self.channels]


def evaluate(tmp_path, cases, channels=3, names=None, sets=None, run_dir="report", **options) -> EvaluationReport:
    """Run a report over `cases`, (predictions of three branches, truth) each."""
    names = names or [f"{number}.png" for number in range(len(cases))]
    items = []
    for (predictions, truth), name in zip(cases, names, strict=True):
        image = MetaTensor(torch.stack(list(predictions)), meta={"filename_or_obj": str(tmp_path / name)})
        items.append({"image": image, "label": truth[None]} | ({"set": sets[len(items)]} if sets else {}))
    report = EvaluationReport(tmp_path / run_dir, branches=BRANCHES[:channels], **options)
    SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(items), batch_size=2),
        network=Answer(channels),
        val_handlers=[report],
        decollate=True,
    ).run()
    return report


def shifted(shift: int):
    """Truth is columns 2 to 5; the mean is off by `shift`, branch 1 is right and branch 2 is empty."""
    return (block(2 + shift, 4), block(2, 4), block(0, 0)), block(2, 4)


def test_scores_of_a_shifted_block():
    (mean, *_), truth = shifted(1)
    scores = score_image(mean[None], truth)
    assert scores["mean.dice"] == pytest.approx(3 / 4)
    assert scores["mean.iou"] == pytest.approx(3 / 5)
    assert scores["mean.hd95"] == 1.0
    assert scores["mean.foreground"] == scores["truth.foreground"] == pytest.approx(4 / 12)


def test_sets_are_scored_on_their_own_besides(tmp_path):
    report = evaluate(tmp_path, [shifted(1), shifted(0), shifted(2)], sets=["near", "exact", "near"])
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert {name: part["images"] for name, part in summary["sets"].items()} == {"near": 2, "exact": 1}
    assert summary["sets"]["near"]["branches"]["mean"]["dice"]["mean"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert summary["sets"]["exact"]["branches"]["mean"]["dice"]["mean"] == 1
    assert [row["set"] for row in report.rows] == ["near", "exact", "near"]
    table = format_summary(summary)
    assert "mean, near (2 images)   62.50" in table
    assert "mean, exact (1 images)  100.00" in table


def test_a_summary_of_several_classes_shows_each(tmp_path):
    case = (block(0, 4) + block(4, 4, 2.0),), block(0, 4) + block(6, 4, 2.0)
    summary = evaluate(tmp_path, [case], channels=1, num_classes=3).summary
    lines = {line.split("  ")[0]: line for line in format_summary(summary).splitlines()}
    assert " 100.00 [" in lines["mean, class 1"]
    assert " 50.00 [" in lines["mean, class 2"]


def test_prediction_of_exactly_one_half_is_background():
    assert score_image(block(0, 12, 0.5)[None], block(2, 4))["mean.foreground"] == 0


def test_both_sides_empty_is_perfect_except_by_the_released_rule():
    scores = score_image(block(0, 0)[None], block(0, 0))
    assert (scores["mean.dice"], scores["mean.iou"], scores["mean.hd95"]) == (1, 1, 0)
    assert scores["release.dice"] == 0
    assert scores["mean.one_side_empty"] == 0


@pytest.mark.parametrize("prediction, truth", [(block(0, 0), block(2, 4)), (block(2, 4), block(0, 0))])
def test_one_empty_side_is_worst_and_marked(prediction, truth):
    scores = score_image(prediction[None], truth)
    assert (scores["mean.dice"], scores["mean.iou"], scores["mean.hd95"]) == (0, 0, 15)  # sqrt(12**2 + 9**2)
    assert scores["mean.one_side_empty"] == 1


def test_disagreement_is_between_the_second_and_third_branch():
    scores = score_image(torch.stack([block(0, 12), block(0, 3), block(0, 6)]), block(0, 3), BRANCHES)
    assert scores["disagreement"] == pytest.approx(3 / 12)


def test_released_distance_compares_rows_of_the_picture_not_columns():
    # Shifting the block along x changes every row of the picture by two pixels.
    assert score_image(block(3, 4)[None], block(2, 4))["release.row_hausdorff"] == pytest.approx(0.95 * math.sqrt(2))
    # Shifting along y only reorders the rows.
    truth = torch.zeros(12, 9)
    truth[2:6, 1:4] = 1
    assert score_image(truth.roll(2, dims=1)[None], truth)["release.row_hausdorff"] == 0


@pytest.mark.parametrize("num_classes", [2, 3])
def test_what_is_predicted_at_ignored_pixels_changes_no_score(num_classes):
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(num_classes, (12, 9), generator=generator).float()
    truth[:, :4] = 255
    predictions = (num_classes - 1) * torch.rand(3, 12, 9, generator=generator)
    others = predictions.clone()
    others[..., :4] = num_classes - 1 - others[..., :4]
    scores = score_image(predictions, truth, BRANCHES, num_classes)
    assert scores == score_image(others, truth, BRANCHES, num_classes)
    assert 0 < scores["mean.dice"] < 1 and scores["disagreement"] > 0


def test_right_on_all_decided_pixels_is_perfect():
    truth = block(2, 4)
    truth[4:8] = 255  # half of the block, and as much beside it
    scores = score_image((block(2, 2) + block(7, 1))[None], truth)
    assert (scores["mean.dice"], scores["mean.iou"], scores["mean.hd95"]) == (1, 1, 0)
    assert scores["release.iou"] == 1 and scores["mean.one_side_empty"] == 0


def test_shares_are_shares_of_the_decided_pixels():
    truth = block(0, 3) + block(6, 6, 255.0)
    scores = score_image(torch.stack([block(0, 12), block(0, 2), block(1, 9)]), truth, BRANCHES)
    assert scores["truth.foreground"] == pytest.approx(3 / 6)
    assert scores["mean.foreground"] == 1
    assert scores["disagreement"] == pytest.approx(5 / 6)  # columns 0 and 2 to 5


def test_an_image_without_decided_pixels_has_no_shares():
    scores = score_image(block(0, 3)[None], block(0, 12, 255.0))
    assert math.isnan(scores["mean.foreground"]) and math.isnan(scores["truth.foreground"])


def test_a_report_on_ignored_pixels_is_written_with_all_its_files(tmp_path):
    cases = [(shifted(shift)[0], block(2, 4) + block(8, 4, 255.0)) for shift in (0, 1)]
    report = evaluate(tmp_path, [*cases, (shifted(0)[0], block(0, 12, 255.0))])
    assert [row["mean.dice"] for row in report.rows] == [1, 0.75, 1]
    assert report.summary["truth"]["foreground"]["images"] == 2
    assert {file.name for file in (tmp_path / "report").iterdir()} == {"per_image.csv", "summary.json", "cases.png"}


@pytest.mark.parametrize("value", [2.0, 254.0, 256.0, -1.0, 0.5])
def test_values_that_are_neither_class_nor_ignored_are_refused(value):
    with pytest.raises(InputError, match="values other than the class indices 0 to 1"):
        score_image(block(0, 3)[None], block(0, 3) + block(5, 1, value) + block(7, 2, 255.0))


def test_multi_class_scores_average_over_foreground_classes():
    truth = block(0, 4) + block(4, 4, 2.0)
    prediction = block(0, 4) + block(4, 2, 2.0)  # class 1 right, half of class 2
    scores = score_image(prediction[None], truth, num_classes=3)
    assert scores["mean.dice_class_1"] == 1
    assert scores["mean.dice_class_2"] == pytest.approx(2 / 3)
    assert scores["mean.dice"] == pytest.approx(5 / 6)
    assert not any(name.startswith("release") for name in scores)


def test_excluded_class_does_not_spoil_the_mean_over_classes():
    truth = block(0, 4) + block(4, 4, 2.0)
    scores = score_image(block(1, 4)[None], truth, num_classes=3, empty="exclude")
    assert math.isnan(scores["mean.hd95_class_2"])
    assert scores["mean.hd95"] == scores["mean.hd95_class_1"] == 1


def test_label_that_is_not_a_class_index_is_refused(tmp_path):
    (predictions, truth) = shifted(0)
    with pytest.raises(InputError, match=r"7\.png: the label holds values other than the class indices 0 to 1"):
        evaluate(tmp_path, [(predictions, truth * 254)], names=["7.png"])


def test_unnamed_branch_is_refused():
    with pytest.raises(InputError, match="'pred' has 3 channels but `branches` names 1"):
        score_image(torch.zeros(3, 12, 9), block(2, 4))


def test_csv_has_a_line_for_each_image(tmp_path):
    evaluate(tmp_path, [shifted(shift) for shift in (0, 1, 2)])
    with open(tmp_path / "report" / "per_image.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == ["0.png", "1.png", "2.png"]
    assert [float(row["mean.dice"]) for row in rows] == [1, 0.75, 0.5]
    assert [float(row["mask_branch.hd95"]) for row in rows] == [15, 15, 15]


def test_files_of_several_folders_stay_distinct(tmp_path):
    report = evaluate(tmp_path, [shifted(0), shifted(1)], names=["a/images/1.png", "b/images/1.png"])
    assert [row["file"] for row in report.rows] == ["a/images/1.png", "b/images/1.png"]


def test_summary_holds_statistics_and_details(tmp_path):
    report = evaluate(tmp_path, [shifted(shift) for shift in (0, 1, 2)], details={"seed": 5}, title="Phantom")
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert summary == report.summary
    assert (summary["title"], summary["details"], summary["images"]) == ("Phantom", {"seed": 5}, 3)
    dice = summary["branches"]["mean"]["dice"]
    assert dice["mean"] == dice["median"] == pytest.approx(0.75)
    assert dice["standard_deviation"] == pytest.approx(math.sqrt(0.125 / 3))
    assert (dice["low"], dice["high"]) == (0.5, 1)  # three images: the interval spans them
    assert summary["branches"]["mean"]["images_with_one_side_empty"] == 0
    assert summary["branches"]["mask_branch"]["images_with_one_side_empty"] == 3
    assert summary["disagreement"]["mean"] == pytest.approx(4 / 12)
    assert summary["release"]["row_hausdorff"]["median"] == pytest.approx(0.95 * math.sqrt(2))


def test_summary_is_valid_json_when_no_image_has_a_distance(tmp_path):
    evaluate(tmp_path, [shifted(0)], empty="exclude")
    text = (tmp_path / "report" / "summary.json").read_text()
    assert "NaN" not in text
    hd95 = json.loads(text)["branches"]["mask_branch"]["hd95"]
    assert (hd95["mean"], hd95["images"]) == (None, 0)


def test_single_branch_has_no_disagreement(tmp_path):
    report = evaluate(tmp_path, [shifted(0)], channels=1)
    assert "disagreement" not in report.summary
    assert list(report.summary["branches"]) == ["mean"]


def test_sheet_shows_a_row_for_each_selected_case(tmp_path):
    evaluate(tmp_path, [shifted(shift % 4) for shift in range(4)], run_dir="four", best=1, median=1, worst=1)
    evaluate(tmp_path, [shifted(shift % 4) for shift in range(4)], run_dir="one", best=1, median=0, worst=0)
    three_rows, one_row = (Image.open(tmp_path / name / "cases.png") for name in ("four", "one"))
    assert three_rows.width == one_row.width
    row_height = (three_rows.height - one_row.height) / 2
    assert 120 < row_height < 200  # one tile, 160 x 120, with its texts


def test_second_run_starts_afresh_and_leaves_no_partial_files(tmp_path):
    report = evaluate(tmp_path, [shifted(0)])
    report.start(None)
    with pytest.raises(InputError, match="saw no image"):
        report.finish(None)
    names = sorted(path.name for path in (tmp_path / "report").iterdir())
    assert names == ["cases.png", "per_image.csv", "summary.json"]


def test_unlabelled_image_is_refused(tmp_path):
    report = EvaluationReport(tmp_path)

    class Engine:
        class state:
            output = [{"image": torch.zeros(3, 12, 9), "label": None, "pred": torch.zeros(1, 12, 9)}]
            batch = output

    with pytest.raises(InputError, match="image_00001 has no label"):
        report.collect(Engine)


def test_folder_that_cannot_be_made_is_refused_before_the_run(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="output_dir .* cannot be made"):
        evaluate(tmp_path, [shifted(0)], run_dir="file/report")


@pytest.mark.parametrize(
    "count, expected",
    [
        (1, {"best 1": 0}),
        (2, {"best 1": 0, "worst 1": 1}),
        (3, {"best 1": 0, "median 1": 1, "worst 1": 2}),
        (5, {"best 1": 0, "best 2": 1, "median 1": 2, "worst 1": 4, "worst 2": 3}),
    ],
)
def test_few_images_are_shared_out_between_the_groups(count, expected):
    assert dict(_select_cases(count, best=3, median=3, worst=3)) == expected


def test_median_cases_lie_in_the_middle_of_the_ranking():
    selected = dict(_select_cases(101, best=3, median=3, worst=3))
    assert [selected[f"median {place}"] for place in (1, 2, 3)] == [49, 50, 51]
    assert selected["worst 1"] == 100


@pytest.mark.parametrize("count", range(1, 12))
def test_no_case_is_shown_twice(count):
    indices = [index for _, index in _select_cases(count, best=3, median=3, worst=3)]
    assert len(set(indices)) == len(indices) and set(indices) <= set(range(count))


def test_image_repeated_by_the_sampler_of_several_processes_counts_once(tmp_path, monkeypatch):
    def collected(name, shift):
        return evaluate(tmp_path, [shifted(shift)], names=[name], run_dir=name)._cases

    report = EvaluationReport(tmp_path / "report", branches=BRANCHES)
    report.start(None)
    report._cases = [*collected("c.png", 1), *collected("a.png", 0)]
    other_process = [*collected("b.png", 2), *collected("a.png", 0)]
    monkeypatch.setattr("ignite.distributed.get_world_size", lambda: 2)
    monkeypatch.setattr("ignite.distributed.all_gather", lambda cases: [cases, other_process])
    report.finish(None)
    assert [row["mean.dice"] for row in report.rows] == [1, 0.5, 0.75]


def test_table_lines_up_methods():
    def statistics(mean):
        return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}

    method = {"dice": statistics(0.8), "iou": statistics(0.7), "hd95": statistics(12.0)}
    missing = {"dice": statistics(0.5), "iou": statistics(0.4), "hd95": {"mean": None, "low": None, "high": None}}
    header, rule, first, second = format_table({"SemiGDA": method, "mean teacher": missing}).split("\n")
    assert first.split(maxsplit=1)[1] == "80.00 [70.00, 90.00]  70.00 [60.00, 80.00]  12.00 [11.90, 12.10]"
    assert second.rstrip().endswith("-")
    assert len(header) == len(rule) == len(first) == len(second)
    assert header.index("Dice") == first.index("80.00") == second.index("50.00")


def test_kept_case_restores_labels_exactly():
    labels = torch.stack([block(2, 4), block(3, 4)])
    image, restored = _Case.keep({}, torch.full((3, 12, 9), 0.5), labels).restore()
    assert np.array_equal(restored, labels.numpy())
    assert image.shape == (3, 160, 120) and abs(image - 0.5).max() < 0.02
