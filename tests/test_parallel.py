import math
import os
import signal
import subprocess
import sys
import time

import pytest

from infogan import parallel
from infogan.errors import UserError
from infogan.parallel import map_in_processes


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: 2)


def test_results_come_in_the_order_of_the_arguments() -> None:
    assert list(map_in_processes(math.factorial, [(n,) for n in range(12)])) == [
        math.factorial(n) for n in range(12)
    ]


def test_nothing_to_do_starts_no_process() -> None:
    assert list(map_in_processes(math.sqrt, [])) == []


def test_an_error_of_a_process_is_the_callers() -> None:
    results = map_in_processes(math.sqrt, [(4.0,), (-1.0,), (9.0,)])
    assert next(results) == 2
    with pytest.raises(ValueError, match=r"math domain|nonnegative"):
        list(results)


def test_processes_use_one_thread_each() -> None:
    names = [("OMP_NUM_THREADS",), ("MARK",)]
    found = list(map_in_processes(os.getenv, names))
    assert found == ["1", None]


INTERRUPTED = """
import time
from infogan.parallel import map_in_processes
print("ready", flush=True)
for _ in map_in_processes(time.sleep, [(0.2,)] * 1000):
    print("one", flush=True)
"""


def test_an_interruption_ends_it_without_waiting_for_the_rest() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert process.stdout.readline() == "one\n"
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert time.monotonic() - began < 60  # not the hundred seconds of the rest
    assert "KeyboardInterrupt" in errors
    assert errors.count("Traceback") == 1


def test_a_killed_process_is_told_in_a_sentence() -> None:
    results = map_in_processes(signal.raise_signal, [(signal.SIGKILL,), (signal.SIGKILL,)])
    with pytest.raises(UserError, match=r"One of 2 processes was killed, most likely because"):
        list(results)


def test_a_lack_of_memory_is_told_in_a_sentence() -> None:
    with pytest.raises(UserError, match=r"because the memory is full"):
        list(map_in_processes(bytearray, [(sys.maxsize,)]))


ABANDONED = """
import os, time
from infogan.parallel import map_in_processes
waiting = map_in_processes(os.getpid, [()] * 100)
print(next(waiting), flush=True)
time.sleep(1000)
"""


def test_processes_end_when_their_parent_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", ABANDONED], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.kill()
        process.communicate(timeout=60)  # until nobody is left who could write
