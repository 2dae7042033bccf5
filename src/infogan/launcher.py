"""Several processes for one training, here and on other machines, through torch's own launcher."""

import logging
import os
import pickle
import re
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infogan.errors import UserError
from infogan.options import Training
from infogan.parallel import cores, without_main

NODE_RANK = "INFOGAN_NODE_RANK"  # which of several machines this is; 0 writes and tracks
RENDEZVOUS = "INFOGAN_RENDEZVOUS"  # host:port, an address of machine 0 that all can reach

# As torch's launcher would, which does not put back what was there before.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)

_PATIENCE = 5  # seconds; the launcher looks ten times a second, unless the machine is busy

_kept: Any = None  # where several machines meet, for as long as machine 0 runs


def node_rank() -> int:
    """Which of the machines of a training this one is, counted from 0."""
    text = os.environ.get(NODE_RANK, "0")
    if not text.isdecimal():
        raise UserError(f"{NODE_RANK} is {text!r}, but must be a number: 0, 1, …")
    return int(text)


def launch(
    name: str, work: Callable[..., Any], arguments: tuple[Any, ...], training: Training
) -> Any:
    """What ``work(peers, *arguments)`` gives in the first process of this machine.

    ``name`` tells what is launched from what was before. KeyboardInterrupt if it was interrupted,
    and had the time to stop; UserError if a process died.
    """
    from torch.distributed import DistError
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    on_gpu = _uses_gpus(training)
    # Told to stop, processes finish an iteration and save, for which 30 s may be too little.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "600")
    with TemporaryDirectory(prefix="infogan-") as folder:
        config = LaunchConfig(
            min_nodes=training.nodes,
            max_nodes=training.nodes,
            nproc_per_node=training.devices,
            run_id=name,
            max_restarts=0,  # the same command goes on from a checkpoint
            logs_specs=DefaultLogsSpecs(log_dir=folder),
            **_meeting_point(training.nodes),
        )
        run = elastic_launch(config, _work)
        try:
            with without_main(), _quiet(), _signals_put_back():
                results = run(Path(folder), on_gpu, _voice(), work, arguments)
        except SignalException:
            raise KeyboardInterrupt from None
        except ChildFailedError as error:
            raise _reason(Path(folder), error, training) from None
        except DistError as error:
            raise UserError(
                f"The {training.nodes} machines of the training did not meet at "
                f"{os.environ.get(RENDEZVOUS)}: {error}"
            ) from None
    return results[min(results)]


def _uses_gpus(training: Training) -> bool:
    import torch

    if training.device == "cpu" or (training.device == "auto" and not torch.cuda.is_available()):
        return False
    found = torch.cuda.device_count()
    if found < training.devices:
        raise UserError(
            f"training.devices is {training.devices}, but this machine has {found} GPUs; with "
            "training.device cpu its processes share the CPU."
        )
    return True


def _meeting_point(nodes: int) -> dict[str, Any]:
    """Where processes find each other: on one machine, wherever there is room."""
    if nodes == 1:
        return {
            "rdzv_backend": "c10d",
            "rdzv_endpoint": "127.0.0.1:0",
            "local_addr": "127.0.0.1",
        }
    address, rank = os.environ.get(RENDEZVOUS, ""), node_rank()
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(
            f"training.nodes is {nodes}, but {RENDEZVOUS} is {address!r}: it must be host:port, "
            "an address of machine 0 that all can reach."
        )
    if rank >= nodes:
        raise UserError(f"{NODE_RANK} is {rank}, but training.nodes is {nodes}: count from 0.")
    if rank == 0:
        _keep_open(host, int(port))
    return {
        "rdzv_backend": "static",
        "rdzv_endpoint": address,
        "rdzv_configs": {"rank": rank},
    }


def _keep_open(host: str, port: int) -> None:
    """The others may be earlier than this machine, or later, at each of several trainings."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    global _kept  # noqa: PLW0603
    if _kept is None:
        _kept = TCPStore(host, port, None, True, wait_for_workers=False, multi_tenant=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Of what the launcher reports of its own work, nothing is news."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


@contextmanager
def _signals_put_back() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)


_Voice = tuple[int, str | None, str | None]


def _voice() -> _Voice:
    """How this process logs: from which level on, in which format, with which format of dates."""
    level = logging.getLogger("infogan").getEffectiveLevel()
    formats = [each.formatter for each in logging.getLogger().handlers if each.formatter]
    return (level, formats[0]._fmt, formats[0].datefmt) if formats else (level, None, None)


class _Lost(UserError):
    """A process has waited in vain for another one."""


def _reason(folder: Path, error: Any, training: Training) -> BaseException:
    """Why a process ended: it has left its error, or was killed.

    One that ends takes the others with it, which then leave errors that tell nothing.
    """
    left: dict[int, BaseException | str] = {
        int(path.stem): pickle.loads(path.read_bytes()) for path in folder.glob("*.error")
    }
    errors = [told for told in left.values() if isinstance(told, BaseException)]
    telling = [told for told in errors if not isinstance(told, _Lost)]
    if telling:
        return telling[0]
    for told in left.values():
        if isinstance(told, str):
            return RuntimeError(f"a process of the training failed:\n{told}")
    silent = sorted(set(range(training.devices)) - set(left))
    if not silent:
        return errors[0]
    failure = error.get_first_failure()[1]
    dead = failure.local_rank if failure.local_rank in silent else silent[0]
    how = f" ({failure.signal_name()})" if failure.local_rank == dead else ""
    return UserError(
        f"Process {dead} of {training.devices} on this machine was killed{how}, perhaps because "
        "the memory is full, and the training with it: the same command goes on from the last "
        "checkpoint."
    )


# --- In each process -----------------------------------------------------------------------------


def _work(
    folder: Path,
    on_gpu: bool,
    voice: _Voice,
    work: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> Any:
    from torch import distributed

    from infogan.distributed import Peers

    # Signals from a keyboard come through the launcher, and not while this is being set up.
    os.setpgrp()
    local_rank = int(os.environ["LOCAL_RANK"])
    told: BaseException | str
    try:
        share = _join(local_rank, on_gpu)
        _speak(voice, aloud=share.rank == 0)
        result = work(Peers(share), *arguments)
        distributed.destroy_process_group()
        return result if local_rank == 0 else None
    except (KeyboardInterrupt, UserError, OSError) as error:
        told = error
    except Exception as error:
        if isinstance(error, distributed.DistError) or re.search("gloo|NCCL", str(error)):
            told = _Lost(
                "Another process of the training, perhaps on another machine, is gone: the same "
                "command, on all machines, goes on from the last checkpoint."
            )
        else:  # a mistake of ours
            told = traceback.format_exc()
    (folder / f"{local_rank}.error").write_bytes(pickle.dumps(told))
    if isinstance(told, _Lost):
        # So that the launcher sees the one that was killed first, and can name the signal; then
        # it ends this one.
        time.sleep(_PATIENCE)
    raise SystemExit(1)


def _join(local_rank: int, on_gpu: bool) -> Any:
    """Meet the others: the own share of the work."""
    import torch
    from torch import distributed
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]
    from torch.distributed.rendezvous import rendezvous

    from infogan.batches import Share

    if on_gpu:
        torch.cuda.set_device(local_rank)
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, cores() // int(os.environ["LOCAL_WORLD_SIZE"])))
    store, rank, processes = next(iter(rendezvous("env://")))
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
        # Several trainings may meet at the same place one after another.
        store=PrefixStore(os.environ["TORCHELASTIC_RUN_ID"], store),
        rank=rank,
        world_size=processes,
    )
    return Share(rank, processes)


def _speak(voice: _Voice, *, aloud: bool) -> None:
    """Log as the process that started this one does; of all, only the first."""
    if not aloud:
        logging.disable(logging.CRITICAL)
        return
    level, form, dates = voice
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(form, dates))
    logging.getLogger().addHandler(handler)
    logging.getLogger("infogan").setLevel(level)
