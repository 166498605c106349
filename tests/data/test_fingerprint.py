from __future__ import annotations

import shutil

import pytest

from custom.data import data_fingerprint


@pytest.fixture
def splits(tmp_path):
    """Two labelled and two unlabelled images, one for validation and one for test; files of different content."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for name in ("l0", "l1", "u0", "u1", "v", "t"):
            (tmp_path / folder / f"{name}.png").write_text(f"{folder} {name}")

    def item(name, *keys):
        return {key: str(tmp_path / f"{'images' if key == 'image' else 'masks'}" / f"{name}.png") for key in keys}

    return {
        "labelled": [item("l0", "image", "label"), item("l1", "image", "label")],
        "unlabelled": [item("u0", "image"), item("u1", "image")],
        "validation": [item("v", "image", "label")],
        "test": [item("t", "image", "label")],
    }


def test_a_fingerprint_is_sixteen_hexadecimal_digits(splits):
    fingerprint = data_fingerprint(splits)
    assert len(fingerprint) == 16
    int(fingerprint, 16)


def test_a_fingerprint_does_not_depend_on_order_or_place(splits, tmp_path):
    before = data_fingerprint(splits)
    moved = {
        split: [{key: path.replace(str(tmp_path), f"{tmp_path}/copy") for key, path in item.items()} for item in items]
        for split, items in reversed(splits.items())
    }
    moved["labelled"].reverse()
    for folder in ("images", "masks"):
        shutil.copytree(tmp_path / folder, tmp_path / "copy" / folder)
    assert data_fingerprint(moved) == before


def test_a_fingerprint_changes_with_the_content_of_a_mask_in_use(splits):
    before = data_fingerprint(splits)
    with open(splits["labelled"][0]["label"], "a") as file:
        file.write("changed")
    assert data_fingerprint(splits) != before


def test_a_fingerprint_changes_with_the_images_in_use(splits):
    before = data_fingerprint(splits)
    del splits["unlabelled"][1]
    assert data_fingerprint(splits) != before


def test_a_fingerprint_changes_when_images_change_their_role(splits):
    before = data_fingerprint(splits)
    splits["validation"], splits["test"] = splits["test"], splits["validation"]
    assert data_fingerprint(splits) != before


def test_a_fingerprint_does_not_depend_on_masks_which_are_not_in_use(splits, tmp_path):
    before = data_fingerprint(splits)
    (tmp_path / "masks" / "u0.png").write_bytes(b"garbage")
    assert data_fingerprint(splits) == before
