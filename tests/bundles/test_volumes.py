"""Inference on volumes: the same masks as for their slices as pictures, in the volumes' own geometry."""

from __future__ import annotations

import csv

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from custom.error_causes import find_input_error
from custom.volumes import read_volume, to_slices, windowed
from tests.bundles.test_inference import predict
from tests.volumes.files import write_nifti, write_nrrd, write_radiograph, write_series, write_ultrasound

RANDOM = np.random.default_rng(0)
VALUES = RANDOM.integers(0, 1000, (20, 17, 3)).astype(np.int16)
VALUES[5:12, 4:11] += 1500


def as_pictures(volume, folder):
    """Each slice as a picture that inference could be given instead."""
    folder.mkdir()
    slices = to_slices(windowed(volume), volume.affine)
    for number in range(slices.shape[2]):
        Image.fromarray(np.ascontiguousarray(slices[:, :, number].swapaxes(0, 1))).save(folder / f"{number}.png")
    return folder


def masks_of(folder, number):
    return np.stack([np.asarray(Image.open(folder / "masks" / f"{n}.png")).T > 0 for n in range(number)], axis=-1)


@pytest.mark.parametrize("kind", ["nifti", "nrrd", "series"])
def test_a_volume_gets_the_masks_of_its_slices(trained, tmp_path, kind):
    if kind == "nifti":
        path = write_nifti(tmp_path / "case.nii.gz", VALUES)
    elif kind == "nrrd":
        path = write_nrrd(tmp_path / "case.nrrd", VALUES)
    else:
        path = write_series(tmp_path / "case", VALUES)
    volume = read_volume(path)
    pictures = predict(as_pictures(volume, tmp_path / "pictures"), trained / "model.pt", tmp_path / "one")
    out = predict(path, trained / "model.pt", tmp_path / "two", probability_maps=True, disagreement_maps=True)
    file = out / "masks" / ("case.nrrd" if kind == "nrrd" else "case.nii.gz")
    mask = read_volume(file)
    assert np.allclose(mask.affine, volume.affine)
    assert mask.values.shape == volume.values.shape
    expected = masks_of(pictures, volume.values.shape[2])
    assert 0 < expected.mean() < 1
    assert (to_slices(mask.values > 0, volume.affine) == expected).mean() > 0.999  # rounding of the resampling
    assert (out / "masks" / "case.seg.dcm").is_file() == (kind == "series")
    for name in ("probability", "disagreement"):
        assert read_volume(out / name / file.name).values.shape == volume.values.shape
    with open(out / "predictions.csv", newline="") as table:
        (row,) = csv.DictReader(table)
    assert (row["image"], row["slices"]) == (str(path), "3")
    assert float(row["foreground_share"]) == pytest.approx((mask.values > 0).mean(), abs=1e-5)


def test_a_folder_of_all_kinds(trained, tmp_path):
    folder = tmp_path / "in"
    write_nifti(folder / "a.nii.gz", VALUES)
    write_series(folder / "ct", VALUES)
    write_radiograph(folder / "xray.dcm", VALUES[:, :, 0])
    write_ultrasound(folder / "us.dcm", RANDOM.integers(0, 255, (20, 17, 3)))
    Image.fromarray(RANDOM.integers(0, 255, (17, 20, 3)).astype(np.uint8)).save(folder / "photo.png")
    out = predict(folder, trained / "model.pt", tmp_path)
    assert sorted(path.name for path in (out / "masks").iterdir()) == [
        "a.nii.gz", "ct.nii.gz", "ct.seg.dcm", "photo.png", "us.png", "us.seg.dcm", "xray.png", "xray.seg.dcm",
    ]  # fmt: skip


def test_the_window_of_the_training_is_kept_with_the_model_and_can_be_given(trained, tmp_path):
    path = write_nifti(tmp_path / "case.nii.gz", VALUES)
    content = torch.load(trained / "model.pt", weights_only=True)
    assert content["details"]["window"] == "auto"
    assert content["details"]["class_names"] == ["background", "lesion"]
    content["details"]["window"] = [5000, 6000]  # all black
    dark = tmp_path / "model.pt"
    torch.save({key: value for key, value in content.items() if key != "checksum"}, dark)
    masks = {}
    for name, model, given in (
        ("auto", trained / "model.pt", {}),
        ("model", dark, {}),
        ("given", dark, {"window": "auto"}),
    ):
        out = predict(path, model, tmp_path / name, **given)
        masks[name] = np.asarray(nibabel.load(out / "masks" / "case.nii.gz").dataobj)
    assert np.array_equal(masks["given"], masks["auto"])
    assert not np.array_equal(masks["model"], masks["auto"])


def test_a_volume_that_cannot_be_read_is_one_line_before_anything_is_predicted(trained, tmp_path):
    write_nifti(tmp_path / "in" / "a.nii.gz", VALUES)
    (tmp_path / "in" / "b.nii.gz").write_bytes(b"x")
    with pytest.raises(Exception) as caught:
        predict(tmp_path / "in", trained / "model.pt", tmp_path)
    assert "b.nii.gz cannot be read as a volume; replace the file" in str(find_input_error(caught.value))
    assert not (tmp_path / "out" / "masks").exists()
