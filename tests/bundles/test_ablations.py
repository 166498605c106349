"""Each ablation switches off what it says, and nothing else."""

from __future__ import annotations

import json

import pytest

from tests.bundles.conftest import CONFIGS, TINY, make_workflow, train

ABLATIONS = sorted(path.stem for path in (CONFIGS / "ablations").glob("*.json"))


def build(phantom, tmp_path, *overlays):
    settings = {**TINY, "dataset_dir": str(phantom), "output_dir": str(tmp_path / "run")}
    return make_workflow("train.json", *overlays, **settings).parser


SWITCHES = {
    "adapters": lambda parser: parser.get_parsed_content("network_def").architecture["adapters"],
    "alignment_supervised_weight": lambda parser: parser.get_parsed_content("align#trainer").supervised_weight,
    "alignment_beta": lambda parser: parser.get_parsed_content("align#trainer").consistency_weight.beta,
    "segmentation_supervised_weight": lambda parser: parser.get_parsed_content("train#trainer").supervised_weight,
    "pseudo": lambda parser: parser.get_parsed_content("train#trainer").pseudo,
    "mixing_start": lambda parser: parser.get_parsed_content("train#trainer").mixing_start,
}


@pytest.mark.parametrize("ablation", [name for name in ABLATIONS if name != "no_alignment"])
def test_an_ablation_reaches_the_one_part_it_names(phantom, tmp_path, ablation):
    overlay = json.loads((CONFIGS / "ablations" / f"{ablation}.json").read_text())
    (switch,) = set(overlay) - {"preset"}
    parser = build(phantom, tmp_path, f"ablations/{ablation}.json")
    assert SWITCHES[switch](parser) == overlay[switch]
    default = json.loads((CONFIGS / "train.json").read_text())[switch]
    assert overlay[switch] != default


def test_without_alignment_the_first_stage_of_training_is_left_out(phantom, tmp_path):
    folder = train(phantom, tmp_path, files=("train.json", "ablations/no_alignment.json"), segmentation_epochs=1)
    stages = {line.split(",")[2] for line in (folder / "metrics.csv").read_text().splitlines()[1:]}
    assert stages == {"segmentation"}
    assert json.loads((folder / "evaluation" / "summary.json").read_text())["details"]["preset"].endswith(
        "no alignment"
    )
