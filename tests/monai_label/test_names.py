from __future__ import annotations

import unicodedata

import pytest

from custom.errors import InputError
from custom.monai_label.names import check_name, check_upload, is_plain, same_name
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


@pytest.mark.parametrize("file", ["a.png", "A.PNG", "a.v2.tiff", "/home/user/a.jpg", "C:\\scans\\a.bmp", "../a.png"])
def test_uploads_of_known_types_pass_whatever_their_folder(file):
    assert check_upload(file).startswith(("a", "A"))


@pytest.mark.parametrize(
    "file", [None, "", "a", "a.exe", "a.pt", "a.py", "a.png.py", "a.nii.gz", "a.p\0ng", ".png", "a.png/x"]
)
def test_uploads_of_other_types_are_refused(file):
    with pytest.raises(InputError, match="file "):
        check_upload(file)


def test_names_are_compared_in_one_unicode_form():
    name = "Läsion"
    assert same_name(unicodedata.normalize("NFD", name)) == same_name(name)
