"""Make an app for MONAI Label from bundles: trained ones, or new ones that the server will train."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from custom.checkpoints import save_model
from custom.errors import InputError, find_input_error, show_input_errors_in_one_line
from custom.export import export_bundle
from custom.monai_label.models import mark_as_untrained

__all__ = ["add_bundle", "main"]

TEMPLATE = Path(__file__).with_name("app")
DETAILS = ("method", "preset", "first_stage", "image_size")


def add_bundle(
    bundle: str | os.PathLike,
    app: str | os.PathLike,
    checkpoint: str | os.PathLike | None = None,
    settings: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Put a bundle into `app/model/`; the app is made if it is not there.

    Args:
        bundle: folder of the bundle.
        app: folder of the app.
        checkpoint: `model.pt` of a run; None for an untrained model.
        settings: keys of the bundle's `train.json` for an untrained model, such as first_stage and width.
        overwrite: replace the bundle if the app has it and has not trained it.

    Returns:
        The bundle's new place.

    Raises:
        InputError: no bundle there, no such checkpoint, a first stage that cannot be loaded, the app has this bundle
            already, or `app` is a folder with other things.
    """
    bundle, app = Path(bundle), Path(app)
    _check_app(app)
    place = app / "model" / bundle.resolve().name
    with tempfile.TemporaryDirectory() as temporary:
        model = Path(checkpoint) if checkpoint is not None else Path(temporary) / "model.pt"
        if checkpoint is None:
            _save_untrained(bundle, model, settings or {})
            mark_as_untrained(model)
        export_bundle(bundle, place, model, overwrite, monai_label=True)
    for file in TEMPLATE.iterdir():
        if file.is_file():
            shutil.copy2(file, app / file.name)
    return place


def _check_app(app: Path) -> None:
    """Refuse a folder whose own README.md or main.py the app's would replace."""
    main = app / "main.py"
    names = [file.name for file in TEMPLATE.iterdir() if file.is_file()]
    taken = [app / name for name in names if os.path.lexists(app / name)]
    if taken and not (main.is_file() and b"custom.monai_label" in main.read_bytes()):
        raise InputError(f"{min(taken)} is there and belongs to no app of this command: give another --app")


def _save_untrained(bundle: Path, model: Path, settings: dict[str, Any]) -> None:
    """Save the network that the bundle's training configuration describes, before any training."""
    configuration = bundle / "configs" / "train.json"
    if not configuration.is_file():
        raise InputError(f"{bundle} is not a bundle: {configuration} is missing")
    parser = ConfigParser()
    parser.read_config(str(configuration))
    parser.update({"bundle_root": str(bundle), "num_classes": 2, **settings})
    try:
        network = parser.get_parsed_content("network_def")
        details = {key: parser.get_parsed_content(f"details#{key}") for key in DETAILS}
    except Exception as error:
        raise find_input_error(error) or error from None
    save_model(network, model, details)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: add bundles to an app and say how to start the server."""
    show_input_errors_in_one_line()
    parser = argparse.ArgumentParser(prog="python -m custom.monai_label", description=__doc__)
    add = parser.add_argument
    add("--app", required=True, metavar="DIR", help="the app; made if it is not there")
    add("--bundle", required=True, metavar="DIR", help="folder of the bundle, such as bundles/semigda_busi")
    add("--checkpoint", metavar="FILE", help="model.pt of a run (default: an untrained model)")
    add("--overwrite", action="store_true", help="replace the bundle if the app has not trained it yet")
    new = parser.add_argument_group("an untrained model", "keys of the bundle's train.json, with its defaults")
    new.add_argument("--first_stage", metavar="PATH_OR_ID")
    new.add_argument("--first_stage_subfolder", metavar="NAME")
    for key in ("image_size", "num_classes", "width", "mapper_width", "seed"):
        new.add_argument(f"--{key}", type=int, metavar="N")
    options = vars(parser.parse_args(arguments))
    place = {key: options.pop(key) for key in ("bundle", "app", "checkpoint", "overwrite")}
    settings = {key: value for key, value in options.items() if value is not None}
    if place["checkpoint"] and settings:
        raise InputError(f"--{next(iter(settings))} is for an untrained model; a checkpoint knows its own")
    added = add_bundle(**place, settings=settings)
    print(f"bundle written to {added}")
    print(f"start the server: monailabel start_server --app {place['app']} --studies FOLDER_OF_IMAGES --host 127.0.0.1")


if __name__ == "__main__":
    main()
