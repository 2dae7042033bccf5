import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import yaml
from kedro.io import DatasetError

from infogan.datasets import ArraysDataset
from infogan.datasets.values import Arrays
from infogan.errors import UserError

ROOT = Path(__file__).parents[2]
Refused = Callable[[str], AbstractContextManager[None]]


def images(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 1, 4, 4), dtype=np.uint8)


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


@pytest.mark.parametrize("rows_a_block", [1, 2, 7, 100])
def test_files_are_those_of_numpy_however_large_a_block_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_a_block: int
) -> None:
    monkeypatch.setattr("infogan.datasets.arrays._BLOCK_BYTES", 16 * rows_a_block)
    for name, array in (
        ("images", images(7)),
        ("labels", np.arange(5)),
        ("none", np.empty((0, 2))),
    ):
        ArraysDataset(str(tmp_path), name).save(Arrays({"train": array}))
        np.save(tmp_path / "expected.npy", array)
        expected = (tmp_path / "expected.npy").read_bytes()
        assert (tmp_path / f"train_{name}.npy").read_bytes() == expected


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


@pytest.mark.parametrize(
    "environment", sorted(each.parent.name for each in (ROOT / "conf").glob("*/globals.yml"))
)
def test_the_command_is_of_the_environment_whose_data_folder_lacks_the_file(
    tmp_path: Path, refused: Refused, environment: str
) -> None:
    written = yaml.safe_load((ROOT / "conf" / environment / "globals.yml").read_text())
    (tmp_path / "conf" / environment).mkdir(parents=True)
    folder = tmp_path / written["data_root"] / "05_model_input" / "mnist"
    named = "" if environment == "base" else f" --env={environment}"
    with refused(f"run `kedro run{named} --pipelines=mnist.ingestion`"):
        ArraysDataset(str(folder), "images").load()


def test_a_data_folder_of_ones_own_is_no_environment(tmp_path: Path, refused: Refused) -> None:
    with refused("run `kedro run --pipelines=mnist.ingestion`"):
        ArraysDataset(str(tmp_path / "data" / "big" / "05_model_input" / "mnist"), "images").load()


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
from infogan.datasets.values import Arrays
dataset = ArraysDataset(sys.argv[1], "images")
dataset.save(Arrays({"train": np.zeros((4, 100), np.uint8)}))
try:
    dataset.save(Arrays({"train": np.full((100, 10_000), 7, np.uint8)}))
except Exception as error:
    print(repr(error.__cause__))
print(sorted(path.name for path in Path(sys.argv[1]).iterdir()))
"""


def test_an_array_that_fills_the_disk_ends_with_an_error_and_not_with_a_signal(
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
