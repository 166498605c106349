from __future__ import annotations

import json

import torch

from custom.first_stage import load_first_stage
from tests.bundles.conftest import CONFIGS, make_workflow

SMALL = {
    "phantom#labelled": 4,
    "phantom#unlabelled": 6,
    "phantom#validation": 2,
    "phantom#test": 3,
    "image_size": 32,
    "width": 8,
    "network_def#mapper_width": 8,
    "alignment_epochs": 1,
    "align#validation#interval": 1,
    "segmentation_epochs": 1,
    "val_interval": 1,
    "mlflow": False,
    "device": "cpu",
}


def test_quickstart_compares_the_network_with_itself_on_labels_alone(tmp_path, capsys):
    workflow = make_workflow(
        *("train.yaml", "methods/semigda_plus.yaml", "quickstart.yaml"),
        **SMALL,
        run_id="training",
        runs_dir=str(tmp_path),
        run_name="quick",
    )
    workflow.run()
    printed = capsys.readouterr().out
    assert "semigda_plus, 4 labels + 6 images" in printed
    assert "the same network, 4 labels only" in printed
    semi, alone = (
        json.loads((tmp_path / "quick" / part / "evaluation" / "summary.json").read_text())
        for part in (".", "labels_only")
    )
    assert (semi["details"]["labelled"], semi["details"]["unlabelled"]) == (4, 6)
    assert (alone["details"]["labelled"], alone["details"]["unlabelled"]) == (4, 0)
    shared = ("seed", "image_size", "alignment_epochs", "segmentation_epochs", "first_stage")
    assert all(semi["details"][key] == alone["details"][key] for key in shared)
    # both start from the same weights: the frozen part is one and the same, the rest was drawn with one seed
    states = [
        torch.load(path / "model.pt", weights_only=True)
        for path in (tmp_path / "quick", tmp_path / "quick/labels_only")
    ]
    assert states[0]["architecture"] == states[1]["architecture"]
    for line in (
        f"{semi['branches']['mean']['dice']['mean'] * 100:.2f}",
        f"{alone['branches']['mean']['dice']['mean'] * 100:.2f}",
    ):
        assert line in printed


def test_quickstart_compares_another_method_with_its_labels_alone(tmp_path, capsys):
    files = ("train.yaml", "quickstart.yaml", "methods/ua_mt.yaml")
    small = {key: value for key, value in SMALL.items() if not key.startswith("network_def")}
    make_workflow(*files, run_id="training", runs_dir=str(tmp_path), run_name="quick", **small).run()
    printed = capsys.readouterr().out
    assert "ua_mt, 4 labels + 6 images" in printed
    assert "the same network, 4 labels only" in printed
    summary = json.loads((tmp_path / "quick" / "labels_only" / "evaluation" / "summary.json").read_text())
    assert (summary["details"]["method"], summary["details"]["unlabelled"]) == ("ua_mt", 0)


def test_the_first_stage_that_comes_with_the_bundle_rebuilds_a_mask():
    first_stage = load_first_stage(CONFIGS.parent / "first_stages" / "phantom")
    disc = (torch.cartesian_prod(torch.arange(64.0), torch.arange(64.0)) - 31.5).square().sum(1).sqrt().view(
        1, 1, 64, 64
    ) < 15
    image = 2 * disc.float().expand(1, 3, 64, 64) - 1
    painted = first_stage.decode(first_stage.encode(image).mean).mean(dim=1, keepdim=True) > 0
    assert 2 * (painted & disc).sum() / (painted.sum() + disc.sum()) > 0.95
    assert sum(path.stat().st_size for path in (CONFIGS.parent / "first_stages").rglob("*")) < 2_000_000
