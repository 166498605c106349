"""Make an app for MONAI Label from bundles: trained ones, or new ones that the server will train."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from custom.checkpoints.untrained import is_trained, mark_as_untrained
from custom.command_line import BUNDLE, SEED, Command, PathOrId, PathTo, Text, WholeNumber, run_command
from custom.error_causes import find_input_error
from custom.errors import InputError
from custom.export import export_bundle
from custom.labels import MOST_CLASSES

__all__ = ["add_bundle", "main"]

TEMPLATE = Path(__file__).with_name("app")
DETAILS = ("method", "preset", "first_stage", "image_size")
KEYS = {"num_classes": "network_def#num_classes", "mapper_width": "network_def#mapper_width"}
"""Options of this command that are values of the network in train.yaml; the others have the names of their keys."""

_AS_IN_BUNDLE = "Default: as in the bundle's train.yaml."


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
        checkpoint: `model.pt` of a run; None for the bundle's own model, and an untrained one where there is none.
        settings: keys of the bundle's `train.yaml` for an untrained model, such as first_stage and width; with any of
            them the bundle's own model is left out.
        overwrite: replace the bundle if the app has it and has not trained it.

    Returns:
        The bundle's new place.

    Raises:
        InputError: a wrong setting, no bundle there, no such checkpoint, a first stage that cannot be loaded, the app
            has this bundle already, or `app` is a folder with other things.
    """
    bundle, app = Path(bundle).absolute(), Path(app)
    from custom.options import check_values

    settings = check_values("train", settings or {}, settings)
    _check_app(app)
    place = app / "model" / bundle.resolve().name
    own = bundle / "models" / "model.pt"
    if checkpoint is None and not settings and is_trained(own):
        checkpoint = own
    with tempfile.TemporaryDirectory() as temporary:
        model = Path(checkpoint) if checkpoint is not None else Path(temporary) / "model.pt"
        if checkpoint is None:
            _save_untrained(bundle, model, settings)
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
    configuration = bundle / "configs" / "train.yaml"
    if not configuration.is_file():
        raise InputError(f"{bundle} is not a bundle: {configuration} is missing; give the folder that holds configs/")
    from monai.bundle import ConfigParser

    from custom.engines import first_stage_name
    from custom.networks import save_model

    parser = ConfigParser()
    parser.read_config(str(configuration))
    parser.update({"bundle_root": str(bundle), "network_def#num_classes": 2, **settings})
    try:
        network = parser.get_parsed_content("network_def")
        details = {key: parser.get_parsed_content(key) for key in DETAILS}
    except Exception as error:
        raise find_input_error(error) or error from None
    save_model(network, model, details | {"first_stage": first_stage_name(details["first_stage"], network)})


@click.command(cls=Command, help=__doc__)
@click.option("--app", type=PathTo("folder", new=True), required=True, metavar="DIR", help="Made if it is not there.")
@click.option(
    "--bundle",
    type=BUNDLE,
    required=True,
    metavar="DIR",
    help="Folder of the bundle, such as bundles/semigda_busi.",
)
@click.option(
    "--checkpoint",
    type=PathTo("file"),
    metavar="FILE",
    help="model.pt of a run (default: the bundle's own; with options below, an untrained one).",
)
@click.option("--overwrite", is_flag=True, help="Replace the bundle if the app has not trained it yet.")
@click.option("--first-stage", type=PathOrId(), metavar="PATH_OR_ID", help="Of an untrained model, as all below.")
@click.option("--first-stage-subfolder", type=Text(), metavar="NAME", help=_AS_IN_BUNDLE)
@click.option("--image-size", type=WholeNumber(8, 4096), metavar="PIXELS", help=_AS_IN_BUNDLE)
@click.option("--num-classes", type=WholeNumber(2, MOST_CLASSES), metavar="N", help="With the background (default: 2).")
@click.option("--width", type=WholeNumber(1, 1024), metavar="N", help=_AS_IN_BUNDLE)
@click.option("--mapper-width", type=WholeNumber(1, 1024), metavar="N", help=_AS_IN_BUNDLE)
@click.option("--seed", type=SEED, metavar="N", help=_AS_IN_BUNDLE)
def command(app: Path, bundle: Path, checkpoint: Path | None, overwrite: bool, **options: Any) -> None:
    """Add a bundle to an app and print how to start the server."""
    settings = {key: value for key, value in options.items() if value is not None}
    if checkpoint and settings:
        option = next(iter(settings)).replace("_", "-")
        raise InputError(f"--{option} is for an untrained model, and --checkpoint gives a trained one: leave it out")
    settings = {KEYS.get(key, key): value for key, value in settings.items()}
    added = add_bundle(bundle, app, checkpoint, settings, overwrite)
    print(f"bundle written to {added}")
    if not (added / "configs" / "train.json").is_file():
        print(
            "it predicts, and cannot be trained in MONAI Label, where bundles train SemiGDA: its model is another one"
        )
    print(
        f"start the server: monailabel start_server --app {shlex.quote(str(app))} --studies FOLDER_OF_IMAGES "
        "--host 127.0.0.1"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    run_command(command, arguments, "python -m custom label-app")
