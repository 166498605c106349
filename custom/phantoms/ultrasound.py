"""Breast-ultrasound-like phantoms with lesion masks.

A phantom is made the way a scanner makes a picture. Tissue is a map of echo strengths in decibels: skin, fat, gland,
muscle, fibrous strands, lesions, and things that only look like lesions. Whatever lies in the beam's path weakens or
strengthens all that lies deeper. Random scatterers of that strength, blurred by the beam, give speckle, and log
compression gives grey values. Positions and lengths are shares of the picture's side, so scenes look alike at any size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates
from scipy.special import expit

from custom.phantoms.drawing import (
    ANGLES,
    SUPERSAMPLING,
    Field,
    Range,
    check_size,
    draw_integer,
    pixel_centres,
    place_centre,
    shrink,
    smooth_noise,
    to_mask,
)

__all__ = ["DIFFICULTY", "UltrasoundDifficulty", "draw_ultrasound_phantom"]


@dataclass(frozen=True)
class UltrasoundDifficulty:
    """What makes lesions hard to distinguish from their surroundings. Ranges are drawn from uniformly unless noted.

    A data set records these values, so that changing one of them has the set made anew.
    """

    lesion_area: Range = (0.03, 0.25)  # share of the picture, log-uniform
    two_lesions_share: float = 0.10
    malignant_share: float = 0.40
    lesion_contrast_db: Range = (-18.0, -9.0)
    isoechoic_share: float = 0.05
    isoechoic_contrast_db: Range = (-6.5, -3.5)
    posterior_sign_share: float = 0.65  # benign: enhancement; malignant: shadow
    fat_lobules: tuple[int, int] = (2, 6)  # counts include both ends
    vessels: tuple[int, int] = (1, 5)
    shadow_columns: tuple[int, int] = (0, 2)
    distractor_contrast_db: Range = (-12.0, -4.0)
    poor_contact_share: float = 0.4
    dark_corner_share: float = 0.25
    depth_loss_db: Range = (2.0, 18.0)
    speckle_looks: tuple[int, int] = (3, 8)  # pictures compounded into one: fewer are noisier
    gain_db: Range = (-14.0, -1.0)
    dynamic_range_db: Range = (40.0, 60.0)


DIFFICULTY = UltrasoundDifficulty()


@dataclass(frozen=True)
class Lesion:
    """A lesion's shape: fields [side, side] over the supersampled picture."""

    inside: Field  # how far inside the outline, as a share of the side: 0 on it, negative outside
    membership: Field  # 0 to 1, soft where the margin is blurred
    malignant: bool
    height: float  # share of the side


def draw_ultrasound_phantom(size: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one phantom.

    Args:
        size: side of the picture in pixels, at least 32.
        rng: the source of every random choice; the same state gives the same phantom.

    Returns:
        The grey picture, uint8 [size, size] (first axis: depth), and the mask of its one or two lesions, uint8
        [size, size] with values 0 and 255, never empty.

    Raises:
        InputError: `size` is too small to show the smallest lesion.
    """
    check_size(size)
    depth, lateral = pixel_centres(size * SUPERSAMPLING)

    echo = _bend_layers(_layered_tissue(depth, lateral, rng) + _lobules_and_vessels(depth, lateral, rng), rng)
    gain = _depth_gain(depth, rng) + _shadow_columns(depth, lateral, rng) + _probe_contact(depth, lateral, rng)
    lesions = _draw_lesions(depth, lateral, rng)
    for lesion in lesions:
        echo = _embed(lesion, echo, rng)
        gain = gain + _posterior_gain(lesion, rng)

    grey = _log_compress(_speckle(echo + gain, rng), rng)
    mask = np.max([lesion.inside > 0 for lesion in lesions], axis=0)
    return np.rint(255 * shrink(grey)).astype(np.uint8), to_mask(mask)


# Tissue


def _layered_tissue(depth: Field, lateral: Field, rng: np.random.Generator) -> Field:
    """Echo strength in dB of skin, fat, gland, muscle and what lies below, with fibrous strands along the layers."""
    side = len(depth)
    thicknesses = [rng.uniform(0.02, 0.05), rng.uniform(0.08, 0.3), rng.uniform(0.2, 0.55), rng.uniform(0.12, 0.3)]
    wavy_depth = depth + 0.015 * smooth_noise((3, 7), side, rng) * np.clip(depth / 0.1, 0, 1)
    below = [expit((wavy_depth - boundary) / 0.006) for boundary in np.cumsum(thicknesses)]
    shares = -np.diff([np.ones_like(wavy_depth), *below, np.zeros_like(wavy_depth)], axis=0)

    def by_layer(*values: float) -> Field:
        return np.tensordot(np.array(values, np.float32), shares, 1)

    echo = by_layer(-5, rng.uniform(-21, -14), rng.uniform(-15, -8), rng.uniform(-21, -13), rng.uniform(-30, -17))
    echo += by_layer(0, 10, 6, 11, 7) * _strands((9, 3), 0.13, side, rng)
    echo += by_layer(2, 3, 9, 8, 4) * _strands((24, 5), 0.35, side, rng)
    echo += by_layer(0, 1.5, 3, 2, 3) * smooth_noise((12, 6), side, rng)
    fasciae = 4 * (shares[:-1] * shares[1:]).sum(axis=0)
    return echo + rng.uniform(2, 9) * fasciae


def _strands(cells: tuple[int, int], thickness: float, side: int, rng: np.random.Generator) -> Field:
    """Thin curved lines, 0 to about 1.5, brighter in some patches: the zero crossings of smooth noise."""
    lines = np.exp(-((smooth_noise(cells, side, rng) / thickness) ** 2))
    return lines * np.clip(0.6 + 0.6 * smooth_noise((5, 4), side, rng), 0, 1.5)


def _lobules_and_vessels(depth: Field, lateral: Field, rng: np.random.Generator) -> Field:
    """Dark things along the layers that are no lesions, in dB: flat fat lobules, small ducts and vessels."""
    lobules = draw_integer(DIFFICULTY.fat_lobules, rng)
    count = lobules + draw_integer(DIFFICULTY.vessels, rng)
    is_lobule = np.arange(count)[:, None, None] < lobules

    def draw(for_lobules: Range, for_vessels: Range) -> Field:
        return np.where(
            is_lobule, rng.uniform(*for_lobules, is_lobule.shape), rng.uniform(*for_vessels, is_lobule.shape)
        )

    height, width = draw((0.015, 0.045), (0.01, 0.018)), draw((0.08, 0.25), (0.012, 0.06))
    down = (depth - draw((0.08, 0.95), (0.08, 0.95))) / height
    across = (lateral - draw((0, 1), (0, 1))) / width
    contrast = rng.uniform(*DIFFICULTY.distractor_contrast_db, is_lobule.shape)
    return (contrast * np.clip((1.2 - down**2 - across**2) * 2, 0, 1)).min(axis=0)


def _bend_layers(flat_tissue: Field, rng: np.random.Generator) -> Field:
    """Tilt and wave the layers, more so with depth: the skin stays flat against the probe."""
    side = len(flat_tissue)
    down, across = np.mgrid[0:side, 0:side].astype(np.float32)
    tilt = rng.uniform(-0.25, 0.25) * (across / side - rng.uniform(0.3, 0.7))
    waves = rng.uniform(0.01, 0.05) * smooth_noise((3, 4), side, rng)
    down += side * (tilt + waves) * np.clip(down / side / 0.25, 0, 1)
    return map_coordinates(flat_tissue, [down, across], order=1, mode="nearest")


# Lesions


def _draw_lesions(depth: Field, lateral: Field, rng: np.random.Generator) -> list[Lesion]:
    low, high = np.log(DIFFICULTY.lesion_area)
    areas = np.exp(rng.uniform(low, high, 2))
    if rng.random() >= DIFFICULTY.two_lesions_share:
        return [_draw_lesion(areas[0], (0, 1), depth, lateral, rng)]
    # Two lesions lie side by side, each small enough for its half of the picture.
    return [
        _draw_lesion(min(area, 0.05), span, depth, lateral, rng)
        for area, span in zip(areas, [(0, 0.48), (0.52, 1)], strict=True)
    ]


def _draw_lesion(area: float, lateral_span: Range, depth: Field, lateral: Field, rng: np.random.Generator) -> Lesion:
    """A dented ellipse that covers the given share of the picture and stays about within `lateral_span`.

    Benign: wider than tall, smooth, with a sharp margin. Malignant: often taller than wide, lobed and spiculated, with
    a blurred margin.
    """
    malignant = bool(rng.random() < DIFFICULTY.malignant_share)
    height_to_width = rng.uniform(0.7, 1.5) if malignant else rng.uniform(0.45, 1.0)
    half_height, half_width = np.sqrt(area / np.pi * height_to_width), np.sqrt(area / np.pi / height_to_width)
    down = depth - place_centre(half_height, (0.06, 0.88), rng)
    across = lateral - place_centre(half_width, lateral_span, rng)

    turn = rng.normal(scale=0.25)
    along = (across * np.cos(turn) + down * np.sin(turn)) / half_width
    upright = (down * np.cos(turn) - across * np.sin(turn)) / half_height
    outline = np.interp(np.arctan2(upright, along), ANGLES, _draw_outline(malignant, rng), period=2 * np.pi)
    inside = (outline - np.hypot(along, upright)) * np.sqrt(half_height * half_width)
    blur = rng.uniform(0.006, 0.018) if malignant else rng.uniform(0.002, 0.008)
    return Lesion(inside, expit(inside / blur), malignant, height=2 * half_height)


def _draw_outline(malignant: bool, rng: np.random.Generator) -> Field:
    """Radius at each of `ANGLES` of a randomly dented circle whose area is that of the unit circle."""
    wave = np.arange(2, 8 if malignant else 5)[:, None]
    height = rng.normal(scale=0.15, size=wave.shape) / (np.sqrt(wave - 1) if malignant else wave - 0.5)
    radius = 1 + (height * np.cos(wave * ANGLES + rng.uniform(0, 2 * np.pi, wave.shape))).sum(axis=0)
    radius = np.clip(radius, 0.55, 1.6)
    if malignant:
        spicule = rng.uniform(-np.pi, np.pi, (rng.integers(2, 7), 1))
        length, half_angle = rng.uniform(0.05, 0.35, spicule.shape), rng.uniform(0.12, 0.3, spicule.shape)
        radius += (length * np.exp((np.cos(ANGLES - spicule) - 1) / half_angle**2)).max(axis=0)
    return radius / np.sqrt(np.mean(radius**2))


def _embed(lesion: Lesion, echo: Field, rng: np.random.Generator) -> Field:
    """Replace the tissue inside the lesion by one weaker echo with a texture of its own, and give it a rim."""
    side = len(echo)
    isoechoic = rng.random() < DIFFICULTY.isoechoic_share
    contrast = rng.uniform(*(DIFFICULTY.isoechoic_contrast_db if isoechoic else DIFFICULTY.lesion_contrast_db))
    interior = np.average(echo, weights=lesion.membership) + contrast
    interior = interior + (2.5 if lesion.malignant else 1.2) * smooth_noise((12, 12), side, rng)
    if lesion.malignant and rng.random() < 0.4:  # microcalcifications
        interior = interior + 16 * expit(6 * (smooth_noise((45, 45), side, rng) - 2.4))
    rim_offset, rim_width = (0.03, 0.025) if lesion.malignant else (0.0, 0.01)
    rim = rng.uniform(0, 6) * np.exp(-(((lesion.inside + rim_offset) / rim_width) ** 2))
    return lesion.membership * interior + (1 - lesion.membership) * echo + rim


def _posterior_gain(lesion: Lesion, rng: np.random.Generator) -> Field:
    """Gain in dB behind a lesion: fluid-like benign ones let more of the beam through, malignant ones less."""
    if rng.random() >= DIFFICULTY.posterior_sign_share:
        return np.zeros_like(lesion.inside)
    side = len(lesion.inside)
    path = np.cumsum(lesion.membership, axis=0) / (side * lesion.height)
    strength = rng.uniform(-15, -5) if lesion.malignant else rng.uniform(4, 11)
    return strength * gaussian_filter1d(path.clip(0, 1), 0.015 * side, axis=1) * (1 - 0.7 * lesion.membership)


# Beam and picture


def _depth_gain(depth: Field, rng: np.random.Generator) -> Field:
    """What the time-gain compensation has left of the loss with depth, and its bands, in dB."""
    loss = rng.uniform(*DIFFICULTY.depth_loss_db) * depth ** rng.uniform(0.7, 3)
    return rng.uniform(0, 3) * smooth_noise((6, 1), len(depth), rng) - loss


def _shadow_columns(depth: Field, lateral: Field, rng: np.random.Generator) -> Field:
    """Bright reflectors (strands, gas, calcification) with the dark columns behind them, in dB."""
    gain = np.zeros((depth + lateral).shape)
    for _ in range(draw_integer(DIFFICULTY.shadow_columns, rng)):
        row, column, half_width = rng.uniform(0, 0.6), rng.uniform(0, 1), rng.uniform(0.03, 0.12)
        slant, spread = rng.normal(scale=0.08), rng.uniform(-0.3, 1)
        behind = depth - row
        across = (lateral - column - slant * behind) / (half_width * (1 + spread * behind.clip(0)))
        shadow = rng.uniform(*DIFFICULTY.distractor_contrast_db) * expit(behind / rng.uniform(0.01, 0.06))
        gain += shadow * np.exp(-(across**2)) * np.exp(-rng.uniform(0, 2) * behind.clip(0))
        gain += rng.uniform(0, 12) * np.exp(-(across**2)) * np.exp(-((behind / 0.012) ** 2))
    return gain


def _probe_contact(depth: Field, lateral: Field, rng: np.random.Generator) -> Field:
    """Dark sides where the probe has lifted off the skin, and dark corners beside the scanned sector, in dB."""
    gain = np.zeros((depth + lateral).shape)
    for from_side in (lateral, 1 - lateral):
        if rng.random() < DIFFICULTY.poor_contact_share / 2:
            gain -= rng.uniform(6, 25) * expit((rng.uniform(0, 0.15) - from_side) / 0.025)
        if rng.random() < DIFFICULTY.dark_corner_share / 2:
            from_end = depth if rng.random() < 0.5 else 1 - depth
            corner = rng.uniform(0.05, 0.25) - from_side - from_end * rng.uniform(0.2, 1)
            gain -= 60 * expit(corner / 0.004)
    return gain


def _speckle(echo: Field, rng: np.random.Generator) -> Field:
    """Power in dB of the beam's answer to random scatterers of mean echo strength `echo` (dB).

    One look is fully developed speckle (Rayleigh-distributed envelope), blurred more across than along the beam.
    """
    side = len(echo)
    amplitude = (10 ** (echo / 20)).astype(np.float32)
    looks = draw_integer(DIFFICULTY.speckle_looks, rng)
    scatterers = amplitude * rng.standard_normal((2 * looks, side, side), dtype=np.float32)  # real, imaginary parts
    beam = (0, rng.uniform(0.004, 0.008) * side, rng.uniform(0.009, 0.017) * side)
    power = (gaussian_filter(scatterers, beam) ** 2).sum(axis=0)
    return 10 * np.log10(power + 1e-12)


def _log_compress(decibels: Field, rng: np.random.Generator) -> Field:
    """Grey values from 0 to 1 over a random dynamic range, with random gain and contrast curve."""
    white = np.percentile(decibels, 97) - rng.uniform(*DIFFICULTY.gain_db)
    grey = 1 + (decibels - white) / rng.uniform(*DIFFICULTY.dynamic_range_db)
    return grey.clip(0, 1) ** rng.uniform(1, 2)
