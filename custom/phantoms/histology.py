"""Phantoms like tissue sections stained with haematoxylin and eosin (H&E), with tumour masks.

A phantom is made the way stain colours light: haematoxylin binds to nuclei and takes away mostly red and green,
eosin binds to fibres and cell bodies and takes away mostly green, and what is left falls with the exponential of their
amounts (Beer-Lambert law). Tissue is a map of both amounts: fibres that all follow one flow, holes, and cell nuclei.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label, map_coordinates
from scipy.special import expit

from custom.phantoms.drawing import (
    SUPERSAMPLING,
    Field,
    Range,
    check_size,
    draw_integer,
    layered_noise,
    smooth_noise,
    strands,
    to_mask,
    to_picture,
)

__all__ = ["DIFFICULTY", "HistologyDifficulty", "draw_histology_phantom"]


@dataclass(frozen=True)
class HistologyDifficulty:
    """What makes tumour hard to distinguish from other tissue. Ranges are drawn from uniformly unless noted.

    Lengths are shares of the picture's side at magnification 1. Amounts of stain are optical densities.
    """

    tumour_area: Range = (0.12, 0.60)  # share of the picture, before holes are taken out
    least_region_area: float = 0.015  # smaller pieces of tumour are dropped, except the largest
    magnification: Range = (0.75, 1.35)
    tumour_nucleus_radius: Range = (0.014, 0.025)
    tumour_spacing: Range = (2.3, 3.2)  # between nuclei, in their radii
    tumour_occupancy: Range = (0.65, 1.0)  # share of the places that hold a nucleus
    tumour_darkness: Range = (0.55, 1.2)  # of nuclei, relative to those of other cells
    tumour_cytoplasm: Range = (0.0, 0.25)  # haematoxylin between the nuclei
    tumour_eosin: Range = (0.5, 1.2)  # relative to stroma
    tumour_fibres: Range = (0.0, 0.5)  # share of the stroma's fibres that run on through tumour
    haze: Range = (0.0, 0.25)  # haematoxylin in patches of stroma: mucus, or a thick cut
    stroma_occupancy: Range = (0.15, 0.8)
    stroma_nucleus_radius: Range = (0.009, 0.014)
    lymphocyte_area: Range = (0.0, 0.30)
    lymphocyte_radius: Range = (0.008, 0.012)
    hole_area: Range = (0.0, 0.18)
    haematoxylin: Range = (0.7, 1.6)
    eosin: Range = (0.3, 0.9)
    stain_hue: Range = (-0.10, 0.10)  # change of each stain's absorption of red, green and blue
    fibre_contrast: Range = (0.1, 0.5)
    exposure: Range = (0.85, 1.0)
    blur: Range = (0.0, 0.010)


DIFFICULTY = HistologyDifficulty()

# Absorption of red, green and blue by one unit of stain, about as scanned sections show it.
_HAEMATOXYLIN = np.array([0.75, 0.95, 0.42], np.float32)
_EOSIN = np.array([0.14, 0.95, 0.45], np.float32)


@dataclass(frozen=True)
class Cells:
    """A kind of cell nuclei. Lengths are shares of the side."""

    radius: float
    spacing: float
    elongation: Range  # length over width
    darkness: float
    pale_centre: float = 0.0  # how much paler the middle is: 0 evenly dark, 1 only a ring
    size_spread: float = 0.15


def draw_histology_phantom(size: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one phantom.

    Args:
        size: side of the picture in pixels, at least 32.
        rng: the source of every random choice; the same state gives the same phantom.

    Returns:
        The RGB picture, uint8 [size, size, 3] (first axis: down), and the mask of its tumour regions without holes,
        uint8 [size, size] with values 0 and 255, never empty.

    Raises:
        InputError: `size` is too small to show the smallest nuclei.
    """
    check_size(size)
    side = size * SUPERSAMPLING
    scale = rng.uniform(*DIFFICULTY.magnification)

    flow = _draw_flow(side, rng)
    tumour = _draw_tumour(side, rng)
    holes = _draw_holes(tumour, flow, rng)
    lymphocytes = _draw_patches(rng.uniform(*DIFFICULTY.lymphocyte_area), side, rng) * (1 - tumour)

    haematoxylin, eosin = _stain_between_nuclei(tumour, flow, rng)
    nuclei = _nuclei(tumour, lymphocytes, flow, scale, rng)
    picture = _stain(haematoxylin * (1 - nuclei) + nuclei, eosin * (1 - 0.5 * nuclei.clip(0, 1)), holes, rng)
    blur = rng.uniform(*DIFFICULTY.blur) * side
    return to_picture(gaussian_filter(picture, (blur, blur, 0))), to_mask((tumour > 0.5) & (holes < 0.5))


# Tissue


def _draw_flow(side: int, rng: np.random.Generator) -> Field:
    """The direction of the fibres at each place, in radians from across to down."""
    return rng.uniform(0, np.pi) + rng.uniform(0.2, 0.9) * smooth_noise((3, 3), side, rng)


def _draw_patches(area: float, side: int, rng: np.random.Generator, cells: int = 4) -> Field:
    """Irregular patches, 0 to 1 with a soft edge, that cover about this share of the picture."""
    level = layered_noise(cells, side, rng, layers=2)
    return expit((level - np.quantile(level, 1 - area)) / 0.06)


def _draw_tumour(side: int, rng: np.random.Generator) -> Field:
    """Large irregular regions, 0 to 1; pieces too small to be regions are dropped."""
    area = rng.uniform(*DIFFICULTY.tumour_area)
    patches = _draw_patches(area, side, rng, cells=draw_integer((3, 5), rng))
    regions, _ = label(patches > 0.5)
    areas = np.bincount(regions.ravel())[1:] / side**2
    kept = np.append(0, (areas >= DIFFICULTY.least_region_area) | (areas == areas.max()))
    return np.where((patches > 0.5) & (kept[regions] == 0), 0, patches)


def _draw_holes(tumour: Field, flow: Field, rng: np.random.Generator) -> Field:
    """Empty glass, 0 to 1: fat cells, vessels and cracks along the fibres, and gland openings inside tumour."""
    side = len(tumour)
    fat = _draw_patches(rng.uniform(*DIFFICULTY.hole_area), side, rng, cells=draw_integer((4, 9), rng))
    cracks = rng.uniform(0, 1) * _along(flow, strands((7, 7), 0.08, side, rng)) * _draw_patches(0.3, side, rng)
    openings = _draw_patches(rng.uniform(0, 0.05), side, rng, cells=6)
    outside = np.maximum(fat, cracks)
    return outside * (1 - 0.97 * tumour) + openings * tumour


def _along(flow: Field, grain: Field) -> Field:
    """Smear a texture along the flow: the mean of a few samples of it up and down each flow line."""
    side = len(flow)
    down, across = np.mgrid[0:side, 0:side].astype(np.float32)
    steps = side * np.linspace(-0.05, 0.05, 5)
    samples = [
        map_coordinates(grain, [down + step * np.sin(flow), across + step * np.cos(flow)], order=0, mode="mirror")
        for step in steps
    ]
    return np.mean(samples, axis=0)


def _fibres(flow: Field, rng: np.random.Generator) -> Field:
    """Eosin of stroma: wavy fibres, denser in some bundles."""
    side = len(flow)
    cells = draw_integer((25, 50), rng)
    fine = _along(flow, smooth_noise((cells, cells), side, rng))
    bundles = layered_noise(6, side, rng)
    return (1 + rng.uniform(*DIFFICULTY.fibre_contrast) * (1.2 * fine + 0.3 * bundles)).clip(0.1)


def _stain_between_nuclei(tumour: Field, flow: Field, rng: np.random.Generator) -> tuple[Field, Field]:
    """Haematoxylin and eosin of fibres and cell bodies; some fibres may run on through the tumour."""
    side = len(tumour)
    fibres = _fibres(flow, rng)
    share = rng.uniform(*DIFFICULTY.tumour_fibres)
    eosin = fibres + tumour * (share * fibres + (1 - share) * _cell_bodies(side, rng) - fibres)
    haze = rng.uniform(*DIFFICULTY.haze) * _draw_patches(rng.uniform(0, 0.4), side, rng)
    return 0.05 + haze + tumour * (rng.uniform(*DIFFICULTY.tumour_cytoplasm) - haze), eosin


def _cell_bodies(side: int, rng: np.random.Generator) -> Field:
    """Eosin of tumour cells, paler or darker than stroma."""
    return (rng.uniform(*DIFFICULTY.tumour_eosin) * (1 + 0.12 * layered_noise(8, side, rng))).clip(0.1)


# Nuclei


def _nuclei(tumour: Field, lymphocytes: Field, flow: Field, scale: float, rng: np.random.Generator) -> Field:
    """Haematoxylin of all nuclei: large crowded ones in tumour, small round ones in clusters, thin ones in stroma."""
    radius = scale * rng.uniform(*DIFFICULTY.tumour_nucleus_radius)
    tumour_cells = Cells(
        radius,
        spacing=radius * rng.uniform(*DIFFICULTY.tumour_spacing),
        elongation=(1.0, rng.uniform(1.2, 1.9)),
        darkness=rng.uniform(*DIFFICULTY.tumour_darkness),
        pale_centre=rng.uniform(0, 0.5),
        size_spread=rng.uniform(0.1, 0.3),
    )
    radius = scale * rng.uniform(*DIFFICULTY.lymphocyte_radius)
    round_cells = Cells(radius, spacing=2.6 * radius, elongation=(1.0, 1.15), darkness=rng.uniform(0.9, 1.2))
    radius = scale * rng.uniform(*DIFFICULTY.stroma_nucleus_radius)
    thin_cells = Cells(radius, spacing=4.2 * radius, elongation=(1.6, 3.2), darkness=rng.uniform(0.7, 1.1))
    free = (1 - tumour) * (1 - lymphocytes)
    kinds = [
        (tumour_cells, tumour * rng.uniform(*DIFFICULTY.tumour_occupancy)),
        (round_cells, lymphocytes * 0.9),
        (thin_cells, free * rng.uniform(*DIFFICULTY.stroma_occupancy)),
    ]
    return np.max([_scatter(cells, presence, flow, rng) for cells, presence in kinds], axis=0)


def _scatter(cells: Cells, presence: Field, flow: Field, rng: np.random.Generator) -> Field:
    """Stain of nuclei at the shaken points of a grid, each kept with the probability `presence` there."""
    side = len(presence)
    rows = np.mgrid[-1 : 1 / cells.spacing + 1, -1 : 1 / cells.spacing + 1].reshape(2, -1)
    places = (rows + rng.uniform(0.1, 0.9, rows.shape)) * cells.spacing * side
    at = tuple(np.clip(places, 0, side - 1).astype(int))
    kept = rng.random(len(places[0])) < presence[at]
    return _stamp_ellipses(places[:, kept], flow[at][kept], cells, side, rng)


def _stamp_ellipses(places: Field, turn: Field, cells: Cells, side: int, rng: np.random.Generator) -> Field:
    """Draw an ellipse at each of `places` [2, count] (pixels), its long axis along `turn`; the darkest one shows."""
    count = places.shape[1]
    radius = side * cells.radius * rng.normal(1, cells.size_spread, count).clip(0.6, 1.6)
    stretch = np.sqrt(rng.uniform(*cells.elongation, count))
    turn = turn + rng.normal(scale=0.3, size=count)
    reach = int(np.ceil(side * cells.radius * 1.4 * np.sqrt(cells.elongation[1]))) + 1
    window = np.arange(-reach, reach + 1)
    rows = (places[0].astype(int)[:, None] + window)[:, :, None]
    columns = (places[1].astype(int)[:, None] + window)[:, None, :]
    down, across = rows + 0.5 - places[0][:, None, None], columns + 0.5 - places[1][:, None, None]
    cosine, sine, radius, stretch = (one[:, None, None] for one in (np.cos(turn), np.sin(turn), radius, stretch))
    squared = ((across * cosine + down * sine) / stretch) ** 2 + ((down * cosine - across * sine) * stretch) ** 2
    relative = np.sqrt(squared) / radius
    darkness = cells.darkness * rng.uniform(0.75, 1.15, radius.shape)
    stain = darkness * np.clip((1 - relative) * radius + 0.5, 0, 1) * (1 - cells.pale_centre * (1 - relative).clip(0))
    canvas = np.zeros((side + 2 * reach, side + 2 * reach))
    inside = (rows + reach >= 0) & (rows < side + reach) & (columns + reach >= 0) & (columns < side + reach)
    rows, columns = np.broadcast_arrays(rows + reach, columns + reach)
    np.maximum.at(canvas, (rows[inside], columns[inside]), stain[inside])
    return canvas[reach : reach + side, reach : reach + side]


# Picture


def _stain(haematoxylin: Field, eosin: Field, holes: Field, rng: np.random.Generator) -> Field:
    """Light through the stained section [side, side, 3], 0 to 1: unevenly cut and stained, on a white lamp."""
    side = len(holes)
    thickness = (1 - holes) * (1 + 0.06 * smooth_noise((3, 3), side, rng))
    amounts = [
        haematoxylin * rng.uniform(*DIFFICULTY.haematoxylin) * thickness,
        eosin * rng.uniform(*DIFFICULTY.eosin) * thickness,
    ]
    density = sum(
        amount[..., None] * (absorption + rng.uniform(*DIFFICULTY.stain_hue, 3)).clip(0.02)
        for amount, absorption in zip(amounts, (_HAEMATOXYLIN, _EOSIN), strict=True)
    )
    grain = 1 + 0.02 * rng.standard_normal((side, side, 1), dtype=np.float32)
    return rng.uniform(*DIFFICULTY.exposure) * np.exp(-density) * grain
