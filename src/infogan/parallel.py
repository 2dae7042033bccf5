"""Work for several processes, in order."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

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
    asking, or is interrupted, what has not begun is not begun.
    """
    if not arguments:
        return
    workers = min(cores(), len(arguments))
    # Spawned: a fork would inherit torch's threads in an unusable state.
    executor = ProcessPoolExecutor(workers, get_context("spawn"), _begin, (begin, begin_with))
    ahead = 2 * workers
    try:
        with _without_main():
            pending = [executor.submit(work, *argument) for argument in arguments[:ahead]]
        for argument in arguments[ahead:]:
            yield pending.pop(0).result()
            pending.append(executor.submit(work, *argument))
        yield from (future.result() for future in pending)
    finally:
        executor.shutdown(cancel_futures=True)


def _begin(begin: Callable[..., None] | None, begin_with: tuple[Any, ...]) -> None:
    """In a new process: it uses one core, and ends when its parent says so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = "1"
    if begin is not None:
        begin(*begin_with)


@contextmanager
def _without_main() -> Iterator[None]:
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
