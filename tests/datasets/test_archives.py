import io
import os
import pickle
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infogan.datasets import archives
from infogan.datasets.archives import Members, files_in, members_in, tar_members, zip_members
from infogan.errors import Rejected, UserError

ANY = re.compile(r".*")
CONTENTS = {f"images/{n}.png": bytes([n]) * (100 * n) for n in (2, 0, 3, 1)}

Reader = Callable[[Path, re.Pattern[str]], Members]


def write_zip(path: Path, contents: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, contents: dict[str, bytes], kind: str = "w") -> Path:
    with tarfile.open(path, kind) as archive:  # type: ignore[call-overload]
        for name, content in contents.items():
            archive.addfile(header(name, size=len(content)), io.BytesIO(content))
    return path


def header(name: str, **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def made(tmp_path: Path, kind: str, contents: dict[str, bytes]) -> Members:
    """The same files in an archive or a folder ``images``, opened."""
    if kind == "folder":
        for name, content in contents.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(content)
    elif kind == "tar":
        write_tar(tmp_path / "images.tar", contents)
    else:
        method = zipfile.ZIP_STORED if kind == "stored zip" else zipfile.ZIP_DEFLATED
        write_zip(tmp_path / "images.zip", contents, method)
    return members_in(tmp_path, "images", ANY)


KINDS = pytest.mark.parametrize("kind", ["folder", "tar", "zip", "stored zip"])
BOTH = pytest.mark.parametrize(
    ("write", "read"), [(write_zip, zip_members), (write_tar, tar_members)], ids=["zip", "tar"]
)


@KINDS
def test_members_are_read_by_number_in_the_order_of_their_names(tmp_path: Path, kind: str) -> None:
    found = made(tmp_path, kind, CONTENTS)
    assert list(found.names) == sorted(CONTENTS)
    assert list(found) == [CONTENTS[name] for name in sorted(CONTENTS)]
    assert len(found) == 4
    assert found[-1] == found[3]


@KINDS
def test_members_survive_pickling_and_choosing(tmp_path: Path, kind: str) -> None:
    found = made(tmp_path, kind, CONTENTS)
    chosen = pickle.loads(pickle.dumps(found)).chosen([3, 0])
    assert list(chosen.names) == ["images/3.png", "images/0.png"]
    assert list(chosen) == [CONTENTS[name] for name in chosen.names]
    assert list(found.chosen([])) == list(found.chosen(np.array([]))) == []


@KINDS
def test_only_wanted_members_are_listed(tmp_path: Path, kind: str) -> None:
    made(tmp_path, kind, {**CONTENTS, "images/notes.txt": b"", "images/x.png.bak": b""})
    found = members_in(tmp_path, "images", re.compile(r"images/[12]\.png"))
    assert list(found.names) == ["images/1.png", "images/2.png"]


@BOTH
def test_a_leading_dot_is_no_part_of_a_name(
    tmp_path: Path, write: Callable[..., Path], read: Reader
) -> None:
    path = write(tmp_path / "archive", {"./images/1.png": b"x"})
    assert list(read(path, ANY).names) == ["images/1.png"]


@BOTH
def test_the_files_in_an_archive_are_read_and_its_folders_are_not(
    tmp_path: Path, write: Callable[..., Path], read: Reader
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "1.png").write_bytes(b"x")
    path = tmp_path / "archive"
    if write is write_zip:
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(folder, "images")
            archive.write(folder / "1.png", "images/1.png")
    else:
        with tarfile.open(path, "w") as tar:
            tar.add(folder, "images")
    assert list(read(path, ANY).names) == ["images/1.png"]


@BOTH
def test_nothing_is_ever_written(tmp_path: Path, write: Callable[..., Path], read: Reader) -> None:
    path = write(tmp_path / "archive", CONTENTS)
    assert len(list(read(path, ANY))) == 4
    assert [each.name for each in tmp_path.rglob("*")] == ["archive"]


@BOTH
@pytest.mark.parametrize(
    "name", ["../evil.png", "a/../../evil.png", "/etc/evil.png", "a\\..\\evil.png", "C:/evil.png"]
)
def test_a_member_that_points_outside_is_refused_though_it_is_not_wanted(
    tmp_path: Path, write: Callable[..., Path], read: Reader, name: str
) -> None:
    path = write(tmp_path / "archive", {**CONTENTS, name: b"x"})
    told = f"archive holds the member {re.escape(repr(name))}, which points outside: use the"
    with pytest.raises(UserError, match=told):
        read(path, re.compile(r"images/\d\.png"))


def test_two_dots_within_a_name_are_harmless(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "archive", {"a..b/..c.png": b"x"})
    assert list(tar_members(path, ANY)) == [b"x"]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "images.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(header("images/0.png", type=kind, linkname="/etc/passwd"))
    with pytest.raises(UserError, match=r"images.tar holds the member 'images/0.png', a link or"):
        tar_members(path, ANY)


def test_sparse_members_of_a_tar_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(header("images/0.png", type=tarfile.GNUTYPE_SPARSE))
    with pytest.raises(UserError, match=r"'images/0.png', a link or device"):
        tar_members(path, ANY)


@pytest.mark.parametrize("mode", [0o120777, 0o020666, 0o010666], ids=["link", "device", "pipe"])
def test_links_and_devices_in_a_zip_are_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "images.zip"
    info = zipfile.ZipInfo("images/0.png")
    info.create_system, info.external_attr = 3, mode << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(UserError, match=r"images.zip holds the member 'images/0.png', a link or"):
        zip_members(path, ANY)


def test_a_zip_that_would_unpack_to_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "images.zip", {"a.png": bytes(archives.MEMBER_LIMIT + 1)})
    assert path.stat().st_size < 100_000
    told = "images.zip holds the member 'a.png' of 67,108,865 bytes, but an image has at most 67,"
    with pytest.raises(UserError, match=told):
        zip_members(path, ANY)


def test_a_zip_member_that_grows_a_thousandfold_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "images.zip", {"a.png": bytes(1 << 20)})
    told = r"'a.png', which would grow from 1,0\d\d to 1,048,576 bytes, more than 1000-fold"
    with pytest.raises(UserError, match=told):
        zip_members(path, ANY)


def test_a_tar_member_of_gigabytes_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    path.write_bytes(header("a.png", size=5 << 30).tobuf())
    with pytest.raises(UserError, match=r"images.tar holds the member 'a.png' of 5,368,709,120"):
        tar_members(path, ANY)


def test_what_is_not_wanted_may_be_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MEMBER_LIMIT", 100)
    contents = {"1.png": b"0123456789" * 10, "table.mat": b"0123456789" * 10 + b"x"}
    for read, path in (
        (zip_members, write_zip(tmp_path / "a.zip", contents)),
        (tar_members, write_tar(tmp_path / "a.tar", contents)),
    ):
        assert list(read(path, re.compile(r".*\.png"))) == [contents["1.png"]]
        with pytest.raises(UserError, match=r"'table.mat' of 101 bytes"):
            read(path, ANY)


def lying(path: Path, size: int) -> Path:
    """A zip whose directory announces another size of its only member than it unpacks to."""
    write_zip(path, {"a.png": bytes(range(256)) * 40})
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\1\2")
    content[directory + 24 : directory + 28] = struct.pack("<I", size)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("size", [0, 10, 10_239, 10_241])
def test_a_zip_member_never_yields_another_length_than_it_announces(
    tmp_path: Path, size: int
) -> None:
    found = zip_members(lying(tmp_path / "images.zip", size), ANY)
    with pytest.raises(Rejected, match="is cut short or damaged"):
        found[0]


def test_no_more_is_unpacked_than_was_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = zip_members(lying(tmp_path / "images.zip", 10), ANY)
    lengths: list[int] = []
    checksum = zlib.crc32

    def measured(content: bytes) -> int:
        lengths.append(len(content))
        return checksum(content)

    class Inflater:
        def __init__(self, bits: int) -> None:
            self.inflater = INFLATER(bits)

        def decompress(self, content: bytes, most: int = 0) -> bytes:
            found = self.inflater.decompress(content, most)
            measured(found)
            return found

    INFLATER = zlib.decompressobj
    monkeypatch.setattr(archives.zlib, "decompressobj", Inflater)
    with pytest.raises(Rejected):
        found[0]
    assert lengths == [11]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_flipped_bit_in_a_zip_members_data_is_noticed_or_harmless(
    tmp_path: Path, method: int
) -> None:
    content = np.random.default_rng(0).integers(0, 4, 40, dtype=np.uint8).tobytes()
    path = write_zip(tmp_path / "images.zip", {"a.png": content}, method)
    found, whole = zip_members(path, ANY), path.read_bytes()
    start, end = 30 + len("a.png"), whole.index(b"PK\1\2")
    harmless = 0
    for place in range(8 * start, 8 * end):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            assert found[0] == content
        except Rejected:
            continue
        harmless += 1
    assert harmless <= (
        8 if method == zipfile.ZIP_DEFLATED else 0
    )  # padding, and a last-block bit


@pytest.mark.parametrize("kind", ["zip", "stored zip", "tar"])
def test_an_archive_that_was_cut_after_it_was_listed_rejects_what_is_gone(
    tmp_path: Path, kind: str
) -> None:
    found = made(tmp_path, kind, CONTENTS)
    with found.path.open("r+b") as file:
        file.truncate(46)
    for number in (1, 2, 3):  # member 0 has no content
        with pytest.raises(Rejected, match="is cut short or damaged"):
            found[number]


def test_a_zip_whose_local_header_is_gone_rejects_only_that_member(tmp_path: Path) -> None:
    found = made(tmp_path, "stored zip", CONTENTS)
    with found.path.open("r+b") as file:
        file.write(b"QK")  # the first header is that of images/2.png
    with pytest.raises(Rejected, match="is cut short or damaged"):
        found[2]
    assert [found[n] for n in (0, 1, 3)] == [CONTENTS[f"images/{n}.png"] for n in (0, 1, 3)]


@BOTH
def test_an_archive_cut_anywhere_is_refused_by_name(
    tmp_path: Path, write: Callable[..., Path], read: Reader
) -> None:
    path = write(tmp_path / "images.archive", CONTENTS)
    whole = path.read_bytes()
    end = len(whole)
    if read is tar_members:  # after the last member comes only padding
        with tarfile.open(path) as archive:
            archive.getmembers()
            end = archive.offset + tarfile.BLOCKSIZE
    for length in range(0, end, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"images.archive is cut short or damaged \(.*fetch"):
            read(path, ANY)


def test_a_tar_whose_header_is_damaged_in_its_middle_is_not_taken_for_a_shorter_one(
    tmp_path: Path,
) -> None:
    path = write_tar(tmp_path / "images.tar", CONTENTS)
    with tarfile.open(path) as archive:
        offset = archive.getmembers()[2].offset
    with path.open("r+b") as file:
        file.seek(offset + 150)
        file.write(b"99")
    with pytest.raises(UserError, match=f"images.tar is cut .*no header at byte {offset:,}"):
        tar_members(path, ANY)


@BOTH
def test_an_archive_with_wrong_bytes_is_refused_in_a_sentence_or_read(
    tmp_path: Path, write: Callable[..., Path], read: Reader
) -> None:
    path, random = write(tmp_path / "images.archive", CONTENTS), np.random.default_rng(0)
    whole = path.read_bytes()
    refusals = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(random.integers(1, 4)):
            damaged[random.integers(len(whole))] = random.integers(256)
        path.write_bytes(damaged)
        try:
            assert all(isinstance(content, bytes) for content in read(path, ANY))
        except (UserError, Rejected):
            refusals += 1
    assert refusals > 30


@BOTH
def test_a_member_that_is_there_twice_is_refused(
    tmp_path: Path, write: Callable[..., Path], read: Reader
) -> None:
    path = write(tmp_path / "archive", {"1.png": b"x", "./1.png": b"y"})
    with pytest.raises(UserError, match=r"archive holds the member '1.png' twice"):
        read(path, ANY)


@pytest.mark.parametrize(("kind", "name"), [("w:gz", "gzip"), ("w:bz2", "bzip2"), ("w:xz", "xz")])
def test_a_compressed_tar_is_refused_with_what_to_do(tmp_path: Path, kind: str, name: str) -> None:
    path = write_tar(tmp_path / "images.tar", CONTENTS, kind)
    told = rf"images.tar is compressed \({name}\), which .*: decompress it to a plain .tar"
    with pytest.raises(UserError, match=told):
        tar_members(path, ANY)


def test_a_negative_size_in_a_tar_is_refused(tmp_path: Path) -> None:
    info = bytearray(header("a.png").tobuf())
    info[124:136] = b"\xff" * 10 + b"\xfe\0"
    info[148:156] = b" " * 8
    info[148:156] = b"%06o\0 " % sum(info)
    (tmp_path / "images.tar").write_bytes(info + bytes(1024))
    with pytest.raises(UserError, match=r"images.tar is cut short or damaged"):
        tar_members(tmp_path / "images.tar", ANY)


def test_a_zip_of_unknown_compression_is_refused_by_method(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "images.zip", {"1.png": b"x"}, zipfile.ZIP_LZMA)
    with pytest.raises(UserError, match=r"'1.png', compressed by method 14: pack it by method 0"):
        zip_members(path, ANY)


def test_a_zip_member_without_a_name_does_no_harm(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "images.zip", {"0.png": b"x", "1.png": b"y"})
    path.write_bytes(path.read_bytes().replace(b"0.png", b"\0.png"))  # names end at a zero
    assert list(zip_members(path, re.compile(r".*\.png")).names) == ["1.png"]


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "images.zip", {"1.png": b"x"})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"images.zip holds the encrypted member '1.png'"):
        zip_members(path, ANY)


def test_a_folder_without_the_archive_is_refused_with_both_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds neither an archive nor a folder images: put it"):
        members_in(tmp_path, "images", ANY)


def test_a_file_of_a_folder_that_cannot_be_read_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = made(tmp_path, "folder", {"images/1.png": b"x", "images/2.png": b"y" * 9})
    (tmp_path / "images" / "1.png").unlink()
    with pytest.raises(Rejected, match=r"^cannot be read \(No such file or directory\)$"):
        found[0]
    monkeypatch.setattr(archives, "MEMBER_LIMIT", 8)
    with pytest.raises(Rejected, match="is larger than 8 bytes"):
        found[1]


def test_hidden_files_and_folders_that_are_links_are_left_out(tmp_path: Path) -> None:
    for name in ("a/1", "a/.2", ".b/3", "4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "round").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert sorted(files_in(tmp_path)) == ["4", "a/1"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_refused_rather_than_passed_over(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(UserError, match=r"closed cannot be read \(Permission denied\)"):
        list(files_in(tmp_path))
