"""The command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from custom.data.prepare.archives import ArchiveLimits
from custom.data.prepare.options import PrepareOptions
from custom.data.prepare.run import Prepared, prepare_dataset
from custom.data.prepare.sources import SOURCES
from custom.errors import show_input_errors_in_one_line

_EPILOG = "data sets and what is looked for in them:\n" + "\n".join(
    f"  {source.name:10}{source.title}\n{'':12}{source.layout}" for source in SOURCES.values()
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Turn a downloaded data set, or your own folder, into checked images, masks, datalist.json and report.md."""
    show_input_errors_in_one_line()
    options = vars(_parser().parse_args(arguments))
    dataset, sources, output = options.pop("dataset"), options.pop("source"), options.pop("output")
    overwrite, gigabytes = options.pop("overwrite"), options.pop("max_archive_gb")
    options["labelled_counts"] = tuple(options["labelled_counts"])
    limits = ArchiveLimits(total_bytes=round(gigabytes * 2**30))
    _tell(prepare_dataset(dataset, sources, output, PrepareOptions(**options), overwrite, limits))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m custom.data.prepare",
        description=main.__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("dataset", metavar="DATASET", help=", ".join(SOURCES))
    add("--source", action="append", required=True, metavar="DIR_OR_ARCHIVE", help="may be given several times")
    add("--output", required=True, metavar="DIR", help="folder to make; appears whole or not at all")
    add("--validation-share", type=float, metavar="SHARE", help="of images without a published split (0.1; ISIC 0.2)")
    add("--test-share", type=float, metavar="SHARE", help="the same, where no test images are published (0.2)")
    add("--seed", type=int, default=0, help="of splits and labelled subsets (default: %(default)s)")
    add("--seeded-split", dest="published_split", action="store_false", help="draw the split, use no published list")
    add("--labelled-counts", nargs="+", default=[], metavar="N", help='further labelled subsets, such as 20 or "15%%"')
    add("--max-side", type=int, metavar="PIXELS", help="scale larger images down (default: keep them as they are)")
    add("--mask-colours", default="", metavar="COLOURS", help='meaning of masks, such as "0,0,0=0 255,0,0=1" (folder)')
    add("--ignore-value", type=int, metavar="VALUE", help="of undecided pixels in masks, such as 255 (folder)")
    add("--no-audit", dest="audit", action="store_false", help="do not look for near-duplicate images")
    add("--group-duplicates", action="store_true", help="keep near-duplicates on one side of drawn splits")
    add("--max-archive-gb", type=float, default=64, metavar="GB", help="most an archive may unpack to (%(default)s)")
    add("--overwrite", action="store_true", help="make a prepared folder anew; never replaces anything else")
    return parser


def _tell(prepared: Prepared) -> None:
    counts = ", ".join(f"{split} {count}" for split, count in prepared.counts.items())
    if prepared.was_there:
        print(f"{prepared.folder} is prepared already from this source with these options: nothing to do ({counts})")
        return
    for line in prepared.classes:
        print(line)
    for warning in prepared.warnings:
        print(f"warning: {warning}")
    print(f"{prepared.folder}: {counts}; see report.md and datalist.json")


if __name__ == "__main__":
    main()
