from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile

import pytest

from custom.errors import InputError
from custom.prepare.archives import ArchiveLimits, unpack


def zip_of(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as package:
        for name, content in members:
            package.writestr(name, content)
    return path


def tar_of(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as package:
        for member, content in members:
            member = tarfile.TarInfo(member) if isinstance(member, str) else member
            member.size = len(content)
            package.addfile(member, io.BytesIO(content))
    return path


def files_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def refused(tmp_path, message_of):
    """Unpack an archive which must be refused; gives the message."""

    def check(archive, **limits):
        with pytest.raises(InputError) as caught:
            unpack(archive, tmp_path / "inner" / "out", ArchiveLimits(**limits), show_progress=False)
        outside = (
            files_in(tmp_path) - {archive.name} - {f"inner/out/{name}" for name in files_in(tmp_path / "inner/out")}
        )
        assert not outside
        return message_of(caught)

    return check


@pytest.mark.parametrize("make, name", [(zip_of, "a.zip"), (tar_of, "a.tar.gz"), (tar_of, "A.TGZ")])
def test_files_come_out_below_the_folder(tmp_path, make, name):
    archive = make(tmp_path / name, [("Set One/images/a b.PNG", b"1"), ("readme.txt", b"22")])
    unpack(archive, tmp_path / "out", show_progress=False)
    assert files_in(tmp_path / "out") == {"Set One/images/a b.PNG", "readme.txt"}
    assert (tmp_path / "out/readme.txt").read_bytes() == b"22"


def test_files_of_operating_systems_are_left_out(tmp_path):
    others = ("__MACOSX/._x.png", "d/.DS_Store", "d/._y.png", "Thumbs.db", "d\\desktop.ini", ".git/config", "d/.y.png")
    archive = zip_of(tmp_path / "a.zip", [("x.png", b""), *((name, b"") for name in others)])
    unpack(archive, tmp_path / "out", show_progress=False)
    assert files_in(tmp_path / "out") == {"x.png"}


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "..\\x", "C:\\x", "c:x"])
@pytest.mark.parametrize("make, archive", [(zip_of, "a.zip"), (tar_of, "a.tar.gz")])
def test_a_path_that_leads_out_is_refused(tmp_path, refused, make, archive, name):
    assert "leads out of the folder" in refused(make(tmp_path / archive, [(name, b"1")]))


def test_a_link_in_a_zip_is_refused(tmp_path, refused):
    link = zipfile.ZipInfo("images")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert "link" in refused(zip_of(tmp_path / "a.zip", [(link, "/etc")]))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_link_or_device_in_a_tar_is_refused(tmp_path, refused, kind):
    member = tarfile.TarInfo("images")
    member.type, member.linkname = kind, "/etc/passwd"
    assert "link or a device" in refused(tar_of(tmp_path / "a.tar", [(member, b"")], "w"))


def test_two_files_of_one_name_are_refused(tmp_path, refused):
    with pytest.warns(UserWarning):
        archive = zip_of(tmp_path / "a.zip", [("x.png", b"1"), ("x.png", b"2")])
    assert "x.png twice" in refused(archive)


def test_a_name_with_a_line_break_gives_one_line(tmp_path, refused):
    assert "control characters" in refused(zip_of(tmp_path / "a.zip", [("x\n.png", b"1")]))


def test_a_large_member_is_refused(tmp_path, refused):
    archive = zip_of(tmp_path / "a.zip", [("x.png", bytes(2000))])
    assert "more than 1,000 bytes" in refused(archive, member_bytes=1000)


def test_many_members_are_refused(tmp_path, refused):
    archive = zip_of(tmp_path / "a.zip", [(f"{number}.png", b"") for number in range(5)])
    assert "more than 4 entries" in refused(archive, members=4)


def test_the_total_counts(tmp_path, refused):
    archive = zip_of(tmp_path / "a.zip", [(f"{number}.png", os.urandom(400)) for number in range(4)])
    assert "--max-archive-gb" in refused(archive, total_bytes=1000)


@pytest.mark.parametrize("make, name", [(zip_of, "a.zip"), (tar_of, "a.tar.gz")])
def test_a_bomb_is_refused(tmp_path, refused, make, name):
    archive = make(tmp_path / name, [("x.png", bytes(4 << 20))])
    assert "as a decompression bomb does" in refused(archive, ratio_from_bytes=1 << 20)


def test_a_header_with_a_wrong_size_does_not_help_a_bomb(tmp_path, refused):
    archive = zip_of(tmp_path / "a.zip", [("x.png", bytes(4 << 20))])
    content = archive.read_bytes()
    archive.write_bytes(content.replace((4 << 20).to_bytes(4, "little"), (100).to_bytes(4, "little")))
    refused(archive, ratio_from_bytes=1 << 20)


def test_a_bomb_in_a_header_of_a_tar_is_refused(tmp_path, refused):
    header = tarfile.TarInfo("pax")
    header.type = tarfile.XHDTYPE
    archive = tar_of(tmp_path / "a.tar.gz", [(header, bytes(64 << 20))])
    assert "header" in refused(archive)


def test_a_password_is_named(tmp_path, refused):
    archive = zip_of(tmp_path / "a.zip", [("x.png", b"1234")])
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    assert "password" in refused(archive)


@pytest.mark.parametrize("make, name", [(zip_of, "a.zip"), (tar_of, "a.tar.gz")])
def test_a_cut_archive_is_named(tmp_path, refused, make, name):
    archive = make(tmp_path / name, [("x.png", os.urandom(5000))])
    archive.write_bytes(archive.read_bytes()[:3000])
    assert "cut short" in refused(archive)


def test_a_broken_member_is_named(tmp_path, refused):
    archive = zip_of(tmp_path / "a.zip", [("x.png", b"0123456789" * 10)], zipfile.ZIP_STORED)
    archive.write_bytes(archive.read_bytes().replace(b"0123456789", b"9999999999", 1))
    assert "broken" in refused(archive)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_a_file_of_another_kind_is_named(tmp_path, refused, name):
    (tmp_path / name).write_bytes(b"no archive at all" * 100)
    assert str(tmp_path / name) in refused(tmp_path / name)


def test_a_file_that_is_also_a_folder_is_refused(tmp_path, refused):
    refused(zip_of(tmp_path / "a.zip", [("x", b"1"), ("x/y", b"2")]))
