"""All commands of this package but training, which `python -m monai.bundle run` does."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from custom.command_line import CommandGroup, run_command

__all__ = ["command", "main"]

COMMANDS = {
    "prepare": ("custom.prepare.command", "Turn a download or your own folder into checked training data."),
    "benchmark": ("custom.benchmark.command", "Compare methods on a bundle and write one table."),
    "export": ("custom.export", "Write a bundle with all it needs to one folder or ZIP file."),
    "ship": ("custom.shipping", "Make a trained model the bundle's own, in half precision."),
    "duplicates": ("custom.prepare.duplicates.search", "Find images that a data set holds more than once."),
    "label-app": ("custom.monai_label.command", "Make an app for MONAI Label from bundles."),
    "phantom": ("custom.phantoms.dataset", "Write a synthetic data set."),
}

command = CommandGroup(
    COMMANDS,
    """Semi-supervised medical image segmentation as MONAI bundles.

    `python -m custom COMMAND --help` lists the options of a command. A bundle is trained with `python -m monai.bundle
    run training --config_file bundles/.../configs/train.yaml`.
    """,
)


def main(arguments: Sequence[str] | None = None) -> Any:
    """Command line; returns what the command returns, which `benchmark` does with its exit status."""
    return run_command(command, arguments, "python -m custom")


if __name__ == "__main__":
    sys.exit(main())
