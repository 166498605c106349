"""The BUSI bundle at a size that trains in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from monai.bundle import ConfigWorkflow

from custom.phantoms.dataset import write_phantom_dataset
from tests.conftest import KL

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "bundles" / "semigda_busi" / "configs"
OVERLAYS = ROOT / "custom" / "configs"
TINY = {
    "labelled": "all",
    "image_size": 32,
    "first_stage": KL,
    "width": 4,
    "network_def#mapper_width": 8,
    "num_workers": 0,
    "mlflow": False,
    "alignment_epochs": 2,
    "alignment_labelled_batch": 2,
    "alignment_unlabelled_batch": 2,
    "align#validation#interval": 1,
    "segmentation_epochs": 3,
    "device": "cpu",
}


def config_file(name):
    """A configuration of the BUSI bundle, or an overlay that all bundles share, such as "methods/cps.yaml"."""
    return (CONFIGS if (CONFIGS / name).is_file() else OVERLAYS) / name


def make_workflow(*files, run_id="run", workflow_type="train", **overrides):
    """An initialised workflow of configuration files of the BUSI bundle."""
    workflow = ConfigWorkflow(
        config_file=[str(config_file(file)) for file in files],
        workflow_type=workflow_type,
        logging_file=False,
        run_id=run_id,
        bundle_root=str(CONFIGS.parent),
        **overrides,
    )
    workflow.initialize()
    return workflow


def tiny(files):
    """`TINY`, as far as the method of these files takes it."""
    is_other = any(file.startswith("methods/") and "semigda" not in file for file in files)
    return {key: value for key, value in TINY.items() if not (is_other and key == "network_def#mapper_width")}


def train(dataset_dir, runs_dir, run_id="training", files=("train.yaml",), **overrides):
    """Run a training command in this process; returns the run's folder."""
    settings = {"dataset_dir": str(dataset_dir), "runs_dir": str(runs_dir), **tiny(files), **overrides}
    workflow = make_workflow(*files, run_id=run_id, **settings)
    workflow.run()
    return Path(workflow.parser.get_parsed_content("output_dir"))


@pytest.fixture(scope="session")
def phantom(tmp_path_factory):
    """Folder of a phantom set: 4 labelled, 5 unlabelled, 2 validation and 3 test images of 32 x 32 pixels."""
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom_dataset(folder, labelled=4, unlabelled=5, validation=2, test=3, image_size=32)
    return folder


@pytest.fixture(scope="session")
def trained(phantom, tmp_path_factory):
    """Folder of a finished tiny run."""
    return train(phantom, tmp_path_factory.mktemp("runs"), run_name="trained")
