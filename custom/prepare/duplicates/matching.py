"""Which pictures show the same scene, whatever was done to their frame, orientation and brightness.

Three steps, each on fewer pairs than the one before:

1. Every picture as a whole, in its eight orientations, is compared with windows of every other picture, all shrunk to
   12 x 12 values: one large matrix product. The most similar few become candidates.
2. Candidates are aligned by an affine map, first roughly, then finely (inverse compositional Gauss-Newton; Baker and
   Matthews, "Lucas-Kanade 20 Years On", IJCV 2004).
3. Aligned pictures are correlated block by block. The same scene agrees in most blocks; two scenes which only share
   their frame, a ruler or the outline of a lesion agree in a few.

All steps look at grey values after removing slow changes and evening out the local contrast, which cancels most
changes of brightness, contrast and gamma.

A placement is the affine map of one picture onto another: a 3 x 3 matrix which takes (row, column, 1) in the first
picture to (row, column, 1) in the second, in both with -1 and 1 at opposite borders.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates
from tqdm import tqdm

__all__ = ["Match", "Views", "find_matches", "prepare_views"]

Floats = NDArray[np.floating]

COARSE_SIZE, FINE_SIZE = 64, 128
THUMBNAIL_SIZE = 12

# The parts of a side, from 0 to 1, which windows may take: all of it, crops to 90, 80 and 70 %, and shifts by 10 %.
INTERVALS = (
    *((0.0, 1.0), (0.0, 0.9), (0.05, 0.95), (0.1, 1.0), (0.0, 0.8), (0.1, 0.9), (0.2, 1.0)),
    *((0.0, 0.7), (0.15, 0.85), (0.3, 1.0), (-0.1, 0.9), (0.1, 1.1)),
)
WINDOWS = tuple(product(INTERVALS, INTERVALS))

_QUARTER_TURN, _MIRROR = np.array([[0, 1], [-1, 0]]), np.diag([1, -1])
# The map of each orientation: where a pixel of the turned picture lies in the original one.
ORIENTATIONS = tuple(
    np.linalg.matrix_power(_MIRROR, mirrored) @ np.linalg.matrix_power(_QUARTER_TURN, turns)
    for mirrored, turns in product(range(2), range(4))
)

# Chosen on breast ultrasound, colonoscopy, dermoscopy and histology, see `custom.prepare.duplicates.search`.
CANDIDATES_A_PICTURE = 10
THUMBNAIL_SIMILARITY = 0.6
COARSE_SIMILARITY = 0.65
LOCAL_SIMILARITY = 0.45

BLOCKS_A_SIDE = 8
FEWEST_BLOCKS = 8
DISAGREEING_SHARE = 0.35
TEXTURE = 0.15  # standard deviation, in units of the evened contrast, from which a block counts as textured
LEAST_OVERLAP = 0.3


class Views(NamedTuple):
    """A picture at two sizes, in evened contrast: zero where it is flat, about -2 to 2 elsewhere."""

    coarse: Floats
    fine: Floats


class Match(NamedTuple):
    """Two pictures, by their position in the sequence searched, which show the same scene."""

    first: int
    second: int
    similarity: float
    """Correlation which most blocks reach, up to 1."""
    placement: Floats
    """Where the first picture lies in the second."""

    @property
    def overlaps(self) -> tuple[float, float]:
        """The shares of the first and of the second picture which the other shows as well."""
        share = float(_inside(self.placement[:2] @ _grid(FINE_SIZE)).mean())
        return share, share * abs(float(np.linalg.det(self.placement)))


def prepare_views(image: Image.Image) -> Views:
    """What matching needs of a picture of any size and mode."""
    fine = image.convert("L").resize((FINE_SIZE, FINE_SIZE), Image.Resampling.BILINEAR)
    coarse = fine.resize((COARSE_SIZE, COARSE_SIZE), Image.Resampling.BOX)
    return Views(_even_contrast(coarse, finest=1.2), _even_contrast(fine, finest=1.0))


def find_matches(views: Sequence[Views], show_progress: bool = True) -> Iterator[Match]:
    """Yield the pairs of pictures which show the same scene, each pair once.

    Args:
        views: pictures, as `prepare_views` returns them.
        show_progress: show a progress bar, if the standard error is a terminal.
    """
    candidates = _find_candidates([picture.coarse for picture in views])
    for first, second in tqdm(candidates, "comparing images", unit="pair", disable=None if show_progress else True):
        match = _compare(first, second, views)
        if match.similarity >= LOCAL_SIMILARITY:
            yield match


def _even_contrast(picture: Image.Image, finest: float, coarsest: float = 6.0, noise: float = 4.0) -> Floats:
    """Keep structures between two sizes (pixels) and give them the same contrast everywhere.

    `noise`, in grey levels, keeps flat regions flat.
    """
    grey = np.asarray(picture, dtype=np.float32)
    detail = gaussian_filter(grey, finest) - gaussian_filter(grey, coarsest)
    return detail / (np.sqrt(gaussian_filter(detail**2, coarsest)) + noise)


# Candidates: thumbnails of whole pictures against thumbnails of windows


def _find_candidates(pictures: Sequence[Floats]) -> list[tuple[int, int]]:
    """Pairs (first, second), each in the direction in which the first resembles a window of the second more."""
    count = len(pictures)
    if count < 2:
        return []
    scores = _thumbnail_similarities(pictures)
    np.fill_diagonal(scores, -1)
    most = min(CANDIDATES_A_PICTURE, count - 1)
    best = np.argpartition(-scores, most - 1, axis=1)[:, :most]
    pairs = [(first, second) for first in range(count) for second in best[first].tolist()]
    likely = {(min(pair), max(pair)) for pair in pairs if scores[pair] >= THUMBNAIL_SIMILARITY}
    return [max(pair, pair[::-1], key=scores.__getitem__) for pair in sorted(likely)]


def _thumbnail_similarities(pictures: Sequence[Floats], window_batch: int = 64, whole_batch: int = 32) -> Floats:
    """[count, count] highest correlation of the row's whole picture, however oriented, with the column's windows.

    Batches bound the memory, and make the products large enough to be fast.
    """
    wholes = np.stack([_oriented_thumbnails(picture) for picture in pictures])
    scores = np.empty((len(pictures), len(pictures)), dtype=np.float32)
    for column in range(0, len(pictures), window_batch):
        windows = np.stack([_window_thumbnails(picture) for picture in pictures[column : column + window_batch]])
        for row in range(0, len(pictures), whole_batch):
            batch = wholes[row : row + whole_batch]
            products = windows.reshape(-1, windows.shape[-1]) @ batch.reshape(-1, batch.shape[-1]).T
            best_windows = products.reshape(len(windows), len(WINDOWS), -1).max(axis=1)
            best = best_windows.reshape(len(windows), len(batch), len(ORIENTATIONS)).max(axis=2)
            scores[row : row + whole_batch, column : column + window_batch] = best.T
    return scores


def _window_thumbnails(picture: Floats) -> Floats:
    """[windows, values] of a coarse picture, each of mean 0 and norm 1. Beyond the picture everything is zero."""
    shrink = np.concatenate([_shrinking_matrix(*interval) for interval in INTERVALS])
    thumbnails = (shrink @ picture @ shrink.T).reshape(len(INTERVALS), THUMBNAIL_SIZE, len(INTERVALS), THUMBNAIL_SIZE)
    return _normalise(thumbnails.transpose(0, 2, 1, 3).reshape(len(WINDOWS), -1))


def _oriented_thumbnails(picture: Floats) -> Floats:
    """[orientations, values] of a whole coarse picture, in the order of `ORIENTATIONS`."""
    shrink = _shrinking_matrix(0.0, 1.0)
    thumbnail = shrink @ picture @ shrink.T
    oriented = [np.rot90(side, turns) for side in (thumbnail, thumbnail[:, ::-1]) for turns in range(4)]
    return _normalise(np.reshape(oriented, (len(ORIENTATIONS), -1)))


@cache
def _shrinking_matrix(low: float, high: float) -> Floats:
    """[thumbnail, coarse] weights which average a row's part from `low` to `high` with overlapping tents."""
    centres = low + (np.arange(THUMBNAIL_SIZE) + 0.5) / THUMBNAIL_SIZE * (high - low)
    width = (high - low) * COARSE_SIZE / THUMBNAIL_SIZE
    distances = np.abs(centres[:, None] * COARSE_SIZE - 0.5 - np.arange(COARSE_SIZE))
    return (np.clip(1 - distances / width, 0, None) / width).astype(np.float32)


def _normalise(rows: Floats) -> Floats:
    rows = rows - rows.mean(axis=-1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-3)


def _window_placement(whole: Floats, windowed: Floats) -> Floats:
    """The placement of the first coarse picture in the window of the second which it resembles most."""
    products = _oriented_thumbnails(whole) @ _window_thumbnails(windowed).T
    orientation, window = np.unravel_index(products.argmax(), products.shape)
    low, high = np.transpose(WINDOWS[window])
    placement = np.eye(3)
    placement[:2, :2] = np.diag(high - low) @ ORIENTATIONS[orientation].T
    placement[:2, 2] = low + high - 1
    return placement


# Alignment and comparison of one pair


def _compare(first: int, second: int, views: Sequence[Views]) -> Match:
    """The similarity of two pictures in their best alignment; 0 if they differ already in outline."""
    one, other = views[first], views[second]
    placement = _window_placement(one.coarse, other.coarse)
    correlation, placement = _align(one.coarse, other.coarse, placement, size=32, steps=15)
    if correlation < COARSE_SIMILARITY:
        return Match(first, second, 0.0, placement)
    _, placement = _align(one.fine, other.fine, placement, size=64, steps=8)
    return Match(first, second, _local_similarity(one.fine, other.fine, placement), placement)


def _align(template: Floats, picture: Floats, placement: Floats, size: int, steps: int) -> tuple[float, Floats]:
    """Improve the placement of `template` in `picture`, as seen at size x size points.

    Returns:
        The correlation where they overlap, and the placement which gives it.
    """
    points = _grid(size)
    target = _sample(template, np.eye(3), points)[0]
    slopes = np.gradient(target.reshape(size, size), 2 / size)
    # How the template changes with the six entries of its own placement.
    jacobian = np.concatenate([slope.reshape(1, -1) * points for slope in slopes])

    best, best_placement = -1.0, placement
    for _ in range(steps):
        values, overlap = _sample(picture, placement, points)
        if overlap.mean() < LEAST_OVERLAP:
            break
        wanted, found = (_centre(row, overlap) for row in (target, values))
        wanted_norm, found_norm = np.linalg.norm(wanted) + 1e-3, np.linalg.norm(found) + 1e-3
        correlation = float(wanted @ found / (wanted_norm * found_norm))
        gain, improved = correlation - best, correlation > best
        if improved:
            best, best_placement = correlation, placement
        if gain < 1e-3:
            break
        step = _solve(_centre(jacobian, overlap), found * (wanted_norm / found_norm) - wanted)
        placement = placement @ np.linalg.inv(np.eye(3) + np.vstack([step.reshape(2, 3), np.zeros(3)]))
    return best, best_placement


def _solve(jacobian: Floats, residual: Floats, longest: float = 0.15) -> Floats:
    """The six changes of a placement which explain `residual`, damped and no longer than the pictures allow."""
    normal = jacobian @ jacobian.T
    normal[np.diag_indices(6)] = normal.diagonal() * 1.01 + 1e-3
    return np.clip(np.linalg.solve(normal, jacobian @ residual), -longest, longest)


def _local_similarity(template: Floats, picture: Floats, placement: Floats) -> float:
    """The correlation which all but the worst `DISAGREEING_SHARE` of the textured blocks reach.

    Blocks which only one of the pictures fills with texture count as uncorrelated. The result is 0 where too few
    blocks are textured to decide.
    """
    points = _grid(FINE_SIZE // 2)
    values, overlap = _sample(picture, placement, points)
    inside = _blocks(overlap).all(axis=1)
    ones = _blocks(_sample(template, np.eye(3), points)[0])[inside]
    others = _blocks(values)[inside]
    spreads = np.stack([ones.std(axis=1), others.std(axis=1)])
    textured = spreads.max(axis=0, initial=0) > TEXTURE
    if textured.sum() < FEWEST_BLOCKS:
        return 0.0
    ones, others = (blocks - blocks.mean(axis=1, keepdims=True) for blocks in (ones, others))
    correlations = (ones * others).mean(axis=1) / (spreads.prod(axis=0) + 1e-6)
    correlations[spreads.min(axis=0) <= TEXTURE] = 0
    return float(np.quantile(correlations[textured], DISAGREEING_SHARE))


def _blocks(values: NDArray) -> NDArray:
    """[blocks, pixels of a block] of a square picture given as one row."""
    side = round(values.size**0.5) // BLOCKS_A_SIDE
    cut = values.reshape(BLOCKS_A_SIDE, side, BLOCKS_A_SIDE, side)
    return cut.transpose(0, 2, 1, 3).reshape(BLOCKS_A_SIDE**2, side**2)


@cache
def _grid(size: int) -> Floats:
    """[3, size * size] rows, columns and ones of evenly spread points."""
    ticks = ((np.arange(size) + 0.5) / size * 2 - 1).astype(np.float32)
    rows, columns = np.meshgrid(ticks, ticks, indexing="ij")
    return np.stack([rows, columns, np.ones_like(rows)]).reshape(3, -1)


def _sample(picture: Floats, placement: Floats, points: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """The values of `picture` where `placement` takes the points, and which of these lie inside."""
    there = placement[:2] @ points
    pixels = (there + 1) / 2 * len(picture) - 0.5
    return map_coordinates(picture, pixels, order=1, mode="nearest"), _inside(there)


def _inside(points: Floats) -> NDArray[np.bool_]:
    return (np.abs(points) <= 1).all(axis=0)


def _centre(rows: Floats, overlap: NDArray[np.bool_]) -> Floats:
    """Values less their mean over the overlap, and zero beyond it."""
    mean = (rows * overlap).sum(axis=-1, keepdims=True) / overlap.sum()
    return (rows - mean) * overlap
