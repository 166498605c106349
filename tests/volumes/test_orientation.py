import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from custom.transforms import ResizeSlicesd, SliceOrientationd
from custom.volumes import display_axcodes, to_slices
from tests.volumes.files import AFFINE

RANDOM = np.random.default_rng(0)
VALUES = RANDOM.random((6, 5, 4), dtype=np.float32)


def stored_as(codes, values=VALUES, affine=None):
    """The same volume, given in LPS, as a file with other axes stores it."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) if affine is None else affine
    turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(lps), nibabel.orientations.axcodes2ornt(codes))
    turned = nibabel.orientations.apply_orientation(values, turn)
    return turned, lps @ nibabel.orientations.inv_ornt_aff(turn, values.shape)


@pytest.mark.parametrize("codes", ["LPS", "RAS", "LAS", "RPS", "PLS", "ARS"])
def test_axial_slices_are_shown_alike_however_they_are_stored(codes):
    assert np.array_equal(to_slices(*stored_as(codes)), VALUES)


def test_slices_keep_their_order():
    assert np.array_equal(to_slices(*stored_as("RAI")), VALUES[:, :, ::-1])


@pytest.mark.parametrize(
    ("stored", "shown"),
    [("RAS", "LPS"), ("LSP", "LIP"), ("RIA", "LIA"), ("ASR", "PIR"), ("PSL", "PIL"), ("SAR", "PIR")],
)
def test_coronal_and_sagittal_slices_have_the_head_at_the_top(stored, shown):
    _, affine = stored_as(stored)
    assert "".join(display_axcodes(affine)) == shown


def test_the_transform_does_the_same_and_is_undone():
    for codes in ("RAS", "ASR", "LIP", "PLS"):
        values, affine = stored_as(codes, affine=np.diag([-2.0, -3.0, 4.0, 1.0]) @ np.eye(4))
        item = {"image": MetaTensor(torch.from_numpy(values.copy())[None], affine=torch.from_numpy(affine))}
        turn = SliceOrientationd("image")
        turned = turn(item)
        assert np.array_equal(turned["image"][0].numpy(), to_slices(values, affine))
        back = turn.inverse(turned)["image"]
        assert np.array_equal(back[0].numpy(), values)
        assert np.allclose(back.affine, affine)


def test_nothing_is_warned_of(recwarn):
    SliceOrientationd("image")
    assert not recwarn.list


def test_oblique_volumes_are_turned_by_their_nearest_axes():
    assert display_axcodes(AFFINE) == ("L", "P", "S")


def test_pictures_pass_and_are_resized_like_any():
    picture = MetaTensor(torch.rand(3, 8, 6))
    assert SliceOrientationd("image")({"image": picture})["image"] is picture
    assert SliceOrientationd("image").inverse({"image": picture})["image"] is picture
    assert ResizeSlicesd("image", [4, 4])({"image": picture})["image"].shape == (3, 4, 4)


def test_each_slice_is_resized_as_a_picture_is_and_its_size_comes_back():
    volume = MetaTensor(torch.rand(1, 9, 7, 5))
    resize = ResizeSlicesd("image", [4, 6])
    resized = resize({"image": volume})["image"]
    for number in range(5):
        alone = ResizeSlicesd("image", [4, 6])({"image": MetaTensor(volume[..., number])})["image"]
        assert torch.allclose(resized[..., number].as_tensor(), alone.as_tensor(), atol=1e-6)
    assert resize.inverse({"image": resized})["image"].shape == volume.shape
