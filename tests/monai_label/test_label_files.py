from __future__ import annotations

import nibabel
import nrrd
import numpy as np
import pytest
from PIL import Image

from custom.errors import InputError
from custom.monai_label.label_files import convert_label
from custom.volumes import read_volume

NAMES = {"liver": 1, "tumour": 2}
AFFINE = np.array([[0, 2, 0, -5], [-1.5, 0, 0, 7], [0, 0, 3, 11], [0, 0, 0, 1]], float)  # turned, and no cubes
MASK = np.random.default_rng(0).integers(0, 3, (6, 5, 4)).astype(np.uint8)


def nifti(path, values, affine=AFFINE):
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


def slicer_nrrd(path, values, directions=None, origin=(0, 0, 0)):
    """As 3D Slicer saves it."""
    directions = np.eye(3) if directions is None else directions
    header = {"space": "left-posterior-superior", "space directions": directions, "space origin": np.array(origin)}
    nrrd.write(str(path), values, {**header, "kinds": ["domain"] * 3, "encoding": "gzip"})
    return path


@pytest.fixture
def volume(tmp_path):
    return nifti(tmp_path / "scan.nii.gz", np.random.default_rng(1).normal(size=MASK.shape).astype(np.float32))


@pytest.fixture
def picture(tmp_path):
    Image.new("RGB", (7, 4)).save(tmp_path / "frame.jpg")
    return tmp_path / "frame.jpg"


def convert(label, image, tmp_path, segments=()):
    folder = tmp_path / "new"
    folder.mkdir(exist_ok=True)
    return convert_label(label, image, folder, NAMES, segments)


def test_the_label_of_a_volume_is_stored_on_its_grid(volume, tmp_path):
    stored = convert(nifti(tmp_path / "label.nii.gz", MASK), volume, tmp_path)
    assert stored.name == "scan.nii.gz"
    np.testing.assert_array_equal(read_volume(stored).values, MASK)
    np.testing.assert_allclose(read_volume(stored).affine, AFFINE)


def test_a_label_with_its_axes_turned_is_turned_back(volume, tmp_path):
    turned = nibabel.as_closest_canonical(nibabel.Nifti1Image(MASK, AFFINE))
    assert turned.shape != MASK.shape
    nibabel.save(turned, tmp_path / "label.nii.gz")
    np.testing.assert_array_equal(read_volume(convert(tmp_path / "label.nii.gz", volume, tmp_path)).values, MASK)


def test_a_label_in_nrrd_is_stored_in_the_format_of_the_volume(volume, tmp_path):
    lps = np.diag([-1, -1, 1, 1]) @ AFFINE
    label = slicer_nrrd(tmp_path / "label.seg.nrrd", MASK, lps[:3, :3].T, lps[:3, 3])
    stored = convert(label, volume, tmp_path)
    assert stored.name == "scan.nii.gz"
    np.testing.assert_array_equal(read_volume(stored).values, MASK)


def test_a_label_without_its_empty_margins_is_put_in_its_place(volume, tmp_path):
    part = MASK[2:5, 1:4, 3:]
    moved = AFFINE.copy()
    moved[:3, 3] += AFFINE[:3, :3] @ (2, 1, 3)
    expected = np.zeros_like(MASK)
    expected[2:5, 1:4, 3:] = part
    stored = convert(nifti(tmp_path / "label.nii.gz", part, moved), volume, tmp_path)
    np.testing.assert_array_equal(read_volume(stored).values, expected)


def test_a_label_beyond_its_volume_is_cut(volume, tmp_path):
    padded, moved = np.pad(MASK, 2), AFFINE.copy()
    moved[:3, 3] -= AFFINE[:3, :3] @ (2, 2, 2)
    stored = convert(nifti(tmp_path / "label.nii.gz", padded, moved), volume, tmp_path)
    np.testing.assert_array_equal(read_volume(stored).values, MASK)


@pytest.mark.parametrize("dtype", ["u1", "<u2"])
def test_plain_voxels_are_in_the_order_of_the_file(dtype, volume, tmp_path):
    (tmp_path / "label.bin").write_bytes(MASK.astype(dtype).tobytes(order="F"))
    np.testing.assert_array_equal(read_volume(convert(tmp_path / "label.bin", volume, tmp_path)).values, MASK)


@pytest.mark.parametrize("kind", [".nrrd", ".nii.gz", ".nii", ".bin"])
def test_a_volume_of_one_slice_is_the_label_of_a_picture(kind, picture, tmp_path):
    mask = np.arange(28).reshape(7, 4, 1).astype(np.uint8) % 3
    label = tmp_path / f"label{kind}"
    if kind == ".nrrd":
        slicer_nrrd(label, mask)
    elif kind == ".bin":
        label.write_bytes(mask.tobytes(order="F"))
    else:
        nifti(label, mask, np.diag([-1, -1, 1, 1]))
    stored = convert(label, picture, tmp_path)
    assert stored.suffix == ".png"
    np.testing.assert_array_equal(np.asarray(Image.open(stored)), mask[:, :, 0].T)


def test_a_segmentation_of_a_picture_without_its_margins_is_put_in_its_place(picture, tmp_path):
    label = slicer_nrrd(tmp_path / "label.seg.nrrd", np.full((2, 1, 1), 2, np.uint8), origin=(3, 2, 0))
    expected = np.zeros((4, 7), np.uint8)
    expected[2, 3:5] = 2
    np.testing.assert_array_equal(np.asarray(Image.open(convert(label, picture, tmp_path))), expected)


def test_values_are_those_of_the_classes_that_the_viewer_names(volume, tmp_path):
    segments = [{"name": "Tumour", "idx": 1}, {"name": "liver", "idx": 2}]
    stored = convert(nifti(tmp_path / "label.nii.gz", MASK), volume, tmp_path, segments)
    np.testing.assert_array_equal(read_volume(stored).values, np.array([0, 2, 1])[MASK])


@pytest.mark.parametrize(
    "segments", [[{"name": "Segment_1", "idx": 2}], [{"name": "liver", "idx": "2"}], [{"name": "liver"}], [{}]]
)
def test_values_stay_where_the_viewer_names_no_classes(segments, volume, tmp_path):
    stored = convert(nifti(tmp_path / "label.nii.gz", MASK), volume, tmp_path, segments)
    np.testing.assert_array_equal(read_volume(stored).values, MASK)


def other_place():
    moved = AFFINE.copy()
    moved[:3, 3] += 500
    return moved


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: nifti(path / "a.nii.gz", MASK, np.diag([1, 1, 1, 1.0])), "resample it onto the image"),
        (lambda path: nifti(path / "a.nii.gz", MASK, AFFINE @ np.diag([1.1, 1, 1, 1])), "6x5x4 voxels"),
        (lambda path: nifti(path / "a.nii.gz", MASK, other_place()), "resample it|lies elsewhere"),
        (lambda path: nifti(path / "a.nii.gz", MASK + 0.5), "whole numbers from 0 to 255"),
        (lambda path: nifti(path / "a.nii.gz", MASK.astype(np.int16) - 1), "whole numbers from 0 to 255"),
        (lambda path: nifti(path / "a.nii.gz", np.zeros((6, 5, 4, 2), np.uint8)), "several volumes"),
        (lambda path: (path / "a.nii.gz", (path / "a.nii.gz").write_bytes(b"x"))[0], "cannot be read"),
        (lambda path: (path / "a.bin", (path / "a.bin").write_bytes(b"x" * 7))[0], "7 bytes, and its image 120 voxels"),
        (lambda path: (path / "a.xml", (path / "a.xml").write_bytes(b"x"))[0], "send .nii.gz or .nrrd"),
        (lambda path: (path / "a.png", Image.new("L", (6, 5)).save(path / "a.png"))[0], "send .nii.gz or .nrrd"),
    ],
)
def test_other_labels_of_a_volume_are_refused(make, words, volume, tmp_path):
    (tmp_path / "sent").mkdir()
    with pytest.raises(InputError, match=words):
        convert(make(tmp_path / "sent"), volume, tmp_path)
    assert not list((tmp_path / "new").iterdir())
