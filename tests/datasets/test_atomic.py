import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DatasetError

from infogan.datasets import AtomicDataset
from infogan.files import atomic, digest

Refused = Callable[[str], AbstractContextManager[None]]

JSON = "kedro_datasets.json.JSONDataset"
TEXT = "kedro_datasets.text.TextDataset"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "metrics.json"


def test_a_new_file_has_its_name_only_when_it_is_whole(path: Path) -> None:
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent == path.parent  # on one file system, where renaming is atomic
        assert temporary.suffix == ".json"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("failure", [ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_an_old_file_stays_as_it_is_when_writing_fails(
    path: Path, failure: type[BaseException]
) -> None:
    path.parent.mkdir()
    path.write_text("old")

    def fail() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise failure("midway")

    with pytest.raises(failure, match="midway"):
        fail()
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_of_the_system_names_the_file_and_keeps_its_kind(path: Path) -> None:
    def fail() -> None:
        with atomic(path):
            raise PermissionError(errno.EACCES, "Permission denied", "elsewhere")

    with pytest.raises(PermissionError, match=r"metrics\.json") as found:
        fail()
    assert found.value.errno == errno.EACCES


@pytest.fixture
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077], indirect=True)
def test_files_have_the_permissions_of_any_other_new_file(path: Path, umask: int) -> None:
    with atomic(path) as temporary:
        temporary.write_text("new")
    other = path.with_name("other")
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode


def test_the_mask_of_the_process_is_left_alone(path: Path) -> None:
    before = os.umask(0o022)
    with atomic(path) as temporary:
        temporary.write_text("new")
    assert os.umask(before) == 0o022


def test_a_hash_is_that_of_the_whole_file(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"abc" * 1_000_000)
    told = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout
    assert digest(path, "sha256") == told.split()[0]


def test_any_dataset_with_a_filepath_can_be_wrapped(path: Path) -> None:
    dataset = AtomicDataset(str(path), JSON)
    assert not dataset.exists()
    dataset.save({"error": 0.05, "codes": ["c1"], "none": None})
    assert dataset.exists()
    assert dataset.load() == {"error": 0.05, "codes": ["c1"], "none": None}
    assert dataset.path == path
    page = AtomicDataset(str(path.with_name("report.html")), TEXT)
    page.save("<p>1×28×28</p>")
    assert page.load() == "<p>1×28×28</p>"
    assert {found.name for found in path.parent.iterdir()} == {"metrics.json", "report.html"}


def test_the_wrapped_dataset_is_configured_as_in_a_catalog(path: Path) -> None:
    config = {"type": JSON, "save_args": {"indent": 2}}
    AtomicDataset(str(path), config).save({"a": 1})
    assert path.read_text() == '{\n  "a": 1\n}'
    assert config == {"type": JSON, "save_args": {"indent": 2}}


@pytest.mark.parametrize("data", [{"a": object()}, {"a": 1, "b": {1, 2}}])
def test_a_save_that_fails_keeps_the_old_file_and_leaves_no_litter(path: Path, data: Any) -> None:
    dataset = AtomicDataset(str(path), JSON)
    dataset.save({"a": 0})
    with pytest.raises(DatasetError, match="not JSON serializable"):
        dataset.save(data)
    assert dataset.load() == {"a": 0}
    assert list(path.parent.iterdir()) == [path]


def test_the_first_save_that_fails_leaves_nothing(path: Path) -> None:
    dataset = AtomicDataset(str(path), JSON)
    with pytest.raises(DatasetError, match="not JSON serializable"):
        dataset.save({"a": object()})
    assert not dataset.exists()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1}\n<<<<<<< HEAD', b"\xff\xfe{"])
def test_a_damaged_file_says_that_its_stage_has_to_run_again(
    path: Path, refused: Refused, content: bytes
) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with refused(r"metrics.json is damaged \(.+\): run the stage that writes it again"):
        AtomicDataset(str(path), JSON).load()


def test_a_missing_file_says_that_a_stage_has_to_run(path: Path, refused: Refused) -> None:
    with refused("metrics.json is missing: run the stage that writes it first"):
        AtomicDataset(str(path), JSON).load()


# A full disk, played by a limit on the length of files: the system refuses the same call.
FULL_DISK = """
import json, resource, sys
from pathlib import Path
import numpy as np
from infogan.datasets import ArraysDataset, AtomicDataset, RowsDataset, WeightsDataset
from infogan.datasets.values import Arrays, Rows, Weights

def each(make):
    return make(np.zeros((10, 8), np.float32)), make(np.ones((5_000, 8), np.float32))

root = Path(sys.argv[1])
kinds = {
    "array": (
        ArraysDataset(str(root / "array"), "images"),
        *each(lambda a: Arrays({"train": a})),
    ),
    "weights": (
        WeightsDataset(str(root / "weights" / "w.safetensors")),
        *each(lambda a: Weights({"a": a}, {})),
    ),
    "rows": (
        RowsDataset(str(root / "rows" / "h.csv")),
        *each(lambda a: Rows(("x",) * 8, [tuple(row) for row in a.tolist()])),
    ),
    "json": (
        AtomicDataset(str(root / "json" / "m.json"), "kedro_datasets.json.JSONDataset"),
        *each(lambda a: a.tolist()),
    ),
}

def files(kind):
    return {path.name: path.read_bytes().hex() for path in (root / kind).iterdir()}

for dataset, small, _ in kinds.values():
    dataset.save(small)
before = {kind: files(kind) for kind in kinds}
resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, 16_384))
found = {}
for kind, (dataset, _, large) in kinds.items():
    told, causes = None, []
    try:
        dataset.save(large)
    except Exception as error:
        told, cause = str(error), error
        while cause is not None:
            causes += [name.__name__ for name in type(cause).__mro__]
            cause = cause.__cause__
    found[kind] = {
        "told": told, "causes": causes, "kept": files(kind) == before[kind],
        "files": sorted(files(kind)),
    }
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What became of each kind of save."""
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path_factory.mktemp("full"))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("kind", ["array", "weights", "rows", "json"])
def test_a_full_disk_leaves_the_old_file_and_no_litter(
    full_disk: dict[str, Any], kind: str
) -> None:
    assert full_disk[kind]["told"] is not None
    assert full_disk[kind]["kept"], full_disk[kind]
    assert len(full_disk[kind]["files"]) == 1


@pytest.mark.parametrize("kind", ["array", "weights", "rows", "json"])
def test_a_full_disk_is_told_as_an_error_of_the_system(
    full_disk: dict[str, Any], kind: str
) -> None:
    assert "OSError" in full_disk[kind]["causes"], full_disk[kind]


@pytest.mark.parametrize("kind", ["array", "weights", "rows"])
def test_a_full_disk_is_told_with_the_name_of_the_file(
    full_disk: dict[str, Any], kind: str
) -> None:
    assert f"/{full_disk[kind]['files'][0]}'" in full_disk[kind]["told"]
