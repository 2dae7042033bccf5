import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from kedro.io import DatasetError

from infogan.datasets import ArraysDataset
from infogan.datasets.values import Arrays, ArrayStream
from infogan.errors import UserError

Refused = Callable[[str], AbstractContextManager[None]]


def images(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 1, 4, 4), dtype=np.uint8)


def stream(array: np.ndarray) -> ArrayStream:
    return ArrayStream(array.shape, array.dtype.name, iter(array))


@pytest.fixture
def dataset(tmp_path: Path) -> ArraysDataset:
    """Holds seven train images and three test images, and nothing else."""
    made = ArraysDataset(str(tmp_path / "mnist"), "images")
    made.save(Arrays({"train": images(7), "test": images(3)}))
    return made


def files(tmp_path: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (tmp_path / "mnist").iterdir()}


def test_arrays_are_read_as_they_were_written(dataset: ArraysDataset) -> None:
    found = dataset.load()
    np.testing.assert_array_equal(found["train"], images(7), strict=True)
    np.testing.assert_array_equal(found["test"], images(3), strict=True)


def test_a_stream_of_rows_makes_the_same_file_as_the_array(
    dataset: ArraysDataset, tmp_path: Path
) -> None:
    before = files(tmp_path)
    dataset.save(Arrays({"train": stream(images(7)), "test": stream(images(3))}))
    assert files(tmp_path) == before
    assert set(before) == {"train_images.npy", "test_images.npy"}


def test_labels_may_be_none_at_all(tmp_path: Path) -> None:
    labels = ArraysDataset(str(tmp_path), "labels")
    labels.save(Arrays({"train": np.arange(3), "test": np.empty(0, np.int64)}))
    found = labels.load()
    np.testing.assert_array_equal(found["train"], np.arange(3), strict=True)
    assert found["test"].shape == (0,)


def test_loaded_arrays_stay_on_disk_and_cannot_be_written_to(dataset: ArraysDataset) -> None:
    for split in ("train", "test"):
        array = dataset.load()[split]
        assert isinstance(array, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_a_stream_is_read_a_row_at_a_time(tmp_path: Path) -> None:
    taken: list[int] = []

    def rows() -> Iterator[np.ndarray]:
        for index, row in enumerate(images(5)):
            taken.append(index)
            yield row

    made = ArrayStream((5, 1, 4, 4), "uint8", rows())
    assert taken == []
    ArraysDataset(str(tmp_path), "images").save(Arrays({"train": made}))
    assert taken == [0, 1, 2, 3, 4]


def test_a_stream_has_to_be_saved_before_it_is_used() -> None:
    with pytest.raises(AssertionError, match="train has not been saved and loaded yet"):
        Arrays({"train": stream(images(2))})["train"]


def test_a_stream_that_fails_midway_leaves_the_old_files_and_no_litter(
    dataset: ArraysDataset, tmp_path: Path
) -> None:
    before = files(tmp_path)

    def rows() -> Iterator[np.ndarray]:
        yield from images(3)
        raise UserError("image 3 is damaged")

    with pytest.raises(DatasetError, match="image 3 is damaged"):
        dataset.save(Arrays({"train": ArrayStream((7, 1, 4, 4), "uint8", rows())}))
    assert files(tmp_path) == before


@pytest.mark.parametrize("announced", [4, 8])
def test_a_stream_that_breaks_its_word_about_its_length_leaves_the_old_files(
    dataset: ArraysDataset, tmp_path: Path, announced: int
) -> None:
    before = files(tmp_path)
    made = ArrayStream((announced, 1, 4, 4), "uint8", iter(images(6)))
    with pytest.raises(DatasetError):
        dataset.save(Arrays({"train": made}))
    assert files(tmp_path) == before


def test_loaded_arrays_survive_that_their_file_is_replaced(dataset: ArraysDataset) -> None:
    old = dataset.load()["train"]
    dataset.save(Arrays({"train": images(5)}))
    np.testing.assert_array_equal(old, images(7))
    np.testing.assert_array_equal(dataset.load()["train"], images(5))


def test_a_missing_file_names_the_command_that_makes_it(
    dataset: ArraysDataset, tmp_path: Path, refused: Refused
) -> None:
    assert dataset.exists()
    (tmp_path / "mnist" / "test_images.npy").unlink()
    assert not dataset.exists()
    with refused("test_images.npy is missing: run `kedro run --pipelines=mnist.ingestion`"):
        dataset.load()


def test_a_file_cut_anywhere_is_refused_by_name(
    dataset: ArraysDataset, tmp_path: Path, refused: Refused
) -> None:
    path = tmp_path / "mnist" / "train_images.npy"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with refused("train_images.npy is damaged .*: delete it and run ingestion again"):
            dataset.load()


def test_a_damaged_header_is_refused_by_name_or_harmless(
    dataset: ArraysDataset, tmp_path: Path
) -> None:
    path = tmp_path / "mnist" / "train_images.npy"
    whole = path.read_bytes()
    header = len(whole) - 7 * 16
    others = {}
    for place in range(8 * header):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            dataset.load()
        except DatasetError as error:
            if not isinstance(error.__cause__, UserError):
                others[place] = repr(error.__cause__)
    assert others == {}


FULL_DISK = """
import sys
import numpy as np
from pathlib import Path
from infogan.datasets import ArraysDataset
from infogan.datasets.values import Arrays, ArrayStream
dataset = ArraysDataset(sys.argv[1], "images")
dataset.save(Arrays({"train": np.zeros((4, 100), np.uint8)}))
rows = (np.full(10_000, 7, np.uint8) for _ in range(100))
try:
    dataset.save(Arrays({"train": ArrayStream((100, 10_000), "uint8", rows)}))
except Exception as error:
    print(repr(error.__cause__))
print(sorted(path.name for path in Path(sys.argv[1]).iterdir()))
"""


def test_a_stream_that_fills_the_disk_ends_with_an_error_and_not_with_a_signal(
    tmp_path: Path,
) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare, to mount a small disk that nobody else sees")
    script = 'mount -t tmpfs -o size=256k none "$1" || exit 77; exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", tmp_path, sys.executable, FULL_DISK],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("this machine allows no private mounts")
    assert done.returncode == 0, f"ended by signal {-done.returncode}: {done.stderr}"
    assert "OSError" in done.stdout
    assert "['train_images.npy']" in done.stdout
