"""Test Dice of methods against the minutes of their training and the operations of a prediction.

python -m scripts.trade_off docs/practical.csv --output docs/practical.png

The table has a row for each run: data, method, minutes, gmacs, dice, low, high. Minutes are of one processor core and
hold everything that the model needs, such as the training of its teacher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from matplotlib.figure import Figure

from custom.command_line import Command, PathTo, run_command
from custom.errors import InputError
from custom.tables import read_csv

__all__ = ["draw_trade_off", "main", "read_runs"]

NUMBERS = ("minutes", "gmacs", "dice", "low", "high")


def read_runs(path: Path) -> list[dict[str, str | float]]:
    """The rows of such a table, with numbers as numbers.

    Raises:
        InputError: the file cannot be read, is empty, lacks a column or holds a text where a number belongs.
    """
    try:
        rows = read_csv(path)
        runs = [{"data": r["data"], "method": r["method"], **{name: float(r[name]) for name in NUMBERS}} for r in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: give a CSV file with the columns data, method, {', '.join(NUMBERS)}") from error
    if not runs:
        raise InputError(f"{path}: holds no run; give a row for each")
    return runs


def draw_trade_off(runs: Sequence[Mapping[str, str | float]]) -> Figure:
    """A row of two panels for each data set, Dice over minutes and over GMACs: a point with its interval for each run.

    A method has one colour and marker in all panels.
    """
    data = list(dict.fromkeys(run["data"] for run in runs))
    methods = list(dict.fromkeys(run["method"] for run in runs))
    figure = Figure(figsize=(9, 0.7 + 2.7 * len(data)), layout="constrained", dpi=110)
    panels = figure.subplots(len(data), 2, sharey="row", squeeze=False)
    for name, (over_minutes, over_gmacs) in zip(data, panels, strict=True):
        for run in (run for run in runs if run["data"] == name):
            index = methods.index(run["method"])
            style = {
                "color": f"C{index % 10}",
                "marker": "osD^vP*X<>"[(index + index // 10) % 10],
                "label": run["method"],
            }
            interval = [[run["dice"] - run["low"]], [run["high"] - run["dice"]]]
            for axes, key in ((over_minutes, "minutes"), (over_gmacs, "gmacs")):
                axes.errorbar([run[key]], [run["dice"]], interval, elinewidth=0.7, capsize=2, linestyle="none", **style)
        over_minutes.set(ylabel="test Dice [%]", xlabel="minutes of training on one core")
        over_gmacs.set(xlabel="GMACs of a prediction")
        over_minutes.set_title(name, fontsize=10, loc="left")
        for axes in (over_minutes, over_gmacs):
            axes.set_xlim(left=0)
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
    legend = {
        label: mark for axes in panels[:, 0] for mark, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


@click.command(cls=Command)
@click.argument("table", type=PathTo("file"), metavar="TABLE")
@click.option(
    "--output", type=PathTo("file", new=True), default="trade_off.png", metavar="PNG", help="Default: trade_off.png."
)
def command(table: Path, output: Path) -> None:
    """Draw test Dice against minutes of training and GMACs of a prediction, from a table of runs."""
    draw_trade_off(read_runs(table)).savefig(output)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    run_command(command, arguments, "python -m scripts.trade_off")


if __name__ == "__main__":
    main()
