import gzip
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn.datasets import load_digits

from infogan.datasets import Digits
from infogan.errors import UserError
from infogan.files import digest
from infogan.options import Source

SOURCE = Source(files=(), addresses=())

Refused = Callable[[str], AbstractContextManager[None]]

LINE = ",".join(["0", "16", "8", "1"] * 16 + ["7"]) + "\n"


def test_the_pinned_file_is_the_one_that_scikit_learn_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INFOGAN_MIRROR", raising=False)
    written = Path(__file__).parents[2] / "conf" / "base" / "parameters_digits.yml"
    source = yaml.safe_load(written.read_text())["digits"]["source"]
    dataset = Digits(str(tmp_path / "digits"))
    dataset.save(Source.model_validate(source))

    raw = dataset.load()(SOURCE).splits
    oracle = load_digits()
    assert set(raw) == {"all"}
    images, labels = np.asarray(raw["all"].images), raw["all"].labels
    assert images.shape == (1797, 1, 8, 8)
    assert images.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 255)
    np.testing.assert_allclose(images[:, 0], oracle.images * 255 / 16, atol=0.5)
    assert labels is not None
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, oracle.target)


def test_sixteen_levels_are_stretched_to_the_full_range(tmp_path: Path) -> None:
    (tmp_path / "digits.csv.gz").write_bytes(gzip.compress(LINE.encode()))
    split = Digits(str(tmp_path)).load()(SOURCE).splits["all"]
    np.testing.assert_array_equal(split.images[0].ravel()[:4], [0, 255, 128, 16])
    np.testing.assert_array_equal(split.labels, [7])


def test_a_persons_own_file_is_read_where_it_is_and_told_by_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "digits.csv.gz"
    path.write_bytes(gzip.compress(LINE.encode()))
    source = Source(files=(), addresses=(), path=str(tmp_path))
    found = Digits(str(tmp_path / "elsewhere")).load()(source)
    assert found.origin == {"path": str(tmp_path), path.name: digest(path, "sha256")}


def test_a_file_cut_anywhere_is_refused_by_name(tmp_path: Path, refused: Refused) -> None:
    whole = gzip.compress((LINE * 3).encode())
    for length in range(1, len(whole)):
        (tmp_path / "digits.csv.gz").write_bytes(whole[:length])
        with refused("digits.csv.gz is damaged .*: delete it and fetch again"):
            Digits(str(tmp_path)).load()(SOURCE)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(gzip.compress(b"", mtime=0), id="nothing inside"),
        pytest.param(gzip.compress(b"\n", mtime=0), id="an empty line inside"),
    ],
)
def test_a_file_without_digits_is_refused_by_name(
    tmp_path: Path, refused: Refused, content: bytes
) -> None:
    (tmp_path / "digits.csv.gz").write_bytes(content)
    with refused("digits.csv.gz"):
        Digits(str(tmp_path)).load()(SOURCE)


def test_a_flipped_bit_is_noticed_or_harmless(tmp_path: Path) -> None:
    whole = gzip.compress((LINE * 3).encode(), mtime=0)
    (tmp_path / "digits.csv.gz").write_bytes(whole)
    images = Digits(str(tmp_path)).load()(SOURCE).splits["all"].images
    refusals = 0
    for place in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        (tmp_path / "digits.csv.gz").write_bytes(damaged)
        try:
            found = Digits(str(tmp_path)).read(tmp_path, SOURCE)
        except UserError:
            refusals += 1
        else:  # a date, or padding
            np.testing.assert_array_equal(found.splits["all"].images, images, f"bit {place}")
    assert refusals > 8 * (len(whole) - 11)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (gzip.compress(b"<html></html>", mtime=0), "is damaged"),
        (gzip.compress(b"\xff\xfe", mtime=0), "is damaged"),
        (gzip.compress(LINE.encode() + b"1,2\n", mtime=0), "is damaged"),
        (gzip.compress(b"1,2\n", mtime=0), "has 2 columns, not 65"),
        (LINE.encode(), "is damaged .*Not a gzipped file"),
    ],
    ids=["a page", "no text", "a short line", "two columns", "not compressed"],
)
def test_what_is_no_table_of_digits_is_refused(
    tmp_path: Path, refused: Refused, content: bytes, problem: str
) -> None:
    (tmp_path / "digits.csv.gz").write_bytes(content)
    with refused(f"digits.csv.gz {problem}"):
        Digits(str(tmp_path)).load()(SOURCE)


def test_a_missing_file_names_the_command(tmp_path: Path, refused: Refused) -> None:
    with refused("has no digits.csv.gz: put it there, or run the ingestion"):
        Digits(str(tmp_path / "digits")).load()(SOURCE)
