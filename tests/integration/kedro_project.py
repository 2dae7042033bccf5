"""A project in a folder of its own, and the commands people type in it."""

import atexit
import ctypes
import functools
import os
import resource
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
# A training that lasts long enough to be interrupted.
LONG = "--params=digits.training.iterations=300,digits.training.checkpoint_every=20"
# Python without its site, which a process that only hands on has no need of.
WARM = (sys.executable, "-I", "-S", str(Path(__file__).with_name("warm.py")))


@functools.cache
def warm_address() -> str:
    """Where `warm.py` listens, until this process ends."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("")  # Linux chooses a free name, without a file
        address: str = listener.getsockname()[1:].decode()
        listener.listen()
        process = subprocess.Popen(
            [sys.executable, WARM[-1], str(listener.fileno())],
            env=Project(ROOT).environment() | {"MLFLOW_DISABLE_TELEMETRY": "true"},
            stdin=subprocess.PIPE,  # the process lives until it is closed
            pass_fds=[listener.fileno()],
        )
    atexit.register(process.communicate)
    return address


@dataclass
class Project:
    """A project folder and its environment variables."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)
    largest_file: int | None = None  # bytes, in place of a full disk
    obeys_permissions: bool = False  # of files, even as root
    warm: bool = True  # runs may be forks of a process that has loaded the libraries

    def environment(self) -> dict[str, str]:
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("INFOGAN_", "MLFLOW_", "KEDRO_"))
        }
        # Tiny networks are fastest on one thread.
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        return clean | {"PATH": path, "OMP_NUM_THREADS": "1"} | self.variables

    def warm_kedro(self, folder: Path) -> None:
        """Let `kedro`, by a command in this new folder, be such a fork for what calls it, too."""
        if sys.platform != "linux":
            return
        folder.mkdir()
        command = folder / "kedro"
        words = shlex.join([*WARM, warm_address(), str(BIN / "kedro")])
        command.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        command.chmod(0o755)
        self.variables["PATH"] = f"{folder}{os.pathsep}{self.environment()['PATH']}"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """`kedro run --env=smoke …` in the background."""
        environment = self.environment()
        restricted = self.largest_file is not None or self.obeys_permissions
        warm = self.warm and not restricted and environment["OMP_NUM_THREADS"] == "1"
        return subprocess.Popen(
            [
                *((*WARM, warm_address()) if warm and sys.platform == "linux" else ()),
                *(str(BIN / "kedro"), "run", "--env=smoke", *arguments),
            ],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=self._limit,  # noqa: PLW1509, the tests have one thread
        )

    def _limit(self) -> None:
        if self.largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.largest_file, self.largest_file))
        if self.obeys_permissions and os.geteuid() == 0:
            drop_from_bounding_set, dac_override = 24, 1  # Linux: prctl(2), capabilities(7)
            ctypes.CDLL(None).prctl(drop_from_bounding_set, dac_override, 0, 0, 0)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The same to its end."""
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=600)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def data(self, *parts: str) -> Path:
        return self.folder.joinpath("data", "smoke", *parts)

    def reached(self, root: str = "data/smoke") -> int:
        """The iteration of the newest checkpoint of InfoGAN, seed 0; -1 if there is none."""
        found = (self.folder / root / "06_checkpoints" / "digits").glob("*/infogan.0.*.pt")
        return max((int(path.name.split(".")[2]) for path in found), default=-1)

    def store(self) -> "MlflowClient":
        """What MLflow knows of the project."""
        from mlflow import MlflowClient

        return MlflowClient(f"sqlite:///{self.folder / 'mlflow.db'}")

    def runs(self) -> "list[Run]":
        """All runs in it, the first to start first."""
        store = self.store()
        experiments = [each.experiment_id for each in store.search_experiments()]
        return list(store.search_runs(experiments, order_by=["attributes.start_time"]))

    def wait_for(self, process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
        """Return once the condition holds; the process must live until then."""
        deadline = time.monotonic() + 300
        while not condition():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline, "the condition did not come about in 300 s"
            time.sleep(0.02)
