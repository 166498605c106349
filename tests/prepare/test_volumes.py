"""Volumes become slices: of NIfTI, NRRD and DICOM, by patient, as inference shows them."""

import highdicom
import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.uid import generate_uid

from custom.errors import InputError
from custom.volumes import read_volume, to_slices, windowed
from custom.volumes.writing import write_mask
from tests.prepare.conftest import pairs
from tests.volumes.files import AFFINE, write_nifti, write_nrrd, write_series

SHAPE = (18, 14, 3)


def volume(seed):
    return np.random.default_rng(seed).integers(-500, 500, SHAPE).astype(np.int16)


def truth(values=(0, 1)):
    return (
        np.asarray(values, np.uint8)[np.arange(SHAPE[0]) * len(values) // SHAPE[0]][:, None, None]
        .repeat(SHAPE[1], 1)
        .repeat(SHAPE[2], 2)
    )


def volumes(folder, names, labels=(0, 1)):
    for number, name in enumerate(names):
        write_nifti(folder / "images" / f"{name}.nii.gz", volume(number))
        write_nifti(folder / "masks" / f"{name}_seg.nii.gz", truth(labels))
    return folder


NAMES = [f"p{number}" for number in range(6)]


def test_slices_are_those_that_inference_shows_and_fit_their_masks(prepare, tmp_path):
    source = volumes(tmp_path / "own", NAMES)
    prepared = prepare("folder", source)
    assert sum(prepared.result.counts.values()) == len(NAMES) * SHAPE[2]
    for number, name in enumerate(NAMES):
        read = read_volume(source / "images" / f"{name}.nii.gz")
        shown = to_slices(windowed(read), read.affine)
        mask = to_slices(truth(), AFFINE)
        for place in range(SHAPE[2]):
            image = np.asarray(Image.open(prepared.folder / "images" / f"{name}_slice_{place:03d}.png"))
            assert np.array_equal(image.T, shown[:, :, place]), number
            assert np.array_equal(prepared.values(f"{name}_slice_{place:03d}").T, mask[:, :, place])


def test_a_patient_s_slices_stay_on_one_side_and_name_their_volume(prepare, tmp_path):
    prepared = prepare("folder", volumes(tmp_path / "own", NAMES))
    groups = [{entry["group"] for entry in prepared.datalist[split]} for split in ("training", "validation", "test")]
    assert sum(map(len, groups)) == len(set.union(*groups)) == len(NAMES)
    assert {entry["volume"] for entry in prepared.datalist["training"]} == groups[0]


def test_volumes_in_a_folder_for_each_patient_are_one_patient(prepare, tmp_path):
    names = [f"{patient}/{visit}" for patient in NAMES[:5] for visit in ("first", "second")]
    prepared = prepare("folder", volumes(tmp_path / "own", names))
    entries = [entry for split in ("training", "validation", "test") for entry in prepared.datalist[split]]
    assert {entry["group"] for entry in entries} == set(NAMES[:5])
    assert {entry["volume"] for entry in entries} == set(names)


def test_dicom_series_with_masks_of_another_program(prepare, tmp_path):
    folder = tmp_path / "own"
    for number, name in enumerate(NAMES):
        series = write_series(folder / "images" / name, volume(number), patient=f"patient {number // 2}")
        grid = read_volume(series)
        turned = nibabel.as_closest_canonical(nibabel.Nifti1Image(truth(), grid.affine))  # other axes, the same place
        (folder / "masks").mkdir(exist_ok=True)
        turned.to_filename(folder / "masks" / f"{name}.nii.gz")
    prepared = prepare("folder", folder, window=(-200, 300))
    entries = [entry for split in ("training", "validation", "test") for entry in prepared.datalist[split]]
    assert {entry["group"] for entry in entries} == {"patient 0", "patient 1", "patient 2"}
    assert np.array_equal(prepared.values("p0_slice_001"), truth()[:, :, 1].T)
    image = np.asarray(Image.open(prepared.folder / "images" / "p0_slice_000.png")).T
    grid = read_volume(folder / "images" / "p0")
    assert np.array_equal(image, windowed(grid, (-200, 300))[:, :, 0])
    assert prepared.datalist["window"] == [-200, 300]
    assert "6 volumes cut into slices along their third axis, windowed to 8 bits from -200 to 300." in prepared.report


def write_segmentation(path, series, values, labels=("organ", "tumour"), omit_empty=True):
    """A DICOM segmentation of a series as other programs write it: frames only where there is something."""
    written = write_mask(series, values, read_volume(series).affine, path.parents[2] / "written", ("", *labels))
    (file,) = [file for file in written if file.name.endswith(".seg.dcm")]
    file.rename(path)
    if not omit_empty:
        return path
    sources = sorted((dcmread(one) for one in series.iterdir()), key=lambda one: -one.ImagePositionPatient[2])
    segmentation = highdicom.seg.Segmentation(
        source_images=sources, pixel_array=values.swapaxes(0, 2), segmentation_type="BINARY",
        segment_descriptions=dcmread_descriptions(path), series_instance_uid=generate_uid(), series_number=1,
        sop_instance_uid=generate_uid(), instance_number=1, manufacturer="x", manufacturer_model_name="x",
        software_versions="1", device_serial_number="0", omit_empty_frames=True,
    )  # fmt: skip
    segmentation.save_as(path)
    return path


def dcmread_descriptions(path):
    segmentation = highdicom.seg.segread(path)
    return [segmentation.get_segment_description(number) for number in segmentation.segment_numbers]


def series_with_segmentations(folder, omit_empty=True, labels_of=lambda number: ("organ", "tumour")):
    values = np.zeros(SHAPE, np.uint8)
    values[2:9, 1:5, 1], values[10:15, 6:9, 1:] = 1, 2
    (folder / "masks").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        series = write_series(folder / "images" / name, volume(number), patient=name)
        path = folder / "masks" / f"{name}.seg.dcm"
        write_segmentation(path, series, values, labels_of(number), omit_empty)
    return values


@pytest.mark.parametrize("omit_empty", [True, False])
def test_dicom_segmentations_are_masks_of_the_series_that_they_refer_to(prepare, tmp_path, omit_empty):
    values = series_with_segmentations(tmp_path / "own", omit_empty)
    prepared = prepare("folder", tmp_path / "own")
    assert prepared.datalist["num_classes"] == 3
    for place in range(SHAPE[2]):
        assert np.array_equal(prepared.values(f"p0_slice_{place:03d}").T, values[:, :, place])


def test_a_segmentation_of_another_series_is_refused(prepare, tmp_path):
    series_with_segmentations(tmp_path / "own")
    masks = tmp_path / "own" / "masks"
    (masks / "p0.seg.dcm").rename(tmp_path / "x")
    (masks / "p1.seg.dcm").rename(masks / "p0.seg.dcm")
    (tmp_path / "x").rename(masks / "p1.seg.dcm")
    with pytest.raises(InputError, match=r"p0\.seg\.dcm is a segmentation of other images"):
        prepare("folder", tmp_path / "own")


def test_segments_of_one_number_and_two_names_are_refused(prepare, tmp_path):
    names = [("organ", "tumour")] * 4 + [("tumour", "organ"), ("organ", "tumour")]
    series_with_segmentations(tmp_path / "own", labels_of=names.__getitem__)
    with pytest.raises(InputError, match=r"p4\.seg\.dcm calls its segment 1 'tumour', and .*p0\.seg\.dcm 'organ'"):
        prepare("folder", tmp_path / "own")


def test_segments_that_overlap_are_refused(prepare, tmp_path):
    series_with_segmentations(tmp_path / "own")
    path = tmp_path / "own" / "masks" / "p2.seg.dcm"
    both = np.ones((SHAPE[2], SHAPE[1], SHAPE[0], 2), np.uint8)
    sources = [dcmread(one) for one in (tmp_path / "own" / "images" / "p2").iterdir()]
    highdicom.seg.Segmentation(
        source_images=sources, pixel_array=both, segmentation_type="BINARY",
        segment_descriptions=dcmread_descriptions(path), series_instance_uid=generate_uid(), series_number=1,
        sop_instance_uid=generate_uid(), instance_number=1, manufacturer="x", manufacturer_model_name="x",
        software_versions="1", device_serial_number="0",
    ).save_as(path)  # fmt: skip
    with pytest.raises(InputError, match=r"p2\.seg\.dcm cannot be laid on the grid"):
        prepare("folder", tmp_path / "own")


def test_anonymised_files_that_all_name_one_patient_are_told_apart(prepare, tmp_path):
    folder = tmp_path / "own"
    for number, name in enumerate(NAMES):
        series = write_series(folder / "images" / name, volume(number), patient="ANON")
        write_nifti(folder / "masks" / f"{name}.nii.gz", truth(), read_volume(series).affine)
    prepared = prepare("folder", folder)
    assert any("All 6 volumes are of the patient 'ANON'" in line for line in prepared.result.warnings)
    assert len({entry["group"] for entry in prepared.datalist["training"]}) > 1


def test_volumes_without_a_mask_are_unlabelled(prepare, tmp_path):
    source = volumes(tmp_path / "own", NAMES)
    (source / "masks" / "p5_seg.nii.gz").unlink()
    prepared = prepare("folder", source)
    without = [entry for entry in prepared.datalist["training"] if "label" not in entry]
    assert {entry["volume"] for entry in without} == {"p5"}


def test_volumes_and_pictures_may_be_mixed(prepare, tmp_path):
    source = volumes(tmp_path / "own", NAMES)
    pairs(source, ["photo 1", "photo 2"], values=(0, 1))
    prepared = prepare("folder", source)
    assert sum(prepared.result.counts.values()) == len(NAMES) * SHAPE[2] + 2


def test_nrrd_and_several_masks_of_a_volume(prepare, tmp_path):
    folder = tmp_path / "own"
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    left, right = truth((0, 0, 1)), truth((1, 0, 0))
    for number, name in enumerate(NAMES):
        write_nrrd(folder / "images" / f"{name}.nrrd", volume(number))
        write_nrrd(folder / "masks" / f"{name}_mask_1.nrrd", left)
        write_nrrd(folder / "masks" / f"{name}_mask_2.nrrd", right)
    prepared = prepare("folder", folder)
    assert np.array_equal(prepared.values("p0_slice_000").T, (left | right)[:, :, 0])


# Errors


def test_a_broken_volume_is_left_out_and_a_broken_mask_leaves_it_unlabelled(prepare, tmp_path):
    source = volumes(tmp_path / "own", NAMES)
    for path in (source / "images" / "p0.nii.gz", source / "masks" / "p1_seg.nii.gz"):
        path.write_bytes(path.read_bytes()[:40])
    prepared = prepare("folder", source)
    entries = [entry for split in ("training", "validation", "test") for entry in prepared.datalist[split]]
    assert {entry["volume"] for entry in entries} == set(NAMES[1:])
    assert not any("label" in entry for entry in entries if entry["volume"] == "p1")
    (line,) = [line for line in prepared.result.warnings if "cannot be read" in line]
    assert "p0.nii.gz" in line and "1 more" in line


def wrong_mask(tmp_path, values, affine=AFFINE):
    source = volumes(tmp_path / "own", NAMES)
    write_nifti(source / "masks" / "p0_seg.nii.gz", values, affine)
    return source


@pytest.mark.parametrize(
    ("values", "shift", "words"),
    [
        (truth()[:-1], 0, "has 17x14x3 voxels, its volume .*p0.nii.gz 18x14x3; give both the same grid"),
        (truth(), 9, "lies elsewhere in the patient than its volume .*resample it"),
        (truth() * 0.5, 0, "holds other values than whole numbers from 0 to 65535"),
        (truth().astype(np.int16) * -1, 0, "holds other values than whole numbers"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(prepare, tmp_path, values, shift, words):
    affine = AFFINE + np.array([[0, 0, 0, shift]] + [[0] * 4] * 3)
    with pytest.raises(InputError, match=rf"p0_seg\.nii\.gz {words}"):
        prepare("folder", wrong_mask(tmp_path, values, affine))


def test_a_window_is_for_data_that_may_hold_volumes(prepare, tmp_path):
    with pytest.raises(InputError, match="--window is for volumes"):
        prepare("busi", tmp_path, window=(0, 1))
    with pytest.raises(InputError, match="--window is .*low first"):
        prepare("folder", tmp_path, window=(1, 0))


def test_a_series_directly_in_the_folder_of_images_has_no_name(prepare, tmp_path):
    write_series(tmp_path / "own" / "images", volume(0))
    (tmp_path / "own" / "masks").mkdir()
    with pytest.raises(InputError, match="itself a DICOM series; put each series into a folder of its own"):
        prepare("folder", tmp_path / "own")
