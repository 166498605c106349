from __future__ import annotations

import unicodedata

import pytest

from custom.errors import InputError
from custom.monai_label.names import LABEL_SUFFIXES, check_name, check_upload, is_plain, same_name
from custom.plain_names import MOST_BYTES


@pytest.mark.parametrize(
    "name", ["0001", "case 1", "Fundus-07_L (2)", "1.2.840.113619", "Läsion", "病例 3", "a#1", "x" * MOST_BYTES]
)
def test_plain_names_in_any_language_pass(name):
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "C:x",
        ".x",
        "~x",
        "$x",
        "@x",
        "%x",
        "a@#b",
        "a%##b",
        "a::b",
        " x",
        "x ",
        "x.",
        "a\nb",
        "a\0b",
        "\ud800",
        "a\u202eb",
        "labels",
        "Labels",
        "datastore_v2.json",
        "CON",
        "nul.png",
        "x" * (MOST_BYTES + 1),
    ],
)
def test_other_names_are_refused_in_one_line(name):
    assert not is_plain(name)
    with pytest.raises(InputError) as error:
        check_name(name, "image")
    message = str(error.value)
    assert message.startswith("image ")
    assert message.isprintable()
    assert len(message) < 250


@pytest.mark.parametrize(
    ("file", "suffix"),
    [
        ("a.png", ".png"),
        ("A.PNG", ".png"),
        ("a.v2.tiff", ".tiff"),
        ("/home/user/a.jpg", ".jpg"),
        ("C:\\scans\\a.bmp", ".bmp"),
        ("../a.png", ".png"),
        ("/tmp/Slicer-me/tmp1.nii.gz", ".nii.gz"),
        ("a.seg.nrrd", ".nrrd"),
    ],
)
def test_uploads_of_known_types_pass_whatever_their_folder(file, suffix):
    assert check_upload(file) == suffix


@pytest.mark.parametrize(
    "file",
    [None, "", "a", "a.exe", "a.pt", "a.py", "a.png.py", "a.gz", ".png", ".nii.gz", "a.png/x", "a.xml", "a.bin"],
)
def test_uploads_of_other_types_are_refused(file):
    with pytest.raises(InputError, match="file "):
        check_upload(file)


@pytest.mark.parametrize("file", ["label.bin", "a.xml", "a.nrrd", "a.png"])
def test_labels_may_also_be_outlines_and_plain_voxels(file):
    assert file.endswith(check_upload(file, LABEL_SUFFIXES))


def test_names_are_compared_in_one_unicode_form():
    name = "Läsion"
    assert same_name(unicodedata.normalize("NFD", name)) == same_name(name)
