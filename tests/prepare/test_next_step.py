from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from custom.prepare.next_step import training_command
from custom.prepare.sources import SOURCES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("dataset", SOURCES)
def test_the_command_names_a_configuration_that_is_there(dataset):
    words = shlex.split(training_command(dataset, Path("/data/my set")))
    assert (ROOT / words[words.index("--config_file") + 1]).is_file()
    assert words[words.index("--dataset_dir") + 1] == "/data/my set"


def test_data_sets_with_a_bundle_use_it():
    for dataset, bundle in (
        ("busi", "busi"),
        ("kvasir", "polyp"),
        ("isic2018", "isic"),
        ("bcss", "bcss"),
        ("folder", "busi"),
    ):
        assert f"bundles/semigda_{bundle}/" in training_command(dataset, Path("/data"))
