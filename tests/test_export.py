from __future__ import annotations

import errno
import json
import shutil
import zipfile

import pytest
import torch
from monai.bundle import ConfigParser

from custom.errors import InputError
from custom.export import export_bundle, main
from custom.networks import UNet, save_model
from tests.bundles.conftest import ROOT

OVERLAYS = ROOT / "custom" / "configs" / "monai_label"


METADATA = {"version": "0.1.0", "network_data_format": {"outputs": {"pred": {"channel_def": {"0": "lesion"}}}}}
CONTENTS = {
    "configs/metadata.json": json.dumps(METADATA),
    "configs/inference.yaml": "bundle_root: bundles/lesions # where it is\npostprocessing: {transforms: [load]}\n",
    "configs/quickstart.yaml": "# --config_file bundles/lesions/configs/train.yaml\nsize: 48\n",
}


@pytest.fixture
def model(make_network, tmp_path):
    """A trained model, saved as a run does."""
    path = tmp_path / "run" / "model.pt"
    save_model(make_network("tiny"), path)
    return path


@pytest.fixture
def bundle(tmp_path):
    """A bundle as it lies in the repository: its code and first stage are links, and it holds data and a run."""
    folder = tmp_path / "repository" / "lesions"
    for name in (
        "configs/metadata.json",
        "configs/inference.yaml",
        "configs/quickstart.yaml",
        "docs/README.md",
        "runs/first/model.pt",
        "data/image.png",
        "configs/__pycache__/x.pyc",
        "docs/.hidden",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(CONTENTS.get(name, name))
    (folder.parent / "LICENSE").write_text("free")
    (folder / "LICENSE").symlink_to("../LICENSE")
    (folder.parent / "logging.conf").write_text("[loggers]")
    (folder / "configs" / "logging.conf").symlink_to("../../logging.conf")
    (folder.parent / "weights").mkdir()
    (folder.parent / "weights" / "config.json").write_text("{}")
    (folder / "first_stages").mkdir()
    (folder / "first_stages" / "phantom").symlink_to("../../weights")
    (folder.parent / "custom").mkdir()
    (folder / "custom").symlink_to("../custom")
    return folder


@pytest.fixture
def trainable(bundle):
    """The bundle with a configuration of its training."""
    shutil.copy(ROOT / "bundles" / "semigda_busi" / "configs" / "train.yaml", bundle / "configs")
    return bundle


def files_of(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def neighbours(path):
    return sorted(entry.name for entry in path.parent.iterdir())


def test_a_bundle_holds_its_parts_and_the_code_but_no_data_runs_or_caches(bundle, tmp_path):
    output = export_bundle(bundle, tmp_path / "out" / "copy")
    files = files_of(output)
    code = {name for name in files if name.startswith("custom/")}
    assert files - code == {
        "configs/metadata.json",
        "configs/inference.yaml",
        "configs/inference.json",
        "configs/logging.conf",
        "configs/quickstart.yaml",
        "docs/README.md",
        "first_stages/phantom/config.json",
        "LICENSE",
    }
    assert {"custom/__init__.py", "custom/networks/semigda.py", "custom/export.py"} <= code
    assert "custom/monai_label/app/README.md" in code
    configurations = {name for name in code if name.startswith("custom/configs/")}
    assert {f"custom/configs/{name}.yaml" for name in ("presets/paper", "methods/cps", "multi_gpu_train")} <= code
    assert all(name.endswith((".yaml", ".conf")) for name in configurations)
    others = code - configurations - {"custom/monai_label/app/README.md"}
    assert all(name.endswith((".py", ".json")) for name in others)
    assert (output / "LICENSE").read_text() == "free"
    assert (output / "configs" / "logging.conf").read_text() == "[loggers]"
    assert not any(path.is_symlink() for path in output.rglob("*"))
    assert neighbours(output) == ["copy"]


def test_the_given_model_or_the_bundles_own_becomes_its_weights(bundle, model, make_network, tmp_path):
    given = export_bundle(bundle, tmp_path / "given", checkpoint=model)
    assert (given / "models" / "model.pt").read_bytes() == model.read_bytes()
    save_model(make_network("kl"), bundle / "models" / "model.pt")
    own = export_bundle(bundle, tmp_path / "own")
    assert (own / "models" / "model.pt").read_bytes() == (bundle / "models" / "model.pt").read_bytes()
    both = export_bundle(bundle, tmp_path / "both", checkpoint=model)
    assert (both / "models" / "model.pt").read_bytes() == model.read_bytes()


def test_a_zip_file_holds_one_folder_named_like_the_bundle(bundle, model, tmp_path):
    output = export_bundle(bundle, tmp_path / "out" / "other.zip", checkpoint=model)
    with zipfile.ZipFile(output) as archive:
        assert archive.testzip() is None
        names = {name for name in archive.namelist() if not name.endswith("/")}
        archive.extractall(tmp_path / "unpacked")
    export_bundle(bundle, tmp_path / "folder", checkpoint=model)
    assert names == {f"lesions/{name}" for name in files_of(tmp_path / "folder")}
    torch.load(tmp_path / "unpacked" / "lesions" / "models" / "model.pt", weights_only=True)
    assert neighbours(output) == ["other.zip"]


@pytest.mark.parametrize("name", ["copy", "copy.zip"])
def test_what_is_there_stays_unless_it_is_to_be_replaced(name, bundle, tmp_path, message_of):
    output = export_bundle(bundle, tmp_path / "out" / name)
    (bundle / "docs" / "new.txt").write_text("")
    before = output.stat().st_ino
    with pytest.raises(InputError) as error:
        export_bundle(bundle, output)
    assert f"{output} is there already" in message_of(error)
    assert output.stat().st_ino == before
    export_bundle(bundle, output, overwrite=True)
    files = zipfile.ZipFile(output).namelist() if name.endswith("zip") else files_of(output)
    assert any(file.endswith("docs/new.txt") for file in files)
    assert neighbours(output) == [name]


@pytest.mark.parametrize("what", ["other folder", "the bundle", "above the bundle", "a file", "a folder named zip"])
def test_nothing_else_is_replaced(what, bundle, tmp_path, message_of):
    output = tmp_path / "work"
    if what in ("the bundle", "above the bundle"):
        output = bundle if what == "the bundle" else bundle.parent
    elif what == "a file":
        output.write_text("notes")
    else:
        output = output.with_suffix(".zip") if what.endswith("zip") else output
        output.mkdir()
        (output / "notes.txt").write_text("notes")
    before = files_of(tmp_path)
    with pytest.raises(InputError) as error:
        export_bundle(bundle, output, overwrite=True)
    assert str(output) in message_of(error)
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("missing", ["configs/metadata.json", "configs/inference.yaml", "LICENSE"])
def test_a_folder_that_is_no_bundle_is_named_with_what_is_missing(missing, bundle, tmp_path, message_of):
    (bundle / missing).unlink()
    with pytest.raises(InputError) as error:
        export_bundle(bundle, tmp_path / "out")
    assert missing in message_of(error)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [None, b"", b"no checkpoint"])
def test_a_checkpoint_that_is_no_model_is_named(content, bundle, tmp_path, message_of):
    path = tmp_path / "mine.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as error:
        export_bundle(bundle, tmp_path / "out", checkpoint=path)
    assert str(path) in message_of(error)
    assert not (tmp_path / "out").exists()


def test_a_broken_link_is_named(bundle, tmp_path, message_of):
    shutil.rmtree(bundle.parent / "weights")
    with pytest.raises(InputError) as error:
        export_bundle(bundle, tmp_path / "out")
    assert "first_stages/phantom" in message_of(error)


@pytest.mark.parametrize("name", ["copy", "copy.zip"])
def test_a_full_disk_leaves_the_old_bundle_and_nothing_else(name, bundle, tmp_path, monkeypatch, message_of):
    output = export_bundle(bundle, tmp_path / "out" / name)
    before = output.stat().st_ino

    def fail(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copytree" if name == "copy" else "make_archive", fail)
    with pytest.raises(InputError) as error:
        export_bundle(bundle, output, overwrite=True)
    assert "No space left on device" in message_of(error)
    assert output.stat().st_ino == before
    assert neighbours(output) == [name]


@pytest.mark.parametrize("name", ["copy", "copy.zip"])
def test_the_command_names_files_that_are_too_large_for_the_model_zoo(name, bundle, tmp_path, capsys):
    main([str(bundle), "--output", str(tmp_path / "small")])
    assert "large_files" not in capsys.readouterr().out
    with open(bundle / "docs" / "film.png", "wb") as file:
        file.truncate(30 * 2**20)
    main([str(bundle), "--output", str(tmp_path / name)])
    printed = capsys.readouterr().out
    assert f"bundle written to {tmp_path / name}" in printed
    assert "docs/film.png (30 MB)" in printed


@pytest.mark.parametrize("name", ["copy", "copy.zip"])
def test_the_command_reports_whether_the_bundle_holds_weights(name, bundle, make_network, tmp_path, capsys):
    main([str(bundle), "--output", str(tmp_path / name)])
    assert "it holds no weights: inference needs models/model.pt" in capsys.readouterr().out
    save_model(make_network(), tmp_path / "model.pt")
    main([str(bundle), "--output", str(tmp_path / f"with_{name}"), "--checkpoint", str(tmp_path / "model.pt")])
    assert "no weights" not in capsys.readouterr().out


def test_configurations_name_the_folder_of_the_bundle_instead_of_one_of_the_repository(bundle, tmp_path):
    configs = export_bundle(bundle, tmp_path / "out") / "configs"
    assert (configs / "inference.yaml").read_text().startswith("bundle_root: . # where it is\n")
    assert (configs / "quickstart.yaml").read_text().startswith("# --config_file configs/train.yaml\n")


@pytest.mark.parametrize("name", ["polyp", "busi", "isic", "bcss"])
def test_the_json_files_state_the_same_as_the_yaml_files(name, tmp_path):
    configs = export_bundle(ROOT / "bundles" / f"semigda_{name}", tmp_path / "out") / "configs"
    assert {path.stem for path in configs.glob("*.json")} == {"train", "inference", "evaluate", "metadata"}
    for command in ("train", "inference", "evaluate"):
        in_yaml = ConfigParser.load_config_file(configs / f"{command}.yaml")
        assert json.loads((configs / f"{command}.json").read_text()) == in_yaml
        in_repository = ConfigParser.load_config_file(ROOT / "bundles" / f"semigda_{name}/configs/{command}.yaml")
        assert in_yaml == {**in_repository, "bundle_root": "."}


def configurations_of(folder):
    return {path.name: json.loads(path.read_text()) for path in (folder / "configs").glob("*.json")}


@pytest.mark.parametrize("with_model", [False, True])
def test_for_monai_label_the_overlays_are_merged_and_no_yaml_is_left(with_model, trainable, model, tmp_path):
    output = export_bundle(trainable, tmp_path / "out", model if with_model else None, monai_label=True)
    configurations = configurations_of(output)
    names = {"train.json", "inference.json", "metadata.json", "multi_gpu_train.json"}
    assert configurations.keys() == names
    assert {path.name for path in (output / "configs").iterdir()} == {*names, "logging.conf"}
    training, inference = configurations["train.json"], configurations["inference.json"]
    assert (training["bundle_root"], training["run_name"], training["val_interval"]) == (
        ".",
        "monai_label",
        "$max(1, @segmentation_epochs // 10)",
    )
    assert training["train"]["dataset"] == {"_target_": "Dataset", "data": [], "transform": "@train#preprocessing"}
    assert training["session"]["save"]["_target_"] == "custom.monai_label.ModelPublisher"
    assert training["from_scratch"][-1] == "$@session.run()"
    before = ConfigParser.load_config_file(trainable / "configs" / "train.yaml")
    assert {key: training[key] for key in ("augmentation", "learning_rate", "tracker", "initialize")} == {
        key: before[key] for key in ("augmentation", "learning_rate", "tracker", "initialize")
    }
    assert inference["postprocessing"]["transforms"] == [
        "load",
        {"_target_": "SqueezeDimd", "keys": "pred", "dim": 0},
        {"_target_": "custom.monai_label.DescribeResultd", "keys": "pred", "model": "@checkpoint"},
    ]
    assert configurations["multi_gpu_train.json"] == ConfigParser.load_config_file(
        OVERLAYS.parent / "multi_gpu_train.yaml"
    )
    assert (output / "models" / "model.pt").is_file() is with_model


@pytest.mark.parametrize(
    ("stated", "classes", "names"),
    [
        ({"0": "lesion"}, None, {"0": "background", "1": "lesion"}),
        ({"0": "lesion"}, 2, {"0": "background", "1": "lesion"}),
        ({"0": "background", "1": "lesion"}, 2, {"0": "background", "1": "lesion"}),
        ({"0": "lesion"}, 3, {"0": "background", "1": "class 1", "2": "class 2"}),
        ({"0": "cup", "1": "disc"}, 3, {"0": "background", "1": "cup", "2": "disc"}),
    ],
)
def test_for_monai_label_the_metadata_names_all_classes(stated, classes, names, trainable, make_network, tmp_path):
    def metadata_naming(names):
        return {**METADATA, "network_data_format": {"outputs": {"pred": {"channel_def": names}}}}

    (trainable / "configs" / "metadata.json").write_text(json.dumps(metadata_naming(stated)))
    checkpoint = None
    if classes is not None:
        checkpoint = tmp_path / "model.pt"
        save_model(make_network("tiny", num_classes=classes), checkpoint)
    output = export_bundle(trainable, tmp_path / "out", checkpoint, monai_label=True)
    assert configurations_of(output)["metadata.json"] == metadata_naming(names)


@pytest.mark.parametrize("monai_label", [False, True])
def test_the_exported_bundle_itself_stays_as_it_is(monai_label, trainable, tmp_path):
    before = {name: (trainable / name).read_bytes() for name in files_of(trainable)}
    export_bundle(trainable, tmp_path / "out", monai_label=monai_label)
    assert {name: (trainable / name).read_bytes() for name in files_of(trainable)} == before


def test_otherwise_the_metadata_and_the_overlays_travel_as_they_are(trainable, tmp_path):
    output = export_bundle(trainable, tmp_path / "out")
    assert json.loads((output / "configs" / "metadata.json").read_text()) == METADATA
    for name in ("train.yaml", "inference.yaml"):
        overlay = output / "custom" / "configs" / "monai_label" / name
        assert overlay.read_bytes() == (OVERLAYS / name).read_bytes()


def test_a_bundle_without_a_training_is_not_for_monai_label(bundle, tmp_path, message_of):
    (tmp_path / "place").mkdir()
    with pytest.raises(InputError) as error:
        export_bundle(bundle, tmp_path / "place" / "out", monai_label=True)
    assert "lesions cannot be trained in MONAI Label: configs/train.yaml is missing" in message_of(error)
    assert list((tmp_path / "place").iterdir()) == []


def test_the_command_exports_for_monai_label(trainable, tmp_path, capsys):
    main([str(trainable), "--output", str(tmp_path / "out"), "--monai-label"])
    assert f"bundle written to {tmp_path / 'out'}" in capsys.readouterr().out
    assert configurations_of(tmp_path / "out")["train.json"]["run_name"] == "monai_label"


def test_for_monai_label_the_model_of_another_method_predicts_and_has_no_training(trainable, tmp_path):
    path = tmp_path / "other" / "model.pt"
    save_model(UNet(widths=(4, 4, 4, 4, 4)), path)
    output = export_bundle(trainable, tmp_path / "out", path, monai_label=True)
    assert configurations_of(output).keys() == {"inference.json", "metadata.json"}
    assert (output / "models" / "model.pt").read_bytes() == path.read_bytes()
    export_bundle(trainable, tmp_path / "plain", path)
    assert (tmp_path / "plain" / "configs" / "train.json").is_file()


def test_the_command_reports_that_a_bundle_has_no_weights(bundle, model, tmp_path, capsys):
    main([str(bundle), "--output", str(tmp_path / "without")])
    assert "it holds no weights" in capsys.readouterr().out
    main([str(bundle), "--output", str(tmp_path / "with"), "--checkpoint", str(model)])
    assert "weights" not in capsys.readouterr().out
