"""Ctrl-C and SIGTERM, postponed to a moment at which nothing is lost."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def postponed_interrupts(*, patient: bool = False) -> Iterator[Callable[[], bool]]:
    """Within the block the first signal is only noted; the yielded function says whether one came.

    A second signal interrupts at once, unless ``patient``. Outside the main thread, where Python
    forbids handlers, the block changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if received and not patient:
            raise KeyboardInterrupt
        received.append(number)

    previous = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
