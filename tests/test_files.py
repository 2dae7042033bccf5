"""Files are whole or not there, and empty folders go."""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infogan.files import atomic, digest, remove_empty


def test_the_content_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder" / "a.txt"
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert [found.name for found in path.parent.iterdir()] == ["a.txt"]


def test_the_old_file_stays_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_the_content_is_on_disk_before_the_name_and_the_name_before_the_block_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, fsync = tmp_path / "a.txt", os.fsync
    synced: list[tuple[str, bool]] = []

    def noted(handle: int) -> None:
        what = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "content"
        synced.append((what, path.exists()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    with atomic(path) as temporary:
        temporary.write_text("new")
    assert synced == [("content", False), ("folder", True)]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file_and_no_litter(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise error("stop")

    with pytest.raises(error, match="stop"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_exception_leaves_no_file_where_there_was_none(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_the_temporary_file_lies_beside_the_other_and_ends_like_it(tmp_path: Path) -> None:
    with atomic(tmp_path / "a.npy") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".npy"
        assert temporary.name.startswith(".")


def test_what_a_killed_process_left_is_gone_after_the_next_write(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with atomic(path) as temporary:
        name = temporary.name
    (tmp_path / name).write_text("half of what a killed process wanted to write")
    with atomic(path) as temporary:
        assert temporary.read_bytes() == b""
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077, 0o002])
def test_permissions_follow_the_umask(tmp_path: Path, mask: int) -> None:
    with umask(mask):
        (tmp_path / "ordinary.txt").write_text("a")
        with atomic(tmp_path / "atomic.txt") as temporary:
            temporary.write_text("a")
        assert os.umask(mask) == mask  # reading it has not changed it
    modes = [
        stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ordinary.txt", "atomic.txt")
    ]
    assert modes[0] == modes[1] == 0o666 & ~mask


def test_empty_folders_go_in_order_and_others_stay(tmp_path: Path) -> None:
    inner, outer, full = tmp_path / "a" / "b", tmp_path / "a", tmp_path / "c"
    inner.mkdir(parents=True)
    full.mkdir()
    (full / "kept.txt").touch()
    remove_empty(inner, outer, full, tmp_path / "missing")
    assert list(tmp_path.rglob("*")) == [full, full / "kept.txt"]


@pytest.mark.parametrize("size", [0, 3, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_the_hash_is_that_of_the_whole_content(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "a").write_bytes(content)
    assert digest(tmp_path / "a", "sha256") == hashlib.sha256(content).hexdigest()
