"""What the datalist states about its data holds whatever is laid over a bundle's train.yaml."""

from __future__ import annotations

import json

import pytest
from monai.bundle import ConfigParser

from custom.phantoms import write_phantom_dataset
from tests.bundles.conftest import OVERLAYS, TINY, make_workflow
from tests.bundles.test_bundles_alike import BUNDLES, configs

FACTS = ("dataset_dir", "datalist", "facts", "found")
PRESETS = (None, "paper", "release_fixed", "release_parity")
METHODS = sorted(path.stem for path in (OVERLAYS / "methods").glob("*.yaml"))


def merged(bundle, *overlays):
    files = [configs(bundle) / "train.yaml", *(OVERLAYS / f"{overlay}.yaml" for overlay in overlays)]
    return ConfigParser.load_config_files([str(file) for file in files])


@pytest.mark.parametrize("bundle", BUNDLES)
@pytest.mark.parametrize("preset", PRESETS)
def test_presets_and_methods_leave_the_facts_alone(bundle, preset):
    base = merged(bundle)
    for method in (None, *METHODS):
        overlays = [f"presets/{preset}"] * (preset is not None) + [f"methods/{method}"] * (method is not None)
        config = merged(bundle, *overlays)
        assert {key: config[key] for key in FACTS} == {key: base[key] for key in FACTS}
        transforms = base["train"]["preprocessing"]["transforms"]
        used = config["train"]["preprocessing"]["transforms"]
        assert used[0] == transforms[0]
        assert all(transform in used for transform in transforms)
        assert config["tracker"] == base["tracker"]
        rule = config["train"]["trainer"]["one_connected_component"]
        assert rule == ("$@found.one_connected_component" if preset != "paper" else False)


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("preset", ["paper", "release_fixed", "release_parity"])
def test_only_the_preset_whose_method_has_no_such_rule_switches_it_off(preset, stated, tmp_path):
    write_phantom_dataset(tmp_path, labelled=2, unlabelled=1, validation=1, test=1, image_size=32)
    datalist = json.loads((tmp_path / "datalist.json").read_text()) | {"one_connected_component": stated}
    (tmp_path / "datalist.json").write_text(json.dumps(datalist))
    settings = {**TINY, "dataset_dir": str(tmp_path), "output_dir": str(tmp_path / "run")}
    trainer = make_workflow("train.yaml", f"presets/{preset}.yaml", **settings).parser.get_parsed_content(
        "train#trainer"
    )
    assert (trainer.pseudo_labels.keep_largest is not None) is (stated and preset != "paper")


@pytest.mark.parametrize("bundle", BUNDLES)
def test_the_phantom_of_a_bundle_states_what_its_images_are(bundle, tmp_path):
    quickstart = ConfigParser.load_config_file(configs(bundle) / "quickstart.yaml")
    modality = quickstart["phantom"]["modality"]
    write_phantom_dataset(tmp_path, labelled=1, unlabelled=0, validation=0, test=0, image_size=32, modality=modality)
    stated = json.loads((tmp_path / "datalist.json").read_text())["one_connected_component"]
    assert stated is (bundle != "semigda_bcss")  # tumour tissue lies in many places
