from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from infogan.datasets import Svhn
from infogan.datasets.svhn import read_mat
from infogan.datasets.values import RawImages
from infogan.errors import UserError
from infogan.files import digest
from infogan.options import Source

Refused = Callable[[str], AbstractContextManager[None]]

SAMPLES = Path(__file__).parents[3] / "shared" / "datasets" / "svhn"
WHOLE = ("train_32x32.mat", "test_32x32.mat", "extra_32x32.mat")


def variables(count: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(count)
    return {
        "X": random.integers(0, 256, (32, 32, 3, count), dtype=np.uint8),
        "y": (np.arange(count, dtype=np.uint8) % 10 + 1)[:, None],
    }


def write(path: Path, count: int = 12, **changes: Any) -> Path:
    """A file as MATLAB 5 writes it, with the named variables changed or (None) left out."""
    held = {**variables(count), **changes}
    held = {name: value for name, value in held.items() if value is not None}
    savemat(path, held, do_compression=True)
    return path


def source(*files: str, samples: tuple[str, ...] = (), **fields: Any) -> Source:
    return Source.model_validate(
        {
            "files": [{"name": name} for name in files],
            "samples": [{"name": name} for name in samples],
            "addresses": [],
            **fields,
        }
    )


def read(folder: Path, of: Source) -> RawImages:
    return Svhn(str(folder)).load()(of)


def test_what_was_written_is_read_back_image_by_image(tmp_path: Path) -> None:
    write(tmp_path / "train_32x32.mat")
    split = read(tmp_path, source(*WHOLE)).splits["train"]
    written = variables(12)
    assert isinstance(split.images, np.ndarray)
    assert split.images.shape == (12, 3, 32, 32)
    for number in range(12):
        expected = np.moveaxis(written["X"][..., number], -1, 0)
        np.testing.assert_array_equal(split.images[number], expected, strict=True)
    assert split.factors is None
    assert split.names is None


@pytest.mark.parametrize("kind", [np.uint8, np.float64, np.int32])
def test_label_ten_is_the_digit_zero(tmp_path: Path, kind: type) -> None:
    labels = np.array([[5], [10], [1], [9]], kind)
    split = read_mat(write(tmp_path / "train_32x32.mat", 4, y=labels))
    np.testing.assert_array_equal(split.labels, np.array([5, 0, 1, 9], np.int64), strict=True)


def test_there_are_the_splits_whose_files_are_there(tmp_path: Path) -> None:
    write(tmp_path / "train_32x32.mat", 4)
    write(tmp_path / "extra_32x32.mat", 5)
    splits = read(tmp_path, source(*WHOLE)).splits
    assert {name: len(split.images) for name, split in splits.items()} == {"train": 4, "extra": 5}


def test_a_file_that_the_source_does_not_list_is_no_part_of_the_data(tmp_path: Path) -> None:
    write(tmp_path / "train_32x32.mat", 4)
    write(tmp_path / "extra_32x32.mat", 5)
    assert set(read(tmp_path, source("train_32x32.mat")).splits) == {"train"}


def test_a_sample_stands_in_for_the_split_it_is_named_after(tmp_path: Path) -> None:
    sample = "test_32x32_first10000.mat"
    write(tmp_path / sample, 4)
    write(tmp_path / "train_32x32.mat", 5)
    splits = read(tmp_path, source(*WHOLE, samples=(sample,))).splits
    assert {name: len(split.images) for name, split in splits.items()} == {"test": 4, "train": 5}
    write(tmp_path / "test_32x32.mat", 6)
    assert len(read(tmp_path, source(*WHOLE, samples=(sample,))).splits["test"].images) == 6


def test_a_persons_own_folder_needs_no_list(tmp_path: Path) -> None:
    write(tmp_path / "extra_32x32.mat", 5)
    found = read(tmp_path / "elsewhere", source(path=str(tmp_path)))
    assert set(found.splits) == {"extra"}


def test_what_was_opened_is_told_and_not_what_is_listed(tmp_path: Path) -> None:
    sample = "test_32x32_first10000.mat"
    path = write(tmp_path / sample, 4)
    listed = source(*WHOLE, samples=(sample,))
    assert read(tmp_path, listed).origin == {sample: f"{digest(path, 'sha256')} (not verified)"}


def test_a_damaged_file_in_place_of_the_published_one_is_not_read(
    tmp_path: Path, refused: Refused
) -> None:
    write(tmp_path / "test_32x32.mat", 4)
    pinned = {"name": "test_32x32.mat", "md5": "0" * 32}
    with refused(r"test_32x32.mat has md5 \w+, not 0{32}: put the original there"):
        read(tmp_path, Source.model_validate({"files": [pinned], "addresses": []}))


def test_a_folder_without_any_split_is_refused(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "notes.txt").write_text("")
    with refused(
        r"has none of the files that the source lists for SVHN \(train_32x32.mat, test_.*, "
        "extra_.*: put at least one of them there"
    ):
        read(tmp_path, source(*WHOLE))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"y": None}, "holds X, but SVHN's variables are X .* and y"),
        ({"X": None, "y": None, "Z": np.ones(3)}, "holds Z, but"),
        ({"X": None, "y": None}, "holds nothing, but"),
        ({"X": np.ones((32, 32, 3, 12))}, "holds X of double 32x32x3x12, but .* uint8 32x32x3xN"),
        ({"X": np.ones((12, 32, 32, 3), np.uint8)}, "holds X of uint8 12x32x32x3, but"),
        ({"X": np.ones((32, 32, 12), np.uint8)}, "holds X of uint8 32x32x12, but"),
        ({"X": np.ones((28, 28, 3, 12), np.uint8)}, "holds X of uint8 28x28x3x12, but"),
        ({"X": "pixels"}, "holds X of char"),
        ({"y": np.ones((1, 12), np.uint8)}, "holds y of uint8 1x12, but SVHN's is Nx1"),
        ({"y": np.ones((12, 1), complex) * 1j}, None),
        ({"y": np.ones((12, 1), bool)}, "holds y of logical 12x1, but"),
        ({"y": np.ones((11, 1), np.uint8)}, "holds 12 images, but 11 labels"),
        ({"y": np.zeros((12, 1), np.uint8)}, "holds the label 0, but SVHN's are 1 to 10"),
        ({"y": np.full((12, 1), 11, np.uint8)}, "holds the label 11, but"),
        ({"y": np.full((12, 1), 1.5)}, "holds the label 1.5, but"),
        ({"y": np.full((12, 1), np.nan)}, "holds the label nan, but"),
    ],
)
def test_other_contents_are_refused_with_what_they_are(
    tmp_path: Path, changes: dict[str, Any], told: str | None
) -> None:
    path = write(tmp_path / "train_32x32.mat", **changes)
    with pytest.raises(UserError, match=f"train_32x32.mat {told or ''}"):
        read_mat(path)


@pytest.mark.parametrize(
    "content",
    [
        b"\x89HDF\r\n\x1a\n" + bytes(200),
        b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512) + b"\x89HDF\r\n\x1a\n" + bytes(200),
    ],
    ids=["bare", "with MATLAB's header"],
)
def test_an_hdf5_file_is_refused_as_matlab_7_3(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "train_32x32.mat"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"is a MATLAB 7.3 file \(HDF5\), but .* again with -v7"):
        read_mat(path)


@pytest.mark.parametrize("compressed", [True, False])
def test_a_file_cut_anywhere_is_refused_by_name(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "train_32x32.mat"
    savemat(path, variables(1 + 1), do_compression=compressed)
    whole = path.read_bytes()
    for length in [*range(0, 200, 5), *range(200, len(whole), 211), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"train_32x32\.mat"):
            read_mat(path)


def test_a_page_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train_32x32.mat"
    path.write_bytes(b"<html>quota exceeded</html>" * 20)
    with pytest.raises(UserError, match=r"train_32x32.mat is cut short or damaged .*, or no MAT"):
        read_mat(path)


def test_a_file_with_wrong_bytes_is_refused_in_a_sentence_or_read(tmp_path: Path) -> None:
    path, random = write(tmp_path / "train_32x32.mat", 2), np.random.default_rng(0)
    whole = path.read_bytes()
    refusals = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] = random.integers(256)
        damaged[random.integers(124, 200)] = random.integers(256)
        path.write_bytes(damaged)
        try:
            assert read_mat(path).images[0].shape == (3, 32, 32)
        except UserError:
            refusals += 1
    assert refusals > 200


@pytest.mark.skipif(not SAMPLES.exists(), reason="the real sample is not here")
def test_the_real_sample_is_read_with_its_published_labels() -> None:
    found = read(SAMPLES, source(*WHOLE, samples=("test_32x32_first10000.mat",)))
    assert set(found.splits) == {"test"}
    split = found.splits["test"]
    assert np.shape(split.images) == (10_000, 3, 32, 32)
    assert split.labels is not None
    assert split.labels[:5].tolist() == [5, 2, 1, 0, 6]
    counts = [684, 1968, 1590, 1104, 964, 909, 773, 767, 621, 620]
    assert np.bincount(split.labels).tolist() == counts
