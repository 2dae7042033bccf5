"""Twenty times SIGKILL, at any moment, and in the end the same bytes.

Sixteen of the twenty processes run the node `fit` alone, forked from one that has loaded torch:
kedro's start takes seconds, in which there is nothing to lose. The other four, and the last, which
is left alone, are `kedro run`. All share one folder of checkpoints, as kedro's own would.
"""

import json
import multiprocessing
import random
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bare_training
from kedro.config import OmegaConfigLoader
from kedro_project import Project

from infogan.settings import CONFIG_LOADER_ARGS

CHANGES = {
    "iterations": 450,
    "baseline_iterations": 60,
    "evaluate_every": 50,
    "log_every": 1,
    "checkpoint_every": 10,
}
COMMAND = (
    "--pipelines=digits.training,digits.evaluation",
    "--params=" + ",".join(f"digits.training.{name}={value}" for name, value in CHANGES.items()),
)
RESULTS = [
    "06_models/digits/infogan.safetensors",
    "06_models/digits/baseline.safetensors",
    "07_model_output/digits/traversals.safetensors",
    "08_reporting/digits/history.csv",
    "08_reporting/digits/baseline_history.csv",
]
BARE_KILLS = 16


class Victim:
    """A training that is killed again and again."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.kills = 0
        self.half_written = 0
        loader = OmegaConfigLoader(
            str(project.folder / "conf"),
            env="smoke",
            runtime_params={"digits": {"training": CHANGES}},
            **CONFIG_LOADER_ARGS,
        )
        self._blocks = loader["parameters"]["digits"]
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload(bare_training.SLOW_TO_LOAD)

    def checkpoints(self, name: str = "infogan.0") -> list[Path]:
        return sorted(self.project.data("06_checkpoints/digits").glob(f"*/{name}.*.pt"))

    def iteration(self) -> int:
        """Of the newest checkpoint."""
        return max((int(path.name.split(".")[2]) for path in self.checkpoints()), default=0)

    def writing(self) -> bool:
        """Whether a checkpoint is being written, or a kill has left half of one."""
        folder = self.project.data("06_checkpoints/digits")
        return any(folder.glob("*/.infogan.0.*.tmp.pt"))

    def run_with_kedro(self, moment: Callable[[], bool]) -> None:
        """`kedro run`, until the moment has come."""
        process = self.project.start(*COMMAND)
        self.project.wait_for(process, moment)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        self.kills += 1

    def run_bare(self, iterations: int, *, while_writing: bool) -> None:
        """`fit`, for some iterations; and on, until it writes its next checkpoint."""
        for path in self.project.data("06_checkpoints/digits").glob("*/.infogan.0.*.tmp.pt"):
            path.unlink()  # else it would be taken for one that is being written
        told, tell = self._processes.Pipe(duplex=False)
        arguments = (self.project.data(), self._blocks, tell)
        process = self._processes.Process(target=bare_training.fit, args=arguments)
        first = self.iteration()
        process.start()
        tell.close()
        while told.recv() < first + iterations:
            pass
        deadline = time.monotonic() + 60
        while while_writing and not self.writing():
            assert process.is_alive()
            assert time.monotonic() < deadline
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        self.kills += 1
        self.half_written += self.writing()


def metrics(project: Project) -> dict[str, Any]:
    """All but those that tell how long it took."""
    found = json.loads(project.data("08_reporting/digits/metrics.json").read_text())
    return {name: value for name, value in found.items() if "seconds" not in name}


def test_a_training_killed_twenty_times_ends_with_the_same_bytes(
    make_ingested: Callable[..., Project],
) -> None:
    chance = random.Random(0)
    project, uninterrupted = (make_ingested(tracked=False) for _ in range(2))
    uninterrupted.warm = False  # with another seed of hashes, too
    done = uninterrupted.run(*COMMAND)
    assert done.returncode == 0, done.stderr

    victim = Victim(project)
    victim.run_with_kedro(lambda: bool(victim.checkpoints()))
    for kill in range(BARE_KILLS):
        victim.run_bare(chance.randint(1, 20), while_writing=kill % 2 == 0)
    reached = victim.iteration()
    assert 0 < reached < CHANGES["iterations"]
    soon = reached + chance.randint(10, 60)
    victim.run_with_kedro(lambda: victim.iteration() >= soon)
    victim.run_with_kedro(lambda: bool(victim.checkpoints("baseline.0")))
    victim.run_with_kedro(project.data("06_models/digits/baseline.safetensors").exists)
    assert victim.kills == 20
    assert victim.half_written >= BARE_KILLS // 4

    done = project.run(*COMMAND)
    assert done.returncode == 0, done.stderr
    assert re.search(r"infogan: from iteration 450 to 450", done.stderr)
    for name in RESULTS:
        assert project.data(name).read_bytes() == uninterrupted.data(name).read_bytes(), name
    assert metrics(project) == metrics(uninterrupted)
    assert not project.data("06_checkpoints/digits").exists()
