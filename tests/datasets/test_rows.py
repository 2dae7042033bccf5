import csv
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from kedro.io import DatasetError

from infogan.datasets import RowsDataset
from infogan.datasets.values import Rows

Refused = Callable[[str], AbstractContextManager[None]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.csv"


def test_rows_with_gaps_are_read_as_they_were_written(path: Path) -> None:
    made = Rows(("step", "loss_d", "bound.c1"), [(1.0, 0.5, None), (2.0, None, -1.25)])
    dataset = RowsDataset(str(path))
    assert not dataset.exists()
    dataset.save(made)
    assert dataset.exists()
    assert dataset.load() == made


def test_a_table_without_rows_keeps_its_columns(path: Path) -> None:
    RowsDataset(str(path)).save(Rows(("step", "loss"), []))
    assert RowsDataset(str(path)).load() == Rows(("step", "loss"), [])


def test_seven_digits_are_written_which_is_what_float32_holds(path: Path) -> None:
    RowsDataset(str(path)).save(Rows(("a", "b", "c"), [(1 / 3, 123456789.0, 5000.0)]))
    assert path.read_text() == "a,b,c\n0.3333333,1.234568e+08,5000\n"


def test_whole_numbers_such_as_seeds_keep_all_their_digits(path: Path) -> None:
    seeds = [20261231, 20261234, 2**31 - 1]
    RowsDataset(str(path)).save(Rows(("seed",), [(seed,) for seed in seeds]))
    assert RowsDataset(str(path)).load().column("seed").tolist() == seeds


def test_numbers_come_back_within_half_a_seventh_digit(path: Path) -> None:
    generator = np.random.default_rng(0)
    numbers = generator.normal(size=200) * 10.0 ** generator.integers(-30, 30, 200)
    RowsDataset(str(path)).save(Rows(("x",), [(float(number),) for number in numbers]))
    np.testing.assert_allclose(RowsDataset(str(path)).load().column("x"), numbers, rtol=5.1e-7)


def test_infinities_and_nan_survive(path: Path) -> None:
    numbers = (float("inf"), float("-inf"), float("nan"))
    RowsDataset(str(path)).save(Rows(("a", "b", "c"), [numbers]))
    np.testing.assert_array_equal(RowsDataset(str(path)).load().rows[0], numbers)


def test_what_was_loaded_and_saved_again_has_the_same_bytes(path: Path) -> None:
    numbers = np.random.default_rng(0).normal(size=(50, 2)).tolist()
    dataset = RowsDataset(str(path))
    dataset.save(Rows(("a", "b"), [tuple(row) for row in numbers]))
    before = path.read_bytes()
    dataset.save(dataset.load())
    assert path.read_bytes() == before


def test_a_column_is_nan_where_nothing_was_measured(path: Path) -> None:
    rows = Rows(("step", "bound"), [(1.0, None), (2.0, 0.5), (3.0, None)])
    np.testing.assert_array_equal(rows.column("bound"), [np.nan, 0.5, np.nan])
    np.testing.assert_array_equal(rows.column("step"), [1.0, 2.0, 3.0])
    RowsDataset(str(path)).save(rows)
    loaded = RowsDataset(str(path)).load().column("bound")
    np.testing.assert_array_equal(loaded, rows.column("bound"), strict=True)


def test_other_programs_read_the_file_as_csv(path: Path) -> None:
    RowsDataset(str(path)).save(Rows(("step", "bound"), [(1.0, None), (2.0, 0.5)]))
    with path.open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"step": "1", "bound": ""},
            {"step": "2", "bound": "0.5"},
        ]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"step,loss\n1,abc\n", id="a word"),
        pytest.param(b"step,loss\n1,\x00\n", id="a zero byte"),
        pytest.param(b"\xff\xfe\x00step\n", id="not text"),
        pytest.param(b"step,loss\n1,0.5\n2\n", id="a row too short"),
        pytest.param(b"step,loss\n1,0.5,7\n", id="a row too long"),
        pytest.param(b'step,loss\n1,"2\n', id="an open quotation"),
    ],
)
def test_a_damaged_file_is_refused_by_name(path: Path, refused: Refused, content: bytes) -> None:
    path.write_bytes(content)
    with refused("history.csv is not a table of numbers"):
        RowsDataset(str(path)).load()


def test_a_missing_file_says_what_makes_it(path: Path, refused: Refused) -> None:
    with refused("history.csv is missing: run the stage that writes it first"):
        RowsDataset(str(path)).load()


def test_a_save_that_fails_midway_leaves_the_old_file_and_no_litter(path: Path) -> None:
    dataset = RowsDataset(str(path))
    dataset.save(Rows(("a",), [(1.0,)]))
    before = path.read_bytes()
    with pytest.raises(DatasetError, match="format"):
        dataset.save(Rows(("a",), [(2.0,), ([],)]))  # type: ignore[list-item]
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    assert dataset.path == path
