import highdicom
import nibabel
import nrrd
import numpy as np
import pydicom
import pytest
from PIL import Image

from custom.volumes import read_volume, write_mask
from tests.volumes.files import AFFINE, write_nifti, write_nrrd, write_radiograph, write_series, write_ultrasound

RANDOM = np.random.default_rng(0)
VALUES = RANDOM.integers(0, 1000, (7, 5, 4)).astype(np.int16)
MASK = RANDOM.integers(0, 3, (7, 5, 4)).astype(np.uint8)
CLASSES = ("background", "organ", "lesion")


def write(path, mask=MASK, classes=CLASSES):
    volume = read_volume(path)
    return write_mask(path, mask, volume.affine, path.parent / "masks", classes)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nifti_keeps_the_geometry_of_its_image_to_the_last_digit(tmp_path, name):
    source = write_nifti(tmp_path / name, VALUES)
    (path,) = write(source)
    assert path.name == "a.nii.gz"
    image, mask = nibabel.load(source), nibabel.load(path)
    assert np.array_equal(np.asarray(mask.dataobj), MASK)
    assert mask.get_data_dtype() == np.uint8
    assert np.array_equal(mask.affine, image.affine)
    for field in ("pixdim", "qform_code", "sform_code", "quatern_b", "srow_x", "xyzt_units"):
        assert np.array_equal(mask.header[field], image.header[field]), field


def test_a_slice_without_a_third_axis_gets_a_mask_without_one(tmp_path):
    (path,) = write(write_nifti(tmp_path / "a.nii", VALUES[:, :, 0]), MASK[:, :, :1])
    assert nibabel.load(path).shape == (7, 5)


def test_nrrd_keeps_its_geometry(tmp_path):
    source = write_nrrd(tmp_path / "a.nrrd", VALUES)
    (path,) = write(source)
    values, header = nrrd.read(str(path))
    assert np.array_equal(values, MASK)
    before = nrrd.read_header(str(source))
    for field in ("space", "space directions", "space origin"):
        assert np.array_equal(header[field], before[field]), field


def test_a_series_gets_a_dicom_segmentation_that_refers_to_it(tmp_path):
    source = write_series(tmp_path / "ct", VALUES)
    nifti, segmentation = write(source)
    assert (nifti.name, segmentation.name) == ("ct.nii.gz", "ct.seg.dcm")
    volume = read_volume(source)
    assert np.allclose(nibabel.load(nifti).affine, volume.affine)
    read = highdicom.seg.segread(segmentation)
    assert [segment.SegmentLabel for segment in read.SegmentSequence] == ["organ", "lesion"]
    again = read.get_volume(combine_segments=True)
    assert np.array_equal(again.array.transpose(2, 1, 0), MASK)
    images = [pydicom.dcmread(file) for file in source.iterdir()]
    assert {uid for _, _, uid in read.get_source_image_uids()} == {image.SOPInstanceUID for image in images}
    assert read.PatientID == "p1"
    assert read.FrameOfReferenceUID == images[0].FrameOfReferenceUID
    assert np.allclose(again.affine, highdicom.get_volume_from_series(images).affine)


def test_frames_of_one_file_in_any_order_keep_their_masks(tmp_path):
    images = [pydicom.dcmread(file) for file in write_series(tmp_path / "ct", VALUES).iterdir()]
    images = [images[place] for place in (2, 0, 3, 1)]
    for image in images:  # what the standard asks for of such files
        image.ImageType, image.AcquisitionNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], 1
        image.PatientPosition, image.KVP, image.ContentDate, image.ContentTime = "HFS", 120, "20200101", "101010"
        image.Manufacturer, image.SeriesDate, image.SeriesTime = "none", "20200101", "101010"
    whole = highdicom.legacy.LegacyConvertedEnhancedCTImage(
        images, pydicom.uid.generate_uid(), 2, pydicom.uid.generate_uid(), 1
    )
    source = tmp_path / "enhanced.dcm"
    whole.save_as(source)
    volume = read_volume(source)
    assert np.array_equal(volume.values[:, :, ::-1], VALUES)
    _, segmentation = write(source)
    again = highdicom.seg.segread(segmentation).get_volume(combine_segments=True)
    assert np.array_equal(again.array.transpose(2, 1, 0), MASK)
    assert np.allclose(np.diag([-1, -1, 1, 1]) @ again.affine[:, [2, 1, 0, 3]], volume.affine)


def test_a_single_dicom_picture_gets_a_png_and_a_segmentation(tmp_path):
    source = write_radiograph(tmp_path / "cr.dcm", VALUES[:, :, 0])
    picture, segmentation = write(source, (MASK[:, :, :1] > 0).astype(np.uint8), CLASSES[:2])
    assert np.array_equal(np.asarray(Image.open(picture)).T, (MASK[:, :, 0] > 0) * 255)
    frames = highdicom.seg.segread(segmentation).pixel_array
    assert np.array_equal(np.squeeze(frames).T, MASK[:, :, 0] > 0)


def test_frames_without_places_get_nifti_alone(tmp_path):
    source = write_ultrasound(tmp_path / "us.dcm", RANDOM.integers(0, 255, (7, 5, 4, 3)))
    (path,) = write(source)
    assert np.array_equal(np.asarray(nibabel.load(path).dataobj), MASK)


def test_an_oblique_affine_is_written_as_it_is(tmp_path):
    (path,) = write(write_nifti(tmp_path / "a.nii", VALUES))
    assert np.allclose(nibabel.load(path).affine, AFFINE)


def test_a_source_that_lacks_tags_keeps_its_mask_and_gets_a_warning(tmp_path, caplog):
    source = write_radiograph(tmp_path / "cr.dcm", VALUES[:, :, 0])
    data = pydicom.dcmread(source)
    del data.StudyInstanceUID, data.PatientID
    data.save_as(source)
    (path,) = write(source, MASK[:, :, :1])
    assert path.name == "cr.png"
    assert "cr.dcm: no DICOM segmentation can refer to it" in caplog.text
