"""A quantity that changes is a line of text, and a value at every iteration."""

import pytest
import torch

from infogan.schedules import Schedule, at, largest, parse_amount, write_amount

LINES = [
    "0.1 to 0 until 2000",
    "0 to 1 until 1",
    "0.3 to 0.1 from 500 until 2000",
    "0.0002 to 1e-05 until 50000",
    "0.123456789 to 2.5 until 7",
]


@pytest.mark.parametrize("line", LINES)
def test_a_line_reads_back_as_it_was_written(line: str) -> None:
    schedule = parse_amount(line)
    assert isinstance(schedule, Schedule)
    assert str(schedule) == write_amount(schedule) == line
    assert parse_amount(schedule) == schedule


@pytest.mark.parametrize("line", ["2.0e-4 to 2.0E-5 from 0 until 10", "1. to 0.0 until 3"])
def test_another_spelling_means_the_same(line: str) -> None:
    schedule = parse_amount(line)
    assert parse_amount(write_amount(schedule)) == schedule


def test_a_line_means_what_it_says() -> None:
    assert parse_amount("0.3 to 0.1 from 500 until 2000") == Schedule(0.3, 0.1, 500, 2000)
    assert parse_amount("0.1 to 0 until 2000") == Schedule(0.1, 0.0, 0, 2000)


@pytest.mark.parametrize("number", [0, 1, 2.5, 1e-9])
def test_a_number_is_itself_at_every_time(number: float) -> None:
    amount = parse_amount(number)
    assert isinstance(amount, float)
    assert amount == number == write_amount(amount) == largest(amount)
    assert at(amount, torch.tensor(7.0)) == number


@pytest.mark.parametrize(
    ("iteration", "value"),
    [(0, 0.3), (499, 0.3), (500, 0.3), (875, 0.25), (1250, 0.2), (2000, 0.1), (10**6, 0.1)],
)
def test_a_value_stays_moves_in_a_straight_line_and_stays(iteration: int, value: float) -> None:
    clock = torch.tensor(float(iteration), dtype=torch.float64)
    found = at(Schedule(0.3, 0.1, 500, 2000), clock)
    assert isinstance(found, torch.Tensor)
    assert found.item() == pytest.approx(value, rel=1e-12)


def test_a_value_follows_a_clock_that_moves() -> None:
    """In place, as a recorded iteration moves it."""
    clock, schedule = torch.zeros(()), Schedule(1.0, 0.0, 0, 4)
    found = []
    for _ in range(6):
        found.append(schedule.at(clock).item())
        clock.add_(1)
    assert found == [1, 0.75, 0.5, 0.25, 0, 0]


def test_the_largest_value_is_at_one_of_the_ends() -> None:
    assert largest(Schedule(0.1, 0.7, 0, 9)) == largest(Schedule(0.7, 0.1, 0, 9)) == 0.7


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (-1, "-1 is not a number of 0 or more"),
        (float("nan"), "nan is not a number of 0 or more"),
        (float("inf"), "inf is not a number of 0 or more"),
        (True, "True is not understood: write a number"),
        (None, "None is not understood: write a number"),
        ("0.1", "'0.1' is not understood: write a number such as 2.0e-4, without quotes"),
        ("0.1 until 5", "'0.1 until 5' is not understood: .*'A to B until ITERATION'"),
        ("0.1 to 0", "'0.1 to 0' is not understood"),
        ("0.1 to 0 until 5.5", "is not understood"),
        ("0.1 to 0 until 5 until 6", "is not understood"),
        ("-0.1 to 0 until 5", "'-0.1 to 0 until 5' is not understood"),
        ("nan to 0 until 5", "is not understood"),
        ("1e999 to 0 until 5", "'1e999 to 0 until 5' goes beyond the largest number"),
        ("1 to 0 until 0", "'1 to 0 until 0' ends before it begins"),
        ("1 to 0 from 5 until 5", "ends before it begins: the second iteration must be larger"),
        ("1 to 0 from 9 until 5", "ends before it begins"),
    ],
)
def test_a_wrong_amount_is_quoted_with_what_would_be_right(value: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}" if "'" in sentence else sentence):
        parse_amount(value)
