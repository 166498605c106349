from __future__ import annotations

import errno
import json
import shutil
import zipfile

import pytest
import torch

from custom.errors import InputError
from custom.export import export_bundle, main
from custom.networks import UNet, save_model


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
        "configs/inference.json",
        "configs/presets/paper.json",
        "docs/README.md",
        "runs/first/model.pt",
        "data/image.png",
        "LICENSE",
        "configs/__pycache__/x.pyc",
        "docs/.hidden",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder.parent / "weights").mkdir()
    (folder.parent / "weights" / "config.json").write_text("{}")
    (folder / "first_stages").mkdir()
    (folder / "first_stages" / "phantom").symlink_to("../../weights")
    (folder.parent / "custom").mkdir()
    (folder / "custom").symlink_to("../custom")
    return folder


def metadata_naming(classes):
    return {"version": "0.1.0", "network_data_format": {"outputs": {"pred": {"channel_def": classes}}}}


@pytest.fixture
def bundle_with_overlays(bundle):
    """The bundle with configurations that can be merged, and overlays for MONAI Label."""
    configs = {
        "train.json": {"epochs": 1, "train": {"data": "mine", "handlers": ["one"]}},
        "inference.json": {"steps": ["load"]},
        "metadata.json": metadata_naming({"0": "lesion"}),
    }
    overlays = {
        "train.json": {"epochs": 5, "train#data": [], "+train#handlers": ["two"], "start": "model.pt"},
        "inference.json": {"+steps": ["describe"]},
        "metadata.json": {"network_data_format#outputs#pred#channel_def": {"0": "background", "1": "lesion"}},
    }
    for folder, contents in (("configs", configs), ("configs/monai_label", overlays)):
        (bundle / folder).mkdir(exist_ok=True)
        for name, content in contents.items():
            (bundle / folder / name).write_text(json.dumps(content))
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
        "configs/inference.json",
        "configs/presets/paper.json",
        "docs/README.md",
        "first_stages/phantom/config.json",
        "LICENSE",
    }
    assert {"custom/__init__.py", "custom/networks/semigda.py", "custom/export.py"} <= code
    assert "custom/monai_label/app/README.md" in code
    assert all(name.endswith((".py", ".json")) for name in code - {"custom/monai_label/app/README.md"})
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


@pytest.mark.parametrize("missing", ["configs/metadata.json", "configs/inference.json", "LICENSE"])
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
def test_the_command_says_whether_the_bundle_holds_weights(name, bundle, make_network, tmp_path, capsys):
    main([str(bundle), "--output", str(tmp_path / name)])
    assert "it holds no weights: inference needs models/model.pt" in capsys.readouterr().out
    save_model(make_network(), tmp_path / "model.pt")
    main([str(bundle), "--output", str(tmp_path / f"with_{name}"), "--checkpoint", str(tmp_path / "model.pt")])
    assert "no weights" not in capsys.readouterr().out


def configurations_of(folder):
    return {path.name: json.loads(path.read_text()) for path in (folder / "configs").glob("*.json")}


@pytest.mark.parametrize("with_model", [False, True])
def test_for_monai_label_the_overlays_are_merged_and_vanish(with_model, bundle_with_overlays, model, tmp_path):
    checkpoint = model if with_model else None
    output = export_bundle(bundle_with_overlays, tmp_path / "out", checkpoint, monai_label=True)
    assert configurations_of(output) == {
        "train.json": {"epochs": 5, "train": {"data": [], "handlers": ["one", "two"]}, "start": "model.pt"},
        "inference.json": {"steps": ["load", "describe"]},
        "metadata.json": metadata_naming({"0": "background", "1": "lesion"}),
    }
    assert not (output / "configs" / "monai_label").exists()
    assert (output / "configs" / "presets" / "paper.json").is_file()
    assert (output / "models" / "model.pt").is_file() is with_model


@pytest.mark.parametrize("monai_label", [False, True])
def test_the_exported_bundle_itself_stays_as_it_is(monai_label, bundle_with_overlays, tmp_path):
    before = {name: (bundle_with_overlays / name).read_bytes() for name in files_of(bundle_with_overlays)}
    export_bundle(bundle_with_overlays, tmp_path / "out", monai_label=monai_label)
    assert {name: (bundle_with_overlays / name).read_bytes() for name in files_of(bundle_with_overlays)} == before


def test_otherwise_the_overlays_travel_as_they_are(bundle_with_overlays, tmp_path):
    output = export_bundle(bundle_with_overlays, tmp_path / "out")
    assert configurations_of(output) == configurations_of(bundle_with_overlays)
    for name in ("train.json", "inference.json", "metadata.json"):
        overlay = f"configs/monai_label/{name}"
        assert (output / overlay).read_bytes() == (bundle_with_overlays / overlay).read_bytes()


def test_a_bundle_without_overlays_is_not_for_monai_label(bundle, tmp_path, message_of):
    with pytest.raises(InputError) as error:
        export_bundle(bundle, tmp_path / "place" / "out", monai_label=True)
    assert "lesions has no overlays for MONAI Label: configs/monai_label/ is missing" in message_of(error)
    assert list((tmp_path / "place").iterdir()) == []


def test_the_command_exports_for_monai_label(bundle_with_overlays, tmp_path, capsys):
    main([str(bundle_with_overlays), "--output", str(tmp_path / "out"), "--monai-label"])
    assert f"bundle written to {tmp_path / 'out'}" in capsys.readouterr().out
    assert configurations_of(tmp_path / "out")["train.json"]["epochs"] == 5


def test_for_monai_label_the_model_of_another_method_is_refused(bundle_with_overlays, tmp_path, message_of):
    path = tmp_path / "other" / "model.pt"
    save_model(UNet(widths=(4, 4, 4, 4, 4)), path)
    with pytest.raises(InputError) as error:
        export_bundle(bundle_with_overlays, tmp_path / "out", path, monai_label=True)
    assert "in MONAI Label the bundle trains SemiGDA" in message_of(error)
    export_bundle(bundle_with_overlays, tmp_path / "out", path)  # for inference it is as good as any
    assert (tmp_path / "out" / "models" / "model.pt").is_file()


def test_the_command_says_that_a_bundle_has_no_weights(bundle, model, tmp_path, capsys):
    main([str(bundle), "--output", str(tmp_path / "without")])
    assert "it holds no weights" in capsys.readouterr().out
    main([str(bundle), "--output", str(tmp_path / "with"), "--checkpoint", str(model)])
    assert "weights" not in capsys.readouterr().out
