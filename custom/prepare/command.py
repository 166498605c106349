"""The command `python -m custom prepare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from custom.command_line import Command, Name, Number, PathTo, Text, Values, WholeNumber, output_folder, run_command
from custom.errors import InputError
from custom.pixels.page import MOST_MICRONS_PER_PIXEL
from custom.prepare.archives import ArchiveLimits
from custom.prepare.classes import read_mask_colours
from custom.prepare.options import PrepareOptions
from custom.prepare.sources import SOURCES
from custom.prepare.subsets import read_labelled_count
from custom.volumes.window import AUTO, check_window

if TYPE_CHECKING:
    from custom.prepare.run import Prepared

_SHARE = Number(0, 1)
_EPILOG = "\b\ndata sets and what is looked for in them:\n" + "\n".join(
    f"  {source.name:10}{source.title}\n{'':12}{source.layout}" for source in SOURCES.values()
)


class _Colours(Text):
    """What `read_mask_colours` understands."""

    name = "colours"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        read_mask_colours(super().convert(value, param, ctx))
        return value


class _Count(Text):
    """What `labelled_subsets` understands."""

    name = "count or percentage"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        read_labelled_count(super().convert(value, param, ctx))
        return value


class _Window(Text):
    """What `check_window` understands."""

    name = "window"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        words = super().convert(value, param, ctx).replace(",", " ").strip("[] ").split()
        try:
            return check_window(AUTO if words == [AUTO] else [float(word) for word in words], "--window")
        except InputError:
            raise
        except ValueError as error:
            raise InputError(f'--window is {value!r}; give "auto" or two numbers such as "-160 240"') from error


@click.command(cls=Command, epilog=_EPILOG)
@click.argument("dataset", metavar="DATASET", type=Name(SOURCES))
@click.option(
    "--source",
    type=PathTo(),
    multiple=True,
    required=True,
    metavar="DIR_OR_ARCHIVE",
    help="May be given several times.",
)
@output_folder("Folder to make; appears whole or not at all.")
@click.option(
    "--validation-share", type=_SHARE, metavar="SHARE", help="Of images without a published split (0.1; ISIC 0.2)."
)
@click.option("--test-share", type=_SHARE, metavar="SHARE", help="The same, where no test images are published (0.2).")
@click.option(
    "--seed",
    type=WholeNumber(0, 2**32 - 1),
    default=0,
    metavar="N",
    help="Of splits and labelled subsets (default: 0).",
)
@click.option("--seeded-split", is_flag=True, help="Draw the split, use no published list.")
@click.option(
    "--labelled-counts",
    cls=Values,
    type=_Count(),
    metavar="N ...",
    help='Further labelled subsets, such as 20 or "15%".',
)
@click.option(
    "--max-side",
    type=WholeNumber(16, 100_000),
    metavar="PIXELS",
    help="Scale larger images down (default: keep them as they are).",
)
@click.option(
    "--mask-colours",
    type=_Colours(),
    metavar="COLOURS",
    help='Meaning of masks, such as "0,0,0=0 255,0,0=1" (folder).',
)
@click.option(
    "--one-component/--several-components",
    "one_connected_component",
    default=None,
    help="Each class is one connected piece per image, or may be several (default: measured on the masks).",
)
@click.option(
    "--ignore-value",
    type=WholeNumber(0, 65535),
    metavar="V",
    help="Value of masks that means undecided: it counts neither in the loss nor in metrics.",
)
@click.option(
    "--window",
    type=_Window(),
    metavar='auto|"LOW HIGH"',
    help='Values of volumes that become black and white, such as "-160 240" (default: auto).',
)
@click.option(
    "--fixed-scale",
    is_flag=True,
    help="Pixels of all images have one physical size, as in microscopy: larger images are then predicted in windows.",
)
@click.option(
    "--microns-per-pixel",
    type=Number(0, MOST_MICRONS_PER_PIXEL, above=True),
    metavar="MICRONS",
    help="That size, such as 0.5: whole slides are then predicted at it.",
)
@click.option("--no-audit", is_flag=True, help="Do not look for near-duplicate images.")
@click.option("--group-duplicates", is_flag=True, help="Keep near-duplicates on one side of drawn splits.")
@click.option(
    "--max-archive-gb",
    type=Number(0, 2**20, above=True),
    default=64,
    metavar="GB",
    help="Most an archive may unpack to (64).",
)
@click.option("--overwrite", is_flag=True, help="Make a prepared folder anew; never replaces anything else.")
def command(
    dataset: str,
    source: Sequence[Path],
    output: Path,
    seeded_split: bool,
    no_audit: bool,
    max_archive_gb: float,
    overwrite: bool,
    **choices: Any,
) -> None:
    """Turn a downloaded data set, or your own folder, into checked images, masks, datalist.json and report.md."""
    given = {name: value for name, value in choices.items() if value is not None}
    options = PrepareOptions(published_split=not seeded_split, audit=not no_audit, **given)
    from custom.prepare.run import prepare_dataset

    limits = ArchiveLimits(total_bytes=round(max_archive_gb * 2**30))
    _print(prepare_dataset(dataset, source, output, options, overwrite, limits))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    run_command(command, arguments, "python -m custom prepare")


def _print(prepared: Prepared) -> None:
    counts = ", ".join(f"{split} {count}" for split, count in prepared.counts.items())
    if prepared.was_there:
        print(f"{prepared.folder} is prepared already from this source with these options: nothing to do ({counts})")
        return
    for line in prepared.classes:
        print(line)
    for warning in prepared.warnings:
        print(f"warning: {warning}")
    print(f"{prepared.folder}: {counts}; see report.md and datalist.json")
    print(f"next: {prepared.next_command}")
