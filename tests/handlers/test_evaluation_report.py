from __future__ import annotations

import csv
import json
import math

import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.data.meta_tensor import MetaTensor
from monai.engines import SupervisedEvaluator
from PIL import Image

from custom.errors import InputError
from custom.handlers import EvaluationReport
from custom.labels import IGNORED_LABEL
from custom.metrics import format_summary

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


def evaluate(
    tmp_path, cases, channels=3, names=None, sets=None, own_size_labels=None, volumes=None, run_dir="report", **options
) -> EvaluationReport:
    """Run a report over `cases`, (predictions of three branches, truth) each."""
    names = names or [f"{number}.png" for number in range(len(cases))]
    items = []
    for (predictions, truth), name in zip(cases, names, strict=True):
        image = MetaTensor(torch.stack(list(predictions)), meta={"filename_or_obj": str(tmp_path / name)})
        item = {"image": image, "label": truth[None]} | ({"set": sets[len(items)]} if sets else {})
        item |= {"volume": volumes[len(items)]} if volumes else {}
        items.append(item | ({"own_size_label": own_size_labels[len(items)][None]} if own_size_labels else {}))
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


def test_dice_at_the_images_own_size_is_there_where_the_label_of_that_size_is(tmp_path):
    labels = [block(4, 8, shape=(24, 18)), block(4, 10, shape=(24, 18))]
    report = evaluate(tmp_path, [shifted(0), shifted(0)], own_size_labels=labels)
    dice = [row["mean.dice_own_size"] for row in report.rows]
    assert dice == pytest.approx([1, 2 * 8 / (8 + 10)])
    assert report.summary["branches"]["mean"]["dice_own_size"]["mean"] == pytest.approx(sum(dice) / 2)
    line = next(line for line in format_summary(report.summary).splitlines() if "own size" in line)
    assert line.split()[-2:] == ["-", "-"]
    assert "own size" not in format_summary(evaluate(tmp_path, [shifted(0)], run_dir="without").summary)


def test_a_summary_of_several_classes_shows_each(tmp_path):
    case = (block(0, 4) + block(4, 4, 2.0),), block(0, 4) + block(6, 4, 2.0)
    summary = evaluate(tmp_path, [case], channels=1, num_classes=3).summary
    lines = {line.split("  ")[0]: line for line in format_summary(summary).splitlines()}
    assert " 100.00 [" in lines["mean, class 1"]
    assert " 50.00 [" in lines["mean, class 2"]


def test_a_report_on_ignored_pixels_is_written_with_all_its_files(tmp_path):
    cases = [(shifted(shift)[0], block(2, 4) + block(8, 4, 255.0)) for shift in (0, 1)]
    report = evaluate(tmp_path, [*cases, (shifted(0)[0], block(0, 12, 255.0))])
    assert [row["mean.dice"] for row in report.rows] == [1, 0.75, 1]
    assert report.summary["truth"]["foreground"]["images"] == 2
    assert {file.name for file in (tmp_path / "report").iterdir()} == {"per_image.csv", "summary.json", "cases.png"}


def test_label_that_is_not_a_class_index_is_refused(tmp_path):
    (predictions, truth) = shifted(0)
    with pytest.raises(InputError, match=r"7\.png: the label holds values other than the class indices 0 to 1"):
        evaluate(tmp_path, [(predictions, truth * 254)], names=["7.png"])


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
    assert summary["differing_share"]["mean"] == pytest.approx(4 / 12)
    assert summary["release"]["row_hausdorff"]["median"] == pytest.approx(0.95 * math.sqrt(2))


def test_summary_is_valid_json_when_no_image_has_a_distance(tmp_path):
    evaluate(tmp_path, [shifted(0)], empty="exclude")
    text = (tmp_path / "report" / "summary.json").read_text()
    assert "NaN" not in text
    hd95 = json.loads(text)["branches"]["mask_branch"]["hd95"]
    assert (hd95["mean"], hd95["images"]) == (None, 0)


def test_single_branch_has_no_differing_share(tmp_path):
    report = evaluate(tmp_path, [shifted(0)], channels=1)
    assert "differing_share" not in report.summary
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


# Volumes


def test_slices_of_a_volume_are_scored_together_in_3d(tmp_path):
    truth, half, nothing = block(0, 4), block(0, 2), block(0, 0)
    cases = [((half, truth, nothing), truth), ((nothing, nothing, nothing), nothing), ((truth, half, truth), truth)]
    report = evaluate(tmp_path, cases, volumes=["a", "a", "b"])
    a, b = report.volume_rows
    assert (a["volume"], a["slices"], b["volume"], b["slices"]) == ("a", 2, "b", 1)
    # by volume an empty slice that is found empty adds nothing; as an image it counts 1
    assert [a[f"{branch}.dice"] for branch in BRANCHES] == pytest.approx([2 / 3, 1, 0])
    assert [row["mean.dice"] for row in report.rows] == pytest.approx([2 / 3, 1, 1])
    volumes = json.loads((tmp_path / "report" / "summary.json").read_text())["volumes"]
    assert volumes["volumes"] == 2
    assert volumes["branches"]["mean"]["dice"]["mean"] == pytest.approx((2 / 3 + 1) / 2)
    with open(tmp_path / "report" / "per_volume.csv", newline="") as file:
        assert [row["volume"] for row in csv.DictReader(file)] == ["a", "b"]
    assert "mean, in 3-D (2 volumes)" in format_summary(report.summary)


def test_undecided_voxels_and_classes_of_volumes(tmp_path):
    truth = block(0, 4) + block(4, 2, 2.0) + block(8, 1, float(IGNORED_LABEL))
    prediction = block(0, 2) + block(4, 2, 2.0) + block(8, 1, 2.0)
    (row,) = evaluate(tmp_path, [((prediction,) * 3, truth)], volumes=["a"], num_classes=3).volume_rows
    assert (row["mean.dice_class_1"], row["mean.dice_class_2"]) == pytest.approx((2 / 3, 1))
    assert row["mean.dice"] == pytest.approx(5 / 6)


def test_without_volumes_there_is_no_table_of_them(tmp_path):
    report = evaluate(tmp_path, [((block(0, 4),) * 3, block(0, 4))])
    assert "volumes" not in report.summary
    assert not (tmp_path / "report" / "per_volume.csv").exists()
