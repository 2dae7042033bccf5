"""Two processes are one: the same curve, one set of files, one ending."""

import functools
import io
import json
import multiprocessing
import os
import re
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import together
from kedro_project import Project
from safetensors.numpy import load_file
from torch.distributed.launcher import api

from infogan.distributed import Peers
from infogan.errors import UserError
from infogan.launcher import NODE_RANK, RENDEZVOUS, launch
from infogan.options import Model, Training

ITERATIONS = 20
CONSISTENCY = {
    "codes": ["c1"],
    "weight": 1.0,
    "balance": 2.0,  # of an entropy that is that of everybody's mean, not a mean of entropies
    "rotation": 0.2,
    "scale": 0.1,
    "shear": 0.1,
    "shift": 0.1,
    "generated": 0.5,
}


@pytest.fixture(autouse=True)
def forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test launches itself are forks of a process that has loaded torch, most of their
    time. What `kedro run` launches are not.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["infogan.pipelines.training.nodes", "torch._dynamo"])
    forking = functools.partial(api.LaunchConfig, start_method="forkserver")
    monkeypatch.setattr(api, "LaunchConfig", forking)


@pytest.fixture
def cases(
    make_model: Callable[..., Model],
    make_training: Callable[..., Training],
    make_clustered: Callable[..., Training],
    images: np.ndarray,
) -> dict[str, tuple[Any, ...]]:
    def case(name: str, make: Callable[..., Training] = make_training, **changes: Any) -> Any:
        return name, make_model(), make(devices=2, **changes), images, ITERATIONS

    return {
        "infogan": case("infogan"),
        "baseline": case("baseline", baseline="head"),
        "replica": case("infogan", batch_norm="replica"),
        "extended": case("infogan", consistency=CONSISTENCY, instance_noise=0.1),
        "taught": case("infogan", make_clustered),
        "taught replica": case("infogan", make_clustered, batch_norm="replica"),
    }


def test_two_processes_give_the_curve_and_the_model_of_one(
    cases: dict[str, tuple[Any, ...]],
) -> None:
    both = launch("curves", together.curves, (cases,), cases["infogan"][2])

    # In double precision even twenty iterations make little of rounding.
    for label in ("infogan", "baseline", "extended", "taught"):
        expected, arrays = together.curve(Peers(), *cases[label])
        found, theirs = both[label]
        np.testing.assert_allclose(found, expected, rtol=1e-8, err_msg=label)
        assert theirs.keys() == arrays.keys()
        for name, value in arrays.items():
            # Of a bias before batch norm nothing depends, so it has steps of pure rounding.
            np.testing.assert_allclose(theirs[name], value, rtol=1e-6, atol=1e-7, err_msg=name)

    # Batch norm of replicas is that of two smaller batches, and so another training.
    for label, synchronised in (("replica", "infogan"), ("taught replica", "taught")):
        _, model, training, images, _ = cases[label]
        apart = [together.share_alone(rank, model, training, images) for rank in (0, 1)]
        loss_g = 1  # it follows the D/Q step, after which the two would differ
        first = np.delete(both[label][0][0], loss_g)
        np.testing.assert_allclose(first, np.delete(np.mean(apart, axis=0), loss_g), rtol=1e-12)
        assert not np.allclose(first, np.delete(both[synchronised][0][0], loss_g), rtol=1e-6)


def test_processes_that_share_a_cpu_stop_together_and_save_the_last_whole_iteration(
    cases: dict[str, tuple[Any, ...]],
    make_training: Callable[..., Training],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", raising=False)
    _, model, _, images, _ = cases["infogan"]
    rarely = {"log_every": 1000, "evaluate_every": 1000, "checkpoint_every": 1000}
    training = make_training(devices=2, iterations=1000, **rarely)
    given = tmp_path, model, training, images
    (at, expected), *others = launch("stopped", together.stopped_at_each_look, given, training)
    assert at == 3
    for at, found in others:  # in the middle of the fourth, which is undone
        assert at == 3
        assert found.keys() == expected.keys()
        for name, array in found.items():
            np.testing.assert_array_equal(array, expected[name], err_msg=name)
    assert os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] == "600"  # seconds, to save


def test_two_processes_have_the_teacher_of_one_also_after_an_interruption(
    cases: dict[str, tuple[Any, ...]], make_clustered: Callable[..., Training], tmp_path: Path
) -> None:
    _, model, training, images, _ = cases["taught"]
    both = launch(
        "taught", together.taught, (tmp_path / "both", model, training, images), training
    )
    expected = together.taught(Peers(), tmp_path / "alone", model, make_clustered(), images)
    assert both.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(both[name], array, err_msg=name)


def test_a_teacher_that_diverges_ends_both_processes(
    cases: dict[str, tuple[Any, ...]], tmp_path: Path
) -> None:
    _, model, training, images, _ = cases["taught"]
    steep = training.clustering.model_copy(update={"lr": 1e30})
    training = training.model_copy(update={"clustering": steep})
    with pytest.raises(UserError, match=r"the teacher is not finite; a smaller lr than 1e\+30"):
        launch("taught", together.taught, (tmp_path, model, training, images), training)


@pytest.mark.parametrize(
    ("work", "arguments", "sentence"),
    [
        (together.fail, (UserError("the paper is wrong"),), "^the paper is wrong$"),
        (together.die, (), r"Process 1 of 2 on this machine was killed \(SIGKILL\)"),
        (together.die_late, (), r"Process 1 of 2 on this machine was killed \(SIGKILL\)"),
    ],
)
def test_one_process_that_ends_ends_them_all_with_one_sentence(
    make_training: Callable[..., Training],
    work: Callable[..., None],
    arguments: tuple[Any, ...],
    sentence: str,
) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(UserError, match=sentence):
        launch(work.__name__, work, arguments, make_training(devices=2))
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert not multiprocessing.active_children()


# --- The whole command ---------------------------------------------------------------------------

TRAINING = ("--pipelines=digits.training", "--nodes=digits.fit")
ITERATIONS_RUN = 60
LONG = {"iterations": ITERATIONS_RUN, "checkpoint_every": 10, "evaluate_every": 30}
HISTORY = "08_reporting/digits/history.csv"
MODEL = "06_models/digits/infogan.safetensors"


def options(**changes: Any) -> str:
    pairs = (LONG | changes).items()
    return "--params=" + ",".join(f"digits.training.{key}={value}" for key, value in pairs)


@dataclass
class Trained:
    """A folder, and what an undisturbed training of two machines that share it has given."""

    project: Project
    history: bytes
    weights: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def trained(make_ingested: Callable[..., Project]) -> Trained:
    project = make_ingested(tracked=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        project.variables[RENDEZVOUS] = f"127.0.0.1:{free.getsockname()[1]}"
    started = []
    for rank in ("1", "0"):
        project.variables[NODE_RANK] = rank
        started.append(project.start(*TRAINING, options(nodes=2)))
    for process in reversed(started):
        with process:
            _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
    return Trained(project, project.data(HISTORY).read_bytes(), load_file(project.data(MODEL)))


def test_of_two_machines_in_one_folder_the_first_one_writes_and_tracks(trained: Trained) -> None:
    rows = np.genfromtxt(io.BytesIO(trained.history), delimiter=",", names=True)
    assert rows["iteration"].tolist() == list(range(ITERATIONS_RUN + 1))
    assert np.isfinite(rows["loss_d"][1:]).all()
    record = json.loads(trained.project.data("06_models/digits/infogan_record.json").read_text())
    assert record["device"] == "2 x cpu"
    assert not trained.project.data("06_checkpoints/digits").exists()

    (run,) = trained.project.runs()
    assert run.info.status == "FINISHED"
    steps = [
        p.step
        for p in trained.project.store().get_metric_history(run.info.run_id, "curves/loss_d")
    ]
    assert steps == list(range(5, ITERATIONS_RUN + 1, 5))


def test_a_machine_that_helps_does_nothing_else(trained: Trained) -> None:
    helping = replace(trained.project, variables={NODE_RANK: "1", "INFOGAN_TRACKING": "0"})
    done = helping.run("--pipelines=digits.evaluation")
    assert done.returncode == 1
    assert "this machine helps machine 0 to train" in done.stderr


def test_an_interrupted_training_of_two_processes_goes_on_as_if_nothing_had_happened(
    trained: Trained,
) -> None:
    project = replace(trained.project, variables={"INFOGAN_TRACKING": "0"})
    process = project.start(*TRAINING, options(devices=2))
    project.wait_for(process, lambda: project.reached() > 0)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=240)
    assert process.returncode != 0
    assert "Traceback" not in err
    stopped = re.findall(r"infogan stops at iteration (\d+), which is saved", err)
    assert [int(iteration) for iteration in stopped] == [project.reached()]

    done = project.run(*TRAINING, options(devices=2))
    assert done.returncode == 0, done.stderr
    assert f"infogan: from iteration {stopped[0]} to {ITERATIONS_RUN} on 2 x cpu" in done.stderr
    # As undisturbed, and as two machines, to the last bit.
    assert project.data(HISTORY).read_bytes() == trained.history
    weights = load_file(project.data(MODEL))
    assert weights.keys() == trained.weights.keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(value, trained.weights[name], err_msg=name)
