"""Inference on whole slides: region by region, the masks that the same pictures get in windows."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from tifffile import TiffFile, imread, imwrite
from tiffslide import TiffSlide

from custom.error_causes import find_input_error
from custom.slides import Slide, kinds
from tests.bundles.conftest import train
from tests.bundles.test_inference import predict
from tests.slides.files import tissue, write_hamamatsu, write_leica, write_slide

WIDTH, HEIGHT = 1500, 1100
VALUES = tissue(WIDTH, HEIGHT)
SIDE = 160.0  # of the training's images, which the network sees with 32 pixels


def with_details(trained, folder, **details):
    """A copy of the model with other details."""
    content = torch.load(trained / "model.pt", weights_only=True)
    content["details"] |= details
    path = folder / "model.pt"
    torch.save({key: value for key, value in content.items() if key != "checksum"}, path)
    return path


def rows_of(out):
    with open(out / "predictions.csv", newline="") as file:
        return list(csv.DictReader(file))


def refusal(*arguments, **overrides):
    with pytest.raises((ValueError, RuntimeError)) as caught:
        predict(*arguments, **overrides)
    found = str(find_input_error(caught.value))
    assert "\n" not in found
    return found


@pytest.fixture
def regions(monkeypatch):
    """Sizes of the regions that are read."""
    seen = []
    read = Slide.read

    def counting(self, level, left, top, width, height):
        seen.append((level, width, height))
        return read(self, level, left, top, width, height)

    monkeypatch.setattr(Slide, "read", counting)
    return seen


def test_a_slide_gets_the_mask_that_the_same_picture_gets_in_windows(trained, tmp_path, regions):
    model = with_details(trained, tmp_path, source_side=SIDE)
    slide = write_slide(tmp_path / "in" / "slide.svs", VALUES, aperio=True)
    (tmp_path / "pictures").mkdir()
    Image.fromarray(VALUES).save(tmp_path / "pictures" / "slide.png")
    maps = {"probability_maps": True, "disagreement_maps": True, "windows_above": 500}
    picture = predict(tmp_path / "pictures", model, tmp_path / "one", **maps)
    out = predict(slide, model, tmp_path / "two", **maps)

    mask = imread(out / "masks" / "slide.tif")
    expected = np.asarray(Image.open(picture / "masks" / "slide.png")) > 0
    assert 0.02 < expected.mean() < 0.98
    assert mask.shape == (HEIGHT, WIDTH) and set(np.unique(mask)) == {0, 1}  # class indices
    assert ((mask > 0) == expected).mean() > 0.9995  # rounding
    for name in ("probability", "disagreement"):
        difference = imread(out / name / "slide.tif").astype(int) - np.asarray(Image.open(picture / name / "slide.png"))
        assert np.abs(difference).max() <= 1

    (row,), (of_picture,) = rows_of(out), rows_of(picture)
    assert (row["image"], row["width"], row["height"], row["slices"]) == (str(slide), "1500", "1100", "1")
    assert float(row["foreground_share"]) == pytest.approx((mask > 0).mean(), abs=1e-6)
    for name in ("foreground_share", "disagreement", "uncertainty"):
        assert float(row[name]) == pytest.approx(float(of_picture[name]), abs=1e-3)

    regions = regions[1:]  # the check reads a pixel
    assert len(regions) > 30
    assert {level for level, _, _ in regions} == {0}
    assert max(width for _, width, _ in regions) <= SIDE + 3 * SIDE * 0.75 + 3  # four windows side by side
    assert max(height for _, _, height in regions) <= SIDE + 3


@pytest.mark.filterwarnings("ignore:hamamatsu-format metadata")
@pytest.mark.parametrize(("write", "suffix"), [(write_hamamatsu, ".ndpi"), (write_leica, ".scn")])
def test_slides_of_other_scanners_get_the_mask_of_the_same_picture(trained, tmp_path, write, suffix):
    """In files made like theirs: tests have no slide of these scanners."""
    model = with_details(trained, tmp_path, source_side=SIDE)
    slide = write(tmp_path / "in" / f"slide{suffix}", VALUES[:384, :512])
    shown = imread(slide, series=int(suffix == ".scn"), level=0)  # not VALUES: the slides are JPEG
    if suffix == ".scn":
        shown = np.pad(shown, ((40, 40), (60, 60), (0, 0)), constant_values=255)  # glass that was not scanned
    (tmp_path / "pictures").mkdir()
    Image.fromarray(shown).save(tmp_path / "pictures" / "slide.png")
    picture = predict(tmp_path / "pictures", model, tmp_path / "one", windows_above=200)
    expected = np.asarray(Image.open(picture / "masks" / "slide.png")) > 0
    mask = imread(predict(slide, model, tmp_path / "two", windows_above=200) / "masks" / "slide.tif")
    assert mask.shape == shown.shape[:2]
    assert 0.02 < expected.mean() < 0.98
    assert ((mask > 0) == expected).mean() > 0.9995  # rounding
    with TiffSlide(tmp_path / "two" / "out" / "masks" / "slide.tif") as written:
        assert written.properties["tiffslide.mpp-x"] == pytest.approx(0.5)


def test_the_mask_lies_over_the_slide_in_viewers(trained, tmp_path):
    model = with_details(trained, tmp_path, source_side=SIDE)
    out = predict(write_slide(tmp_path / "in" / "slide.tif", VALUES, microns=0.25), model, tmp_path, windows_above=2000)
    with TiffFile(out / "masks" / "slide.tif") as file:
        assert [level.shape for level in file.series[0].levels] == [(1100, 1500), (275, 375)]
        assert all(level.keyframe.is_tiled and level.keyframe.compression == 8 for level in file.series[0].levels)
    with TiffSlide(out / "masks" / "slide.tif") as mask:
        assert mask.dimensions == (WIDTH, HEIGHT)
        assert mask.properties["tiffslide.mpp-x"] == pytest.approx(0.25)


@pytest.mark.parametrize(("microns", "level"), [(0.125, 2), (0.25, 1), (0.5, 0)])
def test_the_level_of_the_trainings_pixels_is_read(trained, tmp_path, regions, microns, level):
    """The same tissue scanned finer gives nearly the same mask, from a smaller level."""
    model = with_details(trained, tmp_path, source_side=SIDE, microns_per_pixel=0.5)
    factor = round(0.5 / microns)
    values = VALUES[:288, :400]
    scanned = values.repeat(factor, axis=0).repeat(factor, axis=1)
    slide = write_slide(tmp_path / "in" / "slide.tif", scanned, microns=microns)
    mask = imread(predict(slide, model, tmp_path / "fine", windows_above=200) / "masks" / "slide.tif")
    assert {read[0] for read in regions} == {level}
    usual = write_slide(tmp_path / "usual" / "slide.tif", values, microns=0.5)
    expected = imread(predict(usual, model, tmp_path / "usual", windows_above=200) / "masks" / "slide.tif")
    assert mask.shape == scanned.shape[:2]
    assert (mask[factor // 2 :: factor, factor // 2 :: factor] == expected).mean() > 0.95


def test_a_finer_slide_without_levels_is_averaged_to_the_trainings_pixels(trained, tmp_path):
    model = with_details(trained, tmp_path, source_side=SIDE, microns_per_pixel=0.5)
    values = VALUES[:288, :400].repeat(2, axis=0).repeat(2, axis=1)
    masks = []
    for levels in ((1, 2), (1,)):
        slide = write_slide(tmp_path / str(levels) / "slide.svs", values, 0.25, levels, aperio=True)
        masks.append(imread(predict(slide, model, tmp_path / str(levels), windows_above=200) / "masks" / "slide.tif"))
    assert (masks[0] == masks[1]).mean() > 0.999


def test_training_keeps_the_size_of_a_pixel_with_the_model(phantom, tmp_path):
    shutil.copytree(phantom, tmp_path / "data")
    datalist = json.loads((tmp_path / "data" / "datalist.json").read_text())
    (tmp_path / "data" / "datalist.json").write_text(json.dumps(datalist | {"microns_per_pixel": 0.5}))
    model = train(tmp_path / "data", tmp_path / "runs", "alignment", alignment_epochs=1) / "model.pt"
    details = torch.load(model, weights_only=True)["details"]
    assert (details["microns_per_pixel"], details["source_side"]) == (0.5, 32)


def test_slides_pictures_and_a_warning_about_the_scale_in_one_folder(trained, tmp_path, caplog):
    model = with_details(trained, tmp_path, source_side=SIDE)
    write_slide(tmp_path / "in" / "b.tif", VALUES[:300, :400])
    Image.fromarray(VALUES[:40, :40]).save(tmp_path / "in" / "a.png")
    imwrite(tmp_path / "in" / "c.tif", VALUES[:60, :80], tile=(32, 32), photometric="rgb")
    with caplog.at_level("WARNING"):
        out = predict(tmp_path / "in", model, tmp_path, windows_above=200)
    assert sorted(path.name for path in (out / "masks").iterdir()) == ["a.png", "b.tif", "c.png"]
    assert [row["image"].rsplit("/", 1)[-1] for row in rows_of(out)] == ["a.png", "c.tif", "b.tif"]
    (record,) = [record for record in caplog.records if "microns_per_pixel" in record.getMessage()]
    assert "b.tif: its pixels of 0.5 micrometres" in record.getMessage()


def test_without_a_fixed_scale_a_slide_is_squeezed_like_a_picture_or_refused(trained, tmp_path, monkeypatch):
    slide = write_slide(tmp_path / "in" / "slide.tif", VALUES)
    out = predict(slide, trained / "model.pt", tmp_path / "one")
    Image.fromarray(VALUES).save(tmp_path / "slide.png")
    picture = predict(tmp_path / "slide.png", trained / "model.pt", tmp_path / "two")
    expected = np.asarray(Image.open(picture / "masks" / "slide.png")) > 0
    assert ((imread(out / "masks" / "slide.tif") > 0) == expected).mean() > 0.999

    monkeypatch.setattr("custom.slides.scale.MAX_PIXELS", 1_000_000)
    found = refusal(slide, trained / "model.pt", tmp_path / "three")
    assert "slide.tif: 1500x1100 pixels are more than 1000000, and the model is of data without a fixed scale" in found
    assert not (tmp_path / "three" / "out" / "masks").exists()


def test_a_large_tiff_of_tiles_is_a_slide_and_other_large_pictures_are_refused(trained, tmp_path, monkeypatch):
    model = with_details(trained, tmp_path, source_side=SIDE)
    for module in ("custom.slides.kinds", "custom.slides.scale", "custom.pixels.images"):
        monkeypatch.setattr(f"{module}.MAX_PIXELS", 100_000)
    imwrite(tmp_path / "tiles.tif", VALUES[:300, :400], tile=(64, 64), photometric="rgb", compression="jpeg")
    assert kinds.is_slide(tmp_path / "tiles.tif")
    out = predict(tmp_path / "tiles.tif", model, tmp_path, windows_above=200)
    assert imread(out / "masks" / "tiles.tif").shape == (300, 400)
    imwrite(tmp_path / "strips.tif", VALUES[:300, :400], photometric="rgb")
    found = refusal(tmp_path / "strips.tif", model, tmp_path / "two", windows_above=200)
    assert "400x300 pixels are more than 100000" in found and "TIFF of tiles" in found


def test_a_broken_slide_is_one_line_before_anything_is_predicted(trained, tmp_path):
    model = with_details(trained, tmp_path, source_side=SIDE)
    Image.fromarray(VALUES[:40, :40]).save(tmp_path / "a.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.svs").write_bytes(b"II*\0" + bytes(100))
    Image.fromarray(VALUES[:40, :40]).save(tmp_path / "in" / "a.png")
    assert "b.svs cannot be read as a slide; replace the file" in refusal(tmp_path / "in", model, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.png"))


def test_a_tile_that_cannot_be_decoded_is_one_line_and_leaves_no_mask(trained, tmp_path):
    model = with_details(trained, tmp_path, source_side=SIDE)
    slide = write_slide(tmp_path / "slide.tif", VALUES[:300, :400])
    with TiffFile(slide) as file:
        offset, length = file.pages.first.dataoffsets[-1], file.pages.first.databytecounts[-1]
    content = bytearray(slide.read_bytes())
    content[offset : offset + length] = b"x" * length
    slide.write_bytes(content)
    assert "slide.tif cannot be read as a slide; replace the file" in refusal(slide, model, tmp_path, windows_above=200)
    assert not list((tmp_path / "out" / "masks").iterdir())
