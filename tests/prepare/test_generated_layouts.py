"""Folders as people fill them, drawn by a seed: every mask lands on its image, or one line says why not."""

from __future__ import annotations

import json
import random
import unicodedata

import numpy as np
import pytest
from PIL import Image

from custom.checks import check_dataset
from custom.data import load_datalist
from custom.errors import InputError
from custom.prepare import PrepareOptions, prepare_dataset

SIZE = (16, 12)
STEMS = [
    "scan", "scan_2", "scan_mask", "scan 10", "läsion é", "a.b", "a", "slide A [x=48,y=0,w=48,h=48]", "benign (1)",
    "50% #1", "$HOME", "-x", "1", "mask", "IM_01",
]  # fmt: skip
ENDINGS = ["", "_mask", "-labelled", "_Segmentation", " mask", "_gt", ".mask", "_seg_mask"]
NUMBERS = ["", "_1", "_2", "2", " (3)", "_10"]
SUFFIXES = [".png", ".PNG", ".bmp", ".tif", ".TIFF"]


def draw(rng):
    """Random pixels of an image, different each time."""
    return np.frombuffer(rng.randbytes(SIZE[0] * SIZE[1] * 3), np.uint8).reshape(SIZE[1], SIZE[0], 3)


def blob(rng):
    mask = np.zeros(SIZE[::-1], bool)
    top, left = rng.randrange(SIZE[1] - 4), rng.randrange(SIZE[0] - 4)
    mask[top : top + rng.randint(1, 4), left : left + rng.randint(1, 4)] = True
    return mask


def save(pixels, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def written(name, rng):
    return unicodedata.normalize(rng.choice(["NFC", "NFD"]), rng.choice([str, str, str.upper])(name))


def mask_names(stem, count, layout, rng):
    """Names of the masks of an image, without suffix."""
    if layout in ("samples", "folder of masks"):
        folder = f"{stem}/" if layout == "folder of masks" else ""
        return [f"{folder}{rng.choice(['object', stem + '_part', 'x'])} {number}" for number in range(count)]
    first = rng.choice(ENDINGS)
    ending = first if first else rng.choice(ENDINGS[1:])
    return [f"{stem}{first}", *(f"{stem}{ending}{number}" for number in rng.sample(NUMBERS[1:], count - 1))]


def fill(folder, rng):
    """Fill a folder; returns for each image its pixels and the union of its masks, or None without one."""
    layout = rng.choice(["pair", "pair", "nested", "samples", "folder of masks"])
    truth = []
    for number, stem in enumerate(rng.sample(STEMS, 6)):
        place = {"nested": rng.choice(["A/", "B b/"]), "samples": f"{number:04x}/images/"}.get(layout, "")
        beside = place.replace("images/", "masks/")
        images, masks = ("", "") if layout == "samples" else ("images/", "masks/")
        pixels, count = draw(rng), rng.choice([0, 1, 1, 2, 3]) if number else 1
        save(pixels, folder / f"{images}{place}{written(stem, rng)}{rng.choice(SUFFIXES)}")
        objects = [blob(rng) for _ in range(count)]
        for name, shape in zip(mask_names(stem, count, layout, rng) if count else [], objects, strict=True):
            save(shape.astype(np.uint8) * 255, folder / f"{masks}{beside}{written(name, rng)}{rng.choice(SUFFIXES)}")
        truth.append((pixels, np.any(objects, axis=0) if objects else None))
    for name in rng.sample(
        ["._x.png", "Thumbs.db", ".git/images/y.png", "__MACOSX/z.png", "readme.txt", "notes.json"], 3
    ):
        for place in {path.parent for path in list(folder.rglob("*")) if path.is_file()}:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(b"no image")
    return truth


def outcome(folder, output, truth):
    """ "right", or "refused" in one line; anything else fails."""
    try:
        prepare_dataset("folder", [folder], output, PrepareOptions(audit=False), show_progress=False)
    except InputError as error:
        assert str(error).isprintable()
        return "refused"
    content = json.loads((output / "datalist.json").read_text())
    check_dataset(load_datalist(output / "datalist.json", output), content["num_classes"], show_progress=False)
    entries = [entry for split in ("training", "validation", "test") for entry in content[split]]
    assert len(entries) == len(truth)
    for entry in entries:
        pixels = np.asarray(Image.open(output / entry["image"]).convert("RGB"))
        (mask,) = (mask for image, mask in truth if np.array_equal(image, pixels))
        assert ("label" in entry) == (mask is not None), entry
        if mask is not None:
            assert np.array_equal(np.asarray(Image.open(output / entry["label"])), mask), entry
    return "right"


@pytest.mark.parametrize("seed", range(8))
def test_masks_land_on_their_images_or_one_line_reports_why_not(tmp_path, seed):
    rng = random.Random(seed)
    outcomes = []
    for number in range(8):
        truth = fill(tmp_path / f"source {number}", rng)
        outcomes.append(outcome(tmp_path / f"source {number}", tmp_path / f"out {number}", truth))
    assert outcomes.count("right") > 4
