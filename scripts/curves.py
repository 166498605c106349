"""Validation curves of runs beside each other, from their `metrics.csv`.

python -m scripts.curves RUN [RUN ...] --names "2 + 2 images" "2 labels" "4 labels" --output curves.png
python -m scripts.curves RUN [RUN ...] --labelled-batches 2 2 4       over the labelled images seen instead
"""

from __future__ import annotations

from pathlib import Path

import click

from custom.command_line import Command, Name, PathTo, Text, Values, WholeNumber, run_command
from custom.errors import InputError
from custom.tables import read_csv

__all__ = ["draw_curves", "main", "read_curve"]

BRANCHES = ("mean", "image_branch", "mask_branch")


def read_curve(run: Path, name: str, stage: str = "segmentation") -> tuple[list[int], list[float]]:
    """Steps and values of one figure of a run.

    Raises:
        InputError: the run has no such figure.
    """
    try:
        rows = [row for row in read_csv(run / "metrics.csv") if row["stage"] == stage and row["name"] == name]
    except (OSError, ValueError) as error:
        raise InputError(f"{run / 'metrics.csv'}: cannot be read; give the folder of a run") from error
    if not rows:
        raise InputError(
            f"{run / 'metrics.csv'}: holds no {stage}/{name}; give the folder of another run or another --metric"
        )
    return [int(row["step"]) for row in rows], [float(row["value"]) for row in rows]


def draw_curves(
    runs: list[Path], names: list[str], output: Path, metric: str = "dice", labelled_batches: list[int] | None = None
) -> None:
    """Write a PNG with a panel for each branch and a line for each run: validation metric over training steps.

    With `labelled_batches`, the number of labelled images in a step of each run, over the labelled images seen.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6), layout="constrained", dpi=110)
    for axes, branch in zip(figure.subplots(1, len(BRANCHES), sharey=True), BRANCHES, strict=True):
        for run, name, batch in zip(runs, names, labelled_batches or [1] * len(runs), strict=True):
            steps, values = read_curve(run, f"validation/{metric}/{branch}")
            axes.plot([step * batch for step in steps], values, label=name, linewidth=1.8)
        axes.set_title(branch.replace("_", " "))
        axes.set_xlabel("labelled images seen" if labelled_batches else "training steps")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel(f"validation {metric}")
    figure.axes[-1].legend(loc="lower right", frameon=False)
    figure.savefig(output)


@click.command(cls=Command)
@click.argument("runs", nargs=-1, required=True, type=PathTo("folder"), metavar="RUN...")
@click.option("--names", cls=Values, type=Text(), metavar="NAME ...", help="One for each run (default: of its folder).")
@click.option("--metric", type=Name(("dice", "iou", "hd95")), default="dice", metavar="NAME", help="dice, iou or hd95.")
@click.option(
    "--labelled-batches",
    cls=Values,
    type=WholeNumber(1, 100_000),
    metavar="N ...",
    help="Labelled images in a step, one number for each run.",
)
@click.option(
    "--output", type=PathTo("file", new=True), default="curves.png", metavar="PNG", help="Default: curves.png."
)
def command(runs: list[Path], names: list[str], metric: str, labelled_batches: list[int], output: Path) -> None:
    """Draw the validation curves of runs beside each other, from their `metrics.csv`."""
    names = names or [run.name for run in runs]
    for option, given in (("--names", names), ("--labelled-batches", labelled_batches or names)):
        if len(given) != len(runs):
            raise InputError(f"{option}: give {len(runs)} values, one for each run")
    draw_curves(runs, names, output, metric, labelled_batches)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    run_command(command, arguments, "python -m scripts.curves")


if __name__ == "__main__":
    main()
