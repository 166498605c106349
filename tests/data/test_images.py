from __future__ import annotations

import logging
import os
import socket

import numpy as np
import pytest
from PIL import Image

from custom.data import list_images
from custom.errors import InputError
from custom.slides import apart
from tests.slides.files import write_slide
from tests.volumes.files import write_radiograph, write_series


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
    with pytest.raises(InputError, match=r"a\.png and a\.jpg would both write the mask a;"):
        list_images(touch(tmp_path, "a.jpg", "a.png"))


@pytest.mark.parametrize("name", ["._a.png", ".hidden.png", "Thumbs.db", ".DS_Store", "desktop.ini"])
def test_files_of_the_system_are_passed_over(tmp_path, name):
    assert names(list_images(touch(tmp_path, "a.png", name))) == ["a.png"]


def test_a_folder_of_system_files_alone_holds_no_image(tmp_path):
    with pytest.raises(InputError, match="holds no image"):
        list_images(touch(tmp_path, "._a.png"))


def test_folders_called_like_images_are_passed_over(tmp_path):
    (tmp_path / "b.png").mkdir()
    assert names(list_images(touch(tmp_path, "a.png"))) == ["a.png"]


def test_spaces_after_the_suffix_do_not_count(tmp_path):
    assert names(list_images(touch(tmp_path, "a.PNG "))) == ["a.PNG "]


def test_a_folder_of_folders_names_them(tmp_path):
    with pytest.raises(InputError, match=r"give one of them \(images, masks\)"):
        list_images(touch(tmp_path, "images/a.png", "masks/a.png"))


@pytest.mark.parametrize("as_folder", [True, False])
def test_pipes_are_refused_at_once(tmp_path, as_folder):
    os.mkfifo(touch(tmp_path, "a.png") / "pipe.png")
    with pytest.raises(InputError, match=r"pipe\.png is no regular file"):
        list_images(tmp_path if as_folder else tmp_path / "pipe.png")


def test_sockets_and_devices_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(touch(tmp_path, "a.png"))
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    with pytest.raises(InputError, match=r"zero\.png is no regular file"):
        list_images(".")
    (tmp_path / "zero.png").unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.png")
        with pytest.raises(InputError, match=r"socket\.png is no regular file"):
            list_images(".")


def test_broken_links_are_named(tmp_path):
    (touch(tmp_path, "a.png") / "b.png").symlink_to(tmp_path / "nowhere")
    for source in (tmp_path, tmp_path / "b.png"):
        with pytest.raises(InputError, match=r"b\.png does not exist"):
            list_images(source)


def test_two_images_whose_masks_differ_in_the_way_accents_are_written_alone_are_refused(tmp_path):
    with pytest.raises(InputError, match="would both write"):
        list_images(touch(tmp_path, "\u00e9.png", "e\u0301.png"))


def test_a_name_that_is_no_text_is_refused_in_one_line(tmp_path):
    (tmp_path / os.fsdecode(b"\xff\n.png")).touch()
    with pytest.raises(InputError, match="is no Unicode text; rename it") as caught:
        list_images(tmp_path)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.mha", "volume.*save it as NIfTI"), ("a.webp", "picture in another format"), ("a.npy", "array"),
        ("a.svg", "picture in another format"), ("a.zip", "archive"), ("a.mrxs", "whole slide.*pyramidal TIFF"),
    ],
)  # fmt: skip
def test_formats_that_are_not_read_are_named_with_what_to_do(tmp_path, name, words):
    touch(tmp_path / "images", name)
    for source in (tmp_path / "images", tmp_path / "images" / name):
        with pytest.raises(InputError, match=words) as caught:
            list_images(source)
        assert ".png, .jpg" in str(caught.value)


def test_volumes_are_known_by_their_suffix_and_dicom_without_one(tmp_path):
    (tmp_path / "IM0001").write_bytes(bytes(128) + b"DICM")
    touch(tmp_path, "a.nii.gz", "b.NII", "c.nrrd", "d.dcm")
    assert names(list_images(tmp_path)) == ["IM0001", "a.nii.gz", "b.NII", "c.nrrd", "d.dcm"]


def test_volumes_whose_masks_would_have_one_name_are_refused(tmp_path):
    touch(tmp_path, "a.nii", "a.nii.gz")
    with pytest.raises(InputError, match=r"a\.nii\.gz and a\.nii would both write the mask a; rename"):
        list_images(tmp_path)


def test_some_files_of_other_formats_are_counted_in_a_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        assert names(list_images(touch(tmp_path, "a.png", "b.webp", "c.gif", "datalist.json"))) == ["a.png"]
    (record,) = caplog.records
    assert "b.webp and 1 more" in record.getMessage()


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    touch(tmp_path, "images/a.png")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(InputError, match=r"images cannot be read \(Permission denied\)"):
        list_images(tmp_path / "images")


def test_a_series_is_one_image_alone_or_in_a_folder_of_others(tmp_path):
    values = np.arange(4 * 5 * 3).reshape(4, 5, 3)
    series = write_series(tmp_path / "in" / "ct", values)
    touch(tmp_path / "in", "a.png")
    assert names(list_images(tmp_path / "in")) == ["a.png", "ct"]
    assert names(list_images(series)) == ["ct"]


def test_pictures_of_one_series_without_places_are_images_each(tmp_path):
    for number in range(3):
        write_radiograph(tmp_path / f"{number}.dcm", np.full((4, 5), number))
    assert names(list_images(tmp_path)) == ["0.dcm", "1.dcm", "2.dcm"]


def test_a_folder_of_such_pictures_is_not_searched(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for number in range(2):
        write_radiograph(tmp_path / "in" / "deep" / f"{number}.dcm", np.full((4, 5), number))
    with pytest.raises(InputError, match=r"folders in it are not searched: give one of them \(deep\)"):
        list_images(tmp_path / "in")


@pytest.mark.parametrize("other", ["series", "picture", "broken"])
def test_slices_of_a_volume_among_other_dicom_files_are_refused(tmp_path, other):
    values = np.arange(4 * 5 * 3).reshape(4, 5, 3)
    folder = write_series(tmp_path / "in", values)
    if other == "series":
        for file in write_series(tmp_path / "other", values).iterdir():
            file.rename(folder / f"x{file.name}")
    elif other == "picture":
        write_radiograph(folder / "x.dcm", values[:, :, 0])
    else:
        (folder / "x.dcm").write_bytes(b"x")
    count = "2 DICOM series" if other == "series" else "a DICOM series and other files"
    with pytest.raises(InputError, match=f"in holds {count}; give each series a folder of its own"):
        list_images(tmp_path / "in")


def test_a_file_whose_name_tells_nothing_is_read_if_it_is_a_picture(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "picture", "PNG")
    assert names(list_images(tmp_path / "picture")) == ["picture"]
    (tmp_path / "report.docx").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"is no image \(\.png, .*\.svs, .*: the file is of an unknown kind"):
        list_images(tmp_path / "report.docx")


def test_slides_are_listed_beside_pictures(tmp_path):
    write_slide(tmp_path / "b.svs", np.zeros((64, 64, 3), np.uint8), levels=(1,), aperio=True)
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    listed = apart(list_images(tmp_path))
    assert {kind: names(items) for kind, items in listed.items()} == {"pictures": ["a.png"], "slides": ["b.svs"]}
