import gzip
import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from infogan.datasets import Mnist
from infogan.datasets.mnist import read_idx
from infogan.errors import UserError
from infogan.files import digest
from infogan.options import Source

SOURCE = Source(files=(), addresses=())

Refused = Callable[[str], AbstractContextManager[None]]
Idx = Callable[[np.ndarray], bytes]
WriteMnist = Callable[[Path, str, np.ndarray, np.ndarray, bool], None]

NUMBERS = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)


def digits(count: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(count)
    return (
        generator.integers(0, 256, (count, 4, 5), dtype=np.uint8),
        generator.integers(0, 10, count, dtype=np.uint8),
    )


@pytest.mark.parametrize("shape", [(5,), (3, 2, 2), (1, 1, 1), (0, 28, 28)])
@pytest.mark.parametrize("compressed", [False, True])
def test_what_was_written_as_idx_is_read_back(
    tmp_path: Path, idx: Idx, shape: tuple[int, ...], compressed: bool
) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(idx(array)) if compressed else idx(array))
    found = read_idx(path, len(shape))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_cut_anywhere_is_refused_by_name(
    tmp_path: Path, idx: Idx, compressed: bool
) -> None:
    path = tmp_path / "images.gz"
    whole = gzip.compress(idx(NUMBERS)) if compressed else idx(NUMBERS)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"images\.gz"):
            read_idx(path, 3)


def test_a_compressed_file_with_a_flipped_bit_is_refused_or_harmless(
    tmp_path: Path, idx: Idx
) -> None:
    path = tmp_path / "images.gz"
    whole = gzip.compress(idx(NUMBERS), mtime=0)
    refusals = 0
    for place in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = read_idx(path, 3)
        except UserError:
            refusals += 1
        else:  # a date, or padding
            np.testing.assert_array_equal(found, NUMBERS, f"bit {place}")
    assert refusals > 8 * (len(whole) - 10)


def test_a_plain_file_with_a_flipped_bit_in_its_header_is_refused(
    tmp_path: Path, idx: Idx
) -> None:
    path = tmp_path / "images"
    for place in range(8 * 16):
        damaged = bytearray(idx(NUMBERS))
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="images"):
            read_idx(path, 3)


def test_a_foreign_file_is_refused_with_the_bytes_it_begins_with(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(b"<html>quota exceeded</html>")
    expected = (
        "not an IDX file of 3-dimensional bytes: it begins with 3c 68 74 6d, not 00 00 08 03"
    )
    with pytest.raises(UserError, match=expected):
        read_idx(path, 3)


def test_an_empty_file_begins_with_nothing(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(b"")
    with pytest.raises(UserError, match="it begins with nothing"):
        read_idx(path, 3)


def test_labels_are_not_taken_for_images(tmp_path: Path, idx: Idx) -> None:
    path = tmp_path / "labels"
    path.write_bytes(idx(NUMBERS.ravel()))
    with pytest.raises(UserError, match="begins with 00 00 08 01, not 00 00 08 03"):
        read_idx(path, 3)


def test_bytes_of_another_type_are_refused(tmp_path: Path, idx: Idx) -> None:
    path = tmp_path / "floats"
    path.write_bytes(b"\0\0\x0d\x03" + idx(NUMBERS)[4:])
    with pytest.raises(UserError, match="begins with 00 00 0d 03"):
        read_idx(path, 3)


def test_a_header_that_ends_early_is_named_as_such(tmp_path: Path, idx: Idx) -> None:
    path = tmp_path / "images"
    path.write_bytes(idx(NUMBERS)[:11])
    with pytest.raises(UserError, match="ends within its header: 11 of 16 bytes"):
        read_idx(path, 3)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_payload_of_another_length_is_refused_with_both_lengths(
    tmp_path: Path, idx: Idx, change: int, compressed: bool
) -> None:
    path = tmp_path / "images"
    content = idx(NUMBERS)[:-1] if change < 0 else idx(NUMBERS) + b"\1"
    path.write_bytes(gzip.compress(content) if compressed else content)
    expected = f"announces 3 x 2 x 2 bytes and should be 28 bytes long, but has {28 + change}"
    with pytest.raises(UserError, match=expected):
        read_idx(path, 3)


def test_sizes_beyond_any_memory_are_refused_by_arithmetic(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(b"\0\0\x08\x03" + b"\xff" * 12)
    with pytest.raises(UserError, match="announces 4294967295 x 4294967295 x 4294967295"):
        read_idx(path, 3)


@pytest.mark.parametrize("compressed", [False, True])
def test_both_splits_are_read_with_their_labels(
    tmp_path: Path, write_mnist: WriteMnist, compressed: bool
) -> None:
    made = {"train": digits(7), "test": digits(3)}
    write_mnist(tmp_path, "train", *made["train"], compressed)
    write_mnist(tmp_path, "t10k", *made["test"], compressed)
    found = Mnist(str(tmp_path)).load()(SOURCE)
    assert set(found.splits) == {"train", "test"}
    for name, (images, labels) in made.items():
        split = found.splits[name]
        assert split.labels is not None
        assert split.labels.dtype == np.int64
        assert split.images[0].dtype == np.uint8
        np.testing.assert_array_equal(np.stack(list(split.images)), images[:, None])
        np.testing.assert_array_equal(split.labels, labels)
    assert found.origin == {path.name: digest(path, "sha256") for path in tmp_path.iterdir()}


def test_images_and_labels_of_different_counts_are_refused(
    tmp_path: Path, write_mnist: WriteMnist, refused: Refused
) -> None:
    write_mnist(tmp_path, "train", digits(7)[0], digits(6)[1], True)
    write_mnist(tmp_path, "t10k", *digits(3), True)
    with refused("train-images-idx3-ubyte.gz holds 7 images, but .*labels.*gz 6 labels"):
        Mnist(str(tmp_path)).load()(SOURCE)


def test_a_missing_file_names_both_its_forms_and_the_command(
    tmp_path: Path, write_mnist: WriteMnist, refused: Refused
) -> None:
    folder = tmp_path / "mnist"
    write_mnist(folder, "train", *digits(7), True)
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    with refused(
        "has no train-labels-idx1-ubyte.gz or train-labels-idx1-ubyte: "
        "put it there, or run the ingestion"
    ):
        Mnist(str(folder)).load()(SOURCE)


def test_saving_a_source_fetches_from_the_mirror_that_the_environment_names(
    tmp_path: Path, write_mnist: WriteMnist, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = tmp_path / "mirror"
    write_mnist(mirror / "mnist", "train", *digits(7), True)
    write_mnist(mirror / "mnist", "t10k", *digits(3), True)
    files = [
        {
            "name": path.name,
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in (mirror / "mnist").iterdir()
    ]
    monkeypatch.setenv("INFOGAN_MIRROR", str(mirror))
    dataset = Mnist(str(tmp_path / "raw" / "mnist"))
    assert not dataset.exists()
    dataset.save(Source.model_validate({"files": files, "addresses": []}))
    assert dataset.exists()
    np.testing.assert_array_equal(dataset.load()(SOURCE).splits["test"].images[:, 0], digits(3)[0])
