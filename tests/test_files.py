import os
import socket

import pytest

from custom.errors import InputError
from custom.files import file_digest, is_system_file, name_key, open_file, require_regular_file


@pytest.mark.parametrize(
    "name", [".DS_Store", "._scan.png", "Thumbs.db", "thumbs.DB", "desktop.ini", "__MACOSX", ".git"]
)
def test_names_that_systems_add_are_known(name):
    assert is_system_file(name)
    assert is_system_file(f"some folder/{name}")


@pytest.mark.parametrize("name", ["scan.png", "a.b.png", "thumbs.db.png", "_scan.png", ".hidden folder/scan.png"])
def test_names_of_people_are_not_system_files(name):
    assert not is_system_file(name)


def test_a_regular_file_and_a_link_to_it_may_be_opened(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"")
    (tmp_path / "b").symlink_to(file)
    require_regular_file(file)
    require_regular_file(tmp_path / "b")


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InputError, match=r"pipe\.png is no regular file"):
        require_regular_file(tmp_path / "pipe.png")


def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.png")
        with pytest.raises(InputError, match=r"socket\.png is no regular file"):
            require_regular_file("socket.png")


@pytest.mark.parametrize("path", ["missing.png", "a\0b.png", "\udcff.png", "x" * 5000])
def test_paths_without_a_file_are_named(path):
    with pytest.raises(InputError, match="does not exist|cannot be opened"):
        require_regular_file(path)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        require_regular_file(tmp_path)


@pytest.mark.parametrize(
    ("one", "other"), [("Läsion", "La\u0308sion"), ("A.PNG", "a.png"), (" a ", "a"), ("e\u0301", "\u00c9"), ("ß", "SS")]
)
def test_names_that_people_take_for_one_have_one_key(one, other):
    assert name_key(one) == name_key(other)


@pytest.mark.parametrize(("one", "other"), [("a", "b"), ("a b", "ab"), ("é", "e"), ("a_1", "a-1")])
def test_different_names_have_different_keys(one, other):
    assert name_key(one) != name_key(other)


@pytest.mark.parametrize("reader", [file_digest, lambda path: open_file(path).__enter__()])
def test_pipes_are_not_opened_for_reading(tmp_path, reader):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe is no regular file"):
        reader(tmp_path / "pipe")


def test_a_file_without_permission_is_named(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"")

    def refuse(path, mode):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(InputError, match=r"a cannot be read \(Permission denied\)"), open_file(tmp_path / "a"):
        pass


def test_a_changed_file_has_another_digest(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    before = file_digest(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"22")
    assert file_digest(tmp_path / "a") != before
