"""Unpack archives from the internet without trusting them."""

from __future__ import annotations

import gzip
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tqdm import tqdm

from custom.errors import InputError, short_reason
from custom.files import is_system_file
from custom.wording import shown

__all__ = ["ArchiveLimits", "is_archive", "unpack"]

_CHUNK = 1 << 20
_LARGEST_TAR_HEADER = 1 << 20
_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True)
class ArchiveLimits:
    """Bounds on what is unpacked, checked on the bytes really read: sizes in headers may lie.

    The largest sets meant here are ISIC-2018 (14 GB) and BCSS; their files are compressed already. A plain bitmap of
    a mask may shrink a thousandfold, so ratios only count above a size that no mask has.

    Attributes:
        total_bytes: of all files of an archive.
        member_bytes: of one file.
        members: number of entries.
        ratio: unpacked bytes by packed bytes.
        ratio_from_bytes: unpacked bytes, of a file or in all, above which the ratio counts.
    """

    total_bytes: int = 64 << 30
    member_bytes: int = 4 << 30
    members: int = 500_000
    ratio: int = 100
    ratio_from_bytes: int = 256 << 20


def is_archive(path: Path) -> bool:
    """Whether the name ends as those of archives that `unpack` reads: .zip, .tar, .tar.gz, .tgz."""
    return path.name.lower().endswith((".zip", *_TAR_SUFFIXES))


def unpack(archive: Path, folder: Path, limits: ArchiveLimits | None = None, show_progress: bool = True) -> None:
    """Unpack the files of a zip or tar archive below `folder`, which is made.

    Only plain files come out, none outside `folder`. Files which operating systems add are left out. After an error
    `folder` may hold some files: the caller removes it.

    Raises:
        InputError: the archive is broken, cut short, encrypted or over a limit; or holds links, devices, two files of
            one name, or paths that lead elsewhere.
    """
    limits = limits or ArchiveLimits()
    folder.mkdir(parents=True)
    read = _read_zip if archive.name.lower().endswith(".zip") else _read_tar
    with _one_line_errors(archive):
        room = _Room(archive, folder, limits)
        with tqdm(desc=f"unpacking {archive.name}", unit="B", unit_scale=True, disable=_quiet(show_progress)) as bar:
            for name, packed_size, file in read(archive, room):
                bar.update(_write_member(name, packed_size, file, room))


class _Room:
    """What has been unpacked so far and what still may be."""

    def __init__(self, archive: Path, folder: Path, limits: ArchiveLimits) -> None:
        self.archive, self.folder, self.limits = archive, folder, limits
        self.archive_bytes = max(1, archive.stat().st_size)
        self.total_bytes = 0
        self.written: set[str] = set()

    def refuse(self, reason: str) -> InputError:
        return InputError(f"{self.archive}: {reason}; do not use this archive, download it from its official page")

    def require_few(self, members: int) -> None:
        if members > self.limits.members:
            raise self.refuse(f"holds more than {self.limits.members} entries")

    def require_disk_space(self, size: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if size > free:
            raise InputError(
                f"{self.archive}: needs {size:,} bytes unpacked, {self.folder} has {free:,} free; make room"
            )

    def require_size(self, name: str, size: int, packed_size: int) -> None:
        """Check the member being read, at its present `size`, and the archive as a whole."""
        limits = self.limits
        if size > limits.member_bytes:
            raise self.refuse(f"{name} unpacks to more than {limits.member_bytes:,} bytes")
        if self.total_bytes > limits.total_bytes:
            raise InputError(f"{self.archive}: unpacks to more than {limits.total_bytes:,} bytes; see --max-archive-gb")
        for what, unpacked, packed in ((name, size, packed_size), ("it", self.total_bytes, self.archive_bytes)):
            if unpacked > limits.ratio_from_bytes and unpacked > limits.ratio * max(1, packed):
                raise self.refuse(
                    f"{what} unpacks to more than {limits.ratio} times its size, as a decompression bomb does"
                )

    def target(self, name: str) -> Path:
        """Where the member `name` goes, below the folder."""
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or not parts or re.match(r"[A-Za-z]:", parts[0]):
            raise self.refuse(f"{shown(name, 120)} leads out of the folder")
        if not name.isprintable():
            raise self.refuse(f"{shown(name, 120)} has control characters in its name")
        path = "/".join(parts)
        if path in self.written:
            raise self.refuse(f"holds {path} twice")
        self.written.add(path)
        return self.folder / path


def _write_member(name: str, packed_size: int, file: BinaryIO, room: _Room) -> int:
    """Copy one file out of the archive, counting as it comes; returns its size in bytes."""
    target = room.target(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with open(target, "xb") as output:
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            room.total_bytes += len(chunk)
            room.require_size(name, size, packed_size)
            output.write(chunk)
    return size


def _read_zip(archive: Path, room: _Room) -> Iterator[tuple[str, int, BinaryIO]]:
    """Name, packed size and open file of each member."""
    with zipfile.ZipFile(archive) as package:
        members = [member for member in package.infolist() if not _is_junk(member.filename)]
        room.require_few(len(members))
        room.require_disk_space(sum(member.file_size for member in members))
        for member in members:
            name = member.filename.replace("\\", "/")
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise room.refuse(f"{shown(name, 120)} is a link or a device")
            if member.flag_bits & 0x1:
                raise InputError(f"{archive}: {shown(name, 120)} is password-protected; unpack it and give the folder")
            if not name.endswith("/"):
                with package.open(member) as file:
                    yield name, member.compress_size, file


def _read_tar(archive: Path, room: _Room) -> Iterator[tuple[str, int, BinaryIO]]:
    """Name, a stand-in for the packed size and open file of each member: a tar is packed as a whole."""
    opener = open if archive.name.lower().endswith(".tar") else gzip.open
    with opener(archive, "rb") as unpacked, tarfile.open(fileobj=_WaryReader(unpacked, room), mode="r:") as package:
        for number, member in enumerate(package):
            room.require_few(number + 1)
            if _is_junk(member.name) or member.isdir():
                continue
            if not member.isreg():
                raise room.refuse(f"{shown(member.name, 120)} is a link or a device")
            yield member.name.replace("\\", "/"), room.archive_bytes, package.extractfile(member)
        if not package.members:
            raise InputError(f"{archive}: holds no files; get the archive again")


def _is_junk(name: str) -> bool:
    """Whether the member is hidden or one that operating systems add; paths with ".." are looked at elsewhere."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return ".." not in parts and any(map(is_system_file, parts))


class _WaryReader:
    """A file which refuses the single large reads that tar's name headers ask for: their size is not to be trusted."""

    def __init__(self, file: BinaryIO, room: _Room) -> None:
        self.file, self.room = file, room
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= max(_LARGEST_TAR_HEADER, _CHUNK):
            raise self.room.refuse("has a header of unlikely size")
        return self.file.read(size)


@contextmanager
def _one_line_errors(archive: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError) as error:
        raise InputError(f"{archive}: broken or cut short ({short_reason(error)}); download it again") from error
    except NotImplementedError as error:
        raise InputError(f"{archive}: packed in an unknown way ({short_reason(error)}); repack it") from error
    except RuntimeError as error:  # zipfile's answer to a password
        raise InputError(f"{archive}: {short_reason(error)}; unpack it yourself and give the folder") from error
    except OSError as error:
        reason = error.strerror or short_reason(error)
        raise InputError(f"{archive}: cannot be unpacked ({reason}); check the disk and the archive") from error
    except (ValueError, OverflowError) as error:  # headers with impossible values
        raise InputError(f"{archive}: broken ({short_reason(error)}); download it again") from error


def _quiet(show_progress: bool) -> bool | None:
    return None if show_progress else True
