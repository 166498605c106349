"""Dice of every method against the number of labelled images, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from custom.benchmark.table import Row

__all__ = ["draw_dice_by_labels"]


def draw_dice_by_labels(rows: Sequence[Row], labelled_images: Mapping[str, int], path: Path, title: str = "") -> bool:
    """Write a PNG: a line for each method over the labelled images, or a row of dots where there is one label count.

    Every seed is a faint dot; the mean has the standard deviation over seeds as a bar.

    Args:
        rows: see `make_rows`; those without any result are left out.
        labelled_images: labelled images of each subset.
        path: the file.
        title: heading.

    Returns:
        Whether there was anything to draw.
    """
    rows = [row for row in rows if row.scores("dice")]
    if not rows:
        return False
    from matplotlib.figure import Figure  # takes a second, and only this needs it

    methods = list(dict.fromkeys(row.method for row in rows))
    subsets = sorted({row.labels for row in rows}, key=labelled_images.__getitem__)
    height = 4.2 if len(subsets) > 1 else 1.4 + 0.42 * len(methods)
    figure = Figure(figsize=(7, height), layout="constrained", dpi=130)
    axes = figure.subplots()
    for index, method in enumerate(methods):
        own = sorted((row for row in rows if row.method == method), key=lambda row: labelled_images[row.labels])
        means = [100 * row.mean("dice") for row in own]
        deviations = [100 * (row.deviation("dice") or 0) for row in own]
        style = {"color": f"C{index % 10}", "marker": "osD^vP*X<>"[index // 10 % 10], "capsize": 3, "label": method}
        if len(subsets) > 1:
            places = [labelled_images[row.labels] for row in own]
            axes.errorbar(places, means, deviations, linewidth=1.6, **style)
            seeds = [(place, 100 * dice) for place, row in zip(places, own, strict=True) for dice in row.scores("dice")]
        else:
            axes.errorbar(means, [index] * len(own), xerr=deviations, linestyle="none", **style)
            seeds = [(100 * dice, index) for row in own for dice in row.scores("dice")]
        axes.scatter(*zip(*seeds, strict=True), s=12, alpha=0.35, color=style["color"], linewidths=0)
    if len(subsets) > 1:
        axes.set(xlabel="labelled images", ylabel="test Dice [%]", xscale="log")
        axes.set_xticks(
            [labelled_images[name] for name in subsets], [f"{labelled_images[name]}\n{name}" for name in subsets]
        )
        axes.minorticks_off()
        axes.legend(frameon=False, fontsize=8, ncols=1 + (len(methods) > 8))
    else:
        axes.set_yticks(range(len(methods)), methods)
        axes.set_ylim(len(methods) - 0.5, -0.5)
        axes.set_xlabel(f"test Dice [%] with {labelled_images[subsets[0]]} labelled images ({subsets[0]})")
    axes.set_title(title, fontsize=10, loc="left")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
    return True
