"""BCSS: regions of breast cancer slides at 0.25 micrometres per pixel, cut into patches; tumour against the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from custom.errors import InputError
from custom.pixels.images import MOST_BIT_DEPTH, read_stored_image, to_8_bits
from custom.pixels.masks import plain_values
from custom.pixels.naming import naming
from custom.prepare.listing import list_files, nothing_found, pairs_of_folders
from custom.prepare.pairing import pair_by_name
from custom.prepare.records import Found, Record, Release, Request, Source
from custom.prepare.upright import upright_mask

__all__ = ["BCSS", "PATCH_SIDE"]

PATCH_SIDE = 1024
OUTSIDE_ROI = 0
TUMOUR_CODES = (1, 19, 20)
"""Tumour, angioinvasion and ductal carcinoma in situ, of the 22 codes of gtruth_codes.tsv."""

_HIGHEST_CODE = 21
_MOSTLY_OUTSIDE = 0.5
_IMAGE_FOLDERS = ("rgbs_colorNormalized", "rgbs", "images")
_SLIDE = re.compile(r"(TCGA-\w+-\w+-\w+)")
_PIXEL_SIZE = re.compile(r"MPP-(\d+(?:\.\d+)?)")


def find_bcss(request: Request) -> Found:
    """Cut every region into patches. Patches of one slide make a group."""
    regions = _find_regions(request)
    found = Found([])
    pixels = {"outside": 0, "kept": 0}
    dropped = narrow = 0
    for name, image_path, mask_path in tqdm(
        regions, "cutting regions", disable=None if request.show_progress else True
    ):
        image, codes = _read_region(image_path, mask_path)
        narrow += min(codes.shape) < PATCH_SIDE
        for top, left in _corners(*codes.shape):
            patch = codes[top : top + PATCH_SIDE, left : left + PATCH_SIDE]
            outside = patch == OUTSIDE_ROI
            if outside.mean() > _MOSTLY_OUTSIDE:
                dropped += 1
                continue
            pixels["outside"] += int(outside.sum())
            pixels["kept"] += patch.size
            patch_name = f"{name}_y{top:05d}_x{left:05d}"
            found.records.append(_write_patch(image, patch, top, left, patch_name, _slide(name), request.workspace))
    if not found.records:
        raise InputError(
            f"bcss: every patch lies mostly outside its region; check the masks of {request.sources[0].given}"
        )
    share = pixels["outside"] / pixels["kept"]
    found.notes += [
        f"{len(regions)} regions gave {len(found.records)} patches of {PATCH_SIDE} x {PATCH_SIDE} pixels; patches at "
        "the far edges are moved inwards and overlap their neighbours.",
        f"Foreground: codes {', '.join(map(str, TUMOUR_CODES))}. {dropped} patches with more than "
        f"{_MOSTLY_OUTSIDE:.0%} outside the region of interest (code {OUTSIDE_ROI}) were dropped; in the others "
        f"{share:.1%} of the pixels ({pixels['outside']:,}) lie outside and count as background.",
    ]
    if narrow:
        found.notes.append(f"{narrow} regions are narrower than a patch; their patches are smaller.")
    return found


def _find_regions(request: Request) -> list[tuple[str, Path, Path]]:
    """Name, image and mask of each region."""
    regions = []
    for source in request.sources:
        for folders in pairs_of_folders(source.folder, _IMAGE_FOLDERS, ("masks",)):
            files = list_files(folders.images), list_files(folders.masks)
            for name, image, masks in pair_by_name(*files, folders.images, folders.masks).images:
                if len(masks) > 1:
                    raise InputError(f"{masks[0]} and {masks[1].name} are both masks of {image.name}; remove one")
                regions += [(name, image, mask) for mask in masks]
    if not any(_SLIDE.match(name) for name, _, _ in regions):
        raise nothing_found(request.sources, BCSS.name, BCSS.layout)
    for name, image, _ in regions:
        if (size := _PIXEL_SIZE.search(name)) and abs(float(size[1]) - 0.25) > 0.01:
            raise InputError(f"{image}: {size[1]} micrometres per pixel; download BCSS at 0.25")
    return regions


def _read_region(image_path: Path, mask_path: Path) -> tuple[Image.Image, NDArray[np.integer]]:
    image = read_stored_image(image_path)
    mask, _ = upright_mask(mask_path, image.size, orientation=1)
    with naming(mask_path):
        codes = plain_values(mask)
    if codes.max() > _HIGHEST_CODE:
        raise InputError(f"{mask_path} holds no codes 0 to {_HIGHEST_CODE}; download the masks of BCSS again")
    return Image.fromarray(to_8_bits(image, MOST_BIT_DEPTH)).convert("RGB"), codes


def _corners(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Top and left of the patches, which together cover the region."""
    for top in _starts(height):
        for left in _starts(width):
            yield top, left


def _starts(length: int) -> list[int]:
    last = max(0, length - PATCH_SIDE)
    return [*range(0, last, PATCH_SIDE), last]


def _write_patch(
    image: Image.Image, codes: NDArray[np.integer], top: int, left: int, name: str, slide: str, workspace: Path
) -> Record:
    height, width = codes.shape
    image_path, mask_path = workspace / f"{name}.png", workspace / f"{name}_mask.png"
    image.crop((left, top, left + width, top + height)).save(image_path, compress_level=1)
    Image.fromarray(np.isin(codes, TUMOUR_CODES).astype(np.uint8)).save(mask_path)
    return Record(name, image_path, (mask_path,), group=slide)


def _slide(name: str) -> str:
    match = _SLIDE.match(name)
    return match[1] if match else name


BCSS = Source(
    name="bcss",
    title="BCSS, breast cancer histology, tumour against the rest",
    layout='the folders "rgbs_colorNormalized" (or "images") and "masks", files as TCGA-A1-A0SK-DX1_xmin...png',
    find=find_bcss,
    short_name="BCSS",
    class_names=("background", "tumour"),
    one_connected_component=False,
    fixed_scale=True,
    masks="indices",
    release=Release(2721, {"5%": 136, "10%": 272, "30%": 816}),
)
