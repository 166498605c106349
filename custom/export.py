"""Copy a bundle of this repository with everything it needs into one folder or ZIP file.

The configurations of an exported bundle are the YAML files of the repository, for people to read and change. Beside
them are train.json, inference.json and evaluate.json with the same content: `monai.bundle.load` reads
`{workflow_type}.json` and no YAML, and so do tools that look for `configs/inference.json`.

An export for MONAI Label holds JSON files alone. MONAI Label reads one file for training and one for inference, JSON
before YAML, so the overlays of `custom/configs/monai_label` are merged into them. YAML files beside them would differ
from what the server does.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from custom.checkpoints.untrained import UNTRAINED
from custom.command_line import BUNDLE, Command, PathTo, run_command
from custom.errors import InputError

__all__ = ["check_bundle", "export_bundle", "is_trainable_in_monai_label", "main"]

REQUIRED = ("configs/metadata.json", "configs/inference.yaml", "LICENSE")
PARTS = ("configs", "docs", "first_stages", "LICENSE", "large_files.yml")
READ_AS_JSON = ("train", "inference", "evaluate")
LARGE = 25 * 2**20  # bytes; the model zoo wants larger files listed in large_files.yml
CODE = Path(__file__).parent
MONAI_LABEL = CODE / "configs" / "monai_label"


def export_bundle(
    bundle: str | os.PathLike,
    output: str | os.PathLike,
    checkpoint: str | os.PathLike | None = None,
    overwrite: bool = False,
    monai_label: bool = False,
) -> Path:
    """Write a self-contained copy of `bundle`: configurations, documentation, licence, first stages, code and weights.

    Links are followed; data, runs and caches stay behind. In the configurations, `bundle_root` becomes "." and
    paths of the repository become paths of the bundle. The copy is made beside `output` and renamed when it is
    complete, so `output` is the old one or the whole new one.

    Args:
        bundle: folder of the bundle.
        output: the folder that becomes the bundle, or a file that ends in `.zip`, which holds a folder named like
            `bundle`.
        checkpoint: the `model.pt` of a run, which becomes `models/model.pt`; None for the bundle's own, if there.
        overwrite: replace what lies at `output`: a file, an empty folder or a bundle, no other folder.
        monai_label: make a bundle for `model/` of a MONAI Label app: the overlays of `custom/configs/monai_label` are
            merged into its configurations, and its metadata names all classes, the background first. With a model of
            another network than SemiGDA it has no configuration of a training, and MONAI Label offers inference alone.

    Returns:
        The path written.

    Raises:
        InputError: no bundle at `bundle`, no model at `checkpoint`, or `output` is taken or cannot be written.
    """
    bundle, output = Path(bundle).absolute(), Path(output).absolute()
    from custom.networks import model_details

    check_bundle(bundle)
    if monai_label and not (bundle / "configs" / "train.yaml").is_file():
        raise InputError(f"{bundle} cannot be trained in MONAI Label: configs/train.yaml is missing")
    model = Path(checkpoint) if checkpoint is not None else bundle / "models" / "model.pt"
    if checkpoint is not None or model.exists():
        model_details(model)  # raises where it is no model
    else:
        model = None
    _check_output(output, bundle, overwrite)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as temporary:
            copy = Path(temporary) / "new" / bundle.resolve().name
            _copy(bundle, model, copy)
            _make_relative(copy / "configs")
            if monai_label:
                _configure_for_monai_label(
                    copy / "configs", trainable=model is None or is_trainable_in_monai_label(model)
                )
                _name_all_classes(copy / "configs" / "metadata.json", model)
            else:
                _write_as_json(copy / "configs")
            if output.suffix == ".zip":
                copy = Path(shutil.make_archive(str(Path(temporary) / "new"), "zip", copy.parent, copy.name))
            elif output.is_dir():
                os.replace(output, Path(temporary) / "old")
            os.replace(copy, output)
    except (OSError, shutil.Error) as error:
        raise InputError(f"cannot write {output}: {_reason(error)}") from error
    return output


def check_bundle(bundle: Path) -> None:
    """Refuse a folder that is no bundle.

    Raises:
        InputError: a file that every bundle has is missing.
    """
    missing = [name for name in REQUIRED if not (bundle / name).is_file()]
    if missing:
        raise InputError(f"{bundle} is not a bundle: {missing[0]} is missing; give the folder that holds configs/")


def _check_output(output: Path, bundle: Path, overwrite: bool) -> None:
    if not os.path.lexists(output):
        return
    if not overwrite:
        raise InputError(f"{output} is there already: give another --output, or --overwrite")
    is_zip = output.suffix == ".zip"
    if output.is_dir() and (is_zip or bundle.resolve().is_relative_to(output.resolve()) or not _is_replaceable(output)):
        raise InputError(f"{output} is a folder that --overwrite leaves alone: give another --output")
    if output.is_file() and not is_zip:
        raise InputError(f"{output} is a file: give a folder, or a name that ends in .zip")


def _is_replaceable(folder: Path) -> bool:
    """An exported bundle, which holds its code as a folder, or nothing: no work is lost with it."""
    exported = (folder / REQUIRED[0]).is_file() and (folder / "custom").is_dir() and not (folder / "runs").exists()
    return (exported and not (folder / "custom").is_symlink()) or not any(folder.iterdir())


def _copy(bundle: Path, model: Path | None, copy: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__", "*.py[cod]", ".*")
    shutil.copytree(CODE, copy / "custom", ignore=ignore)
    for part in PARTS:
        source = bundle / part
        if source.is_dir():
            shutil.copytree(source, copy / part, ignore=ignore)
        elif source.exists():
            shutil.copy2(source, copy / part)
    if model is not None:
        (copy / "models").mkdir()
        shutil.copy2(model, copy / "models" / "model.pt")
        if (note := model.with_name(UNTRAINED)).is_file():
            shutil.copy2(note, copy / "models" / note.name)


def is_trainable_in_monai_label(model: str | os.PathLike) -> bool:
    """Whether a bundle for MONAI Label can train this model: it trains SemiGDA; other networks predict only."""
    from custom.checkpoints import load_checkpoint

    return load_checkpoint(model)["architecture"].get("network", "SemiGDA") == "SemiGDA"


def _make_relative(configs: Path) -> None:
    """Let the YAML files name the bundle's own folder, in values and in comments, instead of one of the repository."""
    for file in configs.glob("*.yaml"):
        text = re.sub(r"^bundle_root: *[^\s#]+", "bundle_root: .", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
        file.write_text(re.sub(r"\bbundles/[\w.-]+/", "", text), encoding="utf-8")


def _write_as_json(configs: Path) -> None:
    for file in (configs / f"{name}.yaml" for name in READ_AS_JSON):
        if file.is_file():
            _save(_load(file), file.with_suffix(".json"))


def _configure_for_monai_label(configs: Path, trainable: bool) -> None:
    """Merge the overlays into the files that MONAI Label reads, and leave no YAML file.

    Without a file for training MONAI Label offers inference alone.
    """
    from monai.bundle import ConfigParser

    _write_as_json(configs)
    for overlay in MONAI_LABEL.glob("*.yaml"):
        merged = ConfigParser.load_config_files([str(configs / overlay.name), str(overlay)])
        _save(merged, configs / f"{overlay.stem}.json")
    _save(_load(CODE / "configs" / "multi_gpu_train.yaml"), configs / "multi_gpu_train.json")
    for file in configs.glob("*.yaml"):
        file.unlink()
    for name in () if trainable else ("train", "multi_gpu_train"):
        (configs / f"{name}.json").unlink()


def _load(file: Path) -> dict[str, Any]:
    from monai.bundle import ConfigParser

    return ConfigParser.load_config_file(file)


def _save(content: dict[str, Any], file: Path) -> None:
    file.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")


def _name_all_classes(metadata: Path, model: Path | None) -> None:
    """Name all classes, the background first, since MONAI Label shows the names by class index.

    The bundle's metadata names the foreground. A model with another number of classes has numbers for names.
    """
    content = json.loads(metadata.read_text(encoding="utf-8"))
    prediction = content["network_data_format"]["outputs"]["pred"]
    names = ["background", *(name for name in prediction["channel_def"].values() if name != "background")]
    if model is not None:
        from custom.checkpoints import load_checkpoint
        from custom.data import classes_by_number

        classes = load_checkpoint(model)["architecture"]["num_classes"]
        names = names if len(names) == classes else classes_by_number(classes)
    prediction["channel_def"] = {str(index): name for index, name in enumerate(names)}
    _save(content, metadata)


def _reason(error: OSError) -> str:
    """One line; `copytree` gathers (source, destination, reason) of every file that failed."""
    if error.args and isinstance(error.args[0], list):
        source, _, reason = error.args[0][0]
        return f"{source}: {reason}"
    return error.strerror or str(error)


def holds_weights(output: Path) -> bool:
    """Whether an exported bundle, a folder or a ZIP file, has a `models/model.pt`."""
    if output.is_dir():
        return (output / "models" / "model.pt").is_file()
    with zipfile.ZipFile(output) as archive:
        return any(name.split("/", 1)[-1] == "models/model.pt" for name in archive.namelist())


def _large_files(output: Path) -> list[str]:
    """Files of an exported bundle which the model zoo does not take, relative to the bundle, with their size."""
    if output.is_dir():
        sizes = {str(path.relative_to(output)): path.stat().st_size for path in output.rglob("*")}
    else:
        with zipfile.ZipFile(output) as archive:
            sizes = {entry.filename.split("/", 1)[1]: entry.file_size for entry in archive.infolist()}
    return [f"{name} ({size / 2**20:.0f} MB)" for name, size in sorted(sizes.items()) if size > LARGE]


@click.command(cls=Command, help=__doc__)
@click.argument("bundle", type=BUNDLE, metavar="BUNDLE")
@click.option(
    "--output", type=PathTo(new=True), required=True, metavar="DIR_OR_ZIP", help="The new bundle's folder, or NAME.zip."
)
@click.option(
    "--checkpoint", type=PathTo("file"), metavar="FILE", help="model.pt of a run (default: the bundle's own, if any)."
)
@click.option("--overwrite", is_flag=True, help="Replace an exported bundle that is there already.")
@click.option("--monai-label", is_flag=True, help="For model/ of a MONAI Label app.")
def command(bundle: Path, output: Path, checkpoint: Path | None, overwrite: bool, monai_label: bool) -> None:
    """Export a bundle and print where it is."""
    written = export_bundle(bundle, output, checkpoint, overwrite, monai_label)
    print(f"bundle written to {written}")
    if not holds_weights(written):
        print("it holds no weights: inference needs models/model.pt; give --checkpoint with the model.pt of a run")
    if large := _large_files(written):
        print(f"for the model zoo, list in large_files.yml: {', '.join(large)}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    run_command(command, arguments, "python -m custom export")
