import hashlib
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from infogan.datasets.archives import folder_members
from infogan.datasets.raw import origin
from infogan.errors import UserError
from infogan.options import Source

Refused = Callable[[str], AbstractContextManager[None]]

SHA256 = hashlib.sha256(b"abc").hexdigest()
PINS = {
    "sha256": {"sha256": SHA256},
    "md5": {"md5": hashlib.md5(b"abc").hexdigest(), "bytes": 3},
    "bytes": {"bytes": 3},
    "nothing": {},
}


def source(**fields: Any) -> Source:
    return Source.model_validate({"files": [], "addresses": [], **fields})


@pytest.mark.parametrize(("pin", "known"), [(pin, "5" in pin or "2" in pin) for pin in PINS])
def test_a_file_is_told_by_its_hash_and_whether_that_is_the_pinned_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, pin: str, known: bool
) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(b"abc")
    with caplog.at_level(logging.WARNING):
        told = origin(source(files=[{"name": "a.gz", **PINS[pin]}]), path)
    assert told == {"a.gz": SHA256 if known else f"{SHA256} (not verified)"}
    assert ("a.gz is not verified: the source pins no hash" in caplog.text) is not known


@pytest.mark.parametrize("where", ["files", "samples"])
def test_a_file_that_is_not_the_pinned_one_is_refused(tmp_path: Path, where: str) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(b"abd")
    with pytest.raises(UserError, match=rf"a.gz has sha256 \w+, not {SHA256}: put the original"):
        origin(source(**{where: [{"name": "a.gz", "sha256": SHA256}]}), path)


def test_a_file_may_be_the_sample_or_the_whole_of_the_same_name(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(b"abc")
    whole, sample = {"name": "a.gz", "sha256": "0" * 64}, {"name": "a.gz", "sha256": SHA256}
    assert origin(source(files=[whole], samples=[sample]), path) == {"a.gz": SHA256}


def test_a_folder_is_told_by_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for name in ("a", "b"):
        (tmp_path / "set" / name).write_bytes(b"abc")
    members = folder_members(tmp_path, ["set/a", "set/b"])
    assert origin(source(), members) == {"set": "2 files, 6 bytes"}
    told = origin(source(files=[{"name": "set.zip", "sha256": SHA256}]), members)
    assert told == {"set": "2 files, 6 bytes (not verified)"}


def test_what_a_person_brings_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert origin(source(path="~/x"), tmp_path / "a") == {"path": "~/x", "a": SHA256}
