"""The four bundles are one method on four kinds of images: what may differ is listed here."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from monai.bundle import ConfigParser

from custom.options import COMMANDS
from tests.bundles.conftest import ROOT

BUNDLES = ("semigda_busi", "semigda_polyp", "semigda_isic", "semigda_bcss")
MAY_DIFFER = {
    "train.yaml": ["bundle_root", "dataset_dir", "tracker#experiment_name"],
    "train_autoencoder.yaml": ["bundle_root", "dataset_dir", "tracker#experiment_name"],
    "evaluate.yaml": ["bundle_root", "dataset_dir"],
    "inference.yaml": ["bundle_root", "dataset_dir"],
    "quickstart.yaml": ["phantom#modality"],
}
AUGMENTATION = ("train.yaml", "train_autoencoder.yaml")  # may differ by what the images allow
METADATA_MAY_DIFFER = {"name", "task", "data_source", "image_classes", "label_classes", "pred_classes"}


def configs(bundle):
    return ROOT / "bundles" / bundle / "configs"


def read(bundle, file):
    return ConfigParser.load_config_file(configs(bundle) / file)


FILES = sorted(path.relative_to(configs(BUNDLES[0])).as_posix() for path in configs(BUNDLES[0]).rglob("*.*"))


@pytest.mark.parametrize("bundle", BUNDLES[1:])
def test_bundles_hold_the_same_files(bundle):
    assert sorted(path.relative_to(configs(bundle)).as_posix() for path in configs(bundle).rglob("*.*")) == FILES


@pytest.mark.parametrize("bundle", BUNDLES[1:])
@pytest.mark.parametrize("file", MAY_DIFFER)
def test_a_configuration_differs_in_paths_and_augmentation_alone(bundle, file):
    own, first = read(bundle, file), read(BUNDLES[0], file)
    assert list(own) == list(first)
    for key in MAY_DIFFER[file]:
        assert ConfigParser(own)[key] != ConfigParser(first)[key]
        for config in (own, first):
            ConfigParser(config)[key] = None
    if file in AUGMENTATION:
        own["augmentation"] = first["augmentation"]
    assert own == first


@pytest.mark.parametrize("bundle", BUNDLES)
@pytest.mark.parametrize("file", ["configs/logging.conf", "LICENSE", "custom"])
def test_what_all_bundles_share_exists_once(bundle, file):
    path = ROOT / "bundles" / bundle / file
    assert path.is_symlink()
    assert path.resolve().is_relative_to(ROOT)
    assert path.exists()


def test_no_two_files_of_the_bundles_are_equal():
    files = [path for path in (ROOT / "bundles").rglob("*") if path.is_file() and not path.is_symlink()]
    own = [path for path in files if not {"custom", "runs", "models"} & set(path.relative_to(ROOT).parts)]
    contents = Counter(path.read_bytes() for path in own)
    assert [path for path in own if contents[path.read_bytes()] > 1] == []


@pytest.mark.parametrize("bundle", BUNDLES[1:])
def test_metadata_differs_only_in_what_the_images_are(bundle):
    own, first = read(bundle, "metadata.json"), read(BUNDLES[0], "metadata.json")
    for metadata in (own, first):
        formats = metadata["network_data_format"]
        formats["inputs"]["image"].pop("modality")
        formats["outputs"]["pred"].pop("channel_def")
    assert {key for key in own if own[key] != first[key]} <= METADATA_MAY_DIFFER


@pytest.mark.parametrize("bundle", BUNDLES)
def test_the_channels_of_a_prediction_are_the_classes_of_the_labels(bundle):
    metadata = read(bundle, "metadata.json")
    classes = dict(name.split(": ") for name in metadata["label_classes"].split(", "))
    channels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert classes == {"0": "background", **{str(int(index) + 1): name for index, name in channels.items()}}


@pytest.mark.parametrize("bundle", BUNDLES)
def test_defaults_name_the_bundles_own_folder_data_and_experiment(bundle):
    name = bundle.removeprefix("semigda_")
    for file in ("train.yaml", "train_autoencoder.yaml", "evaluate.yaml"):
        config = read(bundle, file)
        assert (config["bundle_root"], config["dataset_dir"]) == (f"bundles/{bundle}", f"data/{name}")
        assert "tracker" not in config or config["tracker"]["experiment_name"] == bundle
    assert read(bundle, "inference.yaml")["dataset_dir"] == f"data/{name}/images"


@pytest.mark.parametrize("bundle", BUNDLES)
@pytest.mark.parametrize("file", ["train.yaml", "evaluate.yaml", "inference.yaml", "train_autoencoder.yaml"])
def test_every_option_of_a_configuration_has_a_comment(bundle, file):
    text = (configs(bundle) / file).read_text()
    options = [key for key in read(bundle, file) if key in COMMANDS[file.removesuffix(".yaml")]]
    bare = [key for key in options if not re.search(rf"^{key}:.* # |^# .*\n{key}:", text, re.MULTILINE)]
    assert bare == []


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_bundle_holds_its_documents_and_the_shared_code(bundle):
    folder = ROOT / "bundles" / bundle
    assert (folder / "LICENSE").read_text().startswith((ROOT / "LICENSE").read_text()[:100])
    for section in ("# Model Overview", "# Performance", "# MONAI Bundle Commands"):
        assert section in (folder / "docs" / "README.md").read_text()
    assert (folder / "docs" / "data_license.txt").stat().st_size > 200
    assert (folder / "custom").resolve() == (ROOT / "custom").resolve()


SHARED_SECTIONS = ("### Input and output", "# MONAI Bundle Commands")
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
def test_what_the_bundles_have_in_common_is_documented_in_the_same_words(bundle, heading):
    assert section(bundle, heading) == section(BUNDLES[0], heading)


def test_commands_are_documented_with_export():
    commands = section(BUNDLES[0], "# MONAI Bundle Commands")
    headings = [line for line in commands.splitlines() if line.startswith("#")]
    assert [line for line in headings if line.startswith("## ")] == ["## Export", "## TorchScript and ONNX"]


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_document_stands_alone(bundle):
    assert [other for other in BUNDLES if other != bundle and other in readme(bundle)] == []
