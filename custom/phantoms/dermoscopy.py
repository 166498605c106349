"""Dermoscopy-like phantoms with lesion masks.

A phantom is made the way skin colours light: melanin takes away mostly blue, blood mostly green, and what is left falls
with the exponential of their amounts (Beer-Lambert law). Skin, lesions, freckles and vessels are maps of these amounts.
Hairs, ruler marks, ink, gel bubbles and the dermoscope's dark rim lie on top.
"""

from __future__ import annotations

from collections.abc import Callable
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
    place_centre,
    relative_radius,
    smooth_noise,
    strands,
    to_mask,
    to_picture,
)

__all__ = ["DIFFICULTY", "DermoscopyDifficulty", "draw_dermoscopy_phantom"]


@dataclass(frozen=True)
class DermoscopyDifficulty:
    """What makes lesions hard to distinguish from the skin. Ranges are drawn from uniformly unless noted.

    Amounts of melanin and blood are optical densities: 1 takes away 63% of the light of the colour taken away most.
    """

    lesion_area: Range = (0.02, 0.40)  # share of the picture, log-uniform
    lesion_melanin: Range = (0.25, 1.8)  # log-uniform
    faint_share: float = 0.30
    faint_melanin: Range = (0.22, 0.42)
    pale_share: float = 0.25  # of the faint ones: less melanin than the skin around has
    pink_share: float = 0.20  # lesions of blood with hardly any melanin
    lesion_blood: Range = (0.0, 0.35)
    pink_blood: Range = (0.25, 0.6)
    lesion_unevenness: Range = (0.1, 0.8)  # of its melanin, relative
    margin_blur: Range = (0.003, 0.035)
    skin_melanin: Range = (0.02, 0.9)
    skin_blood: Range = (0.04, 0.32)
    skin_unevenness: Range = (0.01, 0.06)
    blotches: tuple[int, int] = (0, 4)  # red or brown, without an edge; counts include both ends
    blotch_density: Range = (0.03, 0.25)
    freckles: tuple[int, int] = (0, 8)
    hairs_share: float = 0.55
    hairs: tuple[int, int] = (2, 30)
    ruler_share: float = 0.30
    ink_share: float = 0.08
    bubbles_share: float = 0.25
    sticker_share: float = 0.08
    dark_rim_share: float = 0.30
    illumination_fall: Range = (0.0, 0.9)  # optical density lost from the middle to the corners
    exposure: Range = (0.75, 1.05)
    blur: Range = (0.0, 0.010)


DIFFICULTY = DermoscopyDifficulty()

# Absorption of red, green and blue light by one unit of each.
_MELANIN = np.array([0.45, 0.75, 1.0], np.float32)
_DEEP_MELANIN = np.array([1.0, 0.75, 0.5], np.float32)  # light scattered back above it is blue
_BLOOD = np.array([0.12, 1.0, 0.8], np.float32)


def draw_dermoscopy_phantom(size: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one phantom.

    Args:
        size: side of the picture in pixels, at least 32.
        rng: the source of every random choice; the same state gives the same phantom.

    Returns:
        The RGB picture, uint8 [size, size, 3] (first axis: down), and the mask of its one lesion, uint8 [size, size]
        with values 0 and 255, never empty.

    Raises:
        InputError: `size` is too small to show the smallest lesion.
    """
    check_size(size)
    side = size * SUPERSAMPLING
    down, across = pixel_centres(side)

    depth_inside = _lesion_shape(down, across, rng)
    density = _skin(down, across, rng) + _lesion(depth_inside, rng)
    picture = np.exp(-density) * _illumination(down, across, rng)
    picture = _overlay(picture, _ink, DIFFICULTY.ink_share, rng)
    picture = _overlay(picture, _hairs, DIFFICULTY.hairs_share, rng)
    picture = _overlay(picture, _ruler, DIFFICULTY.ruler_share, rng)
    picture = _overlay(picture, _sticker, DIFFICULTY.sticker_share, rng)
    picture = _overlay(picture, _gel_bubbles, DIFFICULTY.bubbles_share, rng)
    picture = picture * _dark_rim(down, across, rng)[..., None]
    blur = rng.uniform(*DIFFICULTY.blur) * side
    return to_picture(gaussian_filter(picture, (blur, blur, 0))), to_mask(depth_inside > 0)


# Skin


def _skin(down: Field, across: Field, rng: np.random.Generator) -> Field:
    """Optical density [side, side, 3] of skin of any tone, with furrows, blotches and freckles."""
    side = len(down)
    unevenness = rng.uniform(*DIFFICULTY.skin_unevenness)
    furrows = rng.uniform(0, 0.12) * (strands((28, 22), 0.35, side, rng) + strands((16, 30), 0.35, side, rng))
    melanin = rng.uniform(*DIFFICULTY.skin_melanin) * (1 + unevenness * layered_noise(4, side, rng, layers=4)) + furrows
    blood = rng.uniform(*DIFFICULTY.skin_blood) + unevenness * layered_noise(6, side, rng)
    for _ in range(draw_integer(DIFFICULTY.blotches, rng)):
        blotch = rng.uniform(*DIFFICULTY.blotch_density) * _spot(rng.uniform(0.06, 0.3), down, across, rng)
        brown = rng.uniform(0, 1)
        melanin, blood = melanin + brown * blotch, blood + (1 - brown) * blotch
    for _ in range(draw_integer(DIFFICULTY.freckles, rng)):
        melanin = melanin + rng.uniform(0.05, 0.5) * _spot(rng.uniform(0.008, 0.022), down, across, rng)
    return melanin[..., None] * _MELANIN + blood.clip(0)[..., None] * _BLOOD


def _spot(radius: float, down: Field, across: Field, rng: np.random.Generator) -> Field:
    """A round spot without an edge, 0 to 1."""
    centre_down, centre_across = rng.uniform(0, 1, 2)
    return np.exp(-(((down - centre_down) / radius) ** 2)) * np.exp(-(((across - centre_across) / radius) ** 2))


def _illumination(down: Field, across: Field, rng: np.random.Generator) -> Field:
    """Lamp light [side, side, 3]: a warm, violet or cool white, falling off to one side and to the corners."""
    warmth, violet = rng.normal(scale=0.045, size=2)
    white = np.array([1 + warmth + violet, 1 - violet, 1 - warmth + violet], np.float32) * 1.1
    from_middle = (down - rng.uniform(0.35, 0.65)) ** 2 + (across - rng.uniform(0.35, 0.65)) ** 2
    light = rng.uniform(*DIFFICULTY.exposure) * np.exp(-rng.uniform(*DIFFICULTY.illumination_fall) * from_middle)
    return light[..., None] * white


# Lesion


def _lesion_shape(down: Field, across: Field, rng: np.random.Generator) -> Field:
    """How far inside the lesion's ragged outline, as a share of the side: 0 on it, negative outside."""
    radius = np.sqrt(draw_log_uniform(DIFFICULTY.lesion_area, rng) / np.pi)
    stretch = np.sqrt(rng.uniform(0.65, 1.5))
    rough = rng.uniform(0.03, 0.16)
    relative = relative_radius(
        down - place_centre(radius + 0.03, (0.08, 0.92), rng),
        across - place_centre(radius + 0.03, (0.08, 0.92), rng),
        (radius * stretch, radius / stretch),
        rng.uniform(0, np.pi),
        draw_outline(8, rough, rng),
    )
    ragged = rng.uniform(0, 0.10) * layered_noise(10, len(down), rng) * np.clip(relative, 0, 1)
    return (1 - relative + ragged) * radius


def _lesion(depth_inside: Field, rng: np.random.Generator) -> Field:
    """Optical density [side, side, 3] that the lesion adds: uneven melanin, blood, often blue veil or pale areas."""
    side = len(depth_inside)
    membership = expit(depth_inside / rng.uniform(*DIFFICULTY.margin_blur))
    melanin, blood = _lesion_pigments(rng)
    unevenness = rng.uniform(*DIFFICULTY.lesion_unevenness)
    clouds = (1 + unevenness * layered_noise(draw_integer((3, 6), rng), side, rng)).clip(0.15)
    melanin = melanin * clouds * (1 + _pigment_pattern(side, rng))
    blood = blood * (1 + 0.25 * layered_noise(6, side, rng)).clip(0)
    deep = melanin.clip(0) * (rng.random() < 0.3) * expit(3 * (smooth_noise((4, 4), side, rng) - 0.6))
    density = (melanin - 0.6 * deep)[..., None] * _MELANIN + deep[..., None] * _DEEP_MELANIN
    return membership[..., None] * (density + blood[..., None] * _BLOOD)


def _lesion_pigments(rng: np.random.Generator) -> tuple[float, float]:
    """Melanin and blood that the lesion has more than the skin around: brown to black, pink, faint, or pale (less)."""
    kind = rng.random()
    if kind < DIFFICULTY.faint_share:
        melanin = rng.uniform(*DIFFICULTY.faint_melanin)
        if rng.random() < DIFFICULTY.pale_share:
            return -melanin, -0.5 * melanin
        return melanin, 0.4 * rng.uniform(*DIFFICULTY.lesion_blood)
    melanin = draw_log_uniform(DIFFICULTY.lesion_melanin, rng)
    if kind < DIFFICULTY.faint_share + DIFFICULTY.pink_share:
        return 0.1 * melanin, rng.uniform(*DIFFICULTY.pink_blood)
    return melanin, rng.uniform(*DIFFICULTY.lesion_blood)


def _pigment_pattern(side: int, rng: np.random.Generator) -> Field:
    """Relative change of melanin: a network of dark lines, dark globules, or neither, strong in some parts."""
    kind, strength = rng.random(), rng.uniform(0.15, 0.8)
    cells = draw_integer((14, 30), rng)
    where = np.clip(0.5 + 0.6 * smooth_noise((4, 4), side, rng), 0, 1)
    if kind < 0.5:
        mesh = np.maximum(strands((cells, cells), 0.4, side, rng), strands((cells, cells), 0.4, side, rng))
        return strength * where * (mesh - 0.5)
    if kind < 0.8:
        return strength * where * expit(6 * (smooth_noise((cells, cells), side, rng) - 1))
    return 0.3 * strength * where


# What lies on the skin

# Draws from (side, rng) how much is covered, 0 to 255 [side, side], and the colour of what covers it, 0 to 1 [3].
Cover = Callable[[int, np.random.Generator], tuple[Image.Image | Field, Field]]


def _overlay(picture: Field, draw_cover: Cover, share: float, rng: np.random.Generator) -> Field:
    """Cover the picture with what `draw_cover` draws, in this share of the pictures."""
    if rng.random() >= share:
        return picture
    cover, colour = draw_cover(len(picture), rng)
    return blend(np.asarray(cover, np.float32) / 255, colour, picture)


def _hairs(side: int, rng: np.random.Generator) -> tuple[Image.Image, Field]:
    """Curved hairs that run more or less one way; dark brown, seldom white."""
    cover = Image.new("L", (side, side))
    draw = ImageDraw.Draw(cover)
    way, spread = rng.uniform(0, np.pi), rng.uniform(0.1, 1.2)
    width = max(1, round(side * rng.uniform(0.004, 0.014)))
    darkness = rng.uniform(110, 250)
    for _ in range(draw_integer(DIFFICULTY.hairs, rng)):
        turns = way + rng.normal(scale=spread) + np.linspace(0, rng.normal(scale=1.0), 10)
        steps = rng.uniform(0.02, 0.09) * np.stack([np.cos(turns), np.sin(turns)], axis=1)
        points = side * (rng.uniform(-0.1, 1.1, 2) + np.cumsum(steps, axis=0))
        draw.line([tuple(point) for point in points.tolist()], fill=int(darkness * rng.uniform(0.6, 1)), width=width)
    dark = np.array([0.16, 0.09, 0.06]) * rng.uniform(0.5, 2)
    return cover, dark if rng.random() < 0.9 else np.array([0.9, 0.85, 0.8])


def _ruler(side: int, rng: np.random.Generator) -> tuple[Image.Image, Field]:
    """A line with ticks, near an edge of the picture."""
    cover = Image.new("L", (side, side))
    draw = ImageDraw.Draw(cover)
    turn = rng.normal(scale=0.3)
    along, upright = np.array([np.cos(turn), np.sin(turn)]), np.array([np.sin(turn), -np.cos(turn)])
    start = np.array(
        [rng.uniform(0.02, 0.4), rng.uniform(0.84, 0.95) if rng.random() < 0.7 else rng.uniform(0.05, 0.12)]
    )
    length, ticks = rng.uniform(0.4, 0.7), draw_integer((8, 14), rng)

    def line(first: Field, last: Field) -> None:
        draw.line([tuple((side * first).tolist()), tuple((side * last).tolist())], fill=210, width=1)

    line(start, start + length * along)
    for tick in range(ticks + 1):
        foot = start + length * tick / ticks * along
        line(foot, foot + (0.035 if tick % 5 else 0.055) * upright)
    return cover, np.array([0.1, 0.1, 0.1])


def _ink(side: int, rng: np.random.Generator) -> tuple[Field, Field]:
    """Violet marker strokes."""
    stroke = strands((4, 4), 0.12, side, rng) * expit(4 * smooth_noise((5, 5), side, rng) - 5)
    grain = np.clip(0.7 + 0.3 * smooth_noise((50, 50), side, rng), 0, 1)
    return 255 * stroke * grain * rng.uniform(0.4, 1), np.array([0.35, 0.25, 0.6])


def _sticker(side: int, rng: np.random.Generator) -> tuple[Image.Image, Field]:
    """A coloured paper disc that reaches in at one side."""
    cover = Image.new("L", (side, side))
    radius = rng.uniform(0.2, 0.45)
    beyond = rng.uniform(0.6, 0.85) * radius  # of the left or right edge
    centre = np.array([-beyond if rng.random() < 0.5 else 1 + beyond, rng.uniform(0, 1)])
    box = side * np.concatenate([centre - radius, centre + radius])
    ImageDraw.Draw(cover).ellipse(tuple(box.tolist()), fill=255)
    colours = np.array([[0.35, 0.7, 0.7], [0.25, 0.45, 0.75], [0.85, 0.7, 0.3], [0.45, 0.65, 0.4]])
    return cover, colours[rng.integers(len(colours))] * rng.uniform(0.7, 1.1)


def _gel_bubbles(side: int, rng: np.random.Generator) -> tuple[Image.Image, Field]:
    """Bright rims of air bubbles in the contact gel."""
    cover = Image.new("L", (side, side))
    draw = ImageDraw.Draw(cover)
    for _ in range(draw_integer((2, 12), rng)):
        across, down = side * rng.uniform(0, 1, 2)
        radius = side * draw_log_uniform((0.008, 0.04), rng)
        draw.ellipse((across - radius, down - radius, across + radius, down + radius), outline=130, width=1)
        draw.arc((across - radius, down - radius, across + radius, down + radius), 200, 270, fill=240, width=2)
    return cover, np.array([0.97, 0.97, 1.0])


def _dark_rim(down: Field, across: Field, rng: np.random.Generator) -> Field:
    """1 inside the dermoscope's round window, 0 outside, in some pictures."""
    if rng.random() >= DIFFICULTY.dark_rim_share:
        return np.ones((len(down), len(down)), np.float32)
    from_middle = np.hypot(down - rng.uniform(0.46, 0.54), across - rng.uniform(0.46, 0.54))
    return expit((rng.uniform(0.52, 0.66) - from_middle) / rng.uniform(0.004, 0.04))
