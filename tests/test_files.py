import os
import socket
from pathlib import Path

import pytest

from custom.errors import InputError
from custom.files import (
    file_digest,
    is_partial,
    is_system_file,
    name_key,
    open_file,
    require_regular_file,
    whole_file,
    write_whole,
)


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


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_file_takes_the_place_of_the_old_one(tmp_path):
    write_whole(tmp_path / "a", b"old")
    write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("durable", [False, True])
def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path, durable):
    (tmp_path / "a").write_bytes(b"old")
    with whole_file(tmp_path / "a", durable) as file:
        file.write(b"half")
        file.flush()
        assert (tmp_path / "a").read_bytes() == b"old"
    assert (tmp_path / "a").read_bytes() == b"half"


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), OSError("plain"), KeyboardInterrupt()])
def test_a_failure_midway_keeps_the_old_file_and_nothing_else(tmp_path, failure):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(type(failure)) as caught, whole_file(tmp_path / "a") as file:
        file.write(b"half")
        raise failure
    assert getattr(caught.value, "filename", None) in (None, str(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing/a"):
        write_whole(tmp_path / "missing" / "a", b"")


def test_what_a_killed_process_leaves_is_known(tmp_path):
    with whole_file(tmp_path / "a.png"):
        (partial,) = tmp_path.iterdir()
        assert is_partial(partial)


@pytest.mark.parametrize("name", ["a.png", "a.part", ".a.png", Path(".b.part", "a.png")])
def test_other_names_are_not_those_of_unfinished_files(name):
    assert not is_partial(name)
