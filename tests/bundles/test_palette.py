"""Four classes with a colour each, from training to masks."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from custom.checkpoints import load_checkpoint
from custom.error_causes import find_input_error
from tests.bundles.conftest import make_workflow, train
from tests.methods.conftest import discs

PALETTE = {"network_def#label_code": "palette", "alignment_epochs": 1, "segmentation_epochs": 1}


@pytest.fixture(scope="module")
def four_classes(tmp_path_factory):
    """Folder of images of discs of three classes on a background: 4 for training, 2 with a label; 1 and 2 others."""
    folder = tmp_path_factory.mktemp("discs")
    entries = []
    for index, (image, label) in enumerate(zip(*discs(7, num_classes=4), strict=True)):
        Image.fromarray((255 * image.clamp(0, 1)).byte().permute(2, 1, 0).numpy()).save(folder / f"{index}.png")
        Image.fromarray(label[0].byte().T.numpy()).save(folder / f"mask_{index}.png")
        entries.append({"image": f"{index}.png", "label": f"mask_{index}.png"})
    datalist = {
        "class_names": ["background", "one", "two", "three"],
        "training": entries[:4],
        "validation": entries[4:5],
        "test": entries[5:],
        "labelled_subsets": {"half": ["0.png", "1.png"]},
    }
    (folder / "datalist.json").write_text(json.dumps(datalist))
    return folder


@pytest.fixture(scope="module")
def run(four_classes, tmp_path_factory):
    """Folder of a finished tiny run."""
    return train(four_classes, tmp_path_factory.mktemp("runs"), run_name="palette", labelled="half", **PALETTE)


def command(file, run, folder, dataset_dir, **overrides):
    settings = {"dataset_dir": str(dataset_dir), "checkpoint": str(run / "model.pt"), "runs_dir": str(folder)}
    make_workflow(file, run_name="out", num_workers=0, device="cpu", **settings, **overrides).run()
    return folder / "out"


def test_the_model_knows_its_code_and_is_scored_class_by_class(run, four_classes, tmp_path):
    assert load_checkpoint(run / "model.pt")["architecture"]["label_code"] == "palette"
    summary = json.loads((run / "evaluation" / "summary.json").read_text())
    assert summary["num_classes"] == 4
    assert "dice_class_3" in str(summary["branches"]["mean"])
    again = json.loads((command("evaluate.yaml", run, tmp_path, four_classes) / "summary.json").read_text())
    assert again["branches"] == summary["branches"]


def test_masks_hold_classes_and_maps_where_the_branches_differ(run, four_classes, tmp_path):
    out = command("inference.yaml", run, tmp_path, four_classes, disagreement_maps=True, probability_maps=True)
    with (out / "predictions.csv").open() as file:
        rows = {row["image"].rpartition("/")[2]: row for row in csv.DictReader(file)}
    assert "0.png" in rows
    for name in rows:
        mask, differs, sure = (
            np.asarray(Image.open(out / kind / name)) for kind in ("masks", "disagreement", "probability")
        )
        assert mask.max() <= 3
        assert set(np.unique(differs)) <= {0, 255}
        assert set(np.unique(sure[differs == 255])) <= {127, 128}
        assert float(rows[name]["disagreement"]) == pytest.approx((differs == 255).mean(), abs=1e-6)


def test_a_code_of_grey_levels_alone_is_refused(four_classes, tmp_path):
    with pytest.raises(RuntimeError) as error:
        train(four_classes, tmp_path, run_name="both", **PALETTE, **{"network_def#label_divisor": "K"})
    assert "label_code 'palette' needs label_divisor 'K-1'" in str(find_input_error(error.value))
