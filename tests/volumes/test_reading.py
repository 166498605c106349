import gzip

import nibabel
import nrrd
import numpy as np
import pydicom
import pytest

from custom.errors import InputError
from custom.pixels.naming import UnreadableFile
from custom.volumes import is_volume, read_volume, volume_name
from custom.volumes.volume import MAX_VOXELS
from tests.volumes.files import AFFINE, write_nifti, write_nrrd, write_radiograph, write_series, write_ultrasound

RANDOM = np.random.default_rng(0)
VALUES = RANDOM.integers(-1000, 1000, (7, 5, 4)).astype(np.int16)
COLOURS = RANDOM.integers(0, 256, (7, 5, 4, 3)).astype(np.uint8)


def test_nifti_keeps_values_and_affine(tmp_path):
    volume = read_volume(write_nifti(tmp_path / "a.nii.gz", VALUES))
    assert np.array_equal(volume.values, VALUES)
    assert np.allclose(volume.affine, AFFINE)
    assert (volume.is_8_bits, volume.is_colour, volume.patient) == (False, False, None)


@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 1), (7, 5, 1, 1)])
def test_one_slice_is_a_volume_of_one(tmp_path, shape):
    values = VALUES[:, :, 0].reshape(shape)
    assert np.array_equal(read_volume(write_nifti(tmp_path / "a.nii", values)).values, VALUES[:, :, :1])


def test_bytes_are_brightness(tmp_path):
    assert read_volume(write_nifti(tmp_path / "a.nii", COLOURS[..., 0])).is_8_bits
    assert read_volume(write_nrrd(tmp_path / "a.nrrd", COLOURS[..., 0])).is_8_bits


def test_colours_of_nifti(tmp_path):
    packed = COLOURS.copy().view([(name, "u1") for name in "RGB"])[..., 0]
    volume = read_volume(write_nifti(tmp_path / "a.nii", packed))
    assert volume.is_colour
    assert np.array_equal(volume.values, COLOURS)


def test_nrrd_in_lps_becomes_ras(tmp_path):
    volume = read_volume(write_nrrd(tmp_path / "a.nrrd", VALUES))
    assert np.array_equal(volume.values, VALUES)
    assert np.allclose(volume.affine, [[-1, 0, 0, -5], [0, -2, 0, -6], [0, 0, 3, 7], [0, 0, 0, 1]])


def test_a_series_is_sorted_by_place_with_values_after_the_rescale(tmp_path):
    volume = read_volume(write_series(tmp_path / "ct", VALUES))
    assert np.array_equal(volume.values[:, :, ::-1], VALUES)  # highdicom counts from the head to the feet
    assert np.allclose(np.diag(volume.affine), [-0.7, -0.5, -5, 1])
    assert np.allclose(volume.affine @ [0, 0, 3, 1], [10, 20, 30, 1])  # the first slice, DICOM's (-10, -20, 30)
    assert volume.patient == "p1"


def test_the_same_series_as_nifti_lies_in_the_same_place(tmp_path):
    volume = read_volume(write_series(tmp_path / "ct", VALUES))
    again = read_volume(write_nifti(tmp_path / "a.nii", volume.values, volume.affine))
    assert np.allclose(again.affine, volume.affine)


def test_monochrome1_is_left_to_the_window(tmp_path):
    values = RANDOM.integers(0, 4096, (7, 5))
    volume = read_volume(write_radiograph(tmp_path / "a.dcm", values))
    assert np.array_equal(volume.values[:, :, 0], values)
    assert volume.white_is_zero and not volume.is_8_bits


@pytest.mark.parametrize("frames", [False, True])
def test_colours_of_ultrasound(tmp_path, frames):
    values = COLOURS if frames else COLOURS[:, :, 0]
    volume = read_volume(write_ultrasound(tmp_path / "a.dcm", values))
    assert np.array_equal(volume.values, COLOURS if frames else COLOURS[:, :, :1])
    assert volume.is_colour


def test_ybr_becomes_rgb(tmp_path):
    grey = np.repeat(COLOURS[..., :1], 3, axis=-1)
    ybr = grey.copy()
    ybr[..., 1:] = 128  # no colour
    volume = read_volume(write_ultrasound(tmp_path / "a.dcm", ybr, "YBR_FULL"))
    assert np.abs(volume.values - grey).max() <= 1


def test_compressed_pixels_are_read(tmp_path):
    path = write_radiograph(tmp_path / "a.dcm", RANDOM.integers(0, 4096, (32, 24)), photometric="MONOCHROME2")
    before = read_volume(path).values
    data = pydicom.dcmread(path)
    data.compress(pydicom.uid.JPEGLSLossless)
    data.save_as(path)
    assert np.array_equal(read_volume(path).values, before)


def test_dicom_is_known_without_a_suffix(tmp_path):
    path = write_radiograph(tmp_path / "IM0001", VALUES[:, :, 0] + 1000)
    assert is_volume(path)
    assert read_volume(path).values.shape == (7, 5, 1)


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.nii.gz", "a"), ("a.b.NII", "a.b"), ("a.nrrd", "a"), ("a.dcm", "a"), ("IM0001", "IM0001"), ("a.gz", "a.gz")],
)
def test_the_name_of_a_volume_has_no_suffix(name, stem):
    assert volume_name(f"x/{name}") == stem


def test_a_folder_is_a_series_only_if_it_holds_dicom_alone(tmp_path):
    folder = write_series(tmp_path / "ct", VALUES)
    assert is_volume(folder)
    (folder / "notes.txt").write_text("x")
    assert not is_volume(folder)
    assert not is_volume(tmp_path)


def test_a_folder_that_may_not_be_read_is_no_volume(tmp_path, monkeypatch):
    folder = write_series(tmp_path / "ct", VALUES)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(type(folder), "iterdir", refuse)
    assert not is_volume(folder)


# Errors


def refused(path, words, kind=InputError):
    with pytest.raises(kind, match=words) as caught:
        read_volume(path)
    assert "\n" not in str(caught.value)
    assert str(path.name) in str(caught.value)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.dcm", "IM1"])
@pytest.mark.parametrize("content", [b"", b"x" * 200, gzip.compress(b"x" * 400, mtime=0)])
def test_a_broken_file_is_one_line(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    refused(path, "cannot be read as a volume; replace", UnreadableFile)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.dcm"])
def test_a_file_that_is_cut_short_is_one_line(tmp_path, name):
    big = RANDOM.integers(0, 4096, (40, 30, 1)).astype(np.int16)
    path = tmp_path / name
    if name == "a.dcm":
        write_radiograph(path, big[..., 0])
    else:
        (write_nrrd if name == "a.nrrd" else write_nifti)(path, big)
    path.write_bytes(path.read_bytes()[:-700])
    refused(path, "cannot be read|cut short", UnreadableFile)


def test_a_missing_file_is_named(tmp_path):
    refused(tmp_path / "a.nii", "a.nii")


def test_several_volumes_in_a_file_are_refused(tmp_path):
    refused(write_nifti(tmp_path / "a.nii", np.zeros((4, 4, 4, 2), np.int16)), "several volumes; save the one")


def test_values_that_are_no_numbers_are_refused(tmp_path):
    values = VALUES.astype(np.float32)
    values[0, 0, 0] = np.nan
    refused(write_nifti(tmp_path / "a.nii", values), "no numbers; replace them")


def test_too_many_voxels_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(nibabel.Nifti1Image, "dataobj", property(lambda _: pytest.fail("decoded")))
    path = tmp_path / "a.nii"
    header = nibabel.Nifti1Header()
    header.set_data_shape((3000, 3000, 300))
    header.set_data_offset(352)
    path.write_bytes(header.binaryblock + bytes(4))
    refused(path, "3000x3000x300 voxels are more than 250000000; crop or scale")
    assert MAX_VOXELS == 250_000_000


def test_a_header_that_points_elsewhere_is_refused(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(8))
    path = tmp_path / "a.nrrd"
    path.write_text("NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndata file: secret\n\n")
    refused(path, "points at another file")


def test_slices_of_several_series_are_refused(tmp_path):
    write_series(tmp_path / "ct", VALUES)
    other = write_series(tmp_path / "other", VALUES)
    for file in other.iterdir():
        file.rename(tmp_path / "ct" / f"x{file.name}")
    refused(tmp_path / "ct", "several DICOM series; give each series a folder of its own")


def test_a_series_with_a_gap_is_refused(tmp_path):
    folder = write_series(tmp_path / "ct", VALUES)
    places = {file: pydicom.dcmread(file).InstanceNumber for file in folder.iterdir()}
    next(file for file, number in places.items() if number == 2).unlink()
    refused(folder, "no volume with slices at equal distances")


def test_dicom_without_a_picture_is_refused(tmp_path):
    path = write_radiograph(tmp_path / "a.dcm", VALUES[:, :, 0] + 1000)
    data = pydicom.dcmread(path)
    del data.PixelData
    data.save_as(path)
    refused(path, "holds no picture|cannot be read")


@pytest.mark.parametrize(("header", "sides"), [({}, [1, 1, 1]), ({"spacings": [0.5, 0.5, 2.0]}, [0.5, 0.5, 2.0])])
def test_nrrd_that_does_not_say_where_it_lies_has_its_voxels_in_their_order(header, sides, tmp_path):
    values = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    nrrd.write(str(tmp_path / "a.nrrd"), values, header)
    volume = read_volume(tmp_path / "a.nrrd")
    assert np.array_equal(volume.values, values)
    assert np.array_equal(volume.affine, np.diag([*sides, 1]))


def test_nrrd_of_several_volumes_is_refused(tmp_path):
    path = tmp_path / "a.nrrd"
    nrrd.write(str(path), np.zeros((3, 4, 4, 2), np.uint8))
    refused(path, "several volumes")


@pytest.mark.parametrize(
    "name", ["JPEGBaseline8Bit", "JPEGLosslessSV1", "JPEGLSLossless", "JPEG2000Lossless", "JPEG2000", "RLELossless"]
)
def test_the_compressions_of_scanners_have_a_decoder(name):
    assert pydicom.pixels.get_decoder(getattr(pydicom.uid, name)).is_available
