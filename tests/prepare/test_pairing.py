"""Which masks belong to which image, by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from custom.errors import InputError
from custom.prepare.pairing import are_samples, pair_by_name


def paired(images, masks, **options):
    """Names of masks by name of the image, and the masks of no image."""
    pairing = pair_by_name(map(Path, images), map(Path, masks), Path(), Path(), **options)
    return {str(item.image): [str(mask) for mask in item.masks] for item in pairing.images}, [
        str(mask) for mask in pairing.masks_without_image
    ]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a.png", "a.png"),
        ("a.JPG", "A_MASK.png"),
        ("a.png ", " a-Label.png"),
        ("slide A [x=48,y=0,w=48,h=48].tif", "slide A [x=48,y=0,w=48,h=48]-labelled.png"),
        ("slide.svs [d=2.5,x=0].tif", "slide.svs [d=2.5,x=0]-labeled.PNG"),
        ("a.b.jpg", "a.b.jpg.png"),
        ("a.jpg", "a.jpg_mask.png"),
        ("a.png", "a_seg_mask.png"),
        ("a.png", "a.mask.png"),
        ("a.png", "a_ground_truth.png"),
        ("l\u00e9sion.png", "le\u0301sion_mask.png"),
        ("le\u0301sion/1.png", "L\u00e9sion/1.png"),
        ("50% #1 $x.png", "50% #1 $x.png"),
    ],
)
def test_a_mask_has_the_name_of_its_image_with_or_without_an_ending(image, mask):
    assert paired([image], [mask]) == ({image: [mask]}, [])


@pytest.mark.parametrize("second", ["a_mask_1.png", "a_mask2.png", "a_mask (3).png", "a.png", "a_label.png", "a/x.png"])
def test_several_masks_of_an_image_are_joined(second):
    found, left_over = paired(["a.png", "b.png"], ["a_mask.png", "b.png", second])
    assert sorted(found["a.png"]) == sorted(["a_mask.png", second])
    assert not left_over


def test_a_folder_of_the_images_name_holds_its_masks():
    assert paired(["a.png", "b.png"], ["a/1.png", "a/2.png", "b/1.png"])[0] == {
        "a.png": ["a/1.png", "a/2.png"],
        "b.png": ["b/1.png"],
    }


@pytest.mark.parametrize("mask", ["a_1.png", "a_lesion.png", "a (2).png", "a-left-lung.png", "a.2.png"])
def test_a_mask_that_seems_to_be_of_an_image_is_never_dropped(mask):
    with pytest.raises(InputError, match=r"looks like a mask of a\.png.*_mask_1"):
        paired(["a.png", "b.png"], ["a.png", "b.png", mask])


@pytest.mark.parametrize("masks", [["a_mask.png"], ["a.png", "a_mask.png"], ["a_mask_mask.png"]])
def test_a_mask_that_two_images_may_claim_is_refused(masks):
    with pytest.raises(InputError, match=rf"{masks[-1]} may be the mask of a_mask\.png and of a\.png"):
        paired(["a.png", "a_mask.png"], masks)


def test_an_image_may_be_called_like_a_mask():
    assert paired(["a_mask.png"], ["a_mask_seg.png"]) == ({"a_mask.png": ["a_mask_seg.png"]}, [])


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (["a.png", "a.jpg"], []),
        (["\u00e9.png", "e\u0301.png"], []),
        (["a.png"], ["a.png", "A.png"]),
        (["a.png", "A.PNG"], []),
    ],
)
def test_two_files_of_one_name_are_refused(images, masks):
    with pytest.raises(InputError, match="are two files of one name"):
        paired(images, masks)


def test_masks_of_no_image_are_listed():
    assert paired(["a.png"], ["a.png", "b.png"]) == ({"a.png": ["a.png"]}, ["b.png"])


def test_in_samples_a_mask_may_have_any_name():
    found, left_over = paired(["1/a.png", "2/b.png"], ["1/x.png", "1/a_7.png", "2/y.png", "3/z.png"], samples=True)
    assert found == {"1/a.png": ["1/x.png", "1/a_7.png"], "2/b.png": ["2/y.png"]}
    assert left_over == ["3/z.png"]


@pytest.mark.parametrize(
    ("images", "expected"),
    [(["1/a", "2/b"], True), (["1/a"], False), (["1/a", "1/b", "2/c"], False), ([], False)],
)
def test_samples_are_folders_of_one_image_each(images, expected):
    assert are_samples([(Path(), map(Path, images))]) is expected
