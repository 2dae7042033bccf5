"""Work for several processes, in order."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process
from threading import Thread
from typing import Any, TypeVar

from infogan.errors import UserError

Result = TypeVar("Result")


def cores() -> int:
    """Cores this process may use."""
    return (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )


def map_in_processes(
    work: Callable[..., Result],
    arguments: Sequence[tuple[Any, ...]],
    begin: Callable[..., None] | None = None,
    begin_with: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """Results of ``work(*argument)`` in the order of the arguments, two a process in memory.

    One process a core, each of which calls ``begin(*begin_with)`` first. When the caller stops
    asking, or is interrupted, what has not begun is not begun. UserError if the memory is too
    small for it.
    """
    if not arguments:
        return
    workers = min(cores(), len(arguments))
    # Spawned: a fork would inherit torch's threads in an unusable state.
    executor = ProcessPoolExecutor(workers, get_context("spawn"), _begin, (begin, begin_with))
    ahead = 2 * workers
    try:
        with without_main():
            pending = [executor.submit(work, *argument) for argument in arguments[:ahead]]
        for argument in arguments[ahead:]:
            yield pending.pop(0).result()
            pending.append(executor.submit(work, *argument))
        yield from (future.result() for future in pending)
    except (BrokenProcessPool, MemoryError):
        raise UserError(
            f"One of {workers} processes was killed, most likely because the memory is full: free "
            "some, or use fewer cores (taskset -c 0 …), and run the same command, which goes on "
            "where this one stopped."
        ) from None
    finally:
        executor.shutdown(cancel_futures=True)


def _begin(begin: Callable[..., None] | None, begin_with: tuple[Any, ...]) -> None:
    """In a new process: it uses one core, and ends when its parent says so, or is no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = "1"
    if begin is not None:
        begin(*begin_with)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


@contextmanager
def without_main() -> Iterator[None]:
    """New processes shall not import the command that started this one: they need nothing of it,
    and Kedro's would set up its logging, and say so, in each of them.
    """
    main = sys.modules["__main__"]
    spec, file = main.__spec__, main.__dict__.pop("__file__", None)
    main.__spec__ = None
    try:
        yield
    finally:
        main.__spec__ = spec
        if file is not None:
            main.__file__ = file
