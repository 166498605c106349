"""The four bundles are one method on four kinds of images: what may differ is listed here."""

from __future__ import annotations

import json
import re

import pytest

from tests.bundles.conftest import ROOT

BUNDLES = ("semigda_busi", "semigda_polyp", "semigda_isic", "semigda_bcss")
MAY_DIFFER = {
    "train.json": ["dataset_dir", "mlflow_experiment", "largest_component"],
    "train_autoencoder.json": ["dataset_dir", "mlflow_experiment"],
    "evaluate.json": ["dataset_dir"],
    "inference.json": ["dataset_dir"],
    "quickstart.json": ["phantom_modality"],
}
METADATA_MAY_DIFFER = {"name", "task", "data_source", "image_classes", "label_classes", "pred_classes"}


def configs(bundle):
    return ROOT / "bundles" / bundle / "configs"


def read(bundle, file):
    return json.loads((configs(bundle) / file).read_text())


FILES = sorted(path.relative_to(configs(BUNDLES[0])).as_posix() for path in configs(BUNDLES[0]).rglob("*.*"))


@pytest.mark.parametrize("bundle", BUNDLES[1:])
def test_bundles_hold_the_same_files(bundle):
    assert sorted(path.relative_to(configs(bundle)).as_posix() for path in configs(bundle).rglob("*.*")) == FILES


@pytest.mark.parametrize("bundle", BUNDLES[1:])
@pytest.mark.parametrize("file", [file for file in FILES if not file.endswith("metadata.json")])
def test_a_configuration_differs_only_in_what_stands_at_its_top(bundle, file):
    if not file.endswith(".json"):
        assert (configs(bundle) / file).read_text() == (configs(BUNDLES[0]) / file).read_text()
        return
    own, first = read(bundle, file), read(BUNDLES[0], file)
    different = MAY_DIFFER.get(file, [])
    assert [key for key in own if key not in ("imports", "bundle_root")][: len(different)] == different
    assert {key: own[key] for key in own if key not in different} == {
        key: first[key] for key in first if key not in different
    }
    assert list(own) == list(first)


@pytest.mark.parametrize("bundle", BUNDLES[1:])
def test_metadata_differs_only_in_what_the_images_are(bundle):
    own, first = read(bundle, "metadata.json"), read(BUNDLES[0], "metadata.json")
    for metadata in (own, first):
        formats = metadata["network_data_format"]
        formats["inputs"]["image"].pop("modality")
        formats["outputs"]["pred"].pop("channel_def")
    assert {key for key in own if own[key] != first[key]} <= METADATA_MAY_DIFFER


@pytest.mark.parametrize("bundle", BUNDLES)
def test_monai_label_gets_the_classes_of_the_metadata_and_nothing_else(bundle):
    classes = dict(name.split(": ") for name in read(bundle, "metadata.json")["label_classes"].split(", "))
    assert read(bundle, "monai_label/metadata.json") == {"network_data_format#outputs#pred#channel_def": classes}


@pytest.mark.parametrize("bundle", BUNDLES)
def test_defaults_name_the_bundles_own_data_and_experiment(bundle):
    name = bundle.removeprefix("semigda_")
    train = read(bundle, "train.json")
    assert (train["dataset_dir"], train["mlflow_experiment"]) == (f"data/{name}", bundle)
    assert train["largest_component"] is (name != "bcss")  # tumour tissue lies in many places
    assert read(bundle, "inference.json")["dataset_dir"] == f"data/{name}/images"


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_bundle_holds_its_documents_and_the_shared_code(bundle):
    folder = ROOT / "bundles" / bundle
    assert (folder / "LICENSE").read_text().startswith((ROOT / "LICENSE").read_text()[:100])
    for section in ("# Model Overview", "# Performance", "# MONAI Bundle Commands"):
        assert section in (folder / "docs" / "README.md").read_text()
    assert (folder / "docs" / "data_license.txt").stat().st_size > 200
    assert (folder / "custom").resolve() == (ROOT / "custom").resolve()


SHARED_SECTIONS = (
    "### Input and output",
    "### Overlays",
    "### Other methods",
    "### Several GPUs",
    "# MONAI Bundle Commands",
)
MEASURED_ON_BUSI = r"On 20 BUSI images at 64 pixels.*?\n\n"


def readme(bundle):
    return (ROOT / "bundles" / bundle / "docs" / "README.md").read_text()


def section(bundle, heading):
    """The text below a heading, subsections included, without what belongs to one bundle alone."""
    start = readme(bundle).split(f"\n{heading}\n", 1)[1]
    level = len(heading.split()[0])
    text = re.split(rf"^#{{1,{level}}} ", start, maxsplit=1, flags=re.MULTILINE)[0]
    text = re.sub(MEASURED_ON_BUSI, "", text, flags=re.DOTALL) if bundle == BUNDLES[0] else text
    return text.replace(bundle, "BUNDLE").replace(f"data/{bundle.removeprefix('semigda_')}", "DATA")


@pytest.mark.parametrize("bundle", BUNDLES[1:])
@pytest.mark.parametrize("heading", SHARED_SECTIONS)
def test_what_the_bundles_have_in_common_is_told_in_the_same_words(bundle, heading):
    assert section(bundle, heading) == section(BUNDLES[0], heading)


def test_commands_are_told_with_export_and_large_files():
    commands = section(BUNDLES[0], "# MONAI Bundle Commands")
    assert [line for line in commands.splitlines() if line.startswith("#")] == ["## Export", "## Large files"]


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_document_stands_alone(bundle):
    assert [other for other in BUNDLES if other != bundle and other in readme(bundle)] == []


@pytest.mark.parametrize("bundle", BUNDLES)
def test_every_overlay_is_in_the_document(bundle):
    overlays = [file for file in FILES if "/" in file] + ["quickstart.json", "multi_gpu_train.json"]
    told = re.findall(r"^\| `(\S+)` \|", section(bundle, "### Overlays"), re.MULTILINE)
    assert sorted(told) == sorted(overlays)
