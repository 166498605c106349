from __future__ import annotations

import os

import pytest

from custom.errors import InputError
from custom.prepare.listing import list_files
from tests.data.test_images import touch


def test_hidden_folders_are_passed_over(tmp_path):
    touch(tmp_path, "a.png", ".git/b.png", "__MACOSX/c.png", "d/._e.png", "d/f.PNG")
    assert [path.name for path in list_files(tmp_path)] == ["a.png", "f.PNG"]


def test_links_that_lead_upwards_or_in_circles_are_not_followed(tmp_path):
    touch(tmp_path, "data/images/a.png", "data/masks/a.png")
    (tmp_path / "data" / "images" / "up").symlink_to("..")
    (tmp_path / "data" / "images" / "here").symlink_to(".")
    (tmp_path / "data" / "images" / "self").symlink_to("self")
    assert [path.name for path in list_files(tmp_path / "data" / "images")] == ["a.png"]


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    touch(tmp_path, "images/a.png")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(InputError, match=r"images cannot be read \(Permission denied\)"):
        list_files(tmp_path / "images")
