"""Colonoscopy-like phantoms with polyp masks.

A phantom is made the way an endoscope sees: the bowel wall is a relief of folds, bulges and polyps round a dark lumen,
lit from the tip of the endoscope. Slopes turned away from the lamp are dark, wet slopes that mirror it glare, and blood
below the surface takes more green and blue than red out of the light, so that dark parts look red.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter
from scipy.special import expit

from custom.phantoms.drawing import (
    SUPERSAMPLING,
    Field,
    Range,
    blend,
    check_size,
    draw_integer,
    draw_log_uniform,
    draw_outline,
    layered_noise,
    pixel_centres,
    relative_radius,
    smooth_noise,
    strands,
    to_mask,
    to_picture,
)

__all__ = ["DIFFICULTY", "ColonoscopyDifficulty", "draw_colonoscopy_phantom"]


@dataclass(frozen=True)
class ColonoscopyDifficulty:
    """What makes polyps hard to distinguish from the bowel wall. Ranges are drawn from uniformly unless noted."""

    lesion_area: Range = (0.03, 0.30)  # share of the picture, log-uniform
    two_polyps_share: float = 0.12
    flat_share: float = 0.20
    protrusion: Range = (0.35, 1.0)  # height in polyp radii
    flat_protrusion: Range = (0.10, 0.25)
    polyp_contrast: Range = (0.5, 1.0)  # colour difference from the mucosa, in any direction; 1 is the most
    polyp_texture: Range = (0.0, 0.05)  # height of the surface pattern in polyp radii
    mucosa_unevenness: Range = (0.02, 0.08)  # patches of other brightness and redness, relative
    folds: Range = (0.3, 1.6)  # folds for each doubling of the distance from the lumen
    fold_height: Range = (0.0, 0.05)
    bulges: tuple[int, int] = (0, 4)  # counts include both ends
    vessel_strength: Range = (0.0, 0.45)
    residue_share: float = 0.35
    bubbles_share: float = 0.30
    glare: Range = (0.4, 1.0)
    lumen_darkness: Range = (0.05, 0.45)  # distance from the lumen's centre at half brightness
    exposure: Range = (0.9, 3.0)
    blur: Range = (0.0, 0.010)


DIFFICULTY = ColonoscopyDifficulty()

# Relative colour changes (red, green, blue) for one unit of each.
_BRIGHTER, _REDDER, _YELLOWER = np.array([[1, 1, 1], [0.1, -0.9, -0.8], [0.1, 0.3, -1]], np.float32)
_DARK_IS_RED = np.array([1.0, 1.45, 1.55], np.float32)  # exponents of the light that comes back in each colour


@dataclass(frozen=True)
class Polyp:
    """A polyp's shape: fields [side, side] over the supersampled picture."""

    radius: Field  # relative to the outline: 1 on it, less inside
    membership: Field  # 0 to 1, soft at the margin
    size: float  # mean radius, share of the side


def draw_colonoscopy_phantom(size: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one phantom.

    Args:
        size: side of the picture in pixels, at least 32.
        rng: the source of every random choice; the same state gives the same phantom.

    Returns:
        The RGB picture, uint8 [size, size, 3] (first axis: down), and the mask of its one or two polyps, uint8
        [size, size] with values 0 and 255, never empty.

    Raises:
        InputError: `size` is too small to show the smallest polyp.
    """
    check_size(size)
    side = size * SUPERSAMPLING
    down, across = pixel_centres(side)

    height, light = _bowel_wall(down, across, rng)
    colour = _mucosa(side, rng)
    visible = _field_of_view(down, across, rng)
    polyps = _draw_polyps(down, across, rng)
    for polyp in polyps:
        height, light, colour = _raise_polyp(polyp, height, light, colour, rng)
    colour = _residue(colour, height, rng)

    lit, glare = _light_up(height, light, rng)
    picture = 1 - np.exp(-(lit[..., None] ** _DARK_IS_RED) * colour)  # the camera saturates: near walls look pale
    picture = blend(_bubbles(side, rng), 0.75 * picture + 0.25, picture)
    picture = blend(glare, (1.0, 0.98, 0.95), picture)
    blur = rng.uniform(*DIFFICULTY.blur) * side
    picture = gaussian_filter(picture, (blur, blur, 0)) * visible[..., None] + rng.uniform(0, 0.04)
    return to_picture(picture), to_mask(np.any([polyp.radius < 1 for polyp in polyps], axis=0) & (visible > 0.5))


# Bowel


def _bowel_wall(down: Field, across: Field, rng: np.random.Generator) -> tuple[Field, Field]:
    """Height of folds and bulges, and the lamp's light, which fades into the lumen and behind the folds."""
    side = len(down)
    lumen_down, lumen_across = rng.uniform(-0.4, 1.4, 2)
    bend = rng.uniform(0.02, 0.12) * smooth_noise((4, 4), side, rng)
    distance = np.hypot(down - lumen_down, (across - lumen_across) * rng.uniform(0.7, 1.4)) + bend
    distance = distance.clip(0.02)
    height, shade = _folds(distance, rng)
    for _ in range(draw_integer(DIFFICULTY.bulges, rng)):
        height = np.maximum(height, 0.7 * height + _bulge(down, across, rng))
    reach = rng.uniform(*DIFFICULTY.lumen_darkness)
    return height, shade * distance**2 / (distance**2 + reach**2) * _lamp(down, across, rng)


def _folds(distance: Field, rng: np.random.Generator) -> tuple[Field, Field]:
    """Height of the ring-shaped folds round the lumen, and the share of light left in the gap behind each."""
    side = len(distance)
    turns = rng.uniform(*DIFFICULTY.folds) * np.log2(distance) + rng.uniform()
    into_fold = turns - np.floor(turns)
    ridge = np.exp(-(((into_fold - 0.5) / rng.uniform(0.12, 0.3)) ** 2))
    fold_height = rng.uniform(*DIFFICULTY.fold_height) * np.clip(0.6 + 0.7 * smooth_noise((3, 3), side, rng), 0, 1.5)
    height = fold_height * ridge * np.clip(distance / 0.3, 0.3, 1)
    behind = np.clip(1 - (0.5 - into_fold) / 0.35, 0, 1) * (into_fold < 0.5)
    return height, 1 - np.clip(10 * fold_height, 0, 0.6) * gaussian_filter(behind, 0.012 * side)


def _bulge(down: Field, across: Field, rng: np.random.Generator) -> Field:
    """A rounded fold seen end-on: shaped somewhat like a polyp, but without an edge."""
    half_lengths = (rng.uniform(0.06, 0.2), rng.uniform(0.06, 0.2))
    centre_down, centre_across = rng.uniform(0, 1, 2)
    radius = relative_radius(
        down - centre_down, across - centre_across, half_lengths, rng.uniform(0, np.pi), draw_outline(4, 0.1, rng)
    )
    return rng.uniform(0.1, 0.45) * min(half_lengths) * np.exp(-(radius**2) * 1.5)


def _lamp(down: Field, across: Field, rng: np.random.Generator) -> Field:
    """What the lamp throws on each part of a plain wall: most about the middle of its cone."""
    centre_down, centre_across = rng.uniform(0.2, 0.8, 2)
    return rng.uniform(0.9, 1.2) * np.exp(
        -((down - centre_down) ** 2 + (across - centre_across) ** 2) * rng.uniform(0.1, 1.3)
    )


def _mucosa(side: int, rng: np.random.Generator) -> Field:
    """Colour of the wall: pink to orange-red, uneven, with branching vessels."""
    tint = rng.uniform(-0.35, 0.15) * _REDDER + rng.uniform(-0.15, 0.35) * _YELLOWER
    colour = np.array([0.95, 0.42, 0.36], np.float32) * (1 + tint) * rng.uniform(*DIFFICULTY.exposure)
    unevenness = rng.uniform(*DIFFICULTY.mucosa_unevenness)
    patches = 1 + unevenness * layered_noise(5, side, rng)[..., None] * _BRIGHTER
    patches = patches + unevenness * layered_noise(4, side, rng)[..., None] * _REDDER
    cells = draw_integer((5, 9), rng)
    vessels = strands((cells, cells), 0.07, side, rng) + 0.7 * strands((2 * cells, 2 * cells), 0.09, side, rng)
    vessels = (
        vessels * np.clip(0.4 + 0.6 * smooth_noise((4, 4), side, rng), 0, 1) * rng.uniform(*DIFFICULTY.vessel_strength)
    )
    return colour * patches * (1 + vessels.clip(0, 1)[..., None] * (0.8 * _REDDER - 0.25 * _BRIGHTER))


def _residue(colour: Field, height: Field, rng: np.random.Generator) -> Field:
    """Yellow to brown or green fluid and stool, in some pictures; it gathers in the hollows."""
    if rng.random() >= DIFFICULTY.residue_share:
        return colour
    side = len(colour)
    level = layered_noise(4, side, rng) - 8 * (height - height.mean())
    cover = expit((level - rng.uniform(1.2, 2.0)) / rng.uniform(0.15, 0.5)) * rng.uniform(0.4, 0.9)
    fluid = np.array([0.95, 0.62, 0.2]) + rng.uniform(-1, 1) * np.array([0.25, -0.02, 0.08])
    return blend(cover, fluid * rng.uniform(0.5, 1.4), colour)


# Polyps


def _draw_polyps(down: Field, across: Field, rng: np.random.Generator) -> list[Polyp]:
    """One polyp, or two smaller ones on opposite sides of the picture's middle."""
    areas = [draw_log_uniform(DIFFICULTY.lesion_area, rng) for _ in range(2)]
    angle = rng.uniform(0, 2 * np.pi)
    if rng.random() >= DIFFICULTY.two_polyps_share:
        return [_draw_polyp(areas[0], angle, 0.0, down, across, rng)]
    return [
        _draw_polyp(min(area, 0.06), angle + opposite, 0.19, down, across, rng)
        for area, opposite in zip(areas, (0, np.pi), strict=True)
    ]


def _draw_polyp(
    area: float, angle: float, least_distance: float, down: Field, across: Field, rng: np.random.Generator
) -> Polyp:
    """A dented ellipse that covers the given share of the picture, inside the round field of view."""
    size = np.sqrt(area / np.pi)
    stretch = np.sqrt(rng.uniform(0.7, 1.4))
    most_distance = max(least_distance, 0.46 - size)
    distance = np.sqrt(rng.uniform(least_distance**2, most_distance**2))
    radius = relative_radius(
        down - 0.5 - distance * np.sin(angle),
        across - 0.5 - distance * np.cos(angle),
        (size * stretch, size / stretch),
        rng.uniform(0, np.pi),
        draw_outline(5, 0.09, rng),
    )
    blur = rng.uniform(0.004, 0.012)
    return Polyp(radius, expit((1 - radius) * size / blur), size)


def _raise_polyp(
    polyp: Polyp, height: Field, light: Field, colour: Field, rng: np.random.Generator
) -> tuple[Field, Field, Field]:
    """A dome on the wall with a colour and surface of its own, nearer to the lamp, in a ring of shadow."""
    side = len(height)
    flat = rng.random() < DIFFICULTY.flat_share
    protrusion = rng.uniform(*(DIFFICULTY.flat_protrusion if flat else DIFFICULTY.protrusion))
    dome = polyp.size * protrusion * (1 - polyp.radius**2).clip(0) ** rng.uniform(0.5, 0.9)
    pattern = layered_noise(draw_integer((8, 20), rng), side, rng, layers=2)
    dome = dome + polyp.size * rng.uniform(*DIFFICULTY.polyp_texture) * pattern * polyp.membership
    base = np.average(height, weights=polyp.membership)
    height = height + polyp.membership * 0.7 * (base - height) + dome

    outside = (polyp.radius - 1).clip(0) * polyp.size
    ring = np.exp(-outside / rng.uniform(0.01, 0.04)) * (1 - polyp.membership)
    light = light * (1 - rng.uniform(0, 0.5) * protrusion * ring)
    nearer = np.maximum(light, 0.5 * light + rng.uniform(0.3, 0.5))
    light = light + polyp.membership * (nearer - light)
    own_colour = _polyp_colour(colour, polyp, rng) * (1 + 0.06 * pattern[..., None] * _REDDER)
    return height, light, blend(polyp.membership, own_colour, colour)


def _polyp_colour(colour: Field, polyp: Polyp, rng: np.random.Generator) -> Field:
    """The mucosa's mean colour there, shifted: a polyp hides the vessels below it."""
    mean = np.average(colour.reshape(-1, 3), axis=0, weights=polyp.membership.ravel())
    direction = rng.standard_normal(3)
    shares = rng.uniform(*DIFFICULTY.polyp_contrast) * direction / np.linalg.norm(direction)
    return mean * (1 + shares @ np.stack([0.3 * _BRIGHTER, 0.45 * _REDDER, 0.25 * _YELLOWER]))


# Light and lens


def _light_up(height: Field, light: Field, rng: np.random.Generator) -> tuple[Field, Field]:
    """Light that the relief sends back, and glare where wet slopes mirror the lamp, 0 to 1."""
    side = len(height)
    lamp = rng.normal(scale=0.35, size=2)
    slope_down, slope_across = np.gradient(gaussian_filter(height, 0.006 * side) * side)
    cosine = _lambert_cosine((slope_down, slope_across), lamp)
    mirror_down, mirror_across = rng.normal(scale=0.3, size=2)
    miss = (slope_down - mirror_down) ** 2 + (slope_across - mirror_across) ** 2
    cells = draw_integer((14, 34), rng)
    drops = smooth_noise((cells, cells), side, rng) + 0.5 * smooth_noise((6, 6), side, rng)
    glare = rng.uniform(*DIFFICULTY.glare) * expit((drops - rng.uniform(1.6, 2.4) - 8 * miss.clip(0, 0.5)) / 0.12)
    return light * (0.2 + 0.8 * cosine.clip(0)), glare


def _lambert_cosine(slopes: tuple[Field, Field], lamp: Field) -> Field:
    """Cosine between the surface's normal and the way to the lamp, which lies `lamp` (down, across) off the axis."""
    towards_lamp = 1 - slopes[0] * lamp[0] - slopes[1] * lamp[1]
    return towards_lamp / np.sqrt((1 + slopes[0] ** 2 + slopes[1] ** 2) * (1 + lamp[0] ** 2 + lamp[1] ** 2))


def _bubbles(side: int, rng: np.random.Generator) -> Field:
    """Rims of a few foam bubbles, 0 to 1, in some pictures."""
    foam = Image.new("L", (side, side))
    if rng.random() < DIFFICULTY.bubbles_share:
        draw = ImageDraw.Draw(foam)
        middle = rng.uniform(0.1, 0.9, 2)
        for _ in range(draw_integer((4, 16), rng)):
            across, down = side * (middle + rng.normal(scale=0.1, size=2))
            radius = side * rng.uniform(0.008, 0.025)
            draw.ellipse((across - radius, down - radius, across + radius, down + radius), outline=230, width=1)
    return np.asarray(foam, np.float32) / 255


def _field_of_view(down: Field, across: Field, rng: np.random.Generator) -> Field:
    """1 inside the endoscope's window, 0 outside: cut corners or a disc, and often a box for a second view."""
    side = len(down)
    kind = rng.random()
    if kind < 0.55:
        from_edge = rng.uniform(0.70, 0.82) - np.abs(down - 0.5) - np.abs(across - 0.5)
    elif kind < 0.8:
        from_edge = rng.uniform(0.49, 0.6) - np.hypot(down - 0.5, across - 0.5)
    else:
        from_edge = np.ones((side, side), np.float32)
    visible = expit(from_edge / 0.004)
    if rng.random() < 0.35:
        box_height, box_width = rng.uniform(0.1, 0.2), rng.uniform(0.1, 0.18)
        visible = visible * (1 - (down > 1 - box_height) * (across < box_width))
    return visible
