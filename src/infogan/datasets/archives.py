"""Files inside a zip, a tar or a folder, read one by one; nothing is ever unpacked to disk.

An archive is read through once for the places of its members, which are all that is kept. Archives
that hold what no data set needs (names that lead outside, links, members that would fill the
memory) are refused as a whole, since their other members are not to be trusted either.
"""

import hashlib
import itertools
import logging
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from infogan.errors import Rejected, UserError

_logger = logging.getLogger(__name__)

MEMBER_LIMIT = 64 << 20  # bytes of one image
RATIO_LIMIT = 1000  # images, which are compressed already, do not shrink to a thousandth

_DAMAGED = "is cut short or damaged"
_AGAIN = "use the archive as its authors distribute it, or pack the files again"
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # magic, lengths of name and extra field
_COMPRESSIONS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


class Members(Sequence[bytes]):
    """The contents of files, each read when asked for, and their ``names``, which differ.

    Picklable: between two readings no file is open. ``members[i]`` raises ``Rejected`` if this one
    file cannot be read whole.
    """

    def __init__(self, path: Path, names: Sequence[str], places: np.ndarray) -> None:
        self.path = path  # of the archive or the folder
        self.names = names
        self._places = places  # int64 (N, whatever a kind of archive needs)

    def __len__(self) -> int:
        return len(self.names)

    @abstractmethod
    def __getitem__(self, number: int) -> bytes:  # type: ignore[override]
        """The content of one file."""

    def stamp(self) -> str:
        """What changes when a file of a folder is written again; of an archive, nothing."""
        return ""

    def chosen(self, numbers: Sequence[int] | np.ndarray) -> Self:
        """Only these, in this order."""
        names = [self.names[number] for number in numbers]
        return type(self)(self.path, names, self._places[np.asarray(numbers, int)])


class ZipMembers(Members):
    """Places are those of the directory: header offset, packed bytes, bytes, method, CRC."""

    def __getitem__(self, number: int) -> bytes:  # type: ignore[override]
        # Not with zipfile, whose reading of the directory takes seconds in every process.
        offset, packed, size, method, crc = (int(n) for n in self._places[number])
        with self.path.open("rb") as file:
            file.seek(offset)
            header = file.read(_LOCAL_HEADER.size)
            if len(header) < _LOCAL_HEADER.size:
                raise Rejected(_DAMAGED)
            magic, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
            if magic != b"PK\3\4":
                raise Rejected(_DAMAGED)
            file.seek(name_bytes + extra_bytes, os.SEEK_CUR)
            content = file.read(packed)
        if method == zipfile.ZIP_DEFLATED:
            try:
                content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, size + 1)
            except zlib.error:
                raise Rejected(_DAMAGED) from None
        if len(content) != size or zlib.crc32(content) != crc:
            raise Rejected(_DAMAGED)
        return content


class TarMembers(Members):
    """Places are offset and bytes."""

    def __getitem__(self, number: int) -> bytes:  # type: ignore[override]
        offset, size = (int(n) for n in self._places[number])
        with self.path.open("rb") as file:
            file.seek(offset)
            content = file.read(size)
        if len(content) != size:
            raise Rejected(_DAMAGED)
        return content


class FolderMembers(Members):
    """Names are relative paths in POSIX form."""

    def __getitem__(self, number: int) -> bytes:  # type: ignore[override]
        path = self.path / self.names[number]
        try:
            with path.open("rb") as file:
                content = file.read(MEMBER_LIMIT + 1)
        except OSError as error:
            raise Rejected(f"cannot be read ({error.strerror})") from None
        if len(content) > MEMBER_LIMIT:
            raise Rejected(f"is larger than {MEMBER_LIMIT:,} bytes")
        return content

    def extent(self) -> str:
        """How many files these are, and how large together."""
        size = sum((self.path / name).stat().st_size for name in self.names)
        return f"{len(self):,} {'file' if len(self) == 1 else 'files'}, {size:,} bytes"

    def stamp(self) -> str:
        """A hash that changes when a file comes, goes, or is written again."""
        seen = hashlib.sha256()
        for name in sorted(self.names):
            status = (self.path / name).stat()
            seen.update(os.fsencode(name) + f"\0{status.st_size} {status.st_mtime_ns}\n".encode())
        return seen.hexdigest()


def members_in(root: Path, name: str, wanted: re.Pattern[str]) -> Members:
    """The files in ``NAME.zip``, ``NAME.tar`` or the folder ``NAME`` whose whole path is wanted.

    Paths begin with the folder's name; the files are in the order of their paths.
    """
    if (root / f"{name}.zip").is_file():
        return zip_members(root / f"{name}.zip", wanted)
    if (root / f"{name}.tar").is_file():
        return tar_members(root / f"{name}.tar", wanted)
    if not (root / name).is_dir():
        raise UserError(f"{root} holds neither an archive nor a folder {name}: put it there.")
    names = sorted(filter(wanted.fullmatch, (f"{name}/{path}" for path in files_in(root / name))))
    return folder_members(root, names)


def zip_members(path: Path, wanted: re.Pattern[str]) -> ZipMembers:
    """The members of a zip archive whose whole name is wanted, in the order of their names."""
    names, places = [], []
    for info in _zip_directory(path):
        name = info.filename.removeprefix("./")
        _refuse_outside(path, name)
        kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where no Unix packed it
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise UserError(f"{path} holds the member {name!r}, a link or device: {_AGAIN}.")
        if name.endswith("/") or not wanted.fullmatch(name):
            continue
        _refuse_unreadable(path, info)
        _refuse_large(path, name, info.file_size, info.compress_size)
        names.append(name)
        place = info.header_offset, info.compress_size, info.file_size
        places.append((*place, info.compress_type, info.CRC))
    return ZipMembers(path, *_ordered(path, names, places, 5))


def _zip_directory(path: Path) -> list[zipfile.ZipInfo]:
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return archive.infolist()
        except (
            *(zipfile.BadZipFile, NotImplementedError, EOFError),
            *(ValueError, OverflowError, OSError, struct.error),
        ) as error:
            raise UserError(f"{path} {_DAMAGED} ({error}): fetch it again.") from None


def _refuse_unreadable(path: Path, info: zipfile.ZipInfo) -> None:
    if info.flag_bits & 1:
        raise UserError(f"{path} holds the encrypted member {info.filename!r}: {_AGAIN}.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(
            f"{path} holds the member {info.filename!r}, compressed by method "
            f"{info.compress_type}: pack it by method 0 (store) or 8 (deflate)."
        )
    if info.header_offset < 0:
        raise UserError(f"{path} {_DAMAGED}: fetch it again.")


def tar_members(path: Path, wanted: re.Pattern[str]) -> TarMembers:
    """The members of an uncompressed tar archive whose whole name is wanted, ordered by name."""
    names, places = [], []
    for info in _tar_headers(path):
        name = info.name.removeprefix("./")
        _refuse_outside(path, name)
        if info.isdir():
            continue
        if not info.isreg() or info.issparse():
            raise UserError(f"{path} holds the member {name!r}, a link or device: {_AGAIN}.")
        if wanted.fullmatch(name):
            _refuse_large(path, name, info.size, info.size)
            names.append(name)
            places.append((info.offset_data, info.size))
    return TarMembers(path, *_ordered(path, names, places, 2))


def _tar_headers(path: Path) -> Iterator[tarfile.TarInfo]:
    """All headers, one of which is in memory at a time."""
    with path.open("rb") as file:
        start = file.read(8)
        for magic, method in _COMPRESSIONS.items():
            if start.startswith(magic):
                raise UserError(
                    f"{path} is compressed ({method}), which allows no access to single members: "
                    f"decompress it to a plain .tar."
                )
        file.seek(0)
        try:
            with tarfile.TarFile(fileobj=file) as archive:
                while (info := archive.next()) is not None:
                    archive.members.clear()  # type: ignore[attr-defined]  # it would keep them all
                    if info.size < 0:
                        raise tarfile.ReadError(f"{info.name!r} has {info.size} bytes")
                    yield info
                # tarfile takes a header that is damaged, or missing, for the archive's end.
                file.seek(archive.offset)
                if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                    raise tarfile.ReadError(f"no header at byte {archive.offset:,}")
        except (tarfile.TarError, EOFError, ValueError, OverflowError, OSError) as error:
            raise UserError(f"{path} {_DAMAGED} ({error}): fetch it again.") from None


def _refuse_outside(path: Path, name: str) -> None:
    # Backslashes and drive letters lead outside on Windows.
    parts = re.split(r"[/\\]", name)
    if ".." in parts or "\\" in name or name.startswith("/") or re.match("[A-Za-z]:", name):
        raise UserError(f"{path} holds the member {name!r}, which points outside: {_AGAIN}.")


def _refuse_large(path: Path, name: str, size: int, packed: int) -> None:
    if max(size, packed) > MEMBER_LIMIT:
        raise UserError(
            f"{path} holds the member {name!r} of {max(size, packed):,} bytes, but an image has "
            f"at most {MEMBER_LIMIT:,}: {_AGAIN}."
        )
    if size > RATIO_LIMIT * packed:
        raise UserError(
            f"{path} holds the member {name!r}, which would grow from {packed:,} to {size:,} "
            f"bytes, more than {RATIO_LIMIT}-fold: {_AGAIN}."
        )


def _ordered(
    path: Path, names: list[str], places: Sequence[tuple[int, ...]], width: int
) -> tuple[list[str], np.ndarray]:
    order = sorted(range(len(names)), key=names.__getitem__)
    ordered = [names[n] for n in order]
    for name, following in itertools.pairwise(ordered):
        if name == following:
            raise UserError(f"{path} holds the member {name!r} twice: {_AGAIN}.")
    return ordered, np.array(places, np.int64).reshape(-1, width)[order]


def folder_members(root: Path, names: Sequence[str]) -> FolderMembers:
    """These files below a folder."""
    return FolderMembers(root, names, np.empty((len(names), 0), np.int64))


def files_in(root: Path) -> Iterator[str]:
    """Relative paths, in POSIX form, of the files in a folder and its sub-folders.

    Hidden ones are left out, and folders that are links, which could lead round in circles; the
    log says so.
    """

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename} cannot be read ({error.strerror}).")

    for folder, below, files in os.walk(root, onerror=refuse):
        below[:] = [name for name in below if not name.startswith(".")]
        for name in below:
            if Path(folder, name).is_symlink():
                _logger.warning("%s is a link to a folder, and is left out.", Path(folder, name))
        for name in files:
            path = Path(folder, name)
            if not name.startswith(".") and path.is_file():
                yield path.relative_to(root).as_posix()
