"""`kedro run` in a fork of a process that has loaded the libraries, most of a small run's time.

``python warm.py SOCKET`` loads and waits; ``python warm.py ADDRESS ARGUMENTS`` is such a run. The
latter is the process that a test sees: it hands on its signals, and ends as the fork ends. The
project's own code is not among the libraries, since each run loads that of its own folder; nor is
Kedro's framework, which looks around when it is loaded.
"""

import gc
import importlib
import json
import os
import random
import select
import signal
import socket
import sys
import threading
from contextlib import suppress
from typing import Any

LIBRARIES = (
    "alembic.command",
    "dynaconf.contrib",
    "kedro.io",
    "kedro_datasets.json",
    "matplotlib.figure",
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_store",
    "pandas",
    "scipy.stats",
    "sklearn.ensemble",
    "torch._dynamo",
    "torchvision.datasets",
    "torchvision.transforms",
)


def serve(listener: socket.socket) -> None:
    """Return in forks only, one for each request, as what was asked for."""
    for name in LIBRARIES:
        importlib.import_module(name)
    assert "kedro.framework.project" not in sys.modules
    assert threading.active_count() == 1, "a fork would lack the others"
    gc.freeze()  # else a fork would copy all of it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the runs
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the guards
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            guard(connection)
            return
        connection.close()
    sys.exit()


def guard(connection: socket.socket) -> None:
    """Stay between the process that asks and a fork; return in the fork."""
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    asked = json.loads(connection.makefile().readline())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    fork = os.fork()
    if fork == 0:
        connection.close()
        become(streams, **asked)
        return
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(fork)
    while ended not in select.select([connection, ended], [], [])[0]:
        for number in connection.recv(1) or [signal.SIGKILL]:  # nothing: who asked was killed
            os.kill(fork, number)
    code = os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])
    with suppress(BrokenPipeError):
        connection.sendall(f"{code}\n".encode())
    os._exit(0)


def become(
    streams: list[int], folder: str, environment: dict[str, str], arguments: list[str]
) -> None:
    """A new process that somebody started in a folder."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = arguments
    sys.path[0] = os.path.dirname(arguments[0])
    random.seed()
    signal.signal(signal.SIGINT, signal.default_int_handler)


def ask(address: str, arguments: list[str]) -> None:
    """Be a run to whoever looks from outside."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(f"\0{address}")

    def hand_on(number: int, _: Any) -> None:
        connection.send(bytes([number]))

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, hand_on)
    socket.send_fds(connection, [b"!"], [0, 1, 2])
    asked = {"folder": os.getcwd(), "environment": dict(os.environ), "arguments": arguments}
    connection.sendall(f"{json.dumps(asked)}\n".encode())
    os.close(1)
    os.close(2)
    code = int(connection.makefile().readline())
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    address, *arguments = sys.argv[1:]
    if arguments:
        ask(address, arguments)
    with socket.socket(fileno=int(address)) as listener:
        serve(listener)
    from kedro.framework.cli import main

    sys.exit(main())
