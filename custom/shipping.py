"""Make the model of a run the bundle's own: `models/model.pt`, with its weights in half precision.

Evaluation, inference, `python -m custom export` and `python -m custom label-app` take it where no other is given. A
U-Net of 4.2 million parameters fits into 9 MB.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from custom.checkpoints.untrained import UNTRAINED
from custom.command_line import BUNDLE, Command, PathTo, run_command
from custom.errors import InputError
from custom.export import check_bundle

__all__ = ["main", "ship_model"]


def ship_model(
    bundle: str | os.PathLike, checkpoint: str | os.PathLike, overwrite: bool = False, half: bool = True
) -> Path:
    """Write `models/model.pt` of a bundle, with the details of the training.

    Args:
        bundle: folder of the bundle.
        checkpoint: the `model.pt` of a run.
        overwrite: replace the model that the bundle has.
        half: store weights with 16 bits, see `save_model`.

    Returns:
        The path written.

    Raises:
        InputError: no bundle at `bundle`, no model at `checkpoint`, or the bundle has a model.
    """
    from custom.networks import load_model, model_details, save_model

    bundle = Path(bundle)
    check_bundle(bundle)
    network, details = load_model(checkpoint), model_details(checkpoint)
    model = bundle / "models" / "model.pt"
    if model.exists() and not overwrite:
        raise InputError(f"{model} is there already: give --overwrite to replace it")
    save_model(network, model, details, half)
    model.with_name(UNTRAINED).unlink(missing_ok=True)
    return model


@click.command(cls=Command, help=__doc__)
@click.argument("bundle", type=BUNDLE, metavar="BUNDLE")
@click.option("--checkpoint", type=PathTo("file"), required=True, metavar="FILE", help="model.pt of a run.")
@click.option("--overwrite", is_flag=True, help="Replace the model that the bundle has.")
@click.option("--full", is_flag=True, help="Keep 32 bits for every weight.")
def command(bundle: Path, checkpoint: Path, overwrite: bool, full: bool) -> None:
    """Write the model and print its size."""
    model = ship_model(bundle, checkpoint, overwrite, not full)
    print(f"model written to {model} ({model.stat().st_size / 1e6:.1f} MB)")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    run_command(command, arguments, "python -m custom ship")
