"""Each ablation switches off what it names, and nothing else."""

from __future__ import annotations

import json

import pytest
from monai.bundle import ConfigParser

from tests.bundles.conftest import OVERLAYS, TINY, make_workflow, train

ABLATIONS = sorted(path.stem for path in (OVERLAYS / "ablations").glob("*.yaml"))


def build(phantom, tmp_path, *overlays):
    settings = {**TINY, "dataset_dir": str(phantom), "output_dir": str(tmp_path / "run")}
    return make_workflow("train.yaml", *overlays, **settings).parser


SWITCHES = {
    "network_def#adapters": lambda parser: parser.get_parsed_content("network_def").architecture["adapters"],
    "align#trainer#supervised_weight": lambda parser: parser.get_parsed_content("align#trainer").supervised_weight,
    "align#trainer#consistency_weight": lambda parser: {
        "_target_": "custom.losses.ConsistencyWeight",
        "beta": parser.get_parsed_content("align#trainer").consistency_weight.beta,
    },
    "train#method#supervised_weight": lambda parser: parser.get_parsed_content("train#trainer").supervised_weight,
    "train#method#pseudo": lambda parser: parser.get_parsed_content("train#trainer").pseudo,
    "train#method#mixing_start": lambda parser: parser.get_parsed_content("train#trainer").mixing_start,
}


@pytest.mark.parametrize("ablation", [name for name in ABLATIONS if name != "no_alignment"])
def test_an_ablation_reaches_the_one_part_it_names(phantom, tmp_path, ablation):
    overlay = ConfigParser.load_config_file(OVERLAYS / "ablations" / f"{ablation}.yaml")
    (switch,) = set(overlay) - {"preset"}
    assert SWITCHES[switch](build(phantom, tmp_path, f"ablations/{ablation}.yaml")) == overlay[switch]
    assert SWITCHES[switch](build(phantom, tmp_path)) != overlay[switch]


def test_without_alignment_the_first_stage_of_training_is_left_out(phantom, tmp_path):
    folder = train(phantom, tmp_path, files=("train.yaml", "ablations/no_alignment.yaml"), segmentation_epochs=1)
    stages = {line.split(",")[2] for line in (folder / "metrics.csv").read_text().splitlines()[1:]}
    assert stages == {"segmentation"}
    assert json.loads((folder / "evaluation" / "summary.json").read_text())["details"]["preset"].endswith(
        "no alignment"
    )
