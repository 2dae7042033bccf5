"""What the time of some iterations goes into."""

import itertools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from torch.profiler import ProfilerActivity, profile, schedule, supported_activities

from infogan.files import atomic

_logger = logging.getLogger(__name__)

Row = TypeVar("Row")

TRACE, OPERATORS = "trace.json", "operators.txt"
_WARM_UP = 10  # iterations, of which the profiler runs along with the last few
_PROFILED = 20
NEEDED = _WARM_UP + _PROFILED
_SHOWN = 40  # operators in the table


def profiled(rows: Iterator[Row], folder: Path, done: Callable[[], None]) -> Iterator[Row]:
    """The same rows; on the way some iterations after the first few are looked into.

    The folder then has a trace, to be opened in https://ui.perfetto.dev or chrome://tracing, and
    a table of the operators that took longest; ``done`` is called when both are there.
    """

    def write(profiler: profile) -> None:
        if profiler.step_num < NEEDED:
            return  # an interruption has ended it, which nothing shall keep waiting
        with atomic(folder / TRACE) as temporary:
            profiler.export_chrome_trace(str(temporary))
        averages = profiler.key_averages()
        order = "self_cuda_time_total" if on_gpu else "self_cpu_time_total"
        with atomic(folder / OPERATORS) as temporary:
            temporary.write_text(averages.table(sort_by=order, row_limit=_SHOWN))
        _logger.info("The profile of some iterations is in %s: %s, %s", folder, TRACE, OPERATORS)
        done()

    on_gpu = ProfilerActivity.CUDA in supported_activities()  # type: ignore[no-untyped-call]
    plan = schedule(wait=_WARM_UP - 3, warmup=3, active=_PROFILED, repeat=1)
    with profile(schedule=plan, on_trace_ready=write, acc_events=True) as profiler:
        for row in itertools.islice(rows, NEEDED):
            profiler.step()  # first, for nobody comes back after the last row of a training
            yield row
    yield from rows
