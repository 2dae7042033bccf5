"""The first signal is noted, the second interrupts; afterwards all is as before."""

import os
import signal
import threading

import pytest

from infogan.interrupts import postponed_interrupts

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in SIGNALS]


def test_without_a_signal_nothing_was_noted() -> None:
    with postponed_interrupts() as interrupted:
        assert not interrupted()


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_only_noted(number: int) -> None:
    with postponed_interrupts() as interrupted:
        send(number)
        assert interrupted()
    assert interrupted()


@pytest.mark.parametrize("first", SIGNALS)
@pytest.mark.parametrize("second", SIGNALS)
def test_the_second_signal_interrupts_at_once(first: int, second: int) -> None:
    before = handlers()
    reached = []

    def work() -> None:
        with postponed_interrupts() as interrupted:
            send(first)
            reached.append(interrupted())
            send(second)
            reached.append("never")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == [True]
    assert handlers() == before


def test_the_patient_note_any_number_of_signals() -> None:
    with postponed_interrupts(patient=True) as interrupted:
        send(signal.SIGTERM)
        send(signal.SIGINT)
        assert interrupted()


def test_the_handlers_are_restored() -> None:
    before = handlers()
    with postponed_interrupts():
        assert all(now != then for now, then in zip(handlers(), before, strict=True))
        send(signal.SIGINT)
    assert handlers() == before


def test_the_handlers_are_restored_after_an_error() -> None:
    before = handlers()

    def fail() -> None:
        with postponed_interrupts():
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert handlers() == before


def test_each_block_starts_without_a_signal() -> None:
    with postponed_interrupts():
        send(signal.SIGINT)
    with postponed_interrupts() as interrupted:
        assert not interrupted()
        send(signal.SIGINT)
        assert interrupted()


def test_outside_the_main_thread_nothing_changes() -> None:
    before, found = handlers(), []

    def work() -> None:
        with postponed_interrupts() as interrupted:
            found.append(interrupted())
            found.append(handlers() == before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False, True]
