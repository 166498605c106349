r"""Compare methods on a bundle: same data, schedule, selection and test for all, one table at the end.

python -m custom benchmark --bundle bundles/semigda_busi --dataset-dir DIR --methods semigda,supervised,ua_mt \
    --labels 10,30 --seeds 0,1,2 --output DIR
python -m custom benchmark --output DIR --report-only        writes tables and pictures again

Every method is trained with every labelled subset of the datalist ("10" means its subset "10%") and every seed, each
run in a process of its own. The settings that all runs share are in one file, custom/benchmark/protocol.json.
`--protocol FILE` replaces it, and any further `--KEY VALUE` changes one key of train.yaml for all runs, as in
`--image-size 64` or `--optimizer#momentum 0.5`. What the overlay of a method sets is kept, except for image size,
epochs and batches, and a setting that a method does not have is left out for this method.

OUTPUT then holds table.md, table.csv, runs.csv, dice_by_labels.png, pictures.png, protocol.json, runs/ (a folder and
a .log for each run) and mlruns.db. The same command continues a benchmark that was stopped; with more methods, labels
or seeds it adds to it. The exit status is 1 if any run failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from custom.benchmark.overrides import parse_overrides, refuse_mistyped
from custom.benchmark.plan import make_plan, split_list
from custom.benchmark.protocol import DEFAULT_PROTOCOL, check_protocol, read_base, read_protocol
from custom.command_line import BUNDLE, Command, PathTo, Text, WholeNumber, run_command
from custom.errors import InputError

__all__ = ["main"]

_FREE_KEYS = {"ignore_unknown_options": True, "allow_extra_args": True}
_HELP = __doc__.replace("\n\n", "\n\n\b\n")  # line by line, as it stands above


@click.command(cls=Command, context_settings=_FREE_KEYS, help=_HELP)
@click.option("--bundle", type=BUNDLE, metavar="DIR", help="Folder of the bundle.")
@click.option("--dataset-dir", type=PathTo("folder"), metavar="DIR", help="Folder of the data.")
@click.option("--datalist", type=PathTo("file"), metavar="FILE", help="Default: datalist.json in --dataset-dir.")
@click.option("--methods", type=Text(), metavar="A,B", help="semigda and names of custom/configs/methods.")
@click.option("--labels", type=Text(), metavar="A,B", help="Labelled subsets: 10,30 for 10%,30%; all.")
@click.option("--seeds", type=Text(), default="0,1,2", metavar="A,B", help="Default: 0,1,2.")
@click.option(
    "--output", type=PathTo("folder", new=True), metavar="DIR", help="For everything that is written; always needed."
)
@click.option(
    "--protocol", type=PathTo("file"), default=str(DEFAULT_PROTOCOL), metavar="FILE", help="Settings of all runs."
)
@click.option("--jobs", type=WholeNumber(1, 1024), default=1, metavar="N", help="Runs at once (default: 1).")
@click.option("--experiment", type=Text(), metavar="NAME", help="MLflow experiment (default: benchmark_BUNDLE).")
@click.option(
    "--published",
    type=Text(),
    metavar="NAME",
    help="Data set whose published numbers are shown, or none (default: the bundle's).",
)
@click.option("--report-only", is_flag=True, help="Train nothing.")
@click.pass_context
def command(context: click.Context, report_only: bool, published: str | None, **options: Any) -> int:
    """Check the options, then train or report."""
    overrides = parse_overrides(context.args)
    base = read_base(options["bundle"]) if options["bundle"] else {}
    refuse_mistyped(overrides, base, [param.name for param in context.command.params])
    for name in ("output",) if report_only else ("bundle", "dataset_dir", "methods", "labels", "output"):
        if not options[name]:
            raise InputError(f"--{name.replace('_', '-')} is missing; see --help")
    output = _plain("--output", options["output"])
    if report_only:
        if context.args:
            file = output / "protocol.json"
            raise InputError(f"{context.args[0]}: with --report-only the settings are those in {file}")
        from custom.benchmark.session import report_again

        return report_again(output, published)
    plan = make_plan(
        _plain("--bundle", options["bundle"]),
        options["dataset_dir"],
        split_list(options["methods"]),
        split_list(options["labels"]),
        split_list(options["seeds"]),
        options["datalist"],
    )
    overrides = parse_overrides(context.args, base)
    settings = {**read_protocol(options["protocol"]), **overrides}
    check_protocol(settings, plan, overrides)
    from custom.benchmark.session import run_benchmark

    return run_benchmark(plan, settings, output, options["jobs"], options["experiment"], published)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return run_command(command, arguments, "python -m custom benchmark")


def _plain(option: str, folder: Path) -> Path:
    """The absolute path, which becomes part of a command and a configuration of each run."""
    if any(text in str(folder.absolute()) for text in ("[", "]", "'", '"', ",", "@#", "%#")):
        raise InputError(f"{option} {folder}: MONAI takes no brackets, quotes and commas in it; give another path")
    return folder.absolute()
