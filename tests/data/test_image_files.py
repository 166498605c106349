from __future__ import annotations

import pytest

from custom.data import list_images
from custom.errors import InputError


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def names(items):
    return [item["image"].rsplit("/", 1)[1] for item in items]


def test_a_file_is_a_list_of_one(tmp_path):
    touch(tmp_path, "a.png", "b.png")
    assert list_images(tmp_path / "a.png") == [{"image": str(tmp_path / "a.png")}]


def test_images_of_a_folder_come_by_name(tmp_path):
    assert names(list_images(touch(tmp_path, "b.png", "a.jpg", "c.BMP"))) == ["a.jpg", "b.png", "c.BMP"]


def test_other_files_and_subfolders_are_left_out(tmp_path):
    touch(tmp_path, "a.png", "notes.txt", "list.json", "deeper/b.png")
    assert names(list_images(tmp_path)) == ["a.png"]


def test_a_relative_path_becomes_absolute(tmp_path, monkeypatch):
    touch(tmp_path, "images/a.png")
    monkeypatch.chdir(tmp_path)
    assert list_images("images") == [{"image": str(tmp_path / "images" / "a.png")}]


def test_nothing_there_names_the_option(tmp_path):
    with pytest.raises(InputError, match="missing: no such file or folder; give --dataset_dir"):
        list_images(tmp_path / "missing")


def test_a_folder_without_images_names_the_suffixes(tmp_path):
    with pytest.raises(InputError, match=r"holds no image \(\.png, \.jpg"):
        list_images(touch(tmp_path, "notes.txt"))


def test_two_images_whose_masks_would_share_a_name_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.png and a\.jpg would both write a\.png"):
        list_images(touch(tmp_path, "a.jpg", "a.png"))
