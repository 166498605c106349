"""What a bundle's train.json says about its data holds whatever is laid over it, in runs and in benchmarks."""

from __future__ import annotations

import pytest
from monai.bundle import ConfigParser

from custom.benchmark.plan import bundle_methods
from custom.benchmark.protocol import DEFAULT_PROTOCOL, method_settings, read_protocol, shared_settings
from tests.bundles.test_bundles_alike import BUNDLES, configs

FACTS = ("dataset_dir", "datalist", "num_classes", "mlflow_experiment")
PRESETS = (None, "paper", "release_fixed", "release_parity")
PROTOCOLS = (DEFAULT_PROTOCOL, DEFAULT_PROTOCOL.with_name("protocol_cpu.json"))
METHODS = bundle_methods(configs(BUNDLES[0]).parent)


def merged(bundle, *overlays):
    files = [configs(bundle) / "train.json", *(configs(bundle) / f"{overlay}.json" for overlay in overlays)]
    return ConfigParser.load_config_files([str(file) for file in files])


@pytest.mark.parametrize("bundle", BUNDLES)
@pytest.mark.parametrize("preset", PRESETS)
def test_presets_and_methods_leave_the_facts_alone(bundle, preset):
    base = merged(bundle)
    for method in METHODS:
        overlays = [f"presets/{preset}"] * (preset is not None) + [f"methods/{method}"] * (method != "semigda")
        config = merged(bundle, *overlays)
        assert {key: config[key] for key in FACTS} == {key: base[key] for key in FACTS}
        assert config["largest_component"] is base["largest_component"] or not config["largest_component"]
        assert config["train"]["preprocessing"]["transforms"][:8] == base["train"]["preprocessing"]["transforms"]


def test_only_the_preset_whose_method_has_no_such_rule_switches_it_off():
    values = {preset: merged("semigda_busi", f"presets/{preset}")["largest_component"] for preset in PRESETS[1:]}
    assert values == {"paper": False, "release_fixed": True, "release_parity": True}


@pytest.mark.parametrize("bundle", BUNDLES)
@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda path: path.stem)
def test_a_benchmark_trains_with_the_facts_of_its_bundle(bundle, protocol):
    base = merged(bundle)
    for method in METHODS:
        own = method_settings(configs(bundle).parent, method)
        config = {**base, **own, **shared_settings(read_protocol(protocol), own)}
        keys = (*FACTS, "largest_component")
        assert {key: config[key] for key in keys} == {key: base[key] for key in keys}


@pytest.mark.parametrize("bundle", BUNDLES)
def test_the_first_run_on_phantoms_keeps_the_rule_of_the_bundle(bundle):
    assert merged(bundle, "quickstart")["largest_component"] is merged(bundle)["largest_component"]
